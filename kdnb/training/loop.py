"""The one training loop: any number of networks and optimisers, named loss terms, exact resume.

A scheme describes what happens to one batch as a list of `Update`s and calls `fit`. The loop
knows no method by name. It runs on Lightning Fabric, which brings device, precision and processes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch, Batches
from kdnb.data.forms import can_be_cut, first_of
from kdnb.names import brief
from kdnb.paths import atomic_write, check_writable, sweep
from kdnb.progress import bar
from kdnb.training import devices, threads
from kdnb.training.alone import ends_alone, left_out
from kdnb.training.borrowed import borrowed, still_parts
from kdnb.training.checkpoint import (
    AnotherRun,
    Damaged,
    Foreign,
    another,
    file_of,
    sealed,
    state_of,
    take_state,
    unsealed,
)
from kdnb.training.devices import arithmetic
from kdnb.training.first import check_repeats, first_batch
from kdnb.training.identity import Identity, of_data, of_function, of_learning, of_network
from kdnb.training.randomness import mix, own_random_state, seed_everything
from kdnb.training.recipe import Recipe
from kdnb.training.reporting import check_finite, means_of, numbers, writer_for
from kdnb.training.wrapped import (
    Answered,
    Compiled,
    Frozen,
    convolutional,
    is_compiled,
    lay_channels_last,
    precision_for,
    tell_of_shares,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)


Networks = Mapping[str, nn.Module]
Losses = Callable[[Networks, Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class Update:
    """One optimiser step of every batch.

    Attributes:
        networks: names of the networks whose parameters move.
        losses: (networks, batch) -> named terms, weighted already; their sum is minimised.
        recipe: optimiser and schedule of this update; the run's own when None.
        max_norm: the gradient of all its parameters is scaled to this norm where it is longer.
        after: called after the step, for projections such as max-norm.
        begin: called with the number of each epoch, from 0, before its first step, for weights
            that change in the course of training; also for the first epoch of a resumed run.
    """

    networks: tuple[str, ...]
    losses: Losses
    recipe: Recipe | None = None
    max_norm: float | None = None
    after: Callable[[], None] | None = None
    begin: Callable[[int], None] | None = None


def fit(
    networks: Networks,
    batches: Batches,
    updates: Sequence[Update] | Update,
    recipe: Recipe,
    *,
    seed: int = 0,
    evaluate: Callable[[Networks], dict[str, float]] | None = None,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    fabric: Fabric | None = None,
    answers: Mapping[str, Callable[[Any], Tensor]] | None = None,
    identity: Identity | None = None,
) -> list[dict[str, float]]:
    """Train networks for `recipe.epochs` epochs; their state is the last epoch's.

    Args:
        networks: by name. Those that no update moves are frozen while it lasts: eval mode, no
            gradients. The others train, but for submodules that are in eval mode in a network in
            train mode. All of them, trained ones too, leave in the modes, `requires_grad`, memory
            formats and devices in which they came, also when training raises.
        batches: anything with `epoch(n)` and `len`, such as `Batches` or `LoaderBatches`.
        updates: carried out in order on every batch.
        seed: of dropout and whatever else draws random numbers while training.
        evaluate: called with the networks in eval mode after every epoch; its values, numbers of
            any kind by name, or one number, join the history.
        checkpoint: a file, written after every epoch (of short ones: once a second, and after the
            last), from which a killed run goes on. A resumed run equals the uninterrupted one bit
            for bit on the same machine with the same `OMP_NUM_THREADS`. It belongs to one run:
            recipe, seed, data, networks with their initial weights, and what `identity` adds. So
            build the networks as the first time, after `torch.manual_seed` with a seed of your
            choice.
        log_dir: TensorBoard scalars of every epoch, and the images of the first batch.
        fabric: a launched Fabric, for another device, precision or several processes: the
            gradients are averaged and every process takes its share of each batch.
        answers: what is made of some networks' answers before the terms see them, by name.
        identity: by what else the run's checkpoint is recognised, JSON values by name; when None,
            by the code of the losses and the values bound to it.

    Returns:
        One dict an epoch: `epoch`, `lr`, `seconds`, the mean of every loss term, and what
        `evaluate` gave.

    Raises:
        NonFiniteLoss: when a term turns NaN or infinite: which, and at which step. A single
            process on a CPU looks before the step, which is then not taken.
        AnotherRun: a ValueError, when the checkpoint belongs to another run, or the file is none.
        OSError: when the checkpoint cannot be read, or written (`kdnb.paths.DiskError`).
    """
    updates = [updates] if isinstance(updates, Update) else list(updates)
    checkpoint = file_of(checkpoint)
    if fabric is not None and not hasattr(fabric, "setup_module"):
        raise TypeError(
            f"fabric is a launched lightning_fabric.Fabric, or None; got {brief(fabric)}."
        )
    fabric = fabric or devices.fabric(arithmetic(precision_for(networks, recipe)))
    with borrowed(*networks.values()), contextlib.ExitStack() as stack:
        names = _names(networks, updates, recipe, seed)
        if checkpoint:  # of the networks as they come: training changes them
            names |= {"weights": {name: of_network(n) for name, n in networks.items()}}
            named = identity or {"losses": [of_function(one.losses, deep=False) for one in updates]}
            names |= {"data": of_data(batches, check_repeats(batches)), **named}
            names["output"] = {name: of_function(one) for name, one in (answers or {}).items()}
            moved = names["networks"]["moved"]
            names["frozen parts"] = {name: of_learning(networks[name]) for name in moved}
        run = _Run(networks, updates, recipe, batches, names, fabric, answers or {})
        history = run.resume(checkpoint)
        writer = writer_for(log_dir, batches, len(history)) if fabric.is_global_zero else None
        if writer:
            stack.callback(writer.close)
        progress = stack.enter_context(bar(recipe.epochs, len(history), "epoch"))
        stack.enter_context(own_random_state(fabric.device))
        look = stack.enter_context(threads.fitting())
        for epoch in range(len(history), recipe.epochs):
            # Seeding each epoch by its number is what makes a resumed run equal to the other.
            rank = [fabric.global_rank] if fabric.global_rank else []
            seed_everything(mix(seed, epoch, *rank))
            look()
            started = perf_counter()
            for update in updates:
                if update.begin:
                    update.begin(epoch)
            row = {"epoch": epoch + 1, **run.epoch(batches.epoch(epoch), epoch * len(batches))}
            row["seconds"] = perf_counter() - started
            if evaluate:
                with run.evaluating():
                    row |= numbers(evaluate(run.networks), taken=row)
            history.append(row)
            if checkpoint and fabric.is_global_zero:
                run.save(checkpoint, history)
            for name, value in row.items() if writer else ():
                writer.add_scalar(name, value, epoch + 1)
            shown = {k: f"{v:.4g}" for k, v in row.items() if k not in ("epoch", "lr")}
            progress.set_postfix(shown)
            progress.update()
    return history


def _names(
    networks: Networks, updates: Sequence[Update], recipe: Recipe, seed: int
) -> dict[str, Any]:
    """What tells a run from others, as far as it costs nothing to know."""
    moved = [name for update in updates for name in update.networks]
    if unknown := set(moved) - set(networks):
        raise ValueError(f"an update moves {sorted(unknown)}, but fit got {list(networks)}.")
    named: dict[str, Any] = {"moved": moved, "all": list(networks)}
    if own := [u.recipe and u.recipe.model_dump(mode="json") for u in updates if u.recipe]:
        named["recipes"] = own
    if any(norms := [update.max_norm for update in updates]):
        named["max_norms"] = norms
    return {"recipe": recipe.model_dump(mode="json"), "seed": seed, "networks": named}


class _Run:
    """The moving parts of one `fit`: wrapped networks, their optimisers, and the checkpoint."""

    def __init__(self, networks, updates, recipe, batches, names, fabric, answers):
        self.updates, self.recipe, self.fabric, self.answers = updates, recipe, fabric, answers
        self.steps = len(batches) * recipe.epochs
        self.plain = dict(networks)
        self.names = json.loads(json.dumps(names, default=lambda one: one.item()))
        self.moved = set(self.names["networks"]["moved"])
        self.still = [part for n in self.moved for part in still_parts(self.plain[n])]
        self.models: dict[str, nn.Module] = {}  # as Fabric has set them up
        self.alone: bool | None = None  # whether a batch of one is left out, once that is known
        self.ends_alone = ends_alone(batches)
        example = functools.cache(
            lambda: first_of(first_batch(batches).to(fabric.device).images, 2)
        )
        for name, network in self.plain.items():
            network.to(fabric.device)
            if convolutional(network) and recipe.precision != "32":
                lay_channels_last(network, example, name in self.moved)
            if name in self.moved:
                model = Compiled(network) if is_compiled(network) else None
                model = model or devices.compiled(network, trained=True)
                self.models[name] = fabric.setup_module(model)
            else:
                network.eval()
                for parameter in network.parameters():  # a scripted module has no requires_grad_
                    parameter.requires_grad_(False)
                self.models[name] = Frozen(network, fabric)
        self.networks = {
            name: Answered(model, self.plain[name], answers[name]) if name in answers else model
            for name, model in self.models.items()
        }
        self.optimisers = []
        for update in updates:
            parameters = [p for n in update.networks for p in self.plain[n].parameters()]
            optimiser = (update.recipe or recipe).optimiser_for(parameters)
            self.optimisers.append(fabric.setup_optimizers(optimiser))
        tell_of_shares(fabric, [self.plain[name] for name in self.moved], self.still)
        self.moving = [[p for g in o.param_groups for p in g["params"]] for o in self.optimisers]

    def epoch(self, batches: Iterator[Batch], first_step: int) -> dict[str, float]:
        """Train on one epoch of batches; the mean of each loss term, read from the device once."""
        for name in self.moved:
            self.networks[name].train()
        for part in self.still:
            part.training = False
        on_cpu = self.fabric.device.type == "cpu"
        rows: list[Any] = []  # of numbers on the CPU, else of tensors
        sizes: list[int] = []
        names: list[str] = []
        for offset, batch in enumerate(batches):
            if self._left_out(batch):
                continue
            sizes.append(batch.size)
            batch, share = self._share(batch)
            names, values = [], []
            for update, optimiser, moving in zip(
                self.updates, self.optimisers, self.moving, strict=True
            ):
                recipe = update.recipe or self.recipe
                for group in optimiser.param_groups:
                    group["lr"] = recipe.learning_rate(first_step + offset, self.steps)
                terms = update.losses(self.networks, batch)
                for parameter in moving:  # as `optimiser.zero_grad`, without its bookkeeping
                    parameter.grad = None
                if self._shared:
                    terms = {name: share * value for name, value in terms.items()}
                first, total = self.models[update.networks[0]], sum(terms.values())
                if not (isinstance(total, Tensor) and total.requires_grad):
                    raise ValueError(
                        f"no loss depends on what {', '.join(update.networks)} can learn: it answers "
                        "under torch.no_grad(), or detaches its answer."
                    )
                self.fabric.backward(total, model=first)
                if update.max_norm is not None:
                    self.fabric.clip_gradients(
                        first, optimiser, max_norm=update.max_norm, error_if_nonfinite=False
                    )
                found = [value.item() if on_cpu else value.detach() for value in terms.values()]
                if on_cpu:  # before the step, which would spoil the weights
                    check_finite([found], [*terms], first_step + offset + 1)
                optimiser.step()
                if update.after:
                    update.after()
                names += terms
                values += found
            rows.append(values if on_cpu else torch.stack(values))
            if not on_cpu and (offset + 1) % 50 == 0:  # a look at a number waits for the device
                check_finite(rows[-50:], names, first_step + offset + 1)
        if not rows:
            if self.alone:
                raise ValueError("every batch has one sample, and batch normalisation needs two.")
            number = first_step // max(1, self.steps // self.recipe.epochs) + 1
            raise ValueError(f"this data gives no batch in epoch {number}.")
        check_finite(rows, names, first_step + len(rows))
        means = means_of(rows, sizes)
        if self._shared:
            means = self.fabric.all_reduce(means.to(self.fabric.device), reduce_op="mean")
        rate = self.optimisers[0].param_groups[0]["lr"]
        return {"lr": rate, **dict(zip(names, means.tolist(), strict=True))}

    @property
    def _shared(self) -> bool:
        return self.fabric.world_size > 1

    def _left_out(self, batch: Batch) -> bool:
        """Whether a batch is too small: one sample, of which batch normalisation knows no variance.

        If the last batch will be, the first one already shows what the networks make of that.
        """
        small = batch.size < 2 * self.fabric.world_size
        early = self.ends_alone and can_be_cut(batch.images)
        self.ends_alone = False
        if not (small or early):
            return False
        if self.alone is None:
            self.alone = left_out(self.plain, self.answers, batch.to(self.fabric.device).images)
        return small and self.alone

    def _share(self, batch: Batch) -> tuple[Batch, float]:
        """This process's part of a batch on its device, and its weight in the mean over processes.

        All of it and 1, unless several train together. A process without a sample takes the first,
        with the weight 0: all processes must average their gradients.
        """
        if not self._shared:
            return batch.to(self.fabric.device), 1.0
        whole, several = batch.size, self.fabric.world_size
        ours = batch.share(slice(self.fabric.global_rank, None, several))
        if not ours.size:
            return batch.share(slice(1)).to(self.fabric.device), 0.0
        return ours.to(self.fabric.device), ours.size * several / whole

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode without gradients; the next epoch switches the moved ones back.

        Not inference mode: what is copied from a network there could not be trained.
        """
        for name in self.moved:
            self.networks[name].eval()
        with torch.no_grad(), devices.uncompiled():
            yield

    def save(self, path: Path, history: list[dict[str, float]]) -> None:
        """Write networks, optimisers and history into one file: old or new, never a part."""
        tensors = {
            f"network.{name}.{key}": value
            for name in sorted(self.moved)
            for key, value in state_of(self.plain[name]).items()
        }
        for number, optimiser in enumerate(self.optimisers):
            for parameter, state in optimiser.state_dict()["state"].items():
                for key, value in state.items():
                    if value is not None:
                        tensors[f"optimiser.{number}.{parameter}.{key}"] = torch.as_tensor(value)
        # Tied weights come under several names: each is written on its own.
        tensors = {key: value.clone(memory_format=torch.contiguous_format)
                   for key, value in tensors.items()}  # fmt: skip
        about = {"identity": json.dumps(self.names), "history": json.dumps(history)}
        atomic_write(path, sealed(tensors, about))

    def resume(self, path: Path | None) -> list[dict[str, float]]:
        """Take the state of `path`, where there is one, and return the history so far."""
        if path is None:
            return []
        if self.fabric.is_global_zero:
            check_writable(path.parent)
            sweep(path.parent, path.name)
        try:
            tensors, about = unsealed(path.read_bytes())
        except FileNotFoundError:
            return []
        except Foreign as error:
            raise AnotherRun(
                f"{path} is no checkpoint of kdnb that can be gone on with ({error}): delete it or "
                "name another file."
            ) from error
        except Damaged as error:
            log.warning("the checkpoint %s is damaged (%s): starting afresh.", path, error)
            return []
        theirs = json.loads(about.get("identity", "{}"))
        if theirs != self.names and (why := another(theirs, self.names)):
            raise AnotherRun(f"the checkpoint {path} belongs to another run {why}")
        for name in self.moved:
            start = f"network.{name}."
            state = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
            take_state(self.plain[name], state, self.fabric.device)
        for number, optimiser in enumerate(self.optimisers):
            whole = optimiser.state_dict()
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimiser.{number}."):
                    _, _, parameter, entry = key.split(".")
                    state.setdefault(int(parameter), {})[entry] = value
            optimiser.load_state_dict({**whole, "state": state})
        return json.loads(about["history"])

"""The one training loop: any number of networks and optimisers, named loss terms, exact resume.

A scheme describes what happens to one batch as a list of `Update`s and calls `fit`. The loop
knows no method by name. It runs on Lightning Fabric, which brings device, precision and processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kdnb.data import Batch, Batches
from kdnb.paths import atomic_write
from kdnb.progress import bar
from kdnb.training import devices
from kdnb.training.devices import arithmetic
from kdnb.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)
SAVE_EVERY = 1.0  # seconds at least between two checkpoints: epochs may take milliseconds
DURABLE_EVERY = 5.0  # seconds between two checkpoints that wait for the disk


Networks = Mapping[str, nn.Module]
Losses = Callable[[Networks, Batch], dict[str, Tensor]]


class NonFiniteLoss(ArithmeticError):
    """A loss term became NaN or infinite; the message names the term and the step."""


@dataclass(frozen=True)
class Update:
    """One optimiser step of every batch.

    Attributes:
        networks: names of the networks whose parameters move.
        losses: (networks, batch) -> named terms, weighted already; their sum is minimised.
        recipe: optimiser and schedule of this update; the run's own when None.
        after: called after the step, for projections such as max-norm.
        begin: called with the number of each epoch, from 0, before its first step, for weights
            that change in the course of training; also for the first epoch of a resumed run.
    """

    networks: tuple[str, ...]
    losses: Losses
    recipe: Recipe | None = None
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
    checkpoint: Path | None = None,
    log_dir: Path | None = None,
    fabric: Fabric | None = None,
) -> list[dict[str, float]]:
    """Train networks for `recipe.epochs` epochs; their state is the last epoch's.

    Args:
        networks: by name. Those that no update moves are frozen while it lasts: eval mode, no
            gradients. The others are left in eval mode.
        batches: anything with `epoch(n)` and `len`, such as `Batches` or `LoaderBatches`.
        updates: carried out in order on every batch.
        seed: of dropout and whatever else draws random numbers while training.
        evaluate: called with the networks in eval mode after every epoch; its values join the
            history.
        checkpoint: a file, written after every epoch (of short ones: once a second, and after the
            last), from which a killed run goes on. A resumed run equals the uninterrupted one bit
            for bit on the same machine.
        log_dir: TensorBoard scalars of every epoch, and the images of the first batch.
        fabric: a launched Fabric, for another device, precision or several processes: the
            gradients are averaged and every process takes its share of each batch.

    Returns:
        One dict an epoch: `epoch`, `lr`, `seconds`, the mean of every loss term, and what
        `evaluate` gave.

    Raises:
        NonFiniteLoss: when a term turns NaN or infinite: which, and at which step.
        ValueError: when the checkpoint belongs to another run.
    """
    updates = [updates] if isinstance(updates, Update) else list(updates)
    fabric = fabric or devices.fabric(arithmetic(recipe.precision))
    run = _Run(networks, updates, recipe, len(batches) * recipe.epochs, seed, fabric)
    history = run.resume(checkpoint)
    writer = _writer(log_dir, batches, len(history)) if fabric.is_global_zero else None
    progress = bar(recipe.epochs, len(history), "epoch")
    with _own_random_state(fabric.device), progress, contextlib.ExitStack() as stack:
        if writer:
            stack.callback(writer.close)
        for epoch in range(len(history), recipe.epochs):
            # Seeding each epoch by its number is what makes a resumed run equal to the other.
            rank = [fabric.global_rank] if fabric.global_rank else []
            _seed_everything(_mix(seed, epoch, *rank))
            started = perf_counter()
            for update in updates:
                if update.begin:
                    update.begin(epoch)
            row = {"epoch": epoch + 1, **run.epoch(batches.epoch(epoch), epoch * len(batches))}
            row["seconds"] = perf_counter() - started
            if evaluate:
                with run.evaluating():
                    row |= evaluate(run.networks)
            history.append(row)
            if checkpoint and fabric.is_global_zero:
                run.save(checkpoint, history, last=epoch + 1 == recipe.epochs)
            for name, value in row.items() if writer else ():
                writer.add_scalar(name, value, epoch + 1)
            shown = {k: f"{v:.4g}" for k, v in row.items() if k not in ("epoch", "lr")}
            progress.set_postfix(shown)
            progress.update()
    run.release()
    return history


class _Run:
    """The moving parts of one `fit`: wrapped networks, their optimisers, and the checkpoint."""

    def __init__(self, networks, updates, recipe, steps, seed, fabric):
        self.updates, self.recipe, self.steps, self.fabric = updates, recipe, steps, fabric
        self.plain = dict(networks)
        self.saved_at = self.durable_at = perf_counter()
        moved = [name for update in updates for name in update.networks]
        if unknown := set(moved) - set(self.plain):
            raise ValueError(f"an update moves {sorted(unknown)}, but fit got {list(self.plain)}.")
        self.signature = json.dumps([recipe.model_dump(mode="json"), seed, moved, list(networks)])
        self.networks: dict[str, nn.Module] = {}
        self.frozen: list[tuple[nn.Module, bool, list[nn.Parameter]]] = []
        for name, network in self.plain.items():
            if _convolutional(network) and recipe.precision != "32":
                network.to(memory_format=torch.channels_last)
            if name in moved:
                self.networks[name] = fabric.setup_module(devices.compiled(network, trained=True))
            else:
                self.frozen.append((network, network.training, _wanting_gradients(network)))
                network.to(fabric.device).eval().requires_grad_(False)
                self.networks[name] = _Frozen(devices.compiled(network, trained=False), fabric)
        self.optimisers = []
        for update in updates:
            parameters = [p for n in update.networks for p in self.plain[n].parameters()]
            optimiser = (update.recipe or recipe).optimiser_for(parameters)
            self.optimisers.append(fabric.setup_optimizers(optimiser))
        self.moved = set(moved)

    def epoch(self, batches: Iterator[Batch], first_step: int) -> dict[str, float]:
        """Train on one epoch of batches; the mean of each loss term, read from the device once."""
        for name in self.moved:
            self.networks[name].train()
        check_every = 1 if self.fabric.device.type == "cpu" else 50  # a check waits for the device
        rows: list[Tensor] = []
        sizes: list[int] = []
        names: list[str] = []
        for offset, batch in enumerate(batches):
            batch = self._share(batch)
            names, values = [], []
            for update, optimiser in zip(self.updates, self.optimisers, strict=True):
                recipe = update.recipe or self.recipe
                for group in optimiser.param_groups:
                    group["lr"] = recipe.learning_rate(first_step + offset, self.steps)
                terms = update.losses(self.networks, batch)
                optimiser.zero_grad(set_to_none=True)
                self.fabric.backward(sum(terms.values()), model=self.networks[update.networks[0]])
                optimiser.step()
                if update.after:
                    update.after()
                names += terms
                values += [value.detach() for value in terms.values()]
            rows.append(torch.stack(values))
            sizes.append(len(batch.images))
            if (offset + 1) % check_every == 0:
                self._check(rows[-check_every:], names, first_step + offset + 1)
        self._check(rows, names, first_step + len(rows))
        weights = torch.tensor(sizes, device=rows[0].device, dtype=torch.float64)
        means = (torch.stack(rows).double() * weights[:, None]).sum(0) / weights.sum()
        means = self.fabric.all_reduce(means, reduce_op="mean") if self._shared else means
        rate = self.optimisers[0].param_groups[0]["lr"]
        return {"lr": rate, **dict(zip(names, means.tolist(), strict=True))}

    @property
    def _shared(self) -> bool:
        return self.fabric.world_size > 1

    def _share(self, batch: Batch) -> Batch:
        """This process's part of a batch on its device: all, unless several train together."""
        part = slice(self.fabric.global_rank, None, self.fabric.world_size)
        device = self.fabric.device
        ours = Batch(*(None if value is None else value[part] for value in batch))
        moved = (None if value is None else value.to(device) for value in ours[:-1])
        return Batch(*moved, ours.view)  # the view is a place in a file: it stays with the CPU

    @staticmethod
    def _check(rows: list[Tensor], names: list[str], last_step: int) -> None:
        finite = torch.isfinite(torch.stack(rows))
        if bool(finite.all()):
            return
        row, column = (~finite).nonzero()[0].tolist()
        raise NonFiniteLoss(
            f"the loss term {names[column]!r} became {rows[row][column].item()} at step "
            f"{last_step - len(rows) + row + 1}: lower the learning rate or look at the inputs."
        )

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode without gradients; the next epoch switches the moved ones back."""
        for name in self.moved:
            self.networks[name].eval()
        with torch.inference_mode(), devices.uncompiled():
            yield

    def release(self) -> None:
        """Leave the trained networks in eval mode and the frozen ones as they were."""
        for name in self.moved:
            self.plain[name].eval()
        for network, training, parameters in self.frozen:
            network.train(training)
            for parameter in parameters:
                parameter.requires_grad_()

    def save(self, path: Path, history: list[dict[str, float]], *, last: bool) -> None:
        """Write networks, optimisers and history into one file: old or new, never a part."""
        if not last and perf_counter() - self.saved_at < SAVE_EVERY:
            return
        tensors = {
            f"network.{name}.{key}": value
            for name in sorted(self.moved)
            for key, value in self.plain[name].state_dict().items()
        }
        for number, optimiser in enumerate(self.optimisers):
            for parameter, state in optimiser.state_dict()["state"].items():
                for key, value in state.items():
                    if value is not None:
                        tensors[f"optimiser.{number}.{parameter}.{key}"] = torch.as_tensor(value)
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        about = {"signature": self.signature, "history": json.dumps(history)}
        # Short epochs need not wait for the disk: a power failure costs seconds of work.
        durable = perf_counter() - self.durable_at > DURABLE_EVERY
        atomic_write(path, safetensors.torch.save(tensors, about), durable=durable)
        self.saved_at = perf_counter()
        if durable:
            self.durable_at = self.saved_at

    def resume(self, path: Path | None) -> list[dict[str, float]]:
        """Take the state of `path`, where there is one, and return the history so far."""
        if path is None or not path.exists():
            return []
        try:
            with safe_open(path, "pt", device=str(self.fabric.device)) as file:
                about = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            log.warning("the checkpoint %s is damaged (%s): starting afresh.", path, error)
            return []
        if about.get("signature") != self.signature:
            raise ValueError(
                f"the checkpoint {path} belongs to another run (its recipe, seed or networks "
                "differ): delete it or name another file."
            )
        for name in self.moved:
            start = f"network.{name}."
            state = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
            self.plain[name].load_state_dict(state)
        for number, optimiser in enumerate(self.optimisers):
            whole = optimiser.state_dict()
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimiser.{number}."):
                    _, _, parameter, entry = key.split(".")
                    state.setdefault(int(parameter), {})[entry] = value
            optimiser.load_state_dict({**whole, "state": state})
        return json.loads(about["history"])


def _wanting_gradients(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _convolutional(network: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


class _Frozen(nn.Module):
    """A network that no update moves, at the run's precision.

    Not `fabric.setup_module`: several processes would refuse a module without gradients.
    """

    def __init__(self, network: nn.Module, fabric: Fabric):
        super().__init__()
        self.network, self.fabric = network, fabric
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        with self.fabric.autocast():
            return self.network(*inputs).float()


@contextlib.contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state as it was: training is a function of its seed alone."""
    others = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])


def _seed_everything(seed: int) -> None:
    """Torch on all devices, and what a user's Dataset may draw from: random and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _mix(*numbers: int) -> int:
    """One 63-bit seed out of several numbers, unlike for unlike numbers."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big") >> 1


def _writer(log_dir: Path | None, batches: Batches, epoch: int):
    if log_dir is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import, rarely wanted
    from torchvision.utils import make_grid

    writer = SummaryWriter(str(log_dir), purge_step=epoch + 1)
    if epoch == 0:
        images = next(iter(batches.epoch(0))).images[:64].float().cpu()
        writer.add_image("images", make_grid(images, normalize=True), 0)
    return writer

"""Codistillation (Anil et al. 2018): copies in separate processes, taught by stale peers."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import ensemble_log_probabilities, hard_loss, soft_targets
from kdnb.nets import constrain
from kdnb.paths import atomic_write
from kdnb.training import Recipe, Update, fit
from kdnb.training.checkpoint import Damaged, check_ours, sealed, unsealed
from kdnb.training.inputs import batches_for

log = logging.getLogger(__name__)


def publish(network: nn.Module, file: Path, step: int) -> None:
    """Write a network's state and step atomically."""
    atomic_write(file, sealed(network.state_dict(), {"step": str(step)}), durable=False)


class StalePeer:
    """A peer in the state in which it last wrote its file.

    Args:
        network: of the peer's kind; it takes the peer's weights and is never trained.
        file: where the peer publishes; it may not exist yet.

    Attributes:
        step: the peer's own step when it wrote what is loaded; None while nothing is.
    """

    def __init__(self, network: nn.Module, file: Path):
        self.network = network.eval().requires_grad_(False)
        self.file = file
        self.step: int | None = None

    def refresh(self) -> None:
        """Load what the peer has published; keep the older copy if it cannot be read."""
        try:
            state, about = unsealed(self.file.read_bytes())
            step = int(about["step"])
        except FileNotFoundError:
            return
        except (Damaged, OSError, KeyError, ValueError) as error:
            log.warning("the peer's file %s cannot be read (%s).", self.file, error)
            return
        if step == self.step:
            return
        self.network.load_state_dict(state)
        self.step = step


def codistil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    name: str,
    peers: Sequence[str],
    folder: Path,
    every: int,
    burn_in: int = 0,
    weight: float = 1.0,
    temperature: float = 1.0,
    kinds: Sequence[nn.Module] | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train one copy, in this process, while others train theirs (Anil et al. 2018, algorithm 1).

    .. math:: L_i = H(y, F(\theta_i)) + \mathrm{weight} \cdot [t \ge t_0]\;
        T^2\, KL\Big(\frac{1}{N-1} \sum_{j \ne i} F(\theta_j^{old}) \,\Big\|\, F(\theta_i)\Big)

    Every `every` steps this copy publishes its weights in `folder` and reads its peers'. Nothing
    waits: a peer whose file is missing does not teach, and a late peer teaches with its old
    weights.

    Args:
        network: trained in place.
        examples: this copy's own; in the paper every copy sees a different part of the data.
        name, peers: of this copy and of the others; their files are `<name>.safetensors`.
        folder: a folder that all processes can access.
        every: n steps between exchanges; the first is before step 1.
        burn_in: t_0, the first steps without peers.
        temperature: 1 in the paper.
        kinds: networks of the peers' architectures, copies of which hold the peers' weights;
            `network` for all of them by default.
        options: passed to `training.fit`; with `checkpoint`, a resumed run counts its steps on.

    Returns:
        The history: `hard` and `soft`; after each epoch, for every peer, `taught.<peer>`, the share
        of the epoch's steps in which it taught, and `age.<peer>`, the mean age of its weights in
        these: this copy's steps minus the peer's steps at writing (0 when it did not teach,
        negative when the peer is ahead).

    Raises:
        ValueError: for no peer, a peer of this copy's name, `every` below 1, or if the file of this
            copy's name belongs to another.
        RuntimeError: if a peer's file has a different architecture.

    Departures: the paper's cross-entropy with the mean prediction is a divergence here, which has
    the same gradient. Peers run in eval mode. Each exchange reads whole files. A resumed run uses
    its peers in their current state, so this is the only scheme that is not reproducible bit for
    bit.
    """
    if not peers or name in peers or len(set(peers)) < len(peers):
        raise ValueError(f"{name!r} needs peers of other names, each once; got {list(peers)}.")
    if every < 1 or burn_in < 0:
        raise ValueError(f"every must be at least 1 and burn_in 0; got {every} and {burn_in}.")
    check_ours(folder / f"{name}.safetensors")
    kinds = [copy.deepcopy(kind) for kind in kinds or [network] * len(peers)]
    stale = {
        peer: StalePeer(kind, folder / f"{peer}.safetensors")
        for peer, kind in zip(peers, kinds, strict=True)
    }
    batches = batches_for(examples, recipe, seed)
    ages: dict[str, list[int]] = {peer: [] for peer in peers}
    step = 0  # of steps done
    met = False

    def exchange() -> None:
        nonlocal met
        met = True
        publish(network, folder / f"{name}.safetensors", step)
        for peer in stale.values():
            peer.refresh()

    def begin(epoch: int) -> None:
        nonlocal step
        step = epoch * len(batches)
        for values in ages.values():
            values.clear()

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        if step % every == 0 or not met:
            exchange()
        logits = networks["network"](batch.images)
        soft = logits.new_zeros(())
        present = {peer: of for peer, of in stale.items() if of.step is not None}
        if step >= burn_in and present:
            with torch.no_grad():
                answers = [
                    of.network.to(batch.images.device)(batch.images) / temperature
                    for of in present.values()
                ]
            target = temperature * ensemble_log_probabilities(answers)
            soft = weight * soft_targets(logits, target, temperature)
            for peer, of in present.items():
                ages[peer].append(step - of.step)
        return {"hard": hard_loss(logits, batch.labels), "soft": soft}

    def after() -> None:
        nonlocal step
        constrain(network)
        step += 1

    watched = options.pop("evaluate", None)

    def evaluate(networks) -> dict[str, float]:
        row = watched(networks) if watched else {}
        for peer, values in ages.items():
            row[f"taught.{peer}"] = len(values) / len(batches)
            row[f"age.{peer}"] = sum(values) / len(values) if values else 0.0
        return row

    update = Update(("network",), terms, after=after, begin=begin)
    history = fit(
        {"network": network}, batches, update, recipe, seed=seed, evaluate=evaluate, **options
    )
    publish(network, folder / f"{name}.safetensors", recipe.epochs * len(batches))
    return history

"""Co-teaching (Han et al. 2018): two networks select easy samples for each other.

Networks learn consistent labels first and memorise single wrong ones later, so a small loss early
in training indicates a correct label. Each network picks such samples for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import coteaching, kept_share, small_losses
from kdnb.losses.checks import check_choice, check_number
from kdnb.training.borrowed import modes_kept

Pick = Literal["other", "self", "all"]
PICKS = ("other", "self", "all")


@dataclass(frozen=True)
class CoTaught:
    """The report of `coteach`, one number per epoch.

    Attributes:
        shares: the share of a batch that was kept.
        precision: the share of correct labels among the samples picked by the first network, if the
            true labels were given.
    """

    shares: list[float]
    precision: list[float]


def noisy_labels(
    labels: Tensor,
    rate: float,
    classes: int,
    kind: Literal["symmetric", "pair"] = "symmetric",
    seed: int = 0,
) -> Tensor:
    """Corrupt a share of the labels.

    Args:
        labels: (N,) integers.
        rate: the probability that a label is changed.
        classes: how many.
        kind: "symmetric" draws one of the other classes; "pair" takes the next class.

    Returns:
        (N,) integers; changed labels always differ from the original, for either kind.
    """
    check_choice(("symmetric", "pair"), kind=kind)
    check_number(least=0, most=1, rate=rate)
    check_number(least=2, whole=True, classes=classes)
    stream = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(labels), generator=stream) < rate
    shift = torch.ones_like(labels)
    if kind == "symmetric":
        shift = torch.randint(1, classes, (len(labels),), generator=stream)
    return torch.where(wrong, (labels + shift) % classes, labels)


def coteach(
    first: nn.Module,
    second: nn.Module,
    images: Tensor,
    labels: Tensor,
    noise_rate: float,
    *,
    epochs: int,
    ramp_epochs: float = 10.0,
    batch_size: int = 128,
    rate: float = 1e-3,
    pick: Pick = "other",
    right: Tensor | None = None,
    after_epoch: Callable[[], object] | None = None,
    seed: int = 0,
) -> CoTaught:
    """Train two networks on partly wrong labels, in place.

    Args:
        first, second: images -> logits; they should start from different weights.
        images, labels: (N, ...) and (N,).
        noise_rate: the share of wrong labels, known or estimated on clean data.
        epochs: over all images, with Adam.
        ramp_epochs: the number of epochs during which the kept share falls.
        rate: Adam's learning rate.
        pick: "other" is the method. Two controls: "self" lets each network keep its own small
            losses, and "all" leaves nothing out.
        right: (N,) the true labels, used only for `CoTaught.precision`.
        after_epoch: called without arguments after every epoch.
        seed: for the order of the images.
    """
    check_choice(PICKS, pick=pick)
    check_number(least=1, whole=True, epochs=epochs, batch_size=batch_size)
    optimiser = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=rate)
    stream = torch.Generator().manual_seed(seed)
    shares, precision = [], []
    with modes_kept(first, second):
        for epoch in range(epochs):
            share = 1.0 if pick == "all" else kept_share(epoch, noise_rate, ramp_epochs)
            hits = kept = 0
            first.train(), second.train()
            for batch in torch.randperm(len(images), generator=stream).split(batch_size):
                if len(batch) < 2:
                    continue
                logits, given = [net(images[batch]) for net in (first, second)], labels[batch]
                if pick == "self":
                    losses = [F.cross_entropy(one, given, reduction="none") for one in logits]
                    loss = sum(one[small_losses(one, share)].mean() for one in losses)
                else:
                    loss = sum(coteaching(*logits, given, share))
                if right is not None:
                    each = F.cross_entropy(logits[0].detach(), given, reduction="none")
                    chosen = batch[small_losses(each, share)]
                    hits += int((labels[chosen] == right[chosen]).sum())
                    kept += len(chosen)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            shares.append(share)
            precision.append(hits / kept if kept else float("nan"))
            if after_epoch:
                after_epoch()
    return CoTaught(shares, precision)

"""Shared code of this section: training of classifiers, new weights, second views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch, Batches
from kdnb.nets import constrain
from kdnb.training import Losses, Recipe, Update, fit
from kdnb.training.inputs import batches_for

History = list[dict[str, float]]

# A large step, so that the generations of neighbouring seeds never share weights.
GENERATION_STRIDE = 1_000_003


def fresh_seed(seed: int, generation: int) -> int:
    """The seed of a generation's weights and data order; generation 0 uses the run's seed.

    >>> fresh_seed(7, 0), fresh_seed(7, 2)
    (7, 2000013)
    """
    return seed + GENERATION_STRIDE * generation


def fresh(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A new network whose weights the seed fixes; the caller's random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def fit_one(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    terms: Losses,
    *,
    seed: int,
    after: Callable[[], None] | None = None,
    begin: Callable[[int], None] | None = None,
    frozen: dict[str, nn.Module] | None = None,
    **options: Any,
) -> History:
    """Train one network, which the terms get under the name `network`."""

    def step() -> None:
        constrain(network)
        if after:
            after()

    update = Update(("network",), terms, after=step, begin=begin)
    batches = examples
    if not isinstance(examples, PairedBatches | LaterBatches):  # made from checked ones
        batches = batches_for(examples, recipe, seed)
    return fit(
        {"network": network, **(frozen or {})}, batches, update, recipe, seed=seed, **options
    )


class PairedBatches:
    """Batches of twice the size: images, followed by a partner of each.

    Args:
        batches: `Batches`; a partner is augmented independently, as in the batches.
        partners: (epoch) -> (examples,) int64, the partner of every image in that epoch.

    Raises:
        TypeError: if `batches` are not `Batches`, since partners have to be looked up.
    """

    augmented = True  # a stored prediction would belong to other images

    def __init__(self, batches: Batches, partners: Callable[[int], Tensor]):
        if not isinstance(batches, Batches):
            raise TypeError(
                f"partners are looked up in images in memory: give Batches, not a "
                f"{type(batches).__name__}."
            )
        self.batches, self.partners = batches, partners
        self.crop_padding, self.flip, self.jitter = (
            batches.crop_padding, batches.flip, batches.jitter,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        """One epoch, a function of (the batches' seed, number) alone."""
        partners = self.partners(number).to(self.batches.device)
        for step, batch in enumerate(self.batches.epoch(number)):
            index = partners[batch.index]
            # A different seed, hence different shifts and flips from the image itself.
            look = Batches(
                self.batches.images.select(index), len(index),
                mean=self.batches.mean, sd=self.batches.sd, shuffle=False,
                seed=_pair_seed(self.batches.seed, number, step),
                crop_padding=self.crop_padding, flip=self.flip, jitter=self.jitter,
                device=self.batches.device, channels_last=self.batches.channels_last,
            )  # fmt: skip
            other = next(iter(look))
            yield Batch(
                torch.cat([batch.images, other.images]),
                torch.cat([batch.labels, other.labels]),
                torch.cat([batch.index, index]),
            )


class LaterBatches:
    """Batches whose first epoch is a later one, so that a second `fit` continues the first."""

    def __init__(self, batches: Any, first: int):
        self.batches, self.first = batches, first

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The epoch with this offset from the first."""
        return self.batches.epoch(self.first + number)


def _pair_seed(seed: int, epoch: int, step: int) -> int:
    """A different seed for each (seed, epoch, step); Batches hash it with their own purpose."""
    return (seed * 1_000_003 + epoch + 1) * 1_000_003 + step

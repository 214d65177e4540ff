"""Shared code for synthesis: noise batches, pixels as parameters, training a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from kdnb.data.batches import Batch, mixed_seed
from kdnb.data.loaders import LoaderBatches
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.generators import Generator
from kdnb.training import Networks, Recipe, Update, fit

Terms = Callable[[Networks, Tensor], dict[str, Tensor]]
Bounds = tuple[Tensor, Tensor]
Keep = Literal["best", "last"]


def pixel_bounds(mean: Sequence[float], sd: Sequence[float]) -> Bounds:
    """The normalised values of black and white, (channels, 1, 1) each.

    Args:
        mean, sd: of each channel on the 0-1 scale, by which images are normalised.

    >>> [float(value) for value in pixel_bounds([0.5], [0.25])]
    [-2.0, 2.0]
    """
    mean, sd = (torch.tensor(value).view(-1, 1, 1) for value in (mean, sd))
    return -mean / sd, (1 - mean) / sd


class NoiseBatches(LoaderBatches):
    """Batches of Gaussian noise instead of images; there is no data set behind them.

    Args:
        steps: batches per epoch.
        batch_size: vectors or images per batch.
        shape: shape of one vector or image: (100,) for a generator, (1, 32, 32) for images of noise.
        seed: the noise is a function of (seed, epoch) alone, so an interrupted run resumes exactly.

    Raises:
        ValueError: if a number is below 1.

    >>> next(iter(NoiseBatches(2, 3, (4,)))).images.shape
    torch.Size([3, 4])
    """

    def __init__(self, steps: int, batch_size: int, shape: Sequence[int], *, seed: int = 0):
        if min(steps, batch_size, *shape) < 1:
            raise ValueError(
                f"steps, batch_size and shape must be at least 1; got {steps}, {batch_size} and "
                f"{tuple(shape)}."
            )
        super().__init__(range(steps), seed=seed)
        self.batch_size, self.shape = batch_size, tuple(shape)

    @property
    def examples(self) -> int:
        """The number of noise vectors per epoch."""
        return len(self) * self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The noise of one epoch; the labels are dummy zeros."""
        stream = torch.Generator().manual_seed(mixed_seed(self.seed, number, "noise"))
        nothing = torch.zeros(self.batch_size, dtype=torch.int64)
        for _ in range(len(self)):
            yield Batch(torch.randn(self.batch_size, *self.shape, generator=stream), nothing)


class Pixels(nn.Module):
    """Images, or noise vectors, as the parameters of a network that takes no input.

    Args:
        start: (images, ...), copied.
        bounds: lowest and highest value, see `pixel_bounds`; `clamp` restricts the images to them.
    """

    def __init__(self, start: Tensor, bounds: Bounds | None = None) -> None:
        super().__init__()
        self.images = nn.Parameter(start.detach().float().clone())
        self.bounds = bounds

    def forward(self) -> Tensor:
        return self.images.clone()  # not the leaf itself, which an in-place layer would change

    @torch.no_grad()
    def clamp(self) -> None:
        """Clamp to the bounds, if there are any."""
        if self.bounds:
            low, high = (bound.to(self.images.device) for bound in self.bounds)
            self.images.clamp_(low, high)


def optimise_pixels(
    start: Tensor,
    networks: Mapping[str, nn.Module],
    terms: Terms,
    *,
    iterations: int,
    lr: float,
    bounds: Bounds | None = None,
    precision: str = "32",
    keep: Keep = "last",
    seed: int = 0,
) -> Tensor:
    """Optimise images by Adam on some terms; the networks stay unchanged.

    Args:
        start: (images, channels, height, width), the initial images.
        networks: by name, frozen and in eval mode meanwhile.
        terms: (networks, images) -> named, weighted terms.
        iterations, lr: number of steps and learning rate of Adam.
        bounds: pixels are kept between these two after every step.
        keep: "last" for the images after the last step, "best" for those whose terms had the lowest
            sum at the start of any step.
        seed: for what the terms draw.

    Returns:
        The images, float32 on the CPU.

    Raises:
        ValueError: for an unknown `keep`.
        NonFiniteLoss: if a term becomes NaN or infinite.
    """
    check_keep(keep)
    pixels = Pixels(start, bounds)
    best: dict[str, Tensor] = {}

    def losses(running: Networks, batch: Batch) -> dict[str, Tensor]:
        images = running["pixels"]()
        found = terms(running, images)
        if keep == "best":
            total = sum(found.values()).detach()
            if not best or total < best["total"]:
                best.update(total=total, images=images.detach())
        return found

    recipe = Recipe(
        epochs=1, batch_size=1, optimiser="adam", lr=lr, schedule="constant", precision=precision
    )
    update = Update(("pixels",), losses, after=pixels.clamp)
    ticks = NoiseBatches(iterations, 1, (1,))
    fit({"pixels": pixels, **networks}, ticks, update, recipe, seed=seed)
    if best:
        pixels.images.data.copy_(best["images"])
        pixels.clamp()  # the start may be out of bounds
    return pixels.images.detach().cpu()


def check_keep(keep: str) -> None:
    """Require a way to choose among the images of all steps."""
    if keep not in get_args(Keep):
        raise ValueError(f"keep must be one of {', '.join(get_args(Keep))}; got {keep!r}.")


def play(
    student: nn.Module,
    teacher: nn.Module,
    generator: Generator,
    updates: Sequence[Update],
    recipe: Recipe,
    *,
    steps: int,
    detector: CollapseDetector | None,
    seed: int,
    evaluate: Callable[[Networks], dict[str, float]] | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Run the updates of student and generator on batches of noise; the teacher stays fixed.

    Args:
        steps: batches an epoch.
        detector: its measures join the history after every epoch, as do those of `evaluate`.
        options: passed to `training.fit`.

    Returns:
        The history.
    """

    def watched(running: Networks) -> dict[str, float]:
        return (detector.report() if detector else {}) | (evaluate(running) if evaluate else {})

    networks = {"student": student, "generator": generator, "teacher": teacher}
    noise = NoiseBatches(steps, recipe.batch_size, (generator.latent,), seed=seed)
    watch = watched if detector or evaluate else None
    return fit(networks, noise, updates, recipe, seed=seed, evaluate=watch, **options)


def resting(value: Tensor) -> Tensor:
    """A loss with this value and no gradient for any parameter.

    An optimiser skips parameters without a gradient and keeps their state. An `Update` that returns
    this value therefore makes no step, but the value counts in the epoch's mean.
    """
    return value.detach() + torch.zeros((), device=value.device, requires_grad=True)

"""Function matching (Beyer et al. 2022): long distillation on identical views.

Distillation is treated as matching two functions on as many points as possible: the same view of an
image goes through both networks, mixup adds points between the images, labels are not used, and the
schedule is long. In the paper's controls, teacher and student get different views. `match`
takes any networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data.batches import Batch, Batches, mixed_seed
from kdnb.data.loaders import LoaderBatches
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.teacher import teacher_logits

Views = Literal["fixed", "independent", "consistent", "mixed"]


class MixedBatches(LoaderBatches):
    r"""Batches whose images are mixed in pairs before any network sees them.

    .. math:: \tilde x_b = \lambda x_b + (1 - \lambda) x_{b-1}, \quad
        \lambda = \max(u, 1 - u),\; u \sim U(0, 1)

    The partner is the previous image in the batch; lambda is drawn for every batch. Uniform weights
    are far stronger than the usual mixup. Labels stay those of the image with the larger weight,
    and `index` is None: information stored about an image does not apply to a mixture.

    Args:
        batches: to take the images from; their augmentations come first.
        seed: for the weights, which are a function of (seed, epoch) alone.

    Departures: the weights follow the authors' public training code (mixup with p = 1, two images,
    the larger weight on the image itself).
    """

    def __init__(self, batches: Batches | LoaderBatches, *, seed: int = 0):
        super().__init__(batches, batches.device, seed=seed)

    @property
    def examples(self) -> int:
        """The number of images."""
        return self.loader.examples

    def epoch(self, number: int) -> Iterator[Batch]:
        """The mixed batches of one epoch."""
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, number, "mixup"))
        for batch in self.loader.epoch(number):
            draw = float(torch.rand((), generator=generator))
            weight = max(draw, 1 - draw)
            images = weight * batch.images + (1 - weight) * batch.images.roll(1, dims=0)
            yield Batch(images, batch.labels)


def match(
    student: nn.Module,
    teacher: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    views: Views = "mixed",
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train a student to match its teacher's function; labels are never read.

    .. math:: L = T^2\, \mathrm{KL}\big(p_t(\tilde x) \Vert p_s(\tilde x)\big)

    (Beyer et al. 2022, section 3). The recipe sets the length: the paper's schedules grow to 9600
    epochs on ImageNet without saturating.

    Args:
        student, teacher: images -> logits (batch, classes). The teacher is frozen.
        batches: batches with the augmentations named in the recipe.
        views: what the teacher looks at:
            "fixed": the image without augmentation, once, whatever the student sees;
            "independent": the same image, augmented on its own;
            "consistent": the very tensor that the student sees;
            "mixed": the same, mixed two by two (:class:`MixedBatches`): function matching.
        temperature: 1 in the paper's main configuration.
        options: passed to `training.fit`.

    Returns:
        The history, one dict per epoch.

    Raises:
        ValueError: for unknown views, or a recipe whose augmentation these batches do not apply.
        TypeError: if the views need images in memory and `batches` is a loader.
    """
    if views not in get_args(Views):
        raise ValueError(f"views must be one of {', '.join(get_args(Views))}; got {views!r}.")
    if views in ("fixed", "independent") and not isinstance(batches, Batches):
        raise TypeError(f"{views} views need kdnb's Batches; got {type(batches).__name__}.")
    wanted = {name: getattr(recipe, name) for name in ("crop_padding", "flip", "jitter")}
    if any(value and getattr(batches, name, 0) != value for name, value in wanted.items()):
        raise ValueError(f"the recipe asks for {wanted}, which these batches do not do.")
    answers = teacher_logits(teacher, _plain(batches)) if views == "fixed" else None
    epoch = 0

    def begin(number: int) -> None:
        nonlocal epoch
        epoch = number

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            if answers is not None:
                targets = answers[batch.index]
            elif views == "independent":
                targets = networks["teacher"](another_view(batches, batch.index, epoch))
            else:
                targets = networks["teacher"](batch.images)
        logits = networks["student"](batch.images)
        return {"soft": losses.soft_targets(logits, targets, temperature)}

    seen = MixedBatches(batches, seed=seed) if views == "mixed" else batches
    update = Update(("student",), terms, after=lambda: constrain(student), begin=begin)
    networks = {"student": student, "teacher": teacher}
    return fit(networks, seen, update, recipe, seed=seed, **options)


def another_view(batches: Batches, index: Tensor, epoch: int) -> Tensor:
    """The images at `index`, in that order, with independent augmentations.

    The result depends only on the batches' seed, the epoch and the requested images.

    Args:
        index: (batch,) positions in `batches.images`.

    Returns:
        (batch, channels, height, width), normalised.
    """
    # The order of the positions changes with the batch, so no two batches share their shifts.
    stream = mixed_seed(batches.seed, epoch, f"another view {index[:8].tolist()}")
    images = Batches(
        batches.images.select(index), len(index), mean=batches.mean, sd=batches.sd, seed=stream,
        shuffle=False, crop_padding=batches.crop_padding, flip=batches.flip,
        jitter=batches.jitter, device=batches.device, channels_last=batches.channels_last,
    )  # fmt: skip
    return next(images.epoch(0)).images


def _plain(batches: Batches) -> Batches:
    return Batches(batches.images, 1000, mean=batches.mean, sd=batches.sd, device=batches.device)

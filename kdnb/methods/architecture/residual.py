"""Residual knowledge distillation (Gao et al. 2021): an assistant learns what the student misses.

The student mimics the teacher's feature maps, an assistant learns the residual error, and both
together replace the teacher. Both come from one model split by width, so the pair costs no more
than that model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss
from kdnb.losses.checks import at_least_float32, check_maps
from kdnb.nets import constrain, features
from kdnb.training import Recipe, Update, fit
from kdnb.training.borrowed import evaluating
from kdnb.training.inputs import batches_for


def residual_error(student_maps: Tensor, assistant_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""The distance of student plus assistant from the teacher (Gao 2021).

    .. math:: L = \frac{1}{2BCHW} \sum_b \lVert S(x_b) + A(x_b) - T(x_b) \rVert_2^2

    With the student detached, it teaches the assistant the residual T - S; with a zero assistant,
    it is the student's mimicking loss.

    Args:
        student_maps, assistant_maps, teacher_maps: (batch, channels, height, width), all of the
            same shape.

    Returns:
        A scalar in squared units of the maps.

    Raises:
        ValueError: for wrong or mismatched shapes.

    Departures: the loss is also averaged over the elements, so that the weight does not depend on
    the size of the maps; we did not check the paper's own scale again.

    >>> one = torch.ones(2, 1, 1, 1)
    >>> residual_error(one, one, 4 * one)
    tensor(2.)
    """
    check_maps(student_maps=student_maps, assistant_maps=assistant_maps, teacher_maps=teacher_maps)
    parts = map(at_least_float32, (student_maps, assistant_maps, teacher_maps))
    student, assistant, teacher = parts
    return (student + assistant - teacher).square().mean() / 2


def split_widths(share: float = 0.25) -> tuple[float, float]:
    """Width factors of a student and an assistant that together cost as much as their model.

    The cost of a convolution grows with the square of the widths.

    Args:
        share: the assistant's share of the cost, between 0 and 1.

    Returns:
        (the student's factor, the assistant's), for the argument `width` of `resnet*`.

    Departures: the paper derives both from one model at the same cost; we did not check again how
    it splits the model.

    >>> split_widths(0.36)
    (0.8, 0.6)
    """
    if not 0 < share < 1:
        raise ValueError(f"the assistant's share must lie within 0 and 1; got {share}.")
    return (1 - share) ** 0.5, share**0.5


class Mimic(nn.Module):
    """A network up to a layer, with a 1x1 convolution to the width of the teacher's maps.

    Args:
        trunk: any network; layers after `path` run, but their output is not used.
        path: the layer whose maps are taken.
        channels: number of channels of the teacher's maps.
        images: example images, to find the layer's own channels.
    """

    def __init__(self, trunk: nn.Module, path: str, channels: int, images: Tensor) -> None:
        super().__init__()
        self.trunk, self.path = trunk, path
        self.connector = nn.Conv2d(_channels(trunk, path, images), channels, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (batch, channels, height, width) of images."""
        return self.connector(_maps(self.trunk, self.path, images))


class Pair(nn.Module):
    """Student and assistant as one classifier: head(mean over pixels of S(x) + A(x)).

    Args:
        student, assistant: whose maps have the same shape.
        head: (batch, channels) -> logits.
    """

    def __init__(self, student: Mimic, assistant: Mimic, head: nn.Linear) -> None:
        super().__init__()
        self.student, self.assistant, self.head = student, assistant, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        return self.head((self.student(images) + self.assistant(images)).mean((2, 3)))


def distil_residual(
    student: nn.Module,
    assistant: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    path: str,
    teacher_path: str | None = None,
    classes: int,
    hint_weight: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> tuple[Pair, list[dict[str, float]]]:
    r"""Train a student to mimic its teacher's maps, and an assistant to make up for the rest.

    .. math:: L_S = w \tfrac12 \lVert S - T \rVert^2 + H(y, h(S)), \quad
        L_A = w \tfrac12 \lVert \mathrm{sg}(S) + A - T \rVert^2 + H(y, h(\mathrm{sg}(S) + A))

    (Gao et al. 2021), where sg(.) stops the gradient and h is a classifier. In every step the
    student is updated first; the assistant then learns the error that the updated student leaves.

    Args:
        student, assistant: networks whose layer `path` gives maps of the teacher's height and
            width; trained in place. :func:`split_widths` gives their widths.
        teacher: trained; frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        path, teacher_path: the layer in both networks, and in the teacher if it differs.
        classes: number of classes of the new classifier on the sum of both.
        hint_weight: w.
        options: passed to `training.fit`; `evaluate` sees `student`, `assistant` and `head`.

    Returns:
        The pair as one network around both, images -> logits, and the history: `student` and
        `assistant` (the weighted distances) and the cross-entropies `student_hard` and
        `assistant_hard`.

    Raises:
        ValueError: for an unknown path, or maps of other sizes than the teacher's.

    Departures: it is confirmed that the student mimics the teacher's maps and that the assistant
    learns the residual error. Joint training, at one layer, with one classifier is our reading.
    """
    batches = batches_for(examples, recipe, seed)
    images = next(batches.epoch(0)).images[:2].cpu()
    taught_at = teacher_path or path
    channels = _channels(teacher.cpu(), taught_at, images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mimics = [Mimic(trunk.cpu(), path, channels, images) for trunk in (student, assistant)]
        pair = Pair(*mimics, nn.Linear(channels, classes))
    taught: list[Tensor] = []  # the teacher runs once per batch, in the first update

    def first(networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad(), features(teacher, [taught_at]) as maps:
            networks["teacher"](batch.images)
            taught[:] = [at_least_float32(maps[taught_at])]
        own = networks["student"](batch.images)
        distance = residual_error(own, torch.zeros_like(own), taught[0])
        logits = networks["head"](own.mean((2, 3)))
        return {
            "student": hint_weight * distance,
            "student_hard": hard_loss(logits, batch.labels),
        }

    def second(networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            own = networks["student"](batch.images)
        rest = networks["assistant"](batch.images)
        logits = networks["head"]((own + rest).mean((2, 3)))
        return {
            "assistant": hint_weight * residual_error(own, rest, taught[0]),
            "assistant_hard": hard_loss(logits, batch.labels),
        }

    updates = [
        Update(("student",), first, after=lambda: constrain(student)),
        Update(("assistant", "head"), second, after=lambda: constrain(assistant)),
    ]
    networks = {
        "student": pair.student, "assistant": pair.assistant, "head": pair.head, "teacher": teacher,
    }  # fmt: skip
    history = fit(networks, batches, updates, recipe, seed=seed, **options)
    return pair, history


def _maps(network: nn.Module, path: str, images: Tensor) -> Tensor:
    with features(network, [path]) as maps:
        network(images)
    return maps[path]


@torch.no_grad()
def _channels(network: nn.Module, path: str, images: Tensor) -> int:
    with evaluating(network):  # two images must not change batch statistics
        return _maps(network, path, images).shape[1]

"""ZSKT's analysis of belief matching: transition curves, their mean error, and a toy problem."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_labels
from kdnb.methods.data_free.synthesis import NoiseBatches, Pixels, resting
from kdnb.training import Networks, Recipe, Update, fit
from kdnb.training.borrowed import evaluating

TOGETHER = 256  # walks at a time: a bound on memory, whatever the number of classes


def transition_curves(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 100,
    lr: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""How both networks' beliefs change as an image moves from its class to each other class.

    .. math:: x \leftarrow x - \xi\, \nabla_x H(e_j, S(x)), \qquad p_j^S(x),\; p_j^T(x)

    after 0, 1, ... steps, each by the gradient of the student's cross-entropy with class j
    (Micaelli and Storkey 2019).

    Args:
        student, teacher: images -> logits; run in eval mode.
        images: (images, ...); their classes are those of `labels`.
        labels: (images,).
        steps, lr: K = 100 and xi = 1.

    Returns:
        The student's and the teacher's curves, (images, classes - 1, steps) each; the classes are
        label + 1, label + 2, ... modulo their number.

    Raises:
        ValueError: for labels of a wrong shape, or fewer than one step.
    """
    with evaluating(student, teacher):
        with torch.no_grad():
            logits = student(images)
        check_labels(logits, labels)
        if steps < 1:
            raise ValueError(f"steps must be at least 1; got {steps}.")
        classes = logits.shape[1]
        targets = (labels[:, None] + torch.arange(1, classes, device=labels.device)) % classes
        starts = torch.arange(len(labels)).repeat_interleave(classes - 1)
        pairs = zip(starts.split(TOGETHER), targets.flatten().split(TOGETHER), strict=True)
        walks = [
            _walk(student, teacher, images[start].detach(), target, steps, lr)
            for start, target in pairs
        ]
    ours, theirs = (torch.cat(curves).view(*targets.shape, steps) for curves in zip(*walks))
    return ours, theirs


def _walk(
    student: nn.Module, teacher: nn.Module, x: Tensor, target: Tensor, steps: int, lr: float
) -> tuple[Tensor, Tensor]:
    """Both beliefs in the target class along the path, (walks, steps) each."""
    course: tuple[list, list] = ([], [])
    for _ in range(steps):
        x.requires_grad_()
        z = student(x).float()
        # The sum over images: each moves by its own gradient, independently of the others.
        (slope,) = torch.autograd.grad(F.cross_entropy(z, target, reduction="sum"), x)
        with torch.no_grad():
            for kept, answer in zip(course, (z, teacher(x).float()), strict=True):
                kept.append(F.softmax(answer, 1).gather(1, target[:, None])[:, 0])
            x = x.detach() - lr * slope
    ours, theirs = (torch.stack(kept, 1).detach() for kept in course)
    return ours, theirs


def mean_transition_error(
    student: nn.Module, teacher: nn.Module, images: Tensor, labels: Tensor, **options: Any
) -> float:
    r"""The belief-match measure: the mean distance of the transition curves.

    .. math:: MTE = \frac{1}{N (C - 1) K} \sum_n \sum_{j \ne y_n} \sum_k
        \big| p_j^S(x_{njk}) - p_j^T(x_{njk}) \big|

    over the images that both networks classify correctly (Micaelli and Storkey 2019).

    Args:
        options: `steps` and `lr` of :func:`transition_curves`.

    Returns:
        Between 0 (the same beliefs all along) and 1.

    Raises:
        ValueError: if there is no image that both classify correctly.

    Departures: the authors' code (polo5/ZeroShotKnowledgeTransfer, `utils/transition_curves.py`)
    takes 1,000 test images to which both networks give the same class, right or wrong. The walks of
    a misclassified image lead to every class except its label, so one of them starts at its goal.
    The mean is that of their notebook `transition_curves_and_error.ipynb`.
    """
    with evaluating(student, teacher), torch.no_grad():
        right = (student(images).argmax(1) == labels) & (teacher(images).argmax(1) == labels)
    if not right.any():
        raise ValueError("there is no image that both networks classify right.")
    ours, theirs = transition_curves(student, teacher, images[right], labels[right], **options)
    return float((ours - theirs).abs().mean())


def belief_matching_toy(
    student: nn.Module,
    teacher: nn.Module,
    start: Tensor,
    *,
    rounds: int,
    point_steps: int = 50,
    student_steps: int = 10,
    lr: float = 1e-3,
    reach: float = 3.0,
    seed: int = 0,
) -> tuple[Tensor, list[dict[str, float]]]:
    r"""ZSKT's toy problem in two dimensions, with pseudo points instead of a generator.

    .. math:: \max_{u}\, \min_S\; \mathrm{KL}\big(T(x) \Vert S(x)\big), \quad
        x = r\,(2\,\mathrm{sigmoid}(u) - 1) \in [-r, r]^2

    A few points search for places where the two networks disagree; the student learns only there.

    Args:
        student, teacher: points (batch, 2) -> logits; the student is trained in place.
        start: u at the beginning, (points, 2); the authors draw 50 from a normal around (3, 3).
        rounds: each `point_steps` steps of the points, then `student_steps` of the student.
        lr: learning rate of both Adams.
        reach: r.

    Returns:
        The points x after the last round, and the history: `adversarial` and `soft`.

    Sizes and rates follow the authors' notebook, without its gradient clipping.
    """
    points = Pixels(start)
    recipe = Recipe(epochs=rounds, batch_size=1, optimiser="adam", lr=lr, schedule="constant",
                    precision="32")  # fmt: skip
    cycle, tick = point_steps + student_steps, 0
    last = {"adversarial": torch.zeros(()), "soft": torch.zeros(())}

    def begin(epoch: int) -> None:
        nonlocal tick
        tick = 0

    def place(u: Tensor) -> Tensor:
        return reach * (2 * u.sigmoid() - 1)

    def move(running: Networks, batch: Batch) -> dict[str, Tensor]:
        if tick >= point_steps:
            return {"adversarial": resting(last["adversarial"])}
        x = place(running["points"]())
        last["adversarial"] = -losses.soft_targets(running["student"](x), running["teacher"](x), 1)
        return {"adversarial": last["adversarial"]}

    def learn(running: Networks, batch: Batch) -> dict[str, Tensor]:
        nonlocal tick
        tick += 1
        if tick <= point_steps:
            return {"soft": resting(last["soft"])}
        x = place(running["points"]()).detach()
        last["soft"] = losses.soft_targets(running["student"](x), running["teacher"](x), 1.0)
        return {"soft": last["soft"]}

    updates = [Update(("points",), move, begin=begin), Update(("student",), learn)]
    history = fit(
        {"points": points, "student": student, "teacher": teacher},
        NoiseBatches(cycle, 1, (1,)), updates, recipe, seed=seed,
    )  # fmt: skip
    return place(points.images.detach()).cpu(), history

"""Boundary-supporting samples (BSS, Heo et al. 2019b): distil at the teacher's decision boundary.

Training images are attacked until the teacher's answer changes. The student also imitates the
teacher on these samples, which lie where two classes meet.
`distil_at_boundaries` takes any networks and data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses import hard_loss
from kdnb.losses.checks import at_least_float32, check_labels, check_logits
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


def published_weights(done: float) -> tuple[float, float]:
    """The weights of the soft targets and of the boundary samples over a run (authors' code).

    Args:
        done: the share of the run that is finished at the end of the epoch, in (0, 1].

    Returns:
        (1 + 3 (1 - done), 2 (1 - 4/3 done)), the second not below 0: the samples help for the
        first three quarters of the run. Both belong to cross-entropies without the factor T².

    >>> published_weights(0.75)
    (1.75, 0.0)
    """
    return 1 + 3 * (1 - done), max(0.0, 2 * (1 - 4 / 3 * done))


def choose_bases(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, count: int
) -> Tensor:
    r"""Choose the images to attack: the teacher is right, and the student differs most.

    .. math:: s_b = \sum_{k \ne y_b} (p_{bk} - q_{bk})^2

    with the softmaxes p of the teacher and q of the student, at temperature 1.

    Args:
        student_logits, teacher_logits: (batch, classes).
        labels: (batch,).
        count: the largest number to choose.

    Returns:
        Positions in the batch (at most `count`), those with the largest s first; none where the
        teacher is always wrong.

    Raises:
        ValueError: for wrong shapes, or a count below 1.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(teacher_logits, labels)
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}.")
    p, q = (F.softmax(at_least_float32(z), 1) for z in (teacher_logits, student_logits))
    squares = (p - q).square()
    score = squares.sum(1) - squares.gather(1, labels[:, None])[:, 0]
    right = (teacher_logits.argmax(1) == labels).nonzero()[:, 0]
    return right[score[right].argsort(descending=True)[:count]]


def choose_targets(teacher_logits: Tensor) -> Tensor:
    r"""A target class for each image, drawn in proportion to the teacher's probability.

    .. math:: P(k) = \frac{p_{bk}}{1 - p_{b,b^*}} \text{ for } k \ne b^* = \arg\max_k p_{bk}

    so that the nearest boundaries are targeted most often. Draws from torch's random state.

    Args:
        teacher_logits: (batch, classes), at least two classes.

    Returns:
        (batch,) classes, never the teacher's own answer.

    Raises:
        ValueError: for wrong shapes, or a single class.
    """
    check_logits(teacher_logits=teacher_logits)
    if teacher_logits.shape[1] < 2:
        raise ValueError("a boundary needs two classes; got logits of one.")
    # Without the largest logit, the softmax over the rest is the conditional distribution, even if
    # the teacher is so confident that every other probability underflows.
    own = F.one_hot(teacher_logits.argmax(1), teacher_logits.shape[1]).bool()
    rest = at_least_float32(teacher_logits.detach()).masked_fill(own, -torch.inf)
    return torch.multinomial(F.softmax(rest, 1), 1)[:, 0]


def boundary_samples(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    *,
    steps: int = 10,
    step_size: float = 0.3,
    bounds: tuple[float, float] | None = (-2.5, 2.5),
    variant: Literal["paper", "authors"] = "paper",
) -> Tensor:
    r"""Move images towards a class until the network's answer changes.

    .. math:: x \leftarrow x + \eta\, (z_b(x) - z_k(x) + \epsilon)
        \frac{g}{\lVert g \rVert_2^2}, \quad g = \nabla_x (z_k - z_b)(x)

    with the class b that the network gives to the original image, the target k, and epsilon = 1e-4.
    If the scores are linear, a step closes the share eta of the gap. An image whose answer is no
    longer b stays fixed.

    Args:
        network: images -> logits (batch, classes); its parameters get no gradients.
        images: (batch, ...), floating point.
        targets: (batch,) classes.
        steps: the largest number of steps.
        step_size: eta.
        bounds: smallest and largest value of a normalised pixel; None for no bounds.
        variant: "authors" divides by the norm itself, so that the step grows with the gradient: use
            a smaller eta for networks with steep scores.

    Returns:
        Samples like `images`, detached. Samples that do not cross the boundary in `steps` steps are
        closer to it than before.

    Raises:
        ValueError: for targets that do not match the images, steps below 1, a step size not above
            0, or an unknown variant.

    Departures: eta, bounds, stopping and the variant "authors" follow the authors' public code; the
    squared norm of the paper's equation is recalled.
    """
    if variant not in ("paper", "authors"):
        raise ValueError(f"variant must be 'paper' or 'authors'; got {variant!r}.")
    if targets.shape != images.shape[:1]:
        raise ValueError(
            f"targets must have shape ({len(images)},), one for each image; "
            f"got {tuple(targets.shape)}."
        )
    if steps < 1 or not step_size > 0:
        raise ValueError(f"steps and step_size must be above 0; got {steps} and {step_size}.")
    samples, base = images.detach().clone(), None
    shape = (-1,) + (1,) * (images.ndim - 1)
    for _ in range(steps):
        with torch.enable_grad():
            samples.requires_grad_()
            logits = at_least_float32(network(samples))
            answers = logits.argmax(1)
            base = answers if base is None else base
            gap = (logits.gather(1, base[:, None]) - logits.gather(1, targets[:, None]))[:, 0]
            (uphill,) = torch.autograd.grad(-gap.sum(), samples)
        samples = samples.detach()
        moving = answers == base
        if not moving.any():
            break
        length = uphill.flatten(1).norm(dim=1).clamp_min(1e-12)
        size = step_size * (gap.detach() + 1e-4) / length * moving
        size = size / length if variant == "paper" else size
        samples = samples + size.view(shape).to(samples.dtype) * uphill
        samples = samples if bounds is None else samples.clamp(*bounds)
    return samples


def distil_at_boundaries(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float = 3.0,
    count: int = 64,
    steps: int = 10,
    step_size: float = 0.3,
    bounds: tuple[float, float] | None = (-2.5, 2.5),
    variant: Literal["paper", "authors"] = "paper",
    weights: Callable[[float], tuple[float, float]] = published_weights,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Distillation with boundary-supporting samples.

    .. math:: L = H(y, q(x)) + w_s \mathrm{KL}_T\big(p(x) \Vert q(x)\big)
        + w_b \mathrm{KL}_T\big(p(\dot x^k) \Vert q(\dot x^k)\big), \quad k \sim P(k)

    (Heo et al. 2019b). The sum over classes of the method, weighted by the teacher's
    probability, is estimated by one class for each image, as in the authors' code.

    Args:
        student, teacher: images -> logits (batch, classes). The teacher is frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        temperature: T of both imitations.
        count: boundary samples for each batch, at most.
        steps, step_size, bounds, variant: as in :func:`boundary_samples`.
        weights: share of the run -> (w_s, w_b), called once per epoch.
        options: passed to `training.fit`.

    Returns:
        The history: terms `hard`, `soft` and `boundary`.

    Departures: divergences instead of cross-entropies (the same gradients); without the factor T²,
    as in the authors' code, whose weights these are.
    """
    batches = batches_for(examples, recipe, seed)
    soft_weight, boundary_weight = weights(1 / recipe.epochs)

    def begin(epoch: int) -> None:
        nonlocal soft_weight, boundary_weight
        soft_weight, boundary_weight = weights((epoch + 1) / recipe.epochs)

    def imitation(logits: Tensor, taught: Tensor) -> Tensor:
        return losses.soft_targets(logits, taught, temperature) / temperature**2

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits = networks["student"](batch.images)
        with torch.no_grad():
            taught = networks["teacher"](batch.images)
        hard = hard_loss(logits, batch.labels)
        boundary = torch.zeros_like(hard)
        bases = choose_bases(logits.detach(), taught, batch.labels, count)
        if boundary_weight and len(bases):
            samples = boundary_samples(
                networks["teacher"], batch.images[bases], choose_targets(taught[bases]),
                steps=steps, step_size=step_size, bounds=bounds, variant=variant,
            )  # fmt: skip
            with torch.no_grad():
                answers = networks["teacher"](samples)
            boundary = boundary_weight * imitation(networks["student"](samples), answers)
        return {"hard": hard, "soft": soft_weight * imitation(logits, taught), "boundary": boundary}

    update = Update(("student",), terms, after=lambda: constrain(student), begin=begin)
    networks = {"student": student, "teacher": teacher}
    return fit(networks, batches, update, recipe, seed=seed, **options)

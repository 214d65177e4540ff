"""Teacher-student adaptation across domains with reversed gradients (Meng et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import reverse_gradient, soft_targets
from kdnb.methods.online.common import Distortion
from kdnb.nets import constrain, features
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


def shifted(images: Tensor, *, contrast: float = -0.5, shade: float = 1.0) -> Tensor:
    r"""Make another domain of images: change their contrast and add light from one side.

    .. math:: x'_{ij} = c\, x_{ij} + h\, u_j, \qquad u_j \text{ from } -1 \text{ (left) to } 1

    This is an affine map of the pixels, with a fixed inverse if c is not 0: no content is lost, but
    every pixel changes. A negative c swaps ink and paper.

    Args:
        images: (batch, channels, height, width), normalised.
        contrast: c.
        shade: h, in the units of the normalised pixels.

    Returns:
        Images of the same shape.

    Raises:
        ValueError: for wrong shapes, or a contrast that is 0 or not finite.

    >>> shifted(torch.ones(1, 1, 1, 3))
    tensor([[[[-1.5000, -0.5000,  0.5000]]]])
    """
    if images.ndim != 4 or not math.isfinite(contrast) or contrast == 0:
        raise ValueError(
            "a shift takes images (batch, channels, height, width) and a finite contrast other "
            f"than 0; got {tuple(images.shape)} and {contrast}."
        )
    light = torch.linspace(-1, 1, images.shape[3], device=images.device, dtype=images.dtype)
    return contrast * images + shade * light


def adversarial_domains(
    student: nn.Module,
    teacher: nn.Module,
    critics: Mapping[str, nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    views: Sequence[Distortion],
    conditions: Mapping[str, Sequence[int]],
    path: str,
    reversal_weight: float = 1.0,
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Adversarial teacher-student learning for unsupervised domain adaptation (Meng et al. 2018).

    It uses parallel data: the teacher sees an image as it is; the student sees the same image in
    every condition and should give the same answer, whatever the condition:

    .. math:: \min_{\theta_f, \theta_y} \max_{\theta_c}\;
        L_{TS}(\theta_f, \theta_y) - \lambda\, L_{cond}(\theta_f, \theta_c), \qquad
        L_{TS} = \mathrm{KL}\big(p_T(x) \,\|\, p_S(x'_c)\big)

    with the cross-entropy L_cond of classifiers that predict the condition from the student's deep
    features. A single update plays the game, by `reverse_gradient`. With several factors, each with
    its own classifier, this is the paper's multi-factorial variant. Labels are not used.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place, and
            starts from the teacher's weights in the paper; the teacher is frozen.
        critics: for each factor, by name: deep features -> logits of its conditions, such as
            `Critic(inputs, 2)`; trained in place, with the student's recipe.
        examples: of the source domain.
        views: images -> images, such as `shifted`, one for each condition; include the identity
            (`lambda images: images`) if the student should also work on the source domain.
        conditions: for each factor, by name: its value in each view, from 0.
        path: module path of the student's deep features.
        reversal_weight: lambda, the same for all factors; 0 is plain teacher-student learning, with
            classifiers that do not affect the student.
        temperature: temperature of the teacher-student loss; the paper has 1.
        options: passed to `training.fit`.

    Returns:
        The history: `soft`, and `<factor>.condition`, the classifiers' cross-entropy, which
        approaches the entropy of the conditions as the features stop revealing them.

    Raises:
        ValueError: for no view, or conditions or critics that do not match.

    Departures: losses, gradient reversal and the student's start are confirmed (abstract, and the
    authors' patent). The paper's conditions are noises and locations of recordings; `path` chooses
    where in the student the features are taken.
    """
    if not views or set(critics) != set(conditions) or not conditions:
        raise ValueError(
            f"give one view at least, and a critic for every factor; got {len(views)} views, "
            f"factors {list(conditions)} and critics {list(critics)}."
        )
    for name, values in conditions.items():
        if len(values) != len(views) or min(values) < 0:
            raise ValueError(
                f"the factor {name!r} needs a value from 0 for each of the {len(views)} views; "
                f"got {list(values)}."
            )
    batches = batches_for(examples, recipe, seed)
    with features(student, [path]) as taken:

        def adapt(networks, batch: Batch) -> dict[str, Tensor]:
            images, count = batch.images, len(batch.images)
            with torch.no_grad():
                taught = networks["teacher"](images).repeat(len(views), 1)
            z = networks["student"](torch.cat([view(images) for view in views]))
            parts = {"soft": soft_targets(z, taught, temperature)}
            deep = reverse_gradient(taken[path], reversal_weight)
            for name, values in conditions.items():
                truth = torch.tensor(values, device=images.device).repeat_interleave(count)
                told = networks[f"{name}.critic"](deep).float()
                parts[f"{name}.condition"] = F.cross_entropy(told, truth)
            return parts

        judges = {f"{name}.critic": critic for name, critic in critics.items()}
        update = Update(("student", *judges), adapt, after=lambda: constrain(student))
        networks = {"student": student, "teacher": teacher, **judges}
        return fit(networks, batches, update, recipe, seed=seed, **options)

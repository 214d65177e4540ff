"""AE-KD (Du et al. 2020): teacher weights from the gradients of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import PointwiseAdapter
from kdnb.losses.checks import check_flags, check_number, check_temperature
from kdnb.methods.multi_teacher.common import learn
from kdnb.methods.multi_teacher.experts import all_viewed
from kdnb.methods.multi_teacher.feed import layers_for
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_answers, check_teachers
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, look
from kdnb.training.randomness import own_random_state
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching
from kdnb.training.wrapped import gradients_asked_for


def aekd(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    largest: float = 0.6,
    normalise: bool = False,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    label_weight: float = 1.0,
    hint_weight: float = 0.0,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Adaptive ensemble distillation in gradient space (Du et al. 2020).

    .. math:: L = w_h H(y, q) + w_s T^2 \sum_k \alpha_k \mathrm{KL}(p_k \,\|\, q)
        + w_f \sum_k \beta_k \lVert r_k(F_S) - F_k \rVert^2

    with the weights alpha of :func:`kdnb.losses.adaptive_weights`, computed for every batch: the
    shortest combination of the teachers' gradients with no weight above C. If the hints have a
    weight, the same is done in the space of the student's maps F_S, where the gradients are those
    of the mean squared errors of the hints, and only their directions are compared.

    Args:
        student: trained in place.
        teachers: frozen, at least one.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        largest: C, of alpha and beta. At or below 1/K this is the mean teacher; 1 gives the plain
            min-norm point.
        normalise: compare only directions for alpha as well, an option of the authors' code.
        temperature: T of all.
        soft_weight, label_weight: w_s and w_h, the authors' 0.9 and 1.
        hint_weight: w_f; with 0 no layer is used. The authors' README names 100.
        layers: the layers of the student and then of each teacher, whose last maps are compared;
            found by `layers_of` if left out.

    Returns:
        The history, with `soft`, `hard` and each teacher's mean alpha as `weight1`, `weight2`, ...,
        which are recorded without a gradient; with hints also `hints` and the mean betas as
        `hint_weight1`, .... The network "student", and with hints the regressors r as `learnt`.

    Raises:
        ValueError: for no teacher, a student that is its own teacher, layers given without a weight
            of the hints, or as `kdnb.distil`.

    Departures: those of the loss. The regressors are 1x1 convolutions after pooling to one size;
    the authors' are followed by batch normalisation and a ReLU, use a layer whose number is an
    option, and leave the hints out in the first epoch.
    """
    recipe = recipe_of(aekd, recipe, fields)
    found = check_teachers("aekd", student, teachers)
    check_number(above=0, most=1, largest=largest)
    check_flags(normalise=normalise)
    check_temperature(temperature)
    check_number(least=0, hint_weight=hint_weight)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)
    if layers is not None and not hint_weight:
        raise ValueError("layers of aekd are those of the hints: give a hint_weight above 0.")
    about = {"verb": "aekd", "largest": largest, "normalise": normalise,
             "temperature": temperature, "soft_weight": soft_weight}  # fmt: skip
    batches = batches_for(data, recipe, seed, "any", given=fields)

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        given = ours, theirs, temperature, largest, normalise
        weights = losses.adaptive_weights(*given)
        shown = {f"weight{k}": weight for k, weight in enumerate(weights, 1)}
        return {"soft": soft_weight * losses.adaptive_ensemble(*given), **shown}

    if not hint_weight:
        return learn(
            student, found, batches, recipe, terms, label_weight=label_weight, evaluate=evaluate,
            seed=seed, checkpoint=checkpoint, about=about,
        )  # fmt: skip

    names = [f"teacher{number}" for number in range(1, len(found) + 1)]
    networks = {"student": student, **dict(zip(names, found, strict=True))}
    check_answers(student, found, first_batch(batches, seed))
    at = layers_for("aekd", list(networks.values()), layers)
    regressors = _regressors(list(networks.values()), at, batches, seed)
    with borrowed(*networks.values()), all_viewed(networks, at) as looked:

        def both(trained: Networks, batch: Batch) -> dict[str, Tensor]:
            own, others = looked(trained, batch)
            result = terms(batch, own.logits, [one.logits.float() for one in others])
            each = trained["regressors"](own.maps[-1].float(), [one.maps[-1] for one in others])
            weights = hint_weights(own.maps[-1], each, largest)
            result["hints"] = hint_weight * (weights * each).sum()
            result |= {f"hint_weight{k}": weight for k, weight in enumerate(weights, 1)}
            if label_weight:
                result["hard"] = label_weight * label_loss(own.logits, batch.labels)
            return result

        history = fit(
            {**networks, "regressors": regressors}, batches,
            Update(("student", "regressors"), both, after=lambda: constrain(student)), recipe,
            seed=seed, checkpoint=checkpoint, evaluate=watching(evaluate, {"student": student}),
            answers=dict.fromkeys(networks, logits_of),
            identity={"method": {**about, "label_weight": label_weight, "hint_weight": hint_weight,
                                 "layers": [list(one.maps) for one in at]}},
        )  # fmt: skip
    return Fit.of(history, {"student": student}, regressors)


def hint_weights(feature: Tensor, hints: Tensor, largest: float = 0.6) -> Tensor:
    r"""The weight of each teacher's hint on a batch, in the space of the student's feature.

    :func:`kdnb.losses.min_norm_weights` of :math:`\frac1B \sum_b \partial H_k / \partial F_b`, by
    their directions.

    Args:
        feature: (batch, ...), on which all hints depend.
        hints: (K,), one scalar per teacher.
        largest: C.

    Returns:
        (K,), sum 1, without a gradient.
    """
    with gradients_asked_for():
        gradients = [torch.autograd.grad(one, feature, retain_graph=True)[0] for one in hints]
    stacked = torch.stack([gradient.float().mean(0) for gradient in gradients])
    return losses.min_norm_weights(stacked, largest, normalise=True)


class Regressors(nn.Module):
    """For each teacher a 1x1 convolution from the student's maps, and the mean squared error."""

    def __init__(self, student_shape: Sequence[int], teacher_shapes: Sequence[Sequence[int]]):
        super().__init__()
        self.adapters = nn.ModuleList(
            PointwiseAdapter(student_shape, shape) for shape in teacher_shapes
        )

    def forward(self, maps: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The hints, (teachers,)."""
        pairs = [
            adapter(maps, one.float()) for adapter, one in zip(self.adapters, others, strict=True)
        ]
        return torch.stack([losses.hint(*pair, variant="common") for pair in pairs])


def _regressors(
    networks: Sequence[nn.Module], at: Sequence[Layers], batches: Any, seed: int
) -> Regressors:
    first = first_batch(batches, seed).images
    shapes = [look(*one, first).maps[-1].shape for one in zip(networks, at, strict=True)]
    with own_random_state():
        torch.manual_seed(seed)
        return Regressors(shapes[0], shapes[1:])

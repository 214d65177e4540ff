"""Polino et al. 2018: quantized distillation and differentiable quantization."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb.losses.checks import check_temperature
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.quantized.common import check_first, imitate, kd_terms
from kdnb.methods.quantized.quantisers import Points, uniform
from kdnb.methods.quantized.weights import Quantiser, parametrised, quantised
from kdnb.methods.teachers import check_pair
from kdnb.training import Fit, Recipe
from kdnb.training.borrowed import borrowed
from kdnb.training.identity import of_function
from kdnb.training.inputs import batches_for


def quantized_distillation(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    bits: int = 2,
    bucket: int | None = 256,
    stochastic: bool = False,
    quantiser: Quantiser | None = None,
    keep: Collection[str] | str = (),
    temperature: float = 2.0,
    soft_weight: float = 0.7,
    label_weight: float = 0.3,
    answers: Tensor | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Quantized distillation (Polino et al. 2018, algorithm 1).

    .. math:: w \leftarrow w - \nu \nabla L\big|_{Q(w)}, \qquad
        L = w_s T^2\, \mathrm{KL}(p^T \,\|\, q^T) + w_h H(y, q)

    The student computes with Q(w); its gradient updates the full-precision w. In the end its
    weights are Q(w), and w is discarded.

    Args:
        student: trained in place; untrained, or already trained in full precision.
        teacher: frozen, in full precision.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        bits, bucket, stochastic: as in :func:`kdnb.methods.quantized.uniform`.
        quantiser: another function of a layer's weights, instead of the uniform one.
        keep: layers in full precision, of :func:`kdnb.methods.quantized.weights_of`.
        temperature: T; the authors' 2.
        soft_weight, label_weight: w_s and w_h, the authors' 0.7 and 0.3. With a soft weight of 0
            the teacher is ignored: this is quantisation-aware training on labels, the control.
        answers: (samples, classes), the teacher's logits in the order of the data, if already
            available; the teacher is then not run. For `Images` that are not augmented.

    Returns:
        The history, with `soft` and `hard`; and the network "student".

    Raises:
        ValueError: for bits or a bucket out of range, or as `kdnb.distil`.

    Departures: the authors quantise every parameter, including biases and batch normalisation; here
    only the weights of convolutions and linear layers are quantised. Their code passes logits
    through a ReLU, and averages the divergence over classes as well, which weakens the soft term
    tenfold with ten classes: both are left out.
    """
    recipe = recipe_of(quantized_distillation, recipe, fields)
    check_pair(student, teacher)
    check_temperature(temperature)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)
    chosen = quantiser or partial(uniform, bits=bits, bucket=bucket, stochastic=stochastic)
    chosen(torch.zeros(2, 2))  # rejects invalid bits and buckets before any work
    batches = batches_for(data, recipe, seed, "any" if label_weight else "none", given=fields)
    heard = teacher if soft_weight and answers is None else None
    check_first(batches, seed, student, heard, labels=bool(label_weight))
    with quantised(student, chosen, keep=keep):
        history = imitate(
            student, teacher, batches, recipe, kd_terms(soft_weight, label_weight, temperature),
            seed=seed, checkpoint=checkpoint, evaluate=evaluate, answers=answers,
            about={"verb": "quantized_distillation", "quantiser": of_function(chosen),
                   "terms": [temperature, soft_weight, label_weight]},
        )  # fmt: skip
    return Fit.of(history, {"student": student})


def differentiable_quantization(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    bits: int = 2,
    bucket: int | None = 256,
    start: Literal["quantiles", "uniform"] = "quantiles",
    keep: Collection[str] | str = (),
    temperature: float = 2.0,
    soft_weight: float = 0.7,
    label_weight: float = 0.3,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Differentiable quantization (Polino et al. 2018, algorithm 2): the points learn.

    The student's trained weights stay fixed; each layer's 2^b points are updated by the gradient of
    the distillation loss, see :class:`kdnb.methods.quantized.Points`. Nothing else is trained, but
    the running statistics of batch normalisation are updated.

    Args:
        student: already trained in full precision; changed in place: its weights move to their
            points.
        teacher: frozen; the authors take the student's own full-precision copy.
        bits: from 1 to 8.
        start: initial value of the points.
        data, recipe, fields: and all others, as in :func:`quantized_distillation`. Points lie in
            [0, 1], so learning rates refer to their scale and not to that of the weights.

    Returns:
        The history, with `soft` and `hard`; the network "student"; and as `learnt` the `Points` of
        each layer, with the path's dots as underscores.

    Raises:
        ValueError: as `quantized_distillation`.

    Departures: those of `Points`, and of `quantized_distillation`. The authors report the best test
    accuracy of all epochs; here the last one counts.
    """
    recipe = recipe_of(differentiable_quantization, recipe, fields)
    check_pair(student, teacher)
    check_temperature(temperature)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)
    batches = batches_for(data, recipe, seed, "any" if label_weight else "none", given=fields)
    heard = teacher if soft_weight else None
    check_first(batches, seed, student, heard, labels=bool(label_weight), learns=False)
    with borrowed(student):
        for parameter in student.parameters():
            parameter.requires_grad_(False)
        make = partial(Points, bits=bits, bucket=bucket, start=start)
        with parametrised(student, make, keep=keep) as points:
            history = imitate(
                student, teacher, batches, recipe,
                kd_terms(soft_weight, label_weight, temperature), seed=seed,
                checkpoint=checkpoint, evaluate=evaluate,
                about={"verb": "differentiable_quantization", "bits": bits, "bucket": bucket,
                       "terms": [temperature, soft_weight, label_weight]},
            )  # fmt: skip
    learnt = nn.ModuleDict({path.replace(".", "_"): one for path, one in points.items()})
    return Fit.of(history, {"student": student}, learnt)

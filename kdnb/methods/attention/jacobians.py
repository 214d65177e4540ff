"""Matching input gradients: Jacobian matching (Srinivas 2018) and gradient attention (AT)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import gradient_attention, hard_loss, jacobian_matching, soft_targets
from kdnb.losses.checks import check_choice, check_labels, check_number, check_temperature
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_pair
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import ask, logits_of
from kdnb.training.first import first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.wrapped import gradients_asked_for


def input_gradients(
    network: nn.Module,
    inputs: Tensor,
    classes: Tensor,
    of: Literal["logit", "cross_entropy"] = "logit",
    *,
    graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """The gradient of one number per sample with respect to its input, and the logits.

    Args:
        inputs: (batch, ...) floating-point.
        classes: (batch,) the classes whose logits are differentiated, or the labels of the
            cross-entropy.
        graph: keep the graph, to differentiate the gradient again in training.

    Returns:
        (batch, ...) as the inputs, and (batch, classes).

    Raises:
        ValueError: for inputs that are not a floating-point tensor, or classes that do not exist.
    """
    check_choice(("logit", "cross_entropy"), of=of)
    _check_inputs(inputs)
    with torch.enable_grad(), gradients_asked_for():
        given = inputs.detach().requires_grad_()
        logits = logits_of(ask(network, given))
        check_labels(logits, classes)
        if of == "logit":
            number = logits.gather(1, classes[:, None]).sum()
        else:
            number = F.cross_entropy(logits, classes, reduction="sum")
        (gradient,) = torch.autograd.grad(number, given, create_graph=graph)
    return gradient, logits if graph else logits.detach()


def _check_inputs(inputs: Any) -> None:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = inputs.dtype if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(
            f"a gradient by the inputs needs one floating-point tensor (batch, ...); got {got}."
        )


def match_jacobians(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    of: Literal["logit", "cross_entropy"] = "logit",
    gradient_weight: float = 1.0,
    soft_weight: float = 0.0,
    temperature: float = 4.0,
    label_weight: float = 1.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    """Train on labels and on the input gradients of a teacher.

    Args:
        student, teacher: networks that can be differentiated twice; this includes ReLU networks,
            since their input gradient depends on the weights.
        of: "logit" is :func:`kdnb.losses.jacobian_matching` on the logit of the teacher's class;
            "cross_entropy" is :func:`kdnb.losses.gradient_attention` with the labels.
        soft_weight, temperature: for additional soft targets.
        recipe, data, seed, checkpoint, fields: as in `kdnb.distil`; the labels are class indices.

    Returns:
        The history, with terms `hard`, `gradient` and `soft`, and the student.

    Raises:
        ValueError: for a student that is its own teacher or shares a part with it, different
            numbers of classes, inputs without a gradient, or as `kdnb.distil`.
    """
    recipe = recipe_of(match_jacobians, recipe, fields)
    check_choice(("logit", "cross_entropy"), of=of)
    check_temperature(temperature)
    check_number(least=0, soft_weight=soft_weight, label_weight=label_weight)
    check_weights_of_terms(
        gradient_weight=gradient_weight, soft_weight=soft_weight, label_weight=label_weight
    )
    check_pair(student, teacher)
    reads = label_weight or of == "cross_entropy"
    batches = batches_for(data, recipe, seed, "classes" if reads else "none", given=fields)
    first = first_batch(batches, seed)
    _check_inputs(first.images)
    shapes = [
        tuple(tried(name, network, first, learns=name == "student").shape)
        for name, network in (("student", student), ("teacher", teacher))
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"student and teacher must answer for the same classes; got {shapes[0]} and {shapes[1]}."
        )

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            aim = logits_of(ask(networks["teacher"], batch.images))
        classes = batch.labels if of == "cross_entropy" else aim.argmax(1)
        theirs, _ = input_gradients(networks["teacher"], batch.images, classes, of)
        ours, logits = input_gradients(networks["student"], batch.images, classes, of, graph=True)
        loss = jacobian_matching if of == "logit" else gradient_attention
        found = {"gradient": gradient_weight * loss(ours, theirs)}
        if label_weight:
            found["hard"] = label_weight * hard_loss(logits, batch.labels)
        if soft_weight:
            found["soft"] = soft_weight * soft_targets(logits, aim, temperature)
        return found

    history = fit(
        {"student": student, "teacher": teacher}, batches,
        Update(("student",), terms, after=lambda: constrain(student)), recipe, seed=seed, checkpoint=checkpoint,
        identity={"method": {"verb": "match_jacobians", "of": of,
                             "weights": [gradient_weight, soft_weight, label_weight, temperature]}},
    )  # fmt: skip
    return Fit.of(history, {"student": student})

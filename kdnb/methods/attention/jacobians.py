"""Input gradients as the lesson: Jacobian matching (Srinivas 2018), gradient attention (AT)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import gradient_attention, hard_loss, jacobian_matching, soft_targets
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import ask, logits_of
from kdnb.training.inputs import batches_for


def input_gradients(
    network: nn.Module,
    inputs: Tensor,
    classes: Tensor,
    of: Literal["logit", "cross_entropy"] = "logit",
    *,
    graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """The gradient of one number a sample with respect to its input, and the logits.

    Args:
        inputs: (batch, ...) floating-point.
        classes: (batch,) whose logit is meant, or the label of the cross-entropy.
        graph: keep what it takes to differentiate the gradient again, as in training.

    Returns:
        (batch, ...) as the inputs, and (batch, classes).
    """
    check_choice(("logit", "cross_entropy"), of=of)
    with torch.enable_grad():
        given = inputs.detach().requires_grad_()
        logits = logits_of(ask(network, given))
        if of == "logit":
            number = logits.gather(1, classes[:, None]).sum()
        else:
            number = F.cross_entropy(logits, classes, reduction="sum")
        (gradient,) = torch.autograd.grad(number, given, create_graph=graph)
    return gradient, logits if graph else logits.detach()


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
    """Labels, and the direction in which each input would change the teacher's answer.

    Args:
        student, teacher: smooth enough to be differentiated twice; ReLU networks are, where their
            second derivative is not 0 everywhere but through the weights.
        of: "logit" is :func:`kdnb.losses.jacobian_matching` on the logit of the teacher's class;
            "cross_entropy" is :func:`kdnb.losses.gradient_attention` with the labels.
        soft_weight, temperature: of soft targets beside it.
        recipe, data, seed, checkpoint, fields: as in `kdnb.distil`; the labels are numbers of classes.

    Returns:
        The history, with terms `hard`, `gradient` and `soft`, and the student.
    """
    recipe = recipe_of(match_jacobians, recipe, fields)
    check_number(
        least=0,
        gradient_weight=gradient_weight,
        soft_weight=soft_weight,
        label_weight=label_weight,
    )
    batches = batches_for(data, recipe, seed, given=fields)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            aim = logits_of(ask(networks["teacher"], batch.images))
        classes = batch.labels if of == "cross_entropy" else aim.argmax(1)
        theirs, _ = input_gradients(networks["teacher"], batch.images, classes, of)
        ours, logits = input_gradients(networks["student"], batch.images, classes, of, graph=True)
        loss = jacobian_matching if of == "logit" else gradient_attention
        found = {
            "hard": label_weight * hard_loss(logits, batch.labels),
            "gradient": gradient_weight * loss(ours, theirs),
        }
        if soft_weight:
            found["soft"] = soft_weight * soft_targets(logits, aim, temperature)
        return found

    history = fit(
        {"student": student, "teacher": teacher}, batches, Update(("student",), terms), recipe,
        seed=seed, checkpoint=checkpoint,
        identity={"method": {"verb": "match_jacobians", "of": of,
                             "weights": [gradient_weight, soft_weight, label_weight, temperature]}},
    )  # fmt: skip
    return Fit.of(history, {"student": student})

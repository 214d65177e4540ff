"""UHC (Vongkulbhisal et al. 2019): unify classifiers that each know some of the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch, Batches
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.multi_teacher.experts import Experts, check_experts
from kdnb.methods.options import recipe_of
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import Output, logits_of, outputs_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.teacher import teacher_logits
from kdnb.training.watching import watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Estimate = Literal[
    "backpropagated", "cross_entropy", "log_space", "factorised", "zero_padded", "known_mean",
    "most_confident", "raw_logits",
]  # fmt: skip
Rule = Callable[[Sequence[Tensor], Sequence[Sequence[int]], int], Tensor]
RULES: dict[str, Rule] = {
    "cross_entropy": losses.cross_entropy_estimate,
    "log_space": losses.log_space_estimate,
    "factorised": losses.factorised_estimate,
    "zero_padded": losses.zero_padded_mean,
    "known_mean": losses.mean_of_those_that_know,
    "most_confident": losses.most_confident_classifier,
    "raw_logits": losses.mean_raw_logits,
}
# Estimates that rely on classes shared between classifiers.
LINKED = ("backpropagated", "cross_entropy", "log_space", "factorised")


def unify(
    student: nn.Module,
    classifiers: Sequence[nn.Module],
    class_sets: Sequence[Sequence[int]],
    data: Any,
    recipe: Recipe | None = None,
    *,
    estimate: Estimate = "backpropagated",
    temperature: float = 1.0,
    unconnected: bool = False,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    output: Output | tuple[Output, Output] = None,
    fabric: Fabric | None = None,
    **fields: Any,
) -> Fit:
    r"""Train one student of all classes from classifiers of some, on unlabelled images (UHC).

    .. math:: L = T^2\, H\big(q(x),\, \mathrm{softmax}(z(x) / T)\big)

    with q made of the classifiers' answers at the temperature T by :mod:`kdnb.losses.uhc`; or, for
    "backpropagated", :func:`kdnb.losses.restricted_cross_entropy`, which needs no q.

    Args:
        student: a logit for each class, 0 to the largest number in `class_sets`; trained in place.
        classifiers: frozen; of any kinds.
        class_sets: for each classifier, the indices of its classes, in the order of its logits.
        data: unlabelled; any labels are ignored. Otherwise as in `kdnb.distil`.
        estimate: "backpropagated", "cross_entropy", "log_space" and "factorised" are the paper's;
            "zero_padded" is the naive distillation it compares with; "known_mean", "most_confident"
            and "raw_logits" are our own controls.
        temperature: T of classifiers and student, 1 for the relation as stated in the paper.
        unconnected: allow class sets that share no class for the paper's four estimates; the share
            of each part is then arbitrary.
        recipe, evaluate, seed, checkpoint, log_dir, output, fabric, fields: as in `kdnb.distil`.

    Returns:
        The history, with the term `soft`, and the student, as `fit.networks["student"]`.

    Raises:
        ValueError: for class sets that are not connected, numbers of classes that do not match, or
            as `kdnb.distil`.

    Departures: recalled, except for what :mod:`kdnb.losses.uhc` states. For images that never
    change, the classifiers' answers and q are computed once.
    """
    recipe = recipe_of(unify, recipe, fields)
    check_choice(get_args(Estimate), estimate=estimate)
    check_number(above=0, temperature=temperature)
    outputs = outputs_of(output)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    classes = check_experts(student, classifiers, class_sets, first_batch(batches, seed), outputs)
    parts = losses.connected_classes(class_sets, classes)
    if estimate in LINKED and len(parts) > 1 and not unconnected:
        raise ValueError(
            f"the class_sets fall apart: no classifier compares a class of {parts[0]} with one of "
            f"{parts[1]}, so that their shares are arbitrary. Add a classifier that does, or say "
            "unconnected=True."
        )
    experts = Experts(classifiers, outputs[1])
    sizes = [len(members) for members in class_sets]

    def target(said: Tensor) -> Tensor:
        """The target of a step, from the classifiers' logits."""
        said = said / temperature
        if estimate == "backpropagated":
            return said
        return RULES[estimate](said.split(sizes, 1), class_sets, classes)

    with borrowed(student, experts):
        stored = None
        if isinstance(batches, Batches) and not batches.augmented:
            stored = target(teacher_logits(experts, batches))

        def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
            if stored is None:
                with torch.no_grad():
                    aim = target(networks["classifiers"](batch.images))
            else:
                aim = stored[batch.index]
            ours = networks["student"](batch.images) / temperature
            if estimate == "backpropagated":
                value = losses.restricted_cross_entropy(ours, aim.split(sizes, 1), class_sets)
            else:
                value = losses.cross_entropy_with(ours, aim)
            return {"soft": temperature**2 * value}

        update = Update(("student",), terms, after=lambda: constrain(student))
        settings = {"verb": "unify", "estimate": estimate, "temperature": temperature}
        sets = [[int(label) for label in members] for members in class_sets]
        history = fit(
            {"student": student, "classifiers": experts}, batches, update, recipe, seed=seed,
            checkpoint=checkpoint, log_dir=log_dir, fabric=fabric,
            evaluate=watching(evaluate, {"student": student}, outputs[0]),
            answers={"student": partial(logits_of, output=outputs[0])},
            identity={"method": {**settings, "class_sets": sets}},
        )  # fmt: skip
    return Fit.of(history, {"student": student})

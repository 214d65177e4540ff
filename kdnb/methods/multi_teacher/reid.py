"""Distilled re-identification (Wu et al. 2019): similarities of several teachers, one aggregator.

Teachers from other domains know other identities, so their answers are useless here, but their
similarities between images are not. The weights of the teachers are learnt on a few labelled images
of the student's domain: a teacher counts more if a step towards it lowers the student's risk there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdnb.data import Batch
from kdnb.losses import log_euclidean, similarities
from kdnb.losses.checks import check_classes, check_number, check_samples
from kdnb.methods.multi_teacher.feed import layers_for
from kdnb.methods.online.common import running_statistics_kept
from kdnb.methods.options import recipe_of
from kdnb.methods.teachers import check_answers, check_teachers
from kdnb.names import brief
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, viewing
from kdnb.training.watching import watching


class Aggregator(nn.Module):
    """The weights of several teachers: a softmax of learnt numbers, initially equal.

    Args:
        teachers: how many.
    """

    def __init__(self, teachers: int):
        super().__init__()
        check_number(least=1, whole=True, teachers=teachers)
        self.scores = nn.Parameter(torch.zeros(teachers))

    def forward(self) -> Tensor:
        """(teachers,), at least 0, with sum 1."""
        return self.scores.softmax(0)


def verification_risk(samples: Tensor, labels: Tensor) -> Tensor:
    r"""The verification risk: squared errors of similarities as predictions of identity.

    .. math:: R = \frac{1}{B (B - 1)} \sum_{a \ne b} \big( A_{ab} - [y_a = y_b] \big)^2

    with :func:`kdnb.losses.similarities` A.

    Args:
        samples: (batch, ...) features.
        labels: (batch,) identities.

    Returns:
        A scalar from 0 to 1.

    Raises:
        ValueError: for fewer than 2 samples or labels of a wrong shape.

    >>> verification_risk(torch.eye(2), torch.tensor([3, 3]))
    tensor(1.)
    """
    check_samples(samples=samples)
    check_classes(len(samples), labels=labels)
    found = similarities(samples)
    wrong = (found - (labels[:, None] == labels).to(found)).square()
    return wrong.masked_fill(
        torch.eye(len(wrong), dtype=torch.bool, device=wrong.device), 0
    ).sum() / (len(wrong) * (len(wrong) - 1))


def learn_similarities(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    labelled: tuple[Tensor, Tensor],
    recipe: Recipe | None = None,
    *,
    ridge: float = 1.0,
    step: float = 1e-3,
    aggregator_lr: float = 1.0,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Multi-teacher adaptive similarity distillation (Wu et al. 2019).

    .. math:: L(\theta) = \sum_k \alpha_k L_k(\theta), \quad
        L_k = \lVert \log(A_S + \epsilon I) - \log(A_k + \epsilon I) \rVert_F^2, \qquad
        \min_\alpha R\Big(\theta - \eta \sum_k \alpha_k \nabla L_k(\theta)\Big)

    with the risk R of :func:`verification_risk` on the labelled images, :func:`similarities` A of
    the embeddings, and alpha = softmax of the :class:`Aggregator`. The gradients of L_k are
    constants for the aggregator, so its own gradient is exact without second derivatives.

    Args:
        student: trained in place, only by the teachers.
        teachers: frozen, at least one; their classes and widths may differ.
        data: unlabelled images of the student's domain, in any form of `kdnb.distil`; batches of at
            least 2.
        labelled: (images, identities), a few of the same domain, preprocessed for the network; they
            train only the aggregator.
        recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        ridge: epsilon.
        step: eta of the tentative step.
        aggregator_lr: learning rate of the aggregator, plain gradient descent.
        layers: the layers of the student and then of each teacher, whose embedding is taken; found
            by `layers_of` if left out.

    Returns:
        The history, with `similarity` (the weighted loss), `risk`, and `weight1`, `weight2`, ...,
        the recorded means of alpha; the network "student", and the `Aggregator` as `learnt`.

    Raises:
        ValueError: for no teacher, no pair of labelled images of one identity, a different number
            of layers, or as `kdnb.distil`.

    Departures: the log-Euclidean distance, the aggregator and the few labelled identities are from
    summaries. Evaluating a tentative step is recalled, and the risk is ours.
    """
    recipe = recipe_of(learn_similarities, recipe, fields)
    found = check_teachers("learn_similarities", student, teachers)
    check_number(above=0, ridge=ridge, step=step, aggregator_lr=aggregator_lr)
    if not isinstance(labelled, (tuple, list)) or len(labelled) != 2:
        raise TypeError(f"labelled must be a pair (images, identities); got {brief(labelled)}.")
    known, identities = labelled
    check_samples(labelled=known)
    check_classes(len(known), labelled=identities)
    if len(identities.unique()) == len(identities):
        raise ValueError("labelled must hold two images of one identity: no pair is alike.")
    batches = batches_for(data, recipe, seed, "none", given=fields)
    check_answers(student, found, first_batch(batches, seed), same=False)
    check_answers(student, [], Batch(known, identities))
    networks = [student, *found]
    at = layers_for("learn_similarities", networks, layers)
    names = ["student", *(f"teacher{number}" for number in range(1, len(networks)))]
    aggregator = Aggregator(len(found))
    with borrowed(*networks), contextlib.ExitStack() as stack:
        looks = [stack.enter_context(viewing(*one)) for one in zip(networks, at, strict=True)]
        learning = {name: p for name, p in student.named_parameters() if p.requires_grad}

        def terms(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                theirs = [
                    seen(trained[name](batch.images)).embedding
                    for name, seen in zip(names[1:], looks[1:], strict=True)
                ]
            ours = looks[0](trained["student"](batch.images)).embedding
            each = torch.stack([log_euclidean(ours, one, ridge) for one in theirs])
            weights = trained["aggregator"]()
            gradients = [
                torch.autograd.grad(one, list(learning.values()), retain_graph=True,
                                    allow_unused=True)
                for one in each
            ]  # fmt: skip
            moved = _moved(learning, gradients, weights, step)
            with running_statistics_kept(student):
                answer = functional_call(student, moved, (known.to(batch.device),))
            tried = looks[0](logits_of(answer)).embedding
            risk = verification_risk(tried, identities.to(tried.device))
            shown = {f"weight{k}": weight for k, weight in enumerate(weights.detach(), 1)}
            return {"similarity": (weights.detach() * each).sum(), "risk": risk, **shown}

        plain = Recipe(
            epochs=recipe.epochs, batch_size=recipe.batch_size, lr=aggregator_lr, momentum=0.0,
            schedule="constant", precision=recipe.precision,
        )  # fmt: skip
        kept: dict[str, Tensor] = {}

        def students(trained: Any, batch: Batch) -> dict[str, Tensor]:
            kept.clear()
            kept.update(terms(trained, batch))
            return {"similarity": kept.pop("similarity")}

        updates = [
            Update(("student",), students, after=lambda: constrain(student)),
            Update(("aggregator",), lambda trained, batch: dict(kept), recipe=plain),
        ]
        history = fit(
            {**dict(zip(names, networks, strict=True)), "aggregator": aggregator}, batches,
            updates, recipe, seed=seed, checkpoint=checkpoint,
            answers=dict.fromkeys(names, logits_of),
            evaluate=watching(evaluate, {"student": student}),
            identity={"method": {"verb": "learn_similarities", "ridge": ridge, "step": step,
                                 "aggregator_lr": aggregator_lr,
                                 "layers": [one.embedding for one in at]}},
        )  # fmt: skip
    return Fit.of(history, {"student": student}, aggregator)


def _moved(
    learning: dict[str, nn.Parameter],
    gradients: Sequence[Sequence[Tensor | None]],
    weights: Tensor,
    step: float,
) -> dict[str, Tensor]:
    """The parameters after a step down the weighted gradients, a function of the weights alone."""
    found = {}
    for place, (name, parameter) in enumerate(learning.items()):
        moved = parameter.detach().clone()
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient[place] is not None:
                moved = moved - step * weight * gradient[place]
        found[name] = moved
    return found

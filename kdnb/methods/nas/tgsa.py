"""TGSA (Bashivan et al. 2019): a search whose steps are scored by a teacher's representations.

A candidate is trained for a short time. It is graded by its accuracy, and by how well its
similarities between images agree with those of a trained teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb.losses import representation_similarity
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.nas.random_search import Grade, Grading, Search
from kdnb.methods.nas.space import Architecture, Layer
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe, evaluate
from kdnb.training.borrowed import evaluating
from kdnb.training.layers import Layers, layers_of, look

Where = Literal["embedding", "logits", "layers"]
WHERE = ("embedding", "logits", "layers")


def representations(
    network: nn.Module, images: Tensor, layers: Layers | None = None
) -> dict[str, list[Tensor]]:
    """A network's `embedding`, `logits` and the maps of all `layers` for probe images.

    They are computed in eval mode and without gradients; the mode is restored.

    Args:
        network: one whose layers kdnb finds, see `kdnb.training.layers.layers_of`, or any with
            `layers`.
        images: (images, ...), as the network takes them. They should be held out: on training
            images the similarity measures which labels were memorised.
        layers: which layers to use, for a network whose layers kdnb does not find.
    """
    with evaluating(network), torch.no_grad():
        view = look(network, layers or layers_of(network), images)
    return {"embedding": [view.embedding], "logits": [view.logits], "layers": list(view.maps)}


def teacher_guidance(
    candidate: dict[str, list[Tensor]], teacher: dict[str, list[Tensor]], where: Where = "embedding"
) -> float:
    r"""TG, the similarity of two networks' representations, both of :func:`representations`.

    .. math:: \mathrm{TG} = \frac1{|T|} \sum_{t \in T} \max_s \rho(\mathrm{RDM}^s, \mathrm{RDM}^t)

    over the teacher's layers t, with the most similar layer s of the candidate for each.

    Args:
        where: "embedding" compares the inputs of both classifiers, "logits" the answers, and
            "layers" all maps as in the formula, which is the paper's form according to a public
            summary. Early layers of any two networks are similar, so the maximum is not informative
            for small networks; the last layers are most informative.

    Returns:
        From -1 to 1.
    """
    check_choice(WHERE, where=where)
    pairs = [
        max(float(representation_similarity(ours, theirs)) for ours in candidate[where])
        for theirs in teacher[where]
    ]
    return sum(pairs) / len(pairs)


def early_grade(
    build: Callable[[Architecture], nn.Module],
    teacher: nn.Module | None,
    data: Any,
    held_out: Any,
    probes: Tensor,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    where: Where = "embedding",
    seed: int = 0,
) -> Grade:
    r"""The grade of a candidate after a short training: :math:`P + \alpha\,\mathrm{TG}`.

    Args:
        build: architecture -> a new network.
        teacher: trained; left unchanged. None grades by the accuracy alone, as does weight 0.
        data: to train on, by labels.
        held_out: labelled data for the accuracy P.
        probes: (images, ...) for the representations, held out; at least 3.
        recipe: a short one: its epochs are the cost of a candidate.
        weight: alpha.
        where: as in :func:`teacher_guidance`.
        seed: for the order of the data.

    Departures: the sum of the two is from a public summary of the paper; its weight is an argument
    here.
    """
    check_number(least=0, weight=weight)
    check_choice(WHERE, where=where)
    guided = teacher is not None and weight > 0
    theirs = representations(teacher, probes) if guided else {}
    if guided:
        teacher_guidance(theirs, theirs, where)  # rejects too few probes before any training

    def grade(architecture: Architecture) -> float:
        network = build(architecture)
        train(network, data, recipe, seed=seed)
        score = float(evaluate(network, held_out).accuracy)
        if guided:
            score += weight * teacher_guidance(representations(network, probes), theirs, where)
        return score

    return grade


def guided_search(
    choices: Sequence[Layer], grade: Grade, *, steps: int, beam: int, budget: int | None = None
) -> Search:
    """Grow networks layer by layer, and keep those of the highest grade in each step.

    The first step grades all networks of one layer; every later step grades the survivors extended
    by one layer.

    Args:
        choices: the options for a layer.
        grade: of an architecture, such as :func:`early_grade`.
        steps: layers of the deepest candidates.
        beam: the number of survivors of a step.
        budget: the number of candidates that may be graded; no limit if None. The candidates of a
            step are graded in turn, the children of the best survivor first.

    Returns:
        All candidates, in order; the best may be of any depth.

    Departures: the space and the form of this search are ours. It is recalled that the paper also
    guides a progressive search.
    """
    check_number(least=1, whole=True, steps=steps, beam=beam)
    if budget is not None:
        check_number(least=1, whole=True, budget=budget)
    if not choices:
        raise ValueError("choices must hold at least one layer; got none.")
    most = len(choices) * (1 + (steps - 1) * beam)
    grading = Grading(grade, most if budget is None else budget)
    survivors: list[Architecture] = [()]
    for _ in range(steps):
        grown = [(*one, layer) for one in survivors for layer in choices]
        graded = {one: score for one in grown if (score := grading(one)) is not None}
        if not graded:
            break
        survivors = sorted(graded, key=graded.__getitem__, reverse=True)[:beam]
    return grading.log

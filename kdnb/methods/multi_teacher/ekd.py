"""EKD (Asif, Tang and Harrer 2020): a student with one branch for each of its teachers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, hint, soft_targets
from kdnb.losses.adapters import PointwiseAdapter
from kdnb.losses.checks import check_number, check_temperature
from kdnb.methods.multi_teacher.ensemblenet import AveragedBranches, check_branches
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.methods.teachers import check_answers, check_teachers
from kdnb.training import Recipe
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed, evaluating
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, layers_of, look, viewing
from kdnb.training.randomness import own_random_state
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching


class TeachersMaps(nn.Module):
    """For each branch a 1x1 convolution from its last maps to the width of its teacher's.

    Args:
        branch_shapes, teacher_shapes: of the maps, one for each branch, (batch, channels, height,
            width).
    """

    def __init__(self, branch_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size]):
        super().__init__()
        pairs = zip(branch_shapes, teacher_shapes, strict=True)
        self.adapters = nn.ModuleList(PointwiseAdapter(*pair) for pair in pairs)

    def forward(
        self, branches: Sequence[Tensor], teachers: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Each branch's maps as its teacher's, and the teacher's at the same size."""
        found = zip(self.adapters, branches, teachers, strict=True)
        return [adapter(ours, theirs.float()) for adapter, ours, theirs in found]


def ekd(
    branches: Branches,
    teachers: Sequence[nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    head_weight: float = 1.0,
    soft_weight: float = 1.0,
    feature_weight: float = 1e-3,
    temperature: float = 4.0,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Ensemble knowledge distillation: branch k learns from teacher k (Asif et al. 2020).

    .. math:: L = H\Big(y, \tfrac1K \sum_k z_k\Big) + \sum_k \Big[ a H(y, z_k)
        + b T^2\, \mathrm{KL}(p_k \,\|\, q_k) + c\, \lVert F_k^T - r_k(F_k^S) \rVert^2 \Big]

    Different teachers keep the branches different; the mean of the branches is the student's
    answer.

    Args:
        branches: one head for each teacher; trained in place.
            :class:`~kdnb.methods.multi_teacher.ensemblenet.AveragedBranches` is the student
            afterwards, `branches.deployed(k)` a single branch.
        teachers: frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        head_weight, soft_weight, feature_weight: a, b and c; c = 0 leaves the maps out.
        temperature: T of teachers and branches.
        layers: the layers of each teacher, whose last maps are matched; found by `layers_of` if
            left out.
        evaluate: a function of the networks, or data, on which the branches' mean is measured after
            every epoch.
        options: passed to `training.fit`.

    Returns:
        The history: `ensemble`, `heads`, `soft` and, where it has a weight, `features`.

    Raises:
        TypeError: for invalid branches or teachers.
        ValueError: if the numbers of teachers, layers and heads differ, or a branch has no maps.

    Departures: branches that learn from teachers, and their ensemble, are in the paper's abstract.
    The weights, the squared distance of maps (half of it here, see :func:`kdnb.losses.hint`) and
    its 1x1 convolutions are recalled or ours.
    """
    check_branches("ekd", branches)
    recipe = recipe_for(recipe, {})
    found = check_teachers("ekd", branches, teachers)
    if len(found) != len(branches.heads):
        raise ValueError(
            f"ekd has one teacher for each branch; got {len(found)} for {len(branches.heads)}."
        )
    check_temperature(temperature)
    check_number(least=0, head_weight=head_weight, soft_weight=soft_weight)
    check_number(least=0, feature_weight=feature_weight)
    places: list[Layers] = []
    if feature_weight:
        places = [layers_of(teacher) for teacher in found] if layers is None else list(layers)
        if len(places) != len(found):
            raise ValueError(f"layers must be {len(found)}, one a teacher; got {len(places)}.")
    batches = batches_for(examples, recipe, seed)
    check_answers(AveragedBranches(branches), found, first_batch(batches, seed))
    names = [f"teacher{number}" for number in range(1, len(found) + 1)]
    networks = {"branches": branches, **dict(zip(names, found, strict=True))}
    moved = {"branches": branches}
    if feature_weight:
        networks["maps"] = moved["maps"] = _maps(branches, found, places, batches, seed)

    with borrowed(*networks.values()), contextlib.ExitStack() as stack:
        looks = [
            stack.enter_context(viewing(teacher, at))
            for teacher, at in zip(found, places, strict=False)
        ]

        def terms(trained, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                theirs = [logits_of(trained[name](batch.images)).float() for name in names]
                seen = [one(v).maps[-1] for one, v in zip(looks, theirs, strict=False)]
            said = trained["branches"](batch.images)
            heads = said.logits.unbind(1)
            soft = [soft_targets(z, v, temperature) for z, v in zip(heads, theirs, strict=True)]
            result = {
                "ensemble": hard_loss(said.logits.mean(1), batch.labels),
                "heads": head_weight * sum(hard_loss(z, batch.labels) for z in heads),
                "soft": soft_weight * sum(soft),
            }
            if feature_weight:
                pairs = trained["maps"](said.maps, seen)
                result["features"] = feature_weight * sum(hint(*pair) for pair in pairs)
            return result

        watch = watching(evaluate, {"branches": AveragedBranches(branches)})
        return fit_branches(
            networks,
            batches,
            recipe,
            terms,
            seed=seed,
            moved=tuple(moved),
            evaluate=watch,
            **options,
        )


def _maps(
    branches: Branches,
    teachers: Sequence[nn.Module],
    places: Sequence[Layers],
    batches: Any,
    seed: int,
) -> TeachersMaps:
    """Adapters built from the shapes of a first batch."""
    batch = first_batch(batches, seed)
    with torch.no_grad(), evaluating(branches):
        ours = [maps.shape for maps in branches(batch.images).maps]
    for shape in ours:
        if len(shape) != 4:
            raise ValueError(
                f"a branch shows no maps before its classifier, but {tuple(shape)}: give "
                "feature_weight=0."
            )
    theirs = [
        look(teacher, at, batch.images).maps[-1].shape
        for teacher, at in zip(teachers, places, strict=True)
    ]
    with own_random_state():
        torch.manual_seed(seed)
        return TeachersMaps(ours, theirs)

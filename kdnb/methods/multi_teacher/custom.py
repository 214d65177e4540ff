"""Customised amalgamation (Shen et al. 2019, ICCV): learn from the least ambiguous teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.losses.checks import check_number
from kdnb.methods.multi_teacher.experts import amalgamated, maps_of, to_one_size
from kdnb.methods.multi_teacher.tasks import TaskNet, check_tasks
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import View


class Adaptors(nn.Module):
    r"""1x1 convolutions on both sides of a pair of layers: :math:`g_m(F_m)` and :math:`g_S(F_S)`.

    Args:
        student_channels: number of channels of each layer.
        teacher_channels: number of channels of each teacher, those of each layer.
    """

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.ours, self.theirs = nn.ModuleList(), nn.ModuleList()
        for widths in teacher_channels:
            pairs = list(zip(student_channels, widths, strict=True))
            self.ours.append(nn.ModuleList(nn.Conv2d(c, c, 1, bias=False) for c, _ in pairs))
            self.theirs.append(nn.ModuleList(nn.Conv2d(w, c, 1, bias=False) for c, w in pairs))

    def forward(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Sequence[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Distances of each image from each teacher, (batch, teachers), and the filters' penalty.

        The first is the mean squared distance summed over layers; the second is the distance of
        filters from length 1.
        """
        columns = []
        for ours, theirs, shown in zip(self.ours, self.theirs, teacher_maps, strict=True):
            total = 0.0
            for g, h, own, other in zip(ours, theirs, student_maps, shown, strict=True):
                own, other = to_one_size([own, other])
                total = total + (g(own) - h(other)).square().flatten(1).mean(1)
            columns.append(total)
        filters = [m.weight for m in self.modules() if isinstance(m, nn.Conv2d)]
        return torch.stack(columns, 1), sum(losses.unit_filters(w) for w in filters)


def learn_from_least_ambiguous(
    student: TaskNet,
    teachers: Sequence[TaskNet],
    data: Any,
    recipe: Recipe | None = None,
    *,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    feature_weight: float = 1.0,
    filter_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Follow the least ambiguous teacher for each image and task (Shen 2019).

    .. math:: L = \lambda_s \sum_t T^2\, KL(p_{m^*_t} \,\|\, q_t)
        + \lambda_f \sum_t \sum_n \lVert g_{m^*_t}(F_{m^*_t}^n) - g_S(F_S^n) \rVert^2
        + \lambda_w \sum (\lVert w \rVert^2 - 1)^2

    with :math:`m^*_t(x)` of :func:`kdnb.losses.least_ambiguous` among the teachers that know task
    t.

    Args:
        student: its tasks are the ones to learn; trained in place.
        teachers: frozen; each task of the student must be known to one of them.
        data: unlabelled; any labels are ignored.
        temperature: T of the soft targets; ambiguity is judged at 1.
        soft_weight, feature_weight, filter_weight: weights of the terms.
        recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`; `evaluate` is a function.

    Returns:
        The history, with `soft`, `features`, `filters` and, for each task and teacher that knows
        it, the share of images for which it was followed, `<task>.teacher<number>`, which does not
        affect the loss; the student, as `fit.networks["student"]`; the adaptors, as `fit.learnt`.

    Raises:
        TypeError: for networks that are not `TaskNet`s.
        ValueError: for a task that no teacher knows, or as `kdnb.distil`.

    Departures: the choice of teachers follows the paper's abstract. Released code (KamalEngine,
    `customize_class.py`) has the adaptors, keeps only the teachers' filters at length 1, not the
    student's, and lets each teacher label its own data. The weights are ours.
    """
    recipe = recipe_of(learn_from_least_ambiguous, recipe, fields)
    teachers = list(teachers)
    known = check_tasks(student, teachers)
    check_number(above=0, temperature=temperature)
    weights = {"soft": soft_weight, "features": feature_weight, "filters": filter_weight}
    check_number(
        least=0, soft_weight=soft_weight, feature_weight=feature_weight, filter_weight=filter_weight
    )
    batches = batches_for(data, recipe, seed, "none", given=fields)
    first = first_batch(batches, seed)

    def made(shown: list[View]) -> Adaptors:
        widths = [[one.shape[1] for one in maps] for maps in maps_of(shown)]
        return Adaptors(widths[0], widths[1:])

    def terms(adaptors: nn.Module, ours: View, theirs: list[View]) -> dict[str, Tensor]:
        said = [net.parts(view.logits) for net, view in zip(teachers, theirs, strict=True)]
        own, *others = maps_of([ours, *theirs])
        apart, filters = adaptors(own, others)
        soft, near, followed = 0.0, 0.0, {}
        for task, logits in student.parts(ours.logits).items():
            numbers = known[task]
            aim, chosen = losses.least_ambiguous([said[number][task] for number in numbers])
            soft = soft + losses.soft_targets(logits, aim, temperature)
            # For each image, the distance from the teacher chosen for it.
            near = near + apart[:, numbers].gather(1, chosen[:, None]).mean()
            for place, number in enumerate(numbers):
                followed[f"{task}.teacher{number}"] = (chosen == place).float().mean()
        values = {"soft": soft, "features": near, "filters": filters}
        # The shares are constant and have no gradient.
        return {name: weights[name] * value for name, value in values.items()} | followed

    return amalgamated(
        student, teachers, [one.layers() for one in (student, *teachers)], batches, first, recipe,
        made=made, terms=terms, seed=seed, checkpoint=checkpoint, evaluate=evaluate,
        about={"verb": "learn_from_least_ambiguous", **weights, "temperature": temperature},
    )  # fmt: skip


def customise(
    student: TaskNet,
    components: Mapping[str, TaskNet],
    teachers: Sequence[TaskNet],
    data: Any,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Fit:
    """Train a student of chosen tasks in two stages: a component per task, then one network.

    Args:
        student: of the chosen tasks; trained in place.
        components: for each task of the student a `TaskNet` of that task alone; trained in place.
        teachers: of any tasks; each component follows those that know its task.
        data, recipe, seed, options: passed to :func:`learn_from_least_ambiguous`, for both stages.

    Returns:
        The fit of the second stage; `fit.networks` also holds the components, by task.

    Raises:
        ValueError: for tasks without a component, or components of other tasks; and as there.
    """
    if set(components) != set(student.tasks) or any(
        list(one.tasks) != [name] for name, one in components.items()
    ):
        raise ValueError(
            f"components must hold one network for each of the student's tasks, {list(student.tasks)}, "
            f"of that task alone; got { {name: list(one.tasks) for name, one in components.items()} }."
        )
    for one in components.values():
        learn_from_least_ambiguous(one, teachers, data, recipe, seed=seed, **options)
    second = learn_from_least_ambiguous(
        student, list(components.values()), data, recipe, seed=seed, **options
    )
    return Fit(second.history, {**second.networks, **components}, second.learnt)

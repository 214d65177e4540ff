"""Filtered amalgamation (Ye et al. 2019, IJCAI): a student of one task from multi-task teachers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_number
from kdnb.methods.multi_teacher.experts import amalgamated, maps_of, to_one_size
from kdnb.methods.multi_teacher.tasks import TaskNet, check_tasks
from kdnb.methods.options import recipe_of
from kdnb.names import brief
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import View, look

OPEN = 2.0  # initial value of the gates, before the logistic function, which gives 0.88


class ChannelGates(nn.Module):
    """A number between 0 and 1 for each channel of each layer: how much a task needs it."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.raw = nn.ParameterList(nn.Parameter(torch.full((c,), OPEN)) for c in channels)

    def forward(self) -> list[Tensor]:
        return [one.sigmoid() for one in self.raw]


@contextlib.contextmanager
def gated(network: nn.Module, paths: Sequence[str], gates: Sequence[Tensor]) -> Iterator[None]:
    """A context that multiplies the channels of these modules' outputs by their gates."""

    def through(gate: Tensor):
        def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            return output * gate.view(1, -1, *[1] * (output.ndim - 2))

        return hook

    with contextlib.ExitStack() as stack:
        for path, gate in zip(paths, gates, strict=True):
            handle = network.get_submodule(path).register_forward_hook(through(gate))
            stack.callback(handle.remove)
        yield


def learn_gates(
    teacher: TaskNet,
    task: str,
    data: Any,
    recipe: Recipe | None = None,
    *,
    sparsity: float = 0.1,
    evaluate: Any = None,
    seed: int = 0,
    **fields: Any,
) -> Fit:
    r"""Learn which channels of a frozen teacher one of its tasks needs.

    .. math:: L = KL(p_t \,\|\, p_t^g) + \lambda \sum_n \overline{g^n}

    with the teacher's answer to the task, plain and with the channels of all its layers multiplied
    by the gates g. Channels that do not change the answer are switched off.

    Args:
        teacher: frozen.
        task: one of its tasks.
        data: unlabelled.
        sparsity: lambda.
        recipe, evaluate, seed, fields: as in `kdnb.distil`; `evaluate` is a function.

    Returns:
        The history, with `answer` and `open`, the sum of the layers' mean gates times lambda; the
        gates, as `fit.learnt`.

    Raises:
        ValueError: for a task that the teacher does not know.
    """
    recipe = recipe_of(learn_gates, recipe, fields)
    if not isinstance(teacher, TaskNet) or task not in teacher.tasks:
        raise ValueError(f"the teacher must be a TaskNet that knows {task!r}.")
    check_number(least=0, sparsity=sparsity)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    at = teacher.layers()
    with borrowed(teacher):
        shown = look(teacher, at, first_batch(batches, seed).images)
        gates = ChannelGates([maps.shape[1] for maps in shown.maps])

        def terms(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                plain = teacher.parts(trained["teacher"](batch.images))[task]
            now = trained["gates"]()
            with gated(teacher, at.maps, now):
                left = teacher.parts(trained["teacher"](batch.images))[task]
            return {
                "answer": losses.soft_targets(left, plain, 1.0),
                "open": sparsity * sum(gate.mean() for gate in now),
            }

        history = fit(
            {"teacher": teacher, "gates": gates}, batches, Update(("gates",), terms), recipe,
            seed=seed, evaluate=evaluate,
            identity={"method": {"verb": "learn_gates", "task": task, "sparsity": sparsity}},
        )  # fmt: skip
    return Fit.of(history, {}, gates)


class Connectors(nn.Module):
    """1x1 convolutions from the student's layers to each teacher's."""

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(student_channels, widths, strict=True))
            for widths in teacher_channels
        )

    def forward(
        self, student_maps: Sequence[Tensor], filtered: Sequence[Sequence[Tensor]]
    ) -> Tensor:
        """The mean squared distances from the teachers' filtered maps, summed."""
        total = 0.0
        for connectors, theirs in zip(self.maps, filtered, strict=True):
            for connector, own, other in zip(connectors, student_maps, theirs, strict=True):
                ours, aim = to_one_size([own, other])
                total = total + losses.hint(connector(ours), aim, "common")
        return total


def learn_filtered(
    student: TaskNet,
    teachers: Sequence[TaskNet],
    data: Any,
    recipe: Recipe | None = None,
    *,
    gates: Sequence[ChannelGates],
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    feature_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train a student of one task from the gated layers of multi-task teachers (Ye 2019).

    .. math:: L = \lambda_s T^2\, KL\Big(\tfrac1M \sum_m p_m \,\Big\|\, q\Big)
        + \lambda_f \sum_m \sum_n \lVert r_m^n(F_S^n) - g_m^n \odot F_m^n \rVert^2

    Args:
        student: of one task; trained in place.
        teachers: frozen, all of them know it.
        data: unlabelled; any labels are ignored.
        gates: of each teacher, from :func:`learn_gates`.
        temperature: T.
        soft_weight, feature_weight: weights of the terms.
        recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`; `evaluate` is a function.

    Returns:
        The history, with `soft` and `features`; the student, as `fit.networks["student"]`; the
        maps r, as `fit.learnt`.

    Raises:
        TypeError: for networks that are not `TaskNet`s.
        ValueError: for a student of several tasks, a teacher that does not know it, gates that do
            not match, or as `kdnb.distil`.

    Departures: the paper's text was not available: gates on channels and the imitation of filtered
    layers are recalled in outline. Training the gates to keep the teacher's answer (`learn_gates`)
    is ours: trained jointly with the imitation they would simply close. According to its abstract,
    the paper trains block by block, each block connected to the teachers' other blocks. So does the
    group's later code (KamalEngine, `examples/knowledge_amalgamation/afk`), and :mod:`.master`
    here: the student's first blocks feed the teachers' frozen last ones, and no gate is learnt.
    """
    recipe = recipe_of(learn_filtered, recipe, fields)
    teachers = list(teachers)
    known = check_tasks(student, teachers)
    if len(known) > 1:
        raise ValueError(f"the student must have one task; it has {list(known)}.")
    ((task, numbers),) = known.items()
    if len(numbers) < len(teachers):
        raise ValueError(f"all teachers must know {task!r}; of {len(teachers)} {numbers} do.")
    if len(gates) != len(teachers):
        raise ValueError(
            f"gates must be one for each of {len(teachers)} teachers; got {len(gates)}."
        )
    check_number(above=0, temperature=temperature)
    check_number(least=0, soft_weight=soft_weight, feature_weight=feature_weight)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    first = first_batch(batches, seed)

    def made(shown: list[View]) -> Connectors:
        widths = [[one.shape[1] for one in maps] for maps in maps_of(shown)]
        for gate, own in zip(gates, widths[1:], strict=True):
            if not isinstance(gate, ChannelGates):
                raise TypeError(f"gates are those that learn_gates learnt; got {brief(gate)}.")
            if [len(one) for one in gate.raw] != own:
                raise ValueError(f"gates must fit the teacher's channels {own}.")
        return Connectors(widths[0], widths[1:])

    def terms(connectors: nn.Module, ours: View, theirs: list[View]) -> dict[str, Tensor]:
        softened = [
            net.parts(view.logits)[task].float() / temperature
            for net, view in zip(teachers, theirs, strict=True)
        ]
        aim = temperature * losses.ensemble_log_probabilities(softened)
        own, *others = maps_of([ours, *theirs])
        with torch.no_grad():
            filtered = [
                [one * g.view(1, -1, 1, 1) for one, g in zip(maps, gate(), strict=True)]
                for maps, gate in zip(others, gates, strict=True)
            ]
        return {
            "soft": soft_weight * losses.soft_targets(ours.logits, aim, temperature),
            "features": feature_weight * connectors(own, filtered),
        }

    return amalgamated(
        student, teachers, [one.layers() for one in (student, *teachers)], batches, first, recipe,
        made=made, terms=terms, seed=seed, checkpoint=checkpoint, evaluate=evaluate,
        about={"verb": "learn_filtered", "temperature": temperature, "soft_weight": soft_weight,
               "feature_weight": feature_weight,
               "gates": [[one.tolist() for one in g.raw] for g in gates]},
    )  # fmt: skip

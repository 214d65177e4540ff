"""Networks for several tasks, with one head per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import check_number
from kdnb.methods.teachers import check_pair
from kdnb.training.layers import Layers, layers_of


class TaskNet(nn.Module):
    """A classifier whose head is replaced by one head per task.

    Args:
        network: of kdnb, or another whose classifier is the linear layer `head`; it becomes
            `trunk`, and its head is removed.
        tasks: the number of answers to each, by name.

    Raises:
        TypeError: for a network without a linear `head`.
        ValueError: for no task.
    """

    def __init__(self, network: nn.Module, tasks: Mapping[str, int]) -> None:
        super().__init__()
        head = getattr(network, "head", None)
        if not isinstance(head, nn.Linear):
            raise TypeError(f"{type(network).__name__} has no linear layer `head` to replace.")
        if not isinstance(tasks, Mapping) or not tasks:
            raise ValueError("tasks must name at least one task, with the number of its answers.")
        for name, count in tasks.items():
            check_number(least=1, whole=True, **{f"answers to {name}": count})
        network.head = nn.Identity()
        self.trunk, self.tasks = network, dict(tasks)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(head.in_features, count) for name, count in tasks.items()}
        )

    def forward(self, images: Tensor) -> Tensor:
        """The concatenated logits of all tasks, (batch, sum of their answers)."""
        features = self.trunk(images)
        return torch.cat([self.heads[name](features) for name in self.tasks], 1)

    def parts(self, answer: Tensor) -> dict[str, Tensor]:
        """The logits of each task by name, from the output of `forward`."""
        return dict(zip(self.tasks, answer.split(list(self.tasks.values()), 1), strict=True))

    def layers(self) -> Layers:
        """Its trunk's layers."""
        found = layers_of(self.trunk)
        maps, before = ([f"trunk.{path}" for path in one] for one in (found.maps, found.before))
        return Layers(tuple(maps), tuple(before), f"trunk.{found.embedding}")


def task_loss(network: TaskNet) -> Callable[[Tensor, Tensor], Tensor]:
    """The sum of the tasks' cross-entropies, for `kdnb.train(network, ..., loss=...)`.

    Its labels are (batch, tasks) integers, in the order of the tasks.
    """

    def loss(answer: Tensor, labels: Tensor) -> Tensor:
        parts = network.parts(answer).values()
        return sum(
            F.cross_entropy(one, column)
            for one, column in zip(parts, labels.unbind(1), strict=True)
        )

    return loss


def check_tasks(student: TaskNet, teachers: list[TaskNet]) -> dict[str, list[int]]:
    """For each task of a student, the indices of the teachers that know it.

    Raises:
        TypeError: for anything but a TaskNet.
        ValueError: for a task that no teacher knows, or with a different number of answers; or a
            student that shares a part with a teacher.
    """
    for one in (student, *teachers):
        if not isinstance(one, TaskNet):
            raise TypeError(f"student and teachers must be TaskNets; got a {type(one).__name__}.")
    for number, one in enumerate(teachers):
        check_pair(student, one, ("student", f"teacher {number}"))
    found: dict[str, list[int]] = {}
    for name, count in student.tasks.items():
        found[name] = [number for number, one in enumerate(teachers) if name in one.tasks]
        if not found[name]:
            known = sorted({task for one in teachers for task in one.tasks})
            raise ValueError(f"no teacher knows the task {name!r}; they know {known}.")
        for number in found[name]:
            if teachers[number].tasks[name] != count:
                raise ValueError(
                    f"the task {name!r} has {count} answers in the student and "
                    f"{teachers[number].tasks[name]} in teacher {number}."
                )
    return found

"""Frozen teachers of different classes or tasks: joint evaluation and amalgamation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses import connected_classes
from kdnb.methods.teachers import check_no_nan
from kdnb.names import brief
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import Output, ask, logits_of
from kdnb.training.borrowed import borrowed, shared_part
from kdnb.training.first import check_module, tried
from kdnb.training.layers import Layers, View, look, viewing
from kdnb.training.watching import watching

Soft = Literal["others", "concatenated", "squared"]


class Experts(nn.Module):
    """Several classifiers as one network with concatenated logits, (batch, sum of their classes).

    Args:
        members: the classifiers; each is called in its own way.
        output: where the logits are in what a classifier returns, see `kdnb.train`.
    """

    takes_whole = True

    def __init__(self, members: Sequence[nn.Module], output: Output = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.output = output

    def forward(self, inputs: Any) -> Tensor:
        said = [logits_of(ask(member, inputs), self.output) for member in self.members]
        return torch.cat([logits.float() for logits in said], 1)


def check_experts(
    student: nn.Module,
    experts: Sequence[nn.Module],
    class_sets: Sequence[Sequence[int]],
    first: Batch,
    output: tuple[Output, Output] = (None, None),
    others: bool = False,
) -> int:
    """Require classifiers with a logit for each of their classes, and a student with one for all.

    Args:
        class_sets: for each classifier, the indices of its classes.
        first: a batch on which all are run.
        output: the student's and the classifiers', see `kdnb.train`.
        others: each classifier has an additional last logit, for images of none of its classes.

    Returns:
        The number of all classes.

    Raises:
        TypeError: for classifiers or class sets that are not lists.
        ValueError: if numbers of classes do not fit, student and classifier share weights, or a
            classifier answers with NaN.
    """
    if not isinstance(experts, (list, tuple, nn.ModuleList)) or not len(experts):
        raise TypeError("give the classifiers as a list of modules, at least one.")
    if not isinstance(class_sets, (list, tuple)):
        raise TypeError(
            f"class_sets must be a list of lists of class numbers; got {brief(class_sets)}."
        )
    if len(experts) != len(class_sets):
        raise ValueError(
            f"class_sets must have one list for each of {len(experts)} classifiers; got "
            f"{len(class_sets)}."
        )
    for place, members in enumerate(class_sets):
        if isinstance(members, str) or not all(isinstance(one, Integral) for one in members):
            raise TypeError(
                f"class_sets[{place}] must be a list of class numbers; got {brief(members)}."
            )
    classes = 1 + max((max(members, default=0) for members in class_sets), default=0)
    connected_classes(class_sets, classes)
    check_module("student", student)
    found = tried("student", student, first, output[0])
    if found.ndim != 2 or found.shape[1] != classes:
        raise ValueError(
            f"the student must answer (batch, {classes}), one logit for each class of the "
            f"class_sets; got {tuple(found.shape)}."
        )
    for place, (expert, members) in enumerate(zip(experts, class_sets, strict=True)):
        name = f"classifier {place}"
        check_module(name, expert, learns=False)
        if shared := shared_part(student, expert):
            raise ValueError(
                f"student and {name} share {shared}, which would move and stay at once."
            )
        said, wanted = tried(name, expert, first, output[1], learns=False), len(members) + others
        if said.ndim != 2 or said.shape[1] != wanted:
            more = " and one for none of them" if others else ""
            raise ValueError(
                f"{name} must answer (batch, {wanted}), one logit for each class of its class "
                f"set{more}; got {tuple(said.shape)}."
            )
        check_no_nan(name, said)
    return classes


def check_disjoint(class_sets: Sequence[Sequence[int]], classes: int) -> None:
    """Require that no two classifiers know the same class.

    Raises:
        ValueError: otherwise.
    """
    if sum(map(len, class_sets)) > classes:
        raise ValueError(
            "these classifiers share classes, and their logits cannot stand side by side: take "
            "kdnb.methods.multi_teacher.uhc.unify."
        )


def side_by_side(
    said: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int, soft: Soft
) -> Tensor:
    r"""Join the logits of classifiers that share no class into one answer, (batch, classes).

    Args:
        soft: "concatenated" and "squared" concatenate the raw logits, although those of two
            classifiers have unrelated offsets; "others" concatenates :math:`\log p_m(l)`, with the
            probability that the classifier gives to none of its classes (its last logit) left out:
            the softmax is then each class's probability, divided by their sum.
    """
    if soft == "others":
        said = [logits.float().log_softmax(1)[:, :-1] for logits in said]
    joined = said[0].new_zeros(len(said[0]), classes)
    for own, members in zip(said, class_sets, strict=True):
        joined[:, list(members)] = own.to(joined.dtype)
    return joined


def soft_loss(logits: Tensor, target: Tensor, soft: Soft) -> Tensor:
    """The student's distance from `side_by_side`: half the squared distance, or KL at T = 1."""
    if soft == "squared":
        return losses.logit_regression(logits, target)
    return losses.soft_targets(logits, target, 1.0)


def amalgamated(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    at: Sequence[Layers],
    batches: Any,
    first: Batch,
    recipe: Recipe,
    *,
    made: Callable[[list[View]], nn.Module],
    terms: Callable[[nn.Module, View, list[View]], dict[str, Tensor]],
    about: dict[str, Any],
    seed: int,
    checkpoint: Path | str | None = None,
    evaluate: Any = None,
    outputs: tuple[Output, Output] = (None, None),
) -> Fit:
    """Train a student and an additional module on the views of frozen teachers.

    Args:
        at: the layers of the student and of each teacher.
        first: a batch whose views of all networks are passed to `made`.
        made: builds the module from the views of student and teachers; its weights follow the seed.
        terms: the weighted terms, from the module and the views of student and teachers.
        about: identifies this run.
        batches, recipe, seed, checkpoint, evaluate, outputs: as in the verbs.

    Returns:
        The history, the network "student", and the module as `fit.learnt`.

    Raises:
        ValueError: for a different number of layers than of networks, and as `kdnb.distil`.
    """
    networks = {"student": student}
    networks |= {f"teacher{number}": one for number, one in enumerate(teachers)}
    asked = dict(zip(networks, [outputs[0], *[outputs[1]] * len(teachers)], strict=True))
    with borrowed(*networks.values()), all_viewed(networks, at) as looked:
        shown = [
            look(networks[name], places, first.images, asked[name])
            for name, places in zip(networks, at, strict=True)
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = made(shown)

        def weighted(trained: Any, batch: Batch) -> dict[str, Tensor]:
            return terms(trained["module"], *looked(trained, batch))

        history = fit(
            {**networks, "module": module}, batches,
            Update(("student", "module"), weighted, after=lambda: constrain(student)), recipe,
            seed=seed, checkpoint=checkpoint, identity={"method": about},
            answers={name: partial(logits_of, output=one) for name, one in asked.items()},
            evaluate=watching(evaluate, {"student": student}, outputs[0]),
        )  # fmt: skip
    return Fit.of(history, {"student": student}, module)


@contextlib.contextmanager
def all_viewed(
    networks: Mapping[str, nn.Module], at: Sequence[Layers]
) -> Iterator[Callable[[Any, Batch], tuple[View, list[View]]]]:
    """The views of a batch from the first network, which learns, and the others, which do not.

    Args:
        networks: by name, the student first.
        at: the layers of each.

    Raises:
        ValueError: for a different number of layers than of networks.
    """
    if len(at) != len(networks):
        raise ValueError(
            f"layers must hold one for the student and one for each of {len(networks) - 1} "
            f"teachers; got {len(at)}."
        )
    names = list(networks)
    with contextlib.ExitStack() as stack:
        looks = [
            stack.enter_context(viewing(*one)) for one in zip(networks.values(), at, strict=True)
        ]

        def looked(trained: Any, batch: Batch) -> tuple[View, list[View]]:
            with torch.no_grad():
                theirs = [
                    look(trained[name](batch.images))
                    for name, look in zip(names[1:], looks[1:], strict=True)
                ]
            return looks[0](trained[names[0]](batch.images)), theirs

        yield looked


def maps_of(views: Sequence[View]) -> list[list[Tensor]]:
    """The maps of each network, the same number for each.

    Raises:
        ValueError: if their numbers differ.
    """
    found = [view.maps for view in views]
    if len({len(maps) for maps in found}) > 1:
        raise ValueError(
            "student and teachers must show as many layers each; got "
            f"{', '.join(str(len(maps)) for maps in found)}: name them, layers=[Layers(maps=...), ...]."
        )
    return found


def to_one_size(maps: Sequence[Tensor]) -> list[Tensor]:
    """Average-pool maps to the smallest height and width among them."""
    size = tuple(min(one.shape[axis] for one in maps) for axis in (2, 3))
    return [
        one if tuple(one.shape[2:]) == size else F.adaptive_avg_pool2d(one, size) for one in maps
    ]

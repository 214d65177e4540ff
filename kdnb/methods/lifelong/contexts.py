"""Contexts as sets of classes, and the classes that compete in each scenario."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kdnb.data import Images, as_batches
from kdnb.losses.checks import check_choice, check_number

Scenario = Literal["task", "domain", "class"]


def class_order(classes: int, contexts: int, seed: int) -> list[list[int]]:
    """Classes in a random order, split into contexts of equal size.

    Args:
        classes: their number; a multiple of `contexts`.
        seed: for the order.

    Raises:
        ValueError: if the classes cannot be split evenly.

    >>> [sorted(one) for one in class_order(4, 1, 0)]
    [[0, 1, 2, 3]]
    """
    check_number(least=1, whole=True, classes=classes, contexts=contexts)
    if classes % contexts:
        raise ValueError(f"{classes} classes cannot be shared out among {contexts} contexts.")
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed)).tolist()
    size = classes // contexts
    return [order[start : start + size] for start in range(0, classes, size)]


@dataclass(frozen=True)
class Contexts:
    """Data that arrive one context after another, and how a network is evaluated on them.

    A network has one logit per column. In the scenarios "task" and "class" each context has its own
    columns, in order; in "domain" all contexts share the same columns.

    Attributes:
        train, test: for each context, labelled data whose labels are column indices: `Images`, a
            Dataset, a DataLoader or tensors (inputs, labels). `split_classes` makes them.
        sizes: the number of classes of each context.
        scenario: what is known at test. "task": the context of an image, so that only its classes
            compete; "class": nothing, so all classes seen so far compete; "domain": nothing, but
            all contexts share their labels.
        names: names of the classes of each context, for tables.

    Raises:
        ValueError: for lists of other lengths, an empty context, an unknown scenario, or a "domain"
            whose contexts have different numbers of classes.
    """

    train: Sequence[Any]
    test: Sequence[Any]
    sizes: Sequence[int]
    scenario: Scenario = "class"
    names: Sequence[Sequence[Any]] = ()

    def __post_init__(self) -> None:
        check_choice(get_args(Scenario), scenario=self.scenario)
        if not len(self.train) == len(self.test) == len(self.sizes) > 0:
            raise ValueError(
                "train, test and sizes must have one entry for each context; got "
                f"{len(self.train)}, {len(self.test)} and {len(self.sizes)}."
            )
        for size in self.sizes:
            check_number(least=1, whole=True, size=size)
        if self.scenario == "domain" and len(set(self.sizes)) > 1:
            raise ValueError(
                f"contexts of the scenario domain have the same classes; got sizes {self.sizes}."
            )
        if self.names and [len(one) for one in self.names] != list(self.sizes):
            raise ValueError(f"names must fit the sizes {self.sizes}; got {self.names}.")

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def columns(self) -> int:
        """The number of logits that a network needs."""
        return self.sizes[0] if self.scenario == "domain" else sum(self.sizes)

    def own(self, number: int) -> slice:
        """The columns of a context."""
        if self.scenario == "domain":
            return slice(0, self.columns)
        first = sum(self.sizes[:number])
        return slice(first, first + self.sizes[number])

    def seen(self, number: int) -> slice:
        """The columns of all contexts up to this one."""
        return slice(0, self.own(number).stop)

    def asked(self, number: int, after: int) -> slice | None:
        """The columns that compete for an image of a context once the context `after` is learnt.

        None if there is no answer yet: in the scenario "class", for classes that are still to come.
        """
        if self.scenario == "class":
            return self.seen(after) if number <= after else None
        return self.own(number)

    def rivals(self, after: int) -> Tensor:
        """(columns, columns) booleans: row l marks those that compete with label l in training.

        The same as `asked`, for batches that mix contexts.
        """
        found = torch.zeros(self.columns, self.columns, dtype=torch.bool)
        for number in range(after + 1):
            found[self.own(number), self.asked(number, after)] = True
        return found


def split_classes(
    train: Images,
    test: Images,
    sets: Sequence[Sequence[int]],
    scenario: Scenario = "class",
) -> Contexts:
    """A labelled data set as contexts, one for each set of classes.

    Args:
        train, test: parts of a data set, or parts of its training images for a pilot.
        sets: sets of classes, in the order in which they arrive, such as those of `class_order`.
        scenario: as in `Contexts`.

    Raises:
        ValueError: for a class in two sets, or without an image.
    """
    flat = [label for members in sets for label in members]
    if len(set(flat)) < len(flat):
        raise ValueError(f"a class stands in two contexts: {[list(one) for one in sets]}.")
    held = sorted(set(flat) - set(train.labels.tolist()))
    if held or not set(flat) <= set(test.labels.tolist()):
        raise ValueError(f"there is no image of the classes {held or sorted(flat)}.")
    sizes = [len(members) for members in sets]
    parts: tuple[list[Images], list[Images]] = ([], [])
    for number, members in enumerate(sets):
        start = 0 if scenario == "domain" else sum(sizes[:number])
        for found, whole in zip(parts, (train, test), strict=True):
            found.append(_renumbered(whole, members, start))
    return Contexts(*parts, sizes, scenario, [list(members) for members in sets])


def _renumbered(images: Images, members: Sequence[int], start: int) -> Images:
    """The images of some classes, with labels renumbered as columns from `start` on."""
    column = torch.full((int(images.labels.max()) + 1,), -1)
    column[torch.tensor(list(members))] = torch.arange(len(members)) + start
    kept = images.select(column[images.labels] >= 0)
    return Images(kept.images, column[kept.labels], kept.card)


def gathered(examples: Any) -> tuple[Tensor, Tensor]:
    """All inputs and labels of a context's data as two tensors, normalised, in their own order.

    Raises:
        TypeError: for inputs that are not a single tensor, which cannot be stored one by one.
    """
    if isinstance(examples, Images):
        return examples.tensors() if examples.card else (examples.images / 255, examples.labels)
    batches = list(as_batches(examples, 250, shuffle=False).epoch(0))
    for batch in batches:
        check_one_tensor(batch.images)
    return torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches])


def check_one_tensor(inputs: Any) -> None:
    """Raise `TypeError` for inputs in several parts."""
    if not isinstance(inputs, Tensor):
        raise TypeError("examples are stored one by one, which needs inputs that are one tensor.")


@contextlib.contextmanager
def named_context(number: int, kind: str = "training") -> Iterator[None]:
    """Add the context to an error."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{kind} data of context {number + 1}: {error}") from error


def together(parts: Sequence[Any]) -> Any:
    """Join several contexts' data: `Images` of one card stay `Images`, others become tensors."""
    if all(isinstance(part, Images) and part.card == parts[0].card for part in parts):
        images, labels = ([getattr(part, name) for part in parts] for name in ("images", "labels"))
        return Images(torch.cat(images), torch.cat(labels), parts[0].card)
    inputs, labels = zip(*map(gathered, parts), strict=True)
    return torch.cat(inputs), torch.cat(labels)

"""The methods of one distillation: names, options and weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses.checks import check_number
from kdnb.methods import catalogue
from kdnb.methods.catalogue import Method
from kdnb.methods.names import known_as
from kdnb.methods.offline.comparable import as_rows, comparable, is_plain
from kdnb.names import brief
from kdnb.training.answers import Ensemble
from kdnb.training.first import check_scalar
from kdnb.training.identity import of_function
from kdnb.training.targets import counted_rows, labelled_rows

Weight = float | tuple[float, float]
TAKEN = ("hard", "epoch", "lr", "seconds", "student", "teacher", "deployed")
LABELS = ("label", "target", "truth", "true", "classes")  # names of a loss's third argument


@dataclass
class Part:
    """One method of a distillation.

    Attributes:
        name: its column in the history.
        method: a method of the catalogue, or
        function: (student logits, teacher logits[, labels], **options) -> scalar.
        labels: whether the function takes labels.
        weight: at the first and the last epoch.
        module: the loss for two networks, once they are known; None for a plain function.
        masked: whether the networks exclude classes, by logits of minus infinity.
        by_rows: whether a function takes dense logits only as rows (positions, classes).
    """

    name: str
    method: Method | None = None
    function: Callable[..., Tensor] | None = None
    labels: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    weight: tuple[float, float] = (1.0, 1.0)
    module: nn.Module | None = None
    masked: bool = False
    by_rows: bool = False

    @property
    def known(self) -> dict[str, Any]:
        """Its options with their default values."""
        return self.method.options if self.method else _options(self.function)

    @property
    def temperature(self) -> float | None:
        """The temperature at which it softens answers, if it does."""
        found = self.options.get("temperature", self.known.get("temperature"))
        return float(found) if isinstance(found, (int, float)) else None

    def value(
        self, networks: Any, student: Any, teacher: Any, batch: Batch, ignore_index: int
    ) -> Tensor:
        """The loss of a batch, unweighted."""
        if self.function is not None:
            labels = batch.labels
            pair = [student.logits, teacher.logits]
            if self.by_rows:
                pair = [counted_rows(logits, labels, ignore_index) for logits in pair]
                if self.labels:
                    _, labels = labelled_rows(student.logits, labels, ignore_index)
            value = self.function(*pair, *((labels,) if self.labels else ()), **self.options)
            check_scalar({f"the method {self.name}": value})
            return value
        if self.masked or not is_plain(student):
            student, teacher, batch = self.comparable(student, teacher, batch, ignore_index)
            if not len(student.logits):
                return student.logits.sum() * 0
        return networks[self.name](student, teacher, batch)

    def comparable(
        self, student: Any, teacher: Any, batch: Batch, ignore_index: int
    ) -> tuple[Any, Any, Batch]:
        """Views and a batch as the method takes them, see `comparable`."""
        if self.method.section != "2.1":  # it looks at layers
            return as_rows(student), as_rows(teacher), batch
        about = self.name, self.method.title
        return comparable(*about, student, teacher, batch, ignore_index, self.masked)

    def identity(self) -> dict[str, Any]:
        """Its identity in a checkpoint."""
        what = self.method.title if self.method else of_function(self.function)
        options = {key: str(value) for key, value in sorted(self.options.items())}
        return {"name": self.name, "what": what, "options": options, "weight": list(self.weight)}


def parts_of(method: Any, weight: Any) -> list[Part]:
    """The requested methods, with their weights.

    Args:
        method: a name, a `Method` or a callable; or a list of those.
        weight: one number, or (first epoch, last epoch), for one method; a dict by name for
            several. None takes the published weight (1 for a callable).

    Raises:
        ValueError: for an unknown name, a weight without a method, or if none is published.
        TypeError: for anything but a method.
    """
    asked = list(method) if isinstance(method, (list, tuple)) else [method]
    if not asked:
        raise ValueError('method names no method: give one, such as "kd".')
    parts: list[Part] = []
    for one in asked:
        part = _part(one)
        names = {*TAKEN, *(other.name for other in parts)}
        if part.method and part.name in names:
            raise ValueError(f"the method {part.name!r} is given twice.")
        name, number = part.name, 2
        while part.name in names:
            part.name, number = f"{name}_{number}", number + 1
        parts.append(part)
    _weigh(parts, weight)
    return parts


def _part(method: Any) -> Part:
    if isinstance(method, str):
        name = known_as(method, list(catalogue.METHODS))
        return Part(name, catalogue.method(name))
    if isinstance(method, Method):
        known = [name for name, one in catalogue.METHODS.items() if one is method]
        return Part(known[0] if known else "knowledge", method)
    if isinstance(method, type) and issubclass(method, nn.Module):
        raise TypeError(f"the method is the class {method.__name__}: give an object of it.")
    if callable(method):
        named = getattr(method, "__name__", "")
        part = Part(named if named.isidentifier() else "soft", function=method)
        part.labels = _takes_labels(method)
        learning = isinstance(method, nn.Module) and any(
            p.requires_grad for p in method.parameters()
        )
        part.module = method if learning else None
        return part
    raise TypeError(
        "a method is a name of the catalogue, a callable (student_logits, teacher_logits), or a "
        f"list of those; got a {type(method).__name__}."
    )


def shared_temperature(parts: Sequence[Part], teacher: Any) -> float:
    """The temperature at which several teachers' answers are averaged."""
    found = {part.temperature for part in parts if part.temperature is not None}
    several = isinstance(teacher, (list, tuple, nn.ModuleList))
    several = several or isinstance(teacher, Ensemble) and teacher.temperature is None
    if len(found) > 1 and several:
        raise ValueError(
            "several teachers are averaged at one temperature; these methods have "
            f"{' and '.join(f'{one:g}' for one in sorted(found))}: give them one."
        )
    return found.pop() if len(found) == 1 else 1.0


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        asked = function.forward if isinstance(function, nn.Module) else function
        return list(inspect.signature(asked).parameters.values())
    except (TypeError, ValueError):  # a built-in function
        return []


_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _takes_labels(function: Callable[..., Any]) -> bool:
    third = [p for p in _parameters(function) if p.kind in _PLACED][2:3]
    return any(
        p.default is p.empty and (any(word in p.name for word in LABELS) or p.name == "y")
        for p in third
    )


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    """The named arguments of a user's loss besides logits and labels; None if without a default."""
    found = _parameters(function)
    skipped = 3 if _takes_labels(function) else 2
    named = [p for p in found if p.kind in (*_PLACED, inspect.Parameter.KEYWORD_ONLY)]
    return {p.name: None if p.default is p.empty else p.default for p in named[skipped:]}


def check_options(part: Part) -> None:
    """Require the options of a user's own loss that have no default, and that no option learns.

    Raises:
        ValueError: naming the first that is missing, or whose gradient would be lost.
    """
    for name, value in part.options.items():
        if isinstance(value, Tensor) and value.requires_grad:
            raise ValueError(
                f"{name} of the method {part.name} would not be learnt: give {name}.detach(), or a "
                "torch module of your own as method, whose parameters learn."
            )
    if part.function is None:
        return
    found = _parameters(part.function)
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in found)
    if found and not open_ended and len([p for p in found if p.kind in _PLACED]) < 2:
        raise ValueError(
            f"the method {part.name} takes {len([p for p in found if p.kind in _PLACED])} argument: "
            "a loss of your own takes (student_logits, teacher_logits[, labels])."
        )
    skipped = 3 if part.labels else 2
    kinds = (*_PLACED, inspect.Parameter.KEYWORD_ONLY)
    for parameter in [p for p in _parameters(part.function) if p.kind in kinds][skipped:]:
        if parameter.default is parameter.empty and parameter.name not in part.options:
            raise ValueError(
                f"the method {part.name} needs {parameter.name}: give {parameter.name}=... (what a "
                "third argument named labels takes is the labels)."
            )


def _weigh(parts: list[Part], weight: Any) -> None:
    given = dict(weight) if isinstance(weight, Mapping) else None
    if given is None and weight is not None:
        if len(parts) > 1:
            example = ", ".join(f'"{part.name}": ...' for part in parts)
            raise ValueError(f"several methods take their weights by name: weight={{{example}}}.")
        given = {parts[0].name: weight}
    given = {_weighed(name, parts): value for name, value in (given or {}).items()}
    for part in parts:
        own = given.get(part.name)
        if own is None:
            own = part.method.weight if part.method else 1.0
        if own is None:
            raise ValueError(
                f"no weight is published for {part.method.title}: give one, "
                f"{'weight=...' if len(parts) == 1 else f'weight={{{part.name!r}: ...}}'}."
            )
        pair = own if isinstance(own, (tuple, list)) else (own, own)
        if len(pair) != 2:
            raise ValueError(
                "a weight is one number, or a pair (first epoch, last epoch); got "
                f"{brief(own)} for {part.name}."
            )
        for number in pair:
            check_weight(number, f"the weight of {part.name}")
        part.weight = (float(pair[0]), float(pair[1]))


def check_learning(parts: Sequence[Part], label_weight: float) -> None:
    """Require a weight above 0, without which nothing would be learnt.

    Raises:
        ValueError: when those of all methods and of the labels are 0.
    """
    if not label_weight and not any(any(part.weight) for part in parts):
        raise ValueError("nothing would be learnt: weight and label_weight are 0.")


def check_weight(weight: Any, name: str) -> None:
    """Require a finite number of at least 0.

    Raises:
        ValueError: naming what it is.
    """
    check_number(least=0, **{name: weight})


def _weighed(name: str, parts: list[Part]) -> str:
    names = [part.name for part in parts]
    try:
        known = name if name in names else known_as(name, list(catalogue.METHODS))
    except ValueError:
        known = name
    if known not in names:
        raise ValueError(f"weight names {name!r}, and the methods are {', '.join(names)}.")
    return known

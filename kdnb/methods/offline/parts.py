"""The methods of one distillation: what they are called, their options and weights, their modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.data.forms import Mixed
from kdnb.methods import catalogue
from kdnb.methods.catalogue import Method
from kdnb.methods.names import known_as
from kdnb.methods.offline.comparable import comparable, excludes, is_plain
from kdnb.methods.wiring import Setting
from kdnb.training.answers import Output
from kdnb.training.first import check_scalar, first_batch, tried
from kdnb.training.identity import of_function
from kdnb.training.layers import Layers, View, layers_of, matched, viewing
from kdnb.training.randomness import own_random_state
from kdnb.training.targets import NOTHING, counted_rows, label_loss, labelled_rows

Weight = float | tuple[float, float]
TAKEN = ("hard", "epoch", "lr", "seconds", "student", "teacher", "deployed")
LABELS = ("label", "target", "truth", "true", "classes")  # what a loss calls its third argument


@dataclass
class Part:
    """One method of a distillation.

    Attributes:
        name: its column in the history.
        method: of the catalogue, or
        function: (student logits, teacher logits[, labels], **options) -> scalar.
        labels: whether the function takes labels.
        weight: at the first and the last epoch.
        module: the loss for two networks, once they are known; None for a mere function.
        masked: whether the networks exclude classes, by logits of minus infinity.
        by_rows: whether a function takes dense logits as rows (places, classes) alone.
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
        """At which it softens answers, where it does."""
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
            return self.function(*pair, *((labels,) if self.labels else ()), **self.options)
        if self.masked or not is_plain(student):
            student, teacher, batch = self._comparable(student, teacher, batch, ignore_index)
            if not len(student.logits):
                return student.logits.sum() * 0
        return networks[self.name](student, teacher, batch)

    def _comparable(
        self, student: Any, teacher: Any, batch: Batch, ignore_index: int
    ) -> tuple[Any, Any, Batch]:
        if self.method.section != "2.1":  # it looks at layers
            return student, teacher, batch
        about = self.name, self.method.title
        return comparable(*about, student, teacher, batch, ignore_index, self.masked)

    def identity(self) -> dict[str, Any]:
        """By what a checkpoint knows it."""
        what = self.method.title if self.method else of_function(self.function)
        options = {key: str(value) for key, value in sorted(self.options.items())}
        return {"name": self.name, "what": what, "options": options, "weight": list(self.weight)}


def parts_of(method: Any, weight: Any) -> list[Part]:
    """The methods that are asked for, with their weights.

    Args:
        method: a name, a `Method` or a callable; or a list of those.
        weight: one number, or (first epoch, last epoch), for one method; by name for several. None
            takes the published one (1 for a callable).

    Raises:
        ValueError: for an unknown name, a weight of nothing, or where none is published.
        TypeError: for what is no method.
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
    """At which several teachers' answers are averaged."""
    found = {part.temperature for part in parts if part.temperature is not None}
    if len(found) > 1 and isinstance(teacher, (list, tuple, nn.ModuleList)):
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
    """What a loss of one's own takes by name beside logits and labels; None without a default."""
    found = _parameters(function)
    skipped = 3 if _takes_labels(function) else 2
    named = [p for p in found if p.kind in (*_PLACED, inspect.Parameter.KEYWORD_ONLY)]
    return {p.name: None if p.default is p.empty else p.default for p in named[skipped:]}


def check_options(part: Part) -> None:
    """Require every option of a loss of one's own that has no default.

    Raises:
        ValueError: naming the first that is missing.
    """
    if part.function is None:
        return
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
        pair = own if isinstance(own, Sequence) else (own, own)
        part.weight = (float(pair[0]), float(pair[1]))
        if not all(torch.isfinite(torch.tensor(part.weight))):
            raise ValueError(f"a weight is a finite number; got {own} for {part.name}.")


def _weighed(name: str, parts: list[Part]) -> str:
    names = [part.name for part in parts]
    try:
        known = name if name in names else known_as(name, list(catalogue.METHODS))
    except ValueError:
        known = name
    if known not in names:
        raise ValueError(f"weight names {name!r}, and the methods are {', '.join(names)}.")
    return known


class Bare:
    """A network of which only the answer is known: whoever looks inside is told why."""

    def __init__(self, logits: Tensor, why: str) -> None:
        self.logits, self._why = logits, why

    def watched(self) -> tuple[Bare, set[str]]:
        """As `View.watched`: there is nothing to look at."""
        return self, set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise ValueError(self._why)


def shown(logits: Tensor, layers: Layers | str, network: nn.Module) -> View | Bare:
    """An answer alone, as a view of which no layer was collected."""
    if isinstance(layers, str):
        return Bare(logits, layers)
    return View(logits, {}, layers, network)


def places_in(network: nn.Module, layers: Layers | None) -> Layers | str:
    """Where to look in a network: as given, as found, or else why nothing was found."""
    if layers is not None:
        return layers
    try:
        return layers_of(network)
    except ValueError as error:
        return str(error)


def build(
    parts: Sequence[Part],
    networks: tuple[nn.Module, nn.Module],
    layers: tuple[Layers | str, Layers | str],
    batches: Any,
    seed: int,
    outputs: tuple[Output, Output] = (None, None),
    ignore_index: int = NOTHING,
    match: bool = False,
    label_weight: float = 0.0,
) -> tuple[bool, set[str], tuple[Layers | str, Layers | str]]:
    """Make every part's module for two networks, tried on a first batch before any training.

    The seed fixes their initial weights.

    Args:
        match: choose as many layers of both networks, where they have different numbers.
        label_weight: of the cross-entropy with the labels, which is tried, too, unless it is 0.

    Returns:
        Whether a part looks inside a network, the teacher's layers that are looked at, and the
        layers of both networks.

    Raises:
        ValueError: for layers whose shapes a method cannot take, or labels that are missing.
    """
    batch = first_batch(batches, seed)
    views = _both(networks, layers, outputs, batch)
    if label_weight:
        label_loss(views[0].logits, batch.labels, 0.0, ignore_index)
    _try_functions(parts, views, batch, ignore_index)
    wired = [part for part in parts if part.method]
    if not wired:
        return False, set(), layers
    found = all(isinstance(at, Layers) for at in layers)
    if match and found and any(part.method.section != "2.1" for part in wired):
        layers = matched(*layers, *views)
        views = [
            View(view.logits, view.outputs(), at, network)
            for view, at, network in zip(views, layers, networks, strict=True)
        ]
    counted = _of_classes(batch.labels)
    classes = len(batch.labels.unique()) if counted else None
    setting = Setting(images=batches.examples, batch_size=batch.size, classes=classes)
    deep, wanted = False, set()
    for part in wired:
        reading = _Reading(batch)
        with own_random_state(), torch.no_grad():
            torch.manual_seed(seed)
            try:
                part.masked = part.method.section == "2.1" and excludes(*views)
                given = views
                if part.masked or not is_plain(*views):
                    given = part._comparable(*views, Batch(batch.images, None), ignore_index)
                part.module = part.method.build(*given[:2], setting, **part.options)
                part.module.to(views[0].logits.device).eval()
                (ours, inside), (theirs, taught) = (view.watched() for view in views)
                part.value({part.name: part.module}, ours, theirs, reading, ignore_index)
            except (ValueError, RuntimeError, TypeError, AttributeError) as error:
                if reading.labels_read and not _of_classes(batch.labels):
                    raise ValueError(_unread(part.method, batch.labels)) from error
                if isinstance(error, (TypeError, AttributeError)):
                    raise
                raise ValueError(_refusal(part.method, error, views, layers)) from error
        deep = deep or bool(inside or taught)
        wanted |= taught
    return deep, wanted, layers


def _try_functions(
    parts: Sequence[Part], views: Sequence[Any], batch: Batch, ignore_index: int
) -> None:
    """Call losses of one's own on a first batch: what they cannot take is refused.

    Dense logits are given as they are, or, to a loss that takes none, a row for each place.
    """
    dense = any(view.logits.ndim > 2 for view in views)
    for part in [part for part in parts if part.function is not None]:
        for part.by_rows in (False, True):
            try:
                with own_random_state(), torch.no_grad():
                    value = part.value({}, *views, batch, ignore_index)
                break
            except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
                if dense and not part.by_rows:
                    continue
                shapes = " and ".join(str(tuple(view.logits.shape)) for view in views)
                raise ValueError(
                    f"the method {part.name} cannot take these answers, {shapes}: {error}"
                ) from error
        check_scalar({f"the method {part.name}": value})


def _of_classes(labels: Any) -> bool:
    return isinstance(labels, Tensor) and not labels.is_floating_point()


def _unread(method: Method, labels: Any) -> str:
    if labels is None:
        return (
            f"{method.title} reads labels, and this data gives none: give pairs (inputs, labels)."
        )
    kind = "mixed labels" if isinstance(labels, Mixed) else f"labels of {labels.dtype}"
    return f"{method.title} reads numbers of classes, one for each sample; this data gives {kind}."


class _Reading:
    """A batch that remembers whether its labels were read."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self.labels_read = batch, False

    def __getattr__(self, name: str) -> Any:
        self.labels_read = self.labels_read or name == "labels"
        return getattr(self._batch, name)


def _refusal(method: Method, error: Exception, views: Sequence[Any], layers: Sequence[Any]) -> str:
    what = "answers" if method.section == "2.1" else "layers"
    whole = f"{method.title} cannot take these {what}: {error}"
    if any(isinstance(view, Bare) for view in views):
        return whole
    seen = [_shapes(view, at) for view, at in zip(views, layers, strict=True)]
    return f"{whole} The student shows {seen[0]}; the teacher {seen[1]}."


@torch.no_grad()
def _both(
    networks: Sequence[nn.Module], layers: Sequence[Any], outputs: Sequence[Output], batch: Batch
) -> list[View | Bare]:
    found: list[View | Bare] = []
    names = ("student", "teacher")
    for name, network, at, output in zip(names, networks, layers, outputs, strict=True):
        network.to(batch.device)
        learns = name == "student"
        if isinstance(at, str):
            found.append(Bare(tried(name, network, batch, output, learns), at))
            continue
        with viewing(network, at) as seen:
            found.append(seen(tried(name, network, batch, output, learns)))
    return found


def _shapes(view: View, layers: Layers) -> str:
    maps = zip(layers.maps, view.maps, strict=True)
    named = [*maps, (layers.embedding, view.embedding), ("logits", view.logits)]
    return ", ".join(f"{path} {tuple(value.shape)}" for path, value in named)


@torch.no_grad()
def first_value(
    method: Method,
    student: nn.Module,
    teacher: nn.Module,
    batches: Any,
    layers: tuple[Layers, Layers],
    seed: int = 0,
) -> float:
    """The method's value on the first batch, before any training: its scale, to choose a weight."""
    (part,) = parts_of(method, 1.0)
    build([part], (student, teacher), layers, batches, seed)
    batch = first_batch(batches, seed)
    views = _both((student, teacher), layers, (None, None), batch)
    return float(part.value({part.name: part.module}, *views, batch, NOTHING))

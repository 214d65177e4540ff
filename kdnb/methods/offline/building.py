"""Build the methods of a distillation for two networks, and try them on a first batch."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.data.forms import Mixed
from kdnb.methods.catalogue import Method
from kdnb.methods.offline.comparable import excludes, is_plain
from kdnb.methods.offline.parts import Part, parts_of
from kdnb.methods.wiring import Setting
from kdnb.training.answers import Output, rows
from kdnb.training.borrowed import twin_of
from kdnb.training.first import (
    check_learns,
    check_samples_first,
    check_scalar,
    first_batch,
    no_spreading,
    tried,
    versions,
)
from kdnb.training.layers import Layers, View, layers_of, matched, viewing
from kdnb.training.randomness import own_random_state
from kdnb.training.targets import NOTHING, REAL, check_every_label, label_loss
from kdnb.training.wrapped import is_compiled


class Bare:
    """A network of which only the answer is known; accessing its layers explains why."""

    def __init__(self, logits: Tensor, why: str) -> None:
        self.logits, self._why = logits, why

    def watched(self) -> tuple[Bare, set[str]]:
        """As `View.watched`: there are no layers."""
        return self, set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise ValueError(self._why)


def shown(logits: Tensor, layers: Layers | str, network: nn.Module) -> View | Bare:
    """A view of an answer alone, without layers."""
    if isinstance(layers, str):
        return Bare(logits, layers)
    return View(logits, {}, layers, network)


def places_in(network: nn.Module, layers: Layers | None) -> Layers | str:
    """The layers of a network: as given, as found, or the reason why none were found."""
    if isinstance(network, torch.jit.ScriptModule):
        return "nobody can look into a network of torch.jit: give the module that it was made of."
    if layers is not None:
        return layers
    if getattr(network, "_compiled_call_impl", None) is not None:
        return "kdnb does not look into a network after its .compile(): give one that was not compiled."
    if is_compiled(network) or isinstance(network, nn.DataParallel):
        inner = "_orig_mod" if is_compiled(network) else "module"
        return (
            f"kdnb does not look into a {type(network).__name__}: give the module inside, "
            f"network.{inner}."
        )
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
    """Build every part's module for two networks, and try it on a first batch before training.

    The seed fixes their initial weights.

    Args:
        match: choose the same number of layers in both networks, if they differ.
        label_weight: weight of the cross-entropy with the labels, which is also tried unless this
            is 0.

    Returns:
        Whether a part uses a network's layers, the teacher's layers that are used, and the layers
        of both networks.

    Raises:
        ValueError: for layers whose shapes a method cannot use, or missing labels.
    """
    batch = first_batch(batches, seed)
    views = _both(networks, layers, outputs, batch)
    if label_weight:
        label_loss(views[0].logits, batch.labels, 0.0, ignore_index)
        check_every_label(batches, views[0].logits, ignore_index)
    _try_functions(parts, views, batch, ignore_index)
    wired = [part for part in parts if part.method]
    if not wired:
        check_learns("student", networks[0])
        return False, set(), layers
    found = all(isinstance(at, Layers) for at in layers)
    if match and found and any(part.method.section != "2.1" for part in wired):
        layers = matched(*layers, *views)
        views = [
            View(view.logits, view.outputs(), at, network)
            for view, at, network in zip(views, layers, networks, strict=True)
        ]
    _check_real(wired, views, batch.labels)
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
                    given = part.comparable(*views, Batch(batch.images, None), ignore_index)
                part.module = part.method.build(*given[:2], setting, **part.options)
                part.module.to(views[0].logits.device).eval()
                (ours, inside), (theirs, taught) = (view.watched() for view in views)
                part.value({part.name: part.module}, ours, theirs, reading, ignore_index)
                if reading.labels_read and is_plain(*views):
                    _check_labelled(part, batches, batch, ignore_index)
            except (ValueError, RuntimeError, TypeError, AttributeError, LookupError) as error:
                if reading.labels_read and is_plain(*views):
                    _check_labelled(part, batches, batch, ignore_index)
                known = _of_classes(batch.labels)
                if part.method.section != "2.1":  # dense labels do not give one class per sample
                    known = known and batch.labels.ndim == 1
                if reading.labels_read and not known:
                    raise ValueError(_unread(part.method, batch.labels)) from error
                if isinstance(error, (TypeError, AttributeError)):
                    raise
                raise ValueError(_refusal(part, error, views, layers)) from error
        deep = deep or bool(inside or taught)
        wanted |= taught
    # A frozen student is allowed if the method has trainable parameters, such as an adapter.
    check_learns("student", networks[0], *(part.module for part in wired))
    return deep, wanted, layers


def _try_functions(
    parts: Sequence[Part], views: Sequence[Any], batch: Batch, ignore_index: int
) -> None:
    """Call the user's own losses on a first batch, and reject input that they cannot take.

    Dense logits are passed unchanged or, to a loss that cannot take them, as one row per position.
    """
    dense = any(view.logits.ndim > 2 for view in views)
    answers = [view.logits for view in views]
    for part in [part for part in parts if part.function is not None]:
        before = versions(answers)
        trial = replace(part, function=twin_of_loss(part.function))
        for part.by_rows in (False, True):
            trial.by_rows = part.by_rows
            try:
                with own_random_state(), torch.no_grad(), no_spreading(*answers, batch.labels):
                    value = trial.value({}, *views, batch, ignore_index)
                check_scalar({f"the method {part.name}": value}, answers)
                break
            except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
                if dense and not part.by_rows:
                    continue
                if str(error).startswith(f"the method {part.name} must return "):
                    raise
                shapes = " and ".join(str(tuple(view.logits.shape)) for view in views)
                raise ValueError(
                    f"the method {part.name} cannot take these answers, {shapes}: {error}"
                ) from error
        if versions(answers) != before:
            raise ValueError(
                f"the method {part.name} changes the answers in place, and other terms read them: let "
                "it begin with a copy, such as z = z.clone()."
            )


def twin_of_loss(loss: Any) -> Any:
    """A copy of a loss, so that a trial call leaves no trace in it; the loss itself if it has no copy.

    Functions are not copied, nor are methods, whose object may be large.
    """
    if isinstance(loss, types.MethodType):
        return loss
    try:
        return twin_of(loss) if isinstance(loss, nn.Module) else copy.deepcopy(loss)
    except Exception:  # noqa: BLE001 - whatever an object says about being copied
        return loss


def try_loss(value: Callable[..., Any], logits: Tensor, labels: Any) -> None:
    """Call a user's loss on a first batch, and reject input that it cannot take."""
    try:
        with own_random_state(), torch.no_grad(), no_spreading(logits, labels):
            check_scalar(value(logits.clone(), labels), [logits])
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        if str(error).startswith("loss must return "):
            raise
        kind = (
            f"labels of {labels.dtype}, {tuple(labels.shape)}"
            if isinstance(labels, Tensor)
            else "labels"
        )
        raise ValueError(
            f"loss cannot take this answer, {tuple(logits.shape)}, and {kind}: {error}"
        ) from error


def _check_real(parts: Sequence[Part], views: Sequence[Any], labels: Any) -> None:
    """Reject real-valued labels with one output, which methods on logits treat as a binary task."""
    one = all(rows(view.logits).shape[1] == 1 for view in views)
    real = isinstance(labels, Tensor) and labels.is_floating_point()
    if one and real and bool(((labels < 0) | (labels > 1)).any()):
        for part in [part for part in parts if part.method.section == "2.1"]:
            raise ValueError(
                f"the method {part.name} reads one output as the logit of a binary task, and these "
                f"labels are real values. {REAL}"
            )


def _check_labelled(part: Part, batches: Any, batch: Batch, ignore_index: int) -> None:
    """Reject samples without a label, as far as visible, for a method that reads labels."""
    labels = getattr(getattr(batches, "images", batches), "labels", None)
    labels = labels if isinstance(labels, Tensor) else batch.labels
    if _of_classes(labels) and (count := int((labels == ignore_index).sum())):
        raise ValueError(
            f"the method {part.name} reads the label of every sample, and {count} of {len(labels)} "
            f"have none ({ignore_index}): leave these samples out."
        )


def _of_classes(labels: Any) -> bool:
    return isinstance(labels, Tensor) and not labels.is_floating_point()


def _unread(method: Method, labels: Any) -> str:
    if labels is None:
        return (
            f"{method.title} reads labels, and this data gives none: give pairs (inputs, labels)."
        )
    kind = "mixed labels"
    if not isinstance(labels, Mixed):
        kind = f"labels of {labels.dtype}, of shape {tuple(labels.shape)} for a batch"
    return f"{method.title} reads numbers of classes, one for each sample; this data gives {kind}."


class _Reading:
    """A batch that remembers whether its labels were read, also in what is made of it."""

    def __init__(self, batch: Batch, read: set[str] | None = None) -> None:
        self._batch, self._read = batch, set() if read is None else read

    @property
    def labels_read(self) -> bool:
        return "labels" in self._read

    def __getattr__(self, name: str) -> Any:
        self._read.add(name)
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """What it holds, without it being read."""
        return iter(self._batch)

    def _replace(self, **changed: Any) -> _Reading:
        return _Reading(self._batch._replace(**changed), self._read)


def _refusal(part: Part, error: Exception, views: Sequence[Any], layers: Sequence[Any]) -> str:
    method = part.method
    if str(error).split(" ")[0] in part.known:
        return f"the method {part.name}: {error}"  # an option
    if str(error).startswith(("it needs ", "labels ", "logits ", "a label ")):
        return f"{method.title} cannot take this batch: {error}"
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
        if isinstance(at, str):
            found.append(Bare(tried(name, network, batch, output, learns=False), at))
            continue
        with viewing(network, at) as seen:
            view = seen(tried(name, network, batch, output, learns=False))
            if check_samples_first(network, batch, at, view):
                view = seen(tried(name, network, batch, output, learns=False))
            found.append(view)
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
    """The method's value on the first batch before training, to choose a weight by its scale."""
    (part,) = parts_of(method, 1.0)
    build([part], (student, teacher), layers, batches, seed)
    batch = first_batch(batches, seed)
    views = _both((student, teacher), layers, (None, None), batch)
    return float(part.value({part.name: part.module}, *views, batch, NOTHING))

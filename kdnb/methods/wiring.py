"""Connect a loss to two networks: on logits, embeddings or maps, with or without adapters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import PointwiseAdapter
from kdnb.losses.checks import check_number
from kdnb.progress import note
from kdnb.training.layers import View

# Two computations of the same mean differ by less than this share of the largest value, even in
# half precision.
SAME = 0.02
Place = Literal["maps", "before"]
Which = Literal["all", "middle", "last"]
Options = Mapping[str, Any]
Build = Callable[..., nn.Module]  # student view, teacher view, setting, **options -> the term
Least = int | Callable[[Options], int]  # samples that a batch needs, or a function of the options


@dataclass(frozen=True)
class Setting:
    """Information that a method may need besides the two networks.

    Attributes:
        images: the number of training images; None if unknown.
        batch_size: of the training.
        classes: the number of classes in the first batch; None if its labels are not class indices.
    """

    images: int | None
    batch_size: int
    classes: int | None = None


@dataclass(frozen=True)
class Wire:
    """A loss and its connection to two networks.

    Attributes:
        loss: a public function or module of `kdnb.losses`.
        make: (views of student and teacher on a first batch, setting, **options) -> the term.
        options: the named options of `make`, with their default values.
        least: the number of samples that a batch needs, for these options.
        clipped: its gradient on the student is clipped to that of the labels' loss
            (`kdnb.methods.offline.clipping`).
        batch_statistics: the teacher normalises by the batch's own statistics, as in training.
        classes: the number of classes that the first batch needs.
    """

    loss: Callable[..., Any]
    make: Callable[..., nn.Module]
    options: Options = field(default_factory=dict)
    least: Least = 1
    clipped: bool = False
    batch_statistics: bool = False
    classes: int = 1

    def __call__(self, student: View, teacher: View, setting: Setting, **options: Any) -> nn.Module:
        chosen = {**self.options, **options}
        least = self.least(chosen) if callable(self.least) else self.least
        got = len(student.logits)
        if got < least:
            raise ValueError(f"it needs at least {least} samples in a batch; got {got}.")
        if setting.classes is not None and setting.classes < self.classes:
            raise ValueError(
                f"it needs {self.classes} classes in a batch; the first one has "
                f"{setting.classes}: shuffle the data."
            )
        term = self.make(student, teacher, setting, **chosen)
        norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in term.modules())
        term.least = max(least, getattr(term, "least", 1), 2 if norms else 1)
        term.clipped, term.batch_statistics = self.clipped, self.batch_statistics
        return term


def options_of(function: Callable[..., Any], **defaults: Any) -> dict[str, Any]:
    """The options of a loss: its parameters with a default value.

    >>> options_of(losses.attention_transfer, variant="authors")
    {'power': 2.0, 'variant': 'authors'}
    """
    named = inspect.signature(function).parameters
    fixed = getattr(function, "keywords", {})  # arguments of a partial function are fixed
    own = {
        name: parameter.default
        for name, parameter in named.items()
        if parameter.default is not parameter.empty and name not in fixed
    }
    return {name: value for name, value in {**own, **defaults}.items() if name in named}


class Term(nn.Module):
    """A loss between the views of two networks. Subclasses have `value(student, teacher, batch)`.

    A term that changes during training has `begin(epoch, epochs)`, called before each epoch with
    its index, from 0, and the number of epochs.

    A batch with fewer samples than the loss needs, such as an epoch's last, adds 0; a message says
    so once.
    """

    least = 1
    compiles = False  # losses look at numbers, and each look would break the compiled graph
    _said = False

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""
        if len(student.logits) >= self.least:
            return self.value(student, teacher, batch)
        if not self._said:
            self._said = True
            note(
                f"a batch of {len(student.logits)} is too small for the method, which needs "
                f"{self.least}: it adds 0 there."
            )
        return student.logits.sum() * 0


class Plain(Term):
    """A loss without anything to learn."""

    def __init__(self, function: Callable[[View, View, Batch], Tensor]) -> None:
        super().__init__()
        self.function = function

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return self.function(student, teacher, batch)


class Adapted(Term):
    """A loss on layers mapped to the teacher's width by 1x1 convolutions and pooled to one size.

    It uses all layers, only the middle one (as in FitNets), or the last.
    """

    def __init__(
        self,
        student: View,
        teacher: View,
        function: Callable[[list[Tensor], list[Tensor]], Tensor],
        place: Place,
        which: Which,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.function, self.place, self.which = function, place, which
        self.adapters = nn.ModuleList(
            PointwiseAdapter(s.shape, t.shape, normalise) for s, t in self._pairs(student, teacher)
        )

    def _pairs(self, student: View, teacher: View) -> list[tuple[Tensor, Tensor]]:
        pairs = pairs_of(student, teacher, self.place)
        return {"all": pairs, "middle": [pairs[len(pairs) // 2]], "last": pairs[-1:]}[self.which]

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        adapted = [
            adapter(s, t)
            for adapter, (s, t) in zip(self.adapters, self._pairs(student, teacher), strict=True)
        ]
        return self.function([pair[0] for pair in adapted], [pair[1] for pair in adapted])


class WarmedUp(Term):
    """A term whose weight rises stepwise from 0 to 1 in the first part of the training.

    Args:
        share: the share of epochs; 0 for no warm-up. Before `begin` is called there is no warm-up.
    """

    def __init__(self, term: nn.Module, setting: Setting, share: float) -> None:
        super().__init__()
        check_number(least=0, most=1, warm_up=share)
        self.term, self.share = term, share
        self.least = getattr(term, "least", 1)
        self.steps = math.ceil(setting.images / setting.batch_size) if setting.images else None
        self.epoch = self.epochs = self.step = 0

    def begin(self, epoch: int, epochs: int) -> None:
        self.epoch, self.epochs, self.step = epoch, epochs, 0
        if hasattr(self.term, "begin"):
            self.term.begin(epoch, epochs)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        value = self.term(student, teacher, batch)
        rise = self.epochs * self.share
        if not rise:
            return value
        done = self.epoch + (self.step / self.steps if self.steps else 1)
        self.step += 1
        return value * min(done / rise, 1.0)


def pairs_of(student: View, teacher: View, place: Place = "maps") -> list[tuple[Tensor, Tensor]]:
    ours, theirs = getattr(student, place), getattr(teacher, place)
    if len(ours) != len(theirs):
        raise ValueError(
            f"layers are matched one to one; got {len(ours)} of the student and {len(theirs)} of "
            "the teacher: name as many of both (kdnb.training.layers.Layers)."
        )
    return list(zip(ours, theirs, strict=True))


def check_pooled(name: str, view: View) -> None:
    """Require a classifier that reads the mean over all positions of the last maps.

    Raises:
        ValueError: otherwise, with the shapes of its input and of that mean.
    """
    pooled, read = view.maps[-1].float().mean((2, 3)), view.embedding.float()
    wanted = view.classifier.shape[1]
    shapes = {tuple(pooled.shape), tuple(read.shape)}
    if shapes == {(len(pooled), wanted)}:
        largest = torch.maximum(pooled.abs().max(), read.abs().max())
        if (pooled - read).abs().max() <= SAME * largest:
            return
        got = "it reads something else of the same width"
    else:
        got = f"it reads {wanted} features, and that mean has {pooled.shape[1]}"
    raise ValueError(
        f"the {name}'s classifier must read the mean of its last maps over all places; {got}."
    )


# Functions of the module rather than closures, so that what is built of them can be pickled.


def on_logits(
    loss: Callable[..., Tensor], labels: bool = False, least: Least = 1, **defaults: Any
) -> Wire:
    """A loss of (student logits, teacher logits[, labels])."""
    return plain(loss, partial(_of_logits, loss, labels), least, **defaults)


def _of_logits(
    loss: Callable[..., Tensor], labels: bool, student: View, teacher: View, batch: Batch,
    **options: Any,
) -> Tensor:  # fmt: skip
    more = (batch.labels,) if labels else ()
    return loss(student.logits, teacher.logits, *more, **options)


def on_embedding(loss: Callable[..., Tensor], least: Least = 1, **defaults: Any) -> Wire:
    """A loss of (student embedding, teacher embedding)."""
    return plain(loss, partial(_of_embedding, loss), least, **defaults)


def _of_embedding(
    loss: Callable[..., Tensor], student: View, teacher: View, batch: Batch, **options: Any
) -> Tensor:
    return loss(student.embedding, teacher.embedding, **options)


def on_each_layer(loss: Callable[..., Tensor], **defaults: Any) -> Wire:
    """A loss of (student maps, teacher maps) that compares positions, summed over layers."""
    return plain(loss, partial(_of_each_layer, loss), **defaults)


def _of_each_layer(
    loss: Callable[..., Tensor], student: View, teacher: View, batch: Batch, **options: Any
) -> Tensor:
    pairs = pairs_of(student, teacher)
    if all(min(s[0, 0].numel(), t[0, 0].numel()) == 1 for s, t in pairs):
        raise ValueError("it compares the places of maps, and these maps have one place each.")
    return torch.stack([loss(s, t, **options) for s, t in pairs]).sum()


def on_last_layer(loss: Callable[..., Tensor], least: Least = 1, **defaults: Any) -> Wire:
    """A loss of the last (student maps, teacher maps)."""
    return plain(loss, partial(_of_last_layer, loss), least, **defaults)


def _of_last_layer(
    loss: Callable[..., Tensor], student: View, teacher: View, batch: Batch, **options: Any
) -> Tensor:
    return loss(student.maps[-1], teacher.maps[-1], **options)


def plain(
    loss: Callable[..., Tensor],
    term: Callable[..., Tensor],
    least: Least = 1,
    **defaults: Any,
) -> Wire:
    """A loss without anything to learn, from (student view, teacher view, batch, **options)."""
    options = options_of(loss, **defaults)
    options.pop("triplets", None)  # indices within a batch, so not an option for a whole training
    return Wire(loss, partial(_make_plain, term), options, least)


def _make_plain(
    term: Callable[..., Tensor], student: View, teacher: View, setting: Setting, **options: Any
) -> nn.Module:
    return Plain(partial(term, **options))


def adapted(
    loss: Callable[..., Tensor],
    join: Callable[..., Tensor],
    place: Place = "maps",
    which: Which = "all",
    normalise: bool = False,
    **defaults: Any,
) -> Wire:
    """A loss on adapted layers.

    Args:
        join: (maps of the student, those of the teacher, loss, **options) -> scalar; `summed`,
            `by_depth`.
    """
    make = partial(_make_adapted, loss, join, place, which, normalise)
    return Wire(loss, make, options_of(loss, **defaults))


def _make_adapted(
    loss: Callable[..., Tensor], join: Callable[..., Tensor], place: Place, which: Which,
    normalise: bool, student: View, teacher: View, setting: Setting, **options: Any,
) -> nn.Module:  # fmt: skip
    function = partial(join, partial(loss, **options))
    return Adapted(student, teacher, function, place, which, normalise)


def learnt(
    loss: Callable[..., Any],
    module: Callable[..., nn.Module],
    least: Least = 1,
    batch_statistics: bool = False,
) -> Wire:
    """A loss in a module that learns something, of (student view, teacher view, setting, ...)."""
    return Wire(loss, module, options_of(module), least, batch_statistics=batch_statistics)


def clipped(wire: Wire) -> Wire:
    """A method whose gradient is clipped to that of the labels' loss."""
    return replace(wire, clipped=True)


def warmed_up(wire: Wire, share: float = 20 / 240) -> Wire:
    """A method whose weight rises in the first part of the training, an option `warm_up`."""

    make = partial(_make_warmed_up, wire.make)
    return replace(wire, make=make, options={**wire.options, "warm_up": share})


def _make_warmed_up(
    make: Callable[..., nn.Module], student: View, teacher: View, setting: Setting, warm_up: float,
    **options: Any,
) -> nn.Module:  # fmt: skip
    return WarmedUp(make(student, teacher, setting, **options), setting, warm_up)


def summed(
    loss: Callable[[Tensor, Tensor], Tensor], student: list[Tensor], teacher: list[Tensor]
) -> Tensor:
    """The sum over pairs of layers."""
    return torch.stack([loss(s, t) for s, t in zip(student, teacher, strict=True)]).sum()


def by_depth(
    loss: Callable[[Tensor, Tensor], Tensor], student: list[Tensor], teacher: list[Tensor]
) -> Tensor:
    """The sum over pairs of layers, with weight 1 for the last and half as much for each before."""
    return weighted_by_depth([loss(s, t) for s, t in zip(student, teacher, strict=True)])


def weighted_by_depth(terms: Sequence[Tensor]) -> Tensor:
    """Terms of layers, weighted as in AB and OFD."""
    weights = losses.depth_weights(len(terms))
    return torch.stack([w * term for w, term in zip(weights, terms, strict=True)]).sum()


def whole(
    loss: Callable[[list[Tensor], list[Tensor]], Tensor],
    student: list[Tensor],
    teacher: list[Tensor],
) -> Tensor:
    """A loss of all layers at once."""
    return loss(student, teacher)

"""Input checks of the losses. Each error names the argument, what it was and what is accepted.

Every check takes keyword arguments, so that the error can name the caller's own argument:
``check_logits(student_logits=z, teacher_logits=v)``. All checks raise ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb.losses._options import (
    check_choice,
    check_device,
    check_flags,
    check_number,
    check_variant,
    kind_of,
    wrong,
)

__all__ = [
    "Variant",
    "at_least_float32",
    "check_arcs",
    "check_channels",
    "check_choice",
    "check_classes",
    "check_device",
    "check_flags",
    "check_frames",
    "check_heads",
    "check_labels",
    "check_lengths",
    "check_lists",
    "check_logits",
    "check_maps",
    "check_number",
    "check_parameters",
    "check_present",
    "check_rankings",
    "check_samples",
    "check_scores",
    "check_temperature",
    "check_together",
    "check_triplets",
    "check_values",
    "check_variant",
    "check_vectors",
    "fitted",
]

Variant = Literal["paper", "authors"]


def check_logits(classes: int = 1, **logits: Tensor) -> None:
    """Require floating tensors (batch, classes) of equal shape, with at least `classes` classes."""
    for name, value in logits.items():
        _check_floats(name, value, "logits of shape (batch, classes), both at least 1", (2,))
        if value.shape[1] < classes:
            raise ValueError(
                f"{name} must have at least {classes} classes; got {tuple(value.shape)}."
            )
    if len({value.shape for value in logits.values()}) > 1:
        raise ValueError(f"logits must have the same shape; got {_shapes(logits)}.")
    check_together(**logits)


def check_labels(logits: Tensor, labels: Tensor, ignored: int | None = None) -> None:
    """Require one integer label for each row of the logits, below the number of classes.

    Dense logits (batch, classes, ...) have labels (batch, ...).

    The range is checked only on the CPU, since elsewhere it would force a sync. `ignored` is a
    label that means "no label".
    """
    if not isinstance(labels, Tensor):
        raise wrong("labels", "a tensor of integers", kind_of(labels))
    shape = logits.shape[:1] + logits.shape[2:]
    if labels.shape != shape or not _holds_integers(labels):
        raise ValueError(
            f"labels must be integers of shape {tuple(shape)}, one for each row of logits "
            f"{tuple(logits.shape)}; got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if labels.numel() == 0:
        raise wrong("labels", "not empty", tuple(labels.shape))
    check_together(logits=logits, labels=labels)
    if labels.device.type != "cpu":
        return
    classes, (lowest, highest) = logits.shape[1], map(int, labels.aminmax())
    if lowest == ignored:
        lowest = int(labels.masked_fill(labels == ignored, max(highest, 0)).min())
        highest = max(highest, 0)
    if not 0 <= lowest <= highest < classes:
        raise ValueError(
            f"labels must lie in 0 to {classes - 1} for {classes} classes; "
            f"got {lowest} to {highest}."
        )


def check_temperature(temperature: float | Tensor, batch: int = 1) -> None:
    """Require a finite temperature above zero: a number, or a tensor (batch, 1), one per sample."""
    if not isinstance(temperature, Tensor):
        check_number(above=0, temperature=temperature)
        return
    if temperature.shape not in ((), (1,), (1, 1), (batch, 1)):
        raise ValueError(
            f"temperature must be one number or have shape ({batch}, 1), one for each sample; "
            f"got {tuple(temperature.shape)}."
        )
    check_values(temperature=temperature)
    for one in temperature.detach().aminmax():
        check_number(above=0, temperature=float(one))


def check_maps(same: str = "BCHW", **maps: Tensor) -> None:
    """Require floating maps (batch, channels, height, width) that agree in the axes `same`."""
    takes = "feature maps of shape (batch, channels, height, width), all at least 1"
    for name, value in maps.items():
        _check_floats(name, value, takes, (4,))
    if (
        len({tuple(value.shape["BCHW".index(axis)] for axis in same) for value in maps.values()})
        > 1
    ):
        words = {"B": "batch size", "C": "channels", "H": "height", "W": "width"}
        needed = ", ".join(words[axis] for axis in same)
        raise ValueError(f"feature maps must have the same {needed}; got {_shapes(maps)}.")
    check_together(**maps)


def check_channels(**maps: Tensor) -> None:
    """Require student and teacher maps with the same number of channels."""
    if len({value.shape[1] for value in maps.values()}) > 1:
        raise ValueError(
            f"{_shapes(maps)} must have the same number of channels; map the student's with a 1x1 "
            "convolution."
        )


def check_vectors(length: int | None = None, **vectors: Tensor) -> None:
    """Require floating tensors (channels,), of the given length or of the same length."""
    for name, value in vectors.items():
        takes = "(channels,)" if length is None else f"({length},)"
        _check_floats(name, value, f"{takes}, one number for each channel", (1,))
        length = len(value) if length is None else length
        if len(value) != length:
            raise ValueError(
                f"{name} must be ({length},), one number for each channel; got {tuple(value.shape)}."
            )
    check_together(**vectors)


def check_heads(**heads: Tensor) -> None:
    """Require floating tensors (batch, heads, tokens, ...) with equal batch and token counts."""
    takes = "of shape (batch, heads, tokens, width), all at least 1"
    for name, value in heads.items():
        _check_floats(name, value, takes, (4,))
    if len({(value.shape[0], value.shape[2]) for value in heads.values()}) > 1:
        raise ValueError(
            f"heads must have the same batch size and number of tokens; got {_shapes(heads)}."
        )
    check_together(**heads)


def check_present(present: Tensor, batch: int, tokens: int, **like: Tensor) -> None:
    """Require booleans (batch, tokens), with at least one true value in every sequence.

    That there is one is checked only on the CPU, since elsewhere it would force a sync.
    """
    if not isinstance(present, Tensor):
        raise wrong("present", "a tensor of truth values", kind_of(present))
    if present.dtype != torch.bool or present.shape != (batch, tokens):
        raise ValueError(
            f"present must hold truth values of shape ({batch}, {tokens}), (batch, tokens); got "
            f"{present.dtype} of shape {tuple(present.shape)}."
        )
    check_together(**like, present=present)
    if present.device.type == "cpu" and not bool(present.any(1).all()):
        raise ValueError("present must have a token in every sequence; got one of padding alone.")


def check_frames(**frames: Tensor) -> None:
    """Require floating tensors (batch, frames, classes) of the same shape."""
    for name, value in frames.items():
        takes = "logits of shape (batch, frames, classes), all at least 1"
        _check_floats(name, value, takes, (3,))
    if len({value.shape for value in frames.values()}) > 1:
        raise ValueError(f"logits of frames must have the same shape; got {_shapes(frames)}.")
    check_together(**frames)


def check_lengths(lengths: Tensor, frames: Tensor) -> None:
    """Require integers (batch,): each sequence's length in (batch, frames, ...), 1 to all frames.

    The range is checked only on the CPU, since elsewhere it would force a sync.
    """
    if not isinstance(lengths, Tensor):
        raise wrong("lengths", "a tensor of integers", kind_of(lengths))
    if lengths.shape != frames.shape[:1] or not _holds_integers(lengths):
        raise ValueError(
            f"lengths must be integers of shape ({len(frames)},), one for each sequence; got "
            f"{lengths.dtype} of shape {tuple(lengths.shape)}."
        )
    check_together(frames=frames, lengths=lengths)
    if lengths.device.type != "cpu":
        return
    least, most = int(lengths.min()), int(lengths.max())
    if not 1 <= least <= most <= frames.shape[1]:
        raise ValueError(
            f"lengths must lie in 1 to {frames.shape[1]}, the frames there are; got {least} to "
            f"{most}."
        )


def check_scores(**scores: Tensor) -> None:
    """Require floating tensors (batch,), whose sizes may differ."""
    for name, value in scores.items():
        _check_floats(name, value, "scores of shape (batch,), at least 1", (1,))
    check_together(**scores)


def check_rankings(**scores: Tensor) -> None:
    """Require floating tensors (lists, items) of the same shape, of at least 2 items."""
    for name, value in scores.items():
        _check_floats(name, value, "scores of shape (lists, items), both at least 1", (2,))
        if value.shape[1] < 2:
            raise wrong(name, "scores of at least 2 items", tuple(value.shape))
    if len({value.shape for value in scores.values()}) > 1:
        raise ValueError(f"scores must have the same shape; got {_shapes(scores)}.")
    check_together(**scores)


def check_samples(minimum: int = 2, **samples: Tensor) -> None:
    """Require floating tensors (batch, ...) of the same batch size, at least `minimum` samples."""
    for name, value in samples.items():
        _check_floats(name, value, "of shape (batch, ...), not empty", range(2, 99))
    if len({len(value) for value in samples.values()}) > 1:
        raise ValueError(f"features must have the same number of samples; got {_shapes(samples)}.")
    if any(len(value) < minimum for value in samples.values()):
        raise ValueError(
            f"a relation needs at least {minimum} samples in the batch; got {_shapes(samples)}."
        )
    check_together(**samples)


def check_alike(axes: str, **tensors: Tensor) -> None:
    """Require floating tensors of equal shape with these axes, such as "batch, tokens, width"."""
    check_samples(1, **tensors)
    shapes = {value.shape for value in tensors.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != len(axes.split(", ")):
        got = " and ".join(str(tuple(value.shape)) for value in tensors.values())
        raise ValueError(f"{' and '.join(tensors)} must be ({axes}) of one shape; got {got}.")


def check_parameters(**tensors: Tensor) -> None:
    """Require non-empty floating tensors of any shape."""
    for name, value in tensors.items():
        _check_floats(name, value, "floating-point numbers of any shape, none empty", range(99))
    check_together(**tensors)


def check_lists(minimum: int = 1, count: int | None = None, **lists: Sequence) -> None:
    """Require lists of the same length: `count`, or at least `minimum`."""
    for name, value in lists.items():
        if isinstance(value, (Tensor, str)) or not isinstance(value, Sequence):
            raise wrong(name, "a list", kind_of(value))
    names, lengths = " and ".join(lists), [len(value) for value in lists.values()]
    if count is not None and set(lengths) != {count}:
        takes = f"of length {count}"
    elif len(set(lengths)) > 1 or lengths[0] < minimum:
        takes = f"of one length, at least {minimum}" if len(lists) > 1 else f"of at least {minimum}"
    else:
        return
    kind = "lists" if len(lists) > 1 else "a list"
    raise wrong(names, f"{kind} {takes}", " and ".join(map(str, lengths)))


def check_triplets(triplets: Tensor, samples: Tensor) -> None:
    """Require indices (triplets, 3) of samples in a batch."""
    batch = len(samples)
    if not isinstance(triplets, Tensor):
        raise wrong("triplets", "a tensor of integers", kind_of(triplets))
    if triplets.ndim != 2 or triplets.shape[1] != 3 or len(triplets) == 0:
        raise ValueError(f"triplets must have shape (triplets, 3); got {tuple(triplets.shape)}.")
    if not _holds_integers(triplets):
        raise ValueError(
            f"triplets must be integers from 0 to {batch - 1}, the batch's indices; "
            f"got {triplets.dtype}."
        )
    if triplets.device.type != "cpu":
        check_together(samples=samples, triplets=triplets)
    lowest, highest = int(triplets.min()), int(triplets.max())
    if not 0 <= lowest <= highest < batch:
        raise ValueError(
            f"triplets must be integers from 0 to {batch - 1}, the batch's indices; "
            f"got {lowest} to {highest}."
        )


def check_arcs(arcs: Tensor, nodes: Tensor) -> None:
    """Require integers (2, arcs), at least one arc: pairs of existing nodes."""
    count = len(nodes)
    if not isinstance(arcs, Tensor):
        raise wrong("arcs", "a tensor of integers", kind_of(arcs))
    if arcs.ndim != 2 or len(arcs) != 2 or not arcs.numel():
        raise ValueError(f"arcs must have shape (2, arcs), at least one; got {tuple(arcs.shape)}.")
    if not _holds_integers(arcs):
        raise ValueError(f"arcs must be integers from 0 to {count - 1}; got {arcs.dtype}.")
    check_together(nodes=nodes, arcs=arcs)
    if not 0 <= int(arcs.min()) <= int(arcs.max()) < count:
        raise ValueError(
            f"arcs must be integers from 0 to {count - 1}, the nodes' indices; got "
            f"{int(arcs.min())} to {int(arcs.max())}."
        )


def check_classes(count: int, whole: bool = False, **labels: Tensor) -> None:
    """Require numbers (count,) that identify classes, of any range; with `whole`, integers."""
    for name, value in labels.items():
        if not isinstance(value, Tensor):
            raise wrong(name, "a tensor of integers", kind_of(value))
        real = value.is_floating_point() and not whole
        if value.shape != (count,) or not (real or _holds_integers(value)):
            raise ValueError(
                f"{name} must have shape ({count},), one integer for each sample; got "
                f"{value.dtype} of shape {tuple(value.shape)}."
            )
        check_values(**{name: value})


def check_together(**tensors: Tensor) -> None:
    """Require a common device. Precisions may differ: a loss is computed in the widest."""
    if len({value.device for value in tensors.values()}) > 1:
        got = " and ".join(f"{name} on {value.device}" for name, value in tensors.items())
        raise ValueError(f"tensors must lie on one device; got {got}.")


def fitted(layers: nn.Module, name: str, value: Tensor) -> Tensor:
    """A tensor (batch, channels, ...), converted to the precision of the layers.

    Raises:
        ValueError: if the channels do not fit the first layer, or the device differs.
    """
    weight = next(layers.parameters())
    first = next(m for m in layers.modules() if isinstance(getattr(m, "weight", None), Tensor))
    channels = getattr(first, "in_channels", getattr(first, "in_features", value.shape[1]))
    if value.shape[1] != channels:
        takes = f"(batch, {channels}, ...), as the module was built"
        raise wrong(name, takes, tuple(value.shape))
    if value.device != weight.device:
        raise wrong(name, f"on {weight.device}, as the module's weights", value.device)
    cast = torch.is_autocast_enabled(value.device.type) and value.dtype != torch.float64
    return value if cast else value.to(weight.dtype)


def at_least_float32(value: Tensor) -> Tensor:
    """Convert half precision to float32; leave float32 and float64 unchanged."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _check_floats(name: str, value: Any, takes: str, dimensions: Sequence[int]) -> None:
    if not isinstance(value, Tensor):
        raise wrong(name, f"{takes}, a tensor", kind_of(value))
    if value.ndim not in dimensions or 0 in value.shape:
        raise wrong(name, takes, tuple(value.shape))
    if not value.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers; got {value.dtype}.")
    if value.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor; got {value.layout}.")


def check_values(**tensors: Tensor) -> None:
    """Require tensors of real numbers whose values can be read."""
    for name, value in tensors.items():
        if value.dtype == torch.bool or value.is_complex():
            raise ValueError(f"{name} must hold real numbers; got {value.dtype}.")
        if value.device.type == "meta":
            raise ValueError(f"{name} must hold numbers; got a tensor on meta.")


def _holds_integers(value: Tensor) -> bool:
    return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)


def _shapes(tensors: dict[str, Tensor]) -> str:
    return " and ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())

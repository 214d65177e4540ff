"""Checks of what a loss is given: each error names the argument, what it got and what it takes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Variant = Literal["paper", "authors"]


def check_logits(**logits: Tensor) -> None:
    """Require two-dimensional, non-empty, equally shaped logits; names come from the keywords."""
    for name, value in logits.items():
        if value.ndim != 2 or 0 in value.shape:
            raise ValueError(
                f"{name} must be logits of shape (batch, classes), both at least 1; "
                f"got {tuple(value.shape)}."
            )
        _check_real(name, value)
    shapes = {name: tuple(value.shape) for name, value in logits.items()}
    if len(set(shapes.values())) > 1:
        got = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"logits must have the same shape; got {got}.")


def _check_real(name: str, value: Tensor) -> None:
    if not value.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers; got {value.dtype}.")


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Require one integer label for each row of the logits, below the number of classes.

    The range is looked at on the CPU alone: elsewhere it would make the device wait.
    """
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels must be integers of shape ({logits.shape[0]},), one for each row of logits "
            f"{tuple(logits.shape)}; got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if labels.device.type != "cpu":
        return
    classes, lowest, highest = logits.shape[1], int(labels.min()), int(labels.max())
    if not 0 <= lowest <= highest < classes:
        raise ValueError(
            f"labels must lie in 0 to {classes - 1} for {classes} classes; "
            f"got {lowest} to {highest}."
        )


def check_temperature(temperature: float | Tensor, batch: int = 1) -> None:
    """Require a finite temperature above zero: one, or a tensor (batch, 1) of one a sample."""
    values = torch.as_tensor(temperature)
    if not bool((torch.isfinite(values) & (values > 0)).all()):
        raise ValueError(f"temperature must be a finite number above 0; got {temperature}.")
    if values.numel() != 1 and values.shape != (batch, 1):
        raise ValueError(
            f"temperature must be one number or have shape ({batch}, 1), one for each sample; "
            f"got {tuple(values.shape)}."
        )


def at_least_float32(value: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def check_maps(same: str = "BCHW", **maps: Tensor) -> None:
    """Require four-dimensional, non-empty maps that agree in the axes named in `same`."""
    for name, value in maps.items():
        if value.ndim != 4 or 0 in value.shape:
            raise ValueError(
                f"{name} must be feature maps of shape (batch, channels, height, width), all at "
                f"least 1; got {tuple(value.shape)}."
            )
        _check_real(name, value)
    kept = [tuple(value.shape["BCHW".index(axis)] for axis in same) for value in maps.values()]
    if len(set(kept)) > 1:
        got = " and ".join(f"{name} {tuple(value.shape)}" for name, value in maps.items())
        words = {"B": "batch size", "C": "channels", "H": "height", "W": "width"}
        needed = ", ".join(words[axis] for axis in same)
        raise ValueError(f"feature maps must have the same {needed}; got {got}.")


def check_variant(variant: str, allowed: tuple[str, ...] = ("paper", "authors")) -> None:
    """Require one of the named definitions."""
    if variant not in allowed:
        names = " or ".join(f'"{name}"' for name in allowed)
        raise ValueError(f"variant must be {names}; got {variant!r}.")

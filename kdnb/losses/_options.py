"""Checks of arguments other than sample tensors: numbers, choices, flags and devices.

Import them from :mod:`kdnb.losses.checks`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# The range of numbers whose squares are finite and not 0 in float32.
SMALLEST, LARGEST = 1e-15, 1e15


def check_number(
    above: float | None = None,
    least: float | None = None,
    most: float = math.inf,
    whole: bool = False,
    **named: float,
) -> None:
    """Require finite numbers `above` or at `least` a lower bound, and at `most` an upper one.

    Their squares must be representable in float32 too: no overflow, and no underflow for numbers
    that may be divisors.

    >>> check_number(least=0, most=1, smoothing=1.5)
    Traceback (most recent call last):
    ValueError: smoothing must lie in [0, 1]; got 1.5.
    """
    for name, value in named.items():
        number = _number(value, whole)
        if (
            number is not None
            and (above is None or number > above)
            and (least is None or number >= least)
            and number <= most
        ):
            if abs(number) > LARGEST or (above == 0 and number < SMALLEST):
                raise wrong(name, f"of a size between {SMALLEST:g} and {LARGEST:g}", _brief(value))
            continue
        if most < math.inf:
            opening = f"({above}" if above is not None else f"[{least}"
            takes = f"lie in {opening}, {most}]"
        elif least is not None:
            finite = not isinstance(value, float) or math.isfinite(value)
            takes = f"be at least {least}" + ("" if finite else " and finite")
        else:
            takes = "be a finite number" + (f" above {above}" if above is not None else "")
        takes += ", a whole number" if whole else ""
        got = _brief(value) if isinstance(value, (int, float)) else kind_of(value)
        raise ValueError(f"{name} must {takes}; got {got}.")


def check_choice(allowed: Sequence[Any], **choices: Any) -> None:
    """Require one of a few values.

    >>> check_choice(("soft", "hard"), form="medium")
    Traceback (most recent call last):
    ValueError: form must be "soft" or "hard"; got 'medium'.
    """
    for name, value in choices.items():
        if not any(type(value) is type(one) and value == one for one in allowed):
            *first, last = (f'"{one}"' if isinstance(one, str) else str(one) for one in allowed)
            taken = f"{', '.join(first)} or {last}" if first else last
            got = kind_of(value) if isinstance(value, Tensor) else _brief(value)
            raise ValueError(f"{name} must be {taken}; got {got}.")


def check_flags(**flags: bool) -> None:
    """Require `True` or `False`; any other value would silently count as one of them."""
    for name, value in flags.items():
        check_choice((True, False), **{name: value})


def check_variant(variant: str, allowed: tuple[str, ...] = ("paper", "authors")) -> None:
    """Require one of the named definitions."""
    check_choice(allowed, variant=variant)


def check_device(device: Any) -> None:
    """Require a device on which torch can make a tensor here; None is that of new tensors."""
    try:
        torch.empty(0, device=None if isinstance(device, bool) else device)
        usable = not isinstance(device, bool)
    except (RuntimeError, TypeError, ValueError, AssertionError):
        usable = False
    if not usable:
        raise wrong("device", 'a device that torch has here, such as "cpu"', _brief(device))


def wrong(name: str, takes: str, got: object) -> ValueError:
    return ValueError(f"{name} must be {takes}; got {got}.")


def kind_of(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return _brief(value) if isinstance(value, (bool, str)) else f"a {type(value).__name__}"


def _brief(value: Any) -> str:
    """A value's repr, the middle of a long one left out."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:30]}...{text[-20:]}"


def _number(value: Any, whole: bool) -> float | None:
    """The value as a finite number, or None."""
    if isinstance(value, Tensor):
        plain = not (value.ndim or value.dtype == torch.bool or value.is_complex())
        if whole or not plain or value.device.type == "meta":
            return None
    elif isinstance(value, bool) or not isinstance(
        value, numbers.Integral if whole else numbers.Real
    ):
        return None
    elif isinstance(value, numbers.Rational) and not isinstance(value, numbers.Integral):
        return None  # a fraction, by which no tensor can be multiplied
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

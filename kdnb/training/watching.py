"""Measurements after every epoch of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from kdnb.training.answers import Output
from kdnb.training.metrics import check_measurable
from kdnb.training.metrics import evaluate as measure
from kdnb.training.targets import NOTHING


def watching(
    evaluate: Any,
    networks: Mapping[str, nn.Module],
    output: Output = None,
    ignore_index: int = NOTHING,
) -> Callable[[Any], Any] | None:
    """The function that `fit` calls after every epoch: a user's own, or `kdnb.evaluate` on a user's data.

    Args:
        networks: the networks to measure.
    """
    if evaluate is not None:
        check_measurable(evaluate)
    if evaluate is None or callable(evaluate):
        return evaluate

    def measured(_: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, network in networks.items():
            start = f"{name}." if len(networks) > 1 else ""
            values = measure(network, evaluate, output=output, ignore_index=ignore_index)
            found |= {f"{start}{key}": value for key, value in values.items()}
        return found

    return measured

"""The result of every training function: the history, the networks, and other learnt modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fit:
    """A finished training.

    Attributes:
        history: a DataFrame, one row per epoch: `epoch` from 1, `lr`, the mean of every loss term
            (weighted, as it was minimised; `hard` is the cross-entropy with the labels), the
            results of `evaluate`, and `seconds`.
        networks: by name; the same modules that were passed in, trained in place.
        learnt: other learnt modules, such as a method's adapters; None if there are none. For
            several methods, a module with one entry each.
    """

    history: pd.DataFrame
    networks: dict[str, nn.Module] = field(default_factory=dict)
    learnt: nn.Module | None = None

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, Any]],
        networks: Mapping[str, nn.Module],
        learnt: nn.Module | None = None,
    ) -> Fit:
        """From the loop's rows, one per epoch."""
        import pandas as pd

        return cls(pd.DataFrame(list(rows)), dict(networks), learnt)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history as plain values, one dict per epoch."""
        return self.history.to_dict("records")

    def __repr__(self) -> str:
        last = self.rows[-1] if len(self.history) else {}
        shown = [f"{k} {v:.4g}" for k, v in last.items() if k not in ("epoch", "lr", "seconds")]
        about = f"Fit of {', '.join(map(str, self.networks))}: {len(self.history)} epochs"
        return f"{about}; at last {', '.join(shown)}" if shown else about

"""The benchmark table: which parts there are, and how they are written down with the hardware."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from kdnb import paths
from kdnb.benchmarks import Measured
from kdnb.chapter import ParameterError
from kdnb.provenance import now, provenance

PARTS = {
    "steps": "A training step: plain script, ours, the bare passes",
    "operators": "Where the time of a step goes: KD, all answers known",
    "growth": "Growth with classes and with images",
    "chapters": "The chapters at `quick`, from nothing",
    "workers": "All chapters on one process and on two, a core each",
}


def measure(names: Sequence[str]) -> Iterator[tuple[str, list[Measured]]]:
    """Some parts, all when none is named: each with its rows, as soon as it is measured.

    Raises:
        ParameterError: for a part that does not exist, before anything is measured.
    """
    if unknown := [name for name in names if name not in PARTS]:
        raise ParameterError(
            f"no benchmark is called {unknown[0]!r}: there are {', '.join(PARTS)}."
        )
    chosen = [name for name in PARTS if not names or name in names]
    return ((name, _module(name).measured()) for name in chosen)


def _module(name: str) -> Any:
    return importlib.import_module(f"kdnb.benchmarks.{name}")


def write(found: Mapping[str, Iterable[Measured]], target: Path) -> None:
    """The table as Markdown, and beside it, with the ending .json, every number."""
    about = {**provenance(), "measured": now()}
    rows = {name: [asdict(row) for row in part] for name, part in found.items()}
    paths.atomic_write(target.with_suffix(".json"), json.dumps({**about, **rows}, indent=1) + "\n")
    paths.atomic_write(target, markdown(found, about))


def markdown(found: Mapping[str, Iterable[Measured]], about: Mapping[str, Any]) -> str:
    """A heading for the hardware and a table for each part."""
    code = f"commit {about['commit'][:10]}{' with changes' if about['dirty'] else ''}"
    machine = ", ".join(f"{key} {value}" for key, value in about["hardware"].items())
    lines = [
        "# Benchmarks", "",
        (
            f"Made by `kdnb bench` on {about['measured']}, {code}, torch "
            f"{about['versions']['torch']}, {machine}. Medians, with the range over the "
            "repetitions of one run."
        ), "",
    ]  # fmt: skip
    for name, part in found.items():
        lines += [f"## {PARTS[name]}", "", *_lines(frame(part)), ""]
    return "\n".join(lines)


def _lines(shown: pd.DataFrame) -> list[str]:
    rows = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return ["| " + " | ".join(row) + " |" for row in rows]


def frame(part: Iterable[Measured]) -> pd.DataFrame:
    """The rows of a part, as they are shown."""
    words = {None: "", True: "yes", False: "no"}
    return pd.DataFrame(
        [
            {
                "what": row.name,
                "median": f"{row.value:.3g} {row.unit}" if row.value < 100 else
                          f"{row.value:,.0f} {row.unit}",
                "from": f"{row.low:.3g}" if row.low < 100 else f"{row.low:,.0f}",
                "to": f"{row.high:.3g}" if row.high < 100 else f"{row.high:,.0f}",
                "wanted": row.wanted,
                "met": words[row.met],
            }
            for row in part
        ]
    )  # fmt: skip

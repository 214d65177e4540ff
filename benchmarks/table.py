"""The benchmark table: which parts there are, and how they are written down with the hardware."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import Measured
from kdnb import paths
from kdnb.runs.provenance import now, provenance
from kdnb.workbook.parameters import ParameterError

PARTS = {
    "steps": "A training step: plain script, ours, the bare passes",
    "peers": "Six methods at three sizes: others' loops, ours, the bare passes",
    "methods": "A step of every method of section 2, beside that of KD",
    "operators": "Where the time of a step goes: KD, all answers known",
    "growth": "Growth with classes and with images",
    "relations": "Losses of relations: growth with the features, and memory",
    "chapters": "The chapters at `quick`, from nothing",
    "workers": "All chapters on one process and on two, a core each",
    "small": "Where the time of a step goes besides the passes: KD, all answers known",
    "runs": "Many small runs: a LeNet on 1,000 images, seed after seed",
    "contention": "A run in the foreground beside busy processes",
}

# What a reader needs to know to judge the numbers of a part, on whatever machine they were measured.
NOTES = {
    "steps": "Compiled: with `--compile`. No ratio to the plain script can exceed that of the bare passes "
    "unless the networks are compiled, since these passes are all that remains.",
    "peers": "The bare passes are forward and backward over one prepared batch, nothing else: no "
    "optimiser, loss or new images. What these cost is in the part on a step besides the passes. No ratio "
    "to a script can exceed that of the bare passes unless the networks are compiled (`--compile`), which "
    "fuses their layers.",
    "growth": "From 1,000 to 10,000 classes the logits of a batch grow from 0.26 to 2.6 MB, and with "
    "their gradients they may leave a core's cache: then ten times the numbers cost more than ten times "
    "the time.",
}

# What parts compute in where that is not only what a recipe's "auto" chooses on a machine with bf16.
ARITHMETIC = {
    "steps": "bfloat16 (the plain script in float32)",
    "peers": "bfloat16 (the plain script in float32)",
    "methods": "float32",
    "growth": "float32 (epochs of images in bfloat16)",
    "relations": "float32",
}

HEAD = ("# Benchmarks", "", "Made by `kdnb bench`.")  # how a table begins


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
    return importlib.import_module(f"benchmarks.{name}")


def measured_before(target: Path) -> dict[str, dict[str, Any]]:
    """The parts that a table holds: each with its rows and what it was measured with.

    Raises:
        ParameterError: when the Markdown, or the .json beside it, is there and is no such table.
        OSError: when they cannot be read, or no file can be made in their folder.
    """
    numbers = target.with_suffix(".json")
    paths.check_writable(target.parent)
    ours = target.suffix == ".md" and (not target.exists() or target.is_file() and _begins(target))
    if not ours:
        raise ParameterError(
            f"{target} is no table of `kdnb bench` (a .md file): move it away, or name another "
            "--output."
        )
    try:
        parts = json.loads(numbers.read_text(encoding="utf-8")) if numbers.exists() else {}
        markdown(parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParameterError(
            f"{numbers} is no table of `kdnb bench`: move it away, or name another --output."
        ) from error
    return parts


def _begins(target: Path) -> bool:
    head = "\n".join(HEAD)
    with target.open("rb") as file:
        return file.read(len(head)) == head.encode()


def write(name: str, rows: Iterable[Measured], target: Path) -> None:
    """A part into the table: Markdown, and beside it, with the ending .json, every number.

    What the table holds of other parts stays. Raises as `measured_before`.
    """
    origin = provenance()
    auto = origin["hardware"].pop("arithmetic")
    now_measured = {
        **origin,
        "arithmetic": auto if auto == "float32" else ARITHMETIC.get(name, auto),
        "measured": now(),
        "rows": [asdict(row) for row in rows],
    }
    parts = measured_before(target) | {name: now_measured}
    parts = {name: parts[name] for name in PARTS if name in parts}
    paths.atomic_write(target.with_suffix(".json"), json.dumps(parts, indent=1) + "\n")
    paths.atomic_write(target, markdown(parts))


def markdown(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A table for each part, below what it was measured with."""
    lines = [
        *HEAD[:-1], f"{HEAD[-1]} Medians, with the range over the repetitions of one run.", "",
    ]  # fmt: skip
    for name, part in parts.items():
        code = f"commit {part['commit'][:10]}{' with changes' if part['dirty'] else ''}"
        about = part["hardware"] | {"arithmetic": part["arithmetic"]}
        machine = ", ".join(f"{key} {value}" for key, value in about.items())
        rows = [Measured(**row) for row in part["rows"]]
        lines += [
            f"## {PARTS[name]}", "",
            f"{part['measured']}, {code}, torch {part['versions']['torch']}, {machine}.", "",
            *([NOTES[name], ""] if name in NOTES else []),
            *_lines(frame(rows)), "",
        ]  # fmt: skip
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
                "measured": row.name,
                "median": f"{row.value:.3g} {row.unit}" if row.value < 100 else
                          f"{row.value:,.0f} {row.unit}",
                "from": f"{row.low:.3g}" if row.low < 100 else f"{row.low:,.0f}",
                "to": f"{row.high:.3g}" if row.high < 100 else f"{row.high:,.0f}",
                "target": row.wanted,
                "met": words[row.met],
            }
            for row in part
        ]
    )  # fmt: skip

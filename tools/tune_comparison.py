"""Tune the weight of every method of the comparison: `tune_comparison.py`, or `... resnet`.

`papers/tian2020crd/weights.json` is written after each method, so that a run which is stopped goes on
where it was, and two of them can work on a student each. A file of other parameters is begun anew.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from kdnb import paths
from kdnb.progress import bar
from kdnb.reproductions import tian2020crd as fair

P = fair.PROFILES["laptop"]
ABOUT = {"seed": fair.TUNING_SEED, "parameters": P.model_dump(mode="json")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", nargs="*", help="all when none is named")
    students = parser.parse_args().students or list(fair.STUDENTS)
    if unknown := set(students) - set(fair.STUDENTS):
        parser.error(f"no student {min(unknown)}: {', '.join(fair.STUDENTS)}")
    progress = bar(len(students) * len(fair.COMPARED), 0, "method")
    for student in students:
        for method in fair.COMPARED:
            if method not in known().get(student, {}):
                add(student, method, fair.tuned(P, method, student))
            progress.update()
    progress.close()


def known() -> dict[str, dict[str, Any]]:
    """What has been found with these parameters: student -> method -> weight and errors."""
    found = json.loads(target().read_text()) if target().exists() else {}
    return found["weights"] if {key: found.get(key) for key in ABOUT} == ABOUT else {}


def add(student: str, method: str, weight: dict[str, Any]) -> None:
    with paths.locked(paths.runs() / "tune_comparison.lock"):
        weights = known()
        weights.setdefault(student, {})[method] = weight
        paths.atomic_write(target(), json.dumps({**ABOUT, "weights": weights}, indent=1) + "\n")


def target():
    return paths.root() / "papers" / "tian2020crd" / "weights.json"


if __name__ == "__main__":
    main()

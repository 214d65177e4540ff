"""The survey's Tables 5 and 6 as data, and the best and last epochs of 39 public training logs.

The files and where each number comes from: `papers/gou2021survey/source.md`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from kdnb import paths

TABLES = {5: "CIFAR-10", 6: "CIFAR-100"}


def survey_table(number: int) -> pd.DataFrame:
    """A table of the survey's section 6, one row each, in its order.

    Columns: `data`, `scheme`, `method`, `paper`, `knowledge`, `teacher`, `teacher_accuracy`,
    `student`, `alone`, `distilled` (accuracies in %), `printed_gain`, `slip` (the error in
    print, if any), and two of ours: `gain`, which is `distilled` minus `alone`, and
    `gap`, the teacher's accuracy minus `alone`; both in percentage points.

    Args:
        number: 5 for CIFAR-10, 6 for CIFAR-100.

    Raises:
        ValueError: for another number.
    """
    if number not in TABLES:
        raise ValueError(f"the survey's tables of accuracies are 5 and 6; got {number!r}.")
    table = pd.read_csv(_folder() / f"table{number}.csv").fillna({"teacher": "", "slip": ""})
    table.insert(0, "data", TABLES[number])
    table["gain"] = (table["distilled"] - table["alone"]).round(2)
    table["gap"] = (table["teacher_accuracy"] - table["alone"]).round(2)
    return table


def best_epochs() -> pd.DataFrame:
    """For each public log, the best test accuracy of all epochs and that of the last one, in %.

    Columns: `log`, `method`, `teacher`, `student`, `epochs`, `best`, `last`, `late_sd` (standard
    deviation over the last 20 epochs), and `inflation`, which is `best` minus `last`.
    """
    logs = pd.read_csv(_folder() / "best_epochs.csv")
    logs["inflation"] = (logs["best"] - logs["last"]).round(2)
    return logs


def _folder() -> Path:
    return paths.root() / "papers" / "gou2021survey"

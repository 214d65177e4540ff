"""Tables read well as text and as HTML, and are the same each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kdnb import figures

FRAME = pd.DataFrame(
    {"test error, %": [8.9123, 10.0, np.nan], "images": [50000, 60000, 1], "holds": [True, False, True],
     "kind": ["a & b", "<b>", "c"]},
    index=pd.Index(["teacher", "student", "KD"], name="condition"),
)  # fmt: skip


def test_numbers_have_the_digits_that_matter():
    text = repr(figures.table(FRAME, caption="All of them."))
    assert text.startswith("All of them.\n")
    assert "8.9" in text and "8.91" not in text and "50,000" in text and "nan" not in text.lower()
    assert "yes" in text and "True" not in text
    assert "8.912" in repr(figures.table(FRAME, decimals={"test error, %": 3}))


def test_a_column_of_sums_and_ratios_keeps_the_digits_of_both():
    mixed = pd.DataFrame({"value": [146.25, 0.4312, 0.0]}, index=["errors", "ratio", "nothing"])
    assert [row.split()[-1] for row in repr(figures.table(mixed)).splitlines()[1:]] == [
        "146", "0.431", "0.0000",
    ]  # fmt: skip


def test_html_escapes_marks_the_best_and_is_the_same_each_time():
    made = [figures.table(FRAME, best={"test error, %": "lower"})._repr_html_() for _ in range(2)]
    assert made[0] == made[1]
    assert "&lt;b&gt;" in made[0] and "a &amp; b" in made[0]
    assert made[0].count("font-weight: bold") == 1
    assert "#T_kdnb_row0_col0" in made[0].split("font-weight: bold")[0]


def test_the_callers_frame_is_left_and_unknown_columns_are_named():
    before = FRAME.copy()
    figures.table(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)
    with pytest.raises(ValueError, match="no column 'error': it has test error"):
        figures.table(FRAME, best={"error": "lower"})


SHOWN = pd.DataFrame(
    {
        "claim": "order",
        "quantity": [
            "distilled",
            "(student - distilled) / student",
            "student.rate - distilled.rate",
        ],
        "requirement": ["", ">= 0.6", "> 0"],
        "published": [74, 0.91, np.nan],
        "ours": [113.9, 0.5786, -3.0],
        "low": [107.1, 0.4937, -4.0],
        "high": [120.7, 0.6481, -2.0],
        "n": 7,
        "p": [np.nan, np.nan, 0.03],
        "holds": [None, False, False],
        "mark": ["", "open", "no"],
    }
)


def test_a_criterion_that_the_interval_leaves_open_is_not_called_no():
    names = {"student": "labels", "distilled": "soft targets",
             "student.rate - distilled.rate": "difference of rates"}  # fmt: skip
    shown = figures.published_and_ours(SHOWN, names)
    assert list(shown.index) == [
        ("order", "soft targets"),
        ("order", "(labels \N{MINUS SIGN} soft targets) / labels"),
        ("order", "difference of rates"),
    ]
    assert list(shown.holds) == ["", "open", "no"]
    assert list(shown["asked for"]) == ["", ">= 0.6", "> 0"]
    assert list(shown["95% interval"]) == ["107 to 121", "0.494 to 0.648", "-4 to -2"]


def test_codes_stay_without_names_and_a_name_that_is_missing_is_asked_for():
    shown = figures.published_and_ours(SHOWN)
    assert list(shown.index.get_level_values("quantity")) == list(SHOWN.quantity)
    assert list(shown.holds) == ["", "no", "no"]
    with pytest.raises(
        ValueError, match="'student.rate - distilled.rate' needs a name of 'student.rate'"
    ):
        figures.published_and_ours(SHOWN, {"student": "labels", "distilled": "soft targets"})


def test_names_are_escaped_everywhere():
    bad = "<script>alert(1)</script>"
    frame = pd.DataFrame({bad: [bad]}, index=pd.Index([bad], name=bad))
    page = figures.table(frame, caption=bad)._repr_html_()
    assert "<script>" not in page and page.count("&lt;script&gt;") == 5

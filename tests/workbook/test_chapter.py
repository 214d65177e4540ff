"""Verdicts on display: one line a claim, and one for all claims that lack the same premise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kdnb.papers.claims import Claim, judge_all
from kdnb.workbook import chapter

PREMISE = {"quantity": "apart.train_errors", "at_most": 5, "why": "they fit their images"}


@pytest.fixture
def shown(monkeypatch):
    """What `display` was given."""
    found: list[dict] = []
    monkeypatch.setattr(chapter, "display", lambda bundle, raw: found.append(bundle))
    return found


@pytest.fixture
def verdicts():
    """Two claims whose premise fails (found 44.5), one that has none and is reproduced."""

    def claim(name: str, premises: list) -> Claim:
        criterion = {"kind": "direction", "quantity": "apart - together", "at_least": 0}
        return Claim(
            paper="p", id=name, title="t", statement="s", where="w", metric="test_errors",
            criteria=[criterion], premises=premises,
        )  # fmt: skip

    columns = {("apart", "test_errors"): 10.0 + np.arange(6), ("together", "test_errors"): 5.0,
               ("apart", "train_errors"): 44.5}  # fmt: skip
    table = pd.DataFrame(columns, index=range(6))
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=["arm", "metric"])
    claims = [claim("one", [PREMISE]), claim("two", []), claim("three", [PREMISE])]
    return judge_all(claims, table)


def test_one_line_a_verdict_without_measured_numbers(shown, verdicts):
    chapter.show_verdicts(verdicts, "laptop")
    assert shown[0]["text/plain"].splitlines() == [str(verdict) for verdict in verdicts]
    assert "44.5" not in shown[0]["text/plain"]


def test_claims_that_lack_the_same_premise_share_a_line_with_its_value(shown, verdicts):
    chapter.show_verdicts(verdicts, "laptop", grouped=True)
    assert shown[0]["text/plain"].splitlines() == [
        "one, three: premise not met - they fit their images: asked for <= 5, found 44.5",
        str(verdicts[1]),
    ]
    words = {"p/one": "premise not met", "p/two": "reproduced", "p/three": "premise not met"}
    assert shown[0][chapter.VERDICTS_MIME] == {"laptop": words}

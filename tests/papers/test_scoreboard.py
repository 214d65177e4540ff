"""The scoreboard: counted by word, identities and our own questions apart, and current."""

import io
import json

import pytest
from paper_tables import CLAIMS, save
from rich.console import Console

from kdnb import papers
from kdnb.papers import judging, scoreboard
from kdnb.papers.records import PaperError

MORE = (
    CLAIMS
    + """
[[claim]]
id = "asked"
title = "A question of ours"
statement = "The student makes more errors than the teacher."
where = "not in the paper"
metric = "test_errors"
ours = true

[[claim.criterion]]
kind = "direction"
quantity = "student - teacher"
at_least = 0

[[claim]]
id = "algebra"
title = "Algebra"
statement = "A difference is 0."
where = "equation 2"

[[claim.criterion]]
kind = "exact"
quantity = "a difference"
check = "soft_target_gradient"
"""
)


@pytest.fixture
def board(home):
    (home / "papers" / "hinton2015" / "claims.toml").write_text(MORE)
    save()
    return scoreboard.scoreboard()


def test_the_committed_scoreboard_is_current():
    assert scoreboard.is_current(), "run kdnb verdicts --write and commit papers/verdicts.json"
    written = json.loads(scoreboard.path().read_text())
    assert set(written["papers"]) == set(papers.reproduced_papers())


def test_counts_keep_identities_and_our_questions_apart(board):
    counted = board["counts"]
    assert counted["claims"] == dict.fromkeys(judging.WORDS, 0) | {
        "reproduced": 1,
        "not testable here": 1,
    }
    assert counted["ours"] == dict.fromkeys(judging.WORDS, 0) | {"reproduced": 1}
    assert counted["identities"] == {"holds": 1, "fails": 0}
    paper = board["papers"]["hinton2015"]
    assert paper["profile"] == "laptop"
    assert paper["claims"]["algebra"]["word"] == "identity holds"


def test_a_full_record_is_judged_before_a_laptops(board):
    save(profile="full", student=75.0)
    found = scoreboard.scoreboard()["papers"]["hinton2015"]
    assert (found["profile"], found["claims"]["order"]["word"]) == ("full", "contradicted")


def test_it_is_not_current_when_a_record_changes(board):
    scoreboard.write()
    assert scoreboard.is_current()
    save(student=151.0)
    assert not scoreboard.is_current()
    scoreboard.path().write_bytes(b"\xff{")
    assert not scoreboard.is_current()


def test_a_paper_without_a_record_is_named(home):
    with pytest.raises(PaperError, match="'hinton2015' has no record to judge.*kdnb reproduce"):
        scoreboard.scoreboard()


def test_the_table_fits_80_columns(board):
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(scoreboard.table())
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert ["hinton2015", "1", "1", "1/1", "1/1"] in [line.split() for line in text.splitlines()]


def test_markdown_has_a_row_a_paper_or_a_chapter(board):
    by_paper = scoreboard.markdown().splitlines()
    row = "1 |  |  |  |  | 1 | 1/1 | 1/1 |"
    assert by_paper[2] == f"| Hinton et al. 2015 (`hinton2015`) | {row}"
    assert by_paper[3] == f"| **all** | {row}"
    by_chapter = scoreboard.markdown({"2-1": ["hinton2015"], "1": []}).splitlines()
    assert by_chapter[2] == f"| 2-1 | {row}"
    assert len(by_chapter) == len(by_paper)  # a chapter without claims has no row

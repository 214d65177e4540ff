"""Published beside ours: the frame, the terminal, Markdown, JSON."""

import io
import json

import pandas as pd
import pytest
from paper_tables import CLAIMS, save
from rich.console import Console

from kdnb import papers
from kdnb.papers import showing


def test_show_frame_sets_published_beside_ours(home):
    save()
    frame = papers.show_frame("hinton2015", "laptop")
    order = frame[frame.claim == "order"].set_index("quantity")
    assert list(order.published) == pytest.approx([67, 146, 74, 72, 72 / 79])
    assert list(order.ours) == pytest.approx([72.5, 152.5, 82.5, 70, 70 / 80])
    assert order.p["student - distilled"] == 0.03125
    assert list(order.interval) == ["t", "t", "t", "t", "BCa"]
    assert set(order.verdict) == {"reproduced"}
    assert list(order.unit) == ["errors of 10,000"] * 4 + [""]
    (few,) = frame[frame.claim == "few-data"].itertuples()
    assert (few.verdict, few.n) == ("not testable here", 0)
    assert "no results for arm 'few_hard'" in few.note
    assert list(order.mark) == ["", "", "", "yes", "yes"] and few.mark != "yes"


def test_a_frame_of_some_claims_is_that_part_of_the_whole(home):
    save()
    whole = papers.show_frame("hinton2015", "laptop")
    some = papers.show_frame("hinton2015", "laptop", only=["few-data", "order"])
    assert list(dict.fromkeys(some.claim)) == ["few-data", "order"]
    for name, part in some.groupby("claim"):
        expected = whole[whole.claim == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected)
    with pytest.raises(ValueError, match="no claim 'few-dat' .*few-data"):
        papers.show_frame("hinton2015", "laptop", only=["few-dat"])


def text_of(shown, width=80):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(shown)
    return console.export_text()


def test_show_prints_both_numbers_and_the_verdict(home):
    save()
    save(profile="quick", seeds=2)
    text = text_of(papers.show("hinton2015"))
    lines = [line.split() for line in text.splitlines()]
    assert [
        "student",
        "-",
        "distilled",
        ">",
        "0",
        "72",
        "70",
        "70",
        "to",
        "70",
        "6",
        "yes",
    ] in lines
    assert ["order", "reproduced"] in lines
    assert ["profile", "quick"] in lines
    assert "n = 2 < 6" in text
    assert "Every direction is significant and every magnitude holds." in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("key", papers.reproduced_papers())
def test_every_block_keeps_to_80_columns_and_cuts_nothing(key):
    shown = papers.show(key)
    text = text_of(shown)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    # Only the line breaks differ from a wide terminal.
    words = [" ".join(text_of(shown, width).split()) for width in (80, 800)]
    for claim in papers.claims_of(key):
        for found in words:
            assert " ".join(claim.statement.split()) in found


def test_a_premise_that_fails_is_shown_with_its_value_and_without_marks(home):
    path = home / "papers" / "hinton2015" / "claims.toml"
    premise = (
        '[[claim.premise]]\nwhy = "the student fits"\n'
        'quantity = "student - teacher"\nat_most = 5\n\n[[claim.criterion]]'
    )
    path.write_text(CLAIMS.replace("[[claim.criterion]]", premise, 1))
    save()
    text = " ".join(text_of(papers.show("hinton2015")).split())
    assert "order premise not met" in text
    assert "premise: the student fits: 80, asked for <= 5: does not hold" in text
    assert "Premise: the student fits: asked for <= 5, found 80." in text
    assert "72 70 70 to 70 6 (student" in text  # no mark behind n
    (order, _) = showing.document("hinton2015", "laptop")
    assert order["premises"] == [
        {
            "why": "the student fits",
            "quantity": "student - teacher",
            "required": "<= 5",
            "value": 80.0,
            "holds": False,
        }
    ]


def test_json_and_markdown_hold_what_the_terminal_shows(home):
    save()
    (order, few) = json.loads(showing.as_json("hinton2015"))
    assert (order["claim"], order["verdict"], order["profile"]) == ("order", "reproduced", "laptop")
    direction = next(q for q in order["quantities"] if q["kind"] == "direction")
    assert (direction["published"], direction["ours"], direction["n"]) == (72, 70, 6)
    assert direction["interval"] == [70, 70]
    assert (direction["p"], direction["holds"]) == (0.03125, True)
    assert few["verdict"] == "not testable here"
    text = showing.markdown("hinton2015")
    assert "### order: reproduced" in text
    assert "| `student - distilled` | > 0 | 72 | 70 | 70 to 70 | 6 | yes |" in text
    assert "### few-data: not testable here" in text


def test_show_before_any_record(home):
    text = text_of(papers.show("hinton2015"))
    assert "No results are recorded yet." in text
    assert "146" in text
    assert set(papers.show_frame("hinton2015").verdict) == {"not testable here"}

"""The index of systems: 115 rows, each standing true of what lies in the checkout."""

import functools
import json
import re

import pytest
from typer.testing import CliRunner

from kdnb import papers, paths
from kdnb.workbook import systems as systems_module
from kdnb.workbook.cli import app
from kdnb.workbook.systems import STANDINGS, standing, systems

INDEX = systems()
ROWS = list(INDEX.itertuples(index=False))
SECTIONS = ["1", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "4", *(f"5.{n}" for n in range(1, 10)),
            "6", "7.1", "7.2", "7.3", "7.4", "8"]  # fmt: skip


def exists(path):
    return (paths.root() / path).is_file()


@functools.cache
def cells(path, kind):
    """What a notebook's cells of a kind say; read here again, not by the index's own reader."""
    notebook = json.loads((paths.root() / path).read_text(encoding="utf-8"))
    return "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind)


def test_every_system_of_the_readings_has_a_row():
    assert len(INDEX) == 115
    assert not INDEX["name"].duplicated().any()
    assert INDEX["section"].isin(SECTIONS).all()
    places = INDEX["section"].map(SECTIONS.index)
    assert places.is_monotonic_increasing
    assert set(INDEX["standing"]) <= set(STANDINGS)
    twice = INDEX.loc[INDEX["key"].duplicated(), "key"].tolist()
    assert twice == ["shen2019meal"]  # a title without a link, taken for this paper


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.key}-{row.section}" for row in ROWS])
def test_every_standing_is_true(row):
    assert row.key in papers.bibliography().entries
    assert row.link.startswith("https://") or row.standing == "named"
    assert all(map(exists, [*row.code, *row.tests, *row.chapters, *row.record]))
    assert set(row.runs) <= set(row.chapters)
    fields = papers.bibliography().entries[row.key].fields
    marks = [fields[name].lower() for name in ("eprint", "doi", "url") if name in fields]
    title = re.sub(r"\W", "", fields["title"].lower())[:30]
    for chapter in row.chapters:
        text = cells(chapter, "markdown").lower()
        assert any(mark in text for mark in marks) or title in re.sub(r"\W", "", text), chapter
    registered = exists(f"papers/{row.key}/claims.toml")
    recorded = any((paths.root() / "papers" / row.key / "results").glob("*.json"))
    assert (row.standing == "judged") == (registered and recorded)
    if row.standing == "judged":
        words = [verdict.word for verdict in papers.verdicts(row.key, "laptop")]
        assert words and all(words)
        assert any(
            row.key in json.loads((paths.root() / one).read_text())["metadata"]["kdnb"]["papers"]
            for one in row.chapters
        )
    if row.standing == "illustrated":
        assert row.code and row.tests and row.chapters
        assert all(path.startswith(("kdnb/losses/", "kdnb/methods/")) for path in row.code)
        assert all(path.startswith("tests/") for path in row.tests)


def test_examples():
    assert standing("zhang2018dml") == "judged"
    assert standing("gao2021residual") == "illustrated"
    assert standing("wang2020review") == "named"  # a survey has no method


def test_a_chapter_that_does_not_call_the_code_leaves_a_system_named(tmp_path, monkeypatch):
    for folder in ("notebooks", "kdnb", "tests", "papers"):
        (tmp_path / folder).symlink_to(paths.root() / folder)
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    assert standing("lan2018one") == "illustrated"
    (tmp_path / "notebooks").unlink()
    (tmp_path / "notebooks").mkdir()
    told = {"cell_type": "markdown", "source": ["see arXiv 1806.04606"], "metadata": {}}
    chapter = tmp_path / "notebooks" / "3-2-online.ipynb"
    chapter.write_text(json.dumps({"cells": [told], "metadata": {}, "nbformat": 4}))
    assert standing("lan2018one") == "named"
    run = {"cell_type": "code", "source": ["one(networks)"], "metadata": {}}
    chapter.write_text(json.dumps({"cells": [told, run], "metadata": {}, "nbformat": 4}))
    assert standing("lan2018one") == "illustrated"


def test_the_command_prints_them_all():
    done = CliRunner().invoke(app, ["where", "--all"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert all(row.key in done.output for row in ROWS)
    counts = INDEX["standing"].value_counts()
    for word in STANDINGS:
        assert f"{word} ({counts.get(word, 0)}):" in done.output


@pytest.mark.parametrize("asked", [["where"], ["where", "crd", "--all"]])
def test_one_or_all(asked):
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2 and "--all" in done.output


def test_the_introduction_shows_the_index_of_today():
    notebook = json.loads((paths.root() / "notebooks" / "1-introduction.ipynb").read_text())
    shown = [
        "".join(output["data"]["text/markdown"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    assert systems_module.markdown() in shown, "execute chapter 1 again: kdnb run 1 --in-place"


def test_links_of_the_index_lead_somewhere():
    for target in re.findall(r"\]\(((?!https)[^)]+)\)", systems_module.markdown()):
        assert (paths.root() / "notebooks" / target).exists(), target

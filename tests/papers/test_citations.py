"""Citations: formats, and results with their provenance."""

import json

import pytest
from paper_tables import save
from pybtex.database import parse_string

from kdnb import papers
from kdnb.papers.records import PaperError


def test_cite_is_bibtex_with_a_citable_line(home):
    made = save()
    text = papers.cite("hinton2015", "laptop", "order")
    assert list(parse_string(text, "bibtex").entries) == ["hinton2015", "gou2021survey", "kdnb"]
    (line,) = [line for line in text.splitlines() if line.startswith("%")]
    assert line == (
        "% kdnb, hinton2015, claim order: reproduced; student - distilled = 70 errors of 10,000 "
        "(95% t interval 70 to 70, n = 6); profile laptop, commit 0123456789ab, record sha256 "
        + made.digest
    )
    lines = [line for line in papers.cite("hinton2015").splitlines() if line.startswith("%")]
    assert len(lines) == 2
    assert "not testable here; few_hard - few_soft: there are no results" in lines[1]


def test_cite_without_results(home):
    assert "% kdnb has no recorded result of hinton2015 yet." in papers.cite("hinton2015")
    assert list(parse_string(papers.cite("ba2014"), "bibtex").entries) == [
        "ba2014",
        "gou2021survey",
        "kdnb",
    ]
    assert papers.cite("kdnb").count("@misc{kdnb,") == 1


def test_unknown_papers_name_the_nearest(home):
    with pytest.raises(PaperError, match="no claims of 'hinton2014'.*nearest: hinton2015"):
        papers.show("hinton2014")
    with pytest.raises(PaperError, match="no entry 'romero2015'.*romero2015fitnets"):
        papers.cite("romero2015")
    with pytest.raises(PaperError, match="no claim 'ordr'.*nearest: order"):
        papers.cite("hinton2015", claim="ordr")
    with pytest.raises(PaperError, match="no claims of 'ba2014'"):
        papers.cite("ba2014", profile="laptop")
    with pytest.raises(PaperError, match="no record"):
        papers.cite("hinton2015", profile="laptop")


def test_every_format_names_the_paper_the_survey_and_kdnb(home):
    made = save()
    result = f"record sha256 {made.digest}"
    markdown = papers.cite("hinton2015", claim="order", format="markdown")
    assert markdown.startswith("- Geoffrey Hinton, Oriol Vinyals, and Jeff Dean. Distilling the ")
    assert "(https://arxiv.org/abs/1503.02531)" in markdown and result in markdown
    assert len(markdown.splitlines()) == 5  # three references, a blank line, one result
    latex = papers.cite("hinton2015", claim="order", format="latex")
    assert latex.count("\\bibitem{") == 3 and "\\bibitem{gou2021survey}" in latex
    assert next(line for line in latex.splitlines() if result in line).startswith("% ")
    items = json.loads(papers.cite("hinton2015", claim="order", format="csl-json"))
    assert [item["id"] for item in items] == ["hinton2015", "gou2021survey", "kdnb"]
    assert items[0]["author"][0] == {"family": "Hinton", "given": "Geoffrey"}
    assert items[0]["issued"] == {"date-parts": [[2015]]}
    assert (items[1]["type"], items[1]["container-title"]) == (
        "article-journal",
        "International Journal of Computer Vision",
    )
    assert items[1]["DOI"] == "10.1007/s11263-021-01453-z"
    assert result in items[2]["note"]
    assert all("note" not in item for item in json.loads(papers.cite("ba2014", format="csl-json")))


def test_an_unknown_format_names_the_nearest(home):
    with pytest.raises(PaperError, match="Unknown format 'bibtx'.*nearest: bibtex.*csl-json"):
        papers.cite("hinton2015", format="bibtx")

"""The tree that Sphinx reads: made of what is committed, with nothing lost and nothing that breaks."""

import base64
import hashlib
import json
import re
import runpy
import shutil
import sys
from html import escape

import pytest

from kdnb import papers, paths
from kdnb.papers import judging, showing

pytest.importorskip("sphinx", reason="the docs packages are not installed: make setup")
sys.path.insert(0, str(paths.root() / "docs/_ext"))

from kdnb_site import chapters, docstrings, paper_pages, reference_pages, strips, system_pages

NOTEBOOKS = sorted((paths.root() / "notebooks").glob("*.ipynb"))


def outputs(notebook):
    return [o for cell in notebook["cells"] for o in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_keeps_its_pictures_captions_and_numbers(path):
    committed = json.loads(path.read_text())
    made = chapters.pages(path)
    laid_out = json.loads(made[f"notebooks/{path.name}"])
    pictures = {
        base64.b64decode(o["data"]["image/png"]): o["metadata"].get("image/png", {}).get("alt")
        for o in outputs(committed)
        if "image/png" in o.get("data", {})
    }
    drawn = [content for name, content in made.items() if name.endswith(".png")]
    stills = len(pictures) - len(drawn)  # those of explorers
    explorers = [
        o for o in outputs(laid_out)
        if "".join(o.get("data", {}).get("text/html", "")).startswith('<div id="kdnb-')
    ]  # fmt: skip
    assert set(drawn) <= set(pictures)
    assert stills == len(explorers)
    assert explorers or not path.stem[0].isdigit()  # notebooks of one's own have none
    text = "\n".join("".join(o.get("data", {}).get("text/markdown", "")) for o in outputs(laid_out))
    for content in drawn:
        if alt := pictures[content]:
            assert f":alt: {' '.join(alt.split())}\n" in text
    captions = [
        "".join(o["data"]["text/markdown"]) for o in outputs(committed)
        if "".join(o.get("data", {}).get("text/markdown", "")).startswith("**Figure ")
    ]  # fmt: skip
    assert captions
    assert all(caption in text for caption in captions)
    assert len(re.findall(r":name: figure-", text)) == len(captions) - len(explorers)
    assert "image/png" not in {kind for o in outputs(laid_out) for kind in o.get("data", {})}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_ids_of_tables_are_unique_and_their_numbers_stay(path):
    def tables(notebook):
        return ["".join(o["data"]["text/html"]) for o in outputs(notebook)
                if "<table" in "".join(o.get("data", {}).get("text/html", ""))]  # fmt: skip

    written = tables(json.loads(path.read_text()))
    laid_out = tables(json.loads(chapters.pages(path)[f"notebooks/{path.name}"]))
    named = [found[1] for html in laid_out if (found := re.search(r'<table id="(\w+)"', html))]
    assert len(named) == len(set(named)) == sum('<table id="' in html for html in written)
    assert laid_out
    for before, after in zip(written, laid_out, strict=True):
        cells = [re.findall(r"<td[^>]*>([^<]*)", html) for html in (before, after)]
        assert cells[0] == cells[1]


def test_links_to_headings_are_spelled_for_the_site():
    text = "[a](#The-reproduction:-Zhang-et-al.-2022) [b](../docs/notation.md#glossary) [c](x.md)"
    wanted = "[a](#the-reproduction-zhang-et-al-2022) [b](../docs/notation.md#glossary) [c](x.md)"
    assert chapters._linked(text) == wanted


def test_code_has_a_page_in_the_reference_and_tests_have_their_name():
    text = "[crd](../kdnb/losses/crd.py), [test_crd](../tests/losses/test_crd.py)"
    assert chapters._linked(text) == "[crd](../reference/kdnb.losses.crd.rst), `test_crd`"


@pytest.mark.parametrize("key", ["hinton2015", "muller2019", "wang2018kdgan"])
def test_a_papers_page_has_every_claim_as_it_is_judged(key):
    page = paper_pages.page(key, [("2.1", "2-1-response-based-knowledge.ipynb")])
    for _, verdict, table in showing.judged(key, paper_pages.main_profile(key)):
        claim = verdict.claim
        _, found, rest = page.partition(f"({paper_pages.anchor(key, claim.id)})=\n")
        part = rest.partition("\n(")[0]
        assert found, claim.id
        assert paper_pages.badge(verdict.word) in part
        assert paper_pages.md(claim.title) in part
        for result in verdict.results:
            assert showing._number(result.mean) in part
            if result.kind == "direction" and result.n:
                seeds = judging.by_seed(result.quantity, claim, table)
                assert len(seeds) == result.n
                assert f"{result.n} seeds from {seeds.min():.4g} to {seeds.max():.4g}" in part
    told = page.partition("## Conditions\n")[2].partition("## Claims\n")[0]
    for name, words in papers.conditions(key).items():
        assert f"<td><code>{name}</code></td><td>{escape(words)}</td>" in told
    for wanted in (
        "## Provenance",
        "## How to cite",
        f"kdnb reproduce {key}",
        "results/laptop.json",
    ):
        assert wanted in page
    for earlier in (paths.root() / "papers" / key / "results/earlier").glob("*.json"):
        assert earlier.name in page


def test_a_strip_shows_what_it_is_given():
    svg = strips.strip([1.0, 2.0, 4.0], 2.5, (1.5, 3.5), 9.0, (0.0, None), "gain <x>")
    assert svg.count('class="seed"') == 3
    assert svg.count('class="mean"') == svg.count('class="interval"') == 1
    assert svg.count('class="published"') == svg.count('class="asked"') == 1
    assert "gain &lt;x&gt;: mean 2.5, 3 seeds from 1 to 4, published 9" in svg
    places = [float(x) for x in re.findall(r'class="seed" cx="([\d.]+)"', svg)]
    assert places == sorted(places)
    assert (places[2] - places[1]) == pytest.approx(2 * (places[1] - places[0]), abs=0.3)
    nan = float("nan")
    assert strips.strip([], nan, (nan, nan), 1.0, (None, None), "x") == ""
    alone = strips.strip([], 2.0, (nan, nan), nan, (None, None), "x")
    assert 'class="mean"' in alone
    assert not re.search(r"nan|seed|published|asked|interval", alone)


def test_docstrings_lose_no_sign_to_markup():
    text = "|a| of **options, `nn.Module`s and *that* (n, *shape), p_*.\n\n    f(**c)\n\nArgs:\n    x: `|`."
    wanted = (
        "\\|a\\| of \\*\\*options, `nn.Module`\\ s and *that* (n, \\*shape), p\\_\\*.\n\n::\n\n    f(**c)\n\n"
        "Args:\n    x: `|`."
    )
    assert docstrings.mended(text) == wanted
    formula = "It is **so**\n\n.. math:: |x| =\n    *y*\n\n>>> a | b\n"
    assert docstrings.mended(formula) == formula


def test_every_public_module_of_the_rooms_is_in_the_reference():
    text = "\n".join(reference_pages.pages(paths.root()).values())
    for room in reference_pages.ROOMS:
        for path in (paths.root() / "kdnb" / room).rglob("*.py"):
            if not path.name.startswith("_"):
                name = ".".join(path.relative_to(paths.root()).with_suffix("").parts)
                assert f".. automodule:: {name}\n" in text


def test_the_index_of_systems_is_there_where_there_is_a_list(tmp_path, monkeypatch):
    assert system_pages.pages(tmp_path) == {}
    (tmp_path / "papers").mkdir()
    listed = tmp_path / "papers/systems.csv"
    listed.write_text(
        "section,key,name\n2.1,hinton2015,KD\n1,gou2021survey,A system <x>\n4,chen2016net2net,Net2Net\n"
    )
    monkeypatch.setattr(system_pages.systems, "path", lambda: listed)
    page = system_pages.pages(tmp_path)["systems.md"]
    assert '<a href="reference/kdnb.losses.kd.html"><code>losses/kd.py</code></a>' in page
    assert '<a href="notebooks/2-1-response-based-knowledge.html">2.1</a>' in page
    assert '<a href="notebooks/4-teacher-student-architecture.html">4</a>' in page
    assert (
        '<a href="papers/hinton2015.html">judged</a>' in page and "<option>judged</option>" in page
    )
    assert '<tr data-section="2.1" data-standing="judged">' in page
    assert "A system &lt;x&gt;" in page


def test_what_is_vendored_is_what_was_published():
    folder = paths.root() / "docs/_static/vendor"
    rows = re.findall(
        r"^\| (\S+\.js) \|.*\| ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.MULTILINE
    )
    assert {name for name, _ in rows} == {
        str(path.relative_to(folder)) for path in folder.rglob("*.js")
    }
    for name, digest in rows:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert (folder / name).with_name("LICENSE").is_file()


def test_launch_buttons_appear_where_a_repository_is_named(tmp_path):
    pytest.importorskip("sphinx_book_theme", reason="the docs packages are not installed")
    from sphinx.application import Sphinx

    root = tmp_path / "checkout"
    (root / "docs").mkdir(parents=True)
    citation = (paths.root() / "CITATION.cff").read_text()
    assert "repository-code" not in citation  # else every page of the built site has them
    named = f"{citation}repository-code: https://github.com/someone/kdnb\n"
    (root / "CITATION.cff").write_text(named)
    shutil.copy(paths.root() / "docs/conf.py", root / "docs")
    sys.path.insert(0, str(paths.root()))
    settings = runpy.run_path(str(root / "docs/conf.py"))
    source = tmp_path / "source"
    (source / "notebooks").mkdir(parents=True)
    (source / "index.md").write_text("# Front\n\n```{toctree}\nnotebooks/2-1-a\n```\n")
    cell = {"cell_type": "markdown", "metadata": {}, "source": "# A chapter", "id": "a"}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (source / "notebooks/2-1-a.ipynb").write_text(json.dumps(notebook))
    kept = ("html_theme", "html_theme_options", "nb_execution_mode", "nb_ipywidgets_js")
    app = Sphinx(
        source, None, tmp_path / "html", tmp_path / "trees", "html",
        confoverrides={name: settings[name] for name in kept}
        | {"extensions": ["myst_nb", "kdnb_site.launch"]},
        status=None, warning=None,
    )  # fmt: skip
    app.build()
    page = (tmp_path / "html/notebooks/2-1-a.html").read_text()
    for wanted in (
        "https://mybinder.org/v2/gh/someone/kdnb/main?urlpath=lab/tree/notebooks/2-1-a.ipynb",
        "https://colab.research.google.com/github/someone/kdnb/blob/main/notebooks/2-1-a.ipynb",
        "https://codespaces.new/someone/kdnb?quickstart=1",
    ):
        assert wanted in page
    front = (tmp_path / "html/index.html").read_text()
    assert "codespaces" not in front
    assert "https://github.com/someone/kdnb" in front

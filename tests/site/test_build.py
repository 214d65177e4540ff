"""The built site: no warning, no page missing, no link into nothing, nothing from another host."""

import re
from html import unescape
from urllib.parse import unquote

import pytest

from kdnb import papers, paths

LINK = re.compile(r'<a\b[^>]*?\bhref="([^"]*)"')
LOADED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*?\bsrc="([^"]*)"|<link\b[^>]*?href="([^"]*)"'
)


@pytest.fixture(scope="module")
def texts(site):
    """Every page by its path."""
    return {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))
            if "_static" not in path.parts}  # fmt: skip


def test_every_chapter_paper_guide_and_loss_has_its_page(site):
    wanted = ["index", "scoreboard", "search", "papers/index", "reference/index", "data/README"]
    wanted += [f"notebooks/{path.stem}" for path in (paths.root() / "notebooks").glob("*.ipynb")]
    wanted += [f"papers/{key}" for key in papers.reproduced_papers()]
    wanted += [f"docs/{path.stem}" for path in (paths.root() / "docs").glob("*.md")]
    wanted += [
        f"reference/kdnb.losses.{path.stem}"
        for path in (paths.root() / "kdnb/losses").glob("[a-z]*.py")
    ]
    for path in (paths.root() / "papers").glob("*/setting.md"):
        wanted.append(f"papers/{path.parent.name}/setting")
    assert [name for name in wanted if not (site / f"{name}.html").is_file()] == []


def test_every_link_within_the_site_leads_somewhere(texts):
    ids = {
        path: {*re.findall(r'\b(?:id|name)="([^"]+)"', text), ""} for path, text in texts.items()
    }
    broken, links = [], 0
    for path, text in texts.items():
        for raw in set(LINK.findall(text)):
            target, _, fragment = unquote(unescape(raw)).partition("#")
            if re.match(r"\w+:", target):
                continue
            links += 1
            found = (path.parent / target.split("?")[0]).resolve() if target else path
            if not found.exists() or (found in ids and fragment not in ids[found]):
                broken.append(f"{path.name}: {raw}")
    assert links > 10_000
    assert broken == []


def test_no_page_loads_anything_from_another_host(texts):
    for path, text in texts.items():
        for pair in LOADED.findall(text):
            assert not re.match(r"(?:https?:)?//", pair[0] or pair[1]), f"{path}: {pair}"


def test_the_download_button_gives_the_committed_notebook(site):
    for path in (paths.root() / "notebooks").glob("*.ipynb"):
        given = site / "_sources/notebooks" / path.name
        assert given.read_bytes() == path.read_bytes()
        page = (site / f"notebooks/{path.stem}.html").read_text(encoding="utf-8")
        assert f'href="../_sources/notebooks/{path.name}"' in page


def test_figures_are_numbered_captioned_and_described(texts):
    chapters = [path for path in texts if path.parent.name == "notebooks"]
    for path in chapters:
        figures = re.findall(r"<figure.*?</figure>", texts[path], re.DOTALL)
        numbers = [
            int(found[1])
            for figure in figures
            if (found := re.search(r"<strong>Figure (\d+)\.", figure))
        ]
        assert len(numbers) >= (3 if path.name[0].isdigit() else 1)  # one's own have one
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == len(numbers)
        for figure in figures:
            assert len(re.search(r'alt="([^"]*)"', figure)[1]) > 20

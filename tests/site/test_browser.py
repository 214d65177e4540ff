"""The site in a real browser: it opens, draws, moves, sorts, searches, fits a phone, and is usable
by keyboard and with little sight."""

from pathlib import Path

import pytest

from kdnb import paths

# Those of one's own models and data have no formulas and no explorers.
CHAPTERS = sorted(path.stem for path in (paths.root() / "notebooks").glob("[0-9]*.ipynb"))
KINDS = (  # one page of every kind
    "index.html",
    "notebooks/2-1-response-based-knowledge.html",
    "papers/hinton2015.html",
    "papers/index.html",
    "scoreboard.html",
    "systems.html",
    "docs/notation.html",
    "docs/benchmarks.html",
    "reference/kdnb.losses.crd.html",
    "search.html",
)


def pages(site: Path) -> list[str]:
    """All pages but the listings of source code."""
    names = (str(path.relative_to(site)) for path in sorted(site.rglob("*.html")))
    return [name for name in names if not name.startswith(("_modules/", "_static/"))]


def test_every_page_opens_without_errors_and_fits_a_phone(site, watched):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    wide = {}
    for name in pages(site):
        page = watched.open(name)
        if (width := page.evaluate("document.documentElement.scrollWidth")) > 390:
            wide[name] = width
    assert not wide
    assert len(pages(site)) > 100


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_mathematics_is_drawn(watched, chapter):
    page = watched.open(f"notebooks/{chapter}.html")
    formulas = page.locator(".math").count()
    assert formulas > 10
    assert page.locator(".math mjx-container svg").count() >= formulas
    assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0
    assert page.locator("span.eqno").count() == page.locator("div.math").count() > 0


def test_formulas_of_docstrings_are_drawn(watched):
    page = watched.open("reference/kdnb.losses.kd.html")
    assert page.locator("div.math mjx-container svg").count() >= 1
    assert page.locator("dt#kdnb\\.losses\\.kd\\.soft_targets").count() == 1


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_control_moves_its_picture_without_a_kernel(watched, chapter):
    page = watched.open(f"notebooks/{chapter}.html")
    explorers = page.locator("div[id^=kdnb-]")
    assert explorers.count() >= 1
    for place in range(explorers.count()):
        explorer = explorers.nth(place)
        picture, control = explorer.locator("img"), explorer.locator("input, select").first
        before = picture.get_attribute("src"), picture.get_attribute("alt")
        control.focus()
        last = control.evaluate(
            "c => c.type === 'range' ? c.value === c.max : c.selectedIndex === c.options.length - 1"
        )
        is_range = control.get_attribute("type") == "range"
        page.keyboard.press(
            "ArrowUp" if is_range != last else "ArrowDown"
        )  # a list counts downwards
        after = picture.get_attribute("src"), picture.get_attribute("alt")
        assert before[0] != after[0]
        assert before[1] != after[1]
        assert picture.evaluate("image => image.naturalWidth") > 200


def test_search_finds_crd(watched):
    page = watched.open("search.html?q=CRD")
    page.locator("#search-results ul.search li a").first.wait_for()
    found = page.locator("#search-results ul.search li a")
    targets = [found.nth(place).get_attribute("href") for place in range(found.count())]
    assert any("2-3-relation-based-knowledge" in target for target in targets)
    assert any("kdnb.losses.crd" in target for target in targets)


def test_the_scoreboard_sorts_by_keyboard_and_filters(watched):
    page = watched.open("scoreboard.html")
    rows = page.locator("#verdict-table tbody tr")
    heading = page.locator("#verdict-table th", has_text="seeds")
    for order in ("ascending", "descending"):
        heading.focus()
        page.keyboard.press("Enter")
        page.locator(f'#verdict-table th[aria-sort="{order}"]').wait_for()
        page.wait_for_timeout(50)
        cells = page.locator("#verdict-table tbody tr td:last-child").all_inner_texts()
        numbers = [int(cell) for cell in cells if cell.strip()]
        assert numbers == sorted(numbers, reverse=order == "descending")
        assert len(set(numbers)) > 2
    everything = rows.count()
    page.locator("select[data-facet=verdict]").select_option("contradicted")
    visible = page.locator("#verdict-table tbody tr:visible")
    assert 0 < visible.count() < everything
    assert set(
        page.locator("#verdict-table tbody tr:visible td:nth-child(4)").all_inner_texts()
    ) == {"contradicted"}
    page.locator("select[data-facet=verdict]").select_option("all")
    page.locator("select[data-facet=section]").select_option("5.6")
    assert set(
        page.locator("#verdict-table tbody tr:visible td:first-child").all_inner_texts()
    ) == {"5.6"}
    page.locator("select[data-facet=section]").select_option("all")
    page.locator("input[data-facet=words]").fill("hinton temperature")
    assert 0 < visible.count() < 10
    assert page.locator("form output").inner_text().startswith(f"{visible.count()} of {everything}")


def test_the_index_of_systems_filters(watched):
    page = watched.open("systems.html")
    rows, visible = (page.locator(f"#system-table tbody tr{end}") for end in ("", ":visible"))
    page.locator("select[data-facet=standing]").select_option("judged")
    assert 0 < visible.count() < rows.count()
    page.locator("input[data-facet=words]").fill("zagoruyko")
    page.locator("select[data-facet=standing]").select_option("all")
    assert visible.count() == 1


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", KINDS)
def test_axe_finds_nothing(watched, name, mode):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    watched.page.add_init_script(f"localStorage.setItem('mode', '{mode}')")
    page = watched.open(name)
    assert page.evaluate("document.documentElement.dataset.theme") == mode
    page.wait_for_timeout(300)  # colours fade in
    page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "preload": False}
    result = axe.Axe().run(page, options=rules)
    assert result.violations_count == 0, result.generate_report()


def test_the_keyboard_reaches_the_text_and_the_controls(watched):
    page = watched.open("notebooks/2-1-response-based-knowledge.html")
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('div[id^=kdnb-] input')"):
            return
    pytest.fail("200 stops of Tab from the text, and no slider")

"""`kdnb report`: one page, the same in four formats, whole or not there; wrong input is refused first."""

import base64
import json
import os
import re
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from paper_tables import CLAIMS, raw
from pybtex.database import parse_string
from typer.testing import CliRunner

from kdnb import papers, paths
from kdnb.names import UsageError
from kdnb.papers.records import PaperError, Record
from kdnb.workbook import cli, pdf, reporting

PARTS = ["Verdicts", "Published and ours", "Claims", "Setting", "Provenance", "To cite"]


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A workbook with one paper and one record."""
    home = tmp_path / "workbook"
    (home / "papers" / "hinton2015").mkdir(parents=True)
    (home / "papers" / "hinton2015" / "claims.toml").write_text(CLAIMS)
    setting = "# Hinton: the setting\n\n## Pilots\n\nTwo of them, 5% & less.\n"
    (home / "papers" / "hinton2015" / "setting.md").write_text(setting)
    bib = paths.root() / "papers" / "references.bib"
    (home / "papers" / "references.bib").write_bytes(bib.read_bytes())
    monkeypatch.setenv("KDNB_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    given = {"temperature": 20.0, "dataset": "mnist", "arms": [], "steps": [1, 2], "pooled": False}
    made = Record.model_validate(raw() | {"parameters": given})
    papers.write_record(made, papers.record_path("hinton2015", "laptop"))
    return made


@pytest.fixture
def page(record):
    return reporting.page("hinton2015")


class Seen(HTMLParser):
    """The tags of a page, with what they name."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.heads, self.other = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(named)
        self.other += [v for k, v in attrs if k in ("src", "href") and not v.startswith("https:")]
        self.other += ["script"] * (tag in ("script", "link", "iframe"))

    def handle_endtag(self, tag):
        if tag not in ("img", "br", "hr"):  # which close themselves
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.heads.append(data)


def test_the_page_says_what_the_record_says(page, record):
    verdicts = papers.verdicts("hinton2015", "laptop")
    assert re.findall(r"^## (.*)$", page.text, re.MULTILINE) == PARTS
    for verdict in verdicts:
        assert f"| {verdict.claim.title} | **{verdict.word}** |" in page.text
        assert f"### {verdict.claim.id}: {verdict.word}" in page.text
        assert f"- *{verdict.word}*: {reporting.MEANINGS[verdict.word]}" in page.text
    assert page.text.count(f"`{record.digest}`") == 1 and f"`{record.commit}`" in page.text
    assert "### Pilots\n\nTwo of them" in page.text and "Hinton: the setting" not in page.text
    for row in ("`temperature` | 20.0", "`dataset` | mnist", "`steps` | 1, 2", "`pooled` | False"):
        assert f"| {row} |" in page.text
    assert "`arms`" not in page.text  # empty: all of them
    for digests in record.data.values():
        assert all(digest in page.text for digest in digests.values())


def test_conditions_are_told_in_words(record, monkeypatch):
    folder = paths.root() / "papers" / "hinton2015"
    (folder / "conditions.toml").write_text('student = "small net on labels | alone"\n')
    text = reporting.page("hinton2015").text
    assert "| `student` | small net on labels / alone |" in text
    assert text.index("## Conditions") < text.index("## Claims")


def test_what_is_to_cite_is_bibtex(page):
    cited = re.search(r"```bibtex\n(.*?)```", page.text, re.DOTALL)[1]
    assert list(parse_string(cited, "bibtex").entries) == ["hinton2015", "gou2021survey", "kdnb"]
    whole = papers.cite("hinton2015", "laptop")
    assert max(map(len, cited.splitlines())) <= reporting.WIDTH < max(map(len, whole.splitlines()))
    bare = [re.sub(r"[%\s]+", "", text) for text in (cited, whole)]
    assert bare[0] == bare[1]


def test_markdown_and_html_hold_their_figures(page):
    text = reporting.markdown(page)
    assert text.startswith(f"# {page.title}\n")
    coded = re.findall(r"^\[(figure-\d)\]: data:image/png;base64,(\S+)$", text, re.MULTILINE)
    assert [name for name, _ in coded] == list(page.figures)
    seen = Seen(reporting.html(page))
    assert seen.open == [] and seen.heads == PARTS
    for image, (_, code) in zip(seen.images, coded, strict=True):
        assert image["src"] == f"data:image/png;base64,{code}"
        assert base64.b64decode(code).startswith(b"\x89PNG")
        assert "reproduced" in image["alt"]
    assert [one for one in seen.other if not one.startswith("data:")] == []


def test_latex_has_its_figures_beside_it(page, tmp_path):
    written = reporting.write_latex(page, tmp_path / "r.tex")
    text = written[0].read_text()
    named = re.findall(r"\\includegraphics\[.*?\]\{(.*?)\}", text)
    assert [tmp_path / name for name in named] == written[1:]
    assert all(path.read_bytes().startswith(b"%PDF") for path in written[1:])
    assert re.findall(r"\\section\*\{(.*?)\}", text) == PARTS
    depth = 0
    for letter in re.sub(r"\\[{}\\]", "", re.sub(r"\\begin\{verbatim\}.*?\\end\{verbatim\}", "", text, flags=re.DOTALL)):  # fmt: skip
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    begun = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    assert sum(1 if word == "begin" else -1 for word, _ in begun) == 0


def test_the_same_record_gives_the_same_bytes(page, tmp_path):
    again = reporting.page("hinton2015")
    assert reporting.html(page) == reporting.html(again)
    one, other = (
        reporting.write_latex(p, tmp_path / n / "r.tex") for p, n in ((page, "a"), (again, "b"))
    )
    assert [a.read_bytes() for a in one] == [b.read_bytes() for b in other]


def test_the_figure_has_every_number_that_is_not_algebra(record):
    frame = papers.show_frame("hinton2015", "laptop")
    frame.loc[:, "unit"] = [f"unit {n // 2}" for n in range(len(frame))]
    drawn = reporting._figures(frame, papers.verdicts("hinton2015", "laptop"))
    shown = frame[(frame.kind != "exact") & frame.ours.notna()].drop_duplicates(
        ["claim", "quantity"]
    )
    ticks = [t.get_text() for f, _ in drawn.values() for a in f.axes for t in a.get_yticklabels()]
    assert len(ticks) == len(shown) > 0
    labels = [axes.get_xlabel() for figure, _ in drawn.values() for axes in figure.axes]
    assert labels == shown[["claim", "unit"]].drop_duplicates().unit.tolist() and len(labels) > 1


def test_quantities_without_a_unit_share_an_axis_where_they_share_a_measure():
    assert reporting._measures("(a - b) / c") == ""
    assert reporting._measures("100 * a.train_errors / a.images") == "train errors, images"
    assert reporting._measures("a.right_on_3 - 0.5 * b.right_on_3") == "right on 3"


def test_without_numbers_there_is_no_figure(record, monkeypatch):
    monkeypatch.setattr(reporting, "_figures", lambda frame, verdicts: {})
    made = reporting.page("hinton2015")
    assert "## Published and ours" not in made.text and made.figures == {}
    assert "<img" not in reporting.html(made)


@pytest.mark.parametrize(
    ("key", "output", "profile", "words"),
    [
        ("hinton2051", "r.md", None, "no claims of 'hinton2051'.*nearest: hinton2015"),
        ("hinton2015", "r.docx", None, r"a .md, .html, .tex or .pdf file, not 'r.docx'"),
        ("hinton2015", "r.htm", None, r"not 'r.htm' \(nearest: .html"),
        ("hinton2015", ".", None, "not ''|is a folder"),
        ("hinton2015", "folder.md", None, "folder.md is a folder: name a file in it"),
        ("hinton2015", "r.md", "lapdog", "There is no record of 'hinton2015' at profile 'lapdog'"),
        ("hinton2015", "file/r.md", None, "cannot be written: a file stands where a folder"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    record, tmp_path, key, output, profile, words
):
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises((PaperError, UsageError, OSError), match=words) as caught:
        reporting.write(key, [Path("first.md"), Path(output)], profile)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.md", "workbook"]


def test_a_paper_without_a_record_is_refused(record):
    papers.record_path("hinton2015", "laptop").unlink()
    with pytest.raises(PaperError, match="has no record to judge: make one with kdnb reproduce"):
        reporting.write("hinton2015", [Path("r.md")])


def test_the_command_writes_what_is_asked_for(record, tmp_path):
    done = CliRunner().invoke(cli.app, ["report", "hinton2015", "-o", "a.md", "-o", "b.html"])
    assert done.output == "written: a.md\nwritten: b.html\n" and done.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.md", "b.html", "workbook"}
    assert (
        CliRunner().invoke(cli.app, ["report", "hinton2015"]).output == "written: hinton2015.html\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "hinton2051"], "kdnb: kdnb has no claims of 'hinton2051'"),
        (["report", "hinton2015", "-o", "a.doc"], "kdnb: a report is a .md, .html, .tex or .pdf"),
    ],
)
def test_a_wrong_command_is_one_sentence(record, capsys, monkeypatch, arguments, words):
    monkeypatch.setattr("sys.argv", ["kdnb", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith(words) and error.count("\n") == 1


# --- PDF: by whatever this machine has ------------------------------------------------------------

BROWSER = """
import pathlib, sys
(target,) = [a.partition("=")[2] for a in sys.argv if a.startswith("--print-to-pdf=")]
source = pathlib.Path(sys.argv[-1].removeprefix("file://")).read_bytes()
pathlib.Path(target).write_bytes(b"%PDF-1.7 of " + source[:15])
"""
LATEX = """
import pathlib, sys
source = pathlib.Path(sys.argv[-1]).read_text()
calls = pathlib.Path("calls")
calls.write_text(calls.read_text() + "." if calls.exists() else ".")
named = [p for p in pathlib.Path(".").glob("report-figure-*.pdf") if p.name in source]
pathlib.Path("report.pdf").write_bytes(f"%PDF-1.5 {len(named)} {calls.read_text()}".encode())
"""
BROKEN = "import sys; print('! Undefined control sequence'); sys.exit(1)"


def tool(folder, name, code):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH of our own."""
    monkeypatch.setenv("PATH", str(tmp_path / "workbook" / "bin"))
    monkeypatch.setattr(pdf, "INSTALLED", {})
    return tmp_path / "workbook" / "bin"


def test_without_a_tool_a_pdf_is_refused_in_one_sentence(record, tools, tmp_path):
    with pytest.raises(
        pdf.ToolError, match=r"^a PDF takes Chromium.*none was found: .*\.html.*\.$"
    ):
        reporting.write("hinton2015", [Path("r.md"), Path("r.pdf")])
    assert [path.name for path in tmp_path.iterdir()] == ["workbook"]


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts with a first line")
def test_a_browser_prints_the_html_and_latex_sets_the_rest(record, tools, tmp_path):
    tool(tools, "pdflatex", LATEX)
    assert reporting.write("hinton2015", [Path("r.pdf")]) == [Path("r.pdf")]
    assert Path("r.pdf").read_bytes() == b"%PDF-1.5 1 .."  # all figures, set twice
    tool(tools, "chromium", BROWSER)
    reporting.write("hinton2015", [Path("r.pdf")])
    assert Path("r.pdf").read_bytes() == b"%PDF-1.7 of <!doctype html>"
    tool(tools, "chromium", BROKEN)
    with pytest.raises(pdf.ToolError, match="chromium made no PDF: ! Undefined control sequence"):
        reporting.write("hinton2015", [Path("r.pdf")])
    assert Path("r.pdf").read_bytes() == b"%PDF-1.7 of <!doctype html>"  # the old one stays


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts with a first line")
def test_a_tool_that_hangs_or_cannot_start_is_named(record, tools, monkeypatch):
    tool(tools, "chromium", "import time; time.sleep(60)")
    monkeypatch.setattr(pdf, "PATIENCE", 0.2)
    with pytest.raises(pdf.ToolError, match="chromium took more than 0.2 seconds"):
        reporting.write("hinton2015", [Path("r.pdf")])
    (tools / "chromium").write_text("#!/nowhere/at/all\n")
    with pytest.raises(pdf.ToolError, match="chromium cannot be started"):
        reporting.write("hinton2015", [Path("r.pdf")])


@pytest.mark.skipif(not pdf._browser(), reason="there is no Chromium, Chrome or Edge")
def test_a_real_browser_prints_all_pages(record):
    reporting.write("hinton2015", [Path("r.pdf")])
    content = Path("r.pdf").read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 1


# --- the papers of this workbook ------------------------------------------------------------------


@pytest.mark.parametrize("key", papers.reproduced_papers())
def test_every_paper_has_a_page(key, monkeypatch):
    """Its text, and that LaTeX knows every form in it; figures are drawn for one above."""
    monkeypatch.setattr(reporting, "_figures", lambda frame, verdicts: {})
    made = reporting.page(key)
    board = json.loads((paths.root() / "papers" / "verdicts.json").read_text())["papers"][key]
    for name, claim in board["claims"].items():
        assert f"### {name}: {claim['word']}" in made.text
    assert board["record"] in made.text
    assert "\\begin{document}" in reporting.latex_of(made)

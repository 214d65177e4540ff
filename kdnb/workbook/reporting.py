"""`kdnb report`: a reproduction on one page, as Markdown, HTML, LaTeX or PDF.

The page holds the verdicts, a figure, every claim with its numbers, the setting, the provenance and
what to cite. It is written once, in Markdown, from the claims and the record; markdown-it converts it to
HTML and `kdnb.workbook.latex` to LaTeX. Markdown and HTML embed their figures; LaTeX has them as PDF
files beside it. The same record gives the same bytes.
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kdnb import figures, paths
from kdnb.names import UsageError, nearest
from kdnb.papers import citations, judging, records, references, results, scoreboard, showing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMATS = (".md", ".html", ".tex", ".pdf")
WIDTH = 84  # characters in a line of code that fit on a page
ROWS = 14  # rows of a figure that fit on a page
MEANINGS = {
    "reproduced": "every premise and every criterion holds; directions are significant over paired seeds",
    "partly reproduced": "the direction is significant, a size is not reached",
    "contradicted": "the premises hold, and a direction is significant the other way, or an "
    "interval lies wholly outside the claimed range",
    "inconclusive": "the interval allows both",
    "premise not met": "our setting says nothing about the claim",
    "not testable here": "it takes runs that are not in this record",
    "identity holds": "algebra, checked to rounding",
    "identity fails": "algebra, checked to rounding",
}
STYLE = """
body { max-width: 54rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif;
       color: #1a1a1a; background: #fff; }
h1, h2, h3 { line-height: 1.25; } h2 { border-bottom: 1px solid #d9d9d9; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.8rem 0; }
th, td { border-bottom: 1px solid #d9d9d9; padding: 0.2rem 0.6rem; vertical-align: top; }
th { text-align: left; } td { overflow-wrap: break-word; }
td[style*="right"] { white-space: nowrap; } img { max-width: 100%; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } tr, img { break-inside: avoid; }
               h2, h3 { break-after: avoid; } img { max-height: 20cm; } }
@page { margin: 1.6cm; }
"""


@dataclass(frozen=True)
class Page:
    """A report independent of its output format.

    Attributes:
        title: plain text.
        text: Markdown; a figure is `![its outcome][figure-1]`.
        figures: the figures under these names.
    """

    title: str
    text: str
    figures: dict[str, Figure]


def write(key: str, outputs: Sequence[Path], profile: str | None = None) -> list[Path]:
    """Write the report of a paper to one or several files, each completely or not at all.

    Args:
        key: the key of the paper.
        outputs: files that end in `.md`, `.html`, `.tex` or `.pdf`.
        profile: profile of the record; if None, the one on which the paper is judged.

    Returns:
        The files that were written, including the figures beside a `.tex`.

    Raises:
        UsageError: for an unknown paper, profile or file type, before anything is written.
        DiskError: if a file cannot be written; if possible, before the page is made.
        ToolError: if a PDF is requested and this machine has no tool for it.
    """
    from kdnb.workbook import pdf

    results.known(key)
    for path in outputs:
        if path.suffix not in FORMATS:
            hint = nearest(path.suffix, FORMATS)
            raise UsageError(
                f"a report is a .md, .html, .tex or .pdf file, not {path.name!r} ({hint})."
            )
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file in it, such as {path / key}.html.")
        if path.suffix == ".pdf":
            pdf.check()
        paths.check_writable(path.parent)
    made = page(key, profile)
    written = []
    for path in outputs:
        if path.suffix == ".pdf":
            paths.atomic_write(path, pdf.made(made))
        elif path.suffix == ".tex":
            written += write_latex(made, path)
            continue
        else:
            paths.atomic_write(path, markdown(made) if path.suffix == ".md" else html(made))
        written.append(path)
    return written


# --- formats --------------------------------------------------------------------------------------


def markdown(made: Page) -> str:
    """The page as Markdown, with its figures embedded at the end."""
    return f"# {made.title}\n\n{made.text}\n{_embedded(made)}"


def html(made: Page) -> str:
    """The page as a self-contained HTML file."""
    from kdnb.workbook.latex import parser

    body = parser().render(f"# {made.title}\n\n{made.text}\n{_embedded(made)}")
    head = f'<meta charset="utf-8">\n<title>{escape(made.title)}</title>\n<style>{STYLE}</style>'
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f'<!doctype html>\n<html lang="en">\n<head>\n{view}\n{head}\n</head>\n<body>\n{body}</body>\n</html>\n'


def write_latex(made: Page, path: Path) -> list[Path]:
    """Write the page as LaTeX, with its figures as PDF files beside it."""
    beside = {name: path.with_name(f"{path.stem}-{name}.pdf") for name in made.figures}
    for name, target in beside.items():
        paths.atomic_write(target, _drawn(made.figures[name], "pdf"))
    paths.atomic_write(path, latex_of(made, path.stem))
    return [path, *beside.values()]


def latex_of(made: Page, stem: str = "report") -> str:
    """The page as LaTeX; its figures are files `stem-figure-1.pdf`, ... beside it."""
    from kdnb.workbook import latex

    named = "".join(f"[{name}]: {stem}-{name}.pdf\n" for name in made.figures)
    return latex.document(f"{made.text}\n{named}", made.title)


def _embedded(made: Page) -> str:
    coded = {n: base64.b64encode(_drawn(f, "png")).decode() for n, f in made.figures.items()}
    return "".join(f"[{name}]: data:image/png;base64,{data}\n" for name, data in coded.items())


def _drawn(figure: Figure, form: str) -> bytes:
    unlike = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=130, metadata=unlike[form])
    return buffer.getvalue()


# --- the page -------------------------------------------------------------------------------------


def page(key: str, profile: str | None = None) -> Page:
    """The report of a paper on one record.

    Raises:
        PaperError: for an unknown paper or profile, or a paper without a record.
    """
    results.known(key)
    profile = profile or scoreboard.judged_profile(key)
    record = records.read_record(key, profile)
    verdicts = results.verdicts(key, profile)
    drawn = _figures(showing.show_frame(key, profile), verdicts)
    seen = "\n\n".join(f"![{_plain(said)}][{name}]" for name, (_, said) in drawn.items())
    shown = showing.markdown(key, profile)
    claims = shown[shown.index("### ") :].strip() if "### " in shown else ""
    parts = [
        _introduction(record),
        _verdicts(verdicts),
        _conditions(key),
        f"## Published and ours\n\n{seen}\n\nPoints are means over paired seeds, lines their 95% "
        "intervals, hollow diamonds the published values." * bool(drawn),
        f"## Claims\n\n{claims}",
        _setting(record),
        _provenance(record),
        _citation(record),
    ]
    title = f"{references.plain(references.entry(key).fields['title'])}: published and reproduced"
    return Page(
        title,
        "\n\n".join(part for part in parts if part) + "\n",
        {name: figure for name, (figure, _) in drawn.items()},
    )


def _introduction(record: records.Record) -> str:
    seeds = sorted({len(seeds) for seeds in record.arms.values()})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{references.reference(record.paper, 'markdown')}\n\n"
        f"kdnb has run {len(record.arms)} conditions over {count} seeds each at the profile "
        f"`{record.profile}`, and judged the claims of this paper on them. A claim is one statement of "
        "the paper, in our words; it and the criteria that decide it stand in "
        f"`papers/{record.paper}/claims.toml`."
    )


def _verdicts(verdicts: Sequence[judging.Verdict]) -> str:
    rows = [
        (
            verdict.claim.title + " (our own question)" * verdict.claim.ours,
            f"**{verdict.word}**",
            verdict.gist,
        )
        for verdict in verdicts
    ]
    used = dict.fromkeys(verdict.word for verdict in verdicts)
    meant = "\n".join(f"- *{word}*: {MEANINGS[word]}." for word in used)
    return f"## Verdicts\n\n{_table(('claim', 'verdict', 'why'), rows)}\n\n{meant}"


def _conditions(key: str) -> str:
    rows = [(f"`{name}`", said) for name, said in results.conditions(key).items()]
    told = "What the names of the conditions below mean:"
    return f"## Conditions\n\n{told}\n\n{_table(('condition', 'what it is'), rows)}" * bool(rows)


def _setting(record: records.Record) -> str:
    values = [
        (f"`{name}`", ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in sorted(record.parameters.items())
        if value not in (None, [], "")
    ]
    parts = ["## Setting"]
    if values:
        parts += ["The parameters of the record:", _table(("parameter", "value"), values)]
    file = paths.root() / "papers" / record.paper / "setting.md"
    if file.is_file():
        _, _, rest = file.read_text(encoding="utf-8").partition("\n")  # the page has its own title
        parts.append("\n".join(_lower(rest.strip().splitlines())))
    return "\n\n".join(parts)


def _lower(lines: Iterable[str]) -> Iterable[str]:
    """Move headings one level down; code blocks stay unchanged."""
    code = False
    for line in lines:
        code ^= line.startswith("```")
        yield f"#{line}" if line.startswith("#") and not code else line


def _provenance(record: records.Record) -> str:
    outcomes = [outcome for seeds in record.arms.values() for outcome in seeds.values()]
    trials = {outcome.trial: outcome.wall_s for outcome in outcomes}
    rows = [
        ("record", f"`papers/{record.paper}/results/{record.profile}.json`"),
        ("its digest (SHA-256)", f"`{record.digest}`"),
        ("digest of its recipes", f"`{record.recipe_digest}`"),
        ("made by commit", f"`{record.commit}`"),
        ("finished", record.created),
        ("runs", f"{len(trials)}, together {sum(trials.values()) / 60:.0f} minutes"),
    ]
    for environment in record.environments.values():
        held = environment.model_dump()
        for name in ("versions", "hardware"):
            said = ", ".join(f"{key} {value}" for key, value in held.get(name, {}).items())
            rows.append((name, said))
    rows += [
        (f"data: {name}, {part}", f"`{digest}`")
        for name, parts in sorted(record.data.items())
        for part, digest in sorted(parts.items())
    ]
    again = f"kdnb show {record.paper} --verify\nkdnb reproduce {record.paper} --profile {record.profile}"
    return (
        f"## Provenance\n\n{_table(('what', 'value'), dict.fromkeys(rows))}\n\nIn a checkout of kdnb, the "
        f"first line checks the digests and the second makes the record again:\n\n```\n{again}\n```"
    )


def _citation(record: records.Record) -> str:
    lines = citations.cite(record.paper, record.profile).splitlines()
    folded = [
        part
        for line in lines
        for part in textwrap.wrap(
            line, WIDTH, subsequent_indent="% " if line.startswith("%") else "        ",
            break_long_words=False, break_on_hyphens=False,
        ) or [""]
    ]  # fmt: skip
    return "## To cite\n\n```bibtex\n" + "\n".join(folded) + "\n```"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """Plain text for the alt text of an image."""
    return " ".join(text.replace("[", "(").replace("]", ")").split())


# --- figures --------------------------------------------------------------------------------------


def _figures(
    frame: pd.DataFrame, verdicts: Sequence[judging.Verdict]
) -> dict[str, tuple[Figure, str]]:
    """Published and our values, and the outcome: a panel for each claim and scale, on a few figures."""
    titles = {verdict.claim.id: f"{verdict.claim.title}: {verdict.word}" for verdict in verdicts}
    shown = frame[(frame.kind != "exact") & frame.ours.notna()]
    shown = shown.drop_duplicates(["claim", "quantity"], keep="last")
    panels = []
    scales = shown.assign(
        scale=[unit or _measures(q) for unit, q in zip(shown.unit, shown.quantity, strict=True)]
    )
    for (claim, unit), rows in scales.groupby(["claim", "scale"], sort=False):
        names = [
            textwrap.fill(label or quantity, 36)
            for label, quantity in zip(rows.label, rows.quantity, strict=True)
        ]
        known = rows.set_axis(names).rename(columns={"ours": "mean"})
        title = textwrap.fill(titles[claim], 58)
        panels.append((title, unit, known[["mean", "low", "high", "published"]]))
    figures.use()
    pages: list[list[tuple[str, str, pd.DataFrame]]] = [[]]
    for panel in panels:
        if pages[-1] and sum(len(one[2]) + 2 for one in [*pages[-1], panel]) > ROWS + 2:
            pages.append([])
        pages[-1].append(panel)
    found = {}
    for number, panels in enumerate(filter(None, pages), 1):
        outcome = dict.fromkeys(" ".join(title.split()) for title, *_ in panels)
        once = [
            (title if not n or panels[n - 1][0] != title else "", unit, known)
            for n, (title, unit, known) in enumerate(panels)
        ]
        found[f"figure-{number}"] = figures.forests(once), "; ".join(outcome)
    return found


def _measures(quantity: str) -> str:
    """The measures named in a quantity, used as its unit if it does not have the claim's."""
    named = dict.fromkeys(re.findall(r"[A-Za-z_]\w*\.([A-Za-z_]\w*)", quantity))
    return ", ".join(name.replace("_", " ") for name in named)

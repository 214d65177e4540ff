"""The commands about papers: show, report, cite, verdicts, where, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kdnb.names import UsageError
from kdnb.workbook.terminal import console, plain, positive

app = typer.Typer()


@app.command()
def show(
    key: Annotated[
        str | None, typer.Argument(help="a paper, such as hinton2015; optional with --verify")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="laptop or full; default: all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    markdown: Annotated[bool, typer.Option(help="print Markdown")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="first check claims and records against their digests")
    ] = False,
) -> None:
    """Show published results beside ours, with intervals and verdicts."""
    from kdnb.papers import digests, showing

    if key is None and not verify:
        raise UsageError("name a paper, such as hinton2015 (kdnb verdicts lists them all).")
    if verify:
        count = digests.verify(key or "")
        said = f"{count} files of {key or 'all papers'} are those of papers/SHA256SUMS"
        Console(stderr=True).print(said, markup=False, highlight=False)
    if key is None:
        return
    if as_json:
        plain(showing.as_json(key, profile))
    elif markdown:
        plain(showing.markdown(key, profile))
    else:
        console.print(showing.show(key, profile))


@app.command()
def report(
    key: Annotated[str, typer.Argument(help="a paper, such as hinton2015")],
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="a .md, .html, .tex or .pdf file; default: KEY.html"),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="laptop or full")] = None,
) -> None:
    """Write a one-page report: verdicts, figure, setting, numbers, provenance, BibTeX."""
    from kdnb.workbook import reporting

    for written in reporting.write(key, output or [Path(f"{key}.html")], profile):
        console.print(f"written: {written}", highlight=False, soft_wrap=True)


@app.command()
def cite(
    key: Annotated[str, typer.Argument(help="a paper, such as hinton2015")],
    profile: Annotated[str | None, typer.Option(help="laptop or full")] = None,
    claim: Annotated[str | None, typer.Option(help="only this claim")] = None,
    format: Annotated[str, typer.Option(help="bibtex, markdown, latex or csl-json")] = "bibtex",
) -> None:
    """Print citations of a paper, the survey and kdnb, and a citable line for each result."""
    from kdnb import papers

    plain(papers.cite(key, profile, claim, format))


@app.command()
def verdicts(
    as_json: Annotated[bool, typer.Option("--json", help="print every verdict as JSON")] = False,
    markdown: Annotated[bool, typer.Option(help="print Markdown, one row per chapter")] = False,
    schema: Annotated[
        bool, typer.Option(help="print the JSON schema of the --json output")
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            help="update papers/SHA256SUMS, papers/verdicts.json, its schema and the README"
        ),
    ] = False,
) -> None:
    """Show the scoreboard: the verdicts on the claims of all papers."""
    from kdnb.papers import digests, scoreboard

    if write:
        from kdnb.workbook.readme import write_readme

        console.print(f"written: {digests.write()}, {scoreboard.write()} and {write_readme()}")
    elif schema:
        plain(scoreboard.schema_text())
    elif as_json:
        plain(scoreboard.text())
    elif markdown:
        from kdnb.workbook import runner

        plain(scoreboard.markdown({item.name: item.papers for item in runner.chapters()}))
    else:
        console.print(scoreboard.table())


@app.command()
def where(
    name: Annotated[
        str | None, typer.Argument(help="a method, paper or function, such as crd or zhang2018dml")
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", help="list every system in the survey, and how it is covered")
    ] = False,
) -> None:
    """Print where the loss, scheme, tests, chapter, claims and record of a method or paper are."""
    if all == (name is not None):
        raise typer.BadParameter("name one method or paper, or ask for --all.")
    from kdnb.workbook import systems
    from kdnb.workbook.where import shown

    text = systems.shown() if name is None else shown(name)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    losses: Annotated[
        list[str], typer.Argument(help="module:function of your own, or the name of a method")
    ],
    setting: Annotated[str, typer.Option(help="the paper with a recorded comparison")],
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="paired repetitions")] = 6,
    student: Annotated[str | None, typer.Option(help="one of the setting's students")] = None,
    weight: Annotated[
        float | None,
        typer.Option(callback=positive, help="of the loss, relative to the cross-entropy"),
    ] = None,
    profile: Annotated[str, typer.Option(help="profile of the record")] = "laptop",
) -> None:
    """Compare your own loss with the recorded conditions of a comparison."""
    sys.path.insert(0, "")  # to find a module in the current folder
    from kdnb.reproductions.compare import compare as compared
    from kdnb.reproductions.compare import named_conditions

    found = compared(
        named_conditions(losses, weight), seeds=seeds, setting=setting, student=student,
        profile=profile,
    )  # fmt: skip
    console.print(repr(found), markup=False, highlight=False, soft_wrap=True)

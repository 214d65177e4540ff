"""`kdnb`: list, run, reproduce, replicate, data, trials, bench, doctor; each a thin layer over the package.

The commands about papers (show, report, cite, verdicts, where, compare) are in `cli_papers`.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdnb.names import UsageError
from kdnb.workbook import cli_papers
from kdnb.workbook.errors import check_folder, sentence
from kdnb.workbook.terminal import console, positive

if TYPE_CHECKING:
    from kdnb.runs.cluster import Workers

app = typer.Typer(
    help="An executable survey of knowledge distillation: run its chapters and reproduce its papers.",
    epilog="Add --debug to show a traceback on errors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_papers.app)  # adds its commands to those below


Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, max=1000, help="parallel processes; default: one per core up to 8, or 1 with a GPU"
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(envvar="KDNB_CLUSTER", help="a Dask scheduler (tcp://, tls://), local or slurm"),
]
Gpu = Annotated[
    float | None,
    typer.Option(
        envvar="KDNB_GPU", callback=positive, help="GPUs per trial on the cluster, such as 0.5"
    ),
]


def main() -> None:
    """Entry point of the command. Expected errors are printed as one sentence.

    Exit codes: 2 for invalid usage, 1 for a failure, 130 for an interrupt.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        if any(not argument.strip() for argument in arguments):
            raise UsageError("one of the arguments is empty: give it a value, or leave it out.")
        check_folder()
        app(arguments)
    except Exception as error:
        if debug:
            raise
        Console(stderr=True, soft_wrap=True).print(
            f"kdnb: {sentence(error)}", style="red", markup=False, highlight=False
        )
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None


@app.command("list")
def list_chapters(
    name: Annotated[str | None, typer.Argument(help="a chapter, such as 2-1")] = None,
) -> None:
    """List the chapters, or the parameters of one: types, allowed values, defaults."""
    from kdnb.workbook import runner

    if name is None:
        table = Table(
            "chapter", "title", "papers", "time",
            box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0),
        )  # fmt: skip
        for column in table.columns:
            column.no_wrap = True
        for item in runner.chapters():
            first, *others = item.papers or [""]
            papers = f"{first} and {len(others)} more" if others else first
            table.add_row(item.number, item.title, papers, f"{item.seconds:.0f} s")
        console.print(table)
        return
    item = runner.chapter(name)
    table = Table(
        "parameter", "type", "allowed", "default", "meaning", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column, fold in zip(table.columns, (True, True, False, False, False), strict=True):
        column.no_wrap = fold
    for parameter in item.parameters.values():
        default = json.dumps(parameter.default).strip('"')
        table.add_row(parameter.name, parameter.type, parameter.range, default, parameter.help)
    console.print(f"{item.number} {item.title}", style="bold", highlight=False)
    console.print(table)
    console.print(f"kdnb run {item.number} --set NAME=VALUE", highlight=False)


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="such as 2-1; default: all")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="set a parameter of the chapters"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="paired repetitions")] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    gpu: Gpu = None,
    cell_timeout: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="time limit for each cell, in seconds")
    ] = None,
    in_place: Annotated[
        bool, typer.Option(help="write to notebooks/ and figures/, ready to commit")
    ] = False,
) -> None:
    """Execute chapters with papermill; a rerun reuses finished trials."""
    from kdnb import paths
    from kdnb.papers import scoreboard
    from kdnb.progress import bar
    from kdnb.workbook import runner

    changes = runner.parsed(settings or [])
    if seeds is not None:
        if "seeds" in changes:
            raise UsageError("seeds is given twice: by --seeds or by --set, not by both.")
        changes["seeds"] = seeds
    items = [runner.chapter(name) for name in names] if names else runner.chapters()
    # All parameters are checked before the first chapter starts.
    plans = [(item, item.checked(changes)) for item in items]
    if in_place and cluster:
        raise UsageError("--in-place writes into this checkout: run it without --cluster.")
    if in_place:
        for item in items:
            item.check_source()
    with ExitStack() as stack:
        workers = stack.enter_context(_workers(cluster, jobs, gpu)) if cluster else None
        console.print(f"running {', '.join(item.name for item in items)} ...", highlight=False)
        drawn = paths.root() if in_place else paths.runs() / "*" / "*"
        console.print(f"(figures, as they are drawn: {drawn / 'figures'})", highlight=False)
        if took := sum(item.seconds for item in items):
            console.print(f"(about {took / 60:.0f} minutes in all)", highlight=False)
        progress = stack.enter_context(closing(bar(len(items), 0, "chapter", delay=2)))
        runs = []
        try:
            for done in runner.run_all(
                plans, jobs=jobs, cluster=workers, cell_timeout=cell_timeout, in_place=in_place
            ):  # fmt: skip
                progress.clear()
                console.print(
                    f"{done.chapter}: {done.outcome}, {done.seconds:.0f} s", highlight=False
                )
                runs.append(done)
                progress.update()
        except KeyboardInterrupt:
            console.print("interrupted: the same command goes on from what is finished")
            raise
    runs.sort(key=lambda done: [item.name for item in items].index(done.chapter))
    table = Table(
        "chapter", "result", "time", "open the notebook in", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.columns[2].justify = "right"
    table.columns[3].overflow = "fold"
    for done in runs:
        outcome = Text(done.outcome, style="green" if done.outcome == "ok" else "red")
        folder = str(Path(done.notebook).parent)
        table.add_row(runner.chapter(done.chapter).number, outcome, f"{done.seconds:.0f} s", folder)
    console.print(table)
    failed = [done for done in runs if done.outcome != "ok"]
    for done in failed:
        console.print(
            f"{done.chapter}: {done.outcome}: {done.message}", style="red", markup=False,
            highlight=False,
        )  # fmt: skip
    if any(item.papers for item in items):  # judging all records takes a while
        console.print(scoreboard.table())
    raise typer.Exit(1 if failed else 0)


def _workers(cluster: str, jobs: int | None, gpu: float | None) -> Workers:
    from kdnb.runs.cluster import Workers  # brings Dask along

    console.print(f"waiting for a worker of {cluster} ...", highlight=False)
    return Workers(cluster, jobs, gpu)


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="a data set to download and verify")] = None,
) -> None:
    """List the data sets (images, sentences, graphs, recordings), or download and verify one."""
    from kdnb.data import offered

    if name:
        console.print(offered.verified(name))
        return
    table = Table("name", "title", "shape", "training", "test", "licence")
    table.columns[0].no_wrap = True  # users type these names, so never cut them
    table.columns[1].overflow = "fold"
    for row in offered.rows():
        table.add_row(*row)
    console.print(table)


trials_app = typer.Typer(help="List, show or delete the trials on disk.", no_args_is_help=True)
app.add_typer(trials_app, name="trials")


@trials_app.command("list")
def list_trials() -> None:
    """List all trials on disk, oldest first."""
    from kdnb.runs import trials

    table = Table("digest", "state", "function", "seed", "MB")
    for digest, folder, finished in trials.stored():
        try:
            about = trials.description(digest)
            function, seed = str(about["function"]), str(about["seed"])
        except (ValueError, TypeError, KeyError):
            function, seed = "trial.json is damaged", ""
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        state = "finished" if finished else "unfinished"
        table.add_row(digest, state, function, seed, f"{size:.1f}")
    console.print(table)


@trials_app.command("show")
def show_trial(digest: Annotated[str, typer.Argument(help="its first digits are enough")]) -> None:
    """Show a trial's description, metrics and provenance."""
    from kdnb.runs import trials

    whole = trials.find(digest)
    console.print_json(data=trials.description(whole))
    if trials.is_finished(whole):
        result = trials.read(whole)
        console.print_json(data={"metrics": result.metrics, "provenance": result.provenance})
    else:
        console.print("unfinished: the next run that asks for it goes on from its last epoch")


@trials_app.command("prune")
def prune_trials(
    digests: Annotated[
        list[str] | None, typer.Argument(help="trials to delete; default: all unfinished")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="also finished trials and cached teacher outputs")
    ] = False,
) -> None:
    """Delete the named or the unfinished trials, and files left by killed runs; running trials stay."""
    from kdnb.runs.pruning import prune

    console.print(prune(digests or [], everything=everything), highlight=False)


@app.command()
def bench(
    parts: Annotated[list[str] | None, typer.Argument(help="such as steps; default: all")] = None,
    output: Annotated[
        Path | None, typer.Option(help="a Markdown file; default: runs/benchmarks.md")
    ] = None,
) -> None:
    """Benchmark this machine: steps, other training loops, growth, chapters, small runs, contention."""
    from kdnb import paths

    if not (paths.root() / "benchmarks" / "table.py").is_file():
        raise FileNotFoundError(
            f"{paths.root()} has no benchmarks/: they are part of a checkout, not of the package."
        )
    sys.path.insert(0, str(paths.root()))
    from benchmarks import table

    target = output or paths.runs() / "benchmarks.md"
    table.measured_before(target)  # raises before anything is measured
    for name, rows in table.measure(parts or []):
        table.write(
            name, rows, target
        )  # right away: the next part may take long and be interrupted
        shown = table.frame(rows)
        printed = Table(*shown.columns, title=table.PARTS[name], title_justify="left")
        for row in shown.itertuples(index=False):
            printed.add_row(*row)
        console.print(printed)
    console.print(f"written: {target}")


@app.command()
def reproduce(
    key: Annotated[str, typer.Argument(help="a paper, such as hinton2015")],
    profile: Annotated[str, typer.Option(help="laptop or full; some papers have more")] = "laptop",
    seeds: Annotated[int | None, typer.Option(min=1, max=1000, help="paired repetitions")] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="such as student; default: all")
    ] = None,
    jobs: Jobs = None,
    devices: Annotated[
        int,
        typer.Option(min=1, max=64, help="GPUs, or CPU processes, that share each trial"),
    ] = 1,
    compiling: Annotated[
        bool,
        typer.Option("--compile", help="torch.compile the networks; pays off in runs of hours"),
    ] = False,
    cluster: Cluster = None,
    gpu: Gpu = None,
) -> None:
    """Run a paper's experiments, or resume them, and judge its claims."""
    from kdnb import reproductions
    from kdnb.papers import showing
    from kdnb.runs.pool import default_jobs
    from kdnb.training.devices import span, start_compiling

    for option, asked in (("devices", devices > 1), ("compile", compiling)):
        if asked and cluster:
            raise UsageError(
                f"--{option} is for this machine: on a cluster, set KDNB_{option.upper()} there."
            )
    reproductions.checked(key, profile, seeds, only or ())  # before waiting for a cluster
    if compiling:
        start_compiling()
    if devices > 1:
        span(devices)
        jobs = jobs or 1  # a trial that spans all devices runs alone
    with ExitStack() as stack:
        workers = stack.enter_context(_workers(cluster, jobs, gpu)) if cluster else None
        made = reproductions.record(
            key, profile, seeds=seeds, only=only or (), jobs=jobs or default_jobs(),
            executor=workers,
        )  # fmt: skip
    console.print(showing.show(key, made.profile))


@app.command()
def replicate(
    key: Annotated[str, typer.Argument(help="a paper, such as hinton2015")],
    profile: Annotated[str, typer.Option(help="profile of the record")] = "laptop",
    seeds: Annotated[
        int | None, typer.Option(min=2, max=1000, help="paired repetitions; default: as recorded")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="such as student; default: all")
    ] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    gpu: Gpu = None,
) -> None:
    """Run a paper's recorded conditions on new seeds, and judge its claims on these alone.

    The record does not change.
    """
    from kdnb import reproductions
    from kdnb.papers import showing
    from kdnb.reproductions.replication import replicate as again
    from kdnb.runs.pool import default_jobs

    reproductions.checked(key, profile, only=only or ())  # before waiting for a cluster
    with ExitStack() as stack:
        workers = stack.enter_context(_workers(cluster, jobs, gpu)) if cluster else None
        frame = again(
            key, profile, seeds=seeds, only=only or (), jobs=jobs or default_jobs(),
            executor=workers,
        )  # fmt: skip
    console.print(showing.replicated(key, frame))


@app.command()
def doctor() -> None:
    """Check this machine: versions, hardware, data sets, disk space."""
    from kdnb import data as datasets
    from kdnb import paths
    from kdnb.runs.provenance import provenance

    table = Table("what", "found", show_header=False)
    about = provenance()
    table.add_row("checkout", str(paths.root()))
    table.add_row("commit", about["commit"] + (" (with changes)" if about["dirty"] else ""))
    for name, value in (about["versions"] | about["hardware"]).items():
        table.add_row(name, str(value))
    free = shutil.disk_usage(paths.runs()).free / 1e9
    table.add_row("free disk", f"{free:.0f} GB" + ("" if free > 2 else ": too little"))
    for name in datasets.names():
        try:
            datasets.load(name, offline=True)
            state = "here, digests verified"
        except datasets.DataError as error:
            state = str(error) if "expected" in str(error) else "fetched when needed"
        table.add_row(f"data: {name}", state)
    console.print(table)

"""Kills at every write: the next run gives what the undisturbed one gives, nothing lost or doubled."""

import functools
import os
import signal
from collections import Counter
from pathlib import Path

import made_chapters
import nbformat
import processes
import tiny_runs
from data_workshop import Workshop, write
from paper_tables import CLAIMS, record
from tries import drawn, every_try, files_below, temporary

from kdnb import papers
from kdnb.data.cards import read_card
from kdnb.data.sources import find

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {signal.SIGKILL: (-9,), signal.SIGTERM: (-15,), signal.SIGINT: (130,)}
CHAPTER = "9-1-short"


# What a process does, by name; each is called with the folder that it writes to.


def trial(folder: str) -> list:
    return tiny_runs.run_all(tiny_runs.trial(0, rests=True).describe())


def taught(folder: str) -> list:
    return tiny_runs.run_all(tiny_runs.trial(1, by="kd").describe())


def several(folder: str) -> list:
    return tiny_runs.run_all(*(one.describe() for one in tiny_runs.everything(2)))


def checkpoint(folder: str) -> tuple:
    return tiny_runs.plain(tiny_runs.trained(Path(folder) / "own" / "checkpoint"))


def teacher(folder: str) -> tuple:
    return tiny_runs.plain(tiny_runs.taught(Path(folder) / "own" / "checkpoint"))


def new_record(folder: str) -> str:
    os.environ["KDNB_HOME"] = folder
    made = record(student=120.0)
    papers.write_record(made, papers.record_path("hinton2015", "laptop"))
    return papers.read_record("hinton2015", "laptop").digest


def cached(folder: str) -> dict:
    shop = Path(folder)
    card = read_card(shop / "cards" / "grey.toml")
    splits = find(card, shop / "cache", [shop / "own"], offline=True)
    return {name: (part.digest, part.images.tolist()) for name, part in splits.items()}


def chapter(folder: str) -> list:
    from tries import command

    os.environ["KDNB_HOME"] = f"{folder}/book"
    said = command("run", CHAPTER, "--jobs", "1")
    if said.code:
        os.write(2, (said.out + said.err).encode())
        os._exit(said.code)
    notebook = nbformat.read(Path(folder) / CHAPTER / "quick" / f"{CHAPTER}.ipynb", 4)
    assert notebook.metadata["kdnb_run"]["outcome"] == "ok"
    return [cell.get("outputs") for cell in notebook.cells if cell.cell_type == "code"]


def prepare(kind: str, folder: Path) -> None:
    """What there is before the process starts."""
    folder.mkdir(exist_ok=True)
    if kind == "new_record":
        home = folder / "papers" / "hinton2015"
        home.mkdir(parents=True)
        (home / "claims.toml").write_text(CLAIMS)
        papers.write_record(record(), home / "results" / "laptop.json")
    elif kind == "cached":
        shop = Workshop(folder)
        shop.card("grey")
        write(shop.own / "Grey" / "raw", shop.idx)
    elif kind == "chapter":
        made_chapters.make(folder / "book", {CHAPTER: "print(6 * 7)"})


KINDS = ("trial", "taught", "several", "checkpoint", "teacher", "new_record", "cached")


def started(kind: str, folder: Path, at: int = 0, sign: int = 0) -> processes.Child:
    return processes.start(
        f"test_kills:{kind}", str(folder), folder=folder, at=at, sign=sign,
        KDNB_RUNS=str(folder), KDNB_TEST_TRACE=f"{folder}.trace",
    )  # fmt: skip


@functools.cache
def undisturbed(kind: str, folder: Path):
    """How often a process of a kind writes, what it finds, and the files that it leaves."""
    prepare(kind, folder / kind)
    code, found = started(kind, folder / kind).wait()
    assert code == 0, found
    return *found, set(files_below(folder / kind))


def finished(folder: Path) -> dict[str, bytes]:
    return {
        name: text for name, text in files_below(folder).items() if name.endswith("result.json")
    }


@every_try("kills")
def test_a_killed_process_loses_and_doubles_nothing(number, tmp_path, undisturbed_folder):
    draw = drawn("kills", number)
    kind = "chapter" if number % 50 == 49 else KINDS[number % len(KINDS)]
    writes, expected, files = undisturbed(kind, undisturbed_folder)
    folder = tmp_path / "runs"
    prepare(kind, folder)
    kept: dict[str, bytes] = {}
    kills = draw.choice((1, 1, 1, 2, 3)) if kind != "chapter" else 1
    for _ in range(kills):
        sign, at = draw.choice(SIGNALS), draw.randint(1, writes)
        code, said = started(kind, folder, at, sign).wait()
        where = f"{kind}, {sign.name} at write {at} of {writes}"
        assert code in (0, *ENDS[sign]), f"{where}: {code}, {said}"
        assert code == 0 or "Traceback" not in str(said), f"{where}: {said}"
        assert kept.items() <= finished(folder).items(), f"{where}: a finished run was lost"
        kept = finished(folder)
    code, found = started(kind, folder).wait()
    assert code == 0, f"{where}; then {found}"
    assert found[1] == expected, where
    assert kept.items() <= finished(folder).items(), f"{where}: a finished run was made again"
    assert temporary(folder) == [], where
    assert set(files_below(folder)) == files, where
    trace = Path(f"{folder}.trace")
    if trace.exists():
        often = Counter(line.split()[0] for line in trace.read_text().splitlines())
        assert max(often.values()) <= 1 + kills, where
        done = {Path(name).parent.name for name in kept}
        assert done <= set(often)

"""Several chapters at once: their order, their share of the machine, their failures."""

import os
from pathlib import Path

import made_chapters as workbook
import pytest
import torch
from typer.testing import CliRunner

from kdnb.workbook import cli, runner

# Says when it ran, and what it was given.
CODE = """
import os, time
began = time.time()
time.sleep(0.5)
print(began, time.time(), os.environ["KDNB_JOBS"], os.environ["OMP_NUM_THREADS"])
print(repr(os.environ["KDNB_CLUSTER"]))
"""
# Waits until another chapter runs beside it, and would wait for ever if none ever did.
BESIDE = """
import os, time
from pathlib import Path
runs = Path(os.environ["KDNB_RUNS"])
(runs / "began-{name}").touch()
while not (runs / "began-{other}").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_HOME", str(tmp_path / "book"))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    tests, root = str(workbook.ROOT / "tests"), str(workbook.ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, root]))
    return lambda *arguments: workbook.make(tmp_path / "book", *arguments)


def plans():
    return [(item, item.checked({})) for item in runner.chapters()]


def test_two_chapters_run_at_once_and_the_table_keeps_their_order(make):
    first, second = (BESIDE.format(name=a, other=b) for a, b in (("a", "b"), ("b", "a")))
    make({"9-1-a": first, "9-2-b": second})
    done = CliRunner().invoke(cli.app, ["run", "--jobs", "2", "--cell-timeout", "200"])
    assert done.exit_code == 0, done.output
    table = done.output.split("open the notebook in")[1]
    assert table.index("9-1-a") < table.index("9-2-b")


def test_the_longest_comes_first_and_each_has_its_share(make, tmp_path):
    names = ["9-1-short", "9-2-long", "9-3-new", "9-4-middle"]
    seconds = {"9-1-short": 5.0, "9-2-long": 300.0, "9-4-middle": 20.0}
    make(dict.fromkeys(names, CODE), seconds)
    done = list(runner.run_all(plans(), jobs=2))
    assert {run.chapter for run in done} == set(names)
    assert {run.outcome for run in done} == {"ok"}
    lines = {name: workbook.printed(tmp_path / "runs", name) for name in names}
    began = {name: float(line[0].split()[0]) for name, line in lines.items()}
    ended = {name: float(line[0].split()[1]) for name, line in lines.items()}
    assert set(sorted(names, key=began.get)[:2]) == {"9-2-long", "9-4-middle"}
    for moment in began.values():  # never three at once
        assert sum(began[name] <= moment < ended[name] for name in names) <= 2
    share = str(max(1, torch.get_num_threads() // 2))
    assert all(line[0].split()[2:] == ["1", share] for line in lines.values())
    assert all(line[1] == "''" for line in lines.values())  # their trials stay with them


def test_one_process_runs_them_in_order(make, tmp_path):
    make({name: "print(seeds)" for name in ("9-1-a", "9-2-b")}, {"9-2-b": 100.0})
    assert [run.chapter for run in runner.run_all(plans(), jobs=1)] == ["9-1-a", "9-2-b"]


def test_a_failure_stays_with_its_chapter_and_a_death_is_one_sentence(make, tmp_path, monkeypatch):
    dies = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    make({"9-1-fails": "raise KeyError('no')", "9-2-works": "print(seeds)", "9-3-dies": dies})
    chosen = plans()
    outcomes = {run.chapter: run.outcome for run in runner.run_all(chosen[:2], jobs=2)}
    assert outcomes == {"9-1-fails": "failed cell", "9-2-works": "ok"}
    with pytest.raises(
        RuntimeError, match=r"a process died while it ran chapter 9-[23]-\w+ or one"
    ):
        list(runner.run_all(chosen[1:], jobs=2))
    assert Path(tmp_path / "runs" / "9-1-fails" / "quick" / "9-1-fails.ipynb").exists()

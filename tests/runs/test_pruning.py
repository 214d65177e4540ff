"""What may go goes, what runs stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import trial_functions  # noqa: F401 - registers what runs may name here

from kdnb import paths
from kdnb.runs import trials
from kdnb.runs.pruning import CLUSTERS, prune
from kdnb.runs.trials import Trial
from kdnb.training.teacher_cache import Table

HERE = Path(__file__).parents[1]  # where trial_functions lies


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    return tmp_path


RUNNING = """
import trial_functions
from kdnb.runs import trials
trials.run(trials.Trial("slow", {"epochs": 4000}, 0))
"""


def test_what_runs_stays_and_what_killed_runs_left_goes(own_runs):
    runs = paths.runs()
    done = trials.run(Trial("add", {"amount": 2.0}, 0))
    process = subprocess.Popen([sys.executable, "-c", RUNNING])
    try:
        deadline = time.time() + 200
        while len((own_runs / "trace").read_text().split()) < 8 and time.time() < deadline:
            time.sleep(0.05)
        (runs / "2-1" / "quick" / "figures").mkdir(parents=True)
        left = [done.folder / ".result.json.x1.tmp", runs / "2-1/quick/figures/.a.png.x2.tmp"]
        for path in left:
            path.write_bytes(b"half")
        (runs / f"{CLUSTERS}x").mkdir()
        (runs / f"{CLUSTERS}x" / "key.pem").touch()
        (runs / f"{CLUSTERS}x.held").touch()
        with paths.temporary_folder(CLUSTERS, own_runs) as other:
            said = prune()
            assert other.is_dir()
        assert said.startswith("removed 0 of 2 trials, ") and said.endswith("; 1 still running")
        assert not any(path.exists() for path in left) and not list(runs.glob(f"{CLUSTERS}*"))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert prune().startswith("removed 1 of 2 trials, ")
    assert [digest for digest, _, _ in trials.stored()] == [done.digest]


def test_what_was_finished_meanwhile_stays(monkeypatch):
    done = trials.run(Trial("add", {"amount": 2.0}, 0))
    before = [(done.digest, done.folder, False)]  # as it was found while it ran
    monkeypatch.setattr(trials, "stored", lambda: iter(before))
    assert prune().startswith("removed 0 of 1 trials, ")
    assert trials.is_finished(done.digest)
    assert prune(everything=True).startswith("removed 1 of 1 trials, ")
    assert not done.folder.exists()


def test_teachers_tables_go_with_all_but_those_in_use():
    folder = paths.runs() / "teachers"
    used = Table(folder / "a-b-2.float32", 2, 2, torch.float32)
    (folder / "c-d-2.float32").touch()
    assert prune() == "removed 0 of 0 trials, 0 temporary files or folders"
    assert prune(everything=True).endswith("1 of 2 teachers' tables")
    assert list(folder.iterdir()) == [used.path]
    del used
    assert prune(everything=True).endswith("1 of 1 teachers' tables")


def test_only_digests_are_pruned():
    done = trials.run(Trial("add", {"amount": 2.0}, 0))
    for name in ("", "..", "*", "add"):
        with pytest.raises(ValueError, match="no trials begin with"):
            prune([name])
    (trials.store() / "notes").mkdir()
    (trials.store() / "notes" / "trial.json").write_text("{}")
    prune()
    assert done.folder.is_dir() and (trials.store() / "notes").is_dir()
    assert prune([done.digest[:6]]) == "removed 1 of 1 trials"

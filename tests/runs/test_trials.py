"""Trials: digests, memoisation, damage, killed runs, several processes."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import trial_functions  # registers what runs may name here

from kdnb.runs import pool, registry, trials
from kdnb.runs.trials import Trial

HERE = Path(__file__).parents[1]  # where trial_functions lies


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))
    return tmp_path


def add(amount, seed=0, **more):
    return Trial("add", {"amount": amount, **more}, seed)


def slow(seed, epochs=5):
    return Trial("slow", {"epochs": epochs}, seed)


def trace(folder):
    file = folder / "trace"
    return file.read_text().splitlines() if file.exists() else []


def test_digest_is_of_the_description_alone():
    assert add(1.0).digest == add(1.0).digest
    assert Trial("f:g", {"a": 1, "b": 2}, 0).digest == Trial("f:g", {"b": 2, "a": 1}, 0).digest
    different = [add(1.0), add(2.0), add(1.0, seed=1), add(1.0, to=add(1.0)), add(1.0, to=add(2.0))]
    assert len({trial.digest for trial in different}) == 5


def test_what_others_rest_on_is_walked_through_once(monkeypatch):
    chain, looked = [add(0.0)], []
    for amount in range(1, 30):
        chain.append(add(float(amount), to=chain[-1]))
    plainly = Trial.parents
    monkeypatch.setattr(Trial, "parents", lambda self: looked.append(self) or plainly(self))
    assert list(trials._closure([chain[7], *chain, chain[-1]])) == [one.digest for one in chain]
    assert len(looked) == len(chain)


def test_a_trial_is_run_once(own_runs):
    first, second = trials.run(add(2.0)), trials.run(add(2.0))
    assert first == second
    assert first.metrics == {"sum": 2.0}
    assert first.series == {"course": [0.0, 2.0]}
    assert torch.equal(first.tensors()["sum"], torch.tensor([2.0]))
    assert trace(own_runs) == ["add 2.0 0"]
    assert {"commit", "dirty", "versions", "hardware", "wall_s", "finished"} <= set(
        first.provenance
    )


def test_what_a_trial_rests_on_is_run_first_and_once(own_runs):
    teacher = add(10.0)
    students = [add(1.0, seed, to=teacher) for seed in (0, 1, 2)]
    results = trials.run_all(students)
    assert [results[s.digest].metrics["sum"] for s in students] == [11.0, 12.0, 13.0]
    assert trace(own_runs).count("add 10.0 0") == 1
    assert trace(own_runs)[0] == "add 10.0 0"


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(2), lambda: pool.pool(2)])
def test_any_executor_does(own_runs, make):
    teacher = add(10.0)
    with make() as executor:
        results = trials.run_all([add(1.0, s, to=teacher) for s in range(4)], executor)
    assert sorted(r.metrics["sum"] for r in results.values()) == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert len(trace(own_runs)) == 5


def test_damaged_tensors_are_refused(own_runs):
    result = trials.run(add(2.0))
    file = result.folder / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file} is damaged .*kdnb trials prune {result.digest}"):
        result.tensors()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"metrics": {}}'])
def test_damaged_result_is_refused(content):
    result = trials.run(add(2.0))
    (result.folder / "result.json").write_text(content)
    with pytest.raises(ValueError, match="is damaged .* removes it"):
        trials.run(add(2.0))
    trials.remove(result.digest)
    assert trials.run(add(2.0)).metrics == {"sum": 2.0}


def test_a_trial_without_its_description_can_be_pruned():
    result = trials.run(add(2.0))
    (result.folder / "trial.json").unlink()
    with pytest.raises(ValueError, match=f"kdnb trials prune {result.digest}"):
        trials.run(add(2.0))
    trials.remove(trials.find(result.digest[:8]))
    assert trials.run(add(2.0)).metrics == {"sum": 2.0}


def test_a_result_that_is_removed_while_it_is_read_is_made_again(monkeypatch, own_runs):
    digest = trials.run(add(2.0)).digest
    first = iter([True])

    def description(asked, read=trials.description):
        if next(first, False):
            trials.remove(asked)
        return read(asked)

    monkeypatch.setattr(trials, "description", description)
    assert trials.run(add(2.0)).metrics == {"sum": 2.0}
    assert trials.is_finished(digest)


def test_a_trial_that_is_begun_while_the_old_one_goes_keeps_its_files(monkeypatch):
    folder = trials.run(add(2.0)).folder

    def rmdir(path, gone=Path.rmdir):
        (path / "lock").touch()
        (path / "trial.json").write_text("new")
        gone(path)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    trials.remove(folder.name)
    assert {path.name for path in folder.iterdir()} == {"lock", "trial.json"}


def test_results_by_name_for_trials_by_name(own_runs):
    teacher = add(10.0)
    named = {"taught": add(1.0, to=teacher), "alone": add(2.0), "again": add(2.0)}
    found = trials.run_all(named)
    sums = {name: result.metrics["sum"] for name, result in found.items()}
    assert sums == {"taught": 11.0, "alone": 2.0, "again": 2.0}
    assert len(trace(own_runs)) == 3


def test_failures_name_the_trial():
    for function, words in (
        ("fails", "failed: no such luck"),
        ("not_finite", "measured errors = nan"),
        ("absent", "no function is registered as"),
    ):
        trial = Trial(function, {}, 0)
        with pytest.raises(RuntimeError, match=f"{trial.digest}.*{words}"):
            trials.run_all([trial])
        assert trials.finished(trial) is None


def test_a_dead_worker_names_the_trial():
    trial = Trial("dies", {}, 3)
    with pool.pool(1) as executor, pytest.raises(RuntimeError, match="worker died.*seed 3"):
        trials.run_all([trial], executor)


class Elsewhere(ThreadPoolExecutor):
    """Works on another machine, whose files are seen here half a second later, or never."""

    def __init__(self, ever):
        super().__init__(1)
        self.ever = ever

    def submit(self, function, *arguments):
        return super().submit(self.work, function, *arguments)

    def work(self, function, *arguments):
        digest = function(*arguments)
        seen = trials.store() / digest / "result.json"
        unseen = seen.rename(seen.with_suffix(".unseen"))
        if self.ever:
            threading.Timer(0.5, unseen.rename, [seen]).start()
        return digest


def test_a_result_may_be_seen_late_but_must_be_seen(monkeypatch):
    with Elsewhere(ever=True) as executor:
        (done,) = trials.run_all([add(2.0)], executor).values()
    assert done.metrics == {"sum": 2.0}
    monkeypatch.setattr(trials, "LATE", 0.5)
    with Elsewhere(ever=False) as executor:
        words = rf"{add(3.0).digest} .*wrote no result into {trials.store()}"
        with pytest.raises(RuntimeError, match=words):
            trials.run_all([add(3.0)], executor)


SCRIPT = """
import sys
import trial_functions
from kdnb.runs import trials
from kdnb.runs.trials import Trial
todo = [Trial("slow", {"epochs": 5}, seed) for seed in range(4)]
trials.run_all(todo)
"""


def start(script=SCRIPT):
    return subprocess.Popen([sys.executable, "-c", script], env=os.environ.copy())


def results(folder):
    """When each finished trial was written."""
    return {f.parent.name: f.stat().st_mtime_ns for f in folder.glob("runs/trials/*/result.json")}


def test_killed_at_random_moments_nothing_is_lost_and_nothing_done_twice(own_runs):
    random.seed(0)
    kills, finished = 4, {}
    for _ in range(kills):
        lines = len(trace(own_runs))
        process = start()
        deadline = time.time() + 60
        while len(trace(own_runs)) == lines and process.poll() is None and time.time() < deadline:
            time.sleep(0.005)  # the import is slow: wait until this run really works
        time.sleep(random.random() * 0.12)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert finished.items() <= results(own_runs).items()  # none lost, none made again
        finished = results(own_runs)
    assert start().wait() == 0
    assert finished.items() <= results(own_runs).items()
    lines = trace(own_runs)
    assert {f"epoch {seed} {epoch}" for seed in range(4) for epoch in range(1, 6)} == set(lines)
    assert len(lines) <= 4 * 5 + kills  # a kill costs the running epoch and no more
    for seed in range(4):
        result = trials.run(slow(seed))
        assert result.metrics["epochs"] == 5.0
        assert not (result.folder / "checkpoint").exists()


def test_two_processes_share_the_work(own_runs):
    both = [start(), start()]
    assert [process.wait() for process in both] == [0, 0]
    assert sorted(trace(own_runs)) == sorted(
        f"epoch {seed} {epoch}" for seed in range(4) for epoch in range(1, 6)
    )


def test_store_lists_finds_and_prunes():
    done = trials.run(add(2.0))
    half = trials.store() / "abc123"
    half.mkdir()
    (half / "trial.json").write_text(json.dumps(add(3.0).describe()))
    assert {(d, f) for d, _, f in trials.stored()} == {(done.digest, True), ("abc123", False)}
    assert trials.find("abc") == "abc123"
    assert trials.description("abc123")["arguments"] == {"amount": 3.0}
    with pytest.raises(ValueError, match="no trials begin with 'zzz'"):
        trials.find("zzz")
    trials.remove("abc123")
    assert [digest for digest, _, _ in trials.stored()] == [done.digest]


def test_a_description_gives_back_its_trial():
    inner = Trial("add", {"x": 1.0, "parts": [{"y": 2}]}, 3)
    outer = Trial("add", {"teacher": inner, "many": [inner, {"deep": inner}]}, 4)
    again = trials.described(json.loads(json.dumps(outer.describe())))
    assert again.digest == outer.digest and again.parents() == outer.parents()


def test_a_result_that_was_changed_or_moved_is_refused():
    result = trials.run(add(2.0))
    file = result.folder / "result.json"
    whole = file.read_text()
    for changed in (whole.replace('"sum": 2.0', '"sum": 2.5'), whole.replace("wall_s", "wall_t")):
        assert changed != whole
        file.write_text(changed)
        with pytest.raises(ValueError, match=r"is damaged \(result.json is not what its digest"):
            trials.run(add(2.0))
    other = trials.run(add(3.0)).folder
    file.write_text((other / "result.json").read_text())
    with pytest.raises(ValueError, match=r"is damaged \(result.json is not what its digest"):
        trials.run(add(2.0))
    file.write_text(whole)
    (result.folder / "trial.json").write_text((other / "trial.json").read_text())
    with pytest.raises(ValueError, match=r"is damaged \(trial.json describes another trial"):
        trials.run(add(2.0))


def test_a_result_of_before_there_were_digests_is_read():
    result = trials.run(add(2.0))
    file = result.folder / "result.json"
    document = json.loads(file.read_text())
    del document["sha256"]
    file.write_text(json.dumps(document))
    assert trials.run(add(2.0)) == result


@pytest.mark.parametrize("name", ["result.json", "trial.json", "tensors.safetensors"])
@pytest.mark.parametrize(
    "error", [MemoryError(), PermissionError(13, "no"), OSError(5, "no"), OSError(24, "no")]
)
def test_a_reading_error_is_no_damage_and_nothing_is_deleted(monkeypatch, name, error):
    result = trials.run(add(2.0))
    there = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    read = Path.read_bytes

    def fail(self):
        if self.name == name:
            raise error
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(type(error)) as caught:
        trials.run(add(2.0)).tensors()
    monkeypatch.undo()
    assert caught.value is error
    assert {path.name: path.read_bytes() for path in result.folder.iterdir()} == there


def test_a_checkpoint_of_an_older_version_costs_its_epochs_and_one_line(caplog):
    trial = Trial("trained", {"epochs": 2}, 0)
    folder = trials.store() / trial.digest
    for left in (b"an older version wrote this", trained_elsewhere()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint").write_bytes(left)
        (folder / ".checkpoint.x1.tmp").write_bytes(b"half")
        caplog.clear()
        assert trials.run(trial).metrics["epochs"] == 2.0
        (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert line.startswith(f"trial {trial.digest} starts anew: ") and "\n" not in line
        assert {path.name for path in folder.iterdir()} <= {
            "trial.json", "result.json", "tensors.safetensors", "lock",
        }  # fmt: skip
        trials.remove(trial.digest)


def test_a_checkpoint_left_beside_a_result_goes_when_the_result_is_read():
    """Its process was killed between writing the one and removing the other."""
    trial = Trial("trained", {"epochs": 2}, 0)
    folder = trials.run(trial).folder
    (folder / "checkpoint").write_bytes(b"left")
    assert trials.run(trial).metrics == {"epochs": 2.0}
    assert not (folder / "checkpoint").exists()


def trained_elsewhere():
    """A sound checkpoint, of code that began with other weights."""
    trial = Trial("trained", {"epochs": 2, "first": 5}, 0)
    file = trials.store() / "here"
    trial_functions.trained(trials.Context(file), 0, epochs=2, first=5)
    content = file.read_bytes()
    file.unlink()
    assert not trials.is_finished(trial.digest)
    return content


@pytest.mark.parametrize("name", ["", "..", "../x", "*", "?" * 24, "[0-9]*", "lock"])
def test_only_digests_are_removed(own_runs, name):
    result = trials.run(add(2.0))
    (own_runs / "runs" / "x").mkdir()
    with pytest.raises(ValueError, match="no trials begin with"):
        trials.find(name)
    with pytest.raises(ValueError, match="is no digest"):
        trials.remove(name)
    assert result.folder.is_dir() and (own_runs / "runs" / "x").is_dir()


def test_a_function_that_is_told_again_keeps_its_digests():
    """Workers and companions are told the place of a function that they may know."""
    trial = Trial("supervised", {"data": {"name": "mnist"}}, 0)
    registry.register("supervised", registry.place_of("supervised"))
    assert Trial("supervised", {"data": {"name": "mnist"}}, 0).digest == trial.digest
    with pytest.raises(ValueError, match="the name 'supervised' belongs to"):
        registry.register("supervised", "os:system")

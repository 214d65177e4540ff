"""Worker processes: their surroundings, that they are kept, and that they end."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path

import pytest
import trial_functions  # noqa: F401 - registers what runs may name here

import kdnb
from kdnb.runs import pool, trials
from kdnb.runs.trials import Trial

HERE = Path(__file__).parents[1]  # where trial_functions lies


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))
    return tmp_path


def slow(seed, epochs):
    return Trial("slow", {"epochs": epochs}, seed)


def trace(folder):
    file = folder / "trace"
    return file.read_text().splitlines() if file.exists() else []


def epochs_of(seed, folder):
    return [line for line in trace(folder) if line.startswith(f"epoch {seed} ")]


def processes(seeds, **more):
    done = trials.run_all(Trial("process", more, seed) for seed in seeds)
    return {result.metrics["process"] for result in done.values()}


def test_workers_are_kept_for_the_next_trials(own_runs, monkeypatch):
    monkeypatch.setenv("KDNB_JOBS", "2")
    first = processes(range(4))
    assert len(first) == 2 and os.getpid() not in first
    assert processes(range(4, 8)) == first
    assert processes([8]) == {os.getpid()}  # nothing beside it: no other process is needed
    with pytest.raises(RuntimeError, match="no such luck"):
        processes(range(4), fail=True)
    later = processes(range(9, 13))  # after a failure nobody knows what the old ones do
    assert len(later) == 2 and not later & first
    monkeypatch.setenv("KDNB_RUNS", str(own_runs / "elsewhere"))
    assert not processes(range(4)) & later  # workers would write where they did before


def test_a_worker_that_died_between_two_calls_is_replaced(own_runs, monkeypatch):
    monkeypatch.setenv("KDNB_JOBS", "2")
    first = processes(range(4))
    for process in first:
        os.kill(int(process), signal.SIGKILL)
    deadline = time.time() + 20
    while time.time() < deadline:  # until the pool has noticed
        try:
            pool._kept_pool(
                2,
                os.getcwd(),
                frozenset(
                    (k, v) for k, v in os.environ.items() if k.startswith(("KDNB_", "PYTHON"))
                ),
            ).submit(int)
        except BrokenProcessPool:
            break
        time.sleep(0.05)
    later = processes(range(4, 8))
    assert len(later) == 2 and not later & first


def test_workers_are_forked_with_todays_environment_and_this_package(monkeypatch, tmp_path):
    with pool.pool(1) as executor:  # its server keeps the environment of now
        executor.submit(int).result()
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with pool.pool(1) as executor:
        assert executor.submit(os.getppid).result() == forkserver._forkserver._forkserver_pid
        assert executor.submit(os.getenv, "KDNB_RUNS").result() == str(tmp_path)
        assert executor.submit(os.getenv, "PYTHONSAFEPATH").result() is None
        assert executor.submit(eval, "__import__('kdnb').__file__").result() == kdnb.__file__


POOLED = """
import trial_functions
from kdnb.runs import pool, trials
from kdnb.runs.trials import Trial
if __name__ == "__main__":
    with pool.pool(2) as executor:
        todo = [Trial("slow", {"epochs": 400}, seed) for seed in range(2)]
        trials.run_all(todo, executor)
"""


def test_workers_end_with_the_run_that_was_killed(own_runs):
    script = own_runs / "pooled.py"
    script.write_text(POOLED)
    process = subprocess.Popen([sys.executable, str(script)], env=os.environ.copy())
    deadline = time.time() + 60
    while len(trace(own_runs)) < 4 and time.time() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(0.5)
    lines = len(trace(own_runs))
    assert 4 <= lines < 400
    time.sleep(0.5)
    assert len(trace(own_runs)) == lines


def test_an_interrupt_stops_what_has_not_begun(own_runs, monkeypatch):
    monkeypatch.setenv("KDNB_JOBS", "2")
    todo = [slow(seed, 100) for seed in range(8)]
    processes(range(4))  # the workers are there
    threading.Timer(1.0, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        trials.run_all(todo)
    assert epochs_of(7, own_runs) == []
    again = trials.run_all(todo)  # and the next call goes on
    assert again[todo[7].digest].metrics == {"epochs": 100.0}
    assert [len(epochs_of(seed, own_runs)) for seed in range(2)] == [100, 100]


def test_threads_that_ask_at_once_get_one_pool(monkeypatch):
    monkeypatch.setenv("KDNB_JOBS", "2")
    pool.forget()
    made, plain = [], pool.pool

    def slowly(jobs):
        time.sleep(0.1)
        made.append(jobs)
        return plain(jobs)

    monkeypatch.setattr(pool, "pool", slowly)
    with ThreadPoolExecutor(4) as asking:
        pools = list(asking.map(lambda _: pool.kept(), range(4)))
    assert made == [2] and len(set(map(id, pools))) == 1

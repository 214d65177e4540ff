"""Trials that `start` runs in the background: beside this process, each once, waited for."""

import _thread
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trial_functions  # noqa: F401 - registers what runs may name here

from kdnb.runs import background, pool, trials
from kdnb.runs.background import Awaited
from kdnb.runs.trials import Trial

HERE = Path(__file__).parents[1]  # where trial_functions lies


@pytest.fixture(autouse=True)
def two_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("KDNB_JOBS", "2")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))
    yield
    for thread in list(background._running):
        thread.join(20)
    background._running.clear()


def process(seed, **more):
    return Trial("process", more, seed)


def slow(seed, epochs):
    return Trial("slow", {"epochs": epochs}, seed)


def epochs_of(seed, folder):
    file = folder / "trace"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in lines if line.startswith(f"epoch {seed} ")]


def test_a_lookup_waits_for_its_own_trial_alone(tmp_path):
    found = trials.start({"short": slow(0, 2), "long": slow(1, 400)})
    assert list(found) == ["short", "long"] and len(found) == 2
    assert found["short"].metrics == {"epochs": 2.0}
    assert not trials.is_finished(slow(1, 400).digest)
    assert found["long"].metrics == {"epochs": 400.0}
    assert len(epochs_of(0, tmp_path)) == 2 and len(epochs_of(1, tmp_path)) == 400
    assert found["short"] is found["short"]
    for thread in list(background._running):
        thread.join(20)
    trials.run_all([slow(0, 2)])
    assert not background._running  # nothing is left to wait for


def test_run_all_waits_for_what_is_running_and_does_nothing_twice(tmp_path):
    ahead = [slow(seed, 20) for seed in range(4)]
    trials.start({str(trial.seed): trial for trial in ahead})
    done = trials.run_all([*ahead, slow(9, 3)])
    assert len(done) == 5
    assert [len(epochs_of(seed, tmp_path)) for seed in (0, 1, 2, 3, 9)] == [20, 20, 20, 20, 3]


def test_two_that_begin_at_once_do_not_wait_for_each_other(tmp_path, monkeypatch):
    begin, both_known = background.begin, threading.Event()
    monkeypatch.setattr(
        background,
        "begin",
        lambda digests, work: begin(digests, lambda: both_known.wait() and work()),
    )
    named = {str(seed): slow(seed, 5) for seed in range(4)}
    first, second = trials.start(named), trials.start(dict(reversed(named.items())))
    both_known.set()
    for name, trial in named.items():
        assert first[name].metrics == second[name].metrics == {"epochs": 5.0}
        assert len(epochs_of(trial.seed, tmp_path)) == 5


def test_it_runs_beside_this_process_even_one_trial_alone():
    """In a thread of this process it would draw from the random state that the reader's cells use."""
    found = trials.start({"alone": process(0)})
    assert found["alone"].metrics["process"] != os.getpid()


def test_in_a_single_process_a_trial_runs_when_it_is_looked_up(monkeypatch):
    monkeypatch.setenv("KDNB_JOBS", "1")
    found = trials.start({"first": process(0), "second": process(1)})
    assert not background._running
    assert found["second"].metrics["process"] == os.getpid()
    assert trials.finished(process(0)) is None


def test_on_a_cluster_all_run_at_once(monkeypatch):
    sent = []

    def together(wanted):
        wanted = list(wanted)
        sent.append(len(wanted))
        return {trial.digest: trial.seed for trial in wanted}

    monkeypatch.setenv("KDNB_CLUSTER", "tcp://scheduler:1")
    monkeypatch.setattr(trials, "run_all", together)
    found = trials.start({"first": process(0), "second": process(1)})
    assert sent == [2] and found["second"] == 1


def test_a_failure_is_told_to_who_looks_it_up_and_to_nobody_else():
    bad = Trial("fails", {}, 0)
    found = trials.start({"bad": bad, "good": process(1), "after": process(2)})
    with pytest.raises(RuntimeError, match=f"{bad.digest}.*failed: no such luck"):
        found["bad"]
    assert found["good"].metrics and found["after"].metrics
    with pytest.raises(RuntimeError, match="no such luck"):  # not remembered as anything else
        found["bad"]


def test_an_interrupt_while_waiting_stops_what_has_not_begun(tmp_path):
    named = {str(seed): slow(seed, 100) for seed in range(8)}
    found = trials.start(named)
    threading.Timer(1.0, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        found["7"]
    for thread in list(background._running):
        thread.join(20)
    assert epochs_of(7, tmp_path) == []
    assert found["7"].metrics == {"epochs": 100.0}  # and the next lookup goes on


def test_threads_that_ask_at_once_get_one_pool(monkeypatch):
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


def test_awaited_values_are_made_once_and_when_looked_up():
    made = []
    values = Awaited(["a", "b"], lambda name: made.append(name) or name.upper())
    assert list(values) == ["a", "b"] and len(values) == 2 and "a" in values and "c" not in values
    assert made == []
    assert values["a"] == values["a"] == "A" and made == ["a"]
    with pytest.raises(KeyError):
        values["c"]

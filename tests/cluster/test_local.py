"""A Dask cluster on this machine: workers that die, a scheduler that is lost, wrong requests."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import dask
import pytest
import torch
import trial_functions  # noqa: F401 - registers what runs may name here
from distributed import Client, Security
from machines import address, epochs, kill, real, scheduler, slow, trace, until, worker

from kdnb.runs import cluster, trials
from kdnb.runs.cluster import Workers
from kdnb.runs.trials import Trial

pytestmark = pytest.mark.cluster


def undisturbed(trial, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("KDNB_RUNS", str(folder / "undisturbed"))
        return trials.run(trial)


def busy(workers):
    """The process of the one worker that has a trial in hand."""
    (where,) = (where for where, keys in workers._client.processing().items() if keys)
    return workers._client.run(os.getpid, workers=[where])[where]


def test_a_worker_killed_in_the_middle_changes_nothing(own_runs, monkeypatch):
    trial, counted = real(), slow(0, epochs=100)
    expected = undisturbed(trial, own_runs, monkeypatch)
    with Workers("local", 2) as workers, ThreadPoolExecutor() as background:
        for one, started in (
            (trial, (trials.store() / real("teacher").digest / "checkpoint").exists),
            (counted, lambda: len(trace()) > 20),
        ):
            running = background.submit(trials.run_all, [one], workers)
            until(started)
            os.kill(busy(workers), signal.SIGKILL)
            assert not running.done()
            done = running.result(timeout=400)[one.digest]
            if one == trial:
                assert done.metrics == expected.metrics
                for name, tensor in expected.tensors().items():
                    assert torch.equal(done.tensors()[name], tensor)
    assert set(trace()) == epochs(1, 100)
    assert len(trace()) <= 101  # it cost the running epoch, and no more


def test_a_trial_that_kills_its_workers_is_named_and_no_other(own_runs):
    poison = Trial("dies", {}, 3)
    behind = [slow(seed, epochs=1) for seed in range(3)]
    with Workers("local", 1) as workers:
        # All stand in one worker's line, so that Dask itself blames all of them.
        with pytest.raises(RuntimeError) as error:
            trials.run_all([poison, *behind], workers)
        assert str(error.value) == (
            f"trial {poison.digest} (dies, seed 3) failed: 4 workers died while "
            "they ran it, one after another, most often for want of memory."
        )
        assert len(trials.run_all(behind, workers)) == 3  # and the cluster is as good as before


SCRIPT = """
import sys
import trial_functions
from kdnb.runs import trials
from kdnb.runs.trials import Trial
trials.run_all(Trial("slow", {"epochs": 150}, seed) for seed in range(2))
"""


def test_a_lost_scheduler_costs_the_running_epochs(own_runs, monkeypatch):
    place = own_runs / "dask"
    with scheduler(place) as lost, worker(place), worker(place):
        monkeypatch.setenv("KDNB_CLUSTER", address(place))
        run = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE, text=True)
        until(lambda: len(trace()) > 40)
        kill(lost)
        message = run.communicate(timeout=400)[1]
        assert run.returncode == 1
        assert "the scheduler was lost: rerun to go on from the last epoch." in message
    before = len(trace())
    assert before < 300
    with scheduler(place), worker(place), worker(place):
        monkeypatch.setenv("KDNB_CLUSTER", address(place))
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=400)
    assert set(trace()) == epochs(2, 150)
    assert len(trace()) <= 302


def test_what_we_start_takes_nobody_in_without_its_certificate(own_runs, monkeypatch):
    with Workers("local", 1) as workers:
        where = workers.environment["KDNB_CLUSTER"]
        host, port = where.removeprefix("tls://").split(":")
        assert host == "127.0.0.1"
        assert [file.stat().st_mode & 0o77 for file in workers._folder.iterdir()] == [0, 0]
        assert workers._folder.stat().st_mode & 0o77 == 0
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            plain.sendall(b"\x00" * 64)
            with suppress(ConnectionResetError):
                assert plain.recv(64)[:1] in (b"", b"\x15")  # hung up, or an alert of TLS
        for security in (None, Security.temporary()):
            outside = where if security else where.replace("tls", "tcp")
            with pytest.raises((OSError, ValueError)):
                Client(outside, security=security, timeout="5s", set_as_default=False)
        code = "import trial_functions; from kdnb.runs import cluster, trials; from kdnb.runs.trials import Trial\n"
        code += "print(trials.run_all([Trial('process', {}, 0)]))"
        environment = {**os.environ, **workers.environment}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
            timeout=400, check=True,
        )  # fmt: skip
        ours = set(workers._client.run(os.getpid).values())
        assert f"'process': {float(ours.pop())}" in done.stdout
    assert not workers._folder.exists()


def test_requests_that_cannot_be_met_are_refused_before_any_work(own_runs):
    with pytest.raises(ValueError, match=r"'slrum' is no cluster: give .* local or slurm"):
        Workers("slrum")
    with pytest.raises(ValueError, match="cannot take 0 GPUs"):
        Workers("local", gpu=0)
    place, elsewhere = own_runs / "dask", {"KDNB_RUNS": str(own_runs / "elsewhere")}
    threads, one = ("--nthreads", "2", "--host", "127.0.0.1"), ("--nthreads", "1")
    with scheduler(place):
        where = address(place)
        for options, environment, words in (
            (threads, {}, r"runs 2 tasks at a time.*start workers with `--nthreads 1`"),
            (one, elsewhere, r"keeps its runs in .*/elsewhere, which is not ours: give all"),
        ):
            with worker(place, *options, **environment), pytest.raises(ValueError, match=words):
                Workers(where)
        with worker(place, *one, "--resources", "GPU=0.5"):
            with pytest.raises(ValueError, match=r"to take 1 GPUs, .* more than 0\.5"):
                Workers(where, gpu=1)
            with Workers(where, gpu=0.5) as workers:
                assert len(trials.run_all([slow(0)], workers)) == 1
                assert workers.environment["KDNB_GPU"] == "0.5"
    impatient = dask.config.set({"distributed.comm.timeouts.connect": "3s"})
    with impatient, pytest.raises(ValueError, match=f"no scheduler can be reached at {where}"):
        Workers(where)
    assert len(trace()) == 5


def test_the_environment_names_the_cluster(own_runs, monkeypatch):
    monkeypatch.setenv("KDNB_CLUSTER", "local")
    monkeypatch.setenv("KDNB_JOBS", "1")
    try:
        ran_by = [trials.run_all([Trial("process", {}, seed)]).popitem()[1] for seed in range(2)]
        assert len({done.metrics["process"] for done in ran_by}) == 1  # it is kept
        assert ran_by[0].metrics["process"] != os.getpid()
    finally:
        cluster.executor().shutdown()
        cluster._kept.cache_clear()

"""Threads by what is free: the load, the affinity, the control group; a choice of one's own wins."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import kdnb
from kdnb.runs import pool
from kdnb.training import threads

ROOT = Path(kdnb.__file__).parents[1]


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, on which others use some: a function of both."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "AGAIN", -math.inf)  # it is looked at each time
    monkeypatch.setattr(threads, "_said", None)
    monkeypatch.setattr(threads, "_quota", lambda: math.inf)
    before = torch.get_num_threads()

    def made(cores, *used):
        loads = iter(used)
        latest = lambda: next(loads, used[-1])
        monkeypatch.setattr(threads, "_cores", lambda: set(range(cores)))
        monkeypatch.setattr(threads, "_used", latest)
        torch.set_num_threads(cores)

    yield made
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "used", "threads_taken"),
    [(2, 0.0, 2), (2, 0.25, 2), (2, 0.4, 1), (2, 1.0, 1), (2, 2.0, 1), (8, 0.2, 8), (8, 3.1, 5),
     (1, 0.0, 1), (64, 64.0, 1)],
)  # fmt: skip
def test_threads_fit_into_what_others_leave(machine, cores, used, threads_taken):
    machine(cores, used)
    assert threads.number() == threads_taken


def test_a_lost_thread_is_told_in_one_line_once(machine, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    machine(4, 1.3, 1.3, 3.0, 0.0)
    for _ in range(4):
        threads.number()
    assert capsys.readouterr().err.splitlines() == [
        "kdnb takes 2 threads: others use 1.3 of 4 cores (set OMP_NUM_THREADS to choose).",
        "kdnb takes 1 thread: others use 3.0 of 4 cores (set OMP_NUM_THREADS to choose).",
    ]


def test_never_more_than_torch_takes_by_itself(machine, monkeypatch):
    """On a processor whose cores show as two each, torch takes one thread for both."""
    machine(8, 0.0, 6.0, 0.0)
    monkeypatch.setattr(threads.psutil, "cpu_count", lambda logical: 4)
    torch.set_num_threads(4)
    with threads.fitting() as look:
        assert torch.get_num_threads() == 4
        look()
        assert torch.get_num_threads() == 2
        look()
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == 4


def test_a_quota_bounds_them_without_a_word(machine, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    machine(8, 1.0)
    monkeypatch.setattr(threads, "_quota", lambda: 2.5)
    assert threads.number() == 2 and capsys.readouterr().err == ""


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_choice_in_the_environment_wins(machine, monkeypatch, variable):
    machine(4, 4.0)
    monkeypatch.setenv(variable, "4")
    with threads.fitting() as look:
        look()
        assert threads.number() == torch.get_num_threads() == 4


def test_a_choice_by_torch_wins(machine):
    machine(8, 8.0)
    torch.set_num_threads(3)
    with threads.fitting():
        assert threads.number() == torch.get_num_threads() == 3


def test_they_are_taken_while_it_lasts_and_put_back(machine):
    machine(4, 1.0, 3.0, 0.0)
    with threads.fitting() as look:
        assert torch.get_num_threads() == 3
        with threads.fitting():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        look()
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), threads.taking(2):
        raise KeyError
    assert torch.get_num_threads() == 4


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(3, 2), []

    def forward(self, inputs):
        self.seen.append(torch.get_num_threads())
        return self.layer(inputs)


def test_a_run_looks_again_in_every_epoch(machine):
    machine(3, 0.0, 0.0, 1.0, 2.0)  # once before the first epoch
    network, images = Counting(), (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    kdnb.train(network, images, epochs=3, batch_size=4, precision="32")
    assert network.seen[-3:] == [3, 2, 1] and torch.get_num_threads() == 3
    network.seen.clear()
    kdnb.evaluate(network, images)
    assert set(network.seen) == {1} and torch.get_num_threads() == 3


def test_workers_share_what_is_free(machine):
    machine(8, 2.0)
    assert [threads.share(jobs)["OMP_NUM_THREADS"] for jobs in (1, 2, 4, 9)] == list("6311")
    machine(2, 2.0)
    with pool.pool(2) as executor:  # a worker's share is a choice: it does not look itself
        assert executor.submit(threads.number).result() == 1


@pytest.mark.parametrize(
    ("files", "group", "cores"),
    [
        ({}, "0::/", math.inf),
        ({"cpu.max": "max 100000"}, "0::/", math.inf),
        ({"cpu.max": "250000 100000"}, "0::/", 2.5),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/", math.inf),
        ({"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"},
         "4:memory:/z\n3:cpu,cpuacct:/a", 1.5),
        ({"cpu.max": "50000 100000"}, "0::/../outside", 0.5),
        ({"cpu.max": "50000 100000"}, "\nnothing of the kind\n0::/", 0.5),
    ],
)  # fmt: skip
def test_control_groups_limit_the_cores(tmp_path, monkeypatch, files, group, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    own = tmp_path / "own"
    own.write_text(group + "\n")
    assert threads._quota(tmp_path, own) == cores
    assert threads._quota(tmp_path, tmp_path / "none") == math.inf
    monkeypatch.setattr(threads, "_quota", lambda: cores)
    monkeypatch.setattr(threads, "_cores", lambda: set(range(8)))
    assert threads.allotted() == max(1, min(8, int(min(cores, 8))))


@pytest.mark.parametrize(
    ("files", "group", "seconds"),
    [
        ({}, "0::/", 0.0),
        ({"a/cpu.max": "max 100000", "a/cpu.stat": "usage_usec 7000000"}, "0::/a", 0.0),
        ({"a/cpu.max": "200000 100000", "a/cpu.stat": "usage_usec 7000000\nnr_periods 3"}, "0::/a", 7.0),
        ({"a/cpu.max": "200000 100000"}, "0::/a", 0.0),
        ({"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000",
          "cpu/a/cpuacct.usage": "2500000000"}, "3:cpu,cpuacct:/a", 2.5),
        ({"a/cpu.max": "200000 100000", "a/cpu.stat": "nonsense"}, "0::/a", 0.0),
    ],
)  # fmt: skip
def test_what_a_limited_group_has_used(tmp_path, files, group, seconds):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(group + "\n")
    assert threads._spent(tmp_path, tmp_path / "own") == seconds
    assert threads._spent(tmp_path, tmp_path / "none") == 0.0


def test_others_in_the_same_container_use_its_quota(machine, monkeypatch, capsys):
    """Of 64 cores 62 are free; of the four that the container may use, three are not."""
    monkeypatch.setenv("TQDM_DISABLE", "0")
    machine(64, 2.0)
    monkeypatch.setattr(threads, "_quota", lambda: 4.0)
    spent = iter([10.0, 10.0 + 3 * threads.LOOK])
    monkeypatch.setattr(threads, "_spent", lambda: next(spent))
    assert threads.number() == 1
    said = "kdnb takes 1 thread: others use 3.0 of 4 cores (set OMP_NUM_THREADS to choose).\n"
    assert capsys.readouterr().err == said


def test_threads_of_this_process_are_not_others(machine, monkeypatch):
    """After an operation OpenMP's threads spin on for a while: up to 0.2 s by Intel's library."""
    machine(4, 2.0)
    spent, own = iter([10.0, 10.0 + 2 * threads.LOOK]), iter([5.0, 5.0 + 1.9 * threads.LOOK])
    monkeypatch.setattr(threads, "_spent", lambda: next(spent))
    monkeypatch.setattr(threads, "process_time", lambda: next(own))
    assert threads._loads() == pytest.approx((0.1, 0.1), abs=1e-6)


def test_where_one_thread_is_all_nobody_looks_at_the_load(machine, monkeypatch):
    monkeypatch.setattr(threads, "_loads", lambda: pytest.fail("it looked"))
    machine(1, 0.0)
    assert threads.number() == 1
    machine(8, 0.0)
    monkeypatch.setattr(threads, "_quota", lambda: 1.5)
    assert threads.number() == 1


def test_a_number_of_physical_cores_that_nobody_can_tell_is_none(machine, monkeypatch):
    def refuses(logical):
        raise FileNotFoundError("/proc/cpuinfo")

    machine(4, 1.0)
    monkeypatch.setattr(threads.psutil, "cpu_count", refuses)
    assert threads.number() == 3


@pytest.mark.parametrize("error", [FileNotFoundError, threads.psutil.AccessDenied])
def test_a_load_that_nobody_can_tell_is_none(monkeypatch, error):
    def refuses(*_, **__):
        raise error("/proc/stat")

    monkeypatch.setattr(threads.psutil, "cpu_percent", refuses)
    assert threads._used() == 0.0


@pytest.mark.parametrize(
    ("shares", "ours", "used"),
    [
        ([100, 0, 50, 0], {0, 2}, 1.5),
        ([100, 50], {4, 5}, 1.5),  # a container that numbers its two cores anew
        ([100, 0, 50, 0], {1, 3}, 0.0),
    ],
)
def test_the_load_of_our_cores_counts(monkeypatch, shares, ours, used):
    monkeypatch.setattr(threads.psutil, "cpu_percent", lambda *_, **__: shares)
    monkeypatch.setattr(threads, "_cores", lambda: ours)
    assert threads._used() == used


BUSY = """
import subprocess, sys
from kdnb.training import threads
spin = [sys.executable, "-c", "print(flush=True)\\nwhile True: pass"]
others = [subprocess.Popen(spin, stdout=subprocess.PIPE) for _ in range(threads.allotted())]
try:
    for other in others:
        other.stdout.readline()
    with threads.fitting():
        print(threads.torch.get_num_threads())
finally:
    for other in others:
        other.kill()
        other.wait()
"""


@pytest.mark.skipif(threads.allotted() < 2, reason="one core takes one thread")
def test_beside_processes_that_are_really_busy_a_run_takes_fewer_threads():
    """As many as there are cores: a run beside them takes one, and says so; a choice is kept."""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "0"}
    del surroundings["OMP_NUM_THREADS"]

    def ran(**more):
        return subprocess.run(
            [sys.executable, "-c", BUSY], env=surroundings | more, capture_output=True, text=True,
            check=True,
        )  # fmt: skip

    found = ran()
    assert found.stdout.strip() == "1"
    assert found.stderr.startswith("kdnb takes 1 thread: others use ")
    found = ran(OMP_NUM_THREADS="2")
    assert (found.stdout.strip(), found.stderr) == ("2", "")

"""A real SLURM on this machine's loopback: chapters and trials as its jobs."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import dask
import made_chapters as workbook
import pytest
from machines import epochs, process, slow, trace, until

from kdnb.runs import trials
from kdnb.runs.cluster import Workers

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
MISSING = [
    name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(MISSING), reason=f"no {', '.join(MISSING)}: install Debian's slurm-wlm and munge"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd starts jobs only as root"),
]

CONFIGURATION = """
jobqueue:
  slurm:
    cores: 1
    processes: 1
    memory: 2GB
    interface: lo
    log-directory: {logs}
distributed:
  deploy:
    lost-worker-timeout: 5s
"""
# A real training run in the kernel, and where that kernel was.
CHAPTER = """
import os
from kdnb.reproductions import hinton2015, reproduce
p = hinton2015.Parameters(train_images=1000, seeds=1, teacher_width={width}, teacher_epochs=3)
record = reproduce(hinton2015.REPRODUCTION, p, profile="custom", arms=["teacher"])
print(os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"])
print(record.arms["teacher"][0].metrics["test_errors"])
"""


def free_ports(count):
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def states():
    """The state of each node, such as `idle`."""
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def jobs():
    """The numbers of the jobs that run."""
    done = subprocess.run(
        ["squeue", "-h", "-t", "running", "-o", "%i"], capture_output=True, text=True, check=False
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """SLURM's two daemons and munge; the path of its configuration."""
    folder = tmp_path_factory.mktemp("slurm")
    names = dict(zip(("port", "port1", "port2"), free_ports(3), strict=True))
    text = (Path(__file__).parent / "slurm.conf").read_text()
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(text.format(host=host, folder=folder, **names))
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.sock", *files]
    logs = folder / "logs"
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        stack.enter_context(process(logs, *munge))
        until((folder / "munge.sock").exists)
        stack.enter_context(process(logs, "slurmctld", "-D"))
        for node in ("n1", "n2"):
            stack.enter_context(process(logs, "slurmd", "-D", "-N", node))
        until(lambda: states() == ["idle", "idle"])
        yield folder


@pytest.fixture
def configured(slurm, own_runs, monkeypatch):
    """Dask's own configuration for that SLURM; a process reads it when it imports Dask."""
    (own_runs / "dask").mkdir()
    text = CONFIGURATION.format(logs=own_runs / "logs")
    (own_runs / "dask" / "dask.yaml").write_text(text)
    monkeypatch.setenv("DASK_CONFIG", str(own_runs / "dask"))
    dask.config.refresh(paths=[str(own_runs / "dask")])
    yield own_runs
    dask.config.refresh(paths=[])


def test_two_chapters_run_as_jobs(configured, monkeypatch):
    book, runs = configured / "book", configured / "runs"
    names = ["9-1-narrow", "9-2-wide"]
    code = {name: CHAPTER.format(width=width) for name, width in zip(names, (32, 64), strict=True)}
    workbook.make(book, code)
    monkeypatch.setenv("KDNB_HOME", str(book))
    command = [sys.executable, "-c", "from kdnb.workbook.cli import main; main()", "run"]
    done = subprocess.run(
        [*command, "--cluster", "slurm", "--jobs", "2"], capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.split("chapter, its claims")[1]
    assert table.index(names[0]) < table.index(names[1])
    shown = [workbook.printed(runs, name) for name in names]
    assert all(lines[0].split()[1] in ("n1", "n2") for lines in shown)
    assert all(0 < float(lines[1]) < 10000 for lines in shown)
    until(lambda: not jobs())  # it gave its jobs back
    assert list(runs.glob(".cluster-*")) == []  # and left no key behind


def test_a_cancelled_job_is_replaced_and_its_trial_goes_on(configured):
    with Workers("slurm", 1) as workers, ThreadPoolExecutor() as background:
        assert workers.environment["KDNB_CLUSTER"].startswith("tls://")
        running = background.submit(trials.run_all, [slow(0, epochs=200)], workers)
        until(lambda: len(trace()) > 20)
        (job,) = jobs()
        subprocess.run(["scancel", job], check=True)
        assert len(running.result(timeout=400)) == 1
        assert jobs() != [job]
    assert set(trace()) == epochs(1, 200)
    assert len(trace()) <= 201

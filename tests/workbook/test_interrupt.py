"""Ctrl-C ends a run with all its processes; a full disk and a folder that is gone are told."""

import os
import signal
import subprocess
import sys
import time

import made_chapters as workbook
import psutil
import pytest

COMMAND = [sys.executable, "-c", "from kdnb.workbook.cli import main; main()", "run"]
WAITS = "import os, time\nopen(os.environ['KDNB_RUNS'] + '/{name}', 'w')\ntime.sleep(300)"


def marked(mark):
    """The processes that inherited a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("KDNB_TEST_MARK") == mark:
                found.append(process)
        except psutil.Error:  # it ended meanwhile, or is not ours to look at
            pass
    return found


@pytest.mark.skipif(os.name == "nt", reason="process groups and SIGINT are of POSIX")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_leaves_no_process_and_says_how_to_go_on(tmp_path, jobs):
    names = ["9-1-a", "9-2-b"]
    runs = tmp_path / "runs"
    runs.mkdir()
    workbook.make(tmp_path / "book", {name: WAITS.format(name=name) for name in names})
    surroundings = {
        **os.environ, "KDNB_HOME": str(tmp_path / "book"), "KDNB_RUNS": str(runs),
        "KDNB_TEST_MARK": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(workbook.ROOT / "tests"), str(workbook.ROOT)]),
    }  # fmt: skip
    process = subprocess.Popen(
        [*COMMAND, "--jobs", jobs], env=surroundings, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.time() + 200
    begun = names[: int(jobs)]
    while not all((runs / name).exists() for name in begun) and time.time() < deadline:
        time.sleep(0.1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "interrupted: the same command goes on" in said and "Traceback" not in said
    deadline = time.time() + 20
    while marked(str(tmp_path)) and time.time() < deadline:
        time.sleep(0.2)
    assert marked(str(tmp_path)) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
def test_a_full_disk_behind_the_output_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND[:-1], "list"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=200,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "kdnb: no space is left where the output goes: free some, or send it elsewhere.\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder in use")
def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    (tmp_path / "gone").mkdir()
    there = ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && "$@"', "sh", str(tmp_path / "gone")]
    done = subprocess.run(
        [*there, *COMMAND[:-1], "list"], check=False, capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": str(workbook.ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "kdnb: the folder you are in is gone: change to another one.\n"

"""Where things lie, and writing: full and read-only disks, what killed processes leave."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from kdnb import paths
from kdnb.paths import DiskError, atomic_write, temporary_folder


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_is_one_place_for_all_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KDNB_RUNS", "~/x")
    assert paths.runs() == tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDNB_RUNS", "here")
    monkeypatch.setenv("KDNB_CACHE", "there")
    assert (paths.runs(), paths.data_cache()) == (tmp_path / "here", tmp_path / "there")
    code = "from kdnb import paths; print(paths.runs()); print(paths.data_cache())"
    (tmp_path / "other").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "other", capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(tmp_path / "here"), str(tmp_path / "there")]


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES]
)
@pytest.mark.parametrize("call", ["mkstemp", "posix_fallocate", "fsync", "replace"])
def test_a_disk_that_takes_nothing_is_one_sentence(tmp_path, monkeypatch, number, call):
    """Before, during and after the write; the old content stays, and nothing else."""
    path = tmp_path / "kept"
    atomic_write(path, "old")
    module = paths.tempfile if call == "mkstemp" else paths.os
    monkeypatch.setattr(module, call, failing(number))
    with pytest.raises(DiskError, match=rf"^{path} cannot be written: .*name.*\.$") as caught:
        atomic_write(path, "new")
    assert caught.value.errno == number and "\n" not in str(caught.value)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "file"))
    with pytest.raises(DiskError, match="a file stands where a folder is needed"):
        paths.runs()
    with pytest.raises(DiskError, match="a file stands where a folder is needed"):
        atomic_write(tmp_path / "file" / "below", "x")


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output") as caught:
        atomic_write(tmp_path / "kept", "new")
    assert type(caught.value) is OSError and list(tmp_path.iterdir()) == []


WRITING = """
import os, sys, time
from pathlib import Path
from kdnb import paths
folder = Path(sys.argv[1])
def stop(handle):
    (folder / "begun").touch()
    time.sleep(60)
paths.os.fsync = stop
with paths.temporary_folder(".keys-", folder) as made:
    (made / "key.pem").touch()
    paths.atomic_write(folder / "kept", "half")
"""


def test_what_a_killed_process_left_goes_and_what_a_running_one_needs_stays(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(tmp_path)])
    deadline = time.time() + 100
    while not (tmp_path / "begun").exists() and time.time() < deadline:
        time.sleep(0.05)
    (half,) = tmp_path.glob(".kept.*.tmp")
    (key,) = tmp_path.glob(".keys-*/key.pem")
    assert key.parent.stat().st_mode & 0o77 == 0
    atomic_write(tmp_path / "kept", "whole")
    with temporary_folder(".keys-", tmp_path):
        assert half.exists() and key.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    atomic_write(tmp_path / "other", "whole")
    assert half.exists()  # another file's
    atomic_write(tmp_path / "kept", "again")
    assert not half.exists()
    with temporary_folder(".keys-", tmp_path) as made:
        assert not key.parent.exists() and made.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "kept", "other"]


def test_a_stranger_s_lock_file_is_not_swept(tmp_path):
    (tmp_path / "kdnb-project").mkdir()
    (tmp_path / "kdnb-project.lock").touch()
    with temporary_folder("kdnb-", tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kdnb-project", "kdnb-project.lock"]


def test_who_waits_for_a_lock_gets_it_when_its_folder_is_removed(tmp_path):
    lock, got = tmp_path / "folder" / "lock", threading.Event()

    def wait():
        with paths.locked(lock):
            got.set()

    with paths.locked(lock):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        assert not got.is_set()
        shutil.rmtree(lock.parent)
    waiting.join(10)
    assert got.is_set() and lock.exists()

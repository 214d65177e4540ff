"""The set-up behind `make`: finding a Python, and the helper that makes .venv."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

spec = importlib.util.spec_from_file_location("make_venv", ROOT / "tools/make_venv.py")
make_venv = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_venv)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose .venv is finished; its interpreter is a link, as in a real one."""
    root = tmp_path / "a checkout"
    (root / ".venv/bin").mkdir(parents=True)
    (root / "requirements.lock").write_text("six==1.0\n")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / ".venv/pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    (root / ".venv/bin/python").symlink_to(Path(sys.executable).resolve())
    (root / ".venv/bin/kdnb").touch()
    make_venv.write_stamp(root, make_venv.stamp(root, HERE))
    return root


def test_finished_venv_needs_nothing(checkout):
    assert make_venv.venv_python(checkout) == HERE
    assert make_venv.plan(checkout) == "nothing"
    assert make_venv.plan(checkout, HERE) == "nothing"


@pytest.mark.parametrize(
    ("damage", "work"),
    [
        (lambda root: (root / "requirements.lock").write_text("six==2.0\n"), "everything"),
        (lambda root: (root / "pyproject.toml").write_text("[tool]\n"), "kdnb"),
        (lambda root: (root / ".venv/bin/kdnb").unlink(), "kdnb"),
        (lambda root: (root / ".venv/bin/python").unlink(), "everything"),
        (lambda root: (root / ".venv/pyvenv.cfg").unlink(), "everything"),
        (lambda root: make_venv.write_stamp(root, {}), "everything"),
        (lambda root: (root / ".venv/kdnb.json").write_text('{"pyth'), "everything"),
        (lambda root: (root / ".venv/kdnb.json").unlink(), "packages"),
        (lambda root: shutil.rmtree(root / ".venv"), "everything"),
    ],
)
def test_plan_repairs_what_is_damaged_and_no_more(checkout, damage, work):
    damage(checkout)
    assert make_venv.plan(checkout) == work


def test_a_moved_checkout_is_set_up_again(checkout, tmp_path):
    moved = checkout.rename(tmp_path / "elsewhere")
    assert make_venv.plan(moved) == "everything"


def test_another_python_replaces_our_venv_and_not_a_foreign_one(checkout):
    assert make_venv.plan(checkout, "3.99") == "everything"
    (checkout / ".venv/kdnb.json").unlink()
    with pytest.raises(make_venv.SetUpError, match="was not made by this Makefile"):
        make_venv.plan(checkout, "3.99")


def test_disk(tmp_path):
    assert make_venv.check_disk(tmp_path, int(make_venv.DISK_WITH_CACHE)) is True
    assert make_venv.check_disk(tmp_path, int(make_venv.DISK)) is False
    with pytest.raises(make_venv.SetUpError, match=r"takes [\d.]+ GB .* has 4.0 GB free"):
        make_venv.check_disk(tmp_path, 4 * 10**9)


def test_small_disk_is_refused_before_anything_is_installed(checkout, monkeypatch):
    usage = shutil._ntuple_diskusage(10**10, 9 * 10**9, 10**9)
    monkeypatch.setattr(make_venv.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(make_venv, "step", lambda *_: pytest.fail("a step was run"))
    (checkout / "requirements.lock").write_text("six==2.0\n")
    with pytest.raises(make_venv.SetUpError, match=r"1\.0 GB free"):
        make_venv.set_up(checkout)


def test_python_without_venv(monkeypatch):
    make_venv.check_python()
    monkeypatch.setattr(make_venv.importlib.util, "find_spec", lambda name: name != "ensurepip")
    with pytest.raises(make_venv.SetUpError, match=f"apt install python{HERE}-venv"):
        make_venv.check_python()


WRONG_HASH = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated
    six==1.17.0 from <file> (from -r requirements.lock (line 11)):
        Expected sha256 00
             Got        47
"""
UNREACHABLE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(Failed to
establish a new connection: [Errno 111] Connection refused')': /six/
ERROR: Could not find a version that satisfies the requirement six==1.17.0
ERROR: No matching distribution found for six==1.17.0
"""


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (WRONG_HASH, r"file of six==1\.17\.0 does not have the SHA-256"),
        (UNREACHABLE, "registry cannot be reached"),
        ("ERROR: No matching distribution found for six==9\n", f"no ready-made six==9 .* {HERE} "),
        ("ERROR: [Errno 28] No space left on device\n", "disk is full"),
        (".venv/bin/python: No module named pip\n", "has no pip"),
        ("ERROR: Exception:\nTraceback\ntomllib.TOMLDecodeError: bad line 3\n", "bad line 3"),
        ("Killed\n", "see the log"),
    ],
)
def test_explain_says_one_sentence(output, sentence):
    found = make_venv.explain(output)
    assert re.search(sentence, found)
    assert "\n" not in found
    assert found.endswith(".")


def test_a_failed_step_names_its_log_and_leaves_the_stamp_unfinished(checkout, monkeypatch):
    """The whole way down from `set_up`, with a pip that cannot reach its registry."""
    fail = "import sys; print('ERROR: Connection refused'); sys.exit(1)"
    monkeypatch.setattr(make_venv, "DISK", 0)
    step = make_venv.step

    def fake(root: Path, command: list[str], log: Path, lock: int) -> None:
        step(root, [sys.executable, "-c", fail] if "pip" in command else ["true"], log, lock)

    monkeypatch.setattr(make_venv, "step", fake)
    (checkout / "requirements.lock").write_text("six==2.0\n")
    with pytest.raises(make_venv.SetUpError, match=r"cannot be reached.*\(Log: runs/setup\.log\)"):
        make_venv.set_up(checkout)
    assert make_venv.read_stamp(checkout) == {}
    assert make_venv.plan(checkout) == "everything"
    assert "Connection refused" in (checkout / "runs/setup.log").read_text()


def test_two_at_once_install_once(checkout, monkeypatch):
    calls = []

    def install(root: Path, work: str, lock: int) -> None:
        calls.append(work)
        time.sleep(0.2)
        make_venv.write_stamp(root, make_venv.stamp(root, HERE))

    monkeypatch.setattr(make_venv, "install", install)
    (checkout / "pyproject.toml").write_text("[tool]\n")
    both = [threading.Thread(target=make_venv.set_up, args=(checkout,)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert calls == ["kdnb"]


def test_an_orphaned_step_keeps_the_lock(checkout):
    """When only the helper is killed its pip goes on; the next call must wait for it."""
    code = (
        "import importlib.util as u, os, pathlib, sys, threading, time\n"
        f"s = u.spec_from_file_location('m', {str(ROOT / 'tools/make_venv.py')!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m)\n"
        "root = pathlib.Path(sys.argv[1]); log = root / 'log'; log.touch()\n"
        "def die():\n"
        "    while not (root / 'pid').exists(): time.sleep(0.01)\n"
        "    os._exit(9)\n"
        "threading.Thread(target=die).start()\n"
        "pip = ['sh', '-c', 'echo $$ > part && mv part pid && exec sleep 60']\n"
        "with m.locked(root) as lock: m.step(root, pip, log, lock)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(checkout)], check=False).returncode == 9
    with (checkout / ".venv.lock").open("w") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(int((checkout / "pid").read_text()), signal.SIGKILL)
        fcntl.flock(file, fcntl.LOCK_EX)  # free as soon as the orphan is gone


def test_empty_follows_a_linked_venv_and_no_link_inside(tmp_path):
    disk, outside = tmp_path / "disk", tmp_path / "outside"
    (disk / "lib").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").touch()
    (disk / "link").symlink_to(outside)
    (tmp_path / ".venv").symlink_to(disk)
    make_venv.empty(tmp_path / ".venv")
    assert (tmp_path / ".venv").is_symlink()
    assert list(disk.iterdir()) == []
    assert (outside / "kept").exists()


# --- finding a Python ---------------------------------------------------------------------


def fake_python(folder: Path, name: str, version: tuple[int, int, int]) -> Path:
    """A command that answers the two probes of find_python.sh as that version would."""
    file = folder / name
    passed = "0" if version >= (3, 11) else "1"
    dotted = ".".join(map(str, version))
    file.write_text(f'#!/bin/sh\ncase "$2" in *exit*) exit {passed};; esac\necho {dotted}\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def find_python(folder: Path, **extra: str) -> tuple[int, str]:
    """Exit code and answer with nothing but `folder` on the PATH."""
    command = [shutil.which("sh"), str(ROOT / "tools/find_python.sh")]
    environment = {"PATH": str(folder), **extra}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_an_old_python3_is_passed_over_for_a_newer_name(tmp_path):
    fake_python(tmp_path, "python3", (3, 9, 2))
    fake_python(tmp_path, "python3.12", (3, 12, 1))
    assert find_python(tmp_path) == (0, "python3.12")
    fake_python(tmp_path, "python3", (3, 11, 0))
    assert find_python(tmp_path) == (0, "python3")


def test_python_too_old_missing_or_misnamed_is_one_sentence(tmp_path):
    code, answer = find_python(tmp_path)
    assert code == 1
    assert "needs Python 3.11 or newer, and none was found" in answer
    old = fake_python(tmp_path, "python3", (3, 9, 2))
    code, answer = find_python(tmp_path)
    assert code == 1
    assert "needs Python 3.11 or newer, but python3 is Python 3.9.2: install one" in answer
    assert "\n" not in answer
    fake_python(tmp_path, "python3.12", (3, 12, 1))
    assert find_python(tmp_path, PYTHON=str(old))[0] == 1
    assert "does not run" in find_python(tmp_path, PYTHON="/nowhere/python3")[1]

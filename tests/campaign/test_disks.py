"""Disks with room for a part of what is written: one sentence, nothing half; with room, all goes on."""

import ctypes
import re
import resource
import signal
import subprocess
from pathlib import Path

import processes
import test_kills
from tries import drawn, every_try, files_below, one_sentence, temporary

KINDS = ("trial", "taught", "checkpoint", "teacher", "new_record", "cached", "several")


def mounted(folder: str) -> bool:
    """Put a disk of its own at a folder, for this process alone; whether that may be done here."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(0x20000):  # CLONE_NEWNS
        return False
    disk = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder]
    commands = (["mount", "--make-rprivate", "/"], disk)
    return all(
        subprocess.run(c, capture_output=True, check=False).returncode == 0 for c in commands
    )


def on_a_small_disk(kind: str, folder: str, kilobytes: int) -> tuple:
    """What a process says on a small disk, what it leaves there, and what it finds with more room."""
    tmpfs = mounted(folder)
    if not tmpfs:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    test_kills.prepare(kind, Path(folder))  # before there is too little room
    before = files_below(Path(folder))
    if tmpfs:
        used = sum(-(-len(content) // 4096) * 4 for content in before.values())
        subprocess.run(
            ["mount", "-o", f"remount,size={used + kilobytes or 4}k", folder], check=True
        )
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, resource.RLIM_INFINITY))
    said = ""
    try:
        getattr(test_kills, kind)(folder)
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error) or type(error).__name__
    after = files_below(Path(folder))
    if tmpfs:
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    found = getattr(test_kills, kind)(folder)
    return said, before, after, found, temporary(Path(folder))


@every_try("disks")
def test_a_full_disk_is_one_sentence_and_room_mends_it(number, tmp_path, undisturbed_folder):
    draw = drawn("disks", number)
    kind = KINDS[number % len(KINDS)]
    _, expected, _ = test_kills.undisturbed(kind, undisturbed_folder)
    kilobytes = draw.choice((0, 1, 2, 4, 8, 12, 16, 24, 32, 64))
    folder = tmp_path / "runs"
    folder.mkdir()
    code, value = processes.start(
        "test_disks:on_a_small_disk", kind, str(folder), kilobytes, KDNB_RUNS=str(folder),
        KDNB_TEST_TRACE=f"{folder}.trace",
    ).wait()  # fmt: skip
    where = f"{kind} with {kilobytes} kB"
    assert code == 0, f"{where}: {value}"
    said, before, after, found, left = value
    if said:
        assert re.search(
            "cannot be written: .*(disk|quota|limit|large).*name", one_sentence(said)
        ), said
    assert before.keys() <= after.keys(), where  # nothing that was there is lost
    if kind == "new_record" and said:
        assert before == {name: after[name] for name in before}, where
    assert found == expected, where
    assert left == [], where

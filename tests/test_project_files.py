"""The files that describe the project: the lock, citation, licence, and what must not be there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()

# --- the lock -----------------------------------------------------------------------------


def locked() -> list[tuple[Requirement, list[str]]]:
    """The lock's entries with their hashes; fails at a line that is no part of an entry."""
    entries = []
    for line in LOCK.replace("\\\n", "").splitlines():
        text = line.split(" #")[0].strip()
        if text and not text.startswith("#"):
            name, *hashes = re.split(r"\s+--hash=", text)
            entries.append((Requirement(name), hashes))
    return entries


def test_lock_pins_one_version_and_hashes_it():
    assert len(locked()) > 100
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[\w.!+]+", str(requirement.specifier)), requirement
        assert requirement.url is None, requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


def test_lock_says_how_to_refresh_it_and_names_no_host_or_path():
    header = "".join(line for line in LOCK.splitlines(keepends=True)[:2])
    assert (
        "uv pip compile pyproject.toml --extra test --extra docs --generate-hashes --universal"
        in header
    )
    assert "-o requirements.lock" in header
    makefile = (ROOT / "Makefile").read_text().replace("\\\n\t\t", "")
    assert header.split("#    ")[1].strip() in makefile
    assert not re.search(r"://|^\s*-|(?<![\w.])/\w", re.sub(r"--hash=\S+", "", LOCK), re.MULTILINE)


@pytest.mark.parametrize(
    "text",
    PYPROJECT["project"]["dependencies"]
    + PYPROJECT["project"]["optional-dependencies"]["cluster"]
    + PYPROJECT["project"]["optional-dependencies"]["games"]
    + [
        text
        for text in PYPROJECT["project"]["optional-dependencies"]["test"]
        if text != "kdnb[cluster,games]"
    ]
    + PYPROJECT["project"]["optional-dependencies"]["docs"]
    + PYPROJECT["build-system"]["requires"],
)
def test_every_requirement_is_in_the_lock(text):
    wanted = Requirement(text)
    name = canonicalize_name(wanted.name)
    found = [entry for entry, _ in locked() if canonicalize_name(entry.name) == name]
    assert found, f"{name} is not in requirements.lock: call make lock"
    for entry in found:
        version = str(entry.specifier).removeprefix("==")
        assert wanted.specifier.contains(version), f"{name}: {version} is not {wanted.specifier}"
    for python in ("3.11.0", "3.12.1", "3.13.2", "3.14.0"):
        here = {"python_full_version": python, "python_version": python.rsplit(".", 1)[0]}
        usable = [entry for entry in found if not entry.marker or entry.marker.evaluate(here)]
        assert len(usable) == 1, f"{name}: {len(usable)} entries for Python {python}"


SYSTEMS = {  # docs/systems.md says what was tried on each
    "linux": {"platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "darwin": {"platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "win32": {"platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_holds_one_of_each_package_on_every_system(system, python):
    here = {"sys_platform": system, "python_version": python, "python_full_version": f"{python}.1"}
    here |= SYSTEMS[system]
    usable = [entry for entry, _ in locked() if not entry.marker or entry.marker.evaluate(here)]
    names = [canonicalize_name(entry.name) for entry in usable]
    assert len(set(names)) == len(names)
    wanted = {canonicalize_name(Requirement(t).name) for t in PYPROJECT["project"]["dependencies"]}
    assert wanted <= set(names)
    gpu = [name for name in names if name.startswith("nvidia-") or name == "triton"]
    assert bool(gpu) == (system == "linux")


# --- the files that describe the project --------------------------------------------------


def test_environment_is_a_door_onto_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "kdnb"
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["--require-hashes", "-r requirements.lock"]
    python = next(e for e in environment["dependencies"] if str(e).startswith("python>"))
    conda, ours = (
        SpecifierSet(text) for text in (python[6:], PYPROJECT["project"]["requires-python"])
    )
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
        assert conda.contains(version) == ours.contains(version), version


def test_citation_agrees_with_pyproject():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = PYPROJECT["project"]
    assert citation["cff-version"] == "1.2.0"
    assert Version(citation["version"]) == Version(project["version"])
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert citation["references"][0]["doi"] == "10.1007/s11263-021-01453-z"


def test_license_is_apache_2_verbatim():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_ci_runs_make_test():
    run = ROOT / ".ci/run"
    assert os.access(run, os.X_OK)
    lines = run.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1] == "exec make test"


# --- what must not be committed -----------------------------------------------------------

REGISTRIES = [("pypi", "org"), ("files.pythonhosted", "org"), ("registry.npmjs", "org")]
REGISTRIES += [("deb.debian", "org")]
# Folders of a person or of one machine where they begin a path: not in a URL, nor in base64.
FOLDERS = "home|Users|root|work|tmp"
FORBIDDEN = re.compile(
    "|".join(re.escape(f"{name}.{top}") for name, top in REGISTRIES)
    + rf"|(?:(?<![\w./~+}}%*])|file://)/(?:{FOLDERS})/(?=[\w.-])"
)


def written_files() -> list[str]:
    """The files that git holds or would add; skips where there is no git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        top = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--show-toplevel"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    if Path(top.stdout.strip()).resolve() != ROOT:
        pytest.skip("not the top of a git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_pattern_finds_what_it_should():
    path = "/" + "home/ada/kdnb"
    for text in (path, f'"{path}"', f"x={path}", f"host:{path}", f"file://{path}", "pypi" + ".org"):
        assert FORBIDDEN.search(text), text
    for text in ("https://a.org" + path, "data/tmp/x", "and/or /work", "~" + path, "pypi"):
        assert not FORBIDDEN.search(text), text


def test_no_file_names_a_machine_path_or_a_registry():
    leaks = []
    for name in written_files():
        content = (ROOT / name).read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if found := FORBIDDEN.search(line):
                leaks.append(f"{name}:{number}: {found.group()}")
    assert not leaks, "\n".join(leaks)


def test_nothing_that_a_set_up_makes_would_be_committed():
    made = (".venv/", ".venv.lock", "runs/", "data/cache/", "kdnb.egg-info/")
    assert [name for name in written_files() if name.startswith(made)] == []


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", ".venv/bin/kdnb run"),
        ("regenerate", ".venv/bin/kdnb run --in-place"),
        ("board", '.venv/bin/tensorboard --logdir "${KDNB_RUNS:-runs}"'),
    ],
)
def test_make_runs_watches_and_regenerates(target, command):
    # MAKEFLAGS and MAKELEVEL of a `make test` around this one would add lines of their own.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    asked = subprocess.run(
        ["make", "--dry-run", target],
        capture_output=True, text=True, cwd=ROOT, check=True, env=alone,
    )  # fmt: skip
    assert asked.stdout.splitlines()[-1] == command


def test_what_scaling_estimates_from_is_in_the_records():
    """Trials, hours and the longest trial of all `laptop` records, as docs/scaling.md states them."""
    seconds, medians = {}, []
    for file in (ROOT / "papers").glob("*/results/laptop.json"):
        arms = json.loads(file.read_text(encoding="utf-8"))["arms"].values()
        taken = {one["trial"]: one["wall_s"] for arm in arms for one in arm.values()}
        seconds |= taken
        medians.append(statistics.median(taken.values()))
    hours = sum(seconds.values()) / 3600
    text = " ".join((ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split())
    for stated in (
        f"{len(seconds):,} distinct trials",
        f"{hours:.1f} hours",
        f"{max(seconds.values()):,.0f} s",
        f"{min(medians):.1f} to {max(medians):.0f} s",
    ):
        assert stated in text, stated

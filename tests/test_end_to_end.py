"""From the command to the result: a whole chapter, and runs that are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from kdnb import papers, paths
from kdnb.workbook import runner

TINY = {"train_images": 1000, "seeds": 1, "teacher_width": 64, "student_width": 32}
CHAPTER = {"labelled_images": 100, "seeds": 2, "epochs": 2}

SCRIPT = """
import json, sys
from kdnb.reproductions import hinton2015, reproduce
values = json.loads(sys.argv[1])
parameters = hinton2015.Parameters(**values)
record = reproduce(hinton2015.REPRODUCTION, parameters, profile="custom", arms=parameters.arms)
print(json.dumps({arm: seeds[0].metrics for arm, seeds in record.arms.items()}, sort_keys=True))
"""
VALUES = {**TINY, "teacher_epochs": 12, "student_epochs": 12, "arms": ["teacher", "distilled"]}


def start(folder):
    environment = {**os.environ, "KDNB_RUNS": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(VALUES)],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def results(folder):
    return {f.parent.name: f.stat().st_mtime_ns for f in folder.glob("trials/*/result.json")}


def test_a_run_killed_again_and_again_gives_the_undisturbed_results(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    expected = start(undisturbed).communicate(timeout=200)[0]
    random.seed(1)
    finished = {}
    for _ in range(3):
        process = start(killed)
        deadline = time.time() + 60
        # The import is slow: the moment is drawn from the time in which there is work.
        seen = sum(f.stat().st_mtime for f in killed.glob("trials/*/checkpoint"))
        while time.time() < deadline and process.poll() is None:
            if sum(f.stat().st_mtime for f in killed.glob("trials/*/checkpoint")) != seen:
                break
            time.sleep(0.002)
        time.sleep(random.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert finished.items() <= results(killed).items()
        finished = results(killed)
    assert start(killed).communicate(timeout=200)[0] == expected
    assert finished.items() <= results(killed).items()
    assert set(json.loads(expected)) == {"teacher", "distilled"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`kdnb run 2-1` with everything small, in a folder of its own."""
    folder = tmp_path_factory.mktemp("runs")
    command = [str(Path(sys.executable).parent / "kdnb"), "run", "2-1"]
    for name, value in CHAPTER.items():
        command += ["--set", f"{name}={value}"]
    before = {f: f.stat().st_mtime_ns for f in (paths.root() / "figures").glob("*.png")}
    environment = {**os.environ, "KDNB_RUNS": str(folder), "COLUMNS": "160"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    after = {f: f.stat().st_mtime_ns for f in (paths.root() / "figures").glob("*.png")}
    return done, folder / "2-1-response-based-knowledge" / "custom", before == after


def test_a_chapter_runs_with_a_readers_parameters(run):
    done, folder, _ = run
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2-1-response-based-knowledge" in done.stdout
    about = json.loads((folder / "run.json").read_text())
    assert about["outcome"] == "ok"
    assert about["parameters"] == {**runner.chapter("2-1").defaults, **CHAPTER}
    words = {f"{key}/{v.claim.id}": v.word for key in ("hinton2015", "muller2019")
             for v in papers.verdicts(key, "laptop")}  # fmt: skip
    assert about["verdicts"] == {"laptop": words}


def test_a_readers_run_keeps_its_figures_to_itself(run):
    _, folder, untouched = run
    names = {path.name for path in (folder / "figures").glob("*.png")}
    assert {"2-1-scheme.png", "2-1-dark-knowledge.png", "2-1-recorded.png"} <= names
    assert untouched


def test_every_figure_has_a_text_for_who_cannot_see_it(run):
    _, folder, _ = run
    notebook = nbformat.read(folder / "2-1-response-based-knowledge.ipynb", as_version=4)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 8
    assert all(len(picture.metadata["image/png"]["alt"]) > 40 for picture in pictures)

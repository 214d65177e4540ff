"""Several processes on one runs folder, some killed: each run is made once, and all find the same."""

import signal
import time
from collections import Counter
from pathlib import Path

import processes
import pytest
import tiny_runs
from tries import drawn, every_try, files_below, temporary

from kdnb import paths
from kdnb.runs import trials
from kdnb.runs.pruning import prune


def start(folder: Path, wanted) -> processes.Child:
    return processes.start(
        "tiny_runs:run_all", *(one.describe() for one in wanted), KDNB_RUNS=str(folder),
        KDNB_TEST_TRACE=f"{folder}.trace",
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(undisturbed_folder):
    """What one process finds that is alone: by digest."""
    code, found = start(undisturbed_folder / "one", tiny_runs.everything(0, 1)).wait()
    assert code == 0, found
    return {one[0]: one for one in found}


@every_try("concurrent")
def test_processes_share_a_folder(number, tmp_path, monkeypatch, alone):
    draw = drawn("concurrent", number)
    folder = tmp_path / "runs"
    monkeypatch.setenv("KDNB_RUNS", str(folder))
    everything = tiny_runs.everything(0, 1)
    asked = []
    for _ in range(draw.choice((2, 3, 4))):
        asked.append(draw.sample(everything, draw.randint(2, len(everything))))
    together = [(start(folder, wanted), wanted) for wanted in asked]
    kills = draw.choice((0, 0, 1, 2)) if number % 2 else 0
    killed = together[:kills]
    time.sleep(draw.random() * 0.3)
    for child, _ in killed:
        child.kill(draw.choice((signal.SIGKILL, signal.SIGTERM)))
    if number % 3 == 0:  # what runs stays, and so does what is finished
        finished = {digest for digest, _, done in trials.stored() if done}
        assert "removed" in prune()
        assert finished <= {digest for digest, _, done in trials.stored() if done}
    for child, wanted in together:
        code, found = child.wait()
        if (child, wanted) in killed:
            assert code in (0, -signal.SIGKILL, -signal.SIGTERM), found
        else:
            assert code == 0, found
            assert found == [alone[one.digest] for one in wanted]
    trace = Path(f"{folder}.trace")
    often = Counter(x.split()[0] for x in trace.read_text().splitlines()) if trace.exists() else {}
    assert set(often.values()) <= set(range(1, 2 + kills)), f"a run was made too often: {often}"
    assert kills or often
    code, found = start(folder, everything).wait()
    assert code == 0, found
    assert found == [alone[one.digest] for one in everything]
    prune()
    assert temporary(folder) == []
    kept = {Path(name).name for name in files_below(paths.runs() / "trials")}
    assert kept == {"trial.json", "result.json", "tensors.safetensors"}

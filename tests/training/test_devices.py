"""One trial over several processes: the numbers of one, and one clear word when it fails."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
import trial_functions  # noqa: F401 - registers what runs may name here

from kdnb import nets
from kdnb.methods.wiring import Plain
from kdnb.nets import features
from kdnb.runs import trials
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Trial
from kdnb.training import devices
from kdnb.training.devices import gains_from_bf16

SETTING = {
    "data": data_spec("mnist", limit=240, evaluated=100),
    "recipe": {"epochs": 2, "batch_size": 48, "lr": 0.05, "schedule": "constant",
               "precision": "32", "crop_padding": 2},
}  # fmt: skip
TEACHER = Trial("supervised", {**SETTING, "network": {"name": "lenet5"}}, 0)
STUDENT = Trial(
    "distilled",
    {**SETTING, "network": {"name": "lenet5_half_dafl"}, "teacher": TEACHER,
     "loss": {"name": "soft_targets", "temperature": 4.0}, "hard_weight": 0.5},
    0,
)  # fmt: skip


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setenv("KDNB_DEVICES", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)


def result(monkeypatch, folder):
    monkeypatch.setenv("KDNB_RUNS", str(folder))
    return trials.run(STUDENT)


def test_a_trial_on_two_devices_equals_the_one_on_one(monkeypatch, tmp_path, request):
    alone = result(monkeypatch, tmp_path / "one")
    request.getfixturevalue("two")
    shared = result(monkeypatch, tmp_path / "two")
    assert alone.digest == shared.digest and alone.folder != shared.folder
    one, other = alone.tensors(), shared.tensors()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
    assert shared.metrics["test_cross_entropy"] == pytest.approx(
        alone.metrics["test_cross_entropy"], rel=1e-3
    )
    for name in ("soft", "hard"):
        assert shared.series[name] == pytest.approx(alone.series[name], rel=1e-3)
    assert not torch.distributed.is_initialized()


def test_a_companion_that_fails_is_reported(monkeypatch, tmp_path, two):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    trial = Trial("fails_beside", {}, 0)
    with pytest.raises(RuntimeError, match=f"(?s)a companion of trial {trial.digest} failed: .*no"):
        trials.run(trial)
    assert not trials.is_finished(trial.digest)


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        ("meets_nobody", {}, "ValueError: no room"),
        ("meets_nobody", {"signal": 9}, "it was ended by signal 9."),
        ("leaves_early", {}, "ValueError: no room"),
    ],
)
def test_a_companion_that_ends_is_not_waited_for(
    monkeypatch, tmp_path, two, function, arguments, said
):
    """Torch waits half an hour for whoever does not come, and does not know why another has gone."""
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    trial, started = Trial(function, arguments, 0), time.monotonic()
    with pytest.raises(RuntimeError) as failure:
        trials.run(trial)
    assert str(failure.value) == f"a companion of trial {trial.digest} failed: {said}"
    assert time.monotonic() - started < 120
    assert not torch.distributed.is_initialized() and "LOCAL_RANK" not in os.environ


def test_more_devices_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"asks for 2, but this machine has 1 GPU"):
        devices.span(2)


def test_compiled_networks_take_the_same_steps(monkeypatch, tmp_path):
    if not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler on the CPU, and g++ is not installed")
    monkeypatch.setenv("KDNB_COMPILE", "0")
    plain = result(monkeypatch, tmp_path / "plain")
    devices.start_compiling()
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    compiled = result(monkeypatch, tmp_path / "compiled")
    assert counters["stats"]["unique_graphs"] > 0
    for name, value in plain.tensors().items():
        torch.testing.assert_close(compiled.tensors()[name], value, rtol=1e-3, atol=1e-4)
    graphs = counters["stats"]["unique_graphs"]
    trials.run(
        replace(STUDENT, seed=1)
    )  # other weights of the same shapes: nothing is compiled anew
    assert counters["stats"]["unique_graphs"] == graphs
    assert compiled.provenance["hardware"]["compiled"] == "torch.compile"
    assert "compiled" not in plain.provenance["hardware"]
    names = {True: "bfloat16", False: "float32"}
    assert plain.provenance["hardware"]["arithmetic"] == names[gains_from_bf16()]


def test_a_network_that_is_watched_is_not_compiled(monkeypatch):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert devices.compiled(network, trained=True) is network
    monkeypatch.setenv("KDNB_COMPILE", "1")
    with features(network, ["0"]):
        assert devices.compiled(network, trained=True) is network
    assert devices.compiled(network, trained=True) is not network


def test_a_loss_is_not_compiled(monkeypatch):
    """Losses check the numbers that they get, and each look would break the compiled graph."""
    monkeypatch.setenv("KDNB_COMPILE", "1")
    term = Plain(lambda student, teacher, batch: student.logits.sum())
    assert devices.compiled(term, trained=True) is term


def test_a_compiled_teacher_that_stays_the_same_gives_the_same_answers(monkeypatch):
    if not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler on the CPU, and g++ is not installed")
    monkeypatch.setenv("KDNB_COMPILE", "1")
    images = torch.randn(8, 3, 32, 32)
    for _ in range(2):  # another of the same architecture keeps its own weights
        network = nets.build("resnet8", in_channels=3, image_size=32).eval().requires_grad_(False)
        quick = devices.compiled(network, trained=False, constant=True)
        with torch.no_grad():
            torch.testing.assert_close(quick(images), network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("gpu", [True, False])
def test_only_trained_networks_become_cuda_graphs(monkeypatch, gpu):
    modes = []
    monkeypatch.setenv("KDNB_COMPILE", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch, "compile", lambda network, mode, dynamic: modes.append(mode))
    for trained in (True, False):
        devices.compiled(torch.nn.Linear(2, 2), trained=trained)
    assert modes == ["reduce-overhead" if gpu else None, None]


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="install no-such-compiler, or name one in CXX"):
        devices.start_compiling()
    assert not devices.compiles()


def _gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_companions_meet_on_the_loopback_and_end_with_their_parent(monkeypatch, tmp_path, two):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    code = (
        "import trial_functions; from kdnb.runs import trials;"
        "trials.run(trials.Trial('waits_together', {}, 0))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.time() + 300
    trace = tmp_path / "trace"
    while time.time() < deadline and not (trace.exists() and trace.read_text().count("met") == 2):
        time.sleep(0.1)
    words = trace.read_text().split()
    (companion,) = {int(pid) for name, pid in zip(words[::2], words[1::2], strict=True)
                    if name == "met"} - {process.pid}  # fmt: skip
    for pid in (process.pid, companion):
        listening = [
            connection.laddr.ip for connection in psutil.Process(pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]  # fmt: skip
        assert set(listening) <= {"127.0.0.1", "::1"}
    process.kill()
    process.wait()
    deadline = time.time() + 30
    while not _gone(companion) and time.time() < deadline:
        time.sleep(0.1)
    assert _gone(companion)

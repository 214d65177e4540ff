"""What is kept of a run: damage of any byte is seen, reading errors are no damage."""

import errno
import os
from pathlib import Path

import pytest
import torch
from killed_runs import QUICK, Killed, killed_after
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb.data import LoaderBatches
from kdnb.training import Update, fit
from kdnb.training.checkpoint import AnotherRun, Damaged, Foreign, sealed, unsealed

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3).bfloat16(), "c": torch.zeros(0)}
WORDS = {"identity": "{}", "history": '[{"hard": 0.25}]'}
RECIPE = QUICK.model_copy(update={"momentum": 0.9})


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def batches():
    stream = torch.Generator().manual_seed(0)
    return LoaderBatches(
        [(torch.randn(8, 4, generator=stream), torch.arange(8) % 3) for _ in range(3)]
    )


def hard(networks, batch):
    return {"hard": F.cross_entropy(networks["net"](batch.images), batch.labels)}


def run(file, losses=hard, **more):
    net = network()
    history = fit(
        {"net": net}, batches(), Update(("net",), losses), RECIPE, checkpoint=file, **more
    )
    return torch.cat([p.detach().flatten() for p in net.parameters()]), history


def test_what_is_sealed_comes_back():
    tensors, words = unsealed(sealed(TENSORS, WORDS))
    assert words == WORDS and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_every_flipped_bit_and_every_cut_is_seen():
    whole = sealed(TENSORS, WORDS)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        try:
            tensors, words = unsealed(bytes(changed))
        except Damaged:
            continue
        # A blank of the padding, or a name of a type that means the same.
        assert words == WORDS and all(torch.equal(tensors[k], v) for k, v in TENSORS.items())
    for size in range(0, len(whole), 7):
        with pytest.raises(Damaged):
            unsealed(whole[:size])


def test_a_file_of_another_kind_is_known():
    import safetensors.torch

    for content in (b"my notes", b"PK\3\4\0\0\x08\x08 weights", safetensors.torch.save(TENSORS)):
        with pytest.raises(Foreign):
            unsealed(content)


@pytest.mark.parametrize("part", ["weights", "optimisers", "history", "tail", "nothing"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path, caplog, part):
    whole, history = run(tmp_path / "other")
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        run(file, evaluate=killed_after(1))
    content = file.read_bytes()
    marks = {"weights": -9, "history": content.index(b'"hard'), "optimisers": None}
    if part == "optimisers":  # another number in a momentum
        tensors, words = safetensors_of(content)
        name = next(name for name in tensors if name.startswith("optimiser"))
        tensors[name] = tensors[name] + 1
        import safetensors.torch

        content = safetensors.torch.save(tensors, words)
    elif part == "tail":
        content = content[:-100]
    elif part == "nothing":
        content = b""
    else:
        content = bytearray(content)
        content[marks[part]] ^= 1
    file.write_bytes(bytes(content))
    again, found = run(file)
    assert torch.equal(again, whole)
    assert [row["hard"] for row in found] == [row["hard"] for row in history]
    (line,) = [r.getMessage() for r in caplog.records if "checkpoint" in r.getMessage()]
    assert f"the checkpoint {file} is damaged" in line and "\n" not in line


def safetensors_of(content):
    import json

    import safetensors.torch

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return safetensors.torch.load(content), header["__metadata__"]


@pytest.mark.parametrize("error", [MemoryError(), *(OSError(n, "no") for n in (
    errno.EIO, errno.EACCES, errno.EMFILE, errno.ESTALE))])  # fmt: skip
def test_a_reading_error_is_no_damage(tmp_path, monkeypatch, error):
    file = tmp_path / "checkpoint"
    run(file)
    content = file.read_bytes()

    def fail(self):
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(type(error)) as caught:
        run(file)
    monkeypatch.undo()
    assert caught.value is error and file.read_bytes() == content


@pytest.mark.parametrize("content", [b"my notes\n", b"PK\3\4\0\0\x08\x08 weights"])
def test_a_file_of_somebody_else_is_not_overwritten(tmp_path, content):
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(AnotherRun, match=f"{file} is no checkpoint .*: delete it or name another"):
        run(file, evaluate=lambda networks: pytest.fail("it was trained"))
    assert file.read_bytes() == content


def test_a_run_without_a_name_is_known_by_its_losses(tmp_path):
    def weighted(weight):
        return lambda networks, batch: {"hard": weight * hard(networks, batch)["hard"]}

    run(tmp_path / "checkpoint", weighted(1.0))
    assert len(run(tmp_path / "checkpoint", weighted(1.0))[1]) == 3
    with pytest.raises(AnotherRun, match="losses differ"):
        run(tmp_path / "checkpoint", weighted(2.0))


def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written: a file stands where a folder is needed"):
        run(tmp_path / "file" / "checkpoint", evaluate=lambda networks: pytest.fail("trained"))


def trained(file, epochs=2, seed=0, **more):
    torch.manual_seed(seed)
    net = nn.Linear(4, 3)
    torch.manual_seed(0)
    data = torch.randn(12, 4), torch.arange(12) % 3
    fitted = kdnb.train(net, data, epochs=epochs, lr=0.05, checkpoint=file, **more)
    return net.weight.detach().clone(), fitted


def test_a_checkpoint_is_named_by_a_path_or_a_string(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, fitted = trained("run.pt", log_dir="logs")
    again, resumed = trained(str(tmp_path / "run.pt"))
    assert torch.equal(first, again) and resumed.history.equals(fitted.history)
    assert (tmp_path / "run.pt").exists() and any((tmp_path / "logs").iterdir())
    data = torch.randn(12, 4), torch.arange(12) % 3
    kdnb.mutual([nn.Linear(4, 3), nn.Linear(4, 3)], data, epochs=1, checkpoint="peers")
    kdnb.born_again(lambda: nn.Linear(4, 3), data, epochs=1, generations=1, checkpoint="ban.pt")
    assert {"peers", "ban.pt.0", "ban.pt.1"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("wrong", [3, "", True, b"run.pt"])
def test_what_is_no_path_is_no_checkpoint(wrong):
    with pytest.raises(TypeError, match="checkpoint is the path of a file; got "):
        trained(wrong)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} is a folder: name a file in it"):
        trained(tmp_path)


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_never_ends_is_no_checkpoint(tmp_path, kind):
    path = "/dev/zero" if kind == "device" else tmp_path / "pipe"
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has neither")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ValueError, match="is a device or a pipe: name another"):
        trained(path)


def test_a_refused_checkpoint_says_how_to_go_on(tmp_path):
    file = tmp_path / "run"
    trained(file)
    with pytest.raises(AnotherRun, match=r"\(weights differ\): .* torch.manual_seed with the same"):
        trained(file, seed=1)
    with pytest.raises(AnotherRun, match=r"epochs 2 there and 3 here\): its schedule ends there"):
        trained(file, epochs=3)
    with pytest.raises(AnotherRun, match=r"weight_decay 0.0 there and 0.1 here\): give the recipe"):
        trained(file, weight_decay=0.1)
    trained(file)  # none of them has touched it
    with pytest.raises(AnotherRun, match=r"\(method differ\): name another file"):
        trained(file, label_smoothing=0.1)

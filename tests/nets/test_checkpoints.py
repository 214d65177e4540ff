"""Trained networks: each is what its card says, and nothing else is taken for it."""

import shutil

import pytest
import torch

from kdnb import data, nets
from kdnb.nets import checkpoints
from kdnb.training.inputs import logits_on

ALL = nets.pretrained_names()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The checkpoints of MNIST in a folder that may be spoilt."""
    shutil.copytree(checkpoints.folder() / "mnist", tmp_path / "mnist")
    monkeypatch.setattr(checkpoints, "folder", lambda: tmp_path)
    return tmp_path / "mnist"


def test_there_are_teachers_for_digits_clothes_and_objects():
    digits = {("mlp", "mnist"), ("lenet5", "mnist"), ("lenet5", "fashion_mnist")}
    objects = {
        ("resnet20", "cifar10"),
        ("wrn-16-2", "cifar10"),
        ("vgg8", "cifar10"),
        ("resnet20", "cifar100"),
    }
    assert digits | objects <= set(ALL)


@pytest.mark.parametrize(("name", "dataset"), ALL)
def test_it_errs_on_the_test_set_as_its_card_says(name, dataset):
    try:
        source = data.load(dataset)
    except data.DataError as error:
        pytest.skip(f"without {dataset}: {error}")
    network = nets.pretrained(name, dataset)
    card = network.card
    assert (card.data_sha256, card.split) == (source.card.sha256["train"], "train")
    assert card.train_images == len(source.train) and card.test_images == len(source.test)
    wrong = int((logits_on(network, source.test, source).argmax(1) != source.test.labels).sum())
    assert abs(wrong - card.test_errors) <= 2  # a tie may be broken otherwise on another CPU
    assert not network.training
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_the_teacher_of_cifar_is_trained_out():
    assert checkpoints.card_of("resnet20", "cifar10").test_error <= 0.09


def test_all_together_fit_into_a_clone():
    files = [path for path in checkpoints.folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert {path.suffix for path in files} == {".toml", ".safetensors"}


def test_random_numbers_of_the_caller_stay():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    nets.pretrained("lenet5", "mnist")
    assert torch.equal(torch.rand(1), expected)


def test_an_unknown_one_gets_the_nearest():
    with pytest.raises(nets.CheckpointError, match="no trained lenet on mnist .*lenet5 on mnist"):
        nets.pretrained("lenet", "mnist")


def test_a_damaged_file_is_refused(copy):
    weights = copy / "lenet5.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(nets.CheckpointError, match=r"lenet5.safetensors is damaged or missing"):
        nets.pretrained("lenet5", "mnist")
    weights.unlink()
    with pytest.raises(nets.CheckpointError, match=r"lenet5.safetensors is damaged or missing"):
        nets.pretrained("lenet5", "mnist")
    card = copy / "mlp.toml"
    card.write_text(card.read_text().replace("test_errors", "testerrors"))
    with pytest.raises(nets.CheckpointError, match=r"mlp.toml is damaged"):
        nets.pretrained("mlp", "mnist")


def test_half_precision_is_for_matrices_alone():
    network = nets.build("resnet8", num_classes=10, in_channels=3, image_size=32)
    kept = checkpoints.stored(network)
    assert kept.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        half = value.is_floating_point() and value.ndim > 1
        assert kept[name].dtype == (torch.float16 if half else value.dtype)

"""A few random pictures in place of CIFAR-10, for the tests of TAKD and of Cho's paper."""

import pytest
import torch

from kdnb import data as datasets
from kdnb.data import ImageData, Images


def sizes(trial):
    """The layers of the networks of a chain, the first teacher's first."""
    own = (int(trial.arguments["network"]["name"].removeprefix("plain")),)
    teacher = trial.arguments.get("teacher")
    return sizes(teacher) + own if teacher else own


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Random images in place of every data set."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    train = drawn(64)
    source = ImageData(
        name="cifar10", card=datasets.card("cifar10"), train_all=train, train=train,
        validation=drawn(8), test=drawn(30), classes=tuple("0123456789"),
        mean=(0.5,) * 3, sd=(0.25,) * 3,
    )  # fmt: skip
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)

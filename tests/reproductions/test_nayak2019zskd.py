"""ZSKD's arms: what they share, what alone differs, that no training image is seen; one epoch."""

from dataclasses import replace

import pytest
import torch
from data_free_workshop import Forbidden

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.reproductions import chen2019dafl, nayak2019zskd, reproduce
from kdnb.reproductions import chen2019dafl as dafl
from kdnb.runs import trials
from kdnb.runs.functions.banks import bank_in

ARMS = nayak2019zskd.arms(chen2019dafl.PROFILES["laptop"])
BANKED = ("noise", "class_impressions", "data_impressions")
DESCRIPTIONS = {name: arm(3).arguments for name, arm in ARMS.items()}
BANKS = {name: DESCRIPTIONS[name]["bank"] for name in BANKED}


def test_the_teacher_is_dafls():
    theirs = dafl.arms(dafl.PROFILES["laptop"])["teacher"](3)
    assert ARMS["teacher"](3).digest == theirs.digest
    for name in ("distilled", *BANKED):
        assert DESCRIPTIONS[name]["teacher"].digest == theirs.digest
        assert DESCRIPTIONS[name]["network"] == nayak2019zskd.STUDENT != dafl.STUDENT


def test_students_of_banks_differ_in_their_banks_alone():
    for name in BANKED:
        rest = {key: value for key, value in DESCRIPTIONS[name].items() if key != "bank"}
        assert rest == {k: v for k, v in DESCRIPTIONS["data_impressions"].items() if k != "bank"}
        assert BANKS[name].seed == ARMS[name](3).seed == 3
    assert len({bank.digest for bank in BANKS.values()}) == len(BANKED)
    ours, classes = BANKS["data_impressions"].arguments, BANKS["class_impressions"].arguments
    assert {key for key in ours if ours[key] != classes[key]} == {"one_hot"}
    assert classes["one_hot"] and not ours["one_hot"]


@pytest.mark.parametrize("profile", ["quick", "laptop", "full"])
def test_all_banks_have_as_many_images_and_one_temperature(profile):
    p = chen2019dafl.PROFILES[profile]
    arms = {name: arm(0).arguments for name, arm in nayak2019zskd.arms(p).items()}
    ours = arms["data_impressions"]["bank"].arguments
    assert ours["per_class"] * 10 * len(ours["scales"]) == p.bank_images
    assert arms["noise"]["bank"].arguments["images"] == p.bank_images
    temperatures = {arms[name]["temperature"] for name in BANKED} | {ours["temperature"]}
    assert temperatures | {arms["distilled"]["loss"]["temperature"]} == {20.0}
    assert ours["iterations"] * ours["lr"] == pytest.approx(nayak2019zskd.REACH)


def test_the_full_bank_is_the_published_one():
    ours = (
        nayak2019zskd.arms(chen2019dafl.PROFILES["full"])["data_impressions"](0)
        .arguments["bank"]
        .arguments
    )
    assert (ours["per_class"] * 20, ours["iterations"], ours["scales"]) == (24000, 1500, [1.0, 0.1])


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Random images in place of MNIST."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    train = drawn(64)
    source = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=train, train=train,
        validation=drawn(8), test=drawn(30), classes=tuple("0123456789"), mean=(0.25,), sd=(0.5,),
    )  # fmt: skip
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)
    return source


def small(**more):
    changed = {"epochs": 1, "seeds": 1, "train_images": 64, "test_images": 30, "bank_images": 20,
               "pixel_steps": 2, "bank_epochs": 1, **more}  # fmt: skip
    return chen2019dafl.PROFILES["full"].model_copy(update=changed)


def test_one_epoch_of_every_arm_of_the_full_profile(few):
    record = reproduce(nayak2019zskd.REPRODUCTION, small(), profile="custom")
    assert set(record.arms) == set(ARMS)
    assert all(0 <= arm[0].metrics["accuracy"] <= 100 for arm in record.arms.values())
    weights = {arm[0].trial: trials.read(arm[0].trial).tensors() for arm in record.arms.values()}
    heads = {tuple(found["network.head.bias"].tolist()) for found in weights.values()}
    assert len(heads) == len(ARMS)  # every arm trained a network of its own


def test_noise_is_where_impressions_begin(few):
    ours = nayak2019zskd.arms(small(pixel_steps=3))  # one step
    banks = {name: bank_in(trials.run(ours[name](1).arguments["bank"])) for name in BANKED}
    noise = banks["noise"].images
    assert noise.shape == (20, 1, 28, 28)
    assert -0.5 <= noise.min() < -0.45 and 1.45 < noise.max() <= 1.5  # black and white
    lr = ours["data_impressions"](1).arguments["bank"].arguments["lr"]
    for name in ("data_impressions", "class_impressions"):
        # Adam's first step moves every pixel by the rate, but for the bounds.
        moved = (banks[name].images - noise).abs()
        assert 0 < moved.max() <= lr * 1.001


def test_without_data_no_training_image_is_touched(few, monkeypatch):
    arms = nayak2019zskd.arms(small())
    trials.run(arms["teacher"](0))
    hidden = dict.fromkeys(("train_all", "train", "validation"), Forbidden())
    source = replace(few, **hidden)
    monkeypatch.setattr(datasets, "load", lambda name: source)
    for name in BANKED:
        assert trials.run(arms[name](0)).metrics["test_images"] == 30
    with pytest.raises(AssertionError, match="touched"):
        trials.run(arms["distilled"](0))

"""DeepInversion's arms: which term each adds, what they share; one epoch of the full profile."""

from functools import partial

import data_free_workshop as workshop
import pytest
import torch

from kdnb import data as datasets
from kdnb.reproductions import chen2019dafl, reproduce, yin2020deepinversion
from kdnb.runs import trials
from kdnb.runs.functions.banks import noise_trial

ARMS = yin2020deepinversion.arms(chen2019dafl.PROFILES["laptop"])
BANKED = ["noise", "deep_dream", "deep_inversion", "adaptive"]


def bank_of(arm, seed=3, profile="laptop"):
    return yin2020deepinversion.arms(chen2019dafl.PROFILES[profile])[arm](seed).arguments["bank"]


def test_students_of_a_bank_differ_in_the_bank_alone():
    shared = [{**ARMS[name](3).arguments, "bank": None} for name in BANKED]
    assert all(one == shared[0] for one in shared)
    assert shared[0]["teacher"].digest == ARMS["teacher"](3).digest
    assert len({bank_of(name).digest for name in BANKED}) == 4
    assert ARMS["distilled"](3).arguments["teacher"].digest == ARMS["teacher"](3).digest
    assert {ARMS[name](3).seed for name in ARMS} == {3}


def test_each_arm_adds_one_term():
    dream = bank_of("deep_dream").arguments
    first, second = bank_of("deep_inversion").arguments["banks"]
    assert first.arguments == second.arguments
    assert first.seed != second.seed  # other noise to begin with
    assert {**dream, "weights": None} == {
        **first.arguments, "weights": None, "images": 2 * first.arguments["images"]
    }  # fmt: skip
    assert first.arguments["weights"] == dream["weights"] | {"statistics": 10.0}

    same, against = bank_of("adaptive").arguments["banks"]
    assert same.digest == first.digest and against.seed == second.seed
    more = {"weights": first.arguments["weights"] | {"compete": 1.0}}
    student = against.arguments["student"]
    assert against.arguments == second.arguments | more | {"student": student}
    assert student.arguments["bank"].digest == first.digest


@pytest.mark.parametrize("profile", ["quick", "laptop", "full"])
def test_all_banks_have_as_many_images(profile):
    noise, dream = (bank_of(name, 0, profile).arguments for name in ("noise", "deep_dream"))
    parts = [
        [one.arguments["images"] for one in bank_of(name, 0, profile).arguments["banks"]]
        for name in ("deep_inversion", "adaptive")
    ]
    assert noise["images"] == dream["images"] == sum(parts[0]) == sum(parts[1])
    assert dream["images"] % dream["batch_size"] == parts[0][0] % dream["batch_size"] == 0
    assert dream["batch_size"] >= 25  # whose statistics are matched


@pytest.mark.parametrize(("profile", "kept"), [("laptop", None), ("full", "best")])
def test_the_record_holds_the_last_images_and_the_full_profile_the_best(profile, kept):
    banks = [bank_of("deep_dream", profile=profile)]
    for arm in ("deep_inversion", "adaptive"):
        banks += bank_of(arm, profile=profile).arguments["banks"]
    assert {bank.arguments.get("keep") for bank in banks} == {kept}


def test_networks_with_data_are_those_of_the_chapter():
    like = chen2019dafl.arms(chen2019dafl.PROFILES["laptop"])["student"](3)
    assert ARMS["student"](3).digest == like.digest
    full = yin2020deepinversion.arms(chen2019dafl.PROFILES["full"])
    assert full["teacher"](0).arguments["data"]["name"] == "cifar10"


def test_banks_are_made_without_training_images(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    teacher = workshop.teacher_trial(source, name="tiny")
    noise = partial(
        noise_trial, workshop.context(tmp_path), 3, data={"name": "mnist"}, teacher=teacher,
        images=6, image_size=28,
    )  # fmt: skip
    held = noise().tensors
    assert held["bank.images"].shape == (6, 1, 28, 28) and held["bank.logits"].shape == (6, 10)
    assert held["bank.images"].min() < -1.5 and 0.95 < held["bank.images"].std() < 1.05
    with pytest.raises(ValueError, match="kind must be .* got 'salt'"):
        noise(kind="salt")
    bank = workshop.FinishedTrial({}, held)
    merged = yin2020deepinversion.merged_trial(None, 3, data={"name": "mnist"}, banks=[bank, bank])
    assert merged.metrics == {"images": 12.0}
    assert torch.equal(merged.tensors["bank.images"], held["bank.images"].repeat(2, 1, 1, 1))
    assert torch.equal(merged.tensors["bank.logits"], held["bank.logits"].repeat(2, 1))


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Random images in place of CIFAR-10."""
    source = workshop.random_cifar()
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)


def test_one_epoch_of_every_arm_of_the_full_profile(few):
    small = {
        "seeds": 1, "train_images": 64, "test_images": 20, "bank_images": 20, "pixel_steps": 1,
        "bank_epochs": 1,
    }  # fmt: skip
    parameters = chen2019dafl.PROFILES["full"].model_copy(update=small)
    record = reproduce(yin2020deepinversion.REPRODUCTION, parameters, profile="custom")
    assert set(record.arms) == set(ARMS)
    assert all(0 <= arm[0].metrics["accuracy"] <= 100 for arm in record.arms.values())
    merged = yin2020deepinversion.arms(parameters)["adaptive"](0).arguments["bank"]
    assert trials.finished(merged).metrics["images"] == 20

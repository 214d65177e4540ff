"""ZSKT's arms: what they share, what alone differs; how beliefs are compared; one epoch."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from data_free_workshop import Forbidden

from kdnb import data as datasets
from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.methods.data_free import mean_transition_error
from kdnb.papers.quantities import parse
from kdnb.reproductions import chen2019dafl as dafl
from kdnb.reproductions import micaelli2019zskt as zskt
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.task import network_of

ARMS = zskt.arms(dafl.PROFILES["laptop"])
FULL = zskt.arms(dafl.PROFILES["full"])
TRIALS = {name: arm(3) for name, arm in {**ARMS, **FULL}.items()}
DESCRIPTIONS = {name: trial.arguments for name, trial in TRIALS.items()}
WITHOUT_DATA = ("noise", "zskt", "without_attention")


def test_networks_with_data_are_dafls_trials():
    theirs = dafl.arms(dafl.PROFILES["laptop"])
    for name in ("teacher", "student", "distilled"):
        assert TRIALS[name].digest == theirs[name](3).digest


@pytest.mark.parametrize("prefix", ["", "cifar10_"])
def test_every_student_has_the_same_network_seed_and_teacher(prefix):
    teacher, student = TRIALS[f"{prefix}teacher"], TRIALS[f"{prefix}student"]
    for name in ("distilled", *WITHOUT_DATA):
        trial = TRIALS[prefix + name]
        assert trial.seed == 3
        assert trial.arguments["teacher"].digest == teacher.digest
        assert trial.arguments["network"] == student.arguments["network"]
        assert trial.arguments["network"] != teacher.arguments["network"]


@pytest.mark.parametrize("prefix", ["", "cifar10_"])
def test_students_without_data_take_as_many_steps_of_one_optimiser(prefix):
    ours, plain, noise = (DESCRIPTIONS[prefix + name] for name in
                          ("zskt", "without_attention", "noise"))  # fmt: skip
    assert {key for key in ours if ours[key] != plain.get(key)} == {"attention", "attention_weight"}
    for key in ("data", "iterations", "every", "batch_size", "student_recipe", "precision"):
        assert noise[key] == ours[key]
    assert ours["iterations"] % ours["every"] == ours["every"] % ours["student_steps"] == 0


def test_the_full_profile_is_the_published_run():
    ours = DESCRIPTIONS["cifar10_zskt"]
    assert ours["iterations"] == 80_000 * 10
    assert (ours["batch_size"], ours["student_steps"], ours["generator"]["width"]) == (128, 10, 128)
    assert ours["data"]["name"] == "cifar10"
    assert set(ours["attention"]) == {"stage1", "stage2", "stage3"}
    names = [DESCRIPTIONS[f"cifar10_{arm}"]["network"]["name"] for arm in ("teacher", "zskt")]
    assert names == ["wrn-40-2", "wrn-16-1"]


def test_the_record_is_of_the_first_form_and_the_full_profile_of_todays():
    for name in ("zskt", "without_attention"):
        assert "max_norm" not in DESCRIPTIONS[name]
        assert DESCRIPTIONS[f"cifar10_{name}"]["max_norm"] == 5


def test_the_claims_speak_of_these_arms_and_metrics():
    for claim in papers.claims_of("micaelli2019zskt"):
        assert claim.metric in ("accuracy", "transition_error")
        for quantity in claim.quantities():
            named = {arm for arm, _ in parse(quantity)[1]}
            assert named <= set(ARMS) or named <= set(FULL)
            if claim.metric == "transition_error":
                compared = DESCRIPTIONS["beliefs"]["students"]
                assert {arm.removeprefix("cifar10_") for arm in named} <= set(compared)


def test_a_comparison_counts_for_the_students_it_compares():
    found = {"transition_error_zskt": 0.1, "transition_error_distilled": 0.2, "images": 5.0}
    assert zskt.measure("beliefs", SimpleNamespace(metrics=found)) == {
        "zskt.transition_error": 0.1, "distilled.transition_error": 0.2,
    }  # fmt: skip


def source_of(name, channels, size):
    """Random images that all show class 0, so that networks soon agree."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        shape = (count, channels, size, size)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return Images(images, torch.zeros(count, dtype=torch.int64))

    train = drawn(64)
    return ImageData(
        name=name, card=datasets.card(name), train_all=train, train=train, validation=drawn(8),
        test=drawn(30), classes=tuple("0123456789"), mean=(0.5,) * channels, sd=(0.25,) * channels,
    )  # fmt: skip


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Random images in place of MNIST and CIFAR-10."""
    sources = {"mnist": source_of("mnist", 1, 28), "cifar10": source_of("cifar10", 3, 32)}
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: sources[name])
    return sources


def test_beliefs_are_compared_on_images_that_all_have_right(few, monkeypatch):
    changed = {"epochs": 10, "train_images": 512, "test_images": 100, "bank_images": 120}
    arms = zskt.arms(dafl.PROFILES["laptop"].model_copy(update=changed))
    pair = {name: arms[name](0) for name in ("student", "distilled")}
    arguments = {"data": dafl.setting(dafl.PROFILES["laptop"])["data"], "steps": 3, "lr": 1.0,
                 "teacher": arms["teacher"](0), "students": pair, "images": 4}  # fmt: skip
    for trial in (arguments["teacher"], *pair.values()):
        trials.run(trial)
    source = replace(few["mnist"], **dict.fromkeys(("train_all", "train", "validation"),
                                                   Forbidden()))  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda name: source)
    found = trials.run(trials.Trial("beliefs", arguments, 0))
    assert found.metrics["images"] == 4
    teacher = network_of(trials.finished(arguments["teacher"]), few["mnist"])
    test = few["mnist"].test
    images = (test.images.float() / 255 - 0.5) / 0.25
    results = {name: trials.finished(trial) for name, trial in pair.items()}
    right = torch.ones(30, dtype=torch.bool)
    for result in (trials.finished(arguments["teacher"]), *results.values()):
        right &= result.tensors()["logits.test"].argmax(1) == test.labels
    first = right.nonzero()[:4, 0]
    for name, result in results.items():
        network = network_of(result, few["mnist"])
        expected = mean_transition_error(
            network, teacher, images[first], test.labels[first], steps=3
        )
        assert found.metrics[f"transition_error_{name}"] == pytest.approx(expected, rel=1e-4)
    assert len(set(found.metrics.values())) == 3


def test_one_epoch_of_every_arm_of_the_full_profile(few, monkeypatch):
    monkeypatch.setattr(zskt, "BATCHES", 1)
    changed = {"bank_epochs": 1, "seeds": 1, "train_images": 64, "test_images": 30}
    p = dafl.PROFILES["full"].model_copy(update=changed)
    arms = [name for name in zskt.arms(p) if name != "cifar10_beliefs"]
    record = reproduce(zskt.REPRODUCTION, p, profile="custom", arms=arms)
    assert set(record.arms) == set(arms)
    assert all(0 <= arm[0].metrics["accuracy"] <= 100 for arm in record.arms.values())
    assert len({arm[0].trial for arm in record.arms.values()}) == len(arms)

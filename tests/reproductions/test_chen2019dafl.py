"""DAFL's arms: what they share, what alone differs, what is measured."""

import math
from types import SimpleNamespace

import data_free_workshop as workshop
import pytest
from pydantic import ValidationError

from kdnb import data as datasets
from kdnb.reproductions import chen2019dafl as dafl
from kdnb.reproductions import reproduce

ARMS = dafl.arms(dafl.PROFILES["laptop"])
DESCRIPTIONS = {name: arm(3).arguments for name, arm in ARMS.items()}
WITHOUT_DATA = [name for name in ARMS if name not in ("teacher", "student", "distilled")]


def test_every_student_has_the_same_network_seed_and_teacher():
    teacher = ARMS["teacher"](3)
    for name, arm in ARMS.items():
        assert arm(3).seed == 3
        if name not in ("teacher", "student"):
            assert DESCRIPTIONS[name]["teacher"].digest == teacher.digest
        if name != "teacher":
            assert DESCRIPTIONS[name]["network"] == dafl.STUDENT


def test_students_without_data_differ_in_what_they_are_named_after():
    shared = ("data", "iterations", "every", "batch_size", "generator_recipe")
    for name in WITHOUT_DATA:
        assert ARMS[name](3).function == "dafl"
        for key in shared:
            if (name, key) != ("dafl_published_rate", "generator_recipe"):
                assert DESCRIPTIONS[name][key] == DESCRIPTIONS["dafl"][key]
        assert "precision" not in DESCRIPTIONS[name]  # what the machine has, the same for all
    generators = {name: DESCRIPTIONS[name]["generator"]["name"] for name in WITHOUT_DATA}
    assert [name for name, of in generators.items() if of == "noise"] == ["noise"]
    subsets = {frozenset(DESCRIPTIONS[name]["weights"]) for name in WITHOUT_DATA if name != "noise"}
    assert len(subsets) == 7  # every set of terms but the empty one
    for name in WITHOUT_DATA:
        if name.startswith("only"):
            of = DESCRIPTIONS[name]["weights"]
            assert of == {term: dafl.WEIGHTS[term] for term in of}


def test_the_natural_logarithm_is_the_same_loss():
    ours, natural = DESCRIPTIONS["dafl"], DESCRIPTIONS["dafl_natural"]
    assert "entropy" not in ours and natural["entropy"] == "natural"
    assert natural["weights"]["entropy"] * math.log(10) == pytest.approx(ours["weights"]["entropy"])


def test_the_published_rate_is_an_arm_where_another_is_used():
    ours, theirs = DESCRIPTIONS["dafl"], DESCRIPTIONS["dafl_published_rate"]
    assert theirs["generator_recipe"] == {**ours["generator_recipe"], "lr": 0.2}
    assert ours["generator_recipe"]["lr"] < 0.2 and theirs["weights"] == ours["weights"]
    for profile in ("quick", "full"):
        assert "dafl_published_rate" not in dafl.arms(dafl.PROFILES[profile])


def test_cifar_belongs_to_the_published_size():
    full = dafl.arms(dafl.PROFILES["full"])
    assert set(full) - set(ARMS) == {"cifar10_teacher", "cifar10_distilled", "cifar10_dafl"}
    found = full["cifar10_dafl"](0).arguments
    assert found["data"]["name"] == "cifar10" and found["features"] == "pool"
    assert (found["iterations"], found["batch_size"]) == (240_000, 1024)
    assert found["generator_recipe"]["lr"] == pytest.approx(0.02)
    assert found["teacher"].arguments["network"] == {"name": "resnet34_cifar"}


def test_the_long_run_is_laptops_but_for_generator_iterations_and_rate():
    laptop, long, full = (dafl.PROFILES[name] for name in ("laptop", "long", "full"))
    begun = "dafl_published_batch"
    given = {"seeds": 1, "arms": ["teacher", "distilled", "dafl", begun], "width": full.width,
             "iterations": full.iterations, "generator_lr": 0.01}  # fmt: skip
    assert long == laptop.model_copy(update=given)
    assert (long.width, long.iterations) == (128, 24_000)
    ours, theirs = (dafl.arms(p)["dafl"](0).arguments for p in (long, laptop))
    changed = {key for key in ours if ours[key] != theirs[key]}
    assert changed == {"generator", "iterations", "generator_recipe"}
    ours, theirs = dafl.arms(long)[begun](0).arguments, dafl.arms(full)["dafl"](0).arguments
    changed = {key: ours[key] for key in ours if ours[key] != theirs[key]}
    assert changed == {"iterations": 480, "every": 24}
    assert begun not in dafl.arms(laptop) and begun not in dafl.arms(full)


def test_the_larger_setting_has_arms_of_its_own_and_a_control_of_equal_budget():
    larger = dafl.PROFILES["larger"]
    arms = dafl.arms(larger)
    assert set(larger.arms) <= set(arms)
    for name in ("laptop", "long", "quick", "full"):
        assert not {"larger_dafl", "larger_noise"} & set(dafl.arms(dafl.PROFILES[name]))
    method, noise = (arms[f"larger_{name}"](3).arguments for name in ("dafl", "noise"))
    for same in ("iterations", "every", "batch_size", "network", "data", "precision"):
        assert method[same] == noise[same]
    assert (method["iterations"], method["batch_size"], method["precision"]) == (12000, 256, "32")
    assert method["generator_recipe"]["lr"] == dafl.RATE
    laptop = dafl.arms(dafl.PROFILES["laptop"])
    for name in ("teacher", "student", "distilled"):  # the very same runs
        assert arms[name](3).digest == laptop[name](3).digest


def test_a_few_iterations_on_cifar(tmp_path, monkeypatch):
    """The networks of the full profile, two images at a time."""
    source = workshop.random_cifar()
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)
    small = {"seeds": 1, "train_images": 16, "test_images": 10, "bank_epochs": 1, "batch_size": 2,
             "iterations": 1, "every": 1}  # fmt: skip
    p = dafl.PROFILES["full"].model_copy(update=small)
    arms = ["cifar10_teacher", "cifar10_distilled", "cifar10_dafl"]
    record = reproduce(dafl.REPRODUCTION, p, profile="custom", arms=arms)
    assert set(record.arms) == set(arms)
    assert 0 <= record.arms["cifar10_dafl"][0].metrics["class_balance"] <= 1


def test_what_is_measured():
    found = {"test_errors": 30.0, "last_ten_test_errors": 40.0, "last_ten_test_errors_sd": 5.0}
    course = [500.0, 400.0, 300.0, 200.0, 100.0, 80.0, 60.0, 20.0, 40.0, 30.0]
    result = SimpleNamespace(
        metrics=found, description={"arguments": {"data": {"evaluated": 1000}}},
        series={"test_errors": course},
    )  # fmt: skip
    assert dafl.measure("dafl", result) == pytest.approx(
        {"test_errors": 30, "accuracy": 97, "last_ten_accuracy": 96, "last_ten_accuracy_sd": 0.5,
         "best_accuracy": 98, "accuracy_after_20": 60, "accuracy_after_40": 80,
         "accuracy_after_60": 92, "accuracy_after_80": 98}
    )  # fmt: skip
    result.series["test_errors"] = [100.0, 30.0]
    short = dafl.measure("dafl", result)
    assert (short["accuracy_after_20"], short["accuracy_after_80"]) == (90, 97)


def test_iterations_are_whole_epochs():
    with pytest.raises(ValidationError, match="multiple of every"):
        dafl.Parameters(iterations=100, every=40)

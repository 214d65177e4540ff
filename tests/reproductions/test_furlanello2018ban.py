"""Born-again networks' arms: who teaches whom, from which weights; what is measured; one epoch."""

import re
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.methods.self_distillation import fresh_seed
from kdnb.reproductions import furlanello2018ban as ban
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions.self_distillation import ensemble_trial
from kdnb.runs.task import built

ARMS = ban.arms(ban.PROFILES["laptop"])


def test_each_generation_learns_from_the_one_before():
    trial = {name: arm(3) for name, arm in ARMS.items()}
    for number in (1, 2, 3):
        arguments = dict(trial[f"generation{number}"].arguments)
        assert arguments.pop("teacher") == trial[f"generation{number - 1}"]
        assert set(arguments) == {"data", "network", "recipe"}  # no label, no temperature
    for name, more in {
        "with_labels": {"hard_weight": 1.0},
        "cwtm": {"targets": "cwtm"},
        "dkpp": {"targets": "dkpp"},
    }.items():
        assert trial[name].arguments == trial["generation1"].arguments | more
    other = re.compile(r"independent\d|confidence")
    assert {t.seed for name, t in trial.items() if not other.search(name)} == {3}


def test_the_second_data_set_has_the_same_recipe_and_seeds():
    for name in ("generation0", "generation1", "with_labels", "independent1"):
        here, there = ARMS[name](3), ARMS[f"second_data_{name}"](3)
        assert (there.function, there.seed) == (here.function, here.seed)
        for key in ("recipe", "network"):
            assert there.arguments[key] == here.arguments[key]
        data = there.arguments["data"]
        assert (data["name"], data["limit"]) == ("fashion_mnist", here.arguments["data"]["limit"])
        if teacher := there.arguments.get("teacher"):
            assert teacher == ARMS["second_data_generation0"](3)


def test_softened_arms_differ_in_the_temperature_alone():
    softened = {"temperature": 4.0}
    for name, plain in (("generation1", "generation1"), ("dkpp", "dkpp")):
        assert ARMS[f"softened_{name}"](3).arguments == ARMS[plain](3).arguments | softened
    second = ARMS["softened_generation2"](3)
    assert second.arguments["teacher"] == ARMS["softened_generation1"](3)
    elsewhere = ARMS["second_data_softened_generation1"](3)
    assert elsewhere.arguments == ARMS["second_data_generation1"](3).arguments | softened


def test_confidence_is_compared_on_fresh_seeds_of_the_second_data_set():
    arms = {
        name: ARMS[f"confidence_{name}"](3)
        for name in ("generation0", "independent1", "generation1", "cwtm")
    }
    fresh = ban.FRESH + 3
    exact = ban.arms(ban.PROFILES["laptop"].model_copy(update={"precision": "32"}))
    for name in ("generation0", "independent1"):
        assert arms[name] == exact[f"second_data_{name}"](fresh)
    assert arms["generation1"] == exact["second_data_softened_generation1"](fresh)
    cwtm = arms["generation1"].arguments | {"targets": "cwtm"}
    assert (arms["cwtm"].arguments, arms["cwtm"].seed) == (cwtm, fresh)
    recorded = range(ban.PROFILES["laptop"].seeds)
    assert not {ban.FRESH + seed for seed in recorded} & set(recorded)


def test_nothing_is_augmented_but_at_the_papers_scale():
    recipe = ARMS["generation0"](0).arguments["recipe"]
    assert (recipe["lr"], recipe["crop_padding"], recipe["flip"]) == (0.05, 0, False)
    full = ban.arms(ban.PROFILES["full"])["generation0"](0).arguments["recipe"]
    assert (full["lr"], full["crop_padding"], full["flip"]) == (0.1, 4, True)


def test_independent_networks_have_the_generations_seeds_and_data():
    assert ARMS["generation0"](3).function == "supervised"
    for number in (1, 2):
        trial = ARMS[f"independent{number}"](3)
        assert trial.seed == fresh_seed(3, number)
        assert trial.arguments == ARMS["generation0"](3).arguments


def test_ensembles_have_as_many_members_of_either_kind():
    for size in ban.ENSEMBLES:
        line = [ARMS[f"generation{k}"](3) for k in range(size)]
        alone = [line[0]] + [ARMS[f"independent{k}"](3) for k in range(1, size)]
        assert ARMS[f"generations_ensemble{size}"](3).arguments["members"] == line
        assert ARMS[f"independent_ensemble{size}"](3).arguments["members"] == alone


def measured(**more):
    found = {"test_errors": 5.0, "test_cross_entropy": 0.5, "train_errors": 1.0, **more}
    return ban.measure("generation1", SimpleNamespace(metrics=found))


def test_what_is_measured():
    assert measured() == {"test_errors": 5.0, "test_cross_entropy": 0.5, "train_errors": 1.0}
    ensemble = measured(members=3.0, mean_member_errors=7.0)
    assert ensemble == {"test_errors": 5.0, "test_cross_entropy": 0.5, "mean_member_errors": 7.0}


def test_other_data_sets_are_refused():
    with pytest.raises(ValidationError, match="dataset"):
        ban.Parameters(dataset="imagenet")


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Random images in place of every data set."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    train = drawn(64)
    source = ImageData(
        name="cifar100", card=datasets.card("cifar100"), train_all=train, train=train,
        validation=drawn(8), test=drawn(30), classes=tuple("0123456789"),
        mean=(0.5,) * 3, sd=(0.25,) * 3,
    )  # fmt: skip
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)
    return source


def test_one_epoch_of_every_arm_of_the_full_profile(few):
    small = {"epochs": 1, "seeds": 1, "train_images": 64, "network": "resnet8"}
    parameters = ban.PROFILES["full"].model_copy(update=small)
    record = reproduce(ban.REPRODUCTION, parameters, profile="custom")
    assert set(record.arms) == set(ARMS)
    errors = {name: arm[0].metrics["test_errors"] for name, arm in record.arms.items()}
    assert all(0 < value <= 30 for value in errors.values())

    trial = ban.arms(parameters)["generations_ensemble2"](0)
    result = trials.finished(trial)
    assert result.metrics["members"] == 2
    logits = [trials.finished(one).tensors()["logits.test"] for one in trial.arguments["members"]]
    assert not torch.equal(*logits)
    mean = sum(one.double().softmax(1) for one in logits) / 2
    assert errors["generations_ensemble2"] == float((mean.argmax(1) != few.test.labels).sum())


def test_a_generation_and_its_independent_twin_start_from_the_same_weights(few):
    twin = ARMS["independent1"](3)
    network = {"name": "resnet8"}
    one, two = built(network, few, fresh_seed(3, 1)), built(network, few, twin.seed)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_an_ensemble_of_networks_from_other_data_is_refused():
    member = SimpleNamespace(description={"arguments": {"data": {"name": "mnist", "limit": 60}}})
    with pytest.raises(ValueError, match="own data"):
        ensemble_trial(None, 0, data={"name": "mnist", "limit": 61}, members=[member])

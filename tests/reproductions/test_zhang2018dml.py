"""Deep mutual learning's arms: what they share, what alone differs, what is measured."""

import math
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.reproductions import zhang2018dml as dml
from kdnb.runs.functions.online import mutual_trial
from kdnb.runs.trials import Context
from kdnb.training import Recipe

ARMS = dml.arms(dml.PROFILES["laptop"])


def test_arms_differ_in_what_they_are_named_after():
    trials = {name: arm(3) for name, arm in ARMS.items()}
    for name, trial in trials.items():
        twin = trials["second_mutual" if name.startswith("second") else "mutual"].arguments
        shared = ("data", "noise") if "twice" in name else ("data", "noise", "recipe")
        assert trial.seed == 3
        assert [trial.arguments[part] for part in shared] == [twin[part] for part in shared]
    assert trials["mutual"].arguments["data"]["name"] == "cifar10"
    assert trials["second_mutual"].arguments["data"]["name"] == "fashion_mnist"
    peers = {name: [n["name"] for n in t.arguments["networks"]] for name, t in trials.items()}
    pairs = {name for name, of in peers.items() if of == ["tiny", "tiny"]}
    assert pairs == {f"{of}{name}" for of in ("", "second_")
                     for name in ("independent", "mutual", "twice_the_loss")}  # fmt: skip
    assert peers["three_peers"] == peers["ensemble_target"] == ["tiny"] * 3
    assert peers["five_peers"] == ["tiny"] * 5
    assert peers["unequal_mutual"] == peers["unequal_independent"] == ["tiny", "plain4"]
    weights = {name: t.arguments.get("weight", 1.0) for name, t in trials.items()}
    assert {name for name, weight in weights.items() if weight == 0} == {
        "independent", "unequal_independent", "second_independent", "twice_the_loss",
        "second_twice_the_loss",
    }  # fmt: skip
    targets = {name: t.arguments.get("target", "peers") for name, t in trials.items()}
    assert [name for name, target in targets.items() if target != "peers"] == ["ensemble_target"]


def test_twice_the_loss_is_twice_the_rate_and_half_the_decay():
    """SGD with momentum on 2 L and weight decay d moves as on L at twice the rate with d / 2."""
    plain, twice = (ARMS[name](0).arguments["recipe"] for name in ("mutual", "twice_the_loss"))
    assert plain | {"lr": 0.1, "weight_decay": 2.5e-4} == twice
    moved = []
    for factor, recipe in ((2.0, plain), (1.0, twice)):
        weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimiser = Recipe(**recipe).optimiser_for([weight])
        for _ in range(3):
            optimiser.zero_grad()
            (factor * (weight**3).sum()).backward()
            optimiser.step()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, rtol=1e-12, atol=0)


def test_arms_of_the_old_setting_stand_as_they_were():
    old = dml.Parameters(train_images=4096, test_images=10000, epochs=8, precision="bf16", arms=[])
    recipe = dml.arms(old)["mutual"](0).arguments["recipe"]
    assert (recipe["lr"], recipe["crop_padding"], recipe["flip"]) == (0.1, 4, True)
    assert "second_mutual" not in dml.arms(old)


def measured():
    found = {"mean_test_errors": 10.0, "peer0_test_errors": 8.0, "peer1_test_errors": 12.0,
             "ensemble_test_errors": 7.0, "mean_train_errors": 1.0, "mean_train_entropy": 0.5,
             "mean_loss_rise_0.05": 0.25}  # fmt: skip
    described = {"arguments": {"noise": [0.05]}}
    return dml.measure("mutual", SimpleNamespace(metrics=found, description=described))


def test_what_is_measured():
    assert measured() == {
        "test_errors": 10.0, "first_errors": 8.0, "second_errors": 12.0, "ensemble_errors": 7.0,
        "train_errors": 1.0, "entropy": 0.5, "loss_rise": 0.25,
    }  # fmt: skip


def test_other_data_sets_are_refused():
    with pytest.raises(ValidationError, match="dataset"):
        dml.Parameters(dataset="imagenet")


FULL = dml.arms(dml.PROFILES["full"])


@pytest.fixture
def few_small_images(monkeypatch):
    """Eight random images of 8x8 pixels in place of CIFAR-100's."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=generator, dtype=torch.uint8)
    part = Images(images, torch.arange(8) * 12)
    source = ImageData(
        name="cifar100", card=datasets.card("cifar100"), train_all=part, train=part,
        validation=part, test=part, classes=tuple(map(str, range(100))), mean=(0.5,) * 3,
        sd=(0.3,) * 3,
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda name: source)


@pytest.mark.parametrize("arm", FULL)
def test_the_full_profile_runs(arm, few_small_images):
    trial = FULL[arm](0)
    arguments = trial.arguments | {"recipe": trial.arguments["recipe"] | {"epochs": 1}}
    # The one network that is too large for a test is replaced by as deep and a thinner one.
    thin = {"wrn-28-10": "wrn-28-1", "resnet32": "resnet32"}
    arguments["networks"] = [{"name": thin[network["name"]]} for network in arguments["networks"]]
    outcome = mutual_trial(Context(None), trial.seed, **arguments)
    peers = len(arguments["networks"])
    assert f"peer{peers - 1}.hard" in outcome.series
    assert f"peer{peers}.hard" not in outcome.series
    # Peers start from different weights, so that those that listen disagree from the first step on.
    listens = trial.arguments.get("weight", 1.0) > 0
    assert (outcome.series.get("peer1.soft", [0.0])[0] > 0) == listens
    result = SimpleNamespace(metrics=outcome.metrics, description={"arguments": arguments})
    found = dml.measure(arm, result)
    assert all(math.isfinite(value) for value in found.values())

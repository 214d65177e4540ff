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
        assert trial.seed == 3
        for shared in ("data", "noise") if "twice" in name else ("data", "noise", "recipe"):
            assert trial.arguments[shared] == twin[shared]
    assert trials["mutual"].arguments["data"]["name"] == "cifar10"
    assert trials["second_mutual"].arguments["data"]["name"] == "fashion_mnist"
    peers = {name: [n["name"] for n in t.arguments["networks"]] for name, t in trials.items()}
    for name in ("independent", "mutual", "twice_the_loss"):
        assert peers[name] == peers[f"second_{name}"] == ["tiny", "tiny"]
    assert peers["three_peers"] == peers["ensemble_target"] == ["tiny"] * 3
    assert peers["five_peers"] == ["tiny"] * 5
    assert peers["unequal_mutual"] == peers["unequal_independent"] == ["tiny", "plain4"]
    weights = {name: t.arguments.get("weight", 1.0) for name, t in trials.items()}
    assert {name for name, weight in weights.items() if weight == 0} == {
        "independent", "unequal_independent", "twice_the_loss", "second_independent",
        "second_twice_the_loss",
    }  # fmt: skip
    targets = {name: t.arguments.get("target", "peers") for name, t in trials.items()}
    assert [name for name, target in targets.items() if target != "peers"] == ["ensemble_target"]


@pytest.mark.parametrize("part", ["", "second_"])
def test_twice_the_loss_takes_the_steps_of_twice_the_loss(part):
    """At twice the rate and half the decay, L moves the weights exactly as 2 L does."""
    plain, double = (
        Recipe(**ARMS[part + name](0).arguments["recipe"])
        for name in ("independent", "twice_the_loss")
    )
    moved = []
    for factor, recipe in ((2.0, plain), (1.0, double)):
        weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimiser = recipe.optimiser_for([weight])
        for step in range(20):
            optimiser.param_groups[0]["lr"] = recipe.learning_rate(step, 20)
            optimiser.zero_grad()
            (factor * (weight - 0.3).square().sum()).backward()
            optimiser.step()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, rtol=1e-12, atol=0)
    assert double.model_copy(update={"lr": plain.lr, "weight_decay": plain.weight_decay}) == plain


def test_few_images_are_learnt_as_they_are_and_the_papers_are_augmented():
    few, many = (dml.arms(dml.PROFILES[name])["mutual"](0).arguments for name in ("laptop", "full"))
    assert few["data"]["limit"] == 1000 and "evaluated" not in few["data"]
    assert Recipe(**few["recipe"]) == Recipe(
        epochs=60, batch_size=64, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4,
        schedule="one_cycle", precision="bf16",
    )  # fmt: skip
    assert (many["recipe"]["lr"], many["recipe"]["crop_padding"], many["recipe"]["flip"]) == (
        0.1, 4, True,
    )  # fmt: skip


def measured():
    found = {"mean_test_errors": 10.0, "peer0_test_errors": 8.0, "peer1_test_errors": 12.0,
             "ensemble_test_errors": 7.0, "mean_train_errors": 1.0, "mean_train_entropy": 0.5,
             "mean_test_cross_entropy": 1.5, f"mean_loss_rise_{dml.NOISE:g}": 0.25}  # fmt: skip
    return dml.measure("mutual", SimpleNamespace(metrics=found))


def test_what_is_measured():
    assert measured() == {
        "test_errors": 10.0, "first_errors": 8.0, "second_errors": 12.0, "ensemble_errors": 7.0,
        "train_errors": 1.0, "test_cross_entropy": 1.5, "entropy": 0.5, "loss_rise": 0.25,
    }  # fmt: skip


def test_other_data_sets_are_refused():
    with pytest.raises(ValidationError, match="dataset"):
        dml.Parameters(dataset="imagenet")
    assert not any("second" in name for name in dml.arms(dml.Parameters(arms=[])))


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
    found = dml.measure(arm, SimpleNamespace(metrics=outcome.metrics))
    assert all(math.isfinite(value) for value in found.values())

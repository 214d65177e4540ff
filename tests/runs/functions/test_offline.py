"""Transfer and its stages as trials on a little of MNIST: where they start, what is looked at."""

import pytest
import torch

from kdnb import data as datasets
from kdnb.data import Batches, Images
from kdnb.methods.offline import distil
from kdnb.runs import trials
from kdnb.runs.task import data_spec, network_of
from kdnb.runs.trials import Trial
from kdnb.training import Recipe
from kdnb.training.inputs import examples_of, logits_on

RECIPE = {"epochs": 1, "batch_size": 30, "lr": 0.01, "precision": "32"}
NET = {"name": "lenet5_half_dafl"}
STAGES = {"student_maps": ["stage1", "stage2"], "teacher_maps": ["stage1", "stage2"]}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    monkeypatch.setenv("KDNB_JOBS", "1")


def some(split="train_all", limit=60):
    return data_spec("mnist", split=split, limit=limit, evaluated=50)


def supervised(seed=0, **more):
    arguments = {"data": some(), "network": NET, "recipe": RECIPE, **more}
    return Trial("supervised", arguments, seed)


def transferred(method, seed=0, **more):
    arguments = {
        "data": some(), "network": NET, "recipe": RECIPE, "teacher": supervised(7), "method": method,
        "weight": 1.0, **STAGES, **more,
    }  # fmt: skip
    return Trial("transferred", arguments, seed)


def weights(result):
    return {k: v for k, v in result.tensors().items() if k.startswith("network.")}


def same(one, two):
    return all(torch.equal(value, weights(two)[key]) for key, value in weights(one).items())


def test_a_trial_without_weight_is_the_undistilled_student():
    alone, taught = (
        trials.run(supervised(3)),
        trials.run(transferred("soft_targets", 3, weight=0.0)),
    )
    assert same(alone, taught)
    assert alone.metrics["test_errors"] == taught.metrics["test_errors"]


@pytest.mark.parametrize("kind", ["supervised", "distilled", "transferred"])
def test_a_trial_starts_where_another_ended(kind):
    first = supervised(1)
    still = {"recipe": {**RECIPE, "lr": 1e-12}, "start": first}
    loss = {"loss": {"name": "soft_targets", "temperature": 2.0}, "teacher": supervised(7)}
    trial = {
        "supervised": supervised(5, **still),
        "distilled": Trial(
            "distilled",
            {"data": some(), "network": NET, **still, **loss}, 5,
        ),
        "transferred": transferred("hint", 5, **still),
    }[kind]  # fmt: skip
    assert first in trial.parents()
    before, after = weights(trials.run(first)), weights(trials.run(trial))
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=1e-8)


def test_only_the_first_images_are_looked_at():
    result = trials.run(supervised())
    assert {len(v) for k, v in result.tensors().items() if k.startswith("logits.")} == {50}
    source = datasets.load("mnist")
    network = network_of(result)
    logits = logits_on(network, source.test.select(slice(50)), source)
    wrong = int((logits.argmax(1) != source.test.labels[:50]).sum())
    assert result.metrics["test_errors"] == wrong


def test_the_first_images_of_both_splits_are_the_same():
    source = datasets.load("mnist")
    one, two = (examples_of(source, some(split)) for split in ("train", "train_all"))
    assert torch.equal(one.images, two.images)


def test_watched_trials_look_at_the_validation_images_alone():
    watched = trials.run(supervised(data=some("train")))
    assert len(watched.series["validation_errors"]) == 1
    assert not any(key.startswith("test") for key in watched.series)
    assert "validation_errors" not in trials.run(supervised()).series


def test_the_soft_weight_moves_from_epoch_to_epoch():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (12, 1, 4, 4), generator=generator, dtype=torch.uint8)
    batches = Batches(Images(pictures, torch.arange(12) % 3), 6, mean=(0.5,), sd=(0.3,))
    one, two = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)) for _ in range(2))
    recipe = Recipe(epochs=4, batch_size=6, lr=0.1, precision="32")
    history = distil.distil(
        one, two, batches, recipe, method=lambda z, v: 1 + 0 * z.sum(), weight=(4.0, 1.0)
    ).history
    assert history.soft.tolist() == pytest.approx([4.0, 3.0, 2.0, 1.0])

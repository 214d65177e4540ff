"""Tf-KD: training with the virtual teacher, self-training, a trial."""

import pytest
import torch
from softened_labels import QUICK, Small, batches, small

from kdnb import data as datasets
from kdnb.data import ImageData
from kdnb.methods import self_distillation as own
from kdnb.methods.offline import distil
from kdnb.runs import trials
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Trial


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    source = datasets.load("mnist")
    small = {
        part: getattr(source, part).select(slice(0, 60)) for part in ("train", "validation", "test")
    }
    fields = {name: getattr(source, name) for name in ImageData.__dataclass_fields__}
    monkeypatch.setattr(datasets, "load", lambda name: ImageData(**{**fields, **small}))
    return {
        "data": data_spec("mnist", limit=60),
        "network": {"name": "mlp", "widths": [8]},
        "recipe": {"epochs": 1, "batch_size": 20, "lr": 0.05, "precision": "32"},
    }


def test_the_virtual_teacher_as_a_trial(tiny):
    trial = Trial("virtual_teacher", tiny, 0)
    result = trials.run(trial)
    assert {"hard", "soft"} <= set(result.series)
    assert "test_errors" in result.metrics


def test_training_with_the_virtual_teacher_is_training_with_smoothed_labels():

    one, two = small(), small()
    own.virtually_taught(one, batches(), QUICK, soft_weight=0.3, hard_weight=0.7, variant="authors")
    epsilon = own.equivalent_smoothing(0.3, 3, 20.0)
    distil.train(two, batches(), QUICK, label_smoothing=epsilon)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_self_training_is_one_tempered_generation():
    found = own.self_taught(
        Small, batches(), QUICK, temperature=4.0, soft_weight=0.8, hard_weight=0.2, seed=1
    )
    line = own.born_again(
        Small, batches(), QUICK, generations=1, temperature=4.0, weight=0.8, label_weight=0.2,
        seed=1,
    )  # fmt: skip
    for name, network in line.networks.items():
        assert torch.equal(network.head.weight, found.networks[name].head.weight)
    assert found.history[["soft", "hard"]][found.history.generation == 1].notna().all(axis=None)

"""Tf-KD's arms: who teaches whom, by what weights; what is measured; one epoch of everything."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb import losses
from kdnb.data import ImageData, Images
from kdnb.methods.self_distillation import fresh_seed
from kdnb.reproductions import furlanello2018ban, reproduce, yuan2020tfkd
from kdnb.reproductions import furlanello2018ban as ban

ARMS = yuan2020tfkd.arms(furlanello2018ban.PROFILES["laptop"])
TRIALS = {name: arm(3) for name, arm in ARMS.items()}


def test_who_teaches_whom():
    taught = {"normal": "teacher", "defective": "poor_teacher", "reversed": "baseline",
              "self_taught": "baseline"}  # fmt: skip
    for name, trial in TRIALS.items():
        assert trial.arguments.get("teacher") == TRIALS.get(taught.get(name)), name
        large = name in ("teacher", "poor_teacher", "reversed")
        assert trial.arguments["network"] == {"name": "plain4" if large else "tiny"}, name


def test_all_but_the_poor_teacher_learn_from_as_many_images():
    recipe = TRIALS["baseline"].arguments["recipe"]
    for name, trial in TRIALS.items():
        assert trial.arguments["data"] == TRIALS["baseline"].arguments["data"]
        briefly = {"epochs": 1} if name == "poor_teacher" else {}
        assert trial.arguments["recipe"] == recipe | briefly, name


def test_controls_are_the_born_again_networks_own():
    generations = ban.arms(ban.PROFILES["laptop"])
    assert TRIALS["baseline"].digest == generations["generation0"](3).digest
    assert TRIALS["fresh_baseline"].digest == generations["independent1"](3).digest
    assert TRIALS["fresh_baseline"].seed == fresh_seed(3, 1)


@pytest.mark.parametrize(("arm", "share"), [("normal", 0.95), ("reversed", 0.6)])
def test_terms_stand_in_the_released_codes_ratio(arm, share):
    """(1 - α) H + α τ² KL, averaged over 100 classes too, up to one factor."""
    given = TRIALS[arm].arguments
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 100, dtype=torch.float64) * 3
    labels = torch.arange(6)
    student.requires_grad_()
    T = given["loss"]["temperature"]
    ours = given["hard_weight"] * F.cross_entropy(student, labels) + given[
        "soft_weight"
    ] * losses.soft_targets(student, teacher, T)
    q, p = (student / T).log_softmax(1), (teacher / T).softmax(1)
    divergence = (p * (p.log() - q)).mean()
    theirs = (1 - share) * F.cross_entropy(student, labels) + share * T * T * divergence
    one, other = (torch.autograd.grad(loss, student)[0] for loss in (ours, theirs))
    torch.testing.assert_close((1 - share) * one, other)
    assert T == 20


def test_teachers_are_weighed_alike():
    for name in ("normal", "defective", "self_taught"):
        weights = [TRIALS[name].arguments[key] for key in ("hard_weight", "soft_weight")]
        assert weights == [1.0, pytest.approx(0.19)], name
    assert TRIALS["self_taught"].arguments["temperature"] == 20
    assert TRIALS["virtual"].arguments["soft_weight"] == TRIALS["smoothing"].arguments["smoothing"]
    assert "variant" not in TRIALS["virtual"].arguments  # the paper's, not the released code's


def measured():
    found = {"test_errors": 5.0, "test_cross_entropy": 0.5, "train_errors": 1.0, "soft": 3.0}
    return yuan2020tfkd.measure("normal", SimpleNamespace(metrics=found))


def test_what_is_measured():
    assert measured() == {"test_errors": 5.0, "test_cross_entropy": 0.5, "train_errors": 1.0}


def test_other_data_sets_are_refused():
    with pytest.raises(ValidationError, match="dataset"):
        furlanello2018ban.Parameters(dataset="imagenet")


def drawn(count, channels=3, size=32):
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return Images(images, torch.arange(count) % 10)


def source_of(train, test):
    channels = train.images.shape[1]
    return ImageData(
        name="cifar100", card=datasets.card("cifar100"), train_all=train, train=train,
        validation=test, test=test, classes=tuple("0123456789"),
        mean=(0.5,) * channels, sd=(0.25,) * channels,
    )  # fmt: skip


def test_one_epoch_of_every_arm_of_the_full_profile(tmp_path, monkeypatch):
    source = source_of(drawn(64), drawn(30))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)
    small = {"network": "resnet8", "larger": "resnet14"}
    parameters = furlanello2018ban.PROFILES["full"].model_copy(
        update={"epochs": 1, "seeds": 1, "train_images": 64, **small}
    )
    record = reproduce(yuan2020tfkd.REPRODUCTION, parameters, profile="custom")
    assert set(record.arms) == set(ARMS)
    errors = [arm[0].metrics["test_errors"] for arm in record.arms.values()]
    assert all(0 < value <= 30 for value in errors)

"""Dataset distillation's arms: which initialisation, how many images; real images; one epoch."""

from types import SimpleNamespace

import pytest
import torch

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.reproductions import chen2019dafl, reproduce, wang2018dd

ARMS = wang2018dd.arms(chen2019dafl.PROFILES["laptop"])
DESCRIPTIONS = {name: arm(3).arguments for name, arm in ARMS.items()}


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Random images in place of MNIST; those held out are all black."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(1, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    train, dark = drawn(100), Images(torch.zeros_like(drawn(20).images), torch.arange(20) % 10)
    source = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=train, train=train,
        validation=dark, test=drawn(30), classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,),
    )  # fmt: skip
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)
    return source


def test_every_arm_has_one_network_and_seed():
    for name, arm in ARMS.items():
        assert arm(3).seed == 3
        assert DESCRIPTIONS[name]["network"] == wang2018dd.TEACHER
    like = chen2019dafl.arms(chen2019dafl.PROFILES["laptop"])["teacher"](3)
    assert ARMS["teacher"](3).digest == like.digest


def test_real_images_are_as_many_and_trained_on_as_often():
    for real, distilled in (("fixed_real", "fixed"), ("random_real", "random")):
        for key in ("fixed", "steps", "epochs", "judged_on"):
            assert DESCRIPTIONS[real][key] == DESCRIPTIONS[distilled][key]
    mean, random = DESCRIPTIONS["average_real"], DESCRIPTIONS["random_real"]
    assert {**mean, "images": None} == {**random, "images": None}
    assert mean["images"] != random["images"]
    assert (DESCRIPTIONS["fixed"]["steps"], DESCRIPTIONS["random"]["steps"]) == (1, 10)


def test_networks_start_with_xaviers_weights(few):
    made = wang2018dd.started({"name": "lenet5"}, few, 3)
    again, other = (wang2018dd.started({"name": "lenet5"}, few, seed) for seed in (3, 4))
    weight = made.stage3.conv.weight  # (120, 16, 5, 5)
    assert float(weight.detach().std()) == pytest.approx((2 / (25 * (16 + 120))) ** 0.5, rel=0.02)
    assert not made.head.bias.any()
    assert torch.equal(weight, again.stage3.conv.weight)
    assert not torch.equal(weight, other.stage3.conv.weight)


def test_distilled_images_are_judged_by_the_network_they_know(few, monkeypatch, tmp_path):
    """After no more than the three steps they are made for; fresh networks start elsewhere."""
    seen = []

    def trained_on(few_images, start):
        seen.append((len(few_images()[1]), start.head.weight.detach().clone()))
        return start

    monkeypatch.setattr(wang2018dd, "trained_on", trained_on)
    outcome = wang2018dd.distilled_trial(
        SimpleNamespace(checkpoint=tmp_path / "checkpoint"), 3, network={"name": "lenet5"},
        data={"name": "mnist", "split": "train_all", "limit": 20}, fixed=True, steps=1, epochs=3,
        recipe={"epochs": 1, "batch_size": 10, "optimiser": "adam", "lr": 0.05}, lr=1.0,
        judged_on=2,
    )  # fmt: skip
    assert outcome.tensors["distilled.images"].shape == (1, 10, 1, 28, 28)
    assert [steps for steps, _ in seen] == [3, 3, 3]
    known = wang2018dd.started({"name": "lenet5"}, few, 3).head.weight
    assert [torch.equal(weight, known) for _, weight in seen] == [False, False, True]


@pytest.mark.parametrize(("fixed", "accuracy"), [(True, 90), (False, 70)])
def test_the_known_network_counts_where_images_are_made_for_it(fixed, accuracy):
    found = {
        "fixed_test_errors": 2.0, "fresh_test_errors": 6.0, "fresh_test_errors_sd": 1.0,
        "test_images": 20.0, "distilled_images": 10.0,
    }  # fmt: skip
    result = SimpleNamespace(metrics=found, description={"arguments": {"fixed": fixed}})
    assert wang2018dd.measure("fixed", result) == pytest.approx(
        {"accuracy": accuracy, "fresh_accuracy": 70, "fresh_accuracy_sd": 5, "images": 10}
    )


def test_drawn_images_are_of_their_class_and_from_the_training_images(few):
    drawn = wang2018dd.drawn(few, 4, "random", 3)
    assert drawn.shape == (4, 10, 1, 28, 28)
    raw = ((drawn * 0.25 + 0.5) * 255).round().to(torch.uint8)
    for label in range(10):
        own = few.train.images[few.train.labels == label]
        places = [int((own == image).flatten(1).all(1).nonzero()) for image in raw[:, label]]
        assert len(set(places)) == 4  # another image in every step
    mean = wang2018dd.drawn(few, 2, "mean", 3)
    assert torch.equal(mean[0], mean[1])
    own = few.train.images[few.train.labels == 7].float().mean(0)
    torch.testing.assert_close(mean[0, 7], (own / 255 - 0.5) / 0.25)
    with pytest.raises(ValueError, match="must be 'random' or 'mean'; got 'best'"):
        wang2018dd.drawn(few, 2, "best", 3)


def test_the_rate_is_the_best_on_the_images_held_out(few, monkeypatch):
    right = {0.01: 3, 0.1: 9, 1.0: 5}  # on the images held out, of 20
    judged = []

    def logits_on(network, images, source):
        held_out = not bool(images.images.any())
        judged.append(held_out)
        count = right[network.rate] if held_out else 30
        wrong = (images.labels + (torch.arange(len(images)) >= count)) % 10
        return torch.eye(10)[wrong]

    def trained_on(few_images, start):
        start.rate = round(float(few_images()[1][0].detach()), 4)
        return start

    monkeypatch.setattr(wang2018dd, "logits_on", logits_on)
    monkeypatch.setattr(wang2018dd, "trained_on", trained_on)
    outcome = wang2018dd.real_trial(
        None, 0, data={"name": "mnist"}, network={"name": "lenet5"}, fixed=True, steps=1,
        epochs=1, images="random", rates=list(right), judged_on=2,
    )  # fmt: skip
    assert outcome.metrics["rate"] == 0.1
    assert judged == [True] * 3 + [False] * 3  # the test images only with the rate chosen


def test_one_pass_of_every_arm_of_the_full_profile(few, monkeypatch):
    monkeypatch.setattr(wang2018dd, "JUDGED_ON", 2)
    small = {"seeds": 1, "epochs": 1, "distilling_epochs": 1, "train_images": 60, "test_images": 30}
    parameters = chen2019dafl.PROFILES["full"].model_copy(update=small)
    record = reproduce(wang2018dd.REPRODUCTION, parameters, profile="custom")
    assert set(record.arms) == set(ARMS)
    images = {name: arm[0].metrics.get("images") for name, arm in record.arms.items()}
    assert images == {"teacher": None, "fixed": 10, "fixed_real": 10} | dict.fromkeys(
        ("random", "random_real", "average_real"), 100
    )
    assert all(0 <= arm[0].metrics["accuracy"] <= 100 for arm in record.arms.values())

"""Trials of retrieval: whose classes, which images, what a student is taught, and controls."""

import pytest
import torch

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.reproductions import park2019rkd as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions import retrieval
from kdnb.training.randomness import mix

TINY = paper.Parameters(each=6, teacher_each=6, queries=5)


def pictures(count, seed, classes=10):
    """Stripes whose direction and place tell the class."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % classes
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 2 * label : 2 * label + 6, :] += 120
    return Images(images, labels)


def source(name, test_seed=3):
    card = datasets.card(name)
    train = pictures(120, 1 + len(name))
    return ImageData(
        name=name, card=card, train_all=train, train=train, validation=pictures(60, 2),
        test=pictures(60, test_seed), classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,),
    )  # fmt: skip


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", source)


def test_classes_are_numbered_through_and_split_by_the_seed():
    sources = [source("mnist"), source("fashion_mnist")]
    known, unknown = retrieval.split_classes(sources, 12, 5)
    assert sorted(known + unknown) == list(range(20)) and len(known) == 12
    assert retrieval.split_classes(sources, 12, 6) != (known, unknown)
    pixels, labels = retrieval.images_of(sources, "train", [13, 2], 1, 4, 14)
    assert pixels.shape == (8, 1, 14, 14) and labels.tolist() == [0] * 4 + [1] * 4
    theirs = sources[1].train
    own = theirs.images[theirs.labels == 3][1].float().view(1, 14, 2, 14, 2).mean((2, 4)) / 255
    torch.testing.assert_close(pixels[0], (own - retrieval.CENTRE) / retrieval.SPREAD)
    with pytest.raises(ValueError, match="images 10 to 14 of class 2 were asked for"):
        retrieval.images_of(sources, "train", [2], 10, 4, 14)
    with pytest.raises(ValueError, match="class 20 is beyond the last"):
        retrieval.images_of(sources, "train", [20], 0, 4, 14)


def test_a_trial_is_a_function_of_its_seed(few, monkeypatch, tmp_path):
    arm = paper.arms(TINY)["relations"]
    one = trials.run(arm(0))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    again = trials.run(arm(0))
    assert one.metrics == again.metrics and one.tensors_sha256 == again.tensors_sha256
    assert trials.run(arm(1)).tensors_sha256 != one.tensors_sha256
    assert all(0 <= value <= 100 for name, value in one.metrics.items() if name != "loss")


def test_pilots_search_training_images_and_records_test_images(few, monkeypatch, tmp_path):
    pilot = TINY.model_copy(update={"scored": "train"})
    found = {
        scored: trials.run(paper.arms(p)["triplet"](0)).metrics
        for scored, p in (("test", TINY), ("train", pilot))
    }
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "other"))
    monkeypatch.setattr(datasets, "load", lambda name: source(name, test_seed=9))
    assert trials.run(paper.arms(pilot)["triplet"](0)).metrics == found["train"]
    other = trials.run(paper.arms(TINY)["triplet"](0)).metrics
    assert other["train"] == found["test"]["train"] and other != found["test"]


def test_students_start_alike_and_the_control_alone_is_shuffled(few):
    arms = paper.arms(TINY)
    same, other = (arms[name](0).arguments for name in ("relations", "shuffled"))
    assert {k: v for k, v in other.items() if k != "shuffled"} == same and other["shuffled"]
    assert arms["again"](0).arguments["teacher"] == arms["triplet"](0)
    assert arms["untrained"](0).arguments["teacher"].arguments["how"] == "untrained"
    assert (
        trials.run(arms["shuffled"](0)).tensors_sha256
        != trials.run(arms["relations"](0)).tensors_sha256
    )
    starts = [
        retrieval.built_embedding(
            {"name": "plain2", "width": 0.5, "features": 4}, 14, mix(0, 1), how
        )
        for how in (False, True)
    ]
    torch.testing.assert_close(starts[0].head.weight, starts[1].network.head.weight)


def test_every_way_of_teaching_runs_and_an_unknown_one_is_refused(few):
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    assert {arm for arm, _ in table.columns} == set(paper.arms(TINY)) | paper.CONDITIONS
    assert "recall" in table["pixels"].columns and "recall" in table["principal"].columns
    trial = paper.arms(TINY)["hint"](0)
    arguments = {**trial.arguments, "how": "by heart"}
    with pytest.raises(ValueError, match="how must be one of triplet, relations"):
        trials.run(trials.Trial("searched", arguments, 0))


def test_components_are_those_of_the_training_images():
    training = torch.randn(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    training[:, 0, 0, 0] *= 20
    found = retrieval._principal(training, training, 1)[:, 0]
    centred = training[:, 0, 0, 0] - training[:, 0, 0, 0].mean()
    assert torch.corrcoef(torch.stack([found, centred]))[0, 1].abs() > 0.99

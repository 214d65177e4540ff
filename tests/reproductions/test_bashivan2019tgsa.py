"""TGSA's arms: what a seed draws, which images are looked at, and what the grades are judged by."""

from types import SimpleNamespace

import pytest
import torch

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.methods.nas import expected_best
from kdnb.papers.quantities import PARAMETERS, parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import bashivan2019tgsa as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions import nas

ARMS = paper.arms(paper.PROFILES["laptop"])
TINY = paper.Parameters(
    train_images=128, test_images=100, early_images=60, probes=20, candidates=3,
    most_multiply_adds=100_000,
)  # fmt: skip


def pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 10
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, : 9 * (label % 3)] //= 3
    return _carded(Images(images, labels), datasets.card("fashion_mnist"))


def source(test_seed=3):
    card, train = datasets.card("fashion_mnist"), pictures(128, 1)
    return ImageData(
        name="fashion_mnist", card=card, train_all=train, train=train, validation=pictures(170, 2),
        test=pictures(120, test_seed), classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,),
    )  # fmt: skip


def _carded(images, card):
    return Images(images.images, images.labels, card)


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source())


def result(p, seed=0):
    return trials.run(paper.arms(p)["ranking"](seed))


def test_the_record_scores_test_images_and_has_ten_seeds_of_other_networks():
    asked = ARMS["ranking"](0).arguments
    assert asked["scored"] == "test" and asked["data"]["split"] == "train"
    assert paper.LAPTOP.seeds >= 10 and asked["moments"] == [1, 2]
    assert asked["teacher"].function == "shipped" and asked["untrained"].function == "untrained"
    assert ARMS["ranking"](1).digest != ARMS["ranking"](0).digest


def test_a_claim_has_its_arms_and_metrics(few):
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    for claim in claims_of("bashivan2019tgsa"):
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)
                assert arm != PARAMETERS  # which would be no arm


def test_a_trial_is_a_function_of_its_seed_and_every_seed_draws_networks(
    few, monkeypatch, tmp_path
):
    one = result(TINY)
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    same = result(TINY)
    other = result(TINY, 1)
    assert one.metrics == same.metrics and one.series == same.series
    assert one.series["parameters"] != other.series["parameters"]
    assert all(len(values) == 3 for values in one.series.values())
    assert max(one.series["multiply_adds"]) <= TINY.most_multiply_adds


def test_pilots_look_at_no_test_image_and_score_others_than_the_early_ones(
    few, monkeypatch, tmp_path
):
    pilot = TINY.model_copy(update={"scored": "validation"})
    one = result(pilot)
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    monkeypatch.setattr(datasets, "load", lambda name: source(test_seed=9))
    assert result(pilot).series == one.series
    own = source()
    own.validation.labels[60:] = (own.validation.labels[60:] + 1) % 10
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "spoilt"))
    monkeypatch.setattr(datasets, "load", lambda name: own)
    spoilt = result(pilot)
    for name, values in one.series.items():
        assert (values == spoilt.series[name]) == (name not in ("one", "other")), name


def test_the_records_accuracies_are_of_test_images(few, monkeypatch, tmp_path):
    one, own = result(TINY), source()
    own.test.labels[:] = (own.test.labels + 1) % 10
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    monkeypatch.setattr(datasets, "load", lambda name: own)
    two = result(TINY)
    assert one.series["guidance1"] == two.series["guidance1"]
    assert one.series["one"] != two.series["one"]


def test_metrics_of_known_grades():
    """Four networks: similarity ranks them rightly, accuracy by and large, size the other way round."""
    found = {
        "one": [0.2, 0.4, 0.6, 0.8], "other": [0.2, 0.4, 0.6, 0.8],
        "guidance1": [0.1, 0.2, 0.3, 0.4], "accuracy1": [0.1, 0.3, 0.2, 0.4],
        "both1": [0.2, 0.5, 0.5, 0.8], "parameters": [4.0, 3.0, 2.0, 1.0],
    }  # fmt: skip
    values = nas._metrics(found, 4, [1], 0.9)
    assert values["guidance1_rank"] == pytest.approx(1)
    assert values["accuracy1_rank"] == pytest.approx(0.8)
    assert values["parameters_rank"] == pytest.approx(-1)
    assert values["guidance1_pick"] == 80 and values["parameters_pick"] == pytest.approx(20)
    assert values["guidance1_partial"] == pytest.approx(1)
    # 4 networks for an epoch and one for three more are 7 epochs: 1.75, so 2, of four each.
    assert values["random1_pick"] == pytest.approx(expected_best([20, 40, 60, 80], 2))
    assert values["candidates_mean"] == pytest.approx(50) and values["candidates_best"] == 80
    assert values["candidates_spread"] == pytest.approx(500**0.5)
    assert values["candidates_early"] == pytest.approx(25) and values["teacher_accuracy"] == 90
    assert values["candidates_halves"] == pytest.approx(1) and "one_rank" not in values


def test_a_partial_correlation_is_that_of_what_is_left():
    generator = torch.Generator().manual_seed(0)
    a, b, c = torch.randn(3, 30, generator=generator)
    a, b = a + c, b + c
    ranks = [one.argsort().argsort().double() for one in (a, b, c)]
    third = torch.stack([ranks[2], torch.ones(30, dtype=torch.float64)], 1)
    left = [r - third @ torch.linalg.lstsq(third, r[:, None]).solution[:, 0] for r in ranks[:2]]
    expected = torch.corrcoef(torch.stack(left))[0, 1].item()
    got = nas.partial_rank_correlation(a.tolist(), b.tolist(), c.tolist())
    assert got == pytest.approx(expected)
    assert nas.partial_rank_correlation([1, 2, 3], [1, 2, 3], [1, 2, 3]) == 0
    assert nas.rank_correlation([1, 1, 1], [1, 2, 3]) == 0


def test_measures_have_the_names_of_their_grade():
    metrics = {"guidance1_rank": 0.5, "multiply_adds_rank": 0.3, "parameters_pick": 70.0}
    assert paper.measure("ranking", SimpleNamespace(metrics=metrics)) == {
        "guidance1.rank": 0.5, "multiply_adds.rank": 0.3, "size.pick": 70.0,
    }  # fmt: skip

"""Banks of images, the collapse detector, and ZSKD's impressions."""

import logging
import math

import data_free_workshop as workshop
import pytest
import torch
from draws import draw
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import matching_cross_entropy
from kdnb.methods.data_free import (
    Bank,
    CollapseDetector,
    NoiseBatches,
    bank_of,
    class_balance,
    class_similarity,
    concentrations,
    data_impressions,
    dirichlet_targets,
    diversity,
    pixel_bounds,
)
from kdnb.runs.functions.banks import banked_trial, impressions_trial


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bank(count=12):
    return bank_of(noise(count, 1, 8, 8), workshop.small_net(0), {"method": "test"})


def test_noise_is_a_function_of_seed_and_epoch():
    batches = NoiseBatches(2, 3, (4,), seed=1)
    first = [batch.images for batch in batches.epoch(0)]
    assert len(batches) == len(first) == 2
    assert batches.examples == 6
    assert torch.equal(first[1], [b.images for b in batches.epoch(0)][1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], next(batches.epoch(1)).images)
    with pytest.raises(ValueError, match="must be at least 1; got 0, 3"):
        NoiseBatches(0, 3, (4,))


def test_a_bank_comes_back_as_it_was(tmp_path):
    kept = bank()
    kept.save(tmp_path / "bank")
    again = Bank.load(tmp_path / "bank")
    assert torch.equal(kept.images, again.images)
    assert torch.equal(kept.logits, again.logits)
    assert again.origin == {"method": "test"}
    (tmp_path / "bank").write_bytes(b"no bank")
    with pytest.raises(ValueError, match="is no bank of images"):
        Bank.load(tmp_path / "bank")


def test_a_bank_tells_what_it_holds():
    kept = bank()
    network = workshop.small_net(0).eval()
    labels = network(kept.images).argmax(1)
    assert kept.histogram().tolist() == [int((labels == k).sum()) for k in range(3)]
    assert kept.summary()["images"] == 12
    for label, shown in enumerate(kept.examples(2)):
        assert len(shown) == min(2, int((labels == label).sum()))
        assert (network(shown).argmax(1) == label).all() if len(shown) else True
    with pytest.raises(ValueError, match="a bank needs images"):
        Bank(torch.zeros(2, 1, 4, 4), torch.zeros(3, 2))


def test_every_image_of_a_bank_comes_once_an_epoch():
    kept = bank()
    batches = kept.batches(5, seed=2)
    seen = list(batches.epoch(0))
    assert len(batches) == len(seen) == 3
    index = torch.cat([batch.index for batch in seen])
    assert sorted(index.tolist()) == list(range(12))
    assert index.tolist() != torch.cat([batch.index for batch in batches.epoch(1)]).tolist()
    assert torch.equal(torch.cat([batch.images for batch in seen]), kept.images[index])
    assert torch.equal(torch.cat([batch.labels for batch in seen]), kept.labels[index])


def test_class_balance_is_relative_entropy():
    shares = [0.5, 0.25, 0.25]
    expected = -sum(p * math.log(p) for p in shares) / math.log(3)
    assert class_balance(torch.tensor([2, 1, 1])) == pytest.approx(expected)
    with pytest.raises(ValueError, match="histogram of 2 classes or more"):
        class_balance(torch.tensor([0, 0]))


def test_diversity_of_copies_is_nothing_and_of_noise_is_all():
    pattern = noise(1, 1, 8, 8)
    assert diversity(pattern.expand(6, -1, -1, -1)).item() == pytest.approx(0, abs=1e-6)
    assert diversity(noise(400, 1, 8, 8)).item() > 0.99
    half = pattern + noise(400, 1, 8, 8, seed=1)
    assert 0.3 < diversity(half).item() < 0.7


def test_the_detector_warns_of_a_collapse_and_is_silent_else(caplog):
    healthy, images = 10 * torch.eye(4).repeat(4, 1), noise(16, 1, 8, 8)
    detector = CollapseDetector(4)
    with caplog.at_level(logging.WARNING):
        detector.see(images, healthy)
        found = detector.report()
    assert not detector.warnings
    assert not caplog.records
    assert found["class_balance"] == 1
    one = torch.zeros(16, 4)
    one[:, 2] = 10
    cases = {
        "class_balance": (images, one),
        "diversity": (images[:1].expand(16, -1, -1, -1), healthy),
        "confidence": (images, healthy / 100),
    }
    for name, case in cases.items():
        with caplog.at_level(logging.WARNING):
            detector.see(*case)
            detector.report()
        assert name in detector.warnings[-1]
        assert detector.warnings[-1] in caplog.text
    assert "classes never made: 0, 1, 3" in detector.warnings[0]
    with pytest.raises(ValueError, match="no batch was seen"):
        detector.report()


def test_similarity_is_the_cosine_of_the_last_layers_rows():
    weight = draw(4, 6)
    similar = class_similarity(weight)
    for i in range(4):
        for j in range(4):
            norms = weight[i].norm() * weight[j].norm()
            expected = float(weight[i] @ weight[j] / norms)
            assert similar[i, j].item() == pytest.approx(expected, rel=1e-9)
    rows = concentrations(weight)
    assert torch.equal(rows.argmax(1), torch.arange(4))
    torch.testing.assert_close(rows.amin(1), torch.full((4,), 1e-4, dtype=torch.float64))
    with pytest.raises(ValueError, match="another one that it resembles less"):
        concentrations(torch.ones(3, 2))


def test_targets_follow_the_dirichlet_of_their_class():
    weight = draw(3, 5, seed=4)
    targets = dirichlet_targets(weight, 3000, scales=(1.0,))
    assert targets.shape == (9000, 3)
    torch.testing.assert_close(targets.sum(1), torch.ones(9000))
    rows = concentrations(weight)
    means = targets.view(3, 3000, 3).mean(1).double()
    torch.testing.assert_close(means, rows / rows.sum(1, keepdim=True), rtol=0, atol=0.03)
    peaked = dirichlet_targets(weight, 500, scales=(0.1,))
    assert peaked.amax(1).mean() > targets.amax(1).mean()
    assert torch.equal(targets, dirichlet_targets(weight, 3000, scales=(1.0,)))
    with pytest.raises(ValueError, match="scales above 0"):
        dirichlet_targets(weight, 2, scales=(0.0,))


def test_the_impressions_loss_is_a_softened_cross_entropy():
    logits, targets = draw(4, 3, scale=5.0), F.softmax(draw(4, 3, seed=1), 1)
    expected = 0.0
    for row, goal in zip((logits / 20).tolist(), targets.tolist(), strict=True):
        total = sum(math.exp(z) for z in row)
        expected -= sum(y * math.log(math.exp(z) / total) for z, y in zip(row, goal, strict=True))
    assert matching_cross_entropy(logits, targets).item() == pytest.approx(expected / 4, rel=1e-9)
    assert gradcheck(lambda z: matching_cross_entropy(z, targets, 2.0), (logits.requires_grad_(),))


def test_impressions_make_the_teacher_say_their_targets():
    teacher = workshop.small_net(1).eval()
    teacher[-1].weight.data *= 8  # as sure of itself as a trained one
    targets = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    bounds = pixel_bounds([0.5], [0.1])
    images = data_impressions(teacher, targets, (1, 8, 8), bounds=bounds, temperature=2.0,
                              iterations=120, lr=0.1, batch_size=2)  # fmt: skip
    assert images.shape == (3, 1, 8, 8)
    assert images.min() >= -5
    assert images.max() <= 5
    with torch.no_grad():
        said = F.softmax(teacher(images) / 2, 1)
    torch.testing.assert_close(said, targets, rtol=0, atol=0.15)


def test_impressions_and_their_student_never_touch_the_training_set(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    teacher, data = workshop.teacher_trial(source), {"name": "mnist", "evaluated": 20}
    for one_hot in (False, True):
        made = impressions_trial(
            workshop.context(tmp_path), 0, data=data, teacher=teacher, per_class=1, iterations=2,
            one_hot=one_hot, batch_size=20,
        )  # fmt: skip
        assert made.metrics["images"] == 20
        assert made.tensors["bank.images"].shape == (20, 1, 28, 28)
    outcome = banked_trial(
        workshop.context(tmp_path), 0, data=data, network={"name": "lenet5_half_zskd"},
        teacher=teacher, bank=workshop.FinishedTrial({}, made.tensors),
        recipe={"epochs": 2, "batch_size": 8, "lr": 1e-3, "optimiser": "adam"},
    )  # fmt: skip
    assert len(outcome.series["test_errors"]) == 2
    assert outcome.metrics["last_ten_test_errors_sd"] >= 0

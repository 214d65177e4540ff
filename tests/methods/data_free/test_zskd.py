"""ZSKD: similarities, targets, impressions."""

import data_free_workshop as workshop
import pytest
import torch
from draws import draw
from torch.nn import functional as F

from kdnb.methods.data_free import (
    class_similarity,
    concentrations,
    data_impressions,
    dirichlet_targets,
    pixel_bounds,
)
from kdnb.runs.functions.banks import banked_trial, impressions_trial


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

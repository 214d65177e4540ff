"""AE-KD on digits: what the history shows, and who is heard."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, mlp, teachers

import kdnb
from kdnb import losses
from kdnb.methods import multi_teacher as mt


def test_the_loss_and_the_weights_by_hand():
    images, labels = digits()
    members = teachers("mlp", "lenet", "mlp")
    fit = mt.aekd(mlp(), members, digits(), STEP, temperature=3.0, batch_size=120, largest=0.7)
    with torch.no_grad():
        z, theirs = mlp()(images), [member(images) for member in members]
    weights = losses.adaptive_weights(z, theirs, 3.0, 0.7)
    each = torch.stack([losses.soft_targets(z, v, 3.0) for v in theirs])
    row = fit.rows[0]
    assert row["soft"] == pytest.approx(0.9 * float((weights * each).sum()), rel=1e-3)
    assert row["hard"] == pytest.approx(float(losses.hard_loss(z, labels)), rel=1e-4)
    found = [row[f"weight{k}"] for k in (1, 2, 3)]
    assert found == pytest.approx(weights.tolist(), abs=1e-3)
    assert sum(found) == pytest.approx(1, abs=1e-5) and max(found) <= 0.7 + 1e-6


def test_the_tightest_bound_trains_as_the_mean_teacher():
    members, options = teachers("mlp", "lenet"), {"temperature": 2.0, "label_weight": 1.0}
    ours, mean = mlp(), mlp()
    mt.aekd(ours, members, digits(), QUICK, largest=0.5, soft_weight=1.0, **options)
    kdnb.distil(mean, members, digits(), QUICK, weight=1.0, **options)
    for one, other in zip(ours.parameters(), mean.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-4)


def test_a_teacher_of_wrong_labels_is_heard_less():
    images, labels = digits()
    wrong = mlp(9)
    kdnb.train(wrong, (images, torch.full_like(labels, 3)), QUICK, epochs=6)
    fit = mt.aekd(mlp(), [*teachers("mlp", "lenet"), wrong], digits(), QUICK, epochs=3)
    last = fit.rows[-1]
    assert last["weight3"] < min(last["weight1"], last["weight2"])
    assert last["weight3"] < 1 / 3

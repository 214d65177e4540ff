"""AE-KD on digits: what the history shows, and who is heard."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, lenet, mlp, teachers
from torch.nn import functional as F

import kdnb
from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.methods.multi_teacher.aekd import hint_weights
from kdnb.training.layers import Layers, layers_of, look


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


def test_the_hints_and_their_weights_by_hand():
    """As the authors' code solves it: mean gradients in the student's maps, by their directions."""
    images, labels = digits()
    members, student = teachers("lenet", "lenet", "lenet"), lenet()
    options = {"batch_size": 120, "hint_weight": 3.0, "largest": 0.5}
    fit = mt.aekd(student, members, digits(), STEP, **options)
    view = look(lenet(), layers_of(lenet()), images)
    maps = view.maps[-1].detach().requires_grad_()
    theirs = [look(one, layers_of(one), images).maps[-1].detach() for one in members]
    hints, gradients = [], []
    for adapter, other in zip(fit.learnt.adapters, theirs, strict=True):
        hints.append(F.mse_loss(adapter.projection(maps), other))
        gradients.append(torch.autograd.grad(hints[-1], maps)[0].mean(0).flatten())
    gradients = torch.stack(gradients)
    lengths = gradients.norm(dim=1)
    weights = losses.min_norm_weights(gradients / lengths[:, None], 0.5) / lengths
    weights = weights / weights.sum()
    row = fit.rows[0]
    found = [row[f"hint_weight{k}"] for k in (1, 2, 3)]
    assert found == pytest.approx(weights.tolist(), abs=2e-3)
    assert row["hints"] == pytest.approx(
        3 * float((weights * torch.stack(hints).detach()).sum()), rel=5e-3
    )
    assert row["hard"] == pytest.approx(float(losses.hard_loss(view.logits, labels)), rel=1e-3)
    plain = mt.aekd(lenet(), members, digits(), STEP, batch_size=120, largest=0.5)
    for term in ("soft", "hard", "weight1", "weight2", "weight3"):
        assert row[term] == pytest.approx(plain.rows[0][term], rel=1e-3)
    assert plain.learnt is None and not any("hint" in name for name in plain.rows[0])


def test_hints_that_pull_one_way_and_another():
    feature = torch.tensor([[1.0, 0.0], [1.0, 2.0]], requires_grad=True)
    hints = torch.stack([feature[:, 0].sum(), 2 * feature[:, 1].sum()])
    # Directions are orthogonal: half each, and then by the lengths 1 and 2.
    torch.testing.assert_close(hint_weights(feature, hints, 1.0), torch.tensor([2 / 3, 1 / 3]))


def test_a_student_learns_the_maps_of_its_teachers():
    def error(weight):
        fit = mt.aekd(
            lenet(), teachers("lenet", "lenet"), digits(), QUICK, epochs=6, hint_weight=weight
        )
        return fit.rows[-1]["hints"] / weight

    assert error(30.0) < 0.9 * error(1e-6)


def test_hints_are_asked_for():
    members = teachers("lenet")
    with pytest.raises(ValueError, match="give a hint_weight above 0"):
        mt.aekd(lenet(), members, digits(), STEP, layers=[Layers(maps=("0",))] * 2)
    with pytest.raises(ValueError, match="one for the student and one for each of 1 teachers"):
        mt.aekd(lenet(), members, digits(), STEP, hint_weight=1.0, layers=[layers_of(members[0])])

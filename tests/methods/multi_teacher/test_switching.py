"""Fukuda's two ways: their expectations, their steps and what stands in the history."""

import copy

import pytest
import torch
from several_teachers import QUICK, STEP, digits, mlp, state, teachers, unchanged

from kdnb import losses
from kdnb.data import as_batches
from kdnb.methods import multi_teacher as mt


def test_the_mean_over_teachers_is_the_gradient_of_the_mean_teacher():
    images, _ = digits()
    members, student = teachers("mlp", "lenet"), mlp()
    with torch.no_grad():
        theirs = [member(images) for member in members]
    z = student(images)
    mean = losses.ensemble_log_probabilities(theirs)
    (expected,) = torch.autograd.grad(losses.soft_targets(z, mean, 1.0), z, retain_graph=True)
    each = [
        torch.autograd.grad(losses.soft_targets(z, v, 1.0), z, retain_graph=True)[0] for v in theirs
    ]
    torch.testing.assert_close(torch.stack(each).mean(0), expected, rtol=0, atol=1e-6)
    shifts = torch.stack([one.sum(0) for one in each])
    spread = (shifts - shifts.mean(0)).square().sum(1).mean()
    torch.testing.assert_close(mt.target_spread(z.detach(), theirs), spread)
    assert spread > 0


def test_one_teacher_a_batch():
    """With one batch an epoch the loss is that of one of the teachers, and both come."""
    images, _ = digits()
    members = teachers("mlp", "lenet")
    with torch.no_grad():
        z = mlp()(images)
        each = [float(losses.soft_targets(z, member(images), 2.0)) for member in members]
    fit = mt.learn_by_switching(
        mlp(), members, digits(), STEP, temperature=2.0, batch_size=120, epochs=12
    )
    chosen = [min(range(2), key=lambda k: abs(each[k] - row["soft"])) for row in fit.rows]
    for row, one in zip(fit.rows, chosen, strict=True):
        assert row["soft"] == pytest.approx(each[one], rel=1e-3)
    assert set(chosen) == {0, 1}
    assert "hard" not in fit.rows[0]


def test_every_sample_once_per_teacher():
    images, labels = digits(50)
    single = as_batches((images, labels), 20)
    several = mt.OncePerTeacher(single, 3, seed=1)
    assert (several.examples, len(several)) == (150, 8)
    seen = []
    for batch in several.epoch(0):
        assert batch.size <= 20
        for image, label, teacher in zip(batch.images, batch.labels, batch.index, strict=True):
            place = int((images == image).flatten(1).all(1).nonzero()[0])
            assert labels[place] == label
            seen.append((place, int(teacher)))
    assert sorted(seen) == [(place, teacher) for place in range(50) for teacher in range(3)]
    again = [b.index for b in mt.OncePerTeacher(single, 3, seed=1).epoch(0)]
    assert all(map(torch.equal, again, [b.index for b in several.epoch(0)]))
    assert not torch.equal(next(several.epoch(1)).index, again[0])


def test_the_augmented_loss_is_the_mean_over_teachers():
    images, labels = digits()
    members, student = teachers("mlp", "lenet"), mlp()
    before = [state(one) for one in members]
    fit = mt.learn_by_augmentation(student, members, digits(), STEP, label_weight=1.0)
    with torch.no_grad():
        z = mlp()(images)
        each = [float(losses.soft_targets(z, member(images), 1.0)) for member in members]
        hard = float(losses.hard_loss(z, labels))
    assert fit.rows[0]["soft"] == pytest.approx(sum(each) / 2, rel=1e-4)
    assert fit.rows[0]["hard"] == pytest.approx(hard, rel=1e-4)
    assert all(unchanged(*pair) for pair in zip(members, before, strict=True))


@pytest.mark.parametrize("verb", [mt.learn_by_switching, mt.learn_by_augmentation])
def test_a_student_learns_without_labels(verb):
    images, _ = digits()
    fit = verb(mlp(5), teachers("mlp", "mlp"), images, QUICK, epochs=4, lr=1e-2)
    assert fit.rows[-1]["soft"] < 0.7 * fit.rows[0]["soft"]


def test_a_killed_run_goes_on_as_it_would_have(tmp_path):
    members = teachers("mlp", "lenet")
    whole, cut = mlp(), mlp()
    mt.learn_by_switching(whole, members, digits(), QUICK, seed=3)
    path = tmp_path / "checkpoint"

    class Stop(Exception):
        pass

    patched, calls = losses.soft_targets, []

    def stopping(*given):
        calls.append(1)
        if len(calls) == 6:
            raise Stop
        return patched(*given)

    start = copy.deepcopy(cut)
    losses.soft_targets = stopping
    try:
        with pytest.raises(Stop):
            mt.learn_by_switching(cut, members, digits(), QUICK, seed=3, checkpoint=path)
    finally:
        losses.soft_targets = patched
    mt.learn_by_switching(start, members, digits(), QUICK, seed=3, checkpoint=path)
    assert unchanged(start, state(whole))


def test_a_loader_has_no_samples_to_repeat():
    loader = torch.utils.data.DataLoader(list(zip(*digits(20), strict=True)), 10)
    with pytest.raises(TypeError, match="once per teacher takes Images, Batches or tensors"):
        mt.learn_by_augmentation(mlp(), [mlp(1)], loader, QUICK, batch_size=10)

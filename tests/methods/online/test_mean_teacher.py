"""Mean teacher: the moving average and whom it holds."""

import copy

import draws
import pytest
import torch
from killed_runs import QUICK, STEP, Killed, killed_after
from small_networks import assert_same, batches, linear, small, state

from kdnb.methods import online


def test_the_moving_average_by_hand():
    pair = online.MeanTeacher(linear(0), ema_decay=0.6)
    start = pair.student[1].weight.detach().clone()
    path, mean = [], start.clone()
    for step, decay in enumerate((1 / 2, 0.6, 0.6), start=1):  # 1 - 1/2, then 2/3 and 3/4 capped
        with torch.no_grad():
            pair.student[1].weight.add_(step)
        path.append(pair.student[1].weight.detach().clone())
        pair.average()
        mean = decay * mean + (1 - decay) * path[-1]
        torch.testing.assert_close(pair.teacher[1].weight, mean)
    assert int(pair.step) == 3


def test_the_teacher_follows_after_every_step():
    pair = online.MeanTeacher(linear(0), ema_decay=0.9)
    start = pair.student[1].weight.detach().clone()
    online.mean_teacher(pair, batches(count=8), STEP, weight=0.0)
    torch.testing.assert_close(pair.teacher[1].weight, (start + pair.student[1].weight) / 2)
    assert pair.teacher[1].weight.grad is None
    assert (pair.student[1].weight - start).abs().max() > 1e-4


def test_the_teacher_holds_the_student_back():
    """One step's pull is the gradient of the squared difference for the student alone."""
    ends = []
    for weight in (0.0, 10.0):
        pair = online.MeanTeacher(linear(0))
        pair.teacher[1].weight.data.add_(draws.draw(3, 36, seed=1, scale=0.1).float())
        teacher = copy.deepcopy(pair.teacher)
        online.mean_teacher(pair, batches(count=8), STEP, weight=weight, ramp_up=0)
        ends.append(pair.student[1].weight.detach())
    fresh, batch = linear(0), next(iter(batches(count=8)))
    cost = (fresh(batch.images).softmax(1) - teacher(batch.images).softmax(1)).square().mean()
    (gradient,) = torch.autograd.grad(cost, fresh[1].weight)
    torch.testing.assert_close(ends[1] - ends[0], -0.1 * 10 * gradient, rtol=1e-3, atol=1e-6)


def test_student_and_teacher_see_views_of_their_own():
    seen = []

    def view(images):
        seen.append(images + torch.randn_like(images))
        return seen[-1]

    online.mean_teacher(online.MeanTeacher(small()), batches(count=8), STEP, view=view)
    assert len(seen) == 2
    assert not torch.equal(*seen)


def test_mean_teacher_resumes_bit_for_bit(tmp_path):
    whole = online.MeanTeacher(small())
    online.mean_teacher(whole, batches(), QUICK, ramp_up=2)
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        online.mean_teacher(
            online.MeanTeacher(small()), batches(), QUICK, ramp_up=2,
            checkpoint=file, evaluate=killed_after(1),
        )  # fmt: skip
    resumed = online.MeanTeacher(small())
    online.mean_teacher(resumed, batches(), QUICK, ramp_up=2, checkpoint=file)
    assert_same(state(whole), state(resumed))
    assert int(resumed.step) == 15
    with pytest.raises(ValueError, match="ema_decay must lie"):
        online.MeanTeacher(small(), 1.0)

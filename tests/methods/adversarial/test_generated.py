"""Generated images beside real ones in the transfer set."""

import copy
import math

import pytest
import torch
from draws import draw
from small_gans import QUICK, Constant, batches, generator_of
from torch import nn

from kdnb import losses
from kdnb.data import Batches
from kdnb.methods.adversarial import (
    distil_with_generated,
    mixed,
)
from kdnb.methods.offline import distil


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def soft(z, v):
    return losses.soft_targets(z, v, 2.0)


def mix(student, teacher, generator, data, recipe=QUICK, **options):
    return distil_with_generated(student, teacher, generator, data, recipe, loss=soft, **options)


def test_mixing():
    real, made = draw(4, 1, 2, 2), draw(4, 1, 2, 2, seed=1)
    found = mixed(real, made, torch.tensor([True, False, False, True]))
    assert torch.equal(found, torch.stack([made[0], real[1], real[2], made[3]]))
    with pytest.raises(ValueError, match=r"\(4, 1, 2, 1\)"):
        mixed(real, made[..., :1], torch.zeros(4, dtype=torch.bool))


def test_so_many_are_replaced():
    """A generator of one value, which no pixel of the data has: count what the student is shown."""
    seen = []
    student = linear(0)
    student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    teacher = linear(1)
    teacher_saw = []
    teacher.register_forward_pre_hook(lambda _, i: teacher_saw.append(i[0].flatten(1)))
    recipe = QUICK.model_copy(update={"epochs": 8})
    mix(student, teacher, Constant(7.0), batches(), recipe, generated_share=0.3)
    rows = torch.cat(seen)
    made = (rows == 7).all(1)
    assert len(rows) == 320
    assert ((rows == 7).any(1) == made).all()
    assert float(made.float().mean()) == pytest.approx(0.3, abs=0.08)
    assert torch.equal(torch.cat(teacher_saw), rows)


def test_nothing_generated_is_plain_distillation():
    class Changing(Batches):  # the teacher is asked in every step, as here
        augmented = True

    data = batches()
    changing = Changing(data.images, 8, mean=(0.5,), sd=(0.3,))
    one, two, teacher = linear(0), linear(0), linear(1)
    distil.distil(one, teacher, changing, QUICK, method=soft, label_weight=0.3)
    mix(two, teacher, Constant(7.0), data, generated_share=0.0, hard_weight=0.3)
    torch.testing.assert_close(one[1].weight, two[1].weight)


def test_a_generated_image_has_no_label():
    """All generated: the cross-entropy is 0, and neither labels nor real images matter."""
    ends = []
    for seed in (0, 1):
        student, teacher, generator = linear(0), linear(1), generator_of(3)
        states = [copy.deepcopy(net.state_dict()) for net in (teacher, generator)]
        labels = torch.full((40,), seed)
        history = mix(
            student, teacher, generator, batches(seed=seed, labels=labels),
            generated_share=1.0, hard_weight=1.0,
        )  # fmt: skip
        assert history[-1]["hard"] == 0
        assert math.isfinite(history[-1]["soft"])
        ends.append(student[1].weight)
        for net, state in zip((teacher, generator), states, strict=True):
            assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert torch.equal(*ends)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; got 2"):
        mix(linear(0), linear(1), generator_of(3), batches(), generated_share=2)

"""Frame-level distillation: loops over frames, padding that does not count, and soft targets."""

import math

import pytest
import torch
from draws import draw, draw_wide

from kdnb.losses import frame_distillation, soft_targets
from kdnb.losses.frame_level import present_frames

LENGTHS = torch.tensor([3, 1, 4])


def naive(student, teacher, lengths, temperature):
    total, count = 0.0, 0
    for z, v, length in zip(student.tolist(), teacher.tolist(), lengths.tolist(), strict=True):
        for n in range(length):
            p = [math.exp(a / temperature) for a in v[n]]
            q = [math.exp(a / temperature) for a in z[n]]
            p, q = [a / sum(p) for a in p], [a / sum(q) for a in q]
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            count += 1
    return temperature**2 * total / count


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_against_loops(temperature):
    s, t = draw_wide(3, 4, 5), draw_wide(3, 4, 5, seed=1)
    expected = naive(s, t, LENGTHS, temperature)
    assert frame_distillation(s, t, LENGTHS, temperature).item() == pytest.approx(expected)


def test_padding_counts_for_nothing():
    s, t = draw(3, 4, 5).requires_grad_(), draw(3, 4, 5, seed=1)
    value = frame_distillation(s, t, LENGTHS)
    value.backward()
    behind = ~present_frames(s, LENGTHS)
    assert behind.sum() == 4 and not s.grad[behind].any() and s.grad[~behind].any()
    other = torch.where(behind[..., None], 7 * draw(3, 4, 5, seed=2), s.detach())
    assert frame_distillation(other, t, LENGTHS).item() == value.item()


def test_it_is_hintons_loss_of_all_frames():
    s, t = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    whole = torch.tensor([3, 3])
    torch.testing.assert_close(
        frame_distillation(s, t, whole, 2.0), soft_targets(s.flatten(0, 1), t.flatten(0, 1), 2.0)
    )


def test_gradient_is_posterior_minus_posterior():
    s, t = draw(1, 2, 4).requires_grad_(), draw(1, 2, 4, seed=1)
    frame_distillation(s, t, torch.tensor([2])).backward()
    torch.testing.assert_close(s.grad, (s.softmax(2) - t.softmax(2)).detach() / 2)


def test_gradients_by_finite_differences():
    s, t = draw(2, 3, 4).requires_grad_(), draw(2, 3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: frame_distillation(a, b, torch.tensor([2, 3])), (s, t)
    )


def test_extreme_logits():
    s = torch.tensor([[[1e4, -1e4], [0.0, 0.0]]], requires_grad=True)
    value = frame_distillation(s, -s.detach(), torch.tensor([2]))
    value.backward()
    assert value.item() == pytest.approx(1e4) and s.grad.isfinite().all()
    half = frame_distillation(s.half(), -s.half(), torch.tensor([2]))
    assert half.dtype == torch.float32 and half.isfinite()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher_logits": torch.zeros(2, 3, 5)}, "the same shape"),
        ({"student_logits": torch.zeros(2, 3)}, "batch, frames, classes"),
        ({"lengths": torch.tensor([0, 3])}, "1 to 3"),
        ({"lengths": torch.tensor([2, 4])}, "1 to 3"),
        ({"lengths": torch.tensor([2.0, 3.0])}, "integers"),
        ({"lengths": torch.tensor([2])}, "one for each sequence"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_what_is_refused(change, said):
    given = {
        "student_logits": torch.zeros(2, 3, 4), "teacher_logits": torch.zeros(2, 3, 4),
        "lengths": torch.tensor([2, 3]),
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        frame_distillation(**{**given, **change})

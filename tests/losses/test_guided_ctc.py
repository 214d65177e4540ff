"""Guided CTC: loops over frames, what the guide's blanks and padding ask, and no gradient to it."""

import pytest
import torch
from draws import draw

from kdnb.losses import spike_guidance


def naive(student, guide, lengths, blank):
    total = 0.0
    for z, v, length in zip(student, guide, lengths.tolist(), strict=True):
        for n in range(length):
            best = max(range(len(v[n])), key=lambda k, row=v[n]: row[k])
            if best != blank:
                total -= float(z[n].softmax(0)[best])
    return total / len(student)


@pytest.mark.parametrize("blank", [0, 3])
def test_against_loops(blank):
    s, g, lengths = draw(3, 6, 4), draw(3, 6, 4, seed=1), torch.tensor([6, 2, 5])
    expected = naive(s, g, lengths, blank)
    assert spike_guidance(s, g, lengths, blank).item() == pytest.approx(expected)


def test_a_student_with_all_spikes_has_minus_their_number():
    guide = 50 * torch.eye(4)[torch.tensor([[0, 2, 0, 1, 0, 3]])].double()
    assert spike_guidance(guide, guide, torch.tensor([6])).item() == pytest.approx(-3)
    assert spike_guidance(guide, guide, torch.tensor([4])).item() == pytest.approx(-2)
    late = guide.roll(1, 1)  # the same spikes, a frame later
    assert spike_guidance(late, guide, torch.tensor([6])).item() == pytest.approx(0)


def test_a_guide_of_blanks_asks_nothing():
    guide = torch.zeros(2, 3, 4)
    guide[..., 0] = 1
    s = draw(2, 3, 4).requires_grad_()
    spike_guidance(s, guide, torch.tensor([3, 3])).backward()
    assert not s.grad.any()


def test_no_gradient_reaches_the_guide_and_the_students_is_right():
    s, g = draw(2, 3, 4).requires_grad_(), draw(2, 3, 4, seed=1).requires_grad_()
    spike_guidance(s, g, torch.tensor([3, 2])).backward()
    assert g.grad is None
    assert torch.autograd.gradcheck(
        lambda a: spike_guidance(a, g.detach(), torch.tensor([3, 2])), (s,)
    )


def test_extreme_logits():
    s = torch.tensor([[[1e4, -1e4]]], requires_grad=True)
    value = spike_guidance(s, -s.detach(), torch.tensor([1]))
    value.backward()
    assert value.item() == 0 and s.grad.isfinite().all()


def test_what_is_refused():
    z = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="same shape"):
        spike_guidance(z, z[..., :3], torch.tensor([3, 3]))
    with pytest.raises(ValueError, match="blank"):
        spike_guidance(z, z, torch.tensor([3, 3]), 4)
    with pytest.raises(ValueError, match="1 to 3"):
        spike_guidance(z, z, torch.tensor([3, 9]))

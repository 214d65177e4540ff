"""iCaRL's loss: each column by its own rule, its least value, and stored images of old classes."""

import math

import pytest
import torch
from draws import draw_wide

from kdnb.losses import icarl_loss


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("known", [1, 3, 6])
def test_against_loops(known):
    z, v = draw_wide(5, 6), draw_wide(5, known, seed=1)
    labels, total = torch.tensor([0, 5, 3, 1, 4]), 0.0
    for b in range(5):
        for y in range(6):
            g = sigmoid(z[b, y].item())
            target = sigmoid(v[b, y].item()) if y < known else float(labels[b] == y)
            total -= target * math.log(g) + (1 - target) * math.log(1 - g)
    assert icarl_loss(z, labels, v).item() == pytest.approx(total / 5, rel=1e-9)


def test_the_gradient_is_the_gap_of_the_sigmoids():
    z, v = draw_wide(4, 5).requires_grad_(), draw_wide(4, 2, seed=1)
    labels = torch.tensor([2, 4, 0, 3])
    (found,) = torch.autograd.grad(icarl_loss(z, labels, v), z)
    named = torch.nn.functional.one_hot(labels, 5)[:, 2:].double()
    expected = (z.sigmoid() - torch.cat([v.sigmoid(), named], 1)).detach() / 4
    torch.testing.assert_close(found, expected)


def test_an_old_class_is_learnt_from_the_old_network_alone():
    """Also of an image of that class: its label says nothing but "no new class"."""
    z, v = draw_wide(3, 4), draw_wide(3, 2, seed=1)
    one, other = (icarl_loss(z, torch.full((3,), label), v) for label in (0, 1))
    assert one == other
    assert icarl_loss(z, torch.full((3,), 2), v) != one


def test_its_least_value_is_the_entropy_of_the_old_sigmoids():
    v, labels = draw_wide(3, 2), torch.tensor([2, 3, 2])
    sure = torch.where(torch.nn.functional.one_hot(labels - 2, 2) > 0, 60.0, -60.0).double()
    q = v.sigmoid()
    entropy = (torch.special.entr(q) + torch.special.entr(1 - q)).sum(1).mean()
    torch.testing.assert_close(icarl_loss(torch.cat([v, sure], 1), labels, v), entropy)
    moved = torch.cat([v + 0.1, sure], 1)
    assert icarl_loss(moved, labels, v) > entropy


def test_sure_answers_stay_finite():
    z = torch.tensor([[1e4, -1e4, 1e4]], requires_grad=True)
    loss = icarl_loss(z, torch.tensor([1]), torch.tensor([[-1e4]]))
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss == 3e4 and gradient.isfinite().all()


def test_wrong_shapes():
    z, y = torch.zeros(3, 4), torch.tensor([0, 1, 2])
    for old in (torch.zeros(2, 2), torch.zeros(3, 5)):
        with pytest.raises(ValueError, match=r"old_logits must be \(3, at most 4\)"):
            icarl_loss(z, y, old)
    with pytest.raises(ValueError, match=r"got \(3, 0\)"):
        icarl_loss(z, y, torch.zeros(3, 0))

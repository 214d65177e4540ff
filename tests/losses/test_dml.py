"""The mutual loss: by hand, its gradients, its targets."""

import draws
import pytest
import torch
from torch.autograd import gradcheck

from kdnb import losses


def test_peers_by_hand():
    student, *peers = (draws.draw(4, 5, seed=s) for s in range(4))
    expected = 0.0
    for peer in peers:
        p, q = (peer / 2).softmax(1), (student / 2).softmax(1)
        expected += 4 * float((p * (p / q).log()).sum(1).mean()) / 3
    assert float(losses.mutual_loss(student, peers, "peers", 2.0)) == pytest.approx(expected)


def test_ensemble_by_hand():
    student, *peers = (draws.draw(4, 5, seed=s) for s in range(4))
    p = sum((peer / 2).softmax(1) for peer in peers) / 3
    q = (student / 2).softmax(1)
    expected = 4 * float((p * (p / q).log()).sum(1).mean())
    assert float(losses.mutual_loss(student, peers, "ensemble", 2.0)) == pytest.approx(expected)


@pytest.mark.parametrize("target", ["peers", "ensemble", "mean_logits"])
def test_gradients_by_finite_differences(target):
    peers = [draws.draw(3, 4, seed=s) for s in (1, 2)]
    student = draws.draw(3, 4).requires_grad_()
    assert gradcheck(lambda z: losses.mutual_loss(z, peers, target, 1.5), (student,))


def test_the_mean_of_probabilities_has_the_gradient_of_the_peers():
    """DML and DML_e, as its equation is recalled, are the same method up to a constant."""
    peers = [draws.draw(6, 4, seed=s, scale=3.0) for s in (1, 2, 3)]
    gradients, values = {}, {}
    for target in ("peers", "ensemble", "mean_logits"):
        student = draws.draw(6, 4).requires_grad_()
        loss = losses.mutual_loss(student, peers, target)
        (gradients[target],) = torch.autograd.grad(loss, student)
        values[target] = float(loss.detach())
    torch.testing.assert_close(gradients["peers"], gradients["ensemble"])
    assert values["ensemble"] < values["peers"]
    assert (gradients["mean_logits"] - gradients["peers"]).abs().max() > 1e-3


def test_no_gradient_reaches_a_peer():
    student, peer = (draws.draw(3, 4, seed=s).requires_grad_() for s in (0, 1))
    losses.mutual_loss(student, [peer]).backward()
    assert student.grad.abs().max() > 0
    assert peer.grad is None

"""The reused classifier's loss against loops; its projector."""

import pytest
import torch
from draws import MAPS, draw, draw32
from loops import AXES, naive_sum

from kdnb import losses


def trains(module, loss):
    """Every parameter takes part in the loss, and with a finite gradient."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return True


@pytest.mark.parametrize(("variant", "divisor"), [("paper", 1), ("authors", len(AXES))])
def test_reused_classifier_against_loops(variant, divisor):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    expected = naive_sum(student, teacher, lambda s, t, c: (s - t) ** 2) / divisor
    value = losses.reused_classifier(student, teacher, variant)
    assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [(6, 4), (3, 5)])
def test_reused_classifier_projector(size):
    student, teacher = draw32(3, 4, *size), draw32(3, 6, 4, 4, seed=1).relu()
    projector = losses.ReusedClassifierProjector(student.shape, teacher.shape)
    projected, target = projector(student, teacher)
    assert projected.shape == target.shape
    assert (projected >= 0).all()
    assert trains(projector, losses.reused_classifier(projected, target))

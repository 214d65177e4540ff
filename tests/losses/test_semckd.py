"""Semantic calibration against loops; its module."""

import pytest
import torch
from draws import draw, draw32

from kdnb import losses


def trains(module, loss):
    """Every parameter takes part in the loss, and with a finite gradient."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return True


def test_semantic_calibration_against_loops():
    sizes = [(2, 3, 2), (4, 1, 5)]
    student = [[draw(3, *size, seed=10 * i + j) for j, size in enumerate(sizes)] for i in range(3)]
    teacher = [[draw(3, *size, seed=99 - i + j) for j, size in enumerate(sizes)] for i in range(3)]
    attention = torch.softmax(draw(3, 3, 2), dim=2)
    total = 0.0
    for b in range(3):
        for i in range(3):
            for j in range(2):
                s, t = (m[i][j][b].flatten().tolist() for m in (student, teacher))
                square = sum((x - y) ** 2 for x, y in zip(s, t, strict=True)) / len(s)
                total += attention[b, i, j].item() * square / 3
    loss = losses.semantic_calibration
    assert loss(student, teacher, attention).item() == pytest.approx(total, rel=1e-10)
    assert loss(student, teacher, attention, "authors").item() == pytest.approx(total / 3)
    assert loss(student, student, attention).item() == 0


def test_semantic_calibration_module():
    student = [draw32(5, 3, 6, 4), draw32(5, 4, 3, 2, seed=1)]
    teacher = [draw32(5, 4, 6, 4, seed=2), draw32(5, 5, 4, 2, seed=3), draw32(5, 6, 3, 3, seed=4)]
    module = losses.SemanticCalibration(
        [maps.shape for maps in student], [maps.shape for maps in teacher], batch=5
    )
    projected, targets, attention = module(student, teacher)
    assert attention.shape == (5, 2, 3)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(5, 2))
    assert projected[0][2].shape == targets[0][2].shape == (5, 6, 3, 3)
    assert trains(module, losses.semantic_calibration(projected, targets, attention))
    with pytest.raises(ValueError, match=r"built for batches of 5; got \(4, 3, 6, 4\)"):
        module([maps[:4] for maps in student], [maps[:4] for maps in teacher])
    with pytest.raises(ValueError, match="student_maps must be a list of length 2; got 1"):
        module(student[:1], teacher)

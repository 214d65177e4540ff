"""Hierarchical context against loops; the fusion."""

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


@pytest.mark.parametrize("size", [(8, 8), (5, 3), (3, 6), (2, 2), (1, 1)])
def test_hierarchical_context_against_loops(size):
    student, teacher = draw(2, 3, *size), draw(2, 3, *size, seed=1)
    difference, (height, width) = student - teacher, size
    total, weight, weights = difference.square().mean().item(), 1.0, 1.0
    for level in (4, 2, 1):
        rows, columns = min(level, height), min(level, width)
        if (rows, columns) == size:
            continue
        weight /= 2
        weights += weight
        for i in range(rows):
            top, bottom = i * height // rows, -(-(i + 1) * height // rows)
            for j in range(columns):
                left, right = j * width // columns, -(-(j + 1) * width // columns)
                cell = difference[:, :, top:bottom, left:right].mean(dim=(2, 3))
                total += weight * cell.square().mean().item() / (rows * columns)
    value = losses.hierarchical_context(student, teacher).item()
    assert value == pytest.approx(total / weights, rel=1e-10)


def test_review_fusion():
    student = [draw32(3, 4, 8, 6), draw32(3, 5, 4, 3, seed=1), draw32(3, 6, 1, 1, seed=2)]
    teacher = [draw32(3, 7, 8, 6, seed=3), draw32(3, 8, 5, 3, seed=4), draw32(3, 9, 1, 1, seed=5)]
    shapes = [[maps.shape for maps in side] for side in (student, teacher)]
    fusion = losses.ReviewFusion(*shapes)
    outputs = fusion(student)
    assert [maps.shape for maps in outputs] == shapes[1]
    pairs = zip(outputs, teacher, strict=True)
    assert trains(fusion, sum(losses.hierarchical_context(s, t) for s, t in pairs))
    with pytest.raises(ValueError, match="must be lists of one length, at least 1; got 3 and 2"):
        losses.ReviewFusion(shapes[0], shapes[1][:2])
    with pytest.raises(ValueError, match="student_maps must be a list of length 3; got 2"):
        fusion(student[:2])


def test_review_fusion_passes_knowledge_upwards_only():
    """A shallow teacher layer reaches the deep student layers; a deep one not the shallow."""
    student = [draw32(3, 4, 4, 4), draw32(3, 4, 2, 2, seed=1)]
    student = [maps.requires_grad_() for maps in student]
    fusion = losses.ReviewFusion([(4, 4, 4), (4, 2, 2)], [(4, 4, 4), (4, 2, 2)])
    shallow, deep = fusion(student)
    weights = draw32(3, 4, 4, 4, seed=2)
    assert torch.autograd.grad((weights * shallow).sum(), student[1])[0].abs().sum() > 0
    unreached = torch.autograd.grad(deep.square().sum(), student[0], allow_unused=True)
    assert unreached == (None,)

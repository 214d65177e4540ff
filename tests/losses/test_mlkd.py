"""MLKD: its three levels by loops."""

import pytest
import torch
from draws import draw_wide
from loops import kl, softmax

from kdnb.losses import (
    multi_level_logits,
)


@pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
def test_mlkd_against_loops(shape):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    batch, classes = shape
    paper = authors = 0.0
    for temperature in (1.5, 4.0):
        q = [softmax(row, temperature) for row in student.tolist()]
        p = [softmax(row, temperature) for row in teacher.tolist()]
        instance = sum(kl(a, b) for a, b in zip(p, q, strict=True)) / batch
        between = 0.0
        for a in range(batch):
            for b in range(batch):
                gap = sum(p[a][k] * p[b][k] - q[a][k] * q[b][k] for k in range(classes))
                between += 3.0 * gap**2 / batch
        for a in range(classes):
            for b in range(classes):
                gap = sum(p[i][a] * p[i][b] - q[i][a] * q[i][b] for i in range(batch))
                between += 0.5 * gap**2 / classes
        paper += 2.0 * instance + between
        authors += 2.0 * temperature**2 * instance + between
    ours = multi_level_logits(student, teacher, (1.5, 4.0), 2.0, 3.0, 0.5)
    assert ours.item() == pytest.approx(paper, rel=1e-9)
    ours = multi_level_logits(student, teacher, [1.5, 4.0], 2.0, 3.0, 0.5, "authors")
    assert ours.item() == pytest.approx(authors, rel=1e-9)


def test_mlkd_of_very_many_classes_is_cheap_and_exact():
    """More classes than samples: the same value and gradient, and no classes x classes matrix."""
    student, teacher = draw_wide(3, 50).float().requires_grad_(), draw_wide(3, 50, seed=1).float()
    close = (teacher + 1e-3 * student).detach().requires_grad_()
    for one in (student, close):
        q, p = (one / 2).softmax(1).double(), (teacher / 2).softmax(1).double()
        expected = (p.T @ p - q.T @ q).square().sum() / 50
        ours = multi_level_logits(one, teacher, [2.0], 0.0, 0.0, 1.0)
        assert ours.item() == pytest.approx(expected.item(), rel=1e-3)
        gradients = torch.autograd.grad(ours, one) + torch.autograd.grad(expected, one)
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-9)
    many = torch.randn(4, 200_000)  # classes² would be 160 GB
    assert torch.isfinite(multi_level_logits(many, many.flip(0)))

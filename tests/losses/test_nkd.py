"""NKD by loops, and the gradients of its two parts."""

import math

import pytest
import torch
from draws import draw_wide, labels_of
from loops import rows, softmax, without
from torch.nn import functional as F

from kdnb.losses import (
    normalized_kd,
)


def test_nkd_has_the_gradients_of_its_two_parts():
    """On the target p_y (q - onehot), among the others w T (normalised q - normalised p)."""
    student, teacher = draw_wide(5, 6).requires_grad_(), draw_wide(5, 6, seed=1)
    labels, temperature, weight = labels_of(student), 2.0, 1.5
    loss = normalized_kd(student, teacher, labels, temperature, weight)
    (gradient,) = torch.autograd.grad(loss, student)
    chosen = F.one_hot(labels, 6).bool()
    target = teacher.softmax(1)[chosen][:, None] * (student.softmax(1) - chosen.double())
    q, p = (
        (logits / temperature).masked_fill(chosen, -math.inf).softmax(1)
        for logits in (student, teacher)
    )
    torch.testing.assert_close(gradient, (target + weight * temperature * (q - p)) / 5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 25)])
def test_nkd_against_loops(shape, temperature):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    labels = labels_of(student)
    nkd = 0.0
    for (z, v), y in zip(rows(student, teacher), labels.tolist(), strict=True):
        q, p = softmax(z, temperature), softmax(v, temperature)
        nkd -= softmax(v)[y] * math.log(softmax(z)[y])
        for a, b in zip(without(p, y), without(q, y), strict=True):
            nkd -= 0.7 * temperature**2 * a * math.log(b)
    ours = normalized_kd(student, teacher, labels, temperature, 0.7)
    assert ours.item() == pytest.approx(nkd / shape[0], rel=1e-9)

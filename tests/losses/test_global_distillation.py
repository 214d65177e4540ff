"""Global distillation: what is left over is shared, what the parts know, and the uniform answer."""

import math

import pytest
import torch
from draws import draw_wide
from loops import rows, softmax

from kdnb.losses import (
    confidence_penalty,
    joined_distillation,
    joined_probabilities,
    separate_distillation,
    soft_targets,
)


def joined_row(v, c, temperature):
    """As the authors' code goes: fill, scale, then put the largest back."""
    p, new = softmax(v, temperature), softmax(c, temperature)
    known, classes = len(p), len(p) + len(new)
    most = max(range(known), key=p.__getitem__)
    spare = (1 - p[most]) * len(new) / (classes - 1)
    old = [value * (known - 1) / (classes - 1) for value in p]
    old[most] = p[most]
    return old + [value * spare for value in new]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(("known", "new"), [(2, 2), (3, 1), (1, 4), (8, 2)])
def test_joined_against_loops(known, new, temperature):
    v, c, z = draw_wide(5, known), draw_wide(5, new, seed=1), draw_wide(5, known + new, seed=2)
    q = joined_probabilities(v, c, temperature)
    expected = [joined_row(a, b, temperature) for a, b in rows(v, c)]
    torch.testing.assert_close(q, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(q.sum(1), torch.ones(5, dtype=torch.float64))
    total = sum(
        a * math.log(a / b)
        for ours, row in zip(z.tolist(), expected, strict=True)
        for a, b in zip(row, softmax(ours, temperature), strict=True)
        if a
    )
    found = joined_distillation(z, v, c, temperature)
    assert found.item() == pytest.approx(temperature**2 * total / 5, rel=1e-9, abs=1e-12)


def test_an_unsure_old_network_leaves_the_same_to_every_other_class():
    q = joined_probabilities(torch.zeros(1, 4), torch.zeros(1, 2))
    torch.testing.assert_close(q[0, 1:], q[0, 1].expand(5))
    assert q[0, 0] == 0.25


def test_a_sure_old_network_leaves_nothing():
    v = torch.tensor([[400.0, 0, 0]], requires_grad=True)
    c, z = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 5, requires_grad=True)
    loss = joined_distillation(z, v, c)
    assert loss.item() == pytest.approx(math.log(5))
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (v, c, z)))


def test_the_joined_loss_is_zero_at_q_and_rises_from_there():
    v, c = draw_wide(4, 3), draw_wide(4, 2, seed=1)
    z = joined_probabilities(v, c).log()
    assert 0 <= joined_distillation(z, v, c) < 1e-12
    assert joined_distillation(z + 0.1 * draw_wide(4, 5, seed=2), v, c) > 0


def test_separate_is_soft_targets_on_either_part():
    z, v, c = draw_wide(4, 5), draw_wide(4, 3, seed=1), draw_wide(4, 2, seed=2)
    expected = 0.6 * soft_targets(z[:, :3], v, 2.0) + 0.4 * soft_targets(z[:, 3:], c, 2.0)
    torch.testing.assert_close(separate_distillation(z, v, c), expected)


def test_separate_does_not_see_how_the_parts_compare_and_joined_does():
    z, v, c = draw_wide(4, 5), draw_wide(4, 3, seed=1), draw_wide(4, 2, seed=2)
    moved = z + torch.tensor([0.0, 0, 0, 7, 7])
    torch.testing.assert_close(separate_distillation(moved, v, c), separate_distillation(z, v, c))
    assert joined_distillation(moved, v, c) > joined_distillation(z, v, c) + 0.1


def test_a_class_alone_has_nothing_to_learn():
    z, v, c = draw_wide(3, 3), draw_wide(3, 1, seed=1), draw_wide(3, 2, seed=2)
    expected = soft_targets(z[:, 1:], c, 2.0) * 2 / 3
    torch.testing.assert_close(separate_distillation(z, v, c), expected)


def test_confidence_against_loops():
    z, total = draw_wide(6, 4), 0.0
    for row in z.tolist():
        total -= math.log(4) + sum(math.log(q) for q in softmax(row)) / 4
    assert confidence_penalty(z).item() == pytest.approx(total / 6, rel=1e-9)
    assert 0 <= confidence_penalty(torch.full((2, 7), 3.0)) < 1e-12


def test_a_temperature_for_each_sample():
    z, v, c = draw_wide(2, 4), draw_wide(2, 2, seed=1), draw_wide(2, 2, seed=2)
    each = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    for loss in (joined_distillation, separate_distillation):
        alone = [loss(z[i : i + 1], v[i : i + 1], c[i : i + 1], each[i].item()) for i in range(2)]
        torch.testing.assert_close(loss(z, v, c, each), sum(alone) / 2)


def test_wrong_shapes():
    z, v, c = torch.zeros(3, 5), torch.zeros(3, 3), torch.zeros(3, 2)
    for loss in (joined_distillation, separate_distillation):
        for wrong in ((z[:2], v, c), (z, v[:, :2], c), (z, v, c[:1])):
            with pytest.raises(ValueError, match="a row for each of old_logits and current_logits"):
                loss(*wrong)
    with pytest.raises(ValueError, match="must have one batch size"):
        joined_probabilities(v, c[:1])
    with pytest.raises(ValueError, match="temperature must"):
        joined_distillation(z, v, c, 0.0)

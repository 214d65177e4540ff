"""DarkRank's lists, against loops; raw features."""

import itertools
import math

import pytest
import torch
from draws import draw
from loops import square

from kdnb.losses import darkrank


def naive_darkrank(student, teacher, form, scale, power, length):
    s, t, total = student.tolist(), teacher.tolist(), 0.0

    def log_order(x, query, order):
        scores = [-scale * math.sqrt(square(x[query], x[i])) ** power for i in order]
        return sum(
            scores[i] - math.log(sum(math.exp(v) for v in scores[i:])) for i in range(len(scores))
        )

    for q in range(len(s)):
        others = [i for i in range(len(s)) if i != q]
        near = sorted(others, key=lambda i, q=q: square(t[q], t[i]))[:length]
        if form == "hard":
            total -= log_order(s, q, near)
        else:
            for order in itertools.permutations(near):
                p = log_order(t, q, order)
                total += math.exp(p) * (p - log_order(s, q, order))
    return total / len(s)


@pytest.mark.parametrize(("form", "length"), [("hard", 4), ("soft", 3), ("soft", 1), ("hard", 2)])
def test_rankings_against_loops(form, length):
    s, t = draw(5, 3), draw(5, 4, seed=1)
    got = darkrank(s, t, form, 0.7, 1.5, length).item()
    expected = naive_darkrank(s, t, form, 0.7, 1.5, length)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_soft_lists_of_a_matching_student():
    teacher = draw(6, 3)
    student = teacher.clone().requires_grad_()
    loss = darkrank(student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-10


def test_wrong_lists_are_named():
    s = draw(4, 3)
    with pytest.raises(ValueError, match=r"list_length must lie in 1..3 for soft lists"):
        darkrank(s, s)
    with pytest.raises(ValueError, match='form must be "soft" or "hard"'):
        darkrank(s, s, "medium")


@pytest.mark.parametrize("form", ["soft", "hard"])
def test_raw_features_of_a_large_scale_have_accurate_gradients(form):
    """A third power of distances near 1e3: the scores' differences are lost in float32."""
    student, teacher = 1e3 * draw(16, 8).float(), 1e3 * draw(16, 8, seed=1).float()
    results = []
    for dtype in (torch.float32, torch.float64):
        moved = student.to(dtype).requires_grad_()
        value = darkrank(moved, teacher.to(dtype), form)
        results.append((value.item(), torch.autograd.grad(value, moved)[0].double()))
    (value, gradient), (truth, slope) = results
    assert value == pytest.approx(truth, rel=1e-6)
    assert (gradient - slope).norm() < 1e-6 * slope.norm()


def test_normalised_lists_do_not_see_the_scale():
    student, teacher = draw(6, 5), draw(6, 4, seed=1)
    plain = darkrank(student, teacher, normalise=True)
    torch.testing.assert_close(darkrank(1e3 * student, 7 * teacher, normalise=True), plain)
    unit = [value / value.norm(dim=1, keepdim=True) for value in (student, teacher)]
    torch.testing.assert_close(darkrank(*unit), plain)

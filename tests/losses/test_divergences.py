"""Reverse KL and Jensen-Shannon: naive derivations, what they are at their ends, excluded classes."""

import math

import pytest
import torch
from draws import draw, draw_wide
from loops import kl, rows, softmax

from kdnb.losses import jensen_shannon, reverse_kl, soft_targets

SHAPES = [(1, 2), (7, 10), (3, 100)]
CALLS = {
    "reverse": reverse_kl,
    "shannon": lambda z, v, t=1.0: jensen_shannon(z, v, 0.3, t),
    "even": lambda z, v, t=1.0: jensen_shannon(z, v, temperature=t),
}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_loops(shape, temperature):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    reverse, shannon, share = 0.0, 0.0, 0.2
    for z, v in rows(student, teacher):
        q, p = softmax(z, temperature), softmax(v, temperature)
        middle = [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]
        reverse += temperature**2 * kl(q, p) / len(student)
        both = share * kl(p, middle) + (1 - share) * kl(q, middle)
        shannon += temperature**2 * both / len(student)
    assert reverse_kl(student, teacher, temperature).item() == pytest.approx(reverse, rel=1e-9)
    ours = jensen_shannon(student, teacher, share, temperature)
    assert ours.item() == pytest.approx(shannon, rel=1e-9)


def test_reverse_kl_is_kd_with_the_networks_exchanged():
    student, teacher = draw_wide(6, 8), draw_wide(6, 8, seed=1)
    swapped = soft_targets(teacher, student, 3.0)
    torch.testing.assert_close(reverse_kl(student, teacher, 3.0), swapped)
    assert not torch.isclose(swapped, soft_targets(student, teacher, 3.0), rtol=1e-2)


def test_jensen_shannon_exchanges_the_networks_with_their_shares():
    student, teacher = draw_wide(6, 8), draw_wide(6, 8, seed=1)
    even = jensen_shannon(student, teacher)
    torch.testing.assert_close(jensen_shannon(teacher, student), even)
    one, other = jensen_shannon(student, teacher, 0.2), jensen_shannon(teacher, student, 0.8)
    torch.testing.assert_close(one, other)
    assert not torch.isclose(one, jensen_shannon(teacher, student, 0.2), rtol=1e-2)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_jensen_shannon_tends_to_kd_and_to_reverse_kl(temperature):
    """A first order in the share: ten times nearer, ten times closer."""
    student, teacher = draw(6, 8), draw(6, 8, seed=1)
    for limit, share_of in ((soft_targets, lambda e: e), (reverse_kl, lambda e: 1 - e)):
        expected = limit(student, teacher, temperature)
        gaps = [
            (jensen_shannon(student, teacher, share_of(e), temperature) / e / expected - 1).abs()
            for e in (1e-3, 1e-4)
        ]
        assert gaps[1] < 5e-4 and gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)


def test_jensen_shannon_is_bounded_by_the_entropy_of_the_shares():
    apart = [torch.tensor([row]) for row in ([900.0, 0.0], [0.0, 900.0])]
    for share in (0.1, 0.5, 0.7):
        bound = -share * math.log(share) - (1 - share) * math.log(1 - share)
        assert jensen_shannon(*apart, share).item() == pytest.approx(bound, rel=1e-6)
        assert jensen_shannon(draw_wide(5, 4), draw_wide(5, 4, seed=1), share) < bound


def test_jensen_shannon_is_the_mixtures_entropy_less_the_mean_one():
    """H(m) - beta H(p) - (1 - beta) H(q), the same by another way."""
    student, teacher, share = draw_wide(4, 6), draw_wide(4, 6, seed=1), 0.3
    p, q = teacher.softmax(1), student.softmax(1)

    def entropy(x):
        return torch.special.entr(x).sum(1).mean()

    expected = entropy(share * p + (1 - share) * q) - share * entropy(p) - (1 - share) * entropy(q)
    torch.testing.assert_close(jensen_shannon(student, teacher, share), expected)


@pytest.mark.parametrize("name", CALLS)
def test_it_is_0_at_a_match_and_nowhere_else(name):
    logits = draw_wide(6, 10).float()
    for scale in (1.0, 30.0, 1e3):
        same = scale * logits
        assert 0 <= CALLS[name](same, same) < 1e-30  # the shares' logarithms are rounded
        assert 0 <= CALLS[name](same + 5, same) < 1e-6
    for apart in (1e-3, 0.1, 3.0):
        assert CALLS[name](logits + apart * draw(6, 10, seed=2).float(), logits) > 0


@pytest.mark.parametrize("temperature", [1.0, 20.0, 1000.0])
@pytest.mark.parametrize("name", CALLS)
def test_float32_keeps_its_digits_near_a_match_at_any_temperature(name, temperature):
    for seed in range(5):
        teacher = draw_wide(8, 10, seed=seed).float()
        student = (teacher + 1e-2 * draw(8, 10, seed=100 + seed)).float().requires_grad_()
        value = CALLS[name](student, teacher, temperature)
        (gradient,) = torch.autograd.grad(value, student)
        z, v = student.detach().double(), teacher.double()
        gap = (z - v) / temperature  # to second order the divergence is half a variance
        p = (v / temperature).softmax(1)
        variance = (p * (gap - (p * gap).sum(1, keepdim=True)).square()).sum(1)
        factor = {"reverse": 0.5, "shannon": 0.3 * 0.7 / 2, "even": 0.125}[name]
        about = temperature**2 * factor * variance.mean()
        assert value.item() == pytest.approx(about.item(), rel=2e-2)
        exact = z.requires_grad_()
        (slope,) = torch.autograd.grad(CALLS[name](exact, v, temperature), exact)
        assert (gradient - slope).norm() < 1e-5 * slope.norm()


def test_excluded_classes():
    out = -math.inf
    both = [torch.tensor([[0.0, out, x]], requires_grad=True) for x in (1.0, 2.0)]
    plain = [torch.tensor([[0.0, x]]) for x in (1.0, 2.0)]
    for call in CALLS.values():
        value = call(*both)
        torch.testing.assert_close(value, call(*plain))
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, both))
    student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, out, 1.0]])
    assert reverse_kl(student, teacher) == math.inf
    assert reverse_kl(teacher, student).isfinite()
    disjoint = [torch.tensor([row], requires_grad=True) for row in ([0.0, out], [out, 0.0])]
    value = jensen_shannon(*disjoint)
    assert value.item() == pytest.approx(math.log(2))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, disjoint))


def test_one_logit_is_that_of_a_binary_task():
    student, teacher = torch.tensor([[3.0], [0.5]]), torch.tensor([[-3.0], [2.0]])
    both = [torch.cat([z, torch.zeros_like(z)], 1) for z in (student, teacher)]
    for call in CALLS.values():
        torch.testing.assert_close(call(student, teacher, 2.0), call(*both, 2.0))


def test_a_temperature_for_each_sample():
    student, teacher = draw_wide(3, 4), draw_wide(3, 4, seed=1)
    temperatures = torch.tensor([[1.0], [2.0], [5.0]], dtype=torch.float64)
    for call in CALLS.values():
        each = [
            call(student[i : i + 1], teacher[i : i + 1], t.item())
            for i, t in enumerate(temperatures)
        ]
        torch.testing.assert_close(call(student, teacher, temperatures), sum(each) / 3)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_share_outside_is_refused(share):
    with pytest.raises(ValueError, match=r"teacher_share must lie .*; got"):
        jensen_shannon(torch.zeros(1, 2), torch.zeros(1, 2), share)

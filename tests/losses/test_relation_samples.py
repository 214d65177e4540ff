"""Relations between samples: naive derivations, invariances, precision, gradients, errors."""

import math
from functools import partial

import draws
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from kdnb.losses import (
    _geometry,
    correlation_congruence,
    hybrid_transfer,
    information_flow,
    irg_edges,
    locality_preserving,
    probabilistic_transfer,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)

VARIANTS = ("paper", "authors")


draw = partial(draws.draw, scale=3.0)


def rotation(size, seed=9):
    return torch.linalg.qr(draw(size, size, seed=seed)).Q


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def huber(x, y):
    gap = abs(x - y)
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def lists(samples):
    return samples.flatten(1).tolist()


def naive_relative(x):
    n = len(x)
    pairs = [distance(x[i], x[j]) for i in range(n) for j in range(n) if i != j]
    mean = sum(pairs) / len(pairs)
    return [[distance(a, b) / mean for b in x] for a in x]


def naive_rkd_distance(student, teacher):
    s, t = naive_relative(lists(student)), naive_relative(lists(teacher))
    n = len(s)
    return sum(huber(s[i][j], t[i][j]) for i in range(n) for j in range(n) if i != j)


def naive_cosine(a, b, c):
    left = [x - y for x, y in zip(a, b, strict=True)]
    right = [x - y for x, y in zip(c, b, strict=True)]
    return dot(left, right) / math.sqrt(dot(left, left) * dot(right, right))


def naive_rkd_angle(student, teacher):
    s, t = lists(student), lists(teacher)
    n, total = len(s), 0.0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                if len({i, j, k}) == 3:
                    first = naive_cosine(s[i], s[j], s[k])
                    total += huber(first, naive_cosine(t[i], t[j], t[k]))
    return total


def naive_sp(student, teacher):
    grams = []
    for x in (lists(student), lists(teacher)):
        gram = [[dot(a, b) for b in x] for a in x]
        grams.append([[g / math.sqrt(dot(row, row)) for g in row] for row in gram])
    n = len(grams[0])
    return sum((grams[0][i][j] - grams[1][i][j]) ** 2 for i in range(n) for j in range(n)) / n**2


def naive_cc(student, teacher, coefficient, order):
    kernels = []
    for x in (lists(student), lists(teacher)):
        x = [[v / math.sqrt(dot(row, row)) for v in row] for row in x]
        kernels.append(
            [
                sum(
                    math.exp(-2 * coefficient)
                    * (2 * coefficient) ** p
                    / math.factorial(p)
                    * dot(a, b) ** p
                    for p in range(order + 1)
                )
                for a in x
                for b in x
            ]
        )
    return sum((a - b) ** 2 for a, b in zip(*kernels, strict=True)) / len(student) ** 2


def naive_probabilities(x, kernel, keep):
    n = len(x)
    table = [[kernel(x[j], x[i]) if keep or i != j else 0.0 for i in range(n)] for j in range(n)]
    return [[value / sum(row) for value in row] for row in table]


def cosine_kernel(a, b):
    return (dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) + 1) / 2


def student_t(a, b):
    return 1 / (1 + distance(a, b))


def naive_transfer(student, teacher, kernel, keep, jeffreys):
    p = naive_probabilities(lists(teacher), kernel, keep)
    q = naive_probabilities(lists(student), kernel, keep)
    total, n = 0.0, len(p)
    for j in range(n):
        for i in range(n):
            if keep or i != j:
                weight = p[j][i] - q[j][i] if jeffreys else p[j][i]
                total += weight * math.log(p[j][i] / q[j][i])
    return total / n**2 if keep else total


def naive_locality(student, teacher, k, bandwidth):
    s, t = lists(student), lists(teacher)
    n, total = len(s), 0.0
    for i in range(n):
        near = sorted((j for j in range(n) if j != i), key=lambda j: distance(t[i], t[j]))[:k]
        for j in near:
            total += (
                math.exp(-(distance(t[i], t[j]) ** 2) / bandwidth**2) * distance(s[i], s[j]) ** 2
            )
    return total / (n * k)


def naive_edges(student, teacher):
    tables = []
    for x in (lists(student), lists(teacher)):
        squares = [distance(a, b) ** 2 for a in x for b in x]
        tables.append([value / max(squares) for value in squares])
    return sum((a - b) ** 2 for a, b in zip(*tables, strict=True)) / len(student) ** 2


SHAPES = [((5, 3), (5, 7)), ((3, 2, 3, 5), (3, 4, 2, 1)), ((7, 4), (7, 2, 3))]


@pytest.mark.parametrize(("one", "other"), SHAPES)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_values_against_loops(one, other, limit, monkeypatch):
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    s, t = draw(*one), draw(*other, seed=1)
    n = len(s)
    hybrid = [
        sum(naive_transfer(s, t, kernel, keep, True) for kernel in (cosine_kernel, student_t))
        for keep in (False, True)
    ]
    for got, expected in (
        (rkd_distance(s, t), naive_rkd_distance(s, t)),
        (rkd_distance(s, t, "authors"), naive_rkd_distance(s, t) / n**2),
        (rkd_angle(s, t), naive_rkd_angle(s, t)),
        (rkd_angle(s, t, "authors"), naive_rkd_angle(s, t) / n**3),
        (similarity_preserving(s, t), naive_sp(s, t)),
        (correlation_congruence(s, t), naive_cc(s, t, 0.4, 2)),
        (correlation_congruence(s, t, 0.7, 3), naive_cc(s, t, 0.7, 3)),
        (probabilistic_transfer(s, t), naive_transfer(s, t, cosine_kernel, False, False)),
        (hybrid_transfer(s, t), hybrid[0]),
        (hybrid_transfer(s, t, "authors"), hybrid[1]),
        (locality_preserving(s, t, 2, 9.0), naive_locality(s, t, 2, 9.0)),
        (irg_edges(s, t), naive_edges(s, t)),
    ):
        assert got.item() == pytest.approx(expected, rel=1e-9)
    authors = probabilistic_transfer(s, t, "authors").item()
    assert authors == pytest.approx(naive_transfer(s, t, cosine_kernel, True, False), rel=1e-4)


def test_information_flow_weighs_the_layers():
    s, t = [draw(4, 3), draw(4, 2), draw(4, 5)], [draw(4, 3, seed=i) for i in (1, 2, 3)]
    parts = [hybrid_transfer(a, b).item() for a, b in zip(s, t, strict=True)]
    for epoch, weight in ((0, 100.0), (3, 100 * 0.7**3)):
        expected = weight * (parts[0] + parts[1]) + parts[2]
        assert information_flow(s, t, epoch).item() == pytest.approx(expected, rel=1e-12)


MATCHING = (
    *(
        lambda s, t, f=f, v=v: f(s, t, v)
        for f in (rkd_distance, rkd_angle, hybrid_transfer)
        for v in VARIANTS
    ),
    probabilistic_transfer,
    similarity_preserving,
    correlation_congruence,
    irg_edges,
    lambda s, t: information_flow([s, s], [t, t], 0),
)
EVERY = (
    *MATCHING,
    lambda s, t: probabilistic_transfer(s, t, "authors"),
    locality_preserving,
)


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_gradients_by_finite_differences(loss, limit, monkeypatch):
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    student, teacher = (draw(4, 3, scale=1.0, seed=i).requires_grad_() for i in (0, 1))
    assert gradcheck(loss, (student, teacher))


@pytest.mark.parametrize("loss", MATCHING)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_matching_student_has_no_loss_and_no_gradient(loss, limit, monkeypatch):
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    teacher = draw(5, 4)
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-12


def test_the_authors_floor_leaves_a_trace_of_gradient():
    """1e-7 inside the logarithm: PKT's code does not quite stand still at student = teacher."""
    student = draw(5, 4).requires_grad_()
    value = probabilistic_transfer(student, student.detach(), "authors")
    (gradient,) = torch.autograd.grad(value, student)
    assert value == 0
    assert 0 < gradient.abs().max() < 1e-7


def test_invariances():
    s, t = draw(6, 4), draw(6, 5, seed=1)
    turned = s @ rotation(4)
    each = torch.rand(6, 1, dtype=torch.float64) + 0.5
    for loss in (rkd_distance, rkd_angle, irg_edges):
        torch.testing.assert_close(loss(2.5 * turned + draw(1, 4, seed=3), t), loss(s, t))
    for loss in (similarity_preserving, correlation_congruence, probabilistic_transfer):
        torch.testing.assert_close(loss(2.5 * turned, t), loss(s, t))
        torch.testing.assert_close(loss(s, 2.5 * t @ rotation(5)), loss(s, t))
    for loss in (correlation_congruence, probabilistic_transfer):
        torch.testing.assert_close(loss(each * s, t / each), loss(s, t))
    assert abs(similarity_preserving(each * s, t) - similarity_preserving(s, t)) > 1e-4
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for loss in EVERY:
        torch.testing.assert_close(loss(s[order], t[order]), loss(s, t))


@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, irg_edges])
def test_far_from_the_origin_no_digit_is_lost(loss, limit, monkeypatch):
    """At an offset of 1e6 a plain Gram matrix is off by 3e-4; storing the numbers costs 1e-10."""
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    s, t = draw(8, 16, scale=1.0), draw(8, 16, scale=1.0, seed=1)
    assert abs(loss(s + 1e6, t - 1e6) - loss(s, t)) < 1e-8 * loss(s, t)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, irg_edges])
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_far_from_the_origin_the_gradient_stays(loss, limit, monkeypatch):
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    gradients = []
    for offset in (0, 1e6):
        student, teacher = (draw(8, 16, scale=1.0, seed=i) + offset for i in (0, 1))
        student.requires_grad_()
        gradients.append(torch.autograd.grad(loss(student, -teacher), student)[0])
    torch.testing.assert_close(*gradients[::-1], rtol=0, atol=1e-8 * gradients[0].abs().max())


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, irg_edges])
def test_large_maps_far_from_the_origin_in_float32(loss):
    """At 1e3 float32 holds 1e-4 of a number of size 1; the loss keeps what was stored."""
    s, t = ((draw(40, 3000, scale=1.0, seed=i) + 1e3).float() for i in (0, 1))
    assert not _geometry.is_small(s)
    exact = loss(s.double(), t.double()).item()
    assert loss(s, t).item() == pytest.approx(exact, rel=1e-3)


def test_gram_has_the_gradients_of_a_product():
    samples, weights = draw(5, 7).requires_grad_(), draw(5, 5, seed=1)
    torch.testing.assert_close(_geometry.gram(samples), samples @ samples.T)
    ours, plain = (
        torch.autograd.grad((weights * products).sum(), samples)[0]
        for products in (_geometry.gram(samples), samples @ samples.T)
    )
    torch.testing.assert_close(ours, plain)
    assert gradgradcheck(_geometry.gram, samples)


@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_angles_at_and_to_the_same_sample_do_not_count(limit, monkeypatch):
    """The sum is over distinct i, j, k: an angle of a sample with itself is never compared."""
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    s, t = draw(5, 3), draw(5, 3, seed=1)
    s[1] = s[0]
    distinct = 0.0
    for j in range(5):
        for i, k in ((i, k) for i in range(5) for k in range(5) if len({i, j, k}) == 3):
            ends = ((s[i] - s[j], s[k] - s[j]), (t[i] - t[j], t[k] - t[j]))
            cosines = [torch.cosine_similarity(a, b, dim=0).item() for a, b in ends]
            distinct += huber(*cosines)
    assert rkd_angle(s, t).item() == pytest.approx(distinct, rel=1e-9)


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_coinciding_and_zero_samples_stay_finite(loss, limit, monkeypatch):
    monkeypatch.setattr(_geometry, "PAIRWISE_LIMIT", limit)
    for student in (torch.zeros(4, 3), torch.ones(4, 3), torch.eye(4, 3), -torch.eye(4, 3)):
        student.requires_grad_()
        for teacher in (torch.zeros(4, 3), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])):
            value = loss(student, teacher)
            (gradient,) = torch.autograd.grad(value, student, allow_unused=True)
            assert torch.isfinite(value)
            assert gradient is None or torch.isfinite(gradient).all()
            assert gradient is None or gradient.abs().max() < 1e6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("loss", EVERY)
def test_extreme_values_and_half_precision(loss, dtype):
    student = (1e3 * torch.sign(draw(5, 3, 2, 3))).to(dtype).requires_grad_()
    value = loss(student, (1e3 * draw(5, 7, seed=1)).to(dtype))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", EVERY)
def test_autocast_changes_nothing(loss, dtype):
    student, teacher = draw(5, 8).float(), draw(5, 6, seed=1).float()
    plain = loss(student, teacher)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(loss(student, teacher), plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", EVERY)
def test_wrong_shapes_are_named(loss):
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(5, 3\)"):
        loss(torch.zeros(4, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"student must be .* got torch.float32 of shape \(4,\)"):
        loss(torch.zeros(4), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(0, 3\)"):
        loss(torch.zeros(0, 3), torch.zeros(0, 3))


def test_wrong_options():
    s = torch.ones(4, 3)
    with pytest.raises(ValueError, match="at least 3 samples"):
        rkd_angle(s[:2], s[:2])
    for loss in (rkd_distance, rkd_angle, probabilistic_transfer, hybrid_transfer):
        with pytest.raises(ValueError, match='variant must be "paper" or "authors"; got \'mean\''):
            loss(s, s, "mean")
    with pytest.raises(ValueError, match="kernel_coefficient must be a finite number above 0"):
        correlation_congruence(s, s, 0.0)
    with pytest.raises(ValueError, match="bandwidth must be a finite number above 0; got nan"):
        locality_preserving(s, s, bandwidth=math.nan)
    with pytest.raises(ValueError, match="epoch must be at least 0; got -1"):
        information_flow([s], [s], -1)
    with pytest.raises(ValueError, match="got 1 and 2"):
        information_flow([s], [s, s], 0)

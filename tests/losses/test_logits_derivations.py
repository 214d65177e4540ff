"""Later losses on logits: derived again with loops, and the papers' identities."""

import math
from functools import partial

import draws
import pytest
import torch
from torch.nn import functional as F

from kdnb.losses import (
    decoupled_kd,
    decoupled_terms,
    multi_level_logits,
    normalized_kd,
    pearson_distillation,
    soft_targets,
    standardize_logits,
    standardized_soft_targets,
    transformed_teacher,
)

SHAPES = [(1, 2), (7, 10), (3, 25)]


draw = partial(draws.draw, scale=3.0)


def labels_of(logits):
    return torch.arange(len(logits)) % logits.shape[1]


def softmax(row, temperature=1.0):
    top = max(row)
    powers = [math.exp((value - top) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def rows(student, teacher):
    return list(zip(student.tolist(), teacher.tolist(), strict=True))


def without(values, k):
    rest = values[:k] + values[k + 1 :]
    return [value / sum(rest) for value in rest]


def rho(a, b, damping=0.0):
    a = [value - sum(a) / len(a) for value in a]
    b = [value - sum(b) / len(b) for value in b]
    top = sum(x * y for x, y in zip(a, b, strict=True))
    return top / (math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)) + damping)


def z_score(row, minus=0, extra=0.0):
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / (len(row) - minus))
    return [(value - mean) / (deviation + extra) for value in row]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_dkd_and_nkd_against_loops(shape, temperature):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    labels = labels_of(student)
    dkd = nkd = 0.0
    for (z, v), y in zip(rows(student, teacher), labels.tolist(), strict=True):
        q, p = softmax(z, temperature), softmax(v, temperature)
        target = kl([p[y], sum(p) - p[y]], [q[y], sum(q) - q[y]])
        dkd += 2.0 * target + 5.0 * kl(without(p, y), without(q, y))
        nkd -= softmax(v)[y] * math.log(softmax(z)[y])
        for a, b in zip(without(p, y), without(q, y), strict=True):
            nkd -= 0.7 * temperature**2 * a * math.log(b)
    ours = decoupled_kd(student, teacher, labels, temperature, 2.0, 5.0)
    assert ours.item() == pytest.approx(temperature**2 * dkd / shape[0], rel=1e-7)
    ours = normalized_kd(student, teacher, labels, temperature, 0.7)
    assert ours.item() == pytest.approx(nkd / shape[0], rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(7, 10), (3, 25)])
def test_dist_against_loops(shape, temperature):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    q = [softmax(row, temperature) for row in student.tolist()]
    p = [softmax(row, temperature) for row in teacher.tolist()]
    for variant, scale, damping in (("paper", 1.0, 0.0), ("authors", temperature**2, 1e-8)):
        inter = sum(1 - rho(a, b, damping) for a, b in zip(q, p, strict=True)) / shape[0]
        intra = sum(
            1 - rho([row[k] for row in q], [row[k] for row in p], damping) for k in range(shape[1])
        )
        expected = scale * (2.0 * inter + 0.5 * intra / shape[1])
        ours = pearson_distillation(student, teacher, temperature, 2.0, 0.5, variant)
        assert ours.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_lskd_against_loops(shape):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    for variant, options in (("paper", (0, 0.0)), ("authors", (1, 1e-7))):
        standard = [z_score(row, *options) for row in student.tolist()]
        torch.testing.assert_close(
            standardize_logits(student, variant), torch.tensor(standard, dtype=torch.float64)
        )
        expected = 0.0
        for z, v in rows(student, teacher):
            q, p = softmax(z_score(z, *options), 2.0), softmax(z_score(v, *options), 2.0)
            expected += 4.0 * kl(p, q) / shape[0]
        ours = standardized_soft_targets(student, teacher, 2.0, variant)
        assert ours.item() == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
def test_mlkd_against_loops(shape):
    student, teacher = draw(*shape), draw(*shape, seed=1)
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
    student, teacher = draw(3, 50).float().requires_grad_(), draw(3, 50, seed=1).float()
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


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_wttm_against_loops(shape, temperature):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    weighted = plain = 0.0
    for z, v in rows(student, teacher):
        powers = [probability ** (1 / temperature) for probability in softmax(v)]
        divergence = kl([power / sum(powers) for power in powers], softmax(z)) / shape[0]
        plain += divergence
        weighted += sum(powers) * divergence
    ours = transformed_teacher(student, teacher, temperature)
    assert ours.item() == pytest.approx(weighted, rel=1e-9)
    ours = transformed_teacher(student, teacher, temperature, weighted=False)
    assert ours.item() == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_kd_is_tckd_plus_the_rest_times_nckd(shape, temperature):
    """Zhao 2022's identity, sample by sample: KD = TCKD + (1 - p_t) NCKD."""
    student, teacher = draw(*shape), draw(*shape, seed=1)
    labels = labels_of(student)
    target, rest = decoupled_terms(student, teacher, labels, temperature)
    others = 1 - (teacher / temperature).softmax(1).gather(1, labels[:, None])[:, 0]
    for b in range(shape[0]):
        kd = soft_targets(student[b : b + 1], teacher[b : b + 1], temperature)
        ours = temperature**2 * (target[b] + others[b] * rest[b])
        assert ours.item() == pytest.approx(kd.item(), rel=1e-10, abs=1e-13)


def test_the_identity_holds_in_float32_where_the_teacher_is_sure():
    teacher = torch.tensor([[40.0, 0.0, 1.0]])
    student = torch.tensor([[30.0, 1.0, 0.0]])
    target, rest = decoupled_terms(student, teacher, torch.tensor([0]), 1.0)
    exact = decoupled_terms(student.double(), teacher.double(), torch.tensor([0]), 1.0)
    assert rest.item() == pytest.approx(exact[1].item(), rel=1e-5)
    assert target.item() == pytest.approx(exact[0].item(), abs=1e-7)


def test_two_classes_leave_nothing_beside_the_target():
    student, teacher = draw(4, 2), draw(4, 2, seed=1)
    ours = decoupled_kd(student, teacher, labels_of(student), 4.0)
    assert ours.item() == pytest.approx(soft_targets(student, teacher, 4.0).item(), rel=1e-10)


def test_nkd_has_the_gradients_of_its_two_parts():
    """On the target p_y (q - onehot), among the others w T (normalised q - normalised p)."""
    student, teacher = draw(5, 6).requires_grad_(), draw(5, 6, seed=1)
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


def test_ttm_is_kd_with_a_renyi_entropy():
    """Zheng and Yang 2024, equation 15."""
    student, teacher, temperature = draw(6, 8), draw(6, 8, seed=1), 3.0
    q, soft = student.softmax(1), (teacher / temperature).softmax(1)
    order = 1 / temperature
    renyi = q.pow(order).sum(1).log() / (1 - order)
    shannon = -(soft * soft.log()).sum(1)
    kd = soft_targets(student, teacher, temperature) / temperature
    expected = kd + (temperature - 1) * (shannon - renyi).mean()
    ours = transformed_teacher(student, teacher, temperature, weighted=False)
    torch.testing.assert_close(ours, expected)


def test_wttm_weighs_a_sharp_teacher_by_one_and_a_flat_one_most():
    sharp, flat = torch.tensor([[1e3, 0.0, 0.0, 0.0]]), torch.zeros(1, 4)
    student = draw(1, 4).float()
    for teacher, weight in ((sharp, 1.0), (flat, 4 ** (1 - 1 / 2.0))):
        ratio = transformed_teacher(student, teacher, 2.0) / transformed_teacher(
            student, teacher, 2.0, weighted=False
        )
        assert ratio.item() == pytest.approx(weight, rel=1e-6)


def test_ttm_is_matched_by_the_softened_teacher():
    teacher = draw(4, 6)
    for weighted in (True, False):
        student = (teacher / 3.0 + 2.0).requires_grad_()
        loss = transformed_teacher(student, teacher, 3.0, weighted)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_standardised_logits_do_not_see_shift_and_scale(variant):
    logits, teacher = draw(5, 7), draw(5, 7, seed=1)
    scale, shift = draw(5, 1, seed=2).abs() + 0.5, draw(5, 1, scale=50.0, seed=3)
    moved = scale * logits + shift
    tight = {"rtol": 1e-5, "atol": 1e-5} if variant == "authors" else {}
    torch.testing.assert_close(
        standardize_logits(moved, variant), standardize_logits(logits, variant), **tight
    )
    torch.testing.assert_close(
        standardized_soft_targets(moved, teacher - shift, 2.0, variant),
        standardized_soft_targets(logits, teacher, 2.0, variant),
        **tight,
    )
    assert standardized_soft_targets(scale * teacher, teacher, 2.0, variant) < 1e-12


def test_standardised_logits_have_mean_zero_and_deviation_one():
    logits = standardize_logits(draw(5, 7))
    torch.testing.assert_close(logits.mean(1), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(logits.std(1, correction=0), torch.ones(5, dtype=torch.float64))
    assert standardize_logits(torch.eye(10)).max().item() == pytest.approx(3.0)  # sqrt(K - 1)


def test_the_authors_standardisation_is_another_temperature():
    student, teacher = draw(4, 10), draw(4, 10, seed=1)
    factor = math.sqrt(10 / 9)
    paper = standardized_soft_targets(student, teacher, 2.0 * factor) / factor**2
    authors = standardized_soft_targets(student, teacher, 2.0, "authors")
    torch.testing.assert_close(authors, paper, rtol=1e-6, atol=0.0)


def test_dist_does_not_see_positive_affine_maps_of_its_outputs():
    """ρ is blind to them row by row and column by column: built on the probabilities."""
    p = draw(6, 8).softmax(1)
    mixed = 0.3 * p + 0.7 / 8  # again rows of probabilities, affine in p along both axes
    for student, teacher in ((mixed, p), (p, mixed)):
        assert pearson_distillation(student.log(), teacher.log()).item() == pytest.approx(0)
    other = draw(6, 8, seed=1)
    torch.testing.assert_close(
        pearson_distillation(other, mixed.log()), pearson_distillation(other, p.log())
    )
    shift = draw(6, 1, seed=2)
    torch.testing.assert_close(
        pearson_distillation(other + shift, p.log()), pearson_distillation(other, p.log())
    )


def test_dist_sees_faint_classes_that_the_authors_constant_hides():
    """Two classes of probability near 1e-6: a correlation of -1 in the paper, none in the code."""
    faint = torch.tensor([[0.0, -14.0, -13.0], [0.0, -13.0, -14.0]])
    options = {"inter_weight": 0.0, "intra_weight": 1.0}
    swapped = faint[:, [0, 2, 1]]
    paper = pearson_distillation(faint.double(), swapped.double(), **options)
    authors = pearson_distillation(faint.double(), swapped.double(), variant="authors", **options)
    assert paper.item() > 1.3
    assert authors.item() == pytest.approx(1.0, abs=1e-3)

"""DIST: the correlations by loops, what they do not see."""

import math

import pytest
import torch
from draws import draw_wide
from loops import softmax

from kdnb.losses import (
    pearson_distillation,
)


def rho(a, b, damping=0.0):
    a = [value - sum(a) / len(a) for value in a]
    b = [value - sum(b) / len(b) for value in b]
    top = sum(x * y for x, y in zip(a, b, strict=True))
    return top / (math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)) + damping)


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_constant_rows_and_columns_have_no_correlation_and_no_gradient(variant):
    student, teacher = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 3)
    loss = pearson_distillation(student, teacher, variant=variant)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(2.0)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(7, 10), (3, 25)])
def test_dist_against_loops(shape, temperature):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
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


def test_dist_does_not_see_positive_affine_maps_of_its_outputs():
    """ρ is blind to them row by row and column by column: built on the probabilities."""
    p = draw_wide(6, 8).softmax(1)
    mixed = 0.3 * p + 0.7 / 8  # again rows of probabilities, affine in p along both axes
    for student, teacher in ((mixed, p), (p, mixed)):
        assert pearson_distillation(student.log(), teacher.log()).item() == pytest.approx(0)
    other = draw_wide(6, 8, seed=1)
    torch.testing.assert_close(
        pearson_distillation(other, mixed.log()), pearson_distillation(other, p.log())
    )
    shift = draw_wide(6, 1, seed=2)
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

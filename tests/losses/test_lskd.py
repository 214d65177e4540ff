"""LSKD: standardised logits by loops, what they do not see."""

import math

import pytest
import torch
from draws import draw_wide
from loops import kl, rows, softmax
from torch.autograd import gradcheck

from kdnb.losses import (
    standardize_logits,
    standardized_soft_targets,
)

SHAPES = [(1, 2), (7, 10), (3, 25)]


def z_score(row, minus=0, extra=0.0):
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / (len(row) - minus))
    return [(value - mean) / (deviation + extra) for value in row]


def test_gradient_of_standardised_logits():
    assert gradcheck(standardize_logits, (draw_wide(3, 4).requires_grad_(),))
    assert gradcheck(
        lambda x: standardize_logits(x, "authors"), (draw_wide(3, 4).requires_grad_(),)
    )


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_constant_rows_become_zeros_and_stay_finite(variant):
    student = torch.full((2, 3), 1000.1, requires_grad=True)
    standard = standardize_logits(student, variant)
    (gradient,) = torch.autograd.grad(standard.sum() + standard[0, 0], student)
    assert standard.abs().max() == 0 or variant == "authors"
    assert torch.isfinite(standard).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_lskd_against_loops(shape):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
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


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_standardised_logits_do_not_see_shift_and_scale(variant):
    logits, teacher = draw_wide(5, 7), draw_wide(5, 7, seed=1)
    scale, shift = draw_wide(5, 1, seed=2).abs() + 0.5, draw_wide(5, 1, scale=50.0, seed=3)
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
    logits = standardize_logits(draw_wide(5, 7))
    torch.testing.assert_close(logits.mean(1), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(logits.std(1, correction=0), torch.ones(5, dtype=torch.float64))
    assert standardize_logits(torch.eye(10)).max().item() == pytest.approx(3.0)  # sqrt(K - 1)


def test_the_authors_standardisation_is_another_temperature():
    student, teacher = draw_wide(4, 10), draw_wide(4, 10, seed=1)
    factor = math.sqrt(10 / 9)
    paper = standardized_soft_targets(student, teacher, 2.0 * factor) / factor**2
    authors = standardized_soft_targets(student, teacher, 2.0, "authors")
    torch.testing.assert_close(authors, paper, rtol=1e-6, atol=0.0)

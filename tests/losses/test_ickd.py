"""Correlation between channels: loops, invariances, errors."""

import math

import pytest
import torch
from draws import draw

from kdnb.losses import inter_channel_correlation


def naive_icc(student, teacher, authors):
    batch, channels, total = len(student), student.shape[1], 0.0
    for b in range(batch):
        tables = []
        for maps in (student, teacher):
            flat = maps[b].flatten(1).tolist()
            table = [[sum(x * y for x, y in zip(p, q, strict=True)) for q in flat] for p in flat]
            if authors:
                table = [[v / math.sqrt(sum(u * u for u in row)) for v in row] for row in table]
            tables.append(table)
        total += sum(
            (tables[0][i][j] - tables[1][i][j]) ** 2
            for i in range(channels)
            for j in range(channels)
        )
    return total / (batch * channels) if authors else total / (batch * channels**2)


def four(student=(3, 4), teacher=(3, 4), size=(2, 3), teacher_size=(4, 1), batch=3):
    """Maps of two layers of student and teacher; not square, of different sizes."""
    return (
        draw(batch, student[0], *size),
        draw(batch, student[1], *size, seed=1),
        draw(batch, teacher[0], *teacher_size, seed=2),
        draw(batch, teacher[1], *teacher_size, seed=3),
    )


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_channel_correlation_against_loops(variant):
    student, teacher = draw(3, 4, 2, 5), draw(3, 4, 2, 5, seed=1)
    expected = naive_icc(student, teacher, variant == "authors")
    got = inter_channel_correlation(student, teacher, variant)
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_ickd_matching_student_has_no_loss_and_no_gradient():
    first, last = draw(3, 4, 3, 5).requires_grad_(), draw(3, 4, 3, 5, seed=1).requires_grad_()
    goal = first.detach().clone(), last.detach().clone()
    for loss in (
        inter_channel_correlation(first, goal[0]) + inter_channel_correlation(last, goal[1]),
        inter_channel_correlation(first + last, sum(goal), "authors"),
    ):
        for gradient in torch.autograd.grad(loss, (first, last), allow_unused=True):
            assert gradient.abs().max() < 1e-12
        assert loss.item() == pytest.approx(0, abs=1e-12)


def test_ickd_sees_no_permutation_of_positions():
    maps = four(size=(3, 4))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = [m.flatten(2)[:, :, order].reshape(m.shape) for m in maps[:2]]
    one = moved[0], draw(3, 3, 2, 2, seed=6)
    for variant in ("paper", "authors"):
        torch.testing.assert_close(
            inter_channel_correlation(*one, variant),
            inter_channel_correlation(maps[0], one[1], variant),
        )
    scale = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    torch.testing.assert_close(
        inter_channel_correlation(scale * one[0], one[1], "authors"),
        inter_channel_correlation(*one, "authors"),
    )


def test_ickd_names_wrong_shapes():
    maps, more = torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 4, 4)
    with pytest.raises(ValueError, match=r"student \(2, 3, 4, 4\) and teacher \(3, 3, 4, 4\)"):
        inter_channel_correlation(maps, more)

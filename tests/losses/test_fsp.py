"""FSP matrices and their distance: loops, invariances, errors."""

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import fsp, fsp_matrix


def naive_fsp_matrix(first, last):
    (_, _, h, w), (_, _, h2, w2) = first.shape, last.shape
    assert (h, w) == (h2, w2)
    return [
        [
            [
                sum(
                    first[b, i, s, t].item() * last[b, j, s, t].item()
                    for s in range(h)
                    for t in range(w)
                )
                / (h * w)
                for j in range(last.shape[1])
            ]
            for i in range(first.shape[1])
        ]
        for b in range(len(first))
    ]


def naive_fsp(student_first, student_last, teacher_first, teacher_last):
    s = naive_fsp_matrix(student_first, student_last)
    t = naive_fsp_matrix(teacher_first, teacher_last)
    total = sum(
        (x - y) ** 2
        for one, other in zip(s, t, strict=True)
        for row, line in zip(one, other, strict=True)
        for x, y in zip(row, line, strict=True)
    )
    return total / len(student_first)


def four(student=(3, 4), teacher=(3, 4), size=(2, 3), teacher_size=(4, 1), batch=3):
    """Maps of two layers of student and teacher; not square, of different sizes."""
    return (
        draw(batch, student[0], *size),
        draw(batch, student[1], *size, seed=1),
        draw(batch, teacher[0], *teacher_size, seed=2),
        draw(batch, teacher[1], *teacher_size, seed=3),
    )


def test_fsp_against_loops():
    maps = four()
    torch.testing.assert_close(
        fsp_matrix(*maps[:2]), torch.tensor(naive_fsp_matrix(*maps[:2]), dtype=torch.float64)
    )
    assert fsp(*maps).item() == pytest.approx(naive_fsp(*maps), rel=1e-12)


def test_the_larger_layer_is_max_pooled():
    first, last = draw(2, 3, 5, 4), draw(2, 2, 3, 7, seed=1)
    pooled = F.adaptive_max_pool2d(first, (3, 4)), F.adaptive_max_pool2d(last, (3, 4))
    torch.testing.assert_close(fsp_matrix(first, last), fsp_matrix(*pooled))


def test_fsp_gradients_of_four_maps():
    assert gradcheck(fsp, tuple(m.requires_grad_() for m in four(size=(2, 2), batch=2)))


def test_fsp_matching_student_has_no_loss_and_no_gradient():
    first, last = draw(3, 4, 3, 5).requires_grad_(), draw(3, 4, 3, 5, seed=1).requires_grad_()
    goal = first.detach().clone(), last.detach().clone()
    loss = fsp(first, last, *goal)
    for gradient in torch.autograd.grad(loss, (first, last), allow_unused=True):
        assert gradient.abs().max() < 1e-12
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_fsp_sees_no_common_permutation_of_positions():
    """Positions of both layers of a network may be permuted together; one layer's may not."""
    maps = four(size=(3, 4))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = [m.flatten(2)[:, :, order].reshape(m.shape) for m in maps[:2]]
    torch.testing.assert_close(fsp(*moved, *maps[2:]), fsp(*maps))
    assert abs(fsp(moved[0], *maps[1:]) - fsp(*maps)) > 1e-3


def test_fsp_names_wrong_shapes():
    maps, wide, flat = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4), torch.zeros(2, 3)
    channels = r"student_first \(2, 5, 4, 4\) and teacher_first \(2, 3, 4, 4\) must have the same"
    with pytest.raises(ValueError, match=channels):
        fsp(wide, maps, maps, maps)
    with pytest.raises(ValueError, match=r"student_last \(2, 3, 4, 4\) and teacher_last \(2, 5"):
        fsp(maps, maps, maps, wide)
    with pytest.raises(ValueError, match=r"teacher_first must be feature maps .* got \(2, 3\)"):
        fsp(maps, maps, flat, maps)

"""KD-SVD against power iteration; gradients, invariances, errors."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import kd_svd
from kdnb.losses.kdsvd import right_vectors


def top_vectors(matrix, count):
    """Right singular vectors by power iteration with deflation, and the singular values."""
    gram, vectors, values = matrix.T @ matrix, [], []
    for _ in range(min(count, *matrix.shape)):
        vector = torch.ones(len(gram), dtype=gram.dtype) + 0.1 * draw(len(gram), seed=7)
        for _ in range(3000):
            vector = gram @ vector
            vector = vector / vector.norm()
        value = (vector @ gram @ vector).item()
        vectors.append(vector)
        values.append(math.sqrt(max(value, 0)))
        gram = gram - value * torch.outer(vector, vector)
    return vectors, values


def naive_kd_svd(student_layers, teacher_layers, count, spare):
    batch, total = len(student_layers[0]), 0.0
    for b in range(batch):
        student, teacher = [], []
        for s, t in zip(student_layers, teacher_layers, strict=True):
            goals, values = top_vectors(t[b].flatten(1).T, count)
            found, _ = top_vectors(s[b].flatten(1).T, count + spare)
            length = math.sqrt(sum(v * v for v in values))
            goals = [-goal if goal.sum() < 0 else goal for goal in goals]
            best = []
            for goal in goals:
                match = max(found, key=lambda v, goal=goal: abs((v @ goal).item()))
                best.append(-match if match @ goal < 0 else match)
            student.append([v * x / length for v, x in zip(best, values, strict=True)])
            teacher.append([v * x / length for v, x in zip(goals, values, strict=True)])
        for level in range(1, len(student)):
            for k in range(len(student[level])):
                for i in range(len(student[level][k])):
                    for j in range(len(student[level - 1][k])):
                        a, c = student[level][k][i], student[level - 1][k][j]
                        e, g = teacher[level][k][i], teacher[level - 1][k][j]
                        gap = math.exp(-((a - c) ** 2) / 8) - math.exp(-((e - g) ** 2) / 8)
                        total += gap**2
    return total / batch


def four(student=(3, 4), teacher=(3, 4), size=(2, 3), teacher_size=(4, 1), batch=3):
    """Maps of two layers of student and teacher; not square, of different sizes."""
    return (
        draw(batch, student[0], *size),
        draw(batch, student[1], *size, seed=1),
        draw(batch, teacher[0], *teacher_size, seed=2),
        draw(batch, teacher[1], *teacher_size, seed=3),
    )


@pytest.mark.parametrize(("count", "spare"), [(1, 3), (2, 0), (2, 1)])
def test_kd_svd_against_power_iteration(count, spare):
    student = [draw(2, 4, 3, 2), draw(2, 5, 2, 4, seed=1), draw(2, 3, 5, 1, seed=2)]
    teacher = [draw(2, 4, 1, 6, seed=3), draw(2, 5, 3, 3, seed=4), draw(2, 3, 2, 2, seed=5)]
    got = kd_svd(student, teacher, count, spare).item()
    assert got == pytest.approx(naive_kd_svd(student, teacher, count, spare), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (2, 5, 1, 3)], ids=["tall", "wide"])
@pytest.mark.parametrize("count", [1, 2])
def test_kd_svd_gradient_by_finite_differences(shape, count):
    teacher = [draw(*shape, seed=2), draw(*shape, seed=3)]
    student = tuple(draw(*shape, seed=i).requires_grad_() for i in (0, 1))
    assert gradcheck(lambda *layers: kd_svd(layers, teacher, count, 1), student)


def test_kdsvd_matching_student_has_no_loss_and_no_gradient():
    first, last = draw(3, 4, 3, 5).requires_grad_(), draw(3, 4, 3, 5, seed=1).requires_grad_()
    goal = first.detach().clone(), last.detach().clone()
    loss = kd_svd([first, last], goal)
    for gradient in torch.autograd.grad(loss, (first, last), allow_unused=True):
        assert gradient.abs().max() < 1e-12
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_kd_svd_sees_no_permutation_of_positions_and_no_scale():
    maps = four(size=(3, 4))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = [m.flatten(2)[:, :, order].reshape(m.shape) for m in maps[:2]]
    teacher = [draw(3, 3, 2, 2, seed=4), draw(3, 4, 2, 2, seed=5)]
    torch.testing.assert_close(kd_svd(moved, teacher), kd_svd(maps[:2], teacher))
    torch.testing.assert_close(
        kd_svd([2 * m for m in maps[:2]], teacher), kd_svd(maps[:2], teacher)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [0.0, 1e-7, 1e-5, 1e-3, 0.5])
def test_the_gradient_of_close_singular_values_has_a_bound(gap, dtype):
    """Two squared singular values g apart, of 1: 1 / g in the exact gradient, at most 500 in ours."""
    left = torch.linalg.qr(draw(6, 4))[0]
    right = torch.linalg.qr(draw(4, 4, seed=2))[0]
    values = torch.tensor([1.0, 1.0 - gap, 0.25, 0.04], dtype=torch.float64).sqrt()
    maps = (left * values @ right.T).T.reshape(1, 4, 2, 3).to(dtype).requires_grad_()
    vectors, _ = right_vectors(maps, 1)
    way = draw(1, 4, 1, seed=3).to(dtype)
    (gradient,) = torch.autograd.grad((vectors * way).sum(), maps)
    assert torch.isfinite(gradient).all()
    # d(A) = X' dX + dX' X, so that a term of 500 makes a gradient of at most 2 * 500 * |way|.
    assert gradient.norm() < 1000 * way.norm()
    if gap == 0.5:  # far apart it is the exact one
        exact = exact_vector(maps)
        sign = torch.sign((exact * vectors).sum()).detach()
        (expected,) = torch.autograd.grad((sign * exact * way).sum(), maps)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


def exact_vector(maps):
    matrix = maps.flatten(2).transpose(1, 2)
    return torch.linalg.eigh(matrix.mT @ matrix).eigenvectors[:, :, -1:]


def test_kd_svd_names_wrong_layers():
    maps, wide = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)
    with pytest.raises(ValueError, match=r"student_layers\[1\] \(2, 3, .*teacher_layers\[1\] \(2"):
        kd_svd([maps, maps], [maps, wide])
    with pytest.raises(ValueError, match="at least 2; got 1 and 1"):
        kd_svd([maps], [maps])
    with pytest.raises(ValueError, match="vectors must be at least 1"):
        kd_svd([maps, maps], [maps, maps], vectors=0)

"""Relations between layers and channels: naive derivations, invariances, gradients, errors."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import fsp, fsp_matrix, inter_channel_correlation, irg_transformation, kd_svd


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


def naive_transformation(student_first, student_last, teacher_first, teacher_last):
    tables = []
    for first, last in ((student_first, student_last), (teacher_first, teacher_last)):
        moves = [((last[b] - first[b]) ** 2).sum().item() for b in range(len(first))]
        tables.append([move / max(moves) for move in moves])
    return sum((a - b) ** 2 for a, b in zip(*tables, strict=True)) / len(student_first)


def four(student=(3, 4), teacher=(3, 4), size=(2, 3), teacher_size=(4, 1), batch=3):
    """Maps of two layers of student and teacher; not square, of different sizes."""
    return (
        draw(batch, student[0], *size),
        draw(batch, student[1], *size, seed=1),
        draw(batch, teacher[0], *teacher_size, seed=2),
        draw(batch, teacher[1], *teacher_size, seed=3),
    )


def test_values_against_loops():
    maps = four()
    torch.testing.assert_close(
        fsp_matrix(*maps[:2]), torch.tensor(naive_fsp_matrix(*maps[:2]), dtype=torch.float64)
    )
    assert fsp(*maps).item() == pytest.approx(naive_fsp(*maps), rel=1e-12)
    student, teacher = draw(3, 4, 2, 5), draw(3, 4, 2, 5, seed=1)
    for variant in ("paper", "authors"):
        expected = naive_icc(student, teacher, variant == "authors")
        got = inter_channel_correlation(student, teacher, variant)
        assert got.item() == pytest.approx(expected, rel=1e-12)
    same = four(student=(3, 3), teacher=(2, 2))
    assert irg_transformation(*same).item() == pytest.approx(naive_transformation(*same), rel=1e-12)
    pooled = [torch.tensor([[[[float(channel.mean())]] for channel in sample] for sample in maps],
                           dtype=torch.float64) for maps in same]  # fmt: skip
    got = irg_transformation(*same, variant="authors").item()
    assert got == pytest.approx(naive_transformation(*pooled), rel=1e-12)
    assert got != pytest.approx(irg_transformation(*same).item(), rel=1e-3)


@pytest.mark.parametrize(("count", "spare"), [(1, 3), (2, 0), (2, 1)])
def test_kd_svd_against_power_iteration(count, spare):
    student = [draw(2, 4, 3, 2), draw(2, 5, 2, 4, seed=1), draw(2, 3, 5, 1, seed=2)]
    teacher = [draw(2, 4, 1, 6, seed=3), draw(2, 5, 3, 3, seed=4), draw(2, 3, 2, 2, seed=5)]
    got = kd_svd(student, teacher, count, spare).item()
    assert got == pytest.approx(naive_kd_svd(student, teacher, count, spare), rel=1e-6)


def test_the_larger_layer_is_pooled():
    first, last = draw(2, 3, 5, 4), draw(2, 2, 3, 7, seed=1)
    pooled = F.adaptive_max_pool2d(first, (3, 4)), F.adaptive_max_pool2d(last, (3, 4))
    torch.testing.assert_close(fsp_matrix(first, last), fsp_matrix(*pooled))
    big, small = draw(2, 3, 4, 6), draw(2, 3, 2, 2, seed=1)
    reduced = F.adaptive_avg_pool2d(big, (2, 2))
    other = draw(2, 3, 2, 2, seed=2), draw(2, 3, 2, 2, seed=3)
    torch.testing.assert_close(
        irg_transformation(big, small, *other), irg_transformation(reduced, small, *other)
    )


def test_gradients_by_finite_differences():
    maps = tuple(m.requires_grad_() for m in four(size=(2, 2), batch=2))
    assert gradcheck(fsp, maps)
    same = tuple(m.requires_grad_() for m in four((3, 3), (2, 2), size=(2, 2), batch=2))
    assert gradcheck(irg_transformation, same)
    pair = tuple(draw(2, 3, 2, 2, seed=i).requires_grad_() for i in (0, 1))
    for variant in ("paper", "authors"):
        assert gradcheck(lambda a, b, v=variant: inter_channel_correlation(a, b, v), pair)


@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (2, 5, 1, 3)], ids=["tall", "wide"])
@pytest.mark.parametrize("count", [1, 2])
def test_kd_svd_gradient_by_finite_differences(shape, count):
    teacher = [draw(*shape, seed=2), draw(*shape, seed=3)]
    student = tuple(draw(*shape, seed=i).requires_grad_() for i in (0, 1))
    assert gradcheck(lambda *layers: kd_svd(layers, teacher, count, 1), student)


def test_matching_student_has_no_loss_and_no_gradient():
    first, last = draw(3, 4, 3, 5).requires_grad_(), draw(3, 4, 3, 5, seed=1).requires_grad_()
    goal = first.detach().clone(), last.detach().clone()
    for loss in (
        fsp(first, last, *goal),
        irg_transformation(first, last, *goal),
        kd_svd([first, last], goal),
        inter_channel_correlation(first, goal[0]) + inter_channel_correlation(last, goal[1]),
        inter_channel_correlation(first + last, sum(goal), "authors"),
    ):
        for gradient in torch.autograd.grad(loss, (first, last), allow_unused=True):
            assert gradient.abs().max() < 1e-12
        assert loss.item() == pytest.approx(0, abs=1e-12)


def test_invariances():
    """Positions of both layers of a network may be permuted together; one layer's may not."""
    maps = four(size=(3, 4))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = [m.flatten(2)[:, :, order].reshape(m.shape) for m in maps[:2]]
    torch.testing.assert_close(fsp(*moved, *maps[2:]), fsp(*maps))
    assert abs(fsp(moved[0], *maps[1:]) - fsp(*maps)) > 1e-3
    teacher = [draw(3, 3, 2, 2, seed=4), draw(3, 4, 2, 2, seed=5)]
    torch.testing.assert_close(kd_svd(moved, teacher), kd_svd(maps[:2], teacher))
    torch.testing.assert_close(
        kd_svd([2 * m for m in maps[:2]], teacher), kd_svd(maps[:2], teacher)
    )
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


LOSSES = (
    lambda s, t: fsp(s, s.flip(1), t, t.flip(1)),
    inter_channel_correlation,
    lambda s, t: inter_channel_correlation(s, t, "authors"),
    lambda s, t: irg_transformation(s, s.flip(1), t, t.flip(1)),
    lambda s, t: kd_svd([s, s.flip(1)], [t, t.flip(1)]),
)


@pytest.mark.parametrize("loss", LOSSES)
def test_degenerate_maps_stay_finite(loss):
    """Zeros, equal channels and rank 1, where norms vanish and singular values coincide."""
    for student in (torch.zeros(3, 4, 2, 3), torch.ones(3, 4, 2, 3), torch.eye(4, 4).repeat(2, 1)):
        student = student.reshape(-1, 4, 2, student.shape[-1] if student.ndim == 4 else 2)
        student = student.clone().requires_grad_()
        value = loss(student, draw(len(student), 4, 3, 2).float())
        (gradient,) = torch.autograd.grad(value, student)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_values_and_half_precision(loss, dtype):
    student = (1e3 * torch.sign(draw(3, 4, 3, 2))).to(dtype).requires_grad_()
    teacher = (1e3 * draw(3, 4, 1, 5, seed=1)).to(dtype)
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    exact = student.detach().float().requires_grad_()
    (wide,) = torch.autograd.grad(loss(exact, teacher), exact)
    assert torch.isfinite(wide).all()
    held = wide.abs() < torch.finfo(dtype).max  # fourth powers of 1e3 leave float16's range
    assert torch.isfinite(gradient[held]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_changes_nothing(loss, dtype):
    student, teacher = draw(3, 4, 3, 2).float(), draw(3, 4, 3, 2, seed=1).float()
    plain = loss(student, teacher)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(loss(student, teacher), plain, rtol=1e-6, atol=0)


def test_wrong_shapes_are_named():
    maps = torch.zeros(2, 3, 4, 4)
    wide, more, flat = torch.zeros(2, 5, 4, 4), torch.zeros(3, 3, 4, 4), torch.zeros(2, 3)
    channels = r"student_first \(2, 5, 4, 4\) and teacher_first \(2, 3, 4, 4\) must have the same"
    with pytest.raises(ValueError, match=channels):
        fsp(wide, maps, maps, maps)
    with pytest.raises(ValueError, match=r"student_last \(2, 3, 4, 4\) and teacher_last \(2, 5"):
        fsp(maps, maps, maps, wide)
    with pytest.raises(ValueError, match=r"teacher_first must be maps .* got \(2, 3\)"):
        fsp(maps, maps, flat, maps)
    with pytest.raises(ValueError, match=r"student \(2, 3, 4, 4\) and teacher \(3, 3, 4, 4\)"):
        inter_channel_correlation(maps, more)
    with pytest.raises(ValueError, match=r"teacher_first \(2, 3, .* and teacher_last \(2, 5"):
        irg_transformation(maps, maps, maps, wide)
    with pytest.raises(ValueError, match=r"student_layers\[1\] \(2, 3, .*teacher_layers\[1\] \(2"):
        kd_svd([maps, maps], [maps, wide])
    with pytest.raises(ValueError, match="at least 2; got 1 and 1"):
        kd_svd([maps], [maps])
    with pytest.raises(ValueError, match="vectors must be at least 1"):
        kd_svd([maps, maps], [maps, maps], vectors=0)

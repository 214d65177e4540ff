"""Orders and contrasts among samples: naive derivations, state, gradients, errors."""

import itertools
import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import (
    CRD,
    all_triplets,
    crd,
    darkrank,
    relative_dissimilarity,
    triplet_distillation,
)


def square(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def naive_triplet(student, teacher, triplets, low, high):
    s, t = student.flatten(1).tolist(), teacher.flatten(1).tolist()
    rows = triplets.tolist()
    surer = [max(square(t[a], t[n]) - square(t[a], t[p]), 0) for a, p, n in rows]
    losses = [
        max(square(s[a], s[p]) - square(s[a], s[n]) + (high - low) / max(surer) * d + low, 0)
        for (a, p, n), d in zip(rows, surer, strict=True)
    ]
    return sum(losses) / len(losses)


def naive_relative(student, teachers, margin):
    s, total, count = student.tolist(), 0.0, 0
    for q, a, b in itertools.permutations(range(len(s)), 3):
        if a < b:
            votes = 0
            for teacher in teachers:
                t = teacher.tolist()
                votes += 1 if square(t[q], t[a]) < square(t[q], t[b]) else -1
            count += 1
            if votes:
                near, far = (a, b) if votes > 0 else (b, a)
                gap = math.sqrt(square(s[q], s[near])) - math.sqrt(square(s[q], s[far]))
                total += max(0, gap + margin)
    return total / count


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


def naive_crd(student, teacher, others, size, temperature, normaliser):
    def unit(row):
        length = math.sqrt(sum(v * v for v in row))
        return [v / length for v in row]

    s, t = [unit(r) for r in student.tolist()], [unit(r) for r in teacher.tolist()]
    total = 0.0
    for b in range(len(s)):
        negatives = [unit(row) for row in others[b]]
        noise = len(negatives) / size

        def h(row, b=b, noise=noise):
            dot = sum(x * y for x, y in zip(row, s[b], strict=True))
            score = math.exp(dot / temperature) / normaliser
            return score / (score + noise)

        total -= math.log(h(t[b])) + sum(math.log(1 - h(row)) for row in negatives)
    return total / len(s)


TRIPLETS = torch.tensor([[0, 1, 2], [3, 0, 4], [2, 4, 1], [1, 2, 0]])


def test_values_against_loops():
    s, t, u = draw(5, 3), draw(5, 4, seed=1), draw(5, 2, seed=2)
    got = triplet_distillation(s, t, TRIPLETS, 0.3, 0.9).item()
    assert got == pytest.approx(naive_triplet(s, t, TRIPLETS, 0.3, 0.9), rel=1e-12)
    for teachers in ([t], [t, u], [t, u, draw(5, 6, seed=3)]):
        got = relative_dissimilarity(s, teachers, margin=0.2).item()
        assert got == pytest.approx(naive_relative(s, teachers, 0.2), rel=1e-12)
    for form, length in (("hard", 4), ("soft", 3), ("soft", 1), ("hard", 2)):
        got = darkrank(s, t, form, 0.7, 1.5, length).item()
        expected = naive_darkrank(s, t, form, 0.7, 1.5, length)
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_crd_against_loops():
    s, t, bank = draw(4, 3), draw(4, 3, seed=1), draw(7, 3, seed=2)
    others = [[row for j, row in enumerate(t.tolist()) if j != i] for i in range(4)]
    classes = torch.tensor([0, 1, 0, 1])
    unlike = [[row for j, row in enumerate(t.tolist()) if j % 2 != i % 2] for i in range(4)]
    for got, negatives in (
        (crd(s, t, 50, temperature=0.3, normaliser=2.0), others),
        (crd(s, t, 50, labels=classes, temperature=0.3, normaliser=2.0), unlike),
        (crd(s, t, 50, bank, temperature=0.3, normaliser=2.0), [bank.tolist()] * 4),
    ):
        assert got.item() == pytest.approx(naive_crd(s, t, negatives, 50, 0.3, 2.0), rel=1e-10)


LOSSES = (
    lambda s, t: triplet_distillation(s, t, TRIPLETS),
    lambda s, t: relative_dissimilarity(s, [t], margin=0.1),
    lambda s, t: darkrank(s, t, "soft", 1.0, 2.0),
    lambda s, t: darkrank(s, t, "hard", 1.0, 2.0),
    lambda s, t: crd(s, t, 100),
)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_by_finite_differences(loss):
    teacher = draw(5, 3, seed=1)
    assert gradcheck(lambda s: loss(s, teacher), (draw(5, 3).requires_grad_(),))


def test_matching_student():
    """Soft lists and unmargined votes are 0 where the student matches; gradients are finite."""
    teacher = draw(6, 3)
    student = teacher.clone().requires_grad_()
    for loss in (darkrank(student, teacher), relative_dissimilarity(student, [teacher])):
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert gradient.abs().max() < 1e-10


def test_orders_do_not_see_motions():
    s, t = draw(5, 3), draw(5, 4, seed=1)
    turned = s @ torch.linalg.qr(draw(3, 3, seed=2)).Q + draw(1, 3, seed=3)
    for loss in LOSSES[:4]:
        torch.testing.assert_close(loss(turned, t), loss(s, t))


def test_crd_is_a_density_ratio():
    """With the critic at its optimum h = p / (p + N / M) lies in (0, 1): both logs are finite."""
    far = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    for temperature in (1e-3, 0.07, 10.0):
        value = crd(far, -far.detach(), 10**6, temperature=temperature)
        (gradient,) = torch.autograd.grad(value, far)
        assert value > 0
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_coinciding_samples_stay_finite(loss):
    for student in (torch.zeros(5, 3), torch.ones(5, 3)):
        student.requires_grad_()
        value = loss(student, draw(5, 3).float())
        (gradient,) = torch.autograd.grad(value, student)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_values_and_half_precision(loss, dtype):
    student = (1e3 * draw(5, 3)).to(dtype).requires_grad_()
    value = loss(student, (1e3 * draw(5, 3, seed=1)).to(dtype))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient.float()).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_changes_nothing(loss):
    student, teacher = draw(5, 3).float(), draw(5, 3, seed=1).float()
    plain = loss(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(student, teacher), plain, rtol=1e-6, atol=0)


def test_crd_module_keeps_queues_and_prints_its_memory(capsys):
    module = CRD(6, 10, dataset_size=100, queue=5, features=4)
    assert "two queues of 5 x 4, 0.0 MiB" in capsys.readouterr().out
    assert module.queue_bytes == 2 * 5 * 4 * 4
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(3, 6, generator=generator), torch.randn(3, 10, generator=generator))
        for _ in range(3)
    ]
    first = module(*batches[0])
    fixed = module.normalisers.clone()
    student, teacher = (
        torch.nn.functional.normalize(layer(x))
        for layer, x in zip(
            (module.project_student, module.project_teacher), batches[0], strict=True
        )
    )
    z = torch.exp(student @ teacher.T / 0.07).mean().item() * 100
    torch.testing.assert_close(fixed, torch.tensor([z, z]))
    both = crd(student, teacher, 100, normaliser=z) + crd(teacher, student, 100, normaliser=z)
    torch.testing.assert_close(first, both)
    torch.testing.assert_close(module.student_queue[:3], student.detach())
    assert int(module.filled) == 3
    for batch in batches[1:]:
        module(*batch).backward()
    assert (int(module.filled), int(module.position)) == (5, 4)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    torch.testing.assert_close(module.normalisers, fixed)
    module.eval()
    before = module.teacher_queue.clone()
    module(*batches[0])
    torch.testing.assert_close(module.teacher_queue, before)
    fresh = CRD(6, 10, dataset_size=100, queue=5, features=4, quiet=True)
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(fresh.eval()(*batches[1]), module(*batches[1]))


def test_crd_module_without_queue_takes_the_batch():
    module = CRD(2, 3, dataset_size=10, queue=0, features=4, quiet=True)
    for _ in range(2):
        loss = module(draw(4, 2), draw(4, 3), labels=torch.tensor([0, 0, 1, 1]))
        assert torch.isfinite(loss)


def test_wrong_input_is_named():
    s = draw(4, 3)
    for loss in LOSSES:
        with pytest.raises(ValueError, match=r"student \(4, 3\) and .* \(5, 3\)"):
            loss(s, draw(5, 3))
    with pytest.raises(ValueError, match="integers from 0 to 3"):
        triplet_distillation(s, s, torch.tensor([[0, 1, 4]]))
    with pytest.raises(ValueError, match=r"triplets must have shape \(triplets, 3\); got \(0, 3\)"):
        triplet_distillation(s, s, torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="least_margin <= greatest_margin"):
        triplet_distillation(s, s, torch.tensor([[0, 1, 2]]), 0.5, 0.2)
    with pytest.raises(ValueError, match="at least 3 samples in the batch; got 2"):
        all_triplets(2)
    with pytest.raises(ValueError, match="at least one batch of features; got none"):
        relative_dissimilarity(s, [])
    with pytest.raises(ValueError, match=r"list_length must lie in 1..3 for soft lists"):
        darkrank(s, s)
    with pytest.raises(ValueError, match='form must be "soft" or "hard"'):
        darkrank(s, s, "medium")
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(4, 2\) must both"):
        crd(s, draw(4, 2), 10)
    with pytest.raises(ValueError, match="every sample needs a negative"):
        crd(s, s, 10, labels=torch.zeros(4))
    with pytest.raises(ValueError, match=r"queue must lie in \[0, dataset_size\); got 9, 9"):
        CRD(2, 2, dataset_size=9, queue=9)

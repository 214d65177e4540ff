"""CRD against loops; its queues."""

import math

import pytest
import torch
from draws import draw

from kdnb.losses import (
    CRD,
    crd,
)


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


def test_crd_is_a_density_ratio():
    """With the critic at its optimum h = p / (p + N / M) lies in (0, 1): both logs are finite."""
    far = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    for temperature in (1e-3, 0.07, 10.0):
        value = crd(far, -far.detach(), 10**6, temperature=temperature)
        (gradient,) = torch.autograd.grad(value, far)
        assert value > 0
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


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


def test_wrong_embeddings_and_queues_are_named():
    s = draw(4, 3)
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(4, 2\) must both"):
        crd(s, draw(4, 2), 10)
    with pytest.raises(ValueError, match="every sample needs a negative"):
        crd(s, s, 10, labels=torch.zeros(4))
    with pytest.raises(ValueError, match=r"queue must lie in \[0, dataset_size\); got 9, 9"):
        CRD(2, 2, dataset_size=9, queue=9)

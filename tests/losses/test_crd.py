"""CRD against loops; its memory."""

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


def test_which_negatives_count_can_be_said_for_each_sample():
    s, t, bank = draw(4, 3), draw(4, 3, seed=1), draw(7, 3, seed=2)
    kept = torch.ones(4, 7, dtype=torch.bool)
    kept[0, 1:], kept[2, :3] = False, False
    others = [[row for row, one in zip(bank.tolist(), own, strict=True) if one] for own in kept]
    got = crd(s, t, 50, bank, temperature=0.3, normaliser=2.0, kept=kept)
    # N differs from sample to sample, so that the loops go over one sample at a time.
    one = [naive_crd(s[b : b + 1], t[b : b + 1], others[b : b + 1], 50, 0.3, 2.0) for b in range(4)]
    assert got.item() == pytest.approx(sum(one) / 4, rel=1e-10)


def module_of(**options):
    torch.manual_seed(0)
    options = {"dataset_size": 12, "features": 4, "quiet": True, **options}
    return CRD(6, 10, **options)


def features(count, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = (count, 6), (count, 10)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def projected(module, batch):
    layers = module.project_student, module.project_teacher
    pairs = zip(layers, batch, strict=True)
    return [torch.nn.functional.normalize(layer(values)) for layer, values in pairs]


def test_crd_module_fixes_its_normalisers_and_prints_its_memory(capsys):
    module = CRD(6, 10, dataset_size=100, features=4)
    assert "a memory of two times 100 x 4, 0.0 MiB" in capsys.readouterr().out
    assert module.memory_bytes == 2 * 100 * 4 * 4
    module = module.double()  # exp of a cosine over 0.07 makes float32's rounding 14 times as large
    batches = [[values.double() for values in features(3, seed)] for seed in range(3)]
    indices = [torch.arange(3) + 3 * i for i in range(3)]
    first = module(*batches[0], index=indices[0])
    fixed = module.normalisers.clone()
    student, teacher = projected(module, batches[0])
    z = torch.exp(student @ teacher.T / 0.07).mean().item() * 100
    torch.testing.assert_close(fixed, torch.tensor([z, z], dtype=torch.float64))
    both = crd(student, teacher, 100, normaliser=z) + crd(teacher, student, 100, normaliser=z)
    torch.testing.assert_close(first, both)
    torch.testing.assert_close(module.student_memory[:3], student.detach())
    assert int(module.filled.sum()) == 3
    for batch, index in zip(batches[1:], indices[1:], strict=True):
        module(*batch, index=index).backward()
    assert int(module.filled.sum()) == 9
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    torch.testing.assert_close(module.normalisers, fixed)
    module.eval()
    before = module.teacher_memory.clone()
    module(*batches[0], index=indices[0])
    torch.testing.assert_close(module.teacher_memory, before)
    fresh = CRD(6, 10, dataset_size=100, features=4, quiet=True).double()
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(
        fresh.eval()(*batches[1], index=indices[1]), module(*batches[1], index=indices[1])
    )


@pytest.mark.parametrize("known", ["labels", "index", "both"])
def test_no_sample_meets_its_class_or_its_own_past(known):
    """Against the function, with the memory's rows chosen by hand; N is the number kept."""
    module, classes = module_of(), torch.arange(12) % 3
    index = [torch.arange(6), torch.arange(6, 12), torch.tensor([4, 1, 9, 6, 2, 11])]
    for step, places in enumerate(index):
        batch = features(6, step)
        given = {"labels": classes[places], "index": places}
        given = given if known == "both" else {known: given[known]}
        memory = module.student_memory.clone(), module.teacher_memory.clone()
        loss = module(*batch, **given)
    student, teacher = projected(module, batch)
    alike = torch.zeros(6, 12, dtype=torch.bool)
    if known != "index":
        alike |= classes[places][:, None] == classes[None]
    if known != "labels":
        alike |= places[:, None] == torch.arange(12)[None]
    z = module.normalisers.tolist()
    expected = crd(student, teacher, 12, memory[1], normaliser=z[0], kept=~alike) + crd(
        teacher, student, 12, memory[0], normaliser=z[1], kept=~alike
    )
    torch.testing.assert_close(loss, expected)
    assert (~alike).sum(1).tolist() == [{"labels": 8, "index": 11, "both": 8}[known]] * 6


def test_a_samples_entry_is_mixed_with_its_earlier_one():
    module, index = module_of(momentum=0.25), torch.tensor([7, 3])
    old, new = features(2, 0), features(2, 1)
    module(*old, index=index)
    before = [value.detach() for value in projected(module, old)]
    module(*new, index=index)
    now = [value.detach() for value in projected(module, new)]
    for memory, was, fresh in zip(
        (module.student_memory, module.teacher_memory), before, now, strict=True
    ):
        mixed = torch.nn.functional.normalize(0.25 * was + 0.75 * fresh)
        torch.testing.assert_close(memory[index], mixed)
        assert memory.abs().sum(1).gt(0).sum() == 2
    in_turn = module_of(dataset_size=3)  # without an index the oldest entry makes room
    for batch in (old, new):
        in_turn(*batch, labels=torch.tensor([0, 1]))
    kept = [projected(in_turn, batch)[0].detach() for batch in (old, new)]
    rows = torch.stack([kept[1][1], kept[0][1], kept[1][0]])
    torch.testing.assert_close(in_turn.student_memory, rows)


def test_so_many_negatives_are_drawn_and_not_the_same_again():
    module, everything = module_of(negatives=5, dataset_size=40), torch.arange(40)
    module(*features(40, 0), index=everything)
    drawn = [module._drawn() for _ in range(4)]
    assert all(len(set(rows.tolist())) == 5 for rows in drawn)
    assert len({tuple(rows.tolist()) for rows in drawn}) > 1
    torch.manual_seed(1)
    one = module(*features(4, 1), index=everything[:4])
    assert torch.isfinite(one)


def test_a_sample_without_any_negative_adds_nothing():
    module, batch = module_of(), features(4, 0)
    assert module(*batch, labels=torch.zeros(4, dtype=torch.long)) == 0
    labels = torch.tensor([0, 0, 0, 1])  # the memory holds class 0 alone
    loss = module(*features(4, 1), labels=labels)
    student, teacher = projected(module, features(4, 1))
    memory = [value.detach() for value in projected(module, batch)]
    z = module.normalisers.tolist()
    one = crd(student[3:], teacher[3:], 12, memory[1], normaliser=z[0]) + crd(
        teacher[3:], student[3:], 12, memory[0], normaliser=z[1]
    )
    torch.testing.assert_close(loss, one / 4)


def test_crd_module_without_memory_takes_the_batch():
    module = CRD(2, 3, dataset_size=10, negatives=0, features=4, quiet=True)
    assert module.memory_bytes == 0
    for _ in range(2):
        loss = module(draw(4, 2), draw(4, 3), labels=torch.tensor([0, 0, 1, 1]))
        assert torch.isfinite(loss)


def test_wrong_embeddings_and_queues_are_named():
    s = draw(4, 3)
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(4, 2\) must both"):
        crd(s, draw(4, 2), 10)
    with pytest.raises(ValueError, match="every sample needs a negative"):
        crd(s, s, 10, labels=torch.zeros(4))
    with pytest.raises(ValueError, match=r"kept must be truth values of shape \(4, 4\)"):
        crd(s, s, 10, s, kept=torch.ones(4, 3, dtype=torch.bool))
    module = CRD(3, 3, dataset_size=9, quiet=True)
    with pytest.raises(ValueError, match="needs labels or the samples' places"):
        module(s.float(), s.float())
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\)"):
        module(s.float(), s.float(), labels=torch.zeros(3))
    with pytest.raises(ValueError, match="index must lie in 0 to 8.*; got 6 to 9"):
        module(s.float(), s.float(), index=torch.arange(6, 10))
    with pytest.raises(ValueError, match="momentum must lie in"):
        CRD(2, 2, dataset_size=9, momentum=2.0)

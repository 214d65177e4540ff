"""PFD: which network sees what, who teaches whom, and the metric by pairs."""

import pytest
import torch

from kdnb.methods.applications.pfd import Clicks, Tower, auc, distil_privileged


def clicks(count=400, seed=0):
    """The privileged number tells the click; fields and numbers hint at it."""
    stream = torch.Generator().manual_seed(seed)
    fields = torch.randint(0, 5, (count, 2), generator=stream)
    numbers = torch.randn(count, 1, generator=stream)
    inner = fields[:, 0] - 2 + numbers[:, 0] + torch.randn(count, generator=stream)
    return Clicks(fields, numbers, inner[:, None], (inner > 0).float())


def towers():
    torch.manual_seed(0)
    return Tower([5, 5], 1), Tower([5, 5], 2)


def test_auc_by_pairs():
    scores, labels = torch.tensor([0.1, 0.4, 0.4, 0.9, -1.0]), torch.tensor([0.0, 1, 0, 1, 1])
    pairs = [(a > b) + 0.5 * (a == b) for a in (0.4, 0.9, -1.0) for b in (0.1, 0.4)]
    assert auc(scores, labels) == pytest.approx(sum(map(float, pairs)) / 6)
    with pytest.raises(ValueError, match="both clicks and others"):
        auc(scores, torch.zeros(5))


def test_both_learn_and_the_teacher_is_better():
    student, teacher = towers()
    data, test = clicks(), clicks(seed=9)
    distil_privileged(student, teacher, data, teacher_share=0.5, epochs=30, rate=0.01, batch_size=64)  # fmt: skip
    with torch.no_grad():
        ours = auc(student(test.fields, test.numbers), test.labels)
        theirs = auc(teacher(test.fields, test.everything), test.labels)
    assert theirs > ours + 0.05 and ours > 0.8


def test_without_a_share_the_teacher_leaves_no_trace():
    made = []
    for share, waiting in ((0.0, 0), (0.9, 10**6)):
        student, teacher = towers()
        distil_privileged(student, teacher, clicks(), teacher_share=share, waiting=waiting, epochs=2)  # fmt: skip
        made.append(student.layers[0].weight)
    alone, _ = towers()
    distil_privileged(alone, None, clicks(), teacher_share=0.9, epochs=2)
    assert made[0].equal(made[1]) and made[0].allclose(alone.layers[0].weight)


def test_a_trained_teacher_stays_as_it_is():
    student, teacher = towers()
    before = [one.clone() for one in teacher.parameters()]
    distil_privileged(student, teacher, clicks(), teacher_share=0.5, epochs=1, trained=True)
    assert all(a.equal(b) for a, b in zip(before, teacher.parameters(), strict=True))

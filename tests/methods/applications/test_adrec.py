"""ADREC: what is read, who is trained, and representations that come nearer."""

import pytest
import torch

from kdnb.methods.applications.adrec import (
    RatingNet,
    discriminator,
    learn_ratings,
    root_mean_squared_error,
)


def ratings(count=600, seed=0):
    """A text tells what a user thinks of an item."""
    stream = torch.Generator().manual_seed(seed)
    users, items = (torch.randint(0, 20, (count,), generator=stream) for _ in range(2))
    words = torch.randn(count, 3, generator=stream)
    return users, items, 3.5 + words[:, 0] + 0.1 * (users % 3), words


def nets():
    torch.manual_seed(0)
    return RatingNet(20, 20, 3), RatingNet(20, 20, 0)


def test_a_text_helps_the_teacher_and_a_student_reads_none():
    users, items, stars, words = ratings()
    teacher, student = nets()
    learn_ratings(teacher, users, items, stars, words, epochs=25, batch_size=64)
    learn_ratings(student, users, items, stars, epochs=25, batch_size=64)
    test = ratings(seed=5)
    assert root_mean_squared_error(teacher, *test) < root_mean_squared_error(student, *test[:3])
    assert student.words is None and not next(iter(teacher.words.parameters())).isnan().any()


def test_the_teacher_stays_and_the_student_deceives_the_judge():
    users, items, stars, words = ratings()
    teacher, student = nets()
    learn_ratings(teacher, users, items, stars, words, epochs=10, batch_size=64)
    before = [one.clone() for one in teacher.parameters()]
    apart = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(1)
        student, judge = RatingNet(20, 20, 0), discriminator()
        learn_ratings(student, users, items, stars, words, epochs=30, batch_size=64, teacher=teacher,
                      judge=judge, adversarial_weight=weight, rate=3e-3)  # fmt: skip
        with torch.no_grad():
            gap = judge(teacher.represent(users, items, words)) - judge(
                student.represent(users, items)
            )
        apart[weight] = gap.mean().item()
    assert all(a.equal(b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert apart[1.0] < apart[0.0]


def test_matching_brings_representations_together():
    users, items, stars, words = ratings()
    teacher, _ = nets()
    far = {}
    for weight in (0.0, 5.0):
        torch.manual_seed(1)
        student = RatingNet(20, 20, 0)
        learn_ratings(student, users, items, stars, words, epochs=10, batch_size=64, teacher=teacher, matching_weight=weight)  # fmt: skip
        with torch.no_grad():
            gap = student.represent(users, items) - teacher.represent(users, items, words)
        far[weight] = gap.square().mean().item()
    assert far[5.0] < 0.5 * far[0.0]


def test_a_teacher_needs_its_texts():
    users, items, stars, _ = ratings()
    teacher, student = nets()
    with pytest.raises(ValueError, match="words are needed"):
        learn_ratings(student, users, items, stars, epochs=1, teacher=teacher)
    learn_ratings(student, users, items, stars, epochs=1)

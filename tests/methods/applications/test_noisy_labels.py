"""Clean labels that correct noisy ones: the share decides, and the best one is near the formula's."""

import torch
from torch import nn

from kdnb.losses import best_label_share, mixed_labels
from kdnb.methods.applications.coteaching import noisy_labels
from kdnb.methods.applications.noisy_labels import distil_clean_labels, risk
from kdnb.training import Recipe

RECIPE = Recipe(epochs=15, batch_size=32, optimiser="adam", lr=0.02, precision="32")


def points(count, seed):
    labels = torch.arange(count) % 3
    stream = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[1.5, 0.0], [-1.0, 1.2], [-1.0, -1.2]])
    return centres[labels] + torch.randn(count, 2, generator=stream), labels


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))


def test_the_teacher_is_asked_in_eval_mode_and_left_alone():
    inputs, labels = points(60, 0)
    teacher = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    teacher[1].eval()
    before = [one.clone() for one in teacher.parameters()]
    made = []
    for _ in range(2):
        student = network()
        distil_clean_labels(student, teacher, inputs, labels, 0.0, RECIPE, batch_size=25)
        made.append(student[0].weight)
    assert made[0].equal(made[1]) and teacher.training
    assert all(a.equal(b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_with_labels_alone_the_teacher_does_not_matter():
    inputs, labels = points(60, 0)
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        teacher, student = nn.Linear(2, 3), network()
        distil_clean_labels(student, teacher, inputs, labels, 1.0, RECIPE)
        made.append(student[0].weight)
    assert made[0].equal(made[1])


def test_mixed_labels_have_a_smaller_risk_than_either():
    inputs, right = points(3000, 0)
    given = noisy_labels(right, 0.3, 3, seed=1)
    teacher = network()
    clean = points(60, 7)
    distil_clean_labels(teacher, teacher, *clean, 1.0, RECIPE)
    with torch.no_grad():
        answers = teacher(inputs)
    both = risk(mixed_labels(given, answers, 1.0), right), risk(mixed_labels(given, answers, 0.0), right)  # fmt: skip
    share = best_label_share(*both)
    assert risk(mixed_labels(given, answers, share), right) < min(both)
    assert risk(mixed_labels(right, answers, 1.0), right) == 0

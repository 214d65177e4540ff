"""Distillation for noisy labels (Li et al. 2017): few clean labels correct many noisy ones."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import mixed_labels
from kdnb.methods.offline.distil import train
from kdnb.training import Fit, Recipe
from kdnb.training.metrics import outputs_for


def distil_clean_labels(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    labels: Tensor,
    label_share: float,
    recipe: Recipe,
    *,
    temperature: float = 1.0,
    batch_size: int = 1000,
    seed: int = 0,
) -> Fit:
    """Train a student on noisy labels mixed with the answers of a teacher trained on clean labels.

    The teacher's answers are computed once, in eval mode.

    Args:
        student: trained in place.
        teacher: trained on the clean set; left as it is.
        images, labels: the large set, (N, ...) and (N,), some labels wrong. The clean set may be
            among them.
        label_share: lambda: 1 uses only the labels, 0 only the teacher.
        recipe: for the training.
        temperature: T of the teacher's softmax.
        batch_size: of the teacher's answers.

    Returns:
        The `Fit` of the training.
    """
    answers = outputs_for(teacher, images, batch_size)
    targets = mixed_labels(labels, answers, label_share, temperature)
    return train(student, (images, targets), recipe, seed=seed)


def risk(answers: Tensor, right: Tensor) -> float:
    """The mean squared distance of answers (N, classes) from the true labels, on clean data."""
    goal = F.one_hot(right, answers.shape[1]).to(answers.dtype)
    return float((answers - goal).square().sum(1).mean())

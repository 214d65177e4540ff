"""PFD (Xu et al. 2020): features known only after the click."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import privileged_features
from kdnb.losses.checks import check_number
from kdnb.training.metrics import ranking_area


class Tower(nn.Module):
    """Embeddings of fields, and a perceptron that gives one score.

    Args:
        sizes: the number of values of each field.
        numbers: the number of additional real-valued features.
        width: width of an embedding.
        hidden: of the perceptron.
    """

    def __init__(self, sizes: list[int], numbers: int = 0, width: int = 8, hidden: int = 32):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.05)
        self.layers = nn.Sequential(
            nn.Linear(width * len(sizes) + numbers, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """(batch,) logits of (batch, fields) integers and (batch, numbers)."""
        parts = [table(fields[:, n]) for n, table in enumerate(self.tables)]
        return self.layers(torch.cat([*parts, numbers], 1))[:, 0]


class Clicks(NamedTuple):
    """Samples: (N, fields), (N, numbers), privileged (N, privileged), labels (N,) 0.0 or 1.0."""

    fields: Tensor
    numbers: Tensor
    privileged: Tensor
    labels: Tensor

    def at(self, places: Tensor) -> Clicks:
        return Clicks(*(one[places] for one in self))

    @property
    def everything(self) -> Tensor:
        return torch.cat([self.numbers, self.privileged], 1)


def distil_privileged(
    student: nn.Module,
    teacher: nn.Module | None,
    clicks: Clicks,
    *,
    teacher_share: float,
    epochs: int,
    waiting: int = 0,
    rate: float = 2e-3,
    decay: float = 1e-5,
    batch_size: int = 1024,
    trained: bool = False,
    seed: int = 0,
) -> None:
    """Train a student and its teacher together, in place.

    Args:
        student: (fields, numbers) -> scores.
        teacher: (fields, numbers and privileged ones) -> scores; None trains the student alone.
        clicks: samples.
        teacher_share: lambda.
        epochs: over all samples, with Adam.
        waiting: the number of steps in which the student learns only the labels.
        trained: whether the teacher is already trained and stays fixed.
        seed: for the order.
    """
    check_number(least=1, whole=True, epochs=epochs, batch_size=batch_size)
    check_number(least=0, whole=True, waiting=waiting)
    learning = [student] if teacher is None or trained else [student, teacher]
    weights = [one for net in learning for one in net.parameters()]
    optimiser = torch.optim.Adam(weights, lr=rate, weight_decay=decay)
    stream, step = torch.Generator().manual_seed(seed), 0
    for _ in range(epochs):
        for places in torch.randperm(len(clicks.labels), generator=stream).split(batch_size):
            part = clicks.at(places)
            ours = student(part.fields, part.numbers)
            theirs, loss = ours.detach(), 0.0
            if teacher is not None:
                theirs = teacher(part.fields, part.everything)
                if not trained:
                    loss = F.binary_cross_entropy_with_logits(theirs, part.labels)
            share = teacher_share if teacher is not None and step >= waiting else 0.0
            loss = loss + privileged_features(ours, theirs, part.labels, share)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1


def auc(scores: Tensor, labels: Tensor) -> float:
    """The probability that a sample with a click scores above one without; a tie counts half."""
    hits = labels > 0.5
    if bool(hits.all()) or not bool(hits.any()):
        raise ValueError("labels must hold both clicks and others.")
    return ranking_area(scores.detach(), hits.long())

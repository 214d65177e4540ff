"""Adversarial distillation for recommendation (Chen et al. 2018): a student without text features.

Teacher and student predict the rating that a user gives an item from a representation of the pair.
The teacher's representation also uses a text about the pair. A discriminator learns to tell the two
representations apart, and the student learns to deceive it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import fooling_loss, judging_loss
from kdnb.losses.checks import check_number


class RatingNet(nn.Module):
    """Predicts ratings from a representation of user, item and, for a teacher, a text.

    Args:
        users, items: the number of each.
        words: the number of text features; 0 for a student.
        width: width of the representation.
        mean: the initial prediction.
    """

    def __init__(self, users: int, items: int, words: int, width: int = 16, mean: float = 3.5):
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
        self.words = nn.Linear(words, width) if words else None
        self.mix = nn.Linear((3 if words else 2) * width, width)
        self.rate = nn.Linear(width, 1)
        nn.init.constant_(self.rate.bias, mean)

    def represent(self, users: Tensor, items: Tensor, words: Tensor | None = None) -> Tensor:
        """(batch, width)."""
        parts = [self.users(users), self.items(items)]
        if self.words is not None:
            parts.append(self.words(words))
        return self.mix(torch.cat([one.relu() if n == 2 else one for n, one in enumerate(parts)], 1)).relu()  # fmt: skip

    def forward(self, users: Tensor, items: Tensor, words: Tensor | None = None) -> Tensor:
        return self.rate(self.represent(users, items, words))[:, 0]


def discriminator(width: int = 16, hidden: int = 32) -> nn.Module:
    """A network that separates a teacher's representations (high scores) from a student's."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Flatten(0))


def learn_ratings(
    net: RatingNet,
    users: Tensor,
    items: Tensor,
    ratings: Tensor,
    words: Tensor | None = None,
    *,
    epochs: int,
    teacher: RatingNet | None = None,
    judge: nn.Module | None = None,
    adversarial_weight: float = 0.1,
    matching_weight: float = 0.0,
    rate: float = 5e-3,
    decay: float = 1e-5,
    batch_size: int = 1024,
    seed: int = 0,
) -> RatingNet:
    """Train a rating net in place: alone, or as the student of a trained teacher.

    Args:
        net: the network to train.
        users, items: (N,) integers.
        ratings: (N,) numbers.
        words: (N, words) texts; read by the teacher if there is one, else by `net`.
        teacher: trained and left unchanged; None trains `net` on the ratings alone.
        judge: a `discriminator`, trained here, in turn with the net.
        adversarial_weight: weight of the adversarial loss, which falls as the judge takes the
            student for the teacher.
        matching_weight: weight of the squared distance of the representations, a control without a
            judge.
        rate, decay: Adam's learning rate and L2 penalty.
    """
    check_number(least=1, whole=True, epochs=epochs, batch_size=batch_size)
    check_number(least=0, adversarial_weight=adversarial_weight, matching_weight=matching_weight)
    if words is None and (net if teacher is None else teacher).words is not None:
        raise ValueError("words are needed: the network that reads texts was given none.")
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=decay)
    judging = torch.optim.Adam(judge.parameters(), lr=rate) if judge is not None else None
    stream = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(users), generator=stream).split(batch_size):
            who, what, text = users[batch], items[batch], None if words is None else words[batch]
            ours = net.represent(who, what, text if teacher is None else None)
            loss = F.mse_loss(net.rate(ours)[:, 0], ratings[batch])
            if teacher is not None:
                with torch.no_grad():
                    theirs = teacher.represent(who, what, text)
                if judging is not None:
                    told = judging_loss(judge(theirs), judge(ours.detach()))
                    judging.zero_grad()
                    told.backward()
                    judging.step()
                    loss = loss + adversarial_weight * fooling_loss(judge(ours))
                loss = loss + matching_weight * F.mse_loss(ours, theirs)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net


def root_mean_squared_error(
    net: RatingNet, users: Tensor, items: Tensor, ratings: Tensor, words: Tensor | None = None
) -> float:
    """The error in stars, without gradients."""
    with torch.no_grad():
        return float((net(users, items, words) - ratings).square().mean().sqrt())

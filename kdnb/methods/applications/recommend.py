"""Recommendation: predict which items a user takes next, evaluated over all items.

The items that users took are a table of booleans (users, items). A model gives a score to every
user and item.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import check_number

Extra = Callable[[Tensor], Tensor]


class Factors(nn.Module):
    """Matrix factorisation: the score of a user and an item is the product of two vectors.

    Args:
        users, items: how many.
        width: numbers in a vector.
    """

    def __init__(self, users: int, items: int, width: int):
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """(users, width) and (items, width)."""
        return self.users.weight, self.items.weight

    def forward(self, users: Tensor | None = None) -> Tensor:
        """(users, items) scores of some users, of all if None."""
        ours, items = self.vectors()
        return (ours if users is None else ours[users]) @ items.T


class GraphFactors(Factors):
    """LightGCN: vectors averaged over the user-item graph and over the layers.

    Args:
        seen: (users, items) booleans, the edges.
        layers: the number of propagation steps, in which a vector becomes the weighted sum of its
            neighbours'.
    """

    def __init__(self, seen: Tensor, width: int, layers: int = 2):
        super().__init__(*seen.shape, width)
        check_number(least=1, whole=True, layers=layers)
        edges, self.layers = seen.float(), layers
        degrees = [edges.sum(axis).clamp_min(1).rsqrt() for axis in (1, 0)]
        self.register_buffer("weights", degrees[0][:, None] * edges * degrees[1])

    def vectors(self) -> tuple[Tensor, Tensor]:
        users, items = super().vectors()
        total_users, total_items = users, items
        for _ in range(self.layers):
            users, items = self.weights @ items, self.weights.T @ users
            total_users, total_items = total_users + users, total_items + items
        return total_users / (self.layers + 1), total_items / (self.layers + 1)


def last_taken(users: Tensor, items: Tensor, times: Tensor, held: int) -> list[Tensor]:
    """Split the users' items by time into training, validation and test parts.

    Args:
        users, items, times: (N,) integers, one entry for each item that a user took.
        held: the number of items per user in each of the two later parts; users with fewer than
            three times as many items appear only in training.

    Returns:
        Three tables (users, items) of booleans.
    """
    check_number(least=1, whole=True, held=held)
    shape = int(users.max()) + 1, int(items.max()) + 1
    parts = [torch.zeros(shape, dtype=torch.bool) for _ in range(3)]
    order = times.argsort(stable=True)
    for user in range(shape[0]):
        own = items[order[users[order] == user]]
        cuts = [len(own) - 2 * held, len(own) - held] if len(own) >= 3 * held else [len(own)] * 2
        for part, chosen in zip(parts, own.tensor_split(cuts), strict=True):
            part[user, chosen] = True
    return parts


def ndcg(scores: Tensor, relevant: Tensor, seen: Tensor, first: int = 10) -> Tensor:
    """NDCG of the top items of each user's ranking, (users with relevant items,).

    Args:
        scores: (users, items).
        relevant: (users, items) booleans.
        seen: (users, items), items that the user already has and that are left out of the ranking.
        first: the number of top items that count.
    """
    check_number(least=1, most=scores.shape[1], whole=True, first=first)
    users = relevant.any(1)
    scores = scores[users].masked_fill(seen[users], -torch.inf)
    hits = relevant[users].gather(1, scores.topk(first).indices).double()
    gains = torch.arange(2, first + 2, dtype=torch.float64).log2().reciprocal()
    best = gains.cumsum(0)[relevant[users].sum(1).clamp(1, first) - 1]
    return (hits * gains).sum(1) / best


def learn_ranking(
    model: Factors,
    seen: Tensor,
    *,
    epochs: int,
    rate: float = 0.01,
    decay: float = 1e-5,
    batch_size: int = 1024,
    weight: float = 1.0,
    extra: Extra | None = None,
    seed: int = 0,
) -> Factors:
    """Train in place by Bayesian personalised ranking: a user's items score above random others.

    Args:
        model: scores.
        seen: (users, items) booleans.
        epochs: passes over all taken items.
        rate, decay: Adam's learning rate, and its L2 penalty.
        weight: weight of the ranking loss; 0 uses only `extra`.
        extra: users of a batch -> an additional loss, such as a teacher's.
        seed: for batches and of the other items.
    """
    check_number(least=1, whole=True, epochs=epochs, batch_size=batch_size)
    check_number(least=0, weight=weight)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    stream = torch.Generator().manual_seed(seed)
    users, items = seen.nonzero(as_tuple=True)
    for _ in range(epochs):
        for batch in torch.randperm(len(users), generator=stream).split(batch_size):
            who = users[batch]
            other = torch.randint(seen.shape[1], (len(batch),), generator=stream)
            fresh = ~seen[who, other]  # a random item that the user took is not a negative
            ours, theirs = model.vectors()
            own = ours[who]
            gap = (own * (theirs[items[batch]] - theirs[other])).sum(1)[fresh]
            # In a small batch every random item may be one that its user took: then there is no
            # pair.
            loss = -weight * F.logsigmoid(gap).mean() if len(gap) else 0 * own.sum()
            if extra is not None:
                loss = loss + extra(who)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model

"""DML (Zhang et al. 2018): deep mutual learning between peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses.checks import check_choice, check_lists, check_logits, check_temperature
from kdnb.losses.ensemble import ensemble_log_probabilities
from kdnb.losses.kd import soft_targets

Target = Literal["peers", "ensemble", "mean_logits"]
TARGETS = ("peers", "ensemble", "mean_logits")


def mutual_loss(
    logits: Tensor, peers: Sequence[Tensor], target: Target = "peers", temperature: float = 1.0
) -> Tensor:
    r"""The divergence of one network from its peers (Zhang et al. 2018, section 3.2).

    - ``peers``: :math:`\frac{T^2}{K-1} \sum_{l \ne k} KL(p_l \| p_k)`;
    - ``ensemble`` (DML_e): :math:`T^2\, KL\big(\frac{1}{K-1} \sum_{l \ne k} p_l \,\|\, p_k\big)`;
    - ``mean_logits``: the peers' logits are averaged before the softmax.

    `peers` and `ensemble` differ by :math:`H(\bar p) - \frac{1}{K-1}\sum H(p_l)`, which does not
    contain p_k, so their gradients for p_k are equal. The paper finds DML_e worse and explains it
    by averaging, which makes the teacher more peaked. But a mean of probabilities is never more
    peaked than its members on average, while a mean of logits may be. This is why `mean_logits` is
    offered.

    Args:
        logits: (batch, classes) of the learning network.
        peers: the others' logits, each (batch, classes); no gradient flows into them.
        temperature: 1 in the paper.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for no peer, another target, or wrong shapes.

    Departures: the authors' code (YingZhangDUT/Deep-Mutual-Learning, `train_models.py`) sums the
    peers' divergences without dividing by K - 1, and has no DML_e, whose equation is recalled and
    not confirmed.

    >>> z = torch.tensor([[2.0, 0.0]])
    >>> mutual_loss(torch.zeros(1, 2), [z, -z]), mutual_loss(torch.zeros(1, 2), [z, -z], "ensemble")
    (tensor(0.3278), tensor(0.))
    """
    check_choice(TARGETS, target=target)
    check_lists(peers=peers)
    check_logits(logits=logits, **{f"peers[{i}]": peer for i, peer in enumerate(peers)})
    check_temperature(temperature)
    peers = [peer.detach() for peer in peers]
    if target == "peers":
        divergences = [soft_targets(logits, peer, temperature) for peer in peers]
        return torch.stack(divergences).mean()
    if target == "mean_logits":
        return soft_targets(logits, torch.stack(list(peers)).mean(0), temperature)
    softened = ensemble_log_probabilities([peer / temperature for peer in peers])
    return soft_targets(logits, temperature * softened, temperature)

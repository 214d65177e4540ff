"""OKDDip (Chen et al. 2020): peers with individual targets, and the leader they teach."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.losses.checks import Variant, at_least_float32, check_temperature
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.methods.online.common import Ramp
from kdnb.training import Recipe


class PeerAttention(nn.Module):
    r"""Attention of each peer over the others, for every image (Chen et al. 2020, eq. 5).

    .. math:: a_{ab} = \frac{\exp(\langle L h_a, E h_b \rangle)}
        {\sum_f \exp(\langle L h_a, E h_f \rangle)}

    with two linear maps that all peers share.

    Args:
        width: width of the features h.
        reduction: the maps lead to width // reduction numbers; 8 in the authors' code.
        itself: if True, a peer also attends to itself, as in the paper and in the authors' code;
            else b and f run over the other peers, and two peers attend to each other.

    Departures: `itself`. The maps are trained only by the divergence of a peer from its target,
    which is 0 if the peer attends only to itself, so peers soon stop teaching. The authors'
    gradients, through targets into peers, do not prevent this.
    """

    def __init__(self, width: int, reduction: int = 8, *, itself: bool = False):
        super().__init__()
        self.itself = itself
        hidden = max(1, width // reduction)
        self.left = nn.Linear(width, hidden, bias=False)
        self.right = nn.Linear(width, hidden, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, peers, width) -> (batch, peers, peers): row a sums to 1."""
        energy = (self.left(features) @ self.right(features).transpose(1, 2)).float()
        if not self.itself:
            own = torch.eye(energy.shape[1], dtype=torch.bool, device=energy.device)
            energy = energy.masked_fill(own, -math.inf)
        return energy.softmax(2)


def own_targets(
    logits: Tensor, attention: Tensor, temperature: float, variant: Variant = "paper"
) -> Tensor:
    r"""Each peer's target: :math:`t_a = \sum_b a_{ab}\, \mathrm{softmax}(z_b / T)`, as logits.

    Args:
        logits: (batch, peers, classes).
        attention: (batch, peers, peers).
        temperature: T > 0; softmax(result / T) is the target.
        variant: "paper" averages softened probabilities, with gradients only to the attention;
            "authors" averages logits, with gradients everywhere.

    Returns:
        (batch, peers, classes).

    Raises:
        ValueError: for an unknown variant or a temperature that is not above 0.
    """
    check_temperature(temperature)
    if variant not in ("paper", "authors"):
        raise ValueError(f'variant must be "paper" or "authors"; got {variant!r}.')
    logits = at_least_float32(logits)
    if variant == "authors":
        return attention @ logits
    said = (logits.detach() / temperature).log_softmax(2)
    mixed = (attention.clamp_min(1e-30).log().unsqueeze(3) + said.unsqueeze(1)).logsumexp(2)
    return temperature * mixed


def okddip(
    branches: Branches,
    attention: PeerAttention,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    temperature: float = 3.0,
    ramp_up: int = 0,
    variant: Variant = "paper",
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Two-level distillation with diverse peers and a group leader (Chen et al. 2020, eq. 8).

    .. math:: L = \sum_{a=1}^{m} H(y, p_a) + w\, T^2 \sum_{a=1}^{m-1} KL(t_a \,\|\, q_a)
        + w\, T^2\, KL(t_m \,\|\, q_m), \quad t_m = \frac{1}{m-1} \sum_{a<m} q_a

    with q softened by T. Nobody learns from the leader.

    Args:
        branches: m >= 3 heads, the last of them the leader. For peers that share nothing split
            them at their first child.
        attention: `PeerAttention` of the heads' feature width.
        weight, ramp_up: w and the epochs of its ramp (80 of 300 in the authors' code).
        temperature: T, 3 in the paper.
        variant: as in :func:`own_targets`; "authors" also averages the peers' logits for the
            leader, with gradients into the peers.
        options: passed to `training.fit`.

    Returns:
        The history: `hard`, `peers` and `leader`.

    Raises:
        ValueError: for fewer than three heads.

    Departures: those of `PeerAttention`. Averaging probabilities is recalled from the paper; to our
    knowledge, it does not say whether its targets carry gradients. The authors' code was read in
    November 2026 (`train_GL.py`, `resnet_GL.py`): its targets are means of logits, through which
    gradients flow into peers and attention.
    """
    if len(branches.heads) < 3:
        raise ValueError(f"okddip needs 2 peers and a leader; got {len(branches.heads)} heads.")
    if variant not in ("paper", "authors"):
        raise ValueError(f'variant must be "paper" or "authors"; got {variant!r}.')
    ramp = Ramp(weight, ramp_up)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        said = networks["branches"](batch.images)
        peers, leader = said.logits[:, :-1], said.logits[:, -1]
        heard = networks["attention"](torch.stack(said.features[:-1], 1))
        targets = own_targets(peers, heard, temperature, variant)
        divergences = [
            soft_targets(z, t, temperature)
            for z, t in zip(peers.unbind(1), targets.unbind(1), strict=True)
        ]
        return {
            "hard": sum(hard_loss(z, batch.labels) for z in said.logits.unbind(1)),
            "peers": ramp.now * sum(divergences),
            "leader": ramp.now
            * soft_targets(leader, leaders_target(peers, temperature, variant), temperature),
        }

    networks = {"branches": branches, "attention": attention}
    return fit_branches(networks, examples, recipe, terms, seed=seed, begin=ramp.begin, **options)


def leaders_target(logits: Tensor, temperature: float, variant: Variant = "paper") -> Tensor:
    """The leader's target: the peers' mean, (batch, peers, classes) -> (batch, classes)."""
    count = logits.shape[1]
    equal = logits.new_full((len(logits), 1, count), 1 / count)
    return own_targets(logits, equal, temperature, variant).squeeze(1)

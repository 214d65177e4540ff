"""ONE (Lan et al. 2018): a gate over the branches of one network makes the teacher."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.methods.online.common import Ramp
from kdnb.training import Recipe


class Gate(nn.Module):
    """ONE's gate (Lan et al. 2018, section 3.1): the weight of each branch for an image.

    A linear layer on the spatial mean of the stem's output, batch normalisation, ReLU, softmax
    (as in the authors' code).

    Args:
        channels: number of channels of the stem's output.
        branches: the number of branches.
    """

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.linear = nn.Linear(channels, branches)
        self.bn = nn.BatchNorm1d(branches)

    def forward(self, shared: Tensor) -> Tensor:
        """(batch, channels, height, width) or (batch, channels) -> (batch, branches), sum 1."""
        mean = shared.flatten(2).mean(2) if shared.ndim > 2 else shared
        return self.bn(self.linear(mean)).relu().softmax(1)


class GatedBranches(nn.Module):
    """Branches under a gate as one classifier (ONE-E): images -> the gated sum of the logits."""

    def __init__(self, branches: Branches, gate: Gate):
        super().__init__()
        self.branches, self.gate = branches, gate

    def forward(self, images: Tensor) -> Tensor:
        said = self.branches(images)
        return gated(said.logits, self.gate(said.shared))


def gated(logits: Tensor, gate: Tensor) -> Tensor:
    r"""The teacher of ONE: :math:`z_e = \sum_i g_i z_i`, (batch, branches, classes) -> (batch,
    classes).
    """
    return (gate.unsqueeze(2) * logits).sum(1)


def one(
    branches: Branches,
    gate: Gate,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    temperature: float = 3.0,
    ramp_up: int = 0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""On-the-fly native ensemble, ONE (Lan, Zhu and Gong 2018, equation 8).

    .. math:: L = \sum_i H(y, p_i) + H(y, p_e)
        + w\, T^2 \sum_i KL(\tilde p_e \,\|\, \tilde p_i), \quad z_e = \sum_i g_i z_i

    The teacher e gets no gradient from the divergence: the gate learns only from the labels (as in
    the authors' code).

    Args:
        branches, gate: trained in place; `branches.deployed(i)` is one of the equal students
            afterwards, `GatedBranches(branches, gate)` their ensemble.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        weight: w of the divergence.
        temperature: T, 3 in the paper.
        ramp_up: epochs of the ramp of w (`ramp_up`); 80 of 300 in the authors' scripts.
        options: passed to `training.fit`.

    Returns:
        The history: `branches` and `ensemble` (cross-entropies) and `soft`.
    """
    ramp = Ramp(weight, ramp_up)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        said = networks["branches"](batch.images)
        teacher = gated(said.logits, networks["gate"](said.shared))
        soft = [soft_targets(z, teacher.detach(), temperature) for z in said.logits.unbind(1)]
        return {
            "branches": sum(hard_loss(z, batch.labels) for z in said.logits.unbind(1)),
            "ensemble": hard_loss(teacher, batch.labels),
            "soft": ramp.now * sum(soft),
        }

    networks = {"branches": branches, "gate": gate}
    return fit_branches(networks, examples, recipe, terms, seed=seed, begin=ramp.begin, **options)

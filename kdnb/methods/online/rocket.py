"""Rocket Launching (Zhou et al. 2018): a booster net trains with the light net it helps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kdnb.data import Batch
from kdnb.losses import hard_loss, rocket_hint
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.training import Recipe


def rocket(
    branches: Branches,
    examples: Any,
    recipe: Recipe,
    *,
    hint_weight: float = 0.03,
    gradient_block: bool = True,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train a light head and a booster head on a shared stem (Zhou et al. 2018, equation 1).

    .. math:: L = H(y, p_l) + H(y, p_b) + \mathrm{hint\_weight} \cdot
        \lVert l(x) - z(x) \rVert_2^2

    With the gradient block, the hint trains the light head and, through it, the stem; the booster's
    own layers learn only from the labels (section 3.3; the authors' code).

    Args:
        branches: two heads, the light one first; trained in place. `branches.deployed(0)` is the
            light net.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        hint_weight: 0.03 in the commands of the authors' read-me (zhougr1993/Rocket-Launching).
        options: passed to `training.fit`.

    Returns:
        The history: `light`, `booster` and `hint`.

    Raises:
        ValueError: for more or fewer than two heads.
    """
    if len(branches.heads) != 2:
        raise ValueError(f"rocket needs a light head and a booster; got {len(branches.heads)}.")

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        light, booster = networks["branches"](batch.images).logits.unbind(1)
        return {
            "light": hard_loss(light, batch.labels),
            "booster": hard_loss(booster, batch.labels),
            "hint": hint_weight * rocket_hint(light, booster, gradient_block),
        }

    return fit_branches({"branches": branches}, examples, recipe, terms, seed=seed, **options)

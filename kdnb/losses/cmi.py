"""CMI: contrastive diversity of synthetic images (Fang et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_temperature


def contrastive_diversity(
    local: Tensor,
    whole: Tensor,
    old_local: Tensor | None = None,
    old_whole: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    r"""CMI's term: a new image should be unlike all others, old ones included.

    .. math:: L_{cr} = -\frac1n \sum_i \log
        \frac{\exp(\langle l_i, w_i \rangle / \tau)}{\sum_j \exp(\langle l_i, w_j \rangle / \tau)}
        - \frac1m \sum_{i'} (\ldots)

    (Fang et al. 2021): a local view l_i of an image is matched to its whole view w_i among those of
    all images of the batch and the memory bank. New and old images are averaged apart.

    Args:
        local, whole: (batch, features), of unit length.
        old_local, old_whole: (memory, features), of the bank; None while it is empty.
        temperature: of the similarities.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: when the shapes do not agree.

    Departures: as in the authors' code, no gradient flows through the whole views.
    """
    check_temperature(temperature)
    if local.shape != whole.shape or local.ndim != 2 or len(local) == 0:
        raise ValueError(
            f"views must be (batch, features); got {tuple(local.shape)}, {tuple(whole.shape)}."
        )
    count = len(local)
    if old_local is not None and old_whole is not None and len(old_local):
        local, whole = torch.cat([local, old_local]), torch.cat([whole, old_whole])
    logits = at_least_float32(local) @ at_least_float32(whole).detach().T / temperature
    rows = F.cross_entropy(
        logits, torch.arange(len(logits), device=logits.device), reduction="none"
    )
    old = rows[count:].mean() if len(rows) > count else 0.0
    return rows[:count].mean() + old

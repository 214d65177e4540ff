"""What several losses on logits share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def split_target(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's value at its label (batch,), and the others in order (batch, classes - 1)."""
    column = labels.long().unsqueeze(1)
    others = torch.arange(values.shape[1] - 1, device=values.device).expand(len(values), -1)
    return values.gather(1, column).squeeze(1), values.gather(1, others + (others >= column))


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of each row."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def check_two_classes(logits: Tensor) -> None:
    """Require another class beside the target."""
    if logits.shape[1] < 2:
        raise ValueError(f"logits must have at least 2 classes; got {tuple(logits.shape)}.")

"""SLA (Lee et al. 2020): rotated views of an image teach the network that sees it upright."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import aggregated, hard_loss, joint_loss, soft_targets
from kdnb.losses.sla import VIEWS
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.training import Recipe


def rotations(images: Tensor) -> Tensor:
    """Each square image rotated by 0, 90, 180 and 270 degrees: (B, C, H, H) -> (4, B, C, H, H).

    Raises:
        ValueError: for images that are not square.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be square, (B, C, H, H); got {tuple(images.shape)}.")
    return torch.stack([images.rot90(turns, (2, 3)) for turns in range(VIEWS)])


class JointClassifier(nn.Module):
    """A network with a second classifier, of the class and the rotation together.

    Args:
        network: images -> logits (batch, classes).
        head: the module path of its linear classifier, whose input the second one reads.

    Raises:
        TypeError: if `head` is not a linear layer of the network.
    """

    def __init__(self, network: nn.Module, head: str = "head") -> None:
        super().__init__()
        parts = dict(network.named_modules())
        if not isinstance(parts.get(head), nn.Linear):
            raise TypeError(f"{head!r} must be a linear layer of the network.")
        self.network, self.head_path = network, head
        self.classes = parts[head].out_features
        self.joint = nn.Linear(parts[head].in_features, self.classes * VIEWS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The network's own logits (batch, classes), and joint logits (batch, classes, views)."""
        inputs: list[Tensor] = []
        handle = self.network.get_submodule(self.head_path).register_forward_pre_hook(
            lambda _, given: inputs.append(given[0])
        )
        try:
            logits = self.network(images)
        finally:
            handle.remove()
        return logits, self.joint(inputs[-1]).unflatten(1, (self.classes, VIEWS))


def augmentation_distil(
    classifier: JointClassifier,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    hard_weight: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> History:
    r"""Train with SLA+SD (Lee 2020): distil the aggregated rotated views into the plain view.

    .. math:: L = H_{joint} + w_s\, T^2\, \mathrm{KL}(P_{aggregated} \| q) + w_h\, H(y, q)

    (Lee 2019, equation 5). After training, `classifier.network` is used alone, on one view.

    Args:
        classifier: trained in place; it sees every image four times.
        temperature: T; 1 in the paper.
        options: passed to `training.fit`.

    Departures: none in the loss (authors' code read: no gradient into the aggregate, weights 1).
    """

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        views = rotations(batch.images)
        logits, joint = networks["network"](views.flatten(0, 1))
        joint = joint.unflatten(0, views.shape[:2])
        plain = logits[: len(batch.images)]
        soft = soft_targets(plain, aggregated(joint).detach(), temperature)
        return {
            "joint": joint_loss(joint, batch.labels),
            "soft": soft_weight * soft,
            "hard": hard_weight * hard_loss(plain, batch.labels),
        }

    return fit_one(classifier, examples, recipe, terms, seed=seed, **options)

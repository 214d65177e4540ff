"""SLA (Lee et al. 2020): labels augmented with the rotation of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_labels, check_parameters
from kdnb.losses.cross_entropy import hard_loss

VIEWS = 4  # rotations by multiples of 90 degrees


def aggregated(joint_logits: Tensor) -> Tensor:
    r"""SLA's aggregation (Lee 2020): the mean of each view's logits under its own rotation.

    .. math:: a_k = \frac1M \sum_j s_{jk}(x_j), \quad x_j \text{ the image in view } j

    (Lee 2019, equation 4; section 2.2 of the ICML version).

    Args:
        joint_logits: (views, batch, classes, views); the first axis is the actual rotation of the
            image, the last the rotation that the classifier predicts.

    Returns:
        Logits (batch, classes).

    Raises:
        ValueError: for a wrong shape.
    """
    _check_joint(joint_logits)
    return at_least_float32(joint_logits).diagonal(dim1=0, dim2=3).mean(2)


def joint_loss(joint_logits: Tensor, labels: Tensor) -> Tensor:
    """SLA's loss (Lee 2020): cross-entropy over classes and rotations jointly, a mean over views.

    Args:
        joint_logits: (views, batch, classes, views).
        labels: (batch,) integers.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, or labels beyond the classes.

    >>> joint_loss(torch.zeros(2, 1, 3, 2), torch.tensor([0]))
    tensor(1.7918)
    """
    _check_joint(joint_logits)
    check_labels(joint_logits[0, ..., 0], labels)
    views = len(joint_logits)
    turned = labels.long() * views + torch.arange(views, device=labels.device)[:, None]
    return hard_loss(joint_logits.flatten(0, 1).flatten(1), turned.flatten())


def _check_joint(joint_logits: Tensor) -> None:
    check_parameters(joint_logits=joint_logits)
    shape = tuple(joint_logits.shape)
    if len(shape) != 4 or shape[0] != shape[3]:
        raise ValueError(
            f"joint_logits must have shape (views, batch, classes, views); got {shape}."
        )

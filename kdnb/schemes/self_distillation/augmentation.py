"""Several views of an image teach each other: SLA with rotations (Lee 2019), DDGSD (Xu 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import soft_targets
from kdnb.losses._checks import at_least_float32, check_labels
from kdnb.nets import features
from kdnb.schemes.offline import batches_for, hard_loss
from kdnb.schemes.self_distillation._common import History, PairedBatches, fit_one
from kdnb.training import Recipe

VIEWS = 4  # rotations by multiples of 90 degrees


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
        TypeError: when `head` is no linear layer of the network.
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


def aggregated(joint_logits: Tensor) -> Tensor:
    r"""The mean over the views of each view's logits under its own rotation.

    .. math:: a_k = \frac1M \sum_j s_{jk}(x_j), \quad x_j \text{ the image in view } j

    (Lee 2019, equation 4; section 2.2 of the ICML version).

    Args:
        joint_logits: (views, batch, classes, views); the first axis is how the image was rotated,
            the last how the classifier takes it to be.

    Returns:
        Logits (batch, classes).
    """
    _check_joint(joint_logits)
    return at_least_float32(joint_logits).diagonal(dim1=0, dim2=3).mean(2)


def joint_loss(joint_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over classes and rotations together, averaged over views and batch.

    Args:
        joint_logits: (views, batch, classes, views).
        labels: (batch,) integers.
    """
    _check_joint(joint_logits)
    check_labels(joint_logits[0, ..., 0], labels)
    views = len(joint_logits)
    turned = labels * views + torch.arange(views, device=labels.device)[:, None]
    return hard_loss(joint_logits.flatten(0, 1).flatten(1), turned.flatten())


def _check_joint(joint_logits: Tensor) -> None:
    shape = tuple(joint_logits.shape)
    if len(shape) != 4 or 0 in shape or shape[0] != shape[3]:
        raise ValueError(
            f"joint_logits must have shape (views, batch, classes, views); got {shape}."
        )


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
    r"""Train with SLA+SD: what the rotated views say together is distilled into the plain view.

    .. math:: L = H_{joint} + w_s\, T^2\, \mathrm{KL}(P_{aggregated} \| q) + w_h\, H(y, q)

    (Lee 2019, equation 5). After training `classifier.network` alone answers, from one view.

    Args:
        classifier: trained in place; it sees every image four times.
        temperature: T; 1 in the paper.
        options: of `training.fit`.

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


def mean_discrepancy(one: Tensor, other: Tensor) -> Tensor:
    r"""The maximum mean discrepancy with a linear kernel: the squared distance of the batch means.

    .. math:: \Big\lVert \frac1B \sum_b f(x^a_b) - \frac1B \sum_b f(x^b_b) \Big\rVert_2^2

    Args:
        one, other: features (batch, ...) of the two views.

    Raises:
        ValueError: for shapes that differ, or an empty batch.

    >>> mean_discrepancy(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]]))
    tensor(4.)
    """
    if one.shape != other.shape or one.ndim < 2 or 0 in one.shape:
        raise ValueError(
            f"both views need features of one shape (batch, ...), none of it empty; got "
            f"{tuple(one.shape)} and {tuple(other.shape)}."
        )
    means = [at_least_float32(value).flatten(1).mean(0) for value in (one, other)]
    return (means[0] - means[1]).square().sum()


def distorted_views(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    path: str = "pool",
    temperature: float = 3.0,
    soft_weight: float = 1.0,
    discrepancy_weight: float = 5e-4,
    seed: int = 0,
    **options: Any,
) -> History:
    r"""Train with DDGSD (Xu and Liu 2019): two distorted versions of each batch agree.

    .. math:: L = \tfrac12 \textstyle\sum_v H(y, q^v)
        + w_s T^2 \big( \mathrm{KL}(q^b_T \| q^a_T) + \mathrm{KL}(q^a_T \| q^b_T) \big)
        + w_m\, \mathrm{MMD}^2(f^a, f^b)

    Args:
        network: trained in place.
        examples: `Batches` that augment; the second view is another draw of the same augmentation.
        path: the module whose outputs are the global features f.
        discrepancy_weight: of `mean_discrepancy`.
        options: of `training.fit`.

    Raises:
        ValueError: when the batches do not augment: both views would be the same.

    Departures: the paper was not at hand. The three terms follow its abstract and public
    re-implementations (each view's targets without gradient; the weights 1, 1 and 5e-4, T = 3);
    they differ in whether the cross-entropies are added or averaged, and some compare features
    image by image.
    """
    batches = batches_for(examples, recipe, seed)
    if not batches.augmented:
        raise ValueError("two views need an augmentation: crop_padding, flip or jitter.")

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with features(network, [path]) as seen:
            logits = networks["network"](batch.images)
        one, other = logits.chunk(2)
        apart = mean_discrepancy(*seen[path].chunk(2))
        soft = soft_targets(one, other.detach(), temperature)
        soft = soft + soft_targets(other, one.detach(), temperature)
        return {
            "hard": hard_loss(logits, batch.labels),
            "soft": soft_weight * soft,
            "discrepancy": discrepancy_weight * apart,
        }

    paired = PairedBatches(batches, lambda _: torch.arange(batches.examples))
    return fit_one(network, paired, recipe, terms, seed=seed, **options)

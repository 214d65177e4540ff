"""The cross-entropy with any kind of labels: classes, soft labels, one logit, dense maps."""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.data.forms import Mixed
from kdnb.losses import label_smoothing
from kdnb.losses.checks import at_least_float32
from kdnb.names import brief
from kdnb.training.answers import places, rows, two_logits

NOTHING = -100  # the label of positions that do not count, as in torch
REAL = (
    "For real values give train a loss, such as loss=torch.nn.functional.mse_loss, and distil "
    "label_weight=0 and a loss as method."
)
SEVERAL = (
    "For several classes a sample (multi-label) give train "
    "loss=torch.nn.functional.binary_cross_entropy_with_logits, and distil label_weight=0 and a "
    "loss as method."
)


def check_index(ignore_index: Any) -> None:
    """Require the label for positions that do not count to be an integer."""
    if not isinstance(ignore_index, numbers.Integral) or isinstance(ignore_index, bool):
        raise TypeError(f"ignore_index must be a whole number; got {brief(ignore_index)}.")


def check_every_label(batches: Any, logits: Tensor, ignore_index: int = NOTHING) -> None:
    """Require labels below the number of classes, for all samples whose labels are in memory.

    Args:
        batches: `Batches` of images, or of tensors; the labels of others are not known beforehand.
        logits: the logits of a first batch.

    Raises:
        ValueError: with the labels' range.
    """
    labels = getattr(getattr(batches, "images", batches), "labels", None)
    whole = isinstance(labels, Tensor) and not labels.is_floating_point()
    if whole and tuple(labels.shape[1:]) == places(logits)[1:]:
        classes = rows(logits).shape[1]
        check_range(labels.flatten(), 2 if classes == 1 else classes, ignore_index)


def label_loss(
    logits: Tensor,
    labels: Tensor | Mixed | None,
    smoothing: float = 0.0,
    ignore_index: int = NOTHING,
) -> Tensor:
    """The cross-entropy with the true labels, in float32 at least.

    Args:
        logits: (batch, classes), maps (batch, classes, height, width), volumes (batch, classes,
            depth, height, width), sequences (batch, tokens, classes), or one logit, (batch, 1) or
            for each position of a map, of a binary task whose class 1 is the positive one.
        labels: class numbers, one for each position, with or without an axis of length 1 for the
            classes; or probabilities, shaped as the logits (for one logit, the probability of class
            1); or `Mixed`, whose two losses are weighted by their shares.
        smoothing: label smoothing, see `losses.label_smoothing`.
        ignore_index: the label of positions that do not count.

    Raises:
        ValueError: for labels that fit no such task; says what was passed and what is accepted.
    """
    if labels is None:
        raise ValueError(
            "a term reads labels, and this data gives none: give pairs (inputs, labels), or leave "
            "the labels out by label_weight=0."
        )
    logits = rows(logits) if logits.ndim == 1 else logits
    if isinstance(labels, Mixed):
        return _mixed(logits, labels, smoothing, ignore_index)
    if labels.is_floating_point():
        return _soft(logits, labels, smoothing)
    plain = logits.ndim == 2 and logits.shape[1] > 1 and labels.shape == logits.shape[:1]
    whole = labels.device.type != "cpu" or not bool((labels == NOTHING).any())
    if plain and ignore_index == NOTHING and whole:
        return label_smoothing(logits, labels, smoothing)
    wide, flat = _classes(logits, labels)
    check_range(flat, wide.shape[1], ignore_index)
    total = F.cross_entropy(
        at_least_float32(wide), flat, ignore_index=ignore_index, label_smoothing=smoothing,
        reduction="sum",
    )  # fmt: skip
    return total / (flat != ignore_index).sum().clamp_min(1)  # 0 if nothing is labelled


def labelled_rows(
    logits: Tensor, labels: Tensor, ignore_index: int = NOTHING
) -> tuple[Tensor, Tensor]:
    """Logits (positions, classes) and labels (positions,), without the positions that do not count.

    Soft labels become the likeliest class, mixed ones the class with the larger share.
    """
    if isinstance(labels, Mixed):
        more = (labels.share >= 0.5).view(-1, *[1] * (labels.first.ndim - 1))
        labels = torch.where(more, labels.first, labels.second)
    logits = rows(logits) if logits.ndim == 1 else logits
    if labels.is_floating_point():
        axis = _axis(logits)
        if labels.shape == logits.shape and logits.shape[axis] > 1:
            if not _are_shares(labels, axis):
                raise ValueError(_no_classes(logits, labels, "Others name no class to count."))
            labels = labels.argmax(axis)
        elif not torch.equal(labels, labels.round()):
            raise ValueError(_no_classes(logits, labels, "Others name no class to count."))
    wide, flat = _classes(logits, labels)
    kept = flat != ignore_index
    return (wide, flat) if bool(kept.all()) else (wide[kept], flat[kept])


def counted_rows(logits: Tensor, labels: Any, ignore_index: int = NOTHING) -> Tensor:
    """Logits (positions, classes) of the positions that count; one logit becomes two.

    Args:
        labels: labels of any kind; in a dense task they determine which positions count.
    """
    wide = rows(logits)
    if logits.ndim > 2 and isinstance(labels, Tensor) and not labels.is_floating_point():
        labels = one_a_place(labels, logits)
        if tuple(labels.shape) == places(logits):
            wide = wide[labels.reshape(-1) != ignore_index]
    return two_logits(wide) if wide.shape[1] == 1 else wide


def _mixed(logits: Tensor, labels: Mixed, smoothing: float, ignore_index: int) -> Tensor:
    """Each sample's two cross-entropies, weighted by their shares (Zhang et al. 2018, mixup)."""
    share = labels.share.to(logits.device)
    if len(share) != len(logits) or bool(((share < 0) | (share > 1)).any()):
        raise ValueError(
            f"mixed labels need one share between 0 and 1 for each of the {len(logits)} samples; "
            f"got {len(share)}, from {share.min().item():.3g} to {share.max().item():.3g}."
        )
    total = count = logits.new_zeros((), dtype=torch.float32)
    for truth, weight in ((labels.first, share), (labels.second, 1 - share)):
        wide, flat = _classes(logits, truth)
        check_range(flat, wide.shape[1], ignore_index)
        each = F.cross_entropy(
            at_least_float32(wide), flat, ignore_index=ignore_index, label_smoothing=smoothing,
            reduction="none",
        )  # fmt: skip
        weights = weight.repeat_interleave(len(flat) // len(weight))
        total = total + (weights * each).sum()
        count = count + (weights * (flat != ignore_index)).sum()
    return total / count.clamp_min(1e-12)


def _classes(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    wanted = places(logits)
    wide = rows(logits)
    rows_of_labels = labels.shape == logits.shape and labels.ndim == 2 and logits.shape[1] > 1
    if rows_of_labels and bool((labels * labels == labels).all() & (labels.sum(1) == 1).all()):
        labels = labels.argmax(1)  # one-hot
    labels = one_a_place(labels, logits)
    if tuple(labels.shape) != wanted:
        raise ValueError(_no_classes(logits, labels))
    return (two_logits(wide) if wide.shape[1] == 1 else wide), labels.reshape(-1).long()


def _axis(logits: Tensor) -> int:
    """The axis of the classes: the second in maps and volumes, else the last."""
    return 1 if logits.ndim >= 4 else -1


def one_a_place(labels: Tensor, logits: Tensor) -> Tensor:
    """Drop the labels' axis of length 1 at the position of the classes, which masks often have."""
    axis = _axis(logits)
    lonely = labels.ndim == logits.ndim and labels.shape[axis] == 1
    return labels.squeeze(axis) if lonely else labels


def check_range(labels: Tensor, classes: int, ignore_index: int) -> None:
    """Require labels to be class numbers, or `ignore_index`.

    Only labels on the CPU are checked: elsewhere the check would make the device wait.

    Raises:
        ValueError: with the labels' range.
    """
    if labels.device.type != "cpu":
        return
    kept = labels[labels != ignore_index]
    if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < classes:
        raise ValueError(
            f"labels must lie in 0 to {classes - 1} for {classes} classes; got {int(kept.min())} to "
            f"{int(kept.max())}: name the label of places that do not count by ignore_index."
        )


def _soft(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    axis = _axis(logits)
    if logits.shape[axis] == 1:
        truth, wanted = one_a_place(labels, logits), places(logits)
        if tuple(truth.shape) != wanted or bool(((truth < 0) | (truth > 1)).any()):
            raise ValueError(
                "one logit takes labels 0 and 1 or probabilities between them, of shape "
                f"{wanted}; got {labels.dtype} of shape {tuple(labels.shape)}, from "
                f"{labels.min().item():.3g} to {labels.max().item():.3g}. {REAL}"
            )
        labels = torch.stack([1 - truth, truth], -1).flatten(0, -2)
        logits, axis = two_logits(rows(logits)), -1
    if labels.shape != logits.shape or not _are_shares(labels, axis):
        raise ValueError(_no_classes(logits, labels))
    wide = labels.movedim(axis, -1)
    return F.cross_entropy(
        at_least_float32(rows(logits)), wide.flatten(0, -2), label_smoothing=smoothing
    )


def _are_shares(labels: Tensor, axis: int) -> bool:
    """Whether labels are probabilities that sum to 1."""
    return bool((labels >= 0).all() & ((labels.sum(axis) - 1).abs() < 1e-3).all())


def _no_classes(logits: Tensor, labels: Tensor, remedy: str = "") -> str:
    """The error message: which labels fit the logits, what was passed, and what to do about it."""
    marks = labels.shape == logits.shape and bool(((labels == 0) | (labels == 1)).all())
    kind = SEVERAL if marks else REAL if labels.is_floating_point() else ""
    whole = labels.is_floating_point() and torch.equal(labels, labels.round())
    if whole and tuple(labels.shape) == places(logits):
        kind = f"Where they are numbers of classes, give labels.long(). {REAL}"
    return (
        f"labels must be numbers of classes of shape {places(logits)} or probabilities of shape "
        f"{tuple(logits.shape)}, for logits of that shape, whose rows sum to 1; got {labels.dtype} "
        f"of shape {tuple(labels.shape)}. {remedy or kind}"
    ).rstrip()

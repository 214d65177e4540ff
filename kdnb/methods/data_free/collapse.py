"""Detect a collapsed generator: class balance, batch diversity and teacher confidence."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import check_logits

log = logging.getLogger(__name__)


def class_balance(counts: Tensor) -> float:
    """The entropy of a histogram of classes, divided by its largest possible value.

    Args:
        counts: (classes,), at least two classes.

    Returns:
        1 if all classes are equally frequent, 0 if there is only one.

    Raises:
        ValueError: for a wrong shape, or an empty histogram.

    >>> class_balance(torch.tensor([5, 5])), class_balance(torch.tensor([10, 0]))
    (1.0, 0.0)
    """
    if counts.ndim != 1 or len(counts) < 2 or counts.sum() <= 0:
        raise ValueError(f"counts must be a histogram of 2 classes or more; got {counts.tolist()}.")
    shares = counts.double() / counts.sum()
    return float(-torch.xlogy(shares, shares).sum() / math.log(len(shares))) + 0.0


def diversity(images: Tensor) -> Tensor:
    r"""How different the images of a batch are from each other.

    .. math:: \frac{\sum_{cyx} \mathrm{Var}_b(x_{bcyx})}{\sum_{cyx} \mathrm{Var}_b(x_{bcyx})
        + \sum_{cyx} (\bar x_{cyx} - \bar x_c)^2}

    The variance of each pixel over the batch, as a share of the variance of all pixels of a
    channel. This measure is ours.

    Args:
        images: (batch, channels, height, width), at least two.

    Returns:
        A scalar in [0, 1]: 0 if all images are identical, 1 if their mean is uniform.

    Raises:
        ValueError: for a wrong shape, or a single image.
    """
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"diversity needs 2 images (B, C, H, W); got {tuple(images.shape)}.")
    images = images.detach().float()
    mean = images.mean(0)
    within = (images - mean).square().mean(0).sum()
    shared = (mean - mean.mean((1, 2), keepdim=True)).square().sum()
    return within / (within + shared).clamp_min(1e-12)


class CollapseDetector:
    """Monitors the images of a generator and warns of a collapse.

    Args:
        classes: number of classes of the teacher.
        balance, diverse, confident: below these values of `class_balance`, `diversity` and the mean
            largest probability of the teacher, a warning is logged. The values are ours: on MNIST a
            healthy run is far above them, and noise is below the last.
    """

    def __init__(
        self,
        classes: int,
        *,
        balance: float = 0.7,
        diverse: float = 0.05,
        confident: float = 0.5,
    ) -> None:
        self.limits = {"class_balance": balance, "diversity": diverse, "confidence": confident}
        self.classes = classes
        self.warnings: list[str] = []
        self.counts = torch.zeros(classes, dtype=torch.int64)  # of the last epoch reported
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def see(self, images: Tensor, teacher_logits: Tensor) -> None:
        """Record one batch: images (B, C, H, W) and the teacher's logits (B, classes)."""
        check_logits(teacher_logits=teacher_logits)
        highest, which = F.softmax(teacher_logits.detach().float(), 1).max(1)
        counts = torch.bincount(which, minlength=self.classes)
        self._seen.append((counts, diversity(images), highest.mean()))

    def report(self) -> dict[str, float]:
        """Evaluate all batches since the last report, warn if a limit is crossed, and reset.

        Returns:
            `class_balance`, `diversity` and `confidence`, each between 0 and 1.

        Raises:
            ValueError: if no batch was recorded.
        """
        if not self._seen:
            raise ValueError("no batch was seen since the last report.")
        counts, diverse, confident = zip(*self._seen, strict=True)
        self._seen = []
        self.counts = torch.stack(counts).sum(0).cpu()
        found = {
            "class_balance": class_balance(self.counts),
            "diversity": float(torch.stack(diverse).mean()),
            "confidence": float(torch.stack(confident).mean()),
        }
        low = [f"{name} {found[name]:.3f} < {at}" for name, at in self.limits.items()
               if found[name] < at]  # fmt: skip
        if low:
            missing = (self.counts == 0).nonzero()[:, 0].tolist()
            text = f"the generator may have collapsed: {', '.join(low)}; classes never made: "
            self.warnings.append(text + (", ".join(map(str, missing)) or "none") + ".")
            log.warning(self.warnings[-1])
        return found

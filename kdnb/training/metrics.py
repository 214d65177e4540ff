"""The outputs of a trained network, and measures of their quality."""

from __future__ import annotations

import inspect
from contextlib import closing
from operator import length_hint
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batches, Images, as_batches, in_order
from kdnb.losses.checks import check_classes, check_scores
from kdnb.progress import bar
from kdnb.training import threads
from kdnb.training.alone import check_takes_one
from kdnb.training.answers import (
    Ensemble,
    Output,
    ask,
    logits_of,
    not_taken,
    outputs_of,
    teacher_of,
)
from kdnb.training.borrowed import evaluating
from kdnb.training.first import cannot_take, check_module
from kdnb.training.targets import NOTHING, check_index, check_range, labelled_rows

if TYPE_CHECKING:
    import pandas as pd


def predict(network: nn.Module, batches: Batches, output: Output = None) -> Tensor:
    """The network's outputs for one epoch of batches in float32, (examples, classes), on the CPU.

    Runs in eval mode without gradients, and restores the mode. Rows follow the order of the batches,
    so use `shuffle=False`. No autocast: the numbers that decide claims are computed in full precision.
    """
    outputs: list[Tensor] = []
    tried_one = False
    with evaluating(network), torch.no_grad(), threads.fitting():
        for batch in batches.epoch(0):
            if batch.size == 1 and not tried_one:
                tried_one = True
                check_takes_one("network", network, batch.images, output)
            outputs.append(logits_of(ask(network, batch.images), output).float().cpu())
    return torch.cat(outputs)


def outputs_for(network: nn.Module, inputs: Tensor, size: int = 500) -> Tensor:
    """A network's outputs for a tensor of inputs, `size` at a time, in float32 on its own device.

    Runs in eval mode without gradients, and restores the mode. Outputs may have any shape.
    """
    with evaluating(network), torch.no_grad():
        return torch.cat([network(part).float() for part in inputs.split(size)])


BINS = 15  # for the calibration error: confidence bins of equal width, as in Guo et al. 2017


def evaluate(
    network: nn.Module,
    data: Any,
    *,
    teacher: Any = None,
    output: Output | tuple[Output, Output] = None,
    ignore_index: int = NOTHING,
) -> pd.Series:
    r"""Measure a network on labelled data, in eval mode and full precision.

    The calibration is the expected calibration error over 15 bins of equal width,

    .. math:: \mathrm{ECE} = \sum_{m=1}^{15} \frac{n_m}{n} | a_m - c_m |

    with the accuracy a and the mean confidence c (the largest probability) of the n_m images whose
    confidence lies in ((m - 1)/15, m/15] (Guo et al. 2017, equation 3).

    Args:
        network: inputs -> logits; not changed, in whatever mode. It runs on its own device.
        data: `Images` of a data set, normalised by its card; or `Batches`, a Dataset, a
            DataLoader, tensors (inputs, labels), or anything of batches that can be read again and
            ends, with a length or without. Images are not augmented. In dense maps, every labelled
            position counts as one image.
        teacher: a module, a list of modules or a function of a batch's inputs, to compare with.
        output: where the logits are in what the network returns, see `kdnb.distil`; or a pair, the
            network's and the teacher's.
        ignore_index: the label of positions that do not count.

    Returns:
        A Series: `images`; `errors`, their number; `accuracy`, a share; `cross_entropy` in nats;
        `calibration`; with a teacher `agreement`, the share of images with the same predicted class.

    Raises:
        TypeError: for a network that is not a module.
        ValueError: for data without labels, labels that do not fit the logits, or inputs that a
            network cannot take.
    """
    import pandas as pd

    check_module("the network that evaluate measures", network, learns=False)
    check_index(ignore_index)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    output, theirs = outputs_of(output)
    guide = None if teacher is None else teacher_of(teacher, output=theirs)
    if isinstance(guide, Ensemble) and guide is not teacher:
        theirs = None
    sums, parts = _Sums(), [network, *([guide] if guide else [])]
    batches = _plain(data, device)
    progress = bar(length_hint(batches) or None, 0, "batch", delay=2)
    tried_one = False
    with evaluating(*parts), torch.no_grad(), threads.fitting(), closing(progress):
        for batch in batches.epoch(0):
            batch = batch.to(device)
            if batch.size == 1 and not tried_one:
                tried_one = True
                check_takes_one("network", network, batch.images, output)
                if guide:
                    check_takes_one("teacher", guide, batch.images, theirs)
            logits = logits_of(_asked("network", network, batch.images), output).float()
            taught = None
            if guide:
                taught = logits_of(_asked("teacher", guide, batch.images), theirs)
                taught = taught.float().to(device)
            if batch.labels is None:
                raise ValueError("evaluate reads labels, and this data gives none.")
            sums.add(logits, batch.labels, taught, ignore_index)
            progress.update()
    if not sums.images:
        raise ValueError("evaluate found no labelled sample in this data.")
    return pd.Series(sums.measured(), name=type(network).__name__)


def _asked(name: str, network: nn.Module, inputs: Any) -> Any:
    try:
        return ask(network, inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        why = not_taken(network, inputs)
        raise ValueError(cannot_take(name, inputs, error, why)) from error


def check_measurable(evaluate: Any) -> None:
    """Check the `evaluate` argument of a training function before training starts.

    Raises:
        TypeError: for a function that does not take one argument, or for something that is not data.
    """
    if isinstance(evaluate, nn.Module):
        raise TypeError(
            f"evaluate is a function of the networks by name, or data; got a {type(evaluate).__name__}, "
            "a module: give a function that calls it, such as lambda networks: {...}."
        )
    if not callable(evaluate):
        _plain(evaluate, torch.device("cpu"))
        return
    try:
        inspect.signature(evaluate).bind({})
    except TypeError as error:
        raise TypeError(
            f"evaluate is a function of one argument, the networks by name, or data; {error}."
        ) from error
    except ValueError:  # a built-in function may have no readable signature
        return


def _plain(data: Any, device: torch.device) -> Any:
    """Data for one pass: in order, without augmentation."""
    if isinstance(data, Batches):
        return in_order(data.images, data, device)
    if isinstance(data, Images) and data.card is not None:
        return in_order(data, data.card, device)
    return as_batches(data, 250, labels="any", shuffle=False, counted=False)


def calibration_error(confidence: Tensor, right: Tensor, bins: int = BINS) -> float:
    """The expected calibration error, a share, as :func:`evaluate` defines it.

    Args:
        confidence: (N,) the probabilities of the predicted classes.
        right: (N,) whether each prediction was right.
        bins: number of bins of equal width.

    >>> calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]), bins=4)
    0.25
    """
    return _gap(_in_bins(confidence, right, bins))


def _in_bins(confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    """(3, bins) float64: for each bin the number of predictions, the right ones, and the confidence."""
    sums = torch.zeros(3, bins, dtype=torch.float64)
    place = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1
    for row, value in enumerate((torch.ones_like(confidence), right, confidence)):
        sums[row].index_add_(0, place.cpu(), value.double().cpu())
    return sums


def _gap(sums: Tensor) -> float:
    count, right, confidence = sums
    return float((right - confidence).abs().sum() / count.sum())


def ranking_area(scores: Tensor, positive: Tensor) -> float:
    """The area under the ROC curve (AUROC): how often a positive has a higher score than a negative.

    Args:
        scores: (N,).
        positive: (N,) integers, 1 and 0, both present.

    Returns:
        The share of the pairs of a positive and a negative; a tie counts one half.

    Raises:
        ValueError: for wrong shapes, or without a positive or a negative.

    >>> ranking_area(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0, 0, 1, 1]))
    0.875
    """
    check_scores(scores=scores)
    check_classes(len(scores), whole=True, positive=positive)
    above, below = scores[positive == 1].double(), scores[positive == 0].double()
    if len(above) + len(below) != len(scores) or not len(above) or not len(below):
        raise ValueError("positive must hold 0 and 1, and both of them.")
    below = below.sort().values
    first = torch.searchsorted(below, above)
    last = torch.searchsorted(below, above, right=True)
    return float((first + last).double().mean() / 2 / len(below))


class _Sums:
    """Sums over batches."""

    def __init__(self) -> None:
        self.images = 0
        self.right = self.surprise = self.agreeing = 0.0
        self.bins = torch.zeros(3, BINS, dtype=torch.float64)
        self.taught = False

    def add(self, logits: Tensor, labels: Tensor, taught: Tensor | None, ignore_index: int) -> None:
        wide, flat = labelled_rows(logits, labels, ignore_index)
        if not len(flat):
            return
        check_range(flat.cpu(), wide.shape[1], ignore_index)
        confidence, said = wide.softmax(1).max(1)
        right = (said == flat) & confidence.isfinite()  # a NaN output counts as wrong
        self.images += len(flat)
        self.right += float(right.sum())
        self.surprise += float(F.cross_entropy(wide.double(), flat, reduction="sum"))
        self.bins += _in_bins(confidence, right, BINS)
        if taught is not None:
            self.taught = True
            theirs, _ = labelled_rows(taught, labels, ignore_index)
            self.agreeing += float((theirs.argmax(1) == said).sum())

    def measured(self) -> dict[str, float]:
        """The measures over all batches."""
        found = {
            "images": float(self.images),
            "errors": self.images - self.right,
            "accuracy": self.right / self.images,
            "cross_entropy": self.surprise / self.images,
            "calibration": _gap(self.bins),
        }
        return found | ({"agreement": self.agreeing / self.images} if self.taught else {})

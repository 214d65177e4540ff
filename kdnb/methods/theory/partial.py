"""Three levels of a teacher's knowledge (Tang et al. 2020), as targets with one level each.

The paper names the levels: knowledge of the universe (label smoothing), of the domain (how alike
classes are), and of the instance (how difficult it is). Each function keeps one of them and removes
the others; their mean confidence in the label is the teacher's.

Checked: the three levels, in the paper's abstract. Recalled: its own artificial teachers (KD-pt,
KD-sim); no text with their formulas and no code of the authors was available. Departures: the class
relations here are the teacher's mean answers, not the similarity of its classifier's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import check_labels, check_logits


def smoothing_only(answers: Tensor, labels: Tensor) -> Tensor:
    """The same confidence for all samples, the rest spread evenly: label smoothing.

    Args:
        answers: (batch, classes) probabilities of the teacher.
        labels: (batch,) integers.

    Returns:
        (batch, classes): the teacher's mean probability of the label, the rest over the others.

    Raises:
        ValueError: for wrong shapes, or an answer that is NaN or infinite.
    """
    own = _own(answers, labels)
    return _spread(own.mean().expand_as(own), labels, answers.shape[1])


def class_relations(answers: Tensor, labels: Tensor) -> Tensor:
    """The mean answer to each sample's class: class similarities without sample information.

    Args, returns, raises: as `smoothing_only`.
    """
    _own(answers, labels)
    found = torch.empty_like(answers)
    for label in labels.unique():
        members = labels == label
        found[members] = answers[members].mean(0)
    return found


def confidence_only(answers: Tensor, labels: Tensor) -> Tensor:
    """The teacher's probability of the label, the rest spread evenly: how difficult the sample is.

    Args, returns, raises: as `smoothing_only`.
    """
    return _spread(_own(answers, labels), labels, answers.shape[1])


def _own(answers: Tensor, labels: Tensor) -> Tensor:
    check_logits(classes=2, answers=answers)
    check_labels(answers, labels)
    if not torch.isfinite(answers).all():
        raise ValueError("an answer is NaN or infinite.")
    return answers.gather(1, labels[:, None])[:, 0]


def _spread(own: Tensor, labels: Tensor, classes: int) -> Tensor:
    hot = F.one_hot(labels, classes).to(own)
    return own[:, None] * hot + ((1 - own) / (classes - 1))[:, None] * (1 - hot)

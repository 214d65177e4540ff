"""DAFL (Chen et al. 2019): the losses of a generator that has a teacher but no data."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import (
    at_least_float32,
    check_logits,
    check_number,
    check_samples,
    check_variant,
)


def one_hot(teacher_logits: Tensor) -> Tensor:
    r"""DAFL's one-hot term (Chen 2019): the teacher should be confident about each image.

    .. math:: L_{oh} = \frac{1}{n} \sum_i H_{cross}(y_T^i, t^i), \quad t^i = \arg\max_j (y_T^i)_j

    (Chen et al. 2019).

    Args:
        teacher_logits: (batch, classes), at least 2 classes.

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: for a wrong shape, or an empty batch.

    >>> one_hot(torch.tensor([[0.0, 0.0]]))
    tensor(0.6931)
    """
    check_logits(2, teacher_logits=teacher_logits)
    logits = at_least_float32(teacher_logits)
    return F.cross_entropy(logits, logits.argmax(1))


def information_entropy(teacher_logits: Tensor, base: float | None = 10.0) -> Tensor:
    r"""DAFL's information-entropy term (Chen 2019): classes should be balanced in the batch.

    .. math:: L_{ie} = -H_{info}\Big(\frac{1}{n} \sum_i y_T^i\Big)
        = \sum_k \bar p_k \log \bar p_k

    (Chen et al. 2019), where y_T is the teacher's softmax and log the logarithm to `base`. With
    base 10 and weight w the term equals the natural one with weight w / ln 10: the published 5 is
    2.171.

    Args:
        teacher_logits: (batch, classes), at least 2 classes.
        base: 10 as in the authors' code; None for the natural logarithm, which other libraries use,
            so their weights differ.

    Returns:
        A scalar, between minus the logarithm of the number of classes and 0.

    Raises:
        ValueError: for a wrong shape, an empty batch, or a base that is not above 1.

    >>> information_entropy(torch.eye(10) * 50)
    tensor(-1.0000)
    >>> information_entropy(torch.eye(2) * 50, base=None)
    tensor(-0.6931)
    """
    check_logits(2, teacher_logits=teacher_logits)
    if base is not None:
        check_number(above=1, base=base)
    log_p = F.log_softmax(at_least_float32(teacher_logits), dim=1)
    log_mean = torch.logsumexp(log_p, dim=0) - math.log(len(log_p))
    natural = (log_mean.exp() * log_mean).sum()
    return natural if base is None else natural / math.log(base)


def activation(features: Tensor, variant: Literal["paper", "authors"] = "authors") -> Tensor:
    r"""DAFL's activation term (Chen 2019): real images activate filters more than noise does.

    .. math:: L_a = -\frac{1}{n} \sum_i \lVert f_T^i \rVert_1

    (Chen et al. 2019).

    Args:
        features: (batch, ...), the output of the teacher's convolutions, which enters its linear
            layers.
        variant: "paper" sums over the features of an image; "authors" averages over them, which the
            published weight 0.1 assumes.

    Returns:
        A scalar in units of the features, at most 0.

    Raises:
        ValueError: for an empty batch, or an unknown variant.

    Departures: the paper has the sum, the authors' code the mean; the mean is the default.

    >>> activation(torch.tensor([[1.0, -3.0]]))
    tensor(-2.)
    """
    check_samples(minimum=1, features=features)
    check_variant(variant)
    size = at_least_float32(features).abs().flatten(1)
    return -(size.sum(1) if variant == "paper" else size.mean(1)).mean()

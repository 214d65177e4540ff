"""What data-free methods ask of the teacher's, and the student's, answers to a synthetic image.

Every term is computed in float32 at least, whatever the autocast. Terms take the teacher's logits
where the papers write its outputs y; gradients flow into them, and through the teacher to pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._checks import at_least_float32, check_logits, check_temperature


def one_hot(teacher_logits: Tensor) -> Tensor:
    r"""DAFL's one-hot term: the teacher should be sure of each image.

    .. math:: L_{oh} = \frac{1}{n} \sum_i H_{cross}(y_T^i, t^i), \quad t^i = \arg\max_j (y_T^i)_j

    (Chen et al. 2019).

    Args:
        teacher_logits: (batch, classes).

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: for another shape, or an empty batch.

    >>> one_hot(torch.tensor([[0.0, 0.0]]))
    tensor(0.6931)
    """
    check_logits(teacher_logits=teacher_logits)
    logits = at_least_float32(teacher_logits)
    return F.cross_entropy(logits, logits.argmax(1))


def information_entropy(teacher_logits: Tensor, base: float | None = 10.0) -> Tensor:
    r"""DAFL's information-entropy term: the batch should hold all classes equally.

    .. math:: L_{ie} = -H_{info}\Big(\frac{1}{n} \sum_i y_T^i\Big)
        = \sum_k \bar p_k \log \bar p_k

    (Chen et al. 2019), where y_T is the teacher's softmax and log the logarithm to `base`. A term
    to base 10 with weight w is the natural term with weight w / ln 10: the published 5 is 2.171.

    Args:
        teacher_logits: (batch, classes).
        base: 10 as in the authors' code; None for the natural logarithm, as other libraries have
            it. Their weights do not carry over.

    Returns:
        A scalar, between minus the logarithm of the number of classes and 0.

    Raises:
        ValueError: for another shape, an empty batch, or a base that is not above 1.

    >>> information_entropy(torch.eye(10) * 50)
    tensor(-1.0000)
    >>> information_entropy(torch.eye(2) * 50, base=None)
    tensor(-0.6931)
    """
    check_logits(teacher_logits=teacher_logits)
    if base is not None and not base > 1:
        raise ValueError(f"base must be a number above 1, or None for e; got {base}.")
    log_p = F.log_softmax(at_least_float32(teacher_logits), dim=1)
    log_mean = torch.logsumexp(log_p, dim=0) - math.log(len(log_p))
    natural = (log_mean.exp() * log_mean).sum()
    return natural if base is None else natural / math.log(base)


def activation(features: Tensor, variant: Literal["paper", "authors"] = "authors") -> Tensor:
    r"""DAFL's activation term: real images excite the teacher's filters more than noise does.

    .. math:: L_a = -\frac{1}{n} \sum_i \lVert f_T^i \rVert_1

    (Chen et al. 2019).

    Args:
        features: (batch, ...), what the teacher's convolutions give to its linear layers.
        variant: "paper" sums over the features of an image; "authors" averages over them, which
            is what the published weight 0.1 belongs to.

    Returns:
        A scalar in units of the features, at most 0.

    Raises:
        ValueError: for an empty batch, or an unknown variant.

    Departures: the paper writes the sum, the authors' code the mean; the latter is the default.

    >>> activation(torch.tensor([[1.0, -3.0]]))
    tensor(-2.)
    """
    if features.ndim < 2 or features.numel() == 0:
        raise ValueError(f"features must be (batch, ...), not empty; got {tuple(features.shape)}.")
    if variant not in ("paper", "authors"):
        raise ValueError(f"variant must be one of paper, authors; got {variant!r}.")
    size = at_least_float32(features).abs().flatten(1)
    return -(size.sum(1) if variant == "paper" else size.mean(1)).mean()


def discrepancy(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""DFAD's distance of two models: the mean absolute difference of their logits.

    .. math:: D(T, S) = \frac{1}{nK} \sum_i \lVert T(x_i) - S(x_i) \rVert_1

    (Fang et al. 2019). Unlike a divergence of softmaxes it keeps its gradient when the student
    comes close, so the generator has something to climb.

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in units of the logits.

    Raises:
        ValueError: for other or different shapes, or an empty batch.

    Departures: the mean over classes is the authors' code; the paper's norm is recalled.

    >>> discrepancy(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
    tensor(2.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    return (at_least_float32(student_logits) - at_least_float32(teacher_logits)).abs().mean()


def decision_adversarial(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""CMI's and Fast's adversarial term: disagree in degree, not in the decision.

    .. math:: L_{adv} = -\frac1n \sum_i [\arg\max T(x_i) = \arg\max S(x_i)]\,
        \mathrm{KL}\big(T(x_i) \Vert S(x_i)\big)

    (Fang et al. 2021, after Choi et al. 2020). Where the two already decide differently there is
    nothing to gain from making the image harder still.

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in nats, at most 0.

    Raises:
        ValueError: for other or different shapes, or an empty batch.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    log_q, log_p = (
        F.log_softmax(at_least_float32(logits), dim=1)
        for logits in (student_logits, teacher_logits)
    )
    rows = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
    return -(rows * (log_q.argmax(1) == log_p.argmax(1))).mean()


def competition(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Adaptive DeepInversion's term: the image should be one on which the student still errs.

    .. math:: R_{compete} = 1 - JS(p_T, p_S), \quad
        JS(p, q) = \tfrac12 KL(p \Vert m) + \tfrac12 KL(q \Vert m),\; m = \tfrac12 (p + q)

    (Yin et al. 2020, equations 7 and 8).

    Args:
        student_logits, teacher_logits: (batch, classes).
        temperature: of both softmaxes; 3 in the authors' CIFAR code.

    Returns:
        A scalar, 1 where the two agree and 1 - ln 2 where they say nothing alike.

    Raises:
        ValueError: for other or different shapes, an empty batch, or a temperature not above 0.

    Departures: the authors' code clamps all probabilities to [0.01, 0.99] and swaps the arguments
    of both divergences; here it is the Jensen-Shannon divergence itself, in nats.

    >>> competition(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(1.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature)
    log_q, log_p = (
        F.log_softmax(at_least_float32(logits) / temperature, dim=1)
        for logits in (student_logits, teacher_logits)
    )
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    both = [F.kl_div(log_m, log, reduction="batchmean", log_target=True) for log in (log_p, log_q)]
    return 1 - sum(both) / 2


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

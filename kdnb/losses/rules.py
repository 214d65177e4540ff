"""Attentive rules (Song et al. 2018): a teacher built from the student's answers and rules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import (
    at_least_float32,
    check_logits,
    check_number,
    check_parameters,
    check_samples,
    check_together,
    fitted,
)


def rule_teacher(
    student_logits: Tensor, fulfilled: Tensor, confidence: Tensor, strength: float = 1.0
) -> Tensor:
    r"""The logits of the rule teacher: a student's answers moved by rules (Song et al. 2018).

    .. math:: q(k) \propto p(k)\, \exp\Big(C \sum_l \lambda_l f_l(k)\Big)

    This q stays close to the student's p and fulfils the rules: it minimises
    :math:`\mathrm{KL}(q \,\|\, p) - C \sum_l \lambda_l\, \mathrm E_q[f_l]`. The student then learns
    q by the cross-entropy :math:`H(q, p)`.

    Args:
        student_logits: (batch, classes).
        fulfilled: (batch, rules, classes), :math:`f_l(k)`: how well class k satisfies rule l for
            this sample, usually 0 or 1. A rule with the same value for all classes has no effect.
        confidence: (batch, rules), :math:`\lambda_l`, at least 0, such as :class:`RuleAttention`
            gives.
        strength: C, at least 0; with 0 the teacher equals the student.

    Returns:
        (batch, classes): logits of q.

    Raises:
        ValueError: for mismatched shapes.

    The form is that of the authors' book (Song, Nie and Wang, Compatibility Modeling, equations 4.6
    and 4.7), after Hu et al. 2016.

    Departures: where this has classes, the paper has two candidates, one of which goes better with
    a garment.

    >>> rule_teacher(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1), 3.0)
    tensor([[3., 0.]])
    """
    check_logits(student_logits=student_logits)
    check_number(least=0, strength=strength)
    check_parameters(fulfilled=fulfilled, confidence=confidence)
    batch, classes = student_logits.shape
    if fulfilled.ndim != 3 or (fulfilled.shape[0], fulfilled.shape[2]) != (batch, classes):
        raise ValueError(
            f"fulfilled must be (batch, rules, classes), here ({batch}, rules, {classes}); got "
            f"{tuple(fulfilled.shape)}."
        )
    if confidence.shape != fulfilled.shape[:2]:
        raise ValueError(
            f"confidence must be (batch, rules) {tuple(fulfilled.shape[:2])}; got "
            f"{tuple(confidence.shape)}."
        )
    check_together(student_logits=student_logits, fulfilled=fulfilled, confidence=confidence)
    wide = at_least_float32(student_logits)
    moved = at_least_float32(confidence)[:, :, None] * at_least_float32(fulfilled)
    return wide + strength * moved.sum(1)


class RuleAttention(nn.Module):
    r"""Attention over the rules that apply to each sample (Song 2018).

    .. math:: \lambda_l = \mathrm{softmax}_l\big(s\,[w^\top \sigma(W f(x) + u_l + b) + c_l]\big)

    over the rules that apply to the sample, with its features :math:`f(x)`, a learnt vector
    :math:`u_l` for each rule, and the sigmoid :math:`\sigma`.

    Args:
        features: the number of features.
        rules: the number of rules.
        width: the width of the hidden layer; 256 or 512 in the authors' code.
        sharpness: s.

    Departures: follows the authors' code (hanxjing/AKD-DBPR), in which s is the strength of the
    rules: its 3 is a value of `sharpness`, not of `strength` in :func:`rule_teacher`. Weights are
    initialised as PyTorch does.
    """

    def __init__(self, features: int, rules: int, width: int = 32, sharpness: float = 1.0) -> None:
        super().__init__()
        check_number(least=1, whole=True, features=features, rules=rules, width=width)
        check_number(above=0, sharpness=sharpness)
        self.rules, self.sharpness = rules, sharpness
        self.inner = nn.Linear(features, width)
        self.places = nn.Parameter(torch.empty(rules, width))  # u_l
        self.outer = nn.Parameter(torch.empty(width))  # w
        self.bias = nn.Parameter(torch.zeros(rules))  # c_l
        nn.init.xavier_uniform_(self.places)
        nn.init.normal_(self.outer, std=width**-0.5)

    def forward(self, features: Tensor, fulfilled: Tensor) -> Tensor:
        """The confidences (batch, rules): shares that sum to 1 over the rules that apply, others 0.

        Args:
            features: (batch, features).
            fulfilled: as for :func:`rule_teacher`. A rule applies if it distinguishes classes; if
                none does, all confidences are 0.
        """
        check_samples(1, features=features, fulfilled=fulfilled)
        if features.ndim != 2:
            raise ValueError(f"features must be (batch, features); got {tuple(features.shape)}.")
        if fulfilled.ndim != 3 or fulfilled.shape[1] != self.rules:
            raise ValueError(
                f"fulfilled must be (batch, {self.rules} rules, classes); got "
                f"{tuple(fulfilled.shape)}."
            )
        hidden = self.inner(fitted(self.inner, "features", features))
        scores = (hidden[:, None] + self.places).sigmoid() @ self.outer + self.bias
        scores = self.sharpness * at_least_float32(scores)
        applies = fulfilled.amax(2) > fulfilled.amin(2)
        shares = scores.masked_fill(~applies, -torch.inf).softmax(1)
        return nan_from(shares.masked_fill(~applies, 0.0), scores, fulfilled)

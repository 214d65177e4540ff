"""CTKD (Li et al. 2023, AAAI): a temperature learned adversarially against the student."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.losses.checks import check_logits, check_number, check_parameters


class CurriculumTemperature(nn.Module):
    r"""CTKD, global version (Li et al. 2023, AAAI): one temperature, learned against the student.

    .. math:: T = T_{\min} + T_{\mathrm{range}}\, \mathrm{sigmoid}(\theta), \quad
        \theta \leftarrow \theta + \mu\, \lambda\, \partial L / \partial \theta

    The forward pass returns the scalar T, to be passed as the ``temperature`` of any loss such as
    :func:`kdnb.losses.soft_targets`. The backward pass multiplies its gradient by -λ, so the
    optimiser that minimises the loss for the student maximises it for T. λ is
    :func:`curriculum_weight`. :class:`InstanceTemperature` is the per-sample version.

    Args:
        lowest, span: T_min > 0 and T_range > 0 (the paper's 1 and 20).
        start: initial value of θ; 1 in the authors' code, so that T starts at 15.6.

    Departures: equations from notes on the paper, settings from the authors' code.

    >>> round(CurriculumTemperature()(reversal_weight=0.5).item(), 3)
    15.621
    """

    def __init__(self, lowest: float = 1.0, span: float = 20.0, start: float = 1.0) -> None:
        super().__init__()
        _check_range(lowest, span, start)
        self.lowest, self.span = lowest, span
        self.prediction = nn.Parameter(torch.tensor(float(start)))

    def forward(
        self,
        reversal_weight: float,
        student_logits: Tensor | None = None,
        teacher_logits: Tensor | None = None,
    ) -> Tensor:
        """T, with a reversed gradient; a weight of 0 leaves T unchanged.

        The logits are ignored; they are arguments so that both versions are called alike.
        """
        given = {"student_logits": student_logits, "teacher_logits": teacher_logits}
        check_logits(**{name: value for name, value in given.items() if value is not None})
        prediction = reverse_gradient(self.prediction, reversal_weight)
        return self.lowest + self.span * torch.sigmoid(prediction)


class InstanceTemperature(nn.Module):
    r"""CTKD, instance-wise version (Li et al. 2023, AAAI): a temperature for each sample.

    .. math:: T_b = T_{\min} + T_{\mathrm{range}}\,
        \mathrm{sigmoid}\big(f_\theta(z_b, v_b)\big)

    with a perceptron f of two layers on the logits z of the student and v of the teacher. As in
    :class:`CurriculumTemperature`, θ maximises the loss that the student minimises.

    Args:
        classes: the number of classes of the logits.
        hidden: width of the inner layer.
        lowest, span: T_min > 0 and T_range > 0 (the paper's 1 and 20).
        start: the initial output of f: the last layer starts with weights 0 and this bias, so every
            sample starts at the temperature of the global version.

    Departures: the two layers on both networks' outputs and the range are recalled from the paper;
    the published code does not contain this version. Our own choices are the width of 128, the zero
    initial weights, and that no gradient reaches the logits through T (it would be reversed).

    >>> module, logits = InstanceTemperature(classes=3), torch.tensor([[3.0, 1.0, -1.0]])
    >>> module(0.5, logits, -logits).detach()
    tensor([[15.6212]])
    """

    def __init__(
        self,
        classes: int,
        hidden: int = 128,
        lowest: float = 1.0,
        span: float = 20.0,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        _check_range(lowest, span, start)
        check_number(least=1, whole=True, classes=classes, hidden=hidden)
        self.classes, self.lowest, self.span = classes, lowest, span
        self.prediction = nn.Sequential(
            nn.Linear(2 * classes, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        nn.init.zeros_(self.prediction[2].weight)
        nn.init.constant_(self.prediction[2].bias, start)

    def forward(
        self, reversal_weight: float, student_logits: Tensor, teacher_logits: Tensor
    ) -> Tensor:
        """(batch, 1) temperatures of the samples with these logits (batch, classes).

        Raises:
            ValueError: for wrong or mismatched shapes, or a different number of classes.
        """
        check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
        if student_logits.shape[1] != self.classes:
            raise ValueError(f"built for {self.classes} classes; got {student_logits.shape[1]}.")
        dtype = self.prediction[0].weight.dtype
        outputs = [logits.detach().to(dtype) for logits in (student_logits, teacher_logits)]
        with torch.autocast(student_logits.device.type, enabled=False):
            prediction = self.prediction(torch.cat(outputs, dim=1))
        return self.lowest + self.span * torch.sigmoid(
            reverse_gradient(prediction, reversal_weight)
        )


def curriculum_weight(
    epoch: float, ramp_epochs: float = 10, lowest: float = 0.0, highest: float = 1.0
) -> float:
    r"""The weight λ of CTKD (Li et al. 2023, equation 11): a cosine ramp, then constant.

    .. math:: \lambda = \lambda_{\min} + \tfrac12 (\lambda_{\max} - \lambda_{\min})
        \Big(1 + \cos\big((1 + \tfrac{\min(e, E)}{E}) \pi\big)\Big)

    Args:
        epoch: e >= 0; the authors' code counts from 1.
        ramp_epochs: E > 0.
        lowest, highest: λ at epoch 0 and from epoch E on.

    Raises:
        ValueError: for an epoch below 0 or a ramp that is not above 0.

    >>> [round(curriculum_weight(epoch), 3) for epoch in (0, 2, 5, 10, 200)]
    [0.0, 0.095, 0.5, 1.0, 1.0]
    """
    check_number(least=0, epoch=epoch)
    check_number(above=0, ramp_epochs=ramp_epochs)
    check_number(lowest=lowest, highest=highest)
    turn = math.cos((1 + min(epoch, ramp_epochs) / ramp_epochs) * math.pi)
    return lowest + (highest - lowest) * (1 + turn) / 2


def reverse_gradient(values: Tensor, weight: float = 1.0) -> Tensor:
    r"""Gradient reversal (Ganin and Lempitsky 2015): the identity, with the gradient times -w.

    A single minimisation then plays a game: layers after this one learn to predict, layers before
    it learn to prevent the prediction.

    Args:
        values: any shape.
        weight: w, at least 0.

    Raises:
        ValueError: for a weight below 0.

    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> torch.autograd.grad(3 * reverse_gradient(x, 0.5), x)
    (tensor(-1.5000),)
    """
    check_parameters(values=values)
    check_number(least=0, weight=weight)
    return _Reversal.apply(values, weight)


def _check_range(lowest: float, span: float, start: float) -> None:
    check_number(above=0, lowest=lowest, span=span)
    check_number(start=start)


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None

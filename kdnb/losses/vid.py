"""VID (Ahn et al. 2019): variational information distillation with a Gaussian bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdnb.losses.adapters import map_shape, to_common_size
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_maps,
    check_number,
    check_together,
    check_variant,
    check_vectors,
    fitted,
)


def variational_information(
    predicted_mean: Tensor,
    teacher_maps: Tensor,
    raw_variance: Tensor,
    minimum_variance: float = 1e-5,
    variant: Variant = "paper",
) -> Tensor:
    r"""VID (Ahn 2019, equation 5): the Gaussian bound on the mutual information of two layers.

    .. math:: L = \frac1B \sum_b \sum_{c,h,w} \log \sigma_c
        + \frac{(t_{chw} - \mu_{chw}(s))^2}{2 \sigma_c^2},
        \quad \sigma_c^2 = \log(1 + e^{\alpha_c}) + \epsilon

    up to a constant. Each channel has one variance, learned together with the mean, so channels
    that the student cannot predict count less.

    Args:
        predicted_mean: (batch, channels, height, width), mu(s), from :class:`VariationalRegressor`.
        teacher_maps: the same shape.
        raw_variance: (channels,), alpha.
        minimum_variance: epsilon, at least 0.
        variant: "authors" averages over every element instead of summing over c, h and w.

    Returns:
        A scalar in nats; it has no lower bound of 0, and is negative for small variances.

    Raises:
        ValueError: for wrong or mismatched shapes.

    Departures: the softplus is evaluated as logaddexp(alpha, 0): log(1 + exp(alpha)), as public
    code computes it, overflows. The sum over positions is recalled from the paper; the rest is
    confirmed in the code that RepDistiller credits to the authors.

    >>> mean, teacher = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    >>> variational_information(mean, teacher, torch.tensor([math.log(math.e - 1)]))
    tensor(0.5000)
    """
    check_variant(variant)
    check_maps(predicted_mean=predicted_mean, teacher_maps=teacher_maps)
    check_vectors(teacher_maps.shape[1], raw_variance=raw_variance)
    check_together(teacher_maps=teacher_maps, raw_variance=raw_variance)
    check_number(least=0, minimum_variance=minimum_variance)
    raw = at_least_float32(raw_variance)
    variance = (torch.logaddexp(raw, torch.zeros_like(raw)) + minimum_variance)[:, None, None]
    square = (at_least_float32(teacher_maps) - at_least_float32(predicted_mean)).square()
    terms = (variance.log() + square / variance) / 2
    return terms.mean() if variant == "authors" else terms.flatten(1).sum(dim=1).mean()


class VariationalRegressor(nn.Module):
    """VID's mean and variance (Ahn 2019): three 1x1 convolutions, and one alpha per channel.

    ReLUs lie between the convolutions. The maps are pooled to the smaller size. Widths follow the
    code credited to the authors: the teacher's throughout, no bias. The variance starts at
    `initial_variance`.
    """

    def __init__(
        self,
        student_shape: Sequence[int],
        teacher_shape: Sequence[int],
        initial_variance: float = 5.0,
        minimum_variance: float = 1e-5,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        check_variant(variant)
        check_number(initial_variance=initial_variance, minimum_variance=minimum_variance)
        if not initial_variance > minimum_variance > 0:
            raise ValueError(
                "initial_variance must be above minimum_variance, and that above 0; got "
                f"{initial_variance} and {minimum_variance}."
            )
        channels, *_ = map_shape(student_shape, "student_shape")
        out, *_ = map_shape(teacher_shape, "teacher_shape")
        self.mean = nn.Sequential(
            nn.Conv2d(channels, out, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(out, out, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(out, out, 1, bias=False),
        )
        excess = initial_variance - minimum_variance
        inverse = excess + math.log(-math.expm1(-excess))
        self.raw_variance = nn.Parameter(torch.full((out,), inverse))
        self.minimum_variance = minimum_variance
        self.variant: Variant = variant

    def forward(self, student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
        """The loss of maps (batch, channels, height, width) of both networks."""
        check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
        student, teacher = to_common_size(student_maps, teacher_maps)
        return variational_information(
            self.mean(fitted(self.mean, "student_maps", student)),
            teacher,
            self.raw_variance,
            self.minimum_variance,
            self.variant,
        )

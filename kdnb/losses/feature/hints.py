"""The student's maps are pulled towards the teacher's: FitNets, FT, SimKD, AdaIN statistics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from kdnb.losses._checks import at_least_float32, check_maps
from kdnb.losses.adapters import bottleneck, map_shape, to_common_size
from kdnb.losses.feature._common import (
    Variant,
    check_variant,
    mean_squared,
    squared_distance,
    unit,
)


def hint(
    regressed: Tensor, teacher_maps: Tensor, variant: Literal["paper", "common"] = "paper"
) -> Tensor:
    r"""FitNets' hint loss (Romero 2015, equation 3).

    .. math:: L = \frac{1}{2B} \sum_b \lVert u_h(x_b) - r(v_g(x_b)) \rVert_2^2

    with the teacher's hint layer u and the regressor r on the student's guided layer v. In the
    paper it is the whole loss of a first stage; distillation follows in a second one.

    Args:
        regressed: (batch, channels, height, width), the student's maps behind the regressor
            (:class:`~kdnb.losses.adapters.ConvolutionalRegressor`).
        teacher_maps: the same shape.
        variant: "common" is the mean squared error over all elements, without the half: what
            RepDistiller, mdistiller and the Zoo call FitNet, in one stage, weight 100.

    Returns:
        A scalar in squared units of the maps, 0 where they agree.

    Raises:
        ValueError: for other or different shapes.

    Departures: the batch mean is not written in the equation. The authors' Theano code sums one
    axis of the half squares and averages the rest.

    >>> hint(torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2))
    tensor(2.)
    """
    check_variant(variant, ("paper", "common"))
    check_maps(regressed=regressed, teacher_maps=teacher_maps)
    if variant == "common":
        return mean_squared(regressed, teacher_maps)
    return squared_distance(regressed, teacher_maps) / 2


def factor_transfer(
    student_factor: Tensor,
    teacher_factor: Tensor,
    norm: Literal[1, 2] = 1,
    variant: Variant = "paper",
) -> Tensor:
    r"""Factor transfer (Kim, Park, Kwak 2018, section 3.3): normalised factors are compared.

    .. math:: L = \frac1B \sum_b \Big\lVert \frac{F_T}{\lVert F_T \rVert_2}
        - \frac{F_S}{\lVert F_S \rVert_2} \Big\rVert_p

    Each factor is flattened and normalised as a whole, sample by sample.

    Args:
        student_factor: (batch, channels, height, width) from :class:`Translator`.
        teacher_factor: the same batch and channels, from :class:`Paraphraser`; other sizes are
            pooled to the common one.
        norm: p, 1 (the paper's choice) or 2.
        variant: "authors" averages the absolute differences over all elements (weight 500 in
            their CIFAR-10 script) instead of summing them; it needs norm 1.

    Returns:
        A scalar without unit, 0 where the factors are proportional.

    Raises:
        ValueError: for other shapes or another norm.

    Departures: at equal factors the L2 norm has no gradient; 0 is taken. Weights and number of
    the paper's equation are recalled; normalisation and L1 are confirmed in the authors' code.

    >>> factor_transfer(torch.ones(1, 1, 2, 2), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    tensor(2.)
    """
    check_variant(variant)
    check_maps("BC", student_factor=student_factor, teacher_factor=teacher_factor)
    if norm not in (1, 2) or (variant == "authors" and norm != 1):
        raise ValueError(f"norm must be 1 or 2, and 1 for the authors' variant; got {norm}.")
    student, teacher = to_common_size(
        at_least_float32(student_factor), at_least_float32(teacher_factor)
    )
    difference = unit(student.flatten(1), 1) - unit(teacher.flatten(1), 1)
    if variant == "authors":
        return difference.abs().mean()
    return torch.linalg.vector_norm(difference, ord=norm, dim=1).mean()


def paraphrase_reconstruction(reconstruction: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""What the paraphraser is trained with, before the student: (1/B) sum |x - P(x)|^2.

    >>> paraphrase_reconstruction(torch.ones(2, 1, 1, 2), torch.zeros(2, 1, 1, 2))
    tensor(2.)
    """
    check_maps(reconstruction=reconstruction, teacher_maps=teacher_maps)
    return squared_distance(reconstruction, teacher_maps)


def _stack(widths: Sequence[int], layer: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [layer(width_in, width_out, 3, padding=1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class Paraphraser(nn.Module):
    """FT's auto-encoder of the teacher's last maps: three 3x3 layers each way, leaky ReLU 0.1.

    `rate` is the paraphrase rate k: the factor has k times the teacher's channels. Train it on
    :func:`paraphrase_reconstruction`, then freeze it and use :meth:`encode`. Layers, widths and
    the slope are those of the authors' code; the paper's batch normalisation is commented out
    there and absent here.
    """

    def __init__(self, teacher_shape: Sequence[int], rate: float = 0.5) -> None:
        super().__init__()
        channels, *_ = map_shape(teacher_shape, "teacher_shape")
        self.factors = max(1, round(channels * rate))
        self.encoder = _stack((channels, channels, self.factors, self.factors), nn.Conv2d)
        self.decoder = _stack((self.factors, self.factors, channels, channels), nn.ConvTranspose2d)

    def encode(self, teacher_maps: Tensor) -> Tensor:
        """The teacher's factor."""
        return self.encoder(teacher_maps)

    def forward(self, teacher_maps: Tensor) -> Tensor:
        """The reconstruction of the maps."""
        return self.decoder(self.encoder(teacher_maps))


class Translator(nn.Module):
    """FT's student side: three 3x3 layers onto the number of factors of the paraphraser."""

    def __init__(self, student_shape: Sequence[int], factors: int) -> None:
        super().__init__()
        channels, *_ = map_shape(student_shape, "student_shape")
        self.layers = _stack((channels, channels, factors, factors), nn.Conv2d)

    def forward(self, student_maps: Tensor) -> Tensor:
        """The student's factor."""
        return self.layers(student_maps)


def reused_classifier(
    projected: Tensor, teacher_maps: Tensor, variant: Variant = "paper"
) -> Tensor:
    r"""SimKD's only loss (Chen 2022, equation 3): (1/B) sum |f_t - P(f_s)|^2.

    The maps are those in front of the teacher's classifier, which the student then reuses: no
    cross-entropy, no soft targets.

    Args:
        projected: (batch, channels, height, width) from :class:`ReusedClassifierProjector`.
        teacher_maps: the same shape.
        variant: "authors" averages over every element instead (their `MSELoss`).

    Returns:
        A scalar in squared units of the maps, 0 where they agree.

    Raises:
        ValueError: for other or different shapes.

    Departures: the paper writes the norm for one sample; the batch mean is added here. The
    mean over elements is how the authors' training script is recalled.

    >>> reused_classifier(torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1))
    tensor(3.)
    """
    check_variant(variant)
    check_maps(projected=projected, teacher_maps=teacher_maps)
    distance = mean_squared if variant == "authors" else squared_distance
    return distance(projected, teacher_maps)


class ReusedClassifierProjector(nn.Module):
    """SimKD's projector: 1x1, 3x3, 1x1 convolutions, batch normalisation and ReLU after each.

    The inner width is the teacher's divided by `reduction` (f in the paper, 2 in its tables).
    """

    def __init__(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], reduction: int = 2
    ) -> None:
        super().__init__()
        channels, *_ = map_shape(student_shape, "student_shape")
        out, *_ = map_shape(teacher_shape, "teacher_shape")
        self.layers = bottleneck(channels, max(1, out // reduction), out, close=True)

    def forward(self, student_maps: Tensor, teacher_maps: Tensor) -> tuple[Tensor, Tensor]:
        """The projected student and the teacher, at one size; average it for the classifier."""
        student, teacher = to_common_size(student_maps, teacher_maps)
        return self.layers(student), teacher


def channel_statistics(maps: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each sample's channels over the positions, (batch, channels).

    `epsilon` is added to the (biased) variance, so that a constant channel has a gradient.
    """
    check_maps(maps=maps)
    flat = at_least_float32(maps).flatten(2)
    return flat.mean(dim=2), (flat.var(dim=2, unbiased=False) + epsilon).sqrt()


def feature_statistics(student_maps: Tensor, teacher_maps: Tensor, epsilon: float = 1e-5) -> Tensor:
    r"""Squared distance of channel means and standard deviations (Yang 2020, arXiv 2003.04289).

    .. math:: L = \frac1B \sum_b \lVert \mu(S) - \mu(T) \rVert_2^2
        + \lVert \sigma(S) - \sigma(T) \rVert_2^2

    Args:
        student_maps: (batch, channels, height, width).
        teacher_maps: the same batch and channels; the spatial size is free.
        epsilon: added to each variance.

    Returns:
        A scalar in squared units of the maps, 0 where the statistics agree.

    Raises:
        ValueError: for other shapes or different channels.

    Departures: the paper's abstract names this L2 term, finds it of limited use and adds the one
    built on :func:`restyle`. That it takes standard deviations, as in style transfer, rather
    than variances, and its reduction, could not be confirmed.

    >>> feature_statistics(torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 3, 3))
    tensor(2.)
    """
    check_maps("BC", student_maps=student_maps, teacher_maps=teacher_maps)
    pairs = zip(
        channel_statistics(student_maps, epsilon),
        channel_statistics(teacher_maps, epsilon),
        strict=True,
    )
    mean, deviation = (squared_distance(student, teacher) for student, teacher in pairs)
    return mean + deviation


def restyle(teacher_maps: Tensor, student_maps: Tensor, epsilon: float = 1e-5) -> Tensor:
    r"""The teacher's maps with the student's statistics: adaptive instance normalisation.

    .. math:: \sigma(S) \frac{T - \mu(T)}{\sigma(T)} + \mu(S)

    Yang 2020 sends these maps through the rest of the frozen teacher and compares its output
    with the teacher's own: if the student's statistics are right, nothing changes.

    >>> restyle(torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[5.0, 7.0]]]]))
    tensor([[[[5., 7.]]]])
    """
    check_maps("BC", teacher_maps=teacher_maps, student_maps=student_maps)
    (mean, deviation), (new_mean, new_deviation) = (
        [value[..., None, None] for value in channel_statistics(maps, epsilon)]
        for maps in (teacher_maps, student_maps)
    )
    return (at_least_float32(teacher_maps) - mean) / deviation * new_deviation + new_mean

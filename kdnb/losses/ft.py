"""FT (Kim, Park and Kwak 2018): factor transfer with a paraphraser and a translator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from kdnb.losses._arithmetic import summed_squares, unit
from kdnb.losses.adapters import map_shape, to_common_size
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_choice,
    check_flags,
    check_maps,
    check_number,
    check_variant,
    fitted,
)


def factor_transfer(
    student_factor: Tensor,
    teacher_factor: Tensor,
    norm: Literal[1, 2] = 1,
    variant: Variant = "paper",
) -> Tensor:
    r"""Factor transfer (Kim, Park, Kwak 2018, section 3.3): the distance of normalised factors.

    .. math:: L = \frac1B \sum_b \Big\lVert \frac{F_T}{\lVert F_T \rVert_2}
        - \frac{F_S}{\lVert F_S \rVert_2} \Big\rVert_p

    Each factor is flattened and normalised as a whole, sample by sample.

    Args:
        student_factor: (batch, channels, height, width) from :class:`Translator`.
        teacher_factor: the same batch and channels, from :class:`Paraphraser`; different spatial
            sizes are pooled to the common one.
        norm: p, 1 (the paper's choice) or 2.
        variant: "authors" averages the absolute differences over all elements (weight 500 in
            their CIFAR-10 script) instead of summing them; it needs norm 1.

    Returns:
        A scalar without unit, 0 where the factors are proportional.

    Raises:
        ValueError: for wrong shapes or an unknown norm.

    Departures: at equal factors the L2 norm has no gradient; 0 is used. The weights and the number
    of the paper's equation are recalled; normalisation and L1 are confirmed in the authors' code.

    >>> factor_transfer(torch.ones(1, 1, 2, 2), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    tensor(2.)
    """
    check_variant(variant)
    check_maps("BC", student_factor=student_factor, teacher_factor=teacher_factor)
    check_choice((1, 2), norm=norm)
    if variant == "authors" and norm != 1:
        raise ValueError(f"norm must be 1 for the authors' variant; got {norm}.")
    student, teacher = to_common_size(
        at_least_float32(student_factor), at_least_float32(teacher_factor)
    )
    difference = unit(student.flatten(1), 1) - unit(teacher.flatten(1), 1)
    if variant == "authors":
        return difference.abs().mean()
    return torch.linalg.vector_norm(difference, ord=norm, dim=1).mean()


def paraphrase_reconstruction(reconstruction: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""The paraphraser's own loss, used before the student's training: (1/B) sum |x - P(x)|^2.

    >>> paraphrase_reconstruction(torch.ones(2, 1, 1, 2), torch.zeros(2, 1, 1, 2))
    tensor(2.)
    """
    check_maps(reconstruction=reconstruction, teacher_maps=teacher_maps)
    return summed_squares(reconstruction, teacher_maps)


def _stack(widths: Sequence[int], layer: type[nn.Module], normalise: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers.append(layer(width_in, width_out, 3, padding=1))
        layers += [nn.BatchNorm2d(width_out)] * normalise
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)


class Paraphraser(nn.Module):
    """FT's auto-encoder of the teacher's last maps: three 3x3 layers each way, leaky ReLU 0.1.

    `rate` is the paraphrase rate k > 0: the factor has k times the teacher's channels. Train it on
    :func:`paraphrase_reconstruction`, then freeze it and use :meth:`encode`. Layers, widths and the
    slope follow the authors' code. The paper's batch normalisation is commented out there and
    absent here.
    """

    def __init__(self, teacher_shape: Sequence[int], rate: float = 0.5) -> None:
        super().__init__()
        channels, *_ = map_shape(teacher_shape, "teacher_shape")
        check_number(above=0, most=100, rate=rate)
        self.factors = max(1, round(channels * float(rate)))
        self.encoder = _stack((channels, channels, self.factors, self.factors), nn.Conv2d)
        self.decoder = _stack((self.factors, self.factors, channels, channels), nn.ConvTranspose2d)

    def encode(self, teacher_maps: Tensor) -> Tensor:
        """The teacher's factor."""
        check_maps(teacher_maps=teacher_maps)
        return self.encoder(fitted(self.encoder, "teacher_maps", teacher_maps))

    def forward(self, teacher_maps: Tensor) -> Tensor:
        """The reconstruction of the maps."""
        return self.decoder(self.encode(teacher_maps))


class Translator(nn.Module):
    """FT's student side: three 3x3 layers that end with the paraphraser's number of channels.

    With `normalise` each convolution is followed by batch normalisation (FEED's translators).
    """

    def __init__(self, student_shape: Sequence[int], factors: int, normalise: bool = False) -> None:
        super().__init__()
        channels, *_ = map_shape(student_shape, "student_shape")
        check_number(least=1, whole=True, factors=factors)
        check_flags(normalise=normalise)
        self.layers = _stack((channels, channels, factors, factors), nn.Conv2d, normalise)

    def forward(self, student_maps: Tensor) -> Tensor:
        """The student's factor."""
        check_maps(student_maps=student_maps)
        return self.layers(fitted(self.layers, "student_maps", student_maps))

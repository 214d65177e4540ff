"""Which neurons respond, and how they are spread: AB, OFD with its margin, NST."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses._checks import at_least_float32, check_maps
from kdnb.losses.adapters import to_common_size
from kdnb.losses.feature._common import Variant, check_variant, no_autocast, unit


def depth_weights(layers: int) -> list[float]:
    """1 for the last layer, half of it for each layer before: the authors' weights in AB and OFD.

    >>> depth_weights(3)
    [0.25, 0.5, 1.0]
    """
    return [2.0 ** (layer - layers + 1) for layer in range(layers)]


def activation_boundary(
    student_responses: Tensor,
    teacher_responses: Tensor,
    margin: float = 1.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""Activation-boundary transfer, AB (Heo 2019a, equation 5): match the signs, by a hinge.

    .. math:: L = \frac1B \sum_b \big\lVert \rho(T) \odot \sigma(\mu 1 - S)
        + (1 - \rho(T)) \odot \sigma(\mu 1 + S) \big\rVert_2^2

    with sigma the ReLU and rho(T) = 1 where T > 0. Responses are taken before the ReLU; how far
    the teacher's lie from 0 plays no part. The paper uses it to initialise the student.

    Args:
        student_responses: (batch, channels, height, width), behind a connector where widths
            differ (:class:`~kdnb.losses.adapters.PointwiseAdapter`, `normalise=True`).
        teacher_responses: the same shape.
        margin: mu > 0, how far beyond the boundary the student has to be; 1 in all the paper.
        variant: "authors" multiplies by 3/1000, as their CIFAR script does (their scripts for
            transfer learning divide by 1000); layers are weighted by :func:`depth_weights`.

    Returns:
        A scalar, 0 where every neuron is on the teacher's side by the margin. A student equal to
        the teacher still pays for responses nearer to 0 than the margin.

    Raises:
        ValueError: for other or different shapes, or a margin that is not above 0.

    >>> activation_boundary(torch.full((1, 1, 1, 1), -0.5), torch.ones(1, 1, 1, 1))
    tensor(2.2500)
    """
    check_variant(variant)
    check_maps(student_responses=student_responses, teacher_responses=teacher_responses)
    if not margin > 0:
        raise ValueError(f"margin must be above 0; got {margin}.")
    student = at_least_float32(student_responses)
    side = torch.where(teacher_responses > 0, 1.0, -1.0).to(student.dtype)
    loss = (margin - side * student).relu().square().flatten(1).sum(dim=1).mean()
    return loss * 3 / 1000 if variant == "authors" else loss


def overhaul_margin(weight: Tensor, bias: Tensor, variant: Variant = "paper") -> Tensor:
    r"""OFD's margin of each channel: the mean of its negative responses (Heo 2019b, section 3.1).

    .. math:: m_c = E[t \mid t < 0] = \beta_c - |\gamma_c|\,
        \frac{\varphi(\beta_c / |\gamma_c|)}{\Phi(-\beta_c / |\gamma_c|)},
        \quad t \sim N(\beta_c, \gamma_c^2)

    from the weight gamma and bias beta of the teacher's last batch normalisation.

    Args:
        weight, bias: (channels,).
        variant: "authors" takes -3 |gamma| where less than 0.001 of the responses are negative.
            The formula tends to -gamma²/beta there, about -0.3 |gamma| at their threshold: on
            such channels the two differ by a factor of ten and more.

    Returns:
        (channels,) at most 0, for :func:`overhaul`.

    Raises:
        ValueError: if weight and bias are not vectors of one length.

    Departures: a channel with weight 0 is constant; its margin is its bias, or 0 if positive.

    >>> overhaul_margin(torch.ones(2), torch.tensor([0.0, -10.0]))
    tensor([ -0.7979, -10.0000])
    """
    check_variant(variant)
    if weight.ndim != 1 or weight.shape != bias.shape:
        raise ValueError(
            f"weight and bias must be vectors of one length; got weight {tuple(weight.shape)} "
            f"and bias {tuple(bias.shape)}."
        )
    scale, mean = weight.detach().double().abs(), bias.detach().double()
    ratio = mean / torch.where(scale > 0, scale, torch.ones_like(scale))
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(ratio / math.sqrt(2))
    margin = (mean - scale * hazard).clamp_max(0)
    if variant == "authors":
        margin = torch.where(torch.special.ndtr(-ratio) > 0.001, margin, -3 * scale)
    margin = torch.where(scale > 0, margin, mean.clamp_max(0))
    return margin.to(at_least_float32(weight).dtype)


def overhaul(student_responses: Tensor, teacher_responses: Tensor, margin: Tensor) -> Tensor:
    r"""The partial L2 distance of OFD (Heo 2019b, equations 3 to 5).

    .. math:: L = \frac1B \sum_b \sum_i \begin{cases} 0 & s_i \le t_i \le 0 \\
        (t_i - s_i)^2 & \text{otherwise} \end{cases}, \quad t = \max(T, m)

    A negative response of the teacher is a ceiling, not a target: below it nothing is asked.

    Args:
        student_responses: (batch, channels, height, width) before the ReLU, behind a connector
            (:class:`~kdnb.losses.adapters.PointwiseAdapter`, `normalise=True`).
        teacher_responses: the same shape, before the ReLU. The authors keep the teacher in
            training mode, so that its batch statistics are the student's; restore its running
            statistics afterwards.
        margin: (channels,) from :func:`overhaul_margin`, at most 0.

    Returns:
        A scalar in squared units of the responses. 0 where student and teacher are equal and
        no response lies below the margin, or where the student stays under every ceiling.

    Raises:
        ValueError: for other or different shapes.

    Departures: the authors sum over the batch and divide by it, and by 1000, in their training
    script (recalled), with :func:`depth_weights` over layers; here the batch mean alone.

    >>> student, teacher = torch.full((1, 1, 1, 2), -2.0), torch.tensor([[[[1.0, -5.0]]]])
    >>> overhaul(student, teacher, torch.tensor([-1.0]))
    tensor(9.)
    """
    check_maps(student_responses=student_responses, teacher_responses=teacher_responses)
    if margin.shape != student_responses.shape[1:2]:
        raise ValueError(
            f"margin must be ({student_responses.shape[1]},) for student_responses "
            f"{tuple(student_responses.shape)}; got {tuple(margin.shape)}."
        )
    student, teacher = at_least_float32(student_responses), at_least_float32(teacher_responses)
    target = torch.maximum(teacher, margin.to(teacher.dtype)[:, None, None])
    counted = (student > target) | (target > 0)
    return ((target - student).square() * counted).flatten(1).sum(dim=1).mean()


def neuron_selectivity(
    student_maps: Tensor,
    teacher_maps: Tensor,
    kernel: Literal["linear", "polynomial", "gaussian"] = "polynomial",
    degree: int = 2,
    offset: float = 0.0,
    bandwidth: float | None = None,
) -> Tensor:
    r"""Neuron selectivity transfer, NST (Huang and Wang 2017): MMD between normalised channels.

    .. math:: L = \frac1B \sum_b \frac{1}{C_T^2} \sum_{i,i'} k(t_i, t_{i'})
        + \frac{1}{C_S^2} \sum_{j,j'} k(s_j, s_{j'})
        - \frac{2}{C_T C_S} \sum_{i,j} k(t_i, s_j)

    where t_i and s_j are channels flattened over the positions and divided by their L2 norm, so
    the order and the number of channels are free. Kernels: x·y; (x·y + c)^d, with d = 2 and
    c = 0 in the paper; exp(-|x - y|² / (2 sigma²)). The paper's half belongs to the weight.

    Each Gram matrix is one batched product, (batch, C, C): no tensor of size B·C·C·H·W.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width). Widths may differ; other
            spatial sizes are pooled to the common one.
        kernel: "linear" (attention transfer without its last normalisation), "polynomial" or
            "gaussian".
        degree, offset: d and c of the polynomial kernel.
        bandwidth: sigma² of the Gaussian kernel; None is each sample's mean squared distance of
            the pairs teacher-student, taken as a constant in the gradient.

    Returns:
        A scalar without unit, at least 0 up to rounding, 0 where the channels agree.

    Raises:
        ValueError: for other shapes, an unknown kernel, or a bandwidth that is not above 0.

    Departures: the authors' code leaves out the teacher's own term, which has no gradient for
    the student. Polynomial and linear forms are confirmed (authors' code; notes on the paper);
    the bandwidth rule is recalled, and which pairs it averages could not be confirmed.

    >>> student, teacher = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])
    >>> neuron_selectivity(student, teacher)
    tensor(2.)
    """
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    if kernel not in ("linear", "polynomial", "gaussian"):
        raise ValueError(f"kernel must be linear, polynomial or gaussian; got {kernel!r}.")
    if bandwidth is not None and not bandwidth > 0:
        raise ValueError(f"bandwidth must be above 0; got {bandwidth}.")
    student, teacher = to_common_size(
        at_least_float32(student_maps), at_least_float32(teacher_maps)
    )
    student, teacher = (unit(maps.flatten(2), 2) for maps in (student, teacher))
    if kernel == "linear":
        return (student.mean(dim=1) - teacher.mean(dim=1)).square().sum(dim=1).mean()
    pairs = ((teacher, teacher), (student, student), (teacher, student))
    with no_autocast(student):
        grams = [torch.bmm(a, b.mT) for a, b in pairs]
    if kernel == "polynomial":
        values = [(gram + offset) ** degree for gram in grams]
    else:
        squares = [
            (a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None] - 2 * gram).clamp_min(0)
            for (a, b), gram in zip(pairs, grams, strict=True)
        ]
        if bandwidth is None:
            scale = squares[2].detach().mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
        else:
            scale = torch.full_like(squares[2][:, :1, :1], bandwidth)
        values = [torch.exp(-square / (2 * scale)) for square in squares]
    own_teacher, own_student, cross = (value.mean(dim=(1, 2)) for value in values)
    return (own_teacher + own_student - 2 * cross).mean()

"""The two graphs of Zhang and Peng (2018): between several teachers' answers, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import rows
from kdnb.losses.checks import (
    at_least_float32,
    check_lists,
    check_logits,
    check_number,
    check_samples,
    check_temperature,
    check_together,
    check_vectors,
)
from kdnb.losses.ddgsd import mean_discrepancy


def logit_graph(
    student_logits: Tensor,
    teachers: Sequence[Tensor],
    weights: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    r"""The logits graph: distances from the student's answers to several teachers' (Zhang 2018).

    .. math:: L = \frac1B \sum_b \sum_m w_m\, \mathrm{EMD}(p^S_b, p^m_b), \quad
        \mathrm{EMD}(p, q) = \tfrac12 \lVert p - q \rVert_1

    the earth mover's distance where moving a share of probability between any two classes costs
    the same; it is then the total variation.

    Args:
        student_logits, teachers: (batch, classes), and a list of such.
        weights: w, (teachers,).
        temperature: of both softmaxes.

    Returns:
        A scalar between 0 and the sum of the weights.

    Raises:
        ValueError: for wrong shapes, no teacher, or as many weights as there are not teachers.

    Departures: recalled from the paper; its text was not available. How it joins the teachers'
    distributions, and its cost between classes, are not known to us.

    >>> student = torch.zeros(1, 2)
    >>> logit_graph(student, [torch.tensor([[9e9, 0.0]])], torch.ones(1))
    tensor(0.5000)
    """
    check_lists(teachers=teachers)
    named = {f"teachers[{place}]": one for place, one in enumerate(teachers)}
    check_logits(student_logits=student_logits, **named)
    check_vectors(len(teachers), weights=weights)
    check_together(student_logits=student_logits, weights=weights)
    check_temperature(temperature, len(student_logits))
    own, *others = (
        (at_least_float32(one) / temperature).softmax(1) for one in (student_logits, *teachers)
    )
    apart = torch.stack([(own - other).abs().sum(1).mean() / 2 for other in others])
    return (at_least_float32(weights) * apart).sum()


def compact_bilinear(first: Tensor, second: Tensor, size: int = 64, seed: int = 0) -> Tensor:
    r"""Compact bilinear pooling by count sketches: a short stand-in for all products of entries.

    Every entry of a vector is added, with a random sign, to a random one of `size` places; the
    circular convolution of two such sketches is the sketch of their outer product, and inner
    products of sketches are those of the outer products on average over the draws.

    Args:
        first, second: (batch, ...), flattened; widths may differ.
        size: of the result.
        seed: of places and signs.

    Returns:
        (batch, size).

    Raises:
        ValueError: for different batch sizes, or a size below 1.
    """
    check_samples(minimum=1, first=first, second=second)
    check_number(least=1, whole=True, size=size)
    check_number(least=0, whole=True, seed=seed)
    stream = torch.Generator().manual_seed(int(seed))
    spectra = []
    for one in (rows(first), rows(second)):
        places = torch.randint(int(size), (one.shape[1],), generator=stream).to(one.device)
        signs = torch.randint(2, (one.shape[1],), generator=stream).to(one) * 2 - 1
        sketch = one.new_zeros(len(one), int(size)).index_add(1, places, one * signs)
        spectra.append(torch.fft.rfft(sketch))
    return torch.fft.irfft(spectra[0] * spectra[1], n=int(size))


def representation_graph(student: Tensor, teachers: Sequence[Tensor], seed: int = 0) -> Tensor:
    r"""The representation graph: distances to what pairs of teachers see together (Zhang 2018).

    .. math:: L = \sum_{m < n} \mathrm{MMD}^2\big(F_S, \mathrm{CBP}(F_m, F_n)\big)

    with :func:`compact_bilinear` and the linear kernel of :func:`mean_discrepancy`.

    Args:
        student: (batch, size); the student's features after a map of its own to any size.
        teachers: at least 2, each (batch, ...).
        seed: of the pooling, which must stay the same while a student learns.

    Returns:
        A scalar in squared units of the pooled features.

    Raises:
        ValueError: for fewer than 2 teachers, or different batch sizes.

    Departures: recalled from the paper; its text was not available. Kernel and weights are ours.

    >>> features = torch.ones(2, 3)
    >>> representation_graph(compact_bilinear(features, features, 4), [features, features])
    tensor(0.)
    """
    check_lists(2, teachers=teachers)
    named = {f"teachers[{place}]": one for place, one in enumerate(teachers)}
    check_samples(minimum=1, student=student, **named)
    own = rows(student)
    return torch.stack([
        mean_discrepancy(own, compact_bilinear(one, other, own.shape[1], seed))
        for one, other in combinations(teachers, 2)
    ]).sum()  # fmt: skip

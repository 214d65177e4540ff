"""The two graphs of Zhang and Peng (2018): of several teachers' logits and of their features."""

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
    r"""The logits graph (Zhang 2018): the student's distances to several teachers' answers.

    .. math:: L = \frac1B \sum_b \sum_m w_m\, \mathrm{EMD}(p^S_b, p^m_b), \quad
        \mathrm{EMD}(p, q) = \tfrac12 \lVert p - q \rVert_1

    EMD is the earth mover's distance with equal costs between any two classes, which is the total
    variation.

    Args:
        student_logits, teachers: (batch, classes), and a list of such tensors.
        weights: w, (teachers,).
        temperature: temperature of both softmaxes.

    Returns:
        A scalar between 0 and the sum of the weights.

    Raises:
        ValueError: for wrong shapes, no teacher, or a wrong number of weights.

    Departures: recalled from the paper; its text was not available. We do not know how it combines
    the teachers' distributions, or its cost between classes.

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
    r"""Compact bilinear pooling: approximate all products of entries by count sketches.

    Every entry of a vector is added, with a random sign, to a random one of `size` places. The
    circular convolution of two such sketches is the sketch of their outer product. On average over
    the draws, inner products of sketches equal those of the outer products.

    Args:
        first, second: (batch, ...), flattened; widths may differ.
        size: the number of features of the result.
        seed: for the places and signs.

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
    r"""The representation graph (Zhang 2018): distances to the pooled features of teacher pairs.

    .. math:: L = \sum_{m < n} \mathrm{MMD}^2\big(F_S, \mathrm{CBP}(F_m, F_n)\big)

    with :func:`compact_bilinear` and the linear kernel of :func:`mean_discrepancy`.

    Args:
        student: (batch, size); the student's features, mapped to any size.
        teachers: at least 2, each (batch, ...).
        seed: for the pooling; it must stay the same while a student learns.

    Returns:
        A scalar in squared units of the pooled features.

    Raises:
        ValueError: for fewer than 2 teachers, or different batch sizes.

    Departures: recalled from the paper; its text was not available. The kernel and the weights are
    ours.

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

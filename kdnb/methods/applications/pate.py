"""PATE (Papernot et al. 2017): noisy votes of teachers on disjoint private data label public data.

A student that learns from the noisy votes never sees a private record, and one record changes at
most one vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import check_number
from kdnb.training.metrics import outputs_for


def votes_of(teachers: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The number of teachers that choose each class, (N, classes), in eval mode."""
    answers = torch.stack([outputs_for(teacher, inputs, len(inputs)) for teacher in teachers])
    return F.one_hot(answers.argmax(2), answers.shape[2]).sum(0)


def noisy_votes(votes: Tensor, inverse_scale: float, seed: int = 0) -> Tensor:
    r"""The labels (N,) for the student, from noisy votes.

    .. math:: f(x) = \arg\max_j \{ n_j(x) + \mathrm{Lap}(1/\gamma) \}

    Args:
        votes: (N, classes), such as `votes_of` gives.
        inverse_scale: gamma > 0; a smaller value gives more noise and more privacy. One answer is 2
            gamma-differentially private.
    """
    check_number(above=0, inverse_scale=inverse_scale)
    stream = torch.Generator().manual_seed(seed)
    uniform = torch.rand(votes.shape, generator=stream, dtype=torch.float64) - 0.5
    noise = -uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-300).log() / inverse_scale
    return (votes.double() + noise).argmax(1)


def privacy_cost(answers: int, inverse_scale: float, failure: float = 1e-5) -> float:
    r"""The privacy epsilon of a number of answers at failure probability delta, from two bounds.

    The smaller of two bounds is returned: simple composition, :math:`2 \gamma n`, and advanced
    composition, :math:`2\gamma \sqrt{2 n \ln(1/\delta)} + 2 \gamma n (e^{2\gamma} - 1)`. Both hold
    for any votes; the paper's moments accountant gives less if teachers agree.

    >>> round(privacy_cost(100, 0.05), 2)
    5.85
    """
    check_number(least=1, whole=True, answers=answers)
    check_number(above=0, inverse_scale=inverse_scale)
    check_number(above=0, most=1, failure=failure)
    each = 2 * inverse_scale
    advanced = each * math.sqrt(2 * answers * math.log(1 / failure))
    advanced += answers * each * math.expm1(each)
    return min(answers * each, advanced)

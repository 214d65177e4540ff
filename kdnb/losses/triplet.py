"""Triplet distillation (Feng et al. 2019): the teacher's distances as triplet margins."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import ratio, rows, squared_distances
from kdnb.losses.checks import check_device, check_number, check_samples, check_triplets


def all_triplets(batch: int, device: torch.device | str | None = None) -> Tensor:
    """Every (query, one, other) of distinct samples with one < other.

    Args:
        batch: the number of samples, at least 3.
        device: where the indices live.

    Returns:
        Integers of shape (batch (batch - 1) (batch - 2) / 2, 3).

    Raises:
        ValueError: for fewer than 3 samples.

    >>> all_triplets(3).tolist()
    [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
    """
    check_number(least=0, whole=True, batch=batch)
    check_device(device)
    if batch < 3:
        raise ValueError(f"a triplet needs at least 3 samples in the batch; got {batch}.")
    return triplets_of(slice(0, batch), batch, device)


def triplets_of(queries: slice, batch: int, device: torch.device | str | None = None) -> Tensor:
    """The triplets (triplets, 3), out of all, whose query is one of these samples."""
    samples = torch.arange(batch, device=device)
    query, one, other = torch.meshgrid(samples[queries], samples, samples, indexing="ij")
    found = ((query != one) & (query != other) & (one < other)).nonzero()
    found[:, 0] += queries.start
    return found


def drawn_triplets(
    batch: int,
    count: int,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw (query, one, other) of distinct samples, uniformly from all ordered triplets.

    Args:
        batch: the number of samples, at least 3.
        count: the number of triplets, at least 1; the same one may be drawn twice.
        generator: for the draws; torch's global generator if None.
        device: where the indices live.

    Returns:
        Integers of shape (count, 3).

    Raises:
        ValueError: for fewer than 3 samples, a count below 1, or an invalid generator.

    >>> len(set(drawn_triplets(3, 1)[0].tolist()))
    3
    """
    check_number(least=0, whole=True, batch=batch)
    check_number(least=1, whole=True, count=count)
    check_device(device)
    if not (generator is None or isinstance(generator, torch.Generator)):
        got = type(generator).__name__
        raise ValueError(f"generator must be a torch.Generator or None; got a {got}.")
    if batch < 3:
        raise ValueError(f"a triplet needs at least 3 samples in the batch; got {batch}.")
    where = generator.device if generator else "cpu"  # so that all devices draw the same

    def below(end: int) -> Tensor:
        return torch.randint(end, (count,), generator=generator, device=where)

    query, one, other = below(batch), below(batch - 1), below(batch - 2)
    one = one + (one >= query)  # the samples without the query, in order
    low, high = torch.minimum(query, one), torch.maximum(query, one)
    other = other + (other >= low)
    other = other + (other >= high)
    return torch.stack([query, one, other], dim=1).to(device)


def triplet_distillation(
    student: Tensor,
    teacher: Tensor,
    triplets: Tensor,
    least_margin: float = 0.2,
    greatest_margin: float = 0.5,
) -> Tensor:
    r"""The triplet loss with the teacher's distances as its margin (Feng 2019).

    .. math:: L = \frac1N \sum_i \max\big(D_S(a_i, p_i) - D_S(a_i, n_i) + F(d_i), 0\big), \quad
        F(d) = \frac{m_{\max} - m_{\min}}{d_{\max}} d + m_{\min}, \quad
        d_i = \max\big(D_T(a_i, n_i) - D_T(a_i, p_i), 0\big)

    with squared Euclidean distances D and the largest d of the triplets given.

    Args:
        student, teacher: (batch, ...); flattened, not normalised here (face embeddings are).
        triplets: (triplets, 3) indices: an anchor, a positive of its class, a negative of another
            class.
        least_margin: m_min >= 0 in squared units of the student's features.
        greatest_margin: m_max >= m_min, the margin for the largest d.

    Returns:
        A scalar in squared units of the student's features. Not 0 at student = teacher.

    Raises:
        ValueError: for different batch sizes, an empty tensor, wrong triplets or margins.

    Departures: the form of the equations was read in a public summary; squared distances and the
    margins 0.2 and 0.5 are recalled. If no d is above 0, every margin is m_min.

    >>> student = teacher = torch.tensor([[0.0], [0.5], [1.0]])
    >>> triplet_distillation(student, teacher, torch.tensor([[0, 1, 2], [1, 0, 2]]))
    tensor(0.1000)
    """
    check_samples(student=student, teacher=teacher)
    check_triplets(triplets, student)
    check_number(least=0, least_margin=least_margin, greatest_margin=greatest_margin)
    if not least_margin <= greatest_margin:
        raise ValueError(
            "margins must satisfy 0 <= least_margin <= greatest_margin; "
            f"got {least_margin} and {greatest_margin}."
        )
    anchor, positive, negative = triplets.long().unbind(dim=1)
    squares = squared_distances(rows(teacher))
    near, far = squares[anchor, positive], squares[anchor, negative]
    surer = (far - near).clamp_min(0)
    margin = ratio(surer, surer.max()) * (greatest_margin - least_margin) + least_margin
    squares = squared_distances(rows(student))
    near, far = squares[anchor, positive], squares[anchor, negative]
    return (near - far + margin).clamp_min(0).mean()

"""LP (Chen et al. 2021): locality-preserving embedding of the teacher's manifold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdnb.losses._arithmetic import identity, ratio, rows, squared_distances
from kdnb.losses.checks import check_number, check_samples


def locality_preserving(
    student: Tensor, teacher: Tensor, neighbours: int = 5, bandwidth: float | None = None
) -> Tensor:
    r"""Locality-preserving embedding of the teacher's manifold (Chen 2021, LP).

    .. math:: L = \frac{1}{B k} \sum_i \sum_{j \in N_k(i)} w_{ij} \lVert s_i - s_j \rVert_2^2,
        \quad w_{ij} = \exp\big(-\lVert t_i - t_j \rVert_2^2 / \delta^2\big)

    where N_k(i) holds the k samples of the batch nearest to i in the teacher's space. Samples that
    are close together there are pulled together in the student's space. Nothing pushes samples
    apart, and the loss is 0 for a student that maps all samples to one point, so always add it to a
    task loss. At student = teacher it is not 0.

    Args:
        student, teacher: (batch, ...); flattened. The paper takes the layer before the last.
        neighbours: k >= 1; at most batch - 1 are used.
        bandwidth: delta > 0 in the teacher's units; if it is far too small, every weight is 0. The
            default is the root mean square distance to the neighbours in the teacher's space, so
            that the teacher's scale does not matter.

    Returns:
        A scalar in squared units of the student's features.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, an empty tensor, or wrong
            neighbours or bandwidth.

    Departures: the weights and the sum over neighbours follow a public implementation. The paper
    could not be read, so the factor 1 / (B k), k = 5 and the default of delta are not confirmed.

    >>> line = torch.tensor([[0.0], [1.0], [3.0]])
    >>> locality_preserving(line, line, neighbours=1, bandwidth=1.0)
    tensor(0.2697)
    """
    check_number(least=1, whole=True, neighbours=neighbours)
    if bandwidth is not None:
        check_number(above=0, bandwidth=bandwidth)
    check_samples(student=student, teacher=teacher)
    kept = min(neighbours, len(student) - 1)
    teacher_squares = squared_distances(rows(teacher))
    reachable = teacher_squares.detach().masked_fill(identity(teacher), math.inf)
    nearest = reachable.topk(kept, dim=1, largest=False).indices
    near = teacher_squares.gather(1, nearest)
    weights = torch.exp(-(ratio(near, near.mean()) if bandwidth is None else near / bandwidth**2))
    return (weights * squared_distances(rows(student)).gather(1, nearest)).mean()

"""GKD (Lassance et al. 2020): the similarity graph of a batch, normalised by degrees."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import cosines, identity, product, ratio, root, rows
from kdnb.losses.checks import check_number, check_samples, check_together


def similarity_graph(features: Tensor, kept: Tensor | None = None) -> Tensor:
    r"""The normalised adjacency of a batch, :math:`A = D^{-1/2} S D^{-1/2}` (Lassance 2020).

    Args:
        features: (batch, ...), at least 2 samples; flattened. S holds the cosines of all pairs,
            with 0 on the diagonal and for negative cosines, which do not occur for features after a
            ReLU.
        kept: (batch, batch) booleans; edges that are not kept are 0.

    Returns:
        (batch, batch). A sample without edges has a row of zeros.

    Raises:
        ValueError: for fewer than 2 samples, or `kept` of a wrong shape.
    """
    check_samples(features=features)
    pairs = (len(features), len(features))
    if kept is not None:
        if not isinstance(kept, Tensor) or kept.dtype != torch.bool or kept.shape != pairs:
            raise ValueError(
                f"kept must be truth values of shape {pairs}; got "
                f"{getattr(kept, 'dtype', type(kept).__name__)} "
                f"{tuple(getattr(kept, 'shape', ()))}."
            )
        check_together(features=features, kept=kept)
    similar = cosines(rows(features)).clamp_min(0)
    left_out = identity(similar) if kept is None else identity(similar) | ~kept
    similar = similar.masked_fill(left_out, 0)
    scale = root(similar.sum(1))
    scale = ratio(torch.ones_like(scale), scale)
    return scale[:, None] * similar * scale


def graph_knowledge(
    student: Tensor, teacher: Tensor, neighbours: int | None = None, power: int = 1
) -> Tensor:
    r"""Graph knowledge distillation, GKD (Lassance 2020).

    .. math:: L = \lVert A_T^p - A_S^p \rVert_F^2

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened. This is for one pair of
            layers; the authors average over the ends of three blocks, with a weight of 25.
        neighbours: the number of nearest neighbours; an edge is kept in both graphs if one of its
            samples is among the other's nearest in the teacher. None keeps all.
        power: p; above 1, paths of this length are compared.

    Returns:
        A scalar without unit; 0 where the graphs agree. It is a sum over pairs of samples.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, or options below 1.

    Departures: the paper's text was not available; graph and normalisation follow the authors' code
    (cadurosar/graph_kd). One version of that code takes the mean over pairs and compares A itself
    for every power. Its features must come from a ReLU, since roots of negative degrees would be
    NaN; here negative cosines count as 0. Its masks by class are left out.

    >>> student, teacher = torch.eye(3)[[0, 0, 1]], torch.ones(3, 2)
    >>> graph_knowledge(student, teacher)
    tensor(1.5000)
    """
    check_samples(student=student, teacher=teacher)
    check_number(least=1, whole=True, power=power)
    kept = None
    if neighbours is not None:
        check_number(least=1, whole=True, neighbours=neighbours)
        kept = _nearest(teacher, min(int(neighbours), len(teacher) - 1))
    graphs = []
    for features in (student, teacher):
        graph = made = similarity_graph(features, kept)
        for _ in range(power - 1):
            made = product(made, graph)
        graphs.append(made)
    return (graphs[0] - graphs[1]).square().sum()


def _nearest(features: Tensor, count: int) -> Tensor:
    """(batch, batch) booleans: whether one of the two is among the other's nearest by cosine."""
    similar = cosines(rows(features.detach()))
    places = similar.masked_fill(identity(similar), -torch.inf).topk(count, 1).indices
    near = torch.zeros_like(similar, dtype=torch.bool).scatter(1, places, True)
    return near | near.T

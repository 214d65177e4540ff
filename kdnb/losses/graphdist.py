"""Graph distillation between modalities (Luo et al. 2018), with learned edge weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import unit
from kdnb.losses.checks import (
    check_lists,
    check_number,
    check_samples,
    check_together,
    check_vectors,
)


def weighted_imitation(
    student: Tensor, teachers: Sequence[Tensor], edges: Tensor, prior: Tensor
) -> Tensor:
    r"""The cosine distance from every other modality, weighted by the graph (Luo 2018).

    .. math:: L = \sum_j \frac1B \sum_b (G_{bj} + c_j)\, \big(1 - \cos(s_b, t_{bj})\big)

    It is used for logits, with the authors' weight of 10, and for representations, with 1.

    Args:
        student: (batch, features) of the learning modality.
        teachers: one tensor of the same shape for each other modality; no gradient flows into them.
        edges: G, (batch, modalities), at least 0. Gradients flow into it, as in the authors' code.
            The graph can thus lower the loss by ignoring distant teachers; only the prior and its
            penalty prevent this.
        prior: c, (modalities,), at least 0.

    Returns:
        A scalar, 0 where all vectors point in the same direction.

    Raises:
        ValueError: for no teacher, wrong shapes, or an empty batch.

    Departures: none from the authors' code, which was read, with its default metric.

    >>> s, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> weighted_imitation(s, [s, far], torch.tensor([[0.5, 0.5]]), torch.tensor([0.5, 0.5]))
    tensor(1.)
    """
    check_lists(teachers=teachers)
    named = {f"teachers[{place}]": one for place, one in enumerate(teachers)}
    check_samples(1, student=student, **named, edges=edges)
    check_vectors(len(teachers), prior=prior)
    check_together(student=student, prior=prior)
    if student.ndim != 2 or any(one.shape != student.shape for one in teachers):
        shapes = ", ".join(str(tuple(one.shape)) for one in teachers)
        raise ValueError(
            f"student and teachers must be (batch, features) of one shape; got "
            f"{tuple(student.shape)} and {shapes}."
        )
    _check_edges(edges, len(teachers))
    own = unit(student)
    distances = [1 - (own * unit(one.detach())).sum(1) for one in teachers]
    return (torch.stack(distances, 1) * (edges + prior)).sum(1).mean()


def graph_prior_penalty(edges: Tensor, prior: Tensor) -> Tensor:
    r"""The penalty on the distance of a batch's mean graph from the prior (Luo 2018).

    .. math:: L = \sum_j \Big(\frac1B \sum_b G_{bj} - c_j\Big)^2

    The authors' weight is 10.

    Args:
        edges: G, (batch, modalities).
        prior: c, (modalities,).

    Returns:
        A scalar, 0 where the mean graph is the prior.

    Raises:
        ValueError: for wrong shapes.

    >>> graph_prior_penalty(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.5, 0.5]))
    tensor(0.)
    """
    check_samples(1, edges=edges)
    check_vectors(None, prior=prior)
    check_together(edges=edges, prior=prior)
    _check_edges(edges, len(prior))
    return (edges.mean(0) - prior).square().sum()


def modality_prior(weights: Tensor, temperature: float = 0.25) -> Tensor:
    r"""The prior of the graph (Luo 2018): :math:`c = \mathrm{softmax}(w / 0.25)`.

    Args:
        weights: (modalities,): the trust in each other modality. All 1 is uniform.
        temperature: above 0.

    Returns:
        (modalities,), which sum to 1.

    Raises:
        ValueError: for wrong shapes, or a temperature that is not above 0.

    >>> modality_prior(torch.ones(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    check_vectors(None, weights=weights)
    check_number(above=0, temperature=temperature)
    return (weights / temperature).softmax(0)


def _check_edges(edges: Tensor, modalities: int) -> None:
    if edges.ndim != 2 or edges.shape[1] != modalities:
        raise ValueError(
            f"edges must be (batch, {modalities}), one for each other modality; got "
            f"{tuple(edges.shape)}."
        )

"""LSP (Yang et al. 2020): how much each node of a graph resembles each of its neighbours."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdnb.losses._arithmetic import nan_from, rows
from kdnb.losses.checks import (
    Variant,
    check_arcs,
    check_choice,
    check_number,
    check_samples,
    check_variant,
)

Kernel = Literal["rbf", "linear", "polynomial", "euclidean", "laplacian"]
KERNELS = ("rbf", "linear", "polynomial", "euclidean", "laplacian")
WIDTH = 100.0  # width of the authors' kernel


def local_structure(
    features: Tensor,
    arcs: Tensor,
    kernel: Kernel = "rbf",
    bandwidth: float | None = None,
    degree: int = 2,
    offset: float = 0.0,
) -> Tensor:
    r"""The logarithm of each node's distribution over its neighbours, by similarity (Yang 2020).

    .. math:: LS_{ij} = \frac{\exp \mathrm{SIM}(h_i, h_j)}
        {\sum_{k \in N(i)} \exp \mathrm{SIM}(h_i, h_k)}, \quad j \in N(i)

    Args:
        features: (nodes, ...), flattened.
        arcs: (2, arcs) integers: nodes i in the first row, one neighbour j of each in the second.
        kernel: SIM. "rbf" is exp(-|h_i - h_j|² / (2 sigma²)), "linear" h_i·h_j, "polynomial"
            (h_i·h_j + c)^d, "euclidean" -|h_i - h_j|², and "laplacian", of the authors' code,
            exp(-|h_i - h_j|₁ / sigma), the sum of absolute differences.
        bandwidth: sigma² of "rbf", sigma of "laplacian". None takes the mean of |h_i - h_j|², or of
            |h_i - h_j|₁, over the arcs, so that the scale of a layer does not matter.
        degree, offset: d and c of "polynomial".

    Returns:
        (arcs,), each at most 0; the exponentials of a node's arcs sum to 1.

    Raises:
        ValueError: for fewer than 2 nodes, arcs to nodes that do not exist, or a wrong option.

    "rbf" and "laplacian" lie between 0 and 1, so no neighbour has more than e times the share of
    another: these distributions are nearly uniform by construction.
    """
    check_samples(features=features)
    check_arcs(arcs, features)
    check_choice(KERNELS, kernel=kernel)
    check_number(least=1, whole=True, degree=degree)
    check_number(offset=offset)
    if bandwidth is not None:
        check_number(above=0, bandwidth=bandwidth)
    nodes, (centre, neighbour) = rows(features), arcs.long()
    one, other = nodes[centre], nodes[neighbour]
    if kernel in ("linear", "polynomial"):
        scores = (one * other).sum(1)
        scores = (scores + offset) ** degree if kernel == "polynomial" else scores
    else:
        apart = one - other
        sizes = (apart.abs() if kernel == "laplacian" else apart.square()).sum(1)
        if kernel == "euclidean":
            scores = -sizes
        else:
            if bandwidth is None:
                mean = sizes.mean()
                bandwidth = mean + (mean == 0)  # all distances are 0: any width will do
            scores = torch.exp(-sizes / (bandwidth if kernel == "laplacian" else 2 * bandwidth))
    return nan_from(_log_softmax(scores, centre, len(nodes)), nodes)


def local_structure_preservation(
    student: Tensor,
    teacher: Tensor,
    arcs: Tensor,
    kernel: Kernel = "rbf",
    bandwidth: float | None = None,
    degree: int = 2,
    offset: float = 0.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""Local structure preservation, LSP (Yang 2020): the divergence of local structures.

    .. math:: L = \frac1n \sum_{i=1}^n \sum_{j \in N(i)} LS^S_{ij} \log\frac{LS^S_{ij}}{LS^T_{ij}}

    with the distributions of :func:`local_structure`. Widths of the two layers may differ. If the
    networks have different graphs, `arcs` is their union.

    Args:
        student, teacher: features (nodes, ...) of one layer of each network.
        arcs, kernel, bandwidth, degree, offset: as in :func:`local_structure`.
        variant: "authors" is KL(teacher ‖ student) with the kernel of their code, "laplacian" of
            width 100; the other options are then ignored.

    Returns:
        A scalar in nats, at least 0 up to rounding; 0 where the structures agree.

    Raises:
        ValueError: see :func:`local_structure`; also for different numbers of nodes.

    Departures: for "paper", the kernels, the direction of the divergence and the mean over nodes
    are recalled; its text was not available. The authors' code (ihollywhy/DistillGCN.PyTorch) was
    read: it has only the laplacian kernel. Whether a node is its own neighbour is left to `arcs`.
    The sign of "euclidean" is ours, so that similarity falls with distance.

    >>> student, teacher = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [2.0], [1.0]])
    >>> arcs = torch.tensor([[0, 0], [1, 2]])
    >>> local_structure_preservation(student, teacher, arcs, "euclidean")
    tensor(0.9051)
    """
    check_variant(variant)
    check_samples(student=student, teacher=teacher)
    if variant == "authors":
        kernel, bandwidth, degree, offset = "laplacian", WIDTH, 2, 0.0
    ours, theirs = (
        local_structure(one, arcs, kernel, bandwidth, degree, offset) for one in (student, teacher)
    )
    first, second = (ours, theirs) if variant == "paper" else (theirs, ours)
    return (first.exp() * (first - second)).sum() / len(student)


def _log_softmax(scores: Tensor, centre: Tensor, nodes: int) -> Tensor:
    """The log-softmax of the scores over each centre's arcs."""
    top = scores.new_full((nodes,), -torch.inf)
    top = top.scatter_reduce(0, centre, scores.detach(), "amax")
    shifted = scores - top[centre]
    lonely = torch.bincount(centre, minlength=nodes) == 0  # log 1 in place of log 0
    total = lonely.to(scores.dtype).index_add(0, centre, shifted.exp())
    return shifted - total.log()[centre]

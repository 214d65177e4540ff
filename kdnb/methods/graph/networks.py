"""Small networks on the nodes of a graph: one class, three ways of mixing neighbours.

A layer is a linear map, after which each node may aggregate its neighbours. This is one product
with a sparse matrix, so a graph convolution, GraphSAGE's mean and a perceptron differ only in the
matrix.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Graph
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.graph.checks import check_graph

Mixing = Literal["mean", "symmetric"]


def mixing_matrix(graph: Graph, kind: Mixing) -> Tensor:
    r"""The matrix with which a layer mixes neighbours, (nodes, nodes), sparse.

    Args:
        graph: nodes are their own neighbours, too: :math:`\tilde A = A + I` with degrees
            :math:`\tilde D`.
        kind: "mean" is :math:`\tilde D^{-1} \tilde A`, as GraphSAGE's aggregator "gcn" (Hamilton
            2017); "symmetric" is :math:`\tilde D^{-1/2} \tilde A \tilde D^{-1/2}` (Kipf and Welling
            2017).

    Raises:
        TypeError: for anything but a graph.
        ValueError: for a wrong kind.
    """
    check_choice(("mean", "symmetric"), kind=kind)
    check_graph(graph)
    centre, neighbour = graph.arcs
    degree = torch.bincount(centre, minlength=len(graph)).float()
    if kind == "mean":
        values = 1 / degree[centre]
    else:
        values = (degree[centre] * degree[neighbour]).rsqrt()
    size = (len(graph), len(graph))
    return torch.sparse_coo_tensor(graph.arcs, values, size, check_invariants=True).coalesce()


class NodeAnswer(NamedTuple):
    """A network's answer for every node.

    Attributes:
        logits: (nodes, classes).
        hidden: (nodes, width), after the ReLU; None for a network that is not a `NodeNetwork`.
    """

    logits: Tensor
    hidden: Tensor | None


class NodeNetwork(nn.Module):
    """Two layers with ReLU and dropout between them.

    Args:
        words, width, classes: of the input, between the layers, and of the answer.
        dropout: share of the hidden units set to 0 in training.

    Called without a mixing matrix it is a perceptron without edges; with "symmetric" it is a GCN,
    with "mean" GraphSAGE with the aggregator "gcn" and all neighbours instead of five drawn ones.
    Weights are initialised as in `torch.nn.Linear`.

    Raises:
        ValueError: for a size below 1, or a dropout that is not in [0, 1).
    """

    def __init__(self, words: int, width: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_number(least=1, whole=True, words=words, width=width, classes=classes)
        check_number(dropout=dropout)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {dropout}.")
        self.first, self.last = nn.Linear(words, width), nn.Linear(width, classes)
        self.dropout = dropout

    def forward(self, features: Tensor, mixing: Tensor | None = None) -> NodeAnswer:
        """The answer for all nodes.

        Args:
            features: (nodes, words), sparse or dense.
            mixing: from `mixing_matrix`.
        """
        inside = features @ self.first.weight.T + self.first.bias
        hidden = (inside if mixing is None else mixing @ inside).relu()
        logits = self.last(F.dropout(hidden, self.dropout, self.training))
        return NodeAnswer(logits if mixing is None else mixing @ logits, hidden)

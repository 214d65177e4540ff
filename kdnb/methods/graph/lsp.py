"""Training with LSP (Yang et al. 2020): preserve the teacher's local structures."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses import hard_loss, local_structure_preservation
from kdnb.losses.checks import Variant, check_number
from kdnb.losses.lsp import Kernel
from kdnb.methods.graph.checks import (
    check_features,
    check_finite_at,
    check_nodes_of,
    chosen,
    known_labels,
)
from kdnb.methods.graph.glnn import fit_nodes
from kdnb.methods.graph.networks import NodeAnswer, NodeNetwork
from kdnb.training import Recipe


def preserve_structure(
    student: NodeNetwork,
    features: Tensor,
    mixing: Tensor,
    labels: Tensor,
    nodes: Tensor,
    teacher_hidden: Tensor,
    arcs: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    weight: float = 1.0,
    kernel: Kernel = "rbf",
    bandwidth: float | None = None,
    degree: int = 2,
    offset: float = 0.0,
    variant: Variant = "paper",
) -> NodeNetwork:
    r"""Train on labels and on the teacher's local structures (Yang 2020).

    .. math:: L = \frac{1}{|V_L|} \sum_{i \in V_L} \mathrm{CE}(y_i, z_i) + \lambda\, \mathrm{LSP}

    Args:
        student: changed in place.
        labels, nodes: the labels of all nodes, and the nodes V_L whose labels are learnt, numbers
            or a mask.
        teacher_hidden: (all nodes, width) of the teacher.
        arcs: of the graph, `Graph.arcs`.
        features, mixing, recipe, seed: for `fit_nodes`.
        weight: lambda, at least 0.
        kernel, bandwidth, degree, offset, variant: as in `local_structure_preservation`.

    Raises:
        TypeError: for a student that is not a `NodeNetwork`.
        ValueError: for a different number of nodes, arcs to nodes that do not exist, or a wrong
            option; and as `fit_nodes`.

    Departures: the authors' code uses the term only in the first 30 of 500 epochs, on attention
    networks of two and five layers; here it stays on, and both networks have two layers.
    """
    if not isinstance(student, NodeNetwork):
        raise TypeError(
            f"student must be a NodeNetwork, whose hidden units are compared; got a {type(student).__name__}."
        )
    check_number(least=0, weight=weight)
    check_features(features)
    check_nodes_of("teacher_hidden", teacher_hidden, len(features))
    check_finite_at("teacher_hidden", teacher_hidden, "those of the teacher")
    nodes = chosen("nodes", nodes, len(features))
    known, goal = known_labels(labels, nodes, len(features)), teacher_hidden.detach()

    def apart(hidden: Tensor) -> Tensor:
        return local_structure_preservation(
            hidden, goal, arcs, kernel, bandwidth, degree, offset, variant
        )

    with torch.no_grad():
        apart(goal)  # reports wrong arcs or options before the training

    def loss(answer: NodeAnswer) -> Tensor:
        kept = apart(answer.hidden)
        return hard_loss(answer.logits[nodes], known) + weight * kept

    return fit_nodes(student, features, loss, recipe, seed, mixing)

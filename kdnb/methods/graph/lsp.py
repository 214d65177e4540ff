"""LSP as a scheme (Yang et al. 2020): a small graph network keeps its teacher's local structures."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kdnb.losses import hard_loss, local_structure_preservation
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
    **options: Any,
) -> NodeNetwork:
    r"""Train on labels, and on whom of its neighbours each node resembles in the teacher.

    .. math:: L = \frac{1}{|V_L|} \sum_{i \in V_L} \mathrm{CE}(y_i, z_i) + \lambda\, \mathrm{LSP}

    Args:
        student: changed in place.
        labels, nodes: the labels of all nodes, and the nodes V_L whose labels are learnt.
        teacher_hidden: (all nodes, width) of the teacher.
        arcs: of the graph, `Graph.arcs`.
        features, mixing, recipe, seed: of `fit_nodes`.
        weight: lambda.
        options: of `local_structure_preservation`.

    Departures: the authors' code has the term in the first 30 of 500 epochs alone, on attention
    networks of two and five layers; here it stays on, and both networks have two layers.
    """
    known, goal = labels[nodes], teacher_hidden.detach()

    def loss(answer: NodeAnswer) -> Tensor:
        kept = local_structure_preservation(answer.hidden, goal, arcs, **options)
        return hard_loss(answer.logits[nodes], known) + weight * kept

    return fit_nodes(student, features, loss, recipe, seed, mixing)

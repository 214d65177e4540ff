"""Distilling with graphs (section 5.4): graphs as data, and as what a teacher says.

`networks` are small networks on the nodes of a graph, `glnn` teaches a perceptron what a graph
network answers, and `lsp` keeps a teacher's local structures. Where the graph is the message
and its vertices are images, it is a loss of section 2.3: IRG, MHGD, GKD and the two graphs of Zhang
and Peng are functions of `kdnb.losses`.
"""

from kdnb.losses import (
    compact_bilinear,
    graph_distillation,
    graph_knowledge,
    irg_edges,
    irg_transformation,
    local_structure,
    local_structure_preservation,
    logit_graph,
    representation_graph,
    similarity_graph,
)
from kdnb.methods.graph.glnn import fit_nodes, glnn, learn_labels, node_answer, propagated_labels
from kdnb.methods.graph.lsp import preserve_structure
from kdnb.methods.graph.networks import NodeAnswer, NodeNetwork, mixing_matrix

__all__ = [
    "NodeAnswer",
    "NodeNetwork",
    "compact_bilinear",
    "fit_nodes",
    "glnn",
    "graph_distillation",
    "graph_knowledge",
    "irg_edges",
    "irg_transformation",
    "learn_labels",
    "local_structure",
    "local_structure_preservation",
    "logit_graph",
    "mixing_matrix",
    "node_answer",
    "preserve_structure",
    "propagated_labels",
    "representation_graph",
    "similarity_graph",
]

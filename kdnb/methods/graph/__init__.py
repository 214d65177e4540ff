"""Distillation with graphs (section 5.4): graphs as data, and as knowledge of the teacher.

`networks` has small networks on the nodes of a graph, `glnn` teaches a perceptron the answers of a
graph network, and `lsp` preserves a teacher's local structures. Losses in which a graph between
images is the knowledge belong to section 2.3: IRG, MHGD, GKD and the two graphs of Zhang and Peng
are functions of `kdnb.losses`.
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

"""Relation-based knowledge (section 2.3): between layers, and between samples."""

from kdnb.losses.relation.contrastive import CRD, crd
from kdnb.losses.relation.graphs import MultiHeadGraphs, feature_vectors, graph_distillation
from kdnb.losses.relation.layers import (
    fsp,
    fsp_matrix,
    inter_channel_correlation,
    irg_transformation,
    kd_svd,
)
from kdnb.losses.relation.probabilities import (
    hybrid_transfer,
    information_flow,
    probabilistic_transfer,
)
from kdnb.losses.relation.ranking import (
    all_triplets,
    darkrank,
    relative_dissimilarity,
    triplet_distillation,
)
from kdnb.losses.relation.samples import (
    correlation_congruence,
    irg_edges,
    locality_preserving,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)

__all__ = [
    "CRD",
    "MultiHeadGraphs",
    "all_triplets",
    "correlation_congruence",
    "crd",
    "darkrank",
    "feature_vectors",
    "fsp",
    "fsp_matrix",
    "graph_distillation",
    "hybrid_transfer",
    "information_flow",
    "inter_channel_correlation",
    "irg_edges",
    "irg_transformation",
    "kd_svd",
    "locality_preserving",
    "probabilistic_transfer",
    "relative_dissimilarity",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "triplet_distillation",
]

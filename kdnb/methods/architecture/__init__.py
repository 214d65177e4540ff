"""Teacher-student architecture (section 4 of the survey).

`takd` bridges the capacity gap with teacher assistants, `net2net` starts a student from its
teacher's function, `knowledge_flow` and `residual` join networks while they train, `design` makes
and compares students, `compress` prunes, shares and factorises.
"""

from kdnb.methods.architecture.compress import (
    Codebook,
    Masked,
    compressed_bytes,
    factorised,
    kept_weights,
    pruned,
    shared,
)
from kdnb.methods.architecture.design import (
    FakeQuantised,
    accuracy,
    depthwise_separable,
    fake_quantised,
    latency,
    measure,
    multiply_adds,
    parameters,
    pareto,
    shallower,
    stored_bytes,
    thinner,
)
from kdnb.methods.architecture.knowledge_flow import (
    KnowledgeFlow,
    dependence,
    learn_from_flow,
    teacher_maps,
)
from kdnb.methods.architecture.net2net import deepen, prune, widen
from kdnb.methods.architecture.residual import (
    Mimic,
    Pair,
    distil_residual,
    residual_error,
    split_widths,
)
from kdnb.methods.architecture.takd import distil_in_turn, paths

__all__ = [
    "Codebook",
    "FakeQuantised",
    "KnowledgeFlow",
    "Masked",
    "Mimic",
    "Pair",
    "accuracy",
    "compressed_bytes",
    "deepen",
    "dependence",
    "depthwise_separable",
    "distil_in_turn",
    "distil_residual",
    "factorised",
    "fake_quantised",
    "kept_weights",
    "latency",
    "learn_from_flow",
    "measure",
    "multiply_adds",
    "parameters",
    "pareto",
    "paths",
    "prune",
    "pruned",
    "residual_error",
    "shallower",
    "shared",
    "split_widths",
    "stored_bytes",
    "teacher_maps",
    "thinner",
    "widen",
]

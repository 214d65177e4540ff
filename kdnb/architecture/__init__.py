"""Teacher-student architecture (section 4 of the survey): which networks teach which.

`assistants` bridges the capacity gap, `growth` starts a student from its teacher's function, `flow`
and `residual` join networks while they train, `design` makes and compares students.
"""

from kdnb.architecture.assistants import (
    capacity_gap,
    chain,
    distil_in_turn,
    paths,
    supervised,
)
from kdnb.architecture.design import (
    FakeQuantised,
    accuracy,
    depthwise_separable,
    latency,
    measure,
    multiply_adds,
    parameters,
    pareto,
    quantised,
    shallower,
    stored_bytes,
    thinner,
)
from kdnb.architecture.flow import KnowledgeFlow, dependence, learn_from_flow, teacher_maps
from kdnb.architecture.growth import deepen, prune, widen
from kdnb.architecture.residual import (
    Mimic,
    Pair,
    distil_residual,
    residual_error,
    split_widths,
)

__all__ = [
    "FakeQuantised",
    "KnowledgeFlow",
    "Mimic",
    "Pair",
    "accuracy",
    "capacity_gap",
    "chain",
    "deepen",
    "dependence",
    "depthwise_separable",
    "distil_in_turn",
    "distil_residual",
    "latency",
    "learn_from_flow",
    "measure",
    "multiply_adds",
    "parameters",
    "pareto",
    "paths",
    "prune",
    "quantised",
    "residual_error",
    "shallower",
    "split_widths",
    "stored_bytes",
    "supervised",
    "teacher_maps",
    "thinner",
    "widen",
]

"""Why distillation works (section 8): computations for the theories in the survey's outlook.

`linear` is the exact case of Phuong and Lampert, `wide` that of infinitely wide networks (Ji and
Zhu), `partial` separates a teacher's knowledge into parts (Tang et al.), `harvest` distils a
network from its own past under wrong labels (Dong et al.), `knowledge_points` counts the places of
an image that a network keeps (Cheng et al.).
"""

from kdnb.methods.theory.harvest import blended, energy_in, leading_directions
from kdnb.methods.theory.knowledge_points import (
    knowledge_points,
    learning_speed,
    pixel_entropies,
    small_noise_entropies,
    stability,
)
from kdnb.methods.theory.linear import (
    deep_linear_student,
    hard_student,
    linear_student,
    projected,
    risk_bound,
    transfer_risk,
)
from kdnb.methods.theory.partial import class_relations, confidence_only, smoothing_only
from kdnb.methods.theory.wide import kernel_student, relu_kernel, soft_mixture

__all__ = [
    "blended",
    "class_relations",
    "confidence_only",
    "deep_linear_student",
    "energy_in",
    "hard_student",
    "kernel_student",
    "knowledge_points",
    "leading_directions",
    "learning_speed",
    "linear_student",
    "pixel_entropies",
    "projected",
    "relu_kernel",
    "risk_bound",
    "small_noise_entropies",
    "smoothing_only",
    "soft_mixture",
    "stability",
    "transfer_risk",
]

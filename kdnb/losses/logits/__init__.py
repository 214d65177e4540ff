"""Response-based losses after the survey: section 2.1's successors, from DKD (2022) to WTTM (2024).

As in :mod:`kdnb.losses.response`: logits in, float32 at least, summed over the classes, averaged
over the batch. None holds the cross-entropy with the labels: that is added by the scheme.
Gradients flow into the teacher's logits too unless they are detached.
"""

from kdnb.losses.logits.curriculum import (
    CurriculumTemperature,
    InstanceTemperature,
    curriculum_weight,
    reverse_gradient,
)
from kdnb.losses.logits.decoupled import (
    decoupled_kd,
    decoupled_terms,
    normalized_kd,
)
from kdnb.losses.logits.matching import (
    multi_level_logits,
    transformed_teacher,
)
from kdnb.losses.logits.scale_free import (
    pearson_distillation,
    standardize_logits,
    standardized_soft_targets,
)

__all__ = [
    "CurriculumTemperature",
    "InstanceTemperature",
    "curriculum_weight",
    "decoupled_kd",
    "decoupled_terms",
    "multi_level_logits",
    "normalized_kd",
    "pearson_distillation",
    "reverse_gradient",
    "standardize_logits",
    "standardized_soft_targets",
    "transformed_teacher",
]

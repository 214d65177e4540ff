"""Distillation across views and modalities (section 5.3): the teacher sees what the student never will.

`generalised` makes the targets of generalised distillation and their controls; `privileged_draws`
has the synthetic problems on which its authors show when a privileged view helps; `stacks` trains
many small networks at once.
"""

from kdnb.methods.cross_modal.generalised import (
    class_means,
    mixed_targets,
    shuffled_within,
    smoothed_like,
)
from kdnb.methods.cross_modal.privileged_draws import (
    PROBLEMS,
    Views,
    exact_logistic,
    privileged_problem,
    standardised,
)
from kdnb.methods.cross_modal.stacks import correct_of, fit_stack, glorot_stack, stack_logits

__all__ = [
    "PROBLEMS",
    "Views",
    "class_means",
    "correct_of",
    "exact_logistic",
    "fit_stack",
    "glorot_stack",
    "mixed_targets",
    "privileged_problem",
    "shuffled_within",
    "smoothed_like",
    "stack_logits",
    "standardised",
]

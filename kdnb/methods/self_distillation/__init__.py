"""Self-distillation (section 3.3): a network learns from itself.

It learns from its previous generation (`ban`, `tfkd`, `tolerant`), its deeper layers (`byot`,
`multi_exit` and
`sad`, on the networks of `exits`), its earlier weights (`snapshot`), its answers to other images of
the class (`cskd`) or to other views (`sla`, `ddgsd`), or its own idea of the labels
(`label_embedding`, `beta_smoothing`). `kernel` is an exactly solvable theory. Everything can be
imported from here.
"""

from kdnb.losses import (
    aggregated,
    class_wise,
    confidence_weighted,
    cross_entropy_with,
    equivalent_smoothing,
    gradient_decomposition,
    gradient_identity,
    joint_loss,
    mean_discrepancy,
    permuted_predictions,
    self_attention,
    softened_correct,
    spatial_attention,
    teacher_free_regularisation,
    top_score_difference,
    virtual_teacher,
    virtual_teacher_identity,
)
from kdnb.methods.self_distillation.ban import (
    born_again,
    next_generation,
)
from kdnb.methods.self_distillation.beta_smoothing import WithAverage, beta_smoothed, beta_targets
from kdnb.methods.self_distillation.byot import be_your_own_teacher, exit_terms
from kdnb.methods.self_distillation.common import PairedBatches, fresh_seed
from kdnb.methods.self_distillation.cskd import class_partners, class_wise_distil
from kdnb.methods.self_distillation.ddgsd import distorted_views
from kdnb.methods.self_distillation.exits import MultiExit, Savings, exit_costs, exit_taken, savings
from kdnb.methods.self_distillation.kernel import (
    Rounds,
    gaussian_kernel,
    guaranteed_rounds,
    kernel_rounds,
    noisy_sinusoid,
    penalty_for,
    sinusoid_errors,
    spline_kernel,
)
from kdnb.methods.self_distillation.label_embedding import embedding_distil, embedding_targets
from kdnb.methods.self_distillation.multi_exit import annealed_temperature, multi_exit_distil
from kdnb.methods.self_distillation.sad import self_attention_distil
from kdnb.methods.self_distillation.sla import JointClassifier, augmentation_distil, rotations
from kdnb.methods.self_distillation.snapshot import snapshot_distil
from kdnb.methods.self_distillation.tfkd import self_taught, virtually_taught
from kdnb.methods.self_distillation.tolerant import tolerant_teacher

__all__ = [
    "JointClassifier",
    "MultiExit",
    "PairedBatches",
    "Rounds",
    "Savings",
    "WithAverage",
    "aggregated",
    "annealed_temperature",
    "augmentation_distil",
    "be_your_own_teacher",
    "beta_smoothed",
    "beta_targets",
    "born_again",
    "class_partners",
    "class_wise",
    "class_wise_distil",
    "confidence_weighted",
    "cross_entropy_with",
    "distorted_views",
    "embedding_distil",
    "embedding_targets",
    "equivalent_smoothing",
    "exit_costs",
    "exit_taken",
    "exit_terms",
    "fresh_seed",
    "gaussian_kernel",
    "gradient_decomposition",
    "gradient_identity",
    "guaranteed_rounds",
    "joint_loss",
    "kernel_rounds",
    "mean_discrepancy",
    "multi_exit_distil",
    "next_generation",
    "noisy_sinusoid",
    "penalty_for",
    "permuted_predictions",
    "rotations",
    "savings",
    "self_attention",
    "self_attention_distil",
    "self_taught",
    "sinusoid_errors",
    "snapshot_distil",
    "softened_correct",
    "spatial_attention",
    "spline_kernel",
    "teacher_free_regularisation",
    "tolerant_teacher",
    "top_score_difference",
    "virtual_teacher",
    "virtual_teacher_identity",
    "virtually_taught",
]  # fmt: skip

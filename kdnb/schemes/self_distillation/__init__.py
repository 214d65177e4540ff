"""Self-distillation (section 3.3): a network learns from itself, as it was, is, or sees elsewhere.

From its former generation (`generations`, `dark_knowledge`, `teacher_free`), its deeper layers (`deep_supervision`,
on the networks of `exits`), its earlier weights (`snapshots`), its answers to other images of the
class (`classwise`) or to other views (`augmentation`), or its own idea of the labels
(`softened_labels`). `kernel` is the theory, exactly. Everything can be imported from here.
"""

from kdnb.schemes.self_distillation._common import PairedBatches, fresh_seed
from kdnb.schemes.self_distillation.augmentation import (
    JointClassifier,
    aggregated,
    augmentation_distil,
    distorted_views,
    joint_loss,
    mean_discrepancy,
    rotations,
)
from kdnb.schemes.self_distillation.classwise import (
    class_partners,
    class_wise,
    class_wise_distil,
)
from kdnb.schemes.self_distillation.dark_knowledge import (
    confidence_weighted,
    gradient_decomposition,
    gradient_identity,
    permuted_predictions,
)
from kdnb.schemes.self_distillation.deep_supervision import (
    annealed_temperature,
    be_your_own_teacher,
    exit_terms,
    multi_exit_distil,
    self_attention,
    self_attention_distil,
    spatial_attention,
)
from kdnb.schemes.self_distillation.exits import (
    MultiExit,
    Savings,
    exit_costs,
    exit_taken,
    savings,
)
from kdnb.schemes.self_distillation.generations import (
    Generation,
    ban_generation,
    born_again,
    ensemble_of,
    ensemble_trial,
    generation_of,
    train_generations,
)
from kdnb.schemes.self_distillation.kernel import (
    Rounds,
    gaussian_kernel,
    guaranteed_rounds,
    kernel_rounds,
    noisy_sinusoid,
    penalty_for,
    sinusoid_errors,
    spline_kernel,
)
from kdnb.schemes.self_distillation.snapshots import snapshot_distil
from kdnb.schemes.self_distillation.softened_labels import (
    WithAverage,
    beta_smoothed,
    beta_targets,
    cross_entropy_with,
    embedding_distil,
    embedding_targets,
    tolerant_teacher,
    top_score_difference,
)
from kdnb.schemes.self_distillation.teacher_free import (
    equivalent_smoothing,
    self_taught,
    softened_correct,
    teacher_free_regularisation,
    virtual_teacher,
    virtual_teacher_identity,
    virtual_teacher_trial,
    virtually_taught,
)

__all__ = [
    "Generation", "JointClassifier", "MultiExit", "PairedBatches", "Rounds", "Savings",
    "WithAverage", "aggregated", "annealed_temperature", "augmentation_distil", "ban_generation",
    "be_your_own_teacher", "beta_smoothed", "beta_targets", "born_again", "class_partners",
    "class_wise", "class_wise_distil", "confidence_weighted", "cross_entropy_with",
    "distorted_views", "embedding_distil", "embedding_targets", "ensemble_of", "ensemble_trial",
    "equivalent_smoothing", "exit_taken", "exit_terms", "fresh_seed", "gaussian_kernel",
    "generation_of", "gradient_decomposition", "gradient_identity", "guaranteed_rounds",
    "joint_loss", "kernel_rounds", "mean_discrepancy", "multi_exit_distil", "exit_costs",
    "noisy_sinusoid", "penalty_for", "permuted_predictions", "rotations",
    "savings", "self_attention", "self_attention_distil", "self_taught", "sinusoid_errors",
    "snapshot_distil", "softened_correct", "spatial_attention", "spline_kernel",
    "teacher_free_regularisation", "tolerant_teacher", "top_score_difference", "train_generations",
    "virtual_teacher", "virtual_teacher_identity", "virtual_teacher_trial", "virtually_taught",
]  # fmt: skip

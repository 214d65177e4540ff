"""Data-free distillation (section 5.6): the teacher is available, its training set is not.

`dafl`, `zskt` and `dfad` train a generator with the student, and `without_data` has one function
for them, `kdnb.data_free`; `zskd`, `deepinversion`, `cmi`, `fast` and `statistics` make images
first, which a `bank` keeps. `few_shot`, `dataset_distillation` and `data_distillation` are the
related topics of the survey: few data, small data, and unlabelled data. `synthesis` and
`generators` hold shared code, `collapse` monitors the generated images, and `belief_matching`
analyses the results of ZSKT. The losses on images are in `kdnb.losses`. Every training uses
`training.fit`.
"""

from kdnb.losses import (
    activation,
    competition,
    contrastive_diversity,
    decision_adversarial,
    discrepancy,
    information_entropy,
    matching_cross_entropy,
    one_hot,
    statistics_distance,
    total_variation,
)
from kdnb.methods.data_free.bank import Bank, BankBatches, bank_of
from kdnb.methods.data_free.belief_matching import (
    belief_matching_toy,
    mean_transition_error,
    transition_curves,
)
from kdnb.methods.data_free.cmi import (
    FeatureMemory,
    Head,
    contrastive_inversion,
    feature_count,
    instance_features,
    random_view,
)
from kdnb.methods.data_free.collapse import CollapseDetector, class_balance, diversity
from kdnb.methods.data_free.dafl import dafl
from kdnb.methods.data_free.data_distillation import (
    ensembled,
    omni_supervised,
    self_labelled,
    shifts,
)
from kdnb.methods.data_free.dataset_distillation import (
    DistilledData,
    distil_dataset,
    trained_on,
    unroll,
)
from kdnb.methods.data_free.deepinversion import batch_norm_inputs, deep_inversion, statistics_term
from kdnb.methods.data_free.dfad import dfad
from kdnb.methods.data_free.fast import fast_synthesis
from kdnb.methods.data_free.few_shot import mixed_examples, pseudo_examples
from kdnb.methods.data_free.generators import Generator, generate
from kdnb.methods.data_free.statistics import (
    LayerRecord,
    principal_directions,
    reconstruct,
    record,
    sample_activations,
    share_outside,
)
from kdnb.methods.data_free.synthesis import NoiseBatches, optimise_pixels, pixel_bounds
from kdnb.methods.data_free.without_data import data_free
from kdnb.methods.data_free.zskd import (
    class_similarity,
    concentrations,
    data_impressions,
    dirichlet_targets,
)
from kdnb.methods.data_free.zskt import zskt

__all__ = [
    "Bank",
    "BankBatches",
    "CollapseDetector",
    "DistilledData",
    "FeatureMemory",
    "Generator",
    "Head",
    "LayerRecord",
    "NoiseBatches",
    "activation",
    "bank_of",
    "batch_norm_inputs",
    "belief_matching_toy",
    "class_balance",
    "class_similarity",
    "competition",
    "concentrations",
    "contrastive_diversity",
    "contrastive_inversion",
    "dafl",
    "data_free",
    "data_impressions",
    "decision_adversarial",
    "deep_inversion",
    "dfad",
    "dirichlet_targets",
    "discrepancy",
    "distil_dataset",
    "diversity",
    "ensembled",
    "fast_synthesis",
    "feature_count",
    "generate",
    "information_entropy",
    "instance_features",
    "matching_cross_entropy",
    "mean_transition_error",
    "mixed_examples",
    "omni_supervised",
    "one_hot",
    "optimise_pixels",
    "pixel_bounds",
    "principal_directions",
    "pseudo_examples",
    "random_view",
    "reconstruct",
    "record",
    "sample_activations",
    "self_labelled",
    "share_outside",
    "shifts",
    "statistics_distance",
    "statistics_term",
    "total_variation",
    "trained_on",
    "transition_curves",
    "unroll",
    "zskt",
]

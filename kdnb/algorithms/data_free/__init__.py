"""Distilling without the data (section 5.6): the teacher is there, its training set is not.

`dafl` and the games of `adversarial_generation` train a generator beside the student;
`impressions`, `inversion`, `contrastive` (CMI), `meta_synthesis` and `statistics` make a `bank` of
images first. `few_shot`, `dataset_distillation` and `ensembles` are what the survey puts beside
them: few data, small data, and unlabelled data. `losses` and `priors` are what is asked of an
image, `collapse` watches what is made; `trials` are runs memoised on disk. Every training is
`training.fit`.
"""

from kdnb.algorithms.data_free.adversarial_generation import dfad, zskt
from kdnb.algorithms.data_free.bank import Bank, BankBatches, bank_of
from kdnb.algorithms.data_free.bank_trials import (
    bank_in,
    banked_trial,
    dataset_distillation_trial,
    impressions_trial,
    inversion_trial,
    noise_trial,
)
from kdnb.algorithms.data_free.belief_matching import (
    belief_matching_toy,
    mean_transition_error,
    transition_curves,
)
from kdnb.algorithms.data_free.collapse import CollapseDetector, class_balance, diversity
from kdnb.algorithms.data_free.contrastive import (
    FeatureMemory,
    Head,
    contrastive_inversion,
    feature_count,
    instance_features,
    random_view,
)
from kdnb.algorithms.data_free.dafl import dafl
from kdnb.algorithms.data_free.dataset_distillation import (
    DistilledData,
    distil_dataset,
    trained_on,
    unroll,
)
from kdnb.algorithms.data_free.ensembles import (
    ensembled,
    omni_supervised,
    self_labelled,
    shifts,
)
from kdnb.algorithms.data_free.few_shot import mixed_examples, pseudo_examples
from kdnb.algorithms.data_free.generators import Generator, generate
from kdnb.algorithms.data_free.impressions import (
    class_similarity,
    concentrations,
    data_impressions,
    dirichlet_targets,
    matching_cross_entropy,
)
from kdnb.algorithms.data_free.inversion import (
    batch_norm_inputs,
    deep_inversion,
    statistics_term,
)
from kdnb.algorithms.data_free.losses import (
    activation,
    competition,
    contrastive_diversity,
    decision_adversarial,
    discrepancy,
    information_entropy,
    one_hot,
)
from kdnb.algorithms.data_free.maker_trials import (
    contrastive_trial,
    fast_trial,
    omni_trial,
    pseudo_trial,
    statistics_trial,
)
from kdnb.algorithms.data_free.meta_synthesis import fast_synthesis
from kdnb.algorithms.data_free.priors import statistics_distance, total_variation
from kdnb.algorithms.data_free.statistics import (
    LayerRecord,
    reconstruct,
    record,
    sample_activations,
    spectral_basis,
    spectral_loss,
)
from kdnb.algorithms.data_free.synthesis import NoiseBatches, optimise_pixels, pixel_bounds
from kdnb.algorithms.data_free.trials import adversarial_trial, dafl_trial, isolated

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
    "adversarial_trial",
    "bank_in",
    "bank_of",
    "banked_trial",
    "batch_norm_inputs",
    "belief_matching_toy",
    "class_balance",
    "class_similarity",
    "competition",
    "concentrations",
    "contrastive_diversity",
    "contrastive_inversion",
    "contrastive_trial",
    "dafl",
    "dafl_trial",
    "data_impressions",
    "dataset_distillation_trial",
    "decision_adversarial",
    "deep_inversion",
    "dfad",
    "dirichlet_targets",
    "discrepancy",
    "distil_dataset",
    "diversity",
    "ensembled",
    "fast_synthesis",
    "fast_trial",
    "feature_count",
    "generate",
    "impressions_trial",
    "information_entropy",
    "instance_features",
    "inversion_trial",
    "isolated",
    "matching_cross_entropy",
    "mean_transition_error",
    "mixed_examples",
    "noise_trial",
    "omni_supervised",
    "omni_trial",
    "one_hot",
    "optimise_pixels",
    "pixel_bounds",
    "pseudo_examples",
    "pseudo_trial",
    "random_view",
    "reconstruct",
    "record",
    "sample_activations",
    "self_labelled",
    "shifts",
    "spectral_basis",
    "spectral_loss",
    "statistics_distance",
    "statistics_term",
    "statistics_trial",
    "total_variation",
    "trained_on",
    "transition_curves",
    "unroll",
    "zskt",
]

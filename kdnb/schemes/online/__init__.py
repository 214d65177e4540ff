"""Online distillation (section 3.2): teacher and student, or many students, train together.

Every method takes networks, examples and a recipe, and trains by `training.fit`. `mutual` is deep
mutual learning; `adversarial` and `divergent` add critics; `branches`, `diverse`, `fusion` and
`rocket` are networks with several heads; `consistency` is teaching by one's own past;
`codistillation` runs in several processes.
"""

from kdnb.schemes.online._common import ramp_up
from kdnb.schemes.online.adversarial import (
    Discriminator,
    Transfer,
    adversarial_maps,
    fooling_loss,
    judging_loss,
)
from kdnb.schemes.online.branches import Branched, Branches, Gate, GatedBranches, gated, one
from kdnb.schemes.online.codistillation import StalePeer, codistil, publish
from kdnb.schemes.online.collaborative import (
    general_weights,
    kdcl,
    linear_target,
    min_logit_target,
    naive_target,
)
from kdnb.schemes.online.consistency import (
    BestSoFar,
    MeanTeacher,
    TemporalEnsemble,
    consistency_cost,
    from_checkpoints,
    labelled_cross_entropy,
    mean_teacher,
    temporal_ensembling,
)
from kdnb.schemes.online.divergent import DivergentExamples, adversarial_codistillation
from kdnb.schemes.online.diverse import PeerAttention, leaders_target, okddip, own_targets
from kdnb.schemes.online.fusion import (
    ConcatenatedTeacher,
    FeatureFusion,
    cheap_convolutions,
    cheap_online,
    feature_fusion,
)
from kdnb.schemes.online.joint import Remembering, multiple_knowledge
from kdnb.schemes.online.launching import rocket, rocket_hint
from kdnb.schemes.online.measures import (
    churn,
    ensemble_errors,
    ensemble_log_probabilities,
    loss_rise,
    posterior_entropy,
)
from kdnb.schemes.online.mutual_learning import mutual, mutual_loss
from kdnb.schemes.online.trials import mutual_trial, peer_of, peer_seed

__all__ = [
    "BestSoFar",
    "Branched",
    "Branches",
    "ConcatenatedTeacher",
    "Discriminator",
    "DivergentExamples",
    "FeatureFusion",
    "Gate",
    "GatedBranches",
    "MeanTeacher",
    "PeerAttention",
    "Remembering",
    "StalePeer",
    "TemporalEnsemble",
    "Transfer",
    "adversarial_codistillation",
    "adversarial_maps",
    "cheap_convolutions",
    "cheap_online",
    "churn",
    "codistil",
    "consistency_cost",
    "ensemble_errors",
    "ensemble_log_probabilities",
    "feature_fusion",
    "fooling_loss",
    "from_checkpoints",
    "gated",
    "general_weights",
    "judging_loss",
    "kdcl",
    "labelled_cross_entropy",
    "leaders_target",
    "linear_target",
    "loss_rise",
    "mean_teacher",
    "min_logit_target",
    "multiple_knowledge",
    "mutual",
    "mutual_loss",
    "mutual_trial",
    "naive_target",
    "okddip",
    "one",
    "own_targets",
    "peer_of",
    "peer_seed",
    "posterior_entropy",
    "publish",
    "ramp_up",
    "rocket",
    "rocket_hint",
    "temporal_ensembling",
]

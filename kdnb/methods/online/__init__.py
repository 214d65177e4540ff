"""Online distillation (section 3.2): teacher and student, or many students, train together.

Every method takes networks, examples and a recipe, and trains by `training.fit`. `dml` is deep
mutual learning and `kdcl` makes one target of all students; `afd` and `divergent` add critics;
`one`, `okddip`, `ffl` and `rocket` train networks with several heads (`branches`), and `cheap`
trains a cheap copy together with the original. In `temporal_ensembling`, `mean_teacher`,
`best_so_far` and `mkt` a network's own past teaches. `codistillation` runs in several processes,
and `measures` evaluates the methods.
"""

from kdnb.losses import (
    consistency_cost,
    ensemble_log_probabilities,
    labelled_cross_entropy,
    mutual_loss,
    rocket_hint,
)
from kdnb.methods.online.afd import (
    Discriminator,
    Transfer,
    adversarial_maps,
    map_fooling_loss,
    map_judging_loss,
)
from kdnb.methods.online.best_so_far import BestSoFar, from_checkpoints
from kdnb.methods.online.branches import Branched, Branches
from kdnb.methods.online.cheap import cheap_convolutions, cheap_online
from kdnb.methods.online.codistillation import StalePeer, codistil, publish
from kdnb.methods.online.common import ramp_up
from kdnb.methods.online.divergent import DivergentExamples, adversarial_codistillation
from kdnb.methods.online.dml import mutual
from kdnb.methods.online.ffl import ConcatenatedTeacher, FeatureFusion, feature_fusion
from kdnb.methods.online.kdcl import (
    general_weights,
    kdcl,
    linear_target,
    min_logit_target,
    naive_target,
)
from kdnb.methods.online.mean_teacher import MeanTeacher, mean_teacher
from kdnb.methods.online.measures import churn, ensemble_errors, loss_rise, posterior_entropy
from kdnb.methods.online.mkt import Remembering, multiple_knowledge
from kdnb.methods.online.okddip import PeerAttention, leaders_target, okddip, own_targets
from kdnb.methods.online.one import Gate, GatedBranches, gated, one
from kdnb.methods.online.rocket import rocket
from kdnb.methods.online.temporal_ensembling import TemporalEnsemble, temporal_ensembling

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
    "from_checkpoints",
    "gated",
    "general_weights",
    "kdcl",
    "labelled_cross_entropy",
    "leaders_target",
    "linear_target",
    "loss_rise",
    "map_fooling_loss",
    "map_judging_loss",
    "mean_teacher",
    "min_logit_target",
    "multiple_knowledge",
    "mutual",
    "mutual_loss",
    "naive_target",
    "okddip",
    "one",
    "own_targets",
    "posterior_entropy",
    "publish",
    "ramp_up",
    "rocket",
    "rocket_hint",
    "temporal_ensembling",
]

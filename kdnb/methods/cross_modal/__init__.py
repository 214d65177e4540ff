"""Distillation across views and modalities (section 5.3).

The teacher sees a view that the student never gets. `views` makes views and assigns them to
networks, so that every method of the package works across views. `generalised` and `speech` are
learning with privileged information, `ranktransfer` is
its form for rankings; `supervision` teaches a modality without labels; `hallucination` and `admd`
imitate a modality that is missing at test; `graphdist` learns which modality teaches; in
`crossaction` students learn together. `privileged_draws` has the synthetic problems on which
Lopez-Paz et al. show when a privileged view helps, and `stacks` trains many small networks at once.
"""

from kdnb.losses import (
    generalised_distillation,
    graph_prior_penalty,
    hallucination_loss,
    modality_fooling_loss,
    modality_judging_loss,
    modality_prior,
    weighted_imitation,
)
from kdnb.methods.cross_modal.admd import admd
from kdnb.methods.cross_modal.crossaction import cross_action, decisions
from kdnb.methods.cross_modal.generalised import (
    class_means,
    mixed_targets,
    shuffled_within,
    smoothed_like,
)
from kdnb.methods.cross_modal.graphdist import ModalityGraph, distil_by_graph
from kdnb.methods.cross_modal.hallucination import hallucinate
from kdnb.methods.cross_modal.privileged_draws import (
    PROBLEMS,
    Views,
    exact_logistic,
    privileged_problem,
    standardised,
)
from kdnb.methods.cross_modal.ranktransfer import (
    Ranking,
    ordered_pairs,
    ordered_rightly,
    rank_transfer,
    ranking_svm,
    ranking_svm_plus,
)
from kdnb.methods.cross_modal.speech import distil_privileged
from kdnb.methods.cross_modal.stacks import correct_of, fit_stack, glorot_stack, stack_logits
from kdnb.methods.cross_modal.supervision import transfer_supervision
from kdnb.methods.cross_modal.views import Seeing, Streams, halves, narrow_band, noisy_at, view_of

__all__ = [
    "PROBLEMS", "ModalityGraph", "Ranking", "Seeing", "Streams", "Views", "admd", "class_means",
    "correct_of", "cross_action", "decisions", "distil_by_graph", "distil_privileged",
    "exact_logistic", "fit_stack", "generalised_distillation", "glorot_stack", "graph_prior_penalty",
    "hallucinate", "hallucination_loss", "halves", "mixed_targets", "modality_fooling_loss",
    "modality_judging_loss", "modality_prior", "narrow_band", "noisy_at", "ordered_pairs",
    "ordered_rightly", "privileged_problem", "rank_transfer", "ranking_svm", "ranking_svm_plus", "shuffled_within",
    "smoothed_like", "stack_logits", "standardised", "transfer_supervision", "view_of",
    "weighted_imitation",
]  # fmt: skip

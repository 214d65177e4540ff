"""All losses, one file per method, under their usual names. They need nothing but torch.

A loss is a pure function of tensors, or a module if it has parameters of its own. Import any of
them from here: ``from kdnb.losses import soft_targets``. Every loss computes in float32 or wider,
accepts half precision and autocast, states its reduction in its docstring, returns NaN for NaN
input, and rejects wrong input with a one-sentence error (:mod:`kdnb.losses.checks`). Gradients flow
into the teacher's tensors too unless they are detached or the docstring says otherwise.

Section 2.1 of the survey (response) is ``kd`` and its successors, 2.2 (feature) ``fitnets``,
``at``, ``nst`` and related losses, and 2.3 (relation) ``fsp``, ``rkd``, ``crd`` and related losses.
The losses for online, self-, adversarial, data-free and multi-teacher distillation have files of
the same names as their methods in :mod:`kdnb.methods`, which describes how the networks are
combined.
"""

from kdnb.losses.ab import activation_boundary, depth_weights
from kdnb.losses.adain import channel_statistics, feature_statistics, restyle
from kdnb.losses.admd import modality_fooling_loss, modality_judging_loss
from kdnb.losses.aekd import adaptive_ensemble, adaptive_weights, min_norm_weights
from kdnb.losses.alpkd import layer_projection
from kdnb.losses.apprentice import apprenticeship
from kdnb.losses.at import attention_map, attention_transfer
from kdnb.losses.ban import (
    confidence_weighted,
    gradient_decomposition,
    gradient_identity,
    permuted_predictions,
)
from kdnb.losses.bincf import binary_codes, pair_distillation
from kdnb.losses.bounded import bounded_regression, weighted_soft_targets
from kdnb.losses.camkd import certainty_weights, confidence_weights
from kdnb.losses.catkd import class_activation_maps, class_attention
from kdnb.losses.cc import correlation_congruence
from kdnb.losses.cd import channel_distillation, early_decay, guided_targets
from kdnb.losses.cfl import common_feature_discrepancy
from kdnb.losses.cmi import contrastive_diversity, decision_adversarial
from kdnb.losses.conditional import logit_distance
from kdnb.losses.coteaching import coteaching, kept_share, small_losses
from kdnb.losses.crd import CRD, crd
from kdnb.losses.cross_entropy import cross_entropy_with, hard_loss, label_smoothing
from kdnb.losses.cskd import class_wise
from kdnb.losses.ctkd import (
    CurriculumTemperature,
    InstanceTemperature,
    curriculum_weight,
    reverse_gradient,
)
from kdnb.losses.custom import least_ambiguous, unit_filters
from kdnb.losses.cwd import channel_wise
from kdnb.losses.dafl import activation, information_entropy, one_hot
from kdnb.losses.darkrank import darkrank
from kdnb.losses.ddgsd import mean_discrepancy
from kdnb.losses.deepinversion import competition, statistics_distance, total_variation
from kdnb.losses.dfad import discrepancy
from kdnb.losses.dist import pearson_distillation
from kdnb.losses.distilbert import state_directions
from kdnb.losses.divergences import jensen_shannon, reverse_kl
from kdnb.losses.dkd import decoupled_kd, decoupled_terms
from kdnb.losses.dml import mutual_loss
from kdnb.losses.dna import block_distillation, relative_block_error
from kdnb.losses.ensemble import ensemble_log_probabilities
from kdnb.losses.ewc import elastic_penalty
from kdnb.losses.fitnets import hint
from kdnb.losses.frame_level import frame_distillation
from kdnb.losses.fsp import fsp, fsp_matrix
from kdnb.losses.ft import Paraphraser, Translator, factor_transfer, paraphrase_reconstruction
from kdnb.losses.gan import confused_judging_loss, fooling_loss, judging_loss
from kdnb.losses.generalised import generalised_distillation
from kdnb.losses.gkd import graph_knowledge, similarity_graph
from kdnb.losses.global_distillation import (
    confidence_penalty,
    joined_distillation,
    joined_probabilities,
    separate_distillation,
)
from kdnb.losses.graphdist import graph_prior_penalty, modality_prior, weighted_imitation
from kdnb.losses.graphvideo import compact_bilinear, logit_graph, representation_graph
from kdnb.losses.guided_ctc import spike_guidance
from kdnb.losses.hallucination import hallucination_loss
from kdnb.losses.icarl import icarl_loss
from kdnb.losses.ickd import inter_channel_correlation
from kdnb.losses.ifm import information_flow
from kdnb.losses.internal import internal_representation, sentence_direction
from kdnb.losses.irg import irg_edges, irg_transformation
from kdnb.losses.jacobian import gradient_attention, jacobian_matching
from kdnb.losses.ji2021 import LayerAttention, attended_matching
from kdnb.losses.kd import soft_targets
from kdnb.losses.kdsvd import kd_svd
from kdnb.losses.kr import parameter_distribution, parameter_histogram
from kdnb.losses.lifelong_gan import generator_distillation, standard_normal_divergence
from kdnb.losses.listmle import listmle
from kdnb.losses.listnet import listnet
from kdnb.losses.logit_regression import logit_regression
from kdnb.losses.lp import locality_preserving
from kdnb.losses.lskd import standardize_logits, standardized_soft_targets
from kdnb.losses.lsp import local_structure, local_structure_preservation
from kdnb.losses.lwf import learning_without_forgetting
from kdnb.losses.mean_teacher import consistency_cost, labelled_cross_entropy
from kdnb.losses.mhgd import MultiHeadGraphs, feature_vectors, graph_distillation
from kdnb.losses.minillm import minillm
from kdnb.losses.minilm import (
    attention_scores,
    deep_self_attention,
    multi_head_relations,
    relation_divergence,
)
from kdnb.losses.mlkd import multi_level_logits
from kdnb.losses.n2n import compression_reward, policy_gradient
from kdnb.losses.nkd import normalized_kd
from kdnb.losses.noisy_labels import best_label_share, mixed_labels, noisy_label_distillation
from kdnb.losses.noisy_teachers import noisy_logits
from kdnb.losses.nst import neuron_selectivity
from kdnb.losses.ofd import overhaul, overhaul_margin
from kdnb.losses.oracle import oracle_weights
from kdnb.losses.pfd import privileged_features
from kdnb.losses.pkd import patient
from kdnb.losses.pkt import hybrid_transfer, probabilistic_transfer
from kdnb.losses.qm import quantization_mimic
from kdnb.losses.rd import ranking_distillation
from kdnb.losses.reid import log_euclidean, similarities
from kdnb.losses.reviewkd import AttentionFusion, ReviewFusion, hierarchical_context
from kdnb.losses.rkd import rkd_angle, rkd_distance
from kdnb.losses.rocket import rocket_hint
from kdnb.losses.rules import RuleAttention, rule_teacher
from kdnb.losses.sad import self_attention, spatial_attention
from kdnb.losses.semckd import SemanticCalibration, semantic_calibration
from kdnb.losses.sequence_level import ctc_log_probability, sequence_distillation
from kdnb.losses.simkd import ReusedClassifierProjector, reused_classifier
from kdnb.losses.skd import pair_wise, pixel_wise
from kdnb.losses.sla import aggregated, joint_loss
from kdnb.losses.sp import similarity_preserving
from kdnb.losses.speq import cosine_targets
from kdnb.losses.tan2019 import top_cross_entropy
from kdnb.losses.tfkd import (
    equivalent_smoothing,
    softened_correct,
    teacher_free_regularisation,
    virtual_teacher,
    virtual_teacher_identity,
)
from kdnb.losses.tgsa import dissimilarity_matrix, representation_similarity
from kdnb.losses.tinybert import attention_matrices, hidden_states, uniform_layers
from kdnb.losses.token_divergence import token_divergence, token_divergences
from kdnb.losses.tolerant import top_score_difference
from kdnb.losses.triplet import all_triplets, drawn_triplets, triplet_distillation
from kdnb.losses.ttm import transformed_teacher
from kdnb.losses.uhc import (
    connected_classes,
    cross_entropy_estimate,
    factorised_estimate,
    log_space_estimate,
    mean_of_those_that_know,
    mean_raw_logits,
    most_confident_classifier,
    restricted_cross_entropy,
    zero_padded_mean,
)
from kdnb.losses.uninformed import anomaly_maps, descriptor_regression, standardised
from kdnb.losses.vid import VariationalRegressor, variational_information
from kdnb.losses.wavenet import density_distillation
from kdnb.losses.width import gate_penalty
from kdnb.losses.you2017 import relative_dissimilarity
from kdnb.losses.zskd import matching_cross_entropy

__all__ = [
    "CRD",
    "AttentionFusion",
    "CurriculumTemperature",
    "InstanceTemperature",
    "LayerAttention",
    "MultiHeadGraphs",
    "Paraphraser",
    "ReusedClassifierProjector",
    "ReviewFusion",
    "RuleAttention",
    "SemanticCalibration",
    "Translator",
    "VariationalRegressor",
    "activation",
    "activation_boundary",
    "adaptive_ensemble",
    "adaptive_weights",
    "aggregated",
    "all_triplets",
    "anomaly_maps",
    "apprenticeship",
    "attended_matching",
    "attention_map",
    "attention_matrices",
    "attention_scores",
    "attention_transfer",
    "best_label_share",
    "binary_codes",
    "block_distillation",
    "bounded_regression",
    "certainty_weights",
    "channel_distillation",
    "channel_statistics",
    "channel_wise",
    "class_activation_maps",
    "class_attention",
    "class_wise",
    "common_feature_discrepancy",
    "compact_bilinear",
    "competition",
    "compression_reward",
    "confidence_penalty",
    "confidence_weighted",
    "confidence_weights",
    "confused_judging_loss",
    "connected_classes",
    "consistency_cost",
    "contrastive_diversity",
    "correlation_congruence",
    "cosine_targets",
    "coteaching",
    "crd",
    "cross_entropy_estimate",
    "cross_entropy_with",
    "ctc_log_probability",
    "curriculum_weight",
    "darkrank",
    "decision_adversarial",
    "decoupled_kd",
    "decoupled_terms",
    "deep_self_attention",
    "density_distillation",
    "depth_weights",
    "descriptor_regression",
    "discrepancy",
    "dissimilarity_matrix",
    "drawn_triplets",
    "early_decay",
    "elastic_penalty",
    "ensemble_log_probabilities",
    "equivalent_smoothing",
    "factor_transfer",
    "factorised_estimate",
    "feature_statistics",
    "feature_vectors",
    "fooling_loss",
    "frame_distillation",
    "fsp",
    "fsp_matrix",
    "gate_penalty",
    "generalised_distillation",
    "generator_distillation",
    "gradient_attention",
    "gradient_decomposition",
    "gradient_identity",
    "graph_distillation",
    "graph_knowledge",
    "graph_prior_penalty",
    "guided_targets",
    "hallucination_loss",
    "hard_loss",
    "hidden_states",
    "hierarchical_context",
    "hint",
    "hybrid_transfer",
    "icarl_loss",
    "information_entropy",
    "information_flow",
    "inter_channel_correlation",
    "internal_representation",
    "irg_edges",
    "irg_transformation",
    "jacobian_matching",
    "jensen_shannon",
    "joined_distillation",
    "joined_probabilities",
    "joint_loss",
    "judging_loss",
    "kd_svd",
    "kept_share",
    "label_smoothing",
    "labelled_cross_entropy",
    "layer_projection",
    "learning_without_forgetting",
    "least_ambiguous",
    "listmle",
    "listnet",
    "local_structure",
    "local_structure_preservation",
    "locality_preserving",
    "log_euclidean",
    "log_space_estimate",
    "logit_distance",
    "logit_graph",
    "logit_regression",
    "matching_cross_entropy",
    "mean_discrepancy",
    "mean_of_those_that_know",
    "mean_raw_logits",
    "min_norm_weights",
    "minillm",
    "mixed_labels",
    "modality_fooling_loss",
    "modality_judging_loss",
    "modality_prior",
    "most_confident_classifier",
    "multi_head_relations",
    "multi_level_logits",
    "mutual_loss",
    "neuron_selectivity",
    "noisy_label_distillation",
    "noisy_logits",
    "normalized_kd",
    "one_hot",
    "oracle_weights",
    "overhaul",
    "overhaul_margin",
    "pair_distillation",
    "pair_wise",
    "parameter_distribution",
    "parameter_histogram",
    "paraphrase_reconstruction",
    "patient",
    "pearson_distillation",
    "permuted_predictions",
    "pixel_wise",
    "policy_gradient",
    "privileged_features",
    "probabilistic_transfer",
    "quantization_mimic",
    "ranking_distillation",
    "relation_divergence",
    "relative_block_error",
    "relative_dissimilarity",
    "representation_graph",
    "representation_similarity",
    "restricted_cross_entropy",
    "restyle",
    "reused_classifier",
    "reverse_gradient",
    "reverse_kl",
    "rkd_angle",
    "rkd_distance",
    "rocket_hint",
    "rule_teacher",
    "self_attention",
    "semantic_calibration",
    "sentence_direction",
    "separate_distillation",
    "sequence_distillation",
    "similarities",
    "similarity_graph",
    "similarity_preserving",
    "small_losses",
    "soft_targets",
    "softened_correct",
    "spatial_attention",
    "spike_guidance",
    "standard_normal_divergence",
    "standardised",
    "standardize_logits",
    "standardized_soft_targets",
    "state_directions",
    "statistics_distance",
    "teacher_free_regularisation",
    "token_divergence",
    "token_divergences",
    "top_cross_entropy",
    "top_score_difference",
    "total_variation",
    "transformed_teacher",
    "triplet_distillation",
    "uniform_layers",
    "unit_filters",
    "variational_information",
    "virtual_teacher",
    "virtual_teacher_identity",
    "weighted_imitation",
    "weighted_soft_targets",
    "zero_padded_mean",
]

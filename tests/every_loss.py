"""Every loss as a function of two tensors, for the properties that all of them share.

A name begins with the file of the loss; what follows tells its variant. `FREE` says what a loss
does not see, `MATCHING` which are 0 where the student equals its teacher.
"""

from __future__ import annotations

import torch
from draws import labels_of

from kdnb import losses

ARCS = torch.tensor([[0, 0, 1, 2, 3, 4, 4], [1, 0, 2, 4, 4, 0, 3]])
PRESENT = torch.tensor([[True, True, True, False], [True, True, False, False]])  # no padding
OURS = THEIRS = torch.ones(2, 4, 4)  # of norm 2, so that their cosine is 1 exactly
DRAWN = torch.tensor([[1, 4, 0, 2], [3, 0, 1, 0]])
TRIPLETS = torch.tensor([[0, 1, 2], [3, 0, 4], [2, 4, 1], [1, 2, 0]])
EVEN = torch.full((5, 3), 2.0)  # of the importances of weights


def probabilities(logits):
    """The softmax in the precision of the logits, computed in float32 at least."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.softmax(1).to(logits.dtype)


def weighed(logits, weights):
    return losses.ensemble_log_probabilities(logits, weights)


def halves(logits):
    """Two classifiers that share the class in the middle, and which classes they know."""
    middle, classes = logits.shape[1] // 2, logits.shape[1]
    parts = [list(range(middle + 1)), list(range(middle, classes))]
    return [logits[:, part] for part in parts], parts


def rows_of(samples):
    """As many frames as there are rows, for a batch of one sequence."""
    return torch.tensor([len(samples)])


def below_last(logits):
    """Labels of all classes but the last, which is that of made-up features."""
    return torch.arange(len(logits)) % (logits.shape[1] - 1)


LOGITS = {  # (batch, classes) of student and teacher, at T = 3 where they take one
    "kd": lambda s, t: losses.soft_targets(s, t, 3.0),
    "logit_regression": losses.logit_regression,
    "cskd": lambda s, t: losses.class_wise(s, t, 3.0),
    "dml": lambda s, t: losses.mutual_loss(s, [t, -t], "peers", 3.0),
    "dml ensemble": lambda s, t: losses.mutual_loss(s, [t, -t], "ensemble", 3.0),
    "dml mean": lambda s, t: losses.mutual_loss(s, [t, t / 2], "mean_logits", 3.0),
    "dist": lambda s, t: losses.pearson_distillation(s, t, 3.0),
    "dist authors": lambda s, t: losses.pearson_distillation(s, t, 3.0, variant="authors"),
    "lskd": lambda s, t: losses.standardized_soft_targets(s, t, 3.0),
    "lskd authors": lambda s, t: losses.standardized_soft_targets(s, t, 3.0, "authors"),
    "mlkd": losses.multi_level_logits,
    "mlkd authors": lambda s, t: losses.multi_level_logits(s, t, variant="authors"),
    "ttm": lambda s, t: losses.transformed_teacher(s, t, 3.0, weighted=False),
    "ttm weighted": lambda s, t: losses.transformed_teacher(s, t, 3.0),
    "divergences reverse": lambda s, t: losses.reverse_kl(s, t, 3.0),
    "divergences shannon": lambda s, t: losses.jensen_shannon(s, t, 0.3, 3.0),
    "lwf": lambda s, t: losses.learning_without_forgetting(s, t, 3.0),
    "generalised": lambda s, t: losses.generalised_distillation(s, t, labels_of(s), 0.3, 3.0),
    "coteaching": lambda s, t: sum(losses.coteaching(s, t, labels_of(s), 0.5)),
    "coteaching authors": lambda s, t: sum(losses.coteaching(s, t, labels_of(s), 0.8, "authors")),
    "noisy_labels": lambda s, t: losses.noisy_label_distillation(s, labels_of(s), t, 0.3, 3.0),
    "generalised authors": lambda s, t: losses.generalised_distillation(
        s, t, labels_of(s), 0.3, 3.0, "authors"
    ),
    "apprentice": lambda s, t: losses.apprenticeship(s, t, labels_of(s)),
    "speq": lambda s, t: losses.cosine_targets(s, t, 3.0),
    "admd": lambda s, t: losses.modality_judging_loss(s, t, below_last(s)),
    "dkd": lambda s, t: losses.decoupled_kd(s, t, labels_of(s), 3.0),
    "nkd": lambda s, t: losses.normalized_kd(s, t, labels_of(s), 3.0),
    "ban": lambda s, t: losses.confidence_weighted(s, t, labels_of(s)),
    "rocket": losses.rocket_hint,
    "conditional": losses.logit_distance,
    "dfad": losses.discrepancy,
    "cmi adversarial": losses.decision_adversarial,
    "deepinversion competition": losses.competition,
    "ensemble": lambda s, t: -losses.ensemble_log_probabilities([s, t])[:, 0].mean(),
    "ensemble weighted": lambda s, t: losses.soft_targets(
        s, losses.ensemble_log_probabilities([t, -t], torch.tensor([0.3, 0.7])), 3.0
    ),
    "ensemble geometric": lambda s, t: losses.soft_targets(
        s, losses.ensemble_log_probabilities([t, t / 2], mean="geometric"), 3.0
    ),
    "oracle": lambda s, t: losses.soft_targets(
        s, weighed([t, t.flip(1)], losses.oracle_weights([t, t.flip(1)], labels_of(s))), 3.0
    ),
    "camkd": lambda s, t: losses.soft_targets(
        s, weighed([t, -t], losses.confidence_weights([t, -t], labels_of(s))), 3.0
    ),
    "camkd certainty": lambda s, t: losses.soft_targets(
        s, weighed([t, t / 3], losses.certainty_weights([t, t / 3])), 3.0
    ),
    "aekd": lambda s, t: losses.adaptive_ensemble(s, [t, -t], 3.0, 0.9),
    "aekd normalised": lambda s, t: losses.adaptive_ensemble(s, [t, t / 2], 3.0, 1.0, True),
    "noisy_teachers": lambda s, t: losses.logit_regression(
        s, losses.noisy_logits(t, 0.3, 1.0, torch.Generator().manual_seed(0))
    ),
    "tan2019": lambda s, t: losses.top_cross_entropy(s, t, 2),
    "mean_teacher": lambda s, t: losses.consistency_cost(s, probabilities(t)),
    "cross_entropy probabilities": lambda s, t: losses.cross_entropy_with(s, probabilities(t)),
    "custom": lambda s, t: losses.soft_targets(s, losses.least_ambiguous([t, t / 2])[0], 3.0),
    "uhc": lambda s, t: losses.restricted_cross_entropy(s, *halves(t)),
    "uhc estimate": lambda s, t: losses.cross_entropy_with(
        s, losses.cross_entropy_estimate(*halves(t), t.shape[1])
    ),
    "uhc factorised": lambda s, t: losses.cross_entropy_with(
        s, losses.factorised_estimate(*halves(t), t.shape[1])
    ),
    "uhc log space": lambda s, t: losses.cross_entropy_with(
        s, losses.log_space_estimate(*halves(t), t.shape[1])
    ),
    "uhc padded": lambda s, t: losses.cross_entropy_with(
        s, losses.zero_padded_mean(*halves(t), t.shape[1])
    ),
    "rules": lambda s, t: losses.soft_targets(
        s, losses.rule_teacher(t, torch.eye(t.shape[1]).repeat(len(t), 1, 1), t.softmax(1)), 1.0
    ),
    "graphvideo": lambda s, t: losses.logit_graph(s, [t], torch.ones(1), 3.0),
    "cd guided": lambda s, t: losses.guided_targets(s, t, t.argmax(-1), 3.0),
    "zskd": lambda s, t: losses.matching_cross_entropy(s, probabilities(t)),
}
ALONE = {  # the student's logits alone
    "cross_entropy": lambda s, t: losses.hard_loss(s, labels_of(s)),
    "cross_entropy smoothed": lambda s, t: losses.label_smoothing(s, labels_of(s), 0.1),
    "mean_teacher labels": lambda s, t: losses.labelled_cross_entropy(s, labels_of(s)),
    "tfkd": lambda s, t: losses.teacher_free_regularisation(s, labels_of(s)),
    "tfkd authors": lambda s, t: losses.teacher_free_regularisation(
        s, labels_of(s), variant="authors"
    ),
    "admd fooling": lambda s, t: losses.modality_fooling_loss(s, below_last(s)),
    "tolerant": lambda s, t: losses.top_score_difference(s, 2),
    "global_distillation confidence": lambda s, t: losses.confidence_penalty(s),
    "dafl one-hot": lambda s, t: losses.one_hot(s),
    "dafl entropy": lambda s, t: losses.information_entropy(s),
    "dafl activation": lambda s, t: losses.activation(s),
}
MATCHING_MAPS = {
    "fitnets": losses.hint,
    "fitnets common": lambda s, t: losses.hint(s, t, "common"),
    "at": losses.attention_transfer,
    "at authors": lambda s, t: losses.attention_transfer(s, t, variant="authors"),
    "nst linear": lambda s, t: losses.neuron_selectivity(s, t, "linear"),
    "nst": losses.neuron_selectivity,
    "nst gaussian": lambda s, t: losses.neuron_selectivity(s, t, "gaussian", bandwidth=0.5),
    "nst adaptive": lambda s, t: losses.neuron_selectivity(s, t, "gaussian"),
    "ft": losses.factor_transfer,
    "ft L2": lambda s, t: losses.factor_transfer(s, t, 2),
    "ft reconstruction": losses.paraphrase_reconstruction,
    "ofd": lambda s, t: losses.overhaul(s, t, torch.full((4,), -9.0)),
    "catkd": losses.class_attention,
    "adain": losses.feature_statistics,
    "cd": losses.channel_distillation,
    "ji2021": lambda s, t: losses.attended_matching([s], [t], torch.ones(len(s), 1, 1)),
    "hallucination": losses.hallucination_loss,
    "dna": losses.block_distillation,
    "dna relative": losses.relative_block_error,
    "reviewkd": losses.hierarchical_context,
    "simkd": losses.reused_classifier,
    "qm": losses.quantization_mimic,
    "skd": lambda s, t: losses.pixel_wise(s, t, 3.0),
    "skd pairs": lambda s, t: losses.pair_wise(s, t, 2),
    "cwd": lambda s, t: losses.channel_wise(s, t, 3.0),
    "uninformed": losses.descriptor_regression,
    "semckd": lambda s, t: losses.semantic_calibration([[s]], [[t]], torch.ones(len(s), 1, 1)),
}
OTHER_MAPS = {
    "ab": losses.activation_boundary,
    "vid": lambda s, t: losses.variational_information(s, t, torch.zeros(4)),
    "alpkd": lambda s, t: losses.layer_projection(s.flatten(2), t.flatten(2)),
    "sad": lambda s, t: losses.self_attention([s, t]),
    "uninformed maps": lambda s, t: sum(one.mean() for one in losses.anomaly_maps([s, t], t)),
    "uninformed standardised": lambda s, t: losses.descriptor_regression(
        s, losses.standardised(t, torch.zeros(4), torch.arange(4.0))
    ),
    "deepinversion variation": lambda s, t: losses.total_variation(s),
}
MAP_LOSSES = MATCHING_MAPS | OTHER_MAPS
LAYERS = {  # relations within a network's maps
    "fsp": lambda s, t: losses.fsp(s, s.flip(1), t, t.flip(1)),
    "ickd": losses.inter_channel_correlation,
    "ickd authors": lambda s, t: losses.inter_channel_correlation(s, t, "authors"),
    "irg transformation": lambda s, t: losses.irg_transformation(s, s.flip(1), t, t.flip(1)),
    "kdsvd": lambda s, t: losses.kd_svd([s, s.flip(1)], [t, t.flip(1)]),
}
RELATED = {  # scores (batch, heads, tokens, tokens)
    "minilm": losses.relation_divergence,
    "minilm present": lambda s, t: losses.relation_divergence(s, t, PRESENT),
    "tinybert": losses.attention_matrices,
    "tinybert present": lambda s, t: losses.attention_matrices(s, t, PRESENT),
    "tinybert authors": lambda s, t: losses.attention_matrices(s, t, PRESENT, "authors"),
    "minilm heads": lambda s, t: losses.deep_self_attention([s, s, -s], [t, t, -t], 0.5, PRESENT),
    "minilm relations": lambda s, t: losses.multi_head_relations([s, s, -s], [t, t, -t], 2),
    "internal": lambda s, t: losses.internal_representation(s, t, OURS, THEIRS, PRESENT),
}
TOKENS = {  # (batch, tokens, vocabulary or width)
    "token_divergence": losses.token_divergence,
    "token_divergence reverse": lambda s, t: losses.token_divergence(s, t, kind="reverse"),
    "token_divergence shannon": lambda s, t: losses.token_divergence(
        s, t, None, "jensen_shannon", 0.3
    ),
    "token_divergence present": lambda s, t: losses.token_divergence(s, t, PRESENT),
    "pkd": losses.patient,
    "pkd authors": lambda s, t: losses.patient(s, t, "authors"),
    "distilbert": losses.state_directions,
    "distilbert present": lambda s, t: losses.state_directions(s, t, PRESENT),
    "internal state": losses.sentence_direction,
}
MATCHING_SAMPLES = {
    "rkd distance": losses.rkd_distance,
    "rkd distance authors": lambda s, t: losses.rkd_distance(s, t, "authors"),
    "rkd angle": losses.rkd_angle,
    "rkd angle authors": lambda s, t: losses.rkd_angle(s, t, "authors"),
    "pkt hybrid": losses.hybrid_transfer,
    "pkt hybrid authors": lambda s, t: losses.hybrid_transfer(s, t, "authors"),
    "pkt": losses.probabilistic_transfer,
    "sp": losses.similarity_preserving,
    "cc": losses.correlation_congruence,
    "irg": losses.irg_edges,
    "reid": losses.log_euclidean,
    "gkd": losses.graph_knowledge,
    "gkd paths": lambda s, t: losses.graph_knowledge(s, t, 2, 2),
    "tgsa": lambda s, t: 1 - losses.representation_similarity(s, t),
    "ifm": lambda s, t: losses.information_flow([s, s], [t, t], 0),
}
RELATIONS = MATCHING_SAMPLES | {
    "pkt authors": lambda s, t: losses.probabilistic_transfer(s, t, "authors"),
    "lp": losses.locality_preserving,
}
RANKINGS = {
    "triplet": lambda s, t: losses.triplet_distillation(s, t, TRIPLETS),
    "you2017": lambda s, t: losses.relative_dissimilarity(s, [t], margin=0.1),
    "darkrank": lambda s, t: losses.darkrank(s, t, "soft", 1.0, 2.0),
    "darkrank hard": lambda s, t: losses.darkrank(s, t, "hard", 1.0, 2.0),
    "darkrank normalised": lambda s, t: losses.darkrank(s, t, normalise=True),
    "crd": lambda s, t: losses.crd(s, t, 100),
}
SEQUENCES = {  # one sequence of as many frames as there are rows
    "frame_level": lambda s, t: losses.frame_distillation(s[None], t[None], rows_of(s)),
    "frame_level softened": lambda s, t: losses.frame_distillation(
        torch.stack([s, -s]), torch.stack([t, -t]), torch.tensor([1, len(s)]), 3.0
    ),
    "sequence_level": losses.sequence_distillation,
    "sequence_level absolute": lambda s, t: losses.sequence_distillation(
        s.log_softmax(1), t, normalise=False
    ),
}
ORDERS = {  # (lists, items): scores of student and teacher
    "listnet": losses.listnet,
    "listmle": losses.listmle,
    "rd": lambda s, t: losses.ranking_distillation(s, t, 2, 1.0, 0.5),
    "rd authors": lambda s, t: losses.ranking_distillation(s, t, 2, 1.0, 0.5, "authors"),
    "rd positions": lambda s, t: losses.ranking_distillation(s, t, 2, 2.0, None),
}
OTHERS = {
    "sequence_level ctc": lambda s, t: (
        -losses.ctc_log_probability(
            s[None], rows_of(s), torch.tensor([[[1, 2, -1], [2, -1, -1]]])
        ).mean()
    ),
    "guided_ctc": lambda s, t: losses.spike_guidance(s[None], t[None], rows_of(s)),
    "wavenet": losses.density_distillation,
    "bounded": lambda s, t: losses.bounded_regression(s, t, EVEN, 0.5),
    "bounded soft": lambda s, t: losses.weighted_soft_targets(s, t, 1, 1.5, 3.0),
    "cfl": losses.common_feature_discrepancy,
    "ewc": lambda s, t: losses.elastic_penalty([s], [t], [EVEN]),
    "icarl": lambda s, t: losses.icarl_loss(torch.cat([s, -s], 1), torch.arange(5), t),
    "global_distillation": lambda s, t: losses.joined_distillation(s, t[:, :3], t[:, 3:]),
    "global_distillation separate": lambda s, t: losses.separate_distillation(
        s, t[:, :3], t[:, 3:], 3.0
    ),
    "lifelong_gan": lambda s, t: losses.generator_distillation(s, t, -s, -t, s[:, :2], t[:, :2]),
    "lifelong_gan codes": losses.standard_normal_divergence,
    # Its gradient, cubic in the scale, fills a half.
    "custom filters": lambda s, t: losses.unit_filters(s / 100),
    "cmi": lambda s, t: losses.contrastive_diversity(s, t, temperature=1.0),
    "ddgsd": losses.mean_discrepancy,
    "jacobian": losses.jacobian_matching,
    "jacobian attention": losses.gradient_attention,
    "graphdist": lambda s, t: losses.weighted_imitation(
        s, [t, -t], s.new_tensor([[0.3, 0.7]]).expand(len(s), 2), s.new_tensor([0.5, 0.5])
    ),
    "kr": lambda s, t: losses.parameter_distribution([[s]], [[t]], bins=8, kept=6),
    "lsp": lambda s, t: losses.local_structure_preservation(s, t, ARCS, bandwidth=1.0),
    "lsp linear": lambda s, t: losses.local_structure_preservation(s, t, ARCS, "linear"),
    "lsp authors": lambda s, t: losses.local_structure_preservation(s, t, ARCS, variant="authors"),
    "minillm": lambda s, t: losses.minillm(s, t, DRAWN, PRESENT),
    "mhgd": lambda s, t: losses.graph_distillation([s], [t]),
    "mhgd authors": lambda s, t: losses.graph_distillation([s], [t], "authors"),
    "sla": lambda s, t: losses.joint_loss(s, torch.tensor([0, 2, 1])),
    "gan": losses.judging_loss,
    "gan least squares": lambda s, t: losses.judging_loss(s, t, "least_squares"),
    "gan fooling": lambda s, t: losses.fooling_loss(s),
    "gan confused": lambda s, t: losses.confused_judging_loss(s, t, 0.5),
    "deepinversion": lambda s, t: losses.statistics_distance(s, s.flip(0), t, t.flip(0)),
    "n2n": losses.policy_gradient,
    "n2n authors": lambda s, t: losses.policy_gradient(s, t, 0.5, "authors"),
    "n2n reward": lambda s, t: losses.compression_reward(s, t, 0.9).mean(),
    "pfd": lambda s, t: losses.privileged_features(s, t, torch.arange(5) % 2.0, 0.4),
    "bincf": lambda s, t: losses.pair_distillation(s, s.flip(0) / 2, t, t.flip(0) / 2),
    "width": lambda s, t: losses.gate_penalty([s, t], (1.0, 2.0)),
    "ofd margin": lambda s, t: losses.overhaul_margin(s, t).sum(),
    "ofd margin authors": lambda s, t: losses.overhaul_margin(s, t, "authors").sum(),
}
EVERY = (
    LOGITS
    | ALONE
    | MAP_LOSSES
    | LAYERS
    | RELATED
    | TOKENS
    | RELATIONS
    | RANKINGS
    | ORDERS
    | SEQUENCES
    | OTHERS
)

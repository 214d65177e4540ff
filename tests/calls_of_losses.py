"""A valid call of every public loss and module, with all its arguments: for tests of all of them."""

import torch
from draws import draw, labels_of

from kdnb import losses

Z, V = draw(4, 5), draw(4, 5, seed=1)  # logits of student and teacher
Y, P = labels_of(Z), V.softmax(1)
A, B = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)  # feature maps
S, T = draw(5, 3), draw(5, 3, seed=1)  # embeddings
U, W = draw(4), draw(4, seed=1)
ARCS = torch.tensor([[0, 0, 1, 2, 3, 4, 4], [1, 0, 2, 4, 4, 0, 3]])
SHAPE = (4, 3, 2)
SHARES = torch.tensor([0.3, 0.7], dtype=torch.float64)  # of two teachers
TRIPLETS = torch.tensor([[0, 1, 2], [3, 0, 4], [2, 4, 1]])

LOGITS = {"student_logits": Z, "teacher_logits": V}
SAMPLES = {"student": S, "teacher": T}
MAPS = {"student_maps": A, "teacher_maps": B}
SCORES = {"student_scores": Z, "teacher_scores": V}
LAYERS = {"student_layers": [A, B], "teacher_layers": [B, A]}
FOUR = {"student_first": A, "student_last": B, "teacher_first": B, "teacher_last": A}
UNION = {
    "classifier_logits": [draw(4, 3), draw(4, 3, seed=1)],
    "class_sets": [[0, 1, 2], [4, 3, 2]],
}
PAPER = {"variant": "paper"}
# Queries, keys and values of student and teacher; scores of their tokens, of which some are padding.
OURS = [draw(2, 3, 4, 2, seed=n) for n in range(3)]
THEIRS = [draw(2, 3, 4, 4, seed=n) for n in range(3, 6)]
TOKEN_SCORES = {"student_scores": draw(2, 3, 4, 4), "teacher_scores": draw(2, 3, 4, 4, seed=1)}
PRESENT = {"present": torch.tensor([[True, True, True, False], [True, True, False, False]])}
HOT = {"temperature": 3.0}
FRAMES = {"student_logits": draw(2, 4, 5), "teacher_logits": draw(2, 4, 5, seed=1)}
LENGTHS = {"lengths": torch.tensor([3, 4])}  # one sequence has a frame of padding
NEXT_TOKENS = {"student_logits": draw(2, 4, 5), "teacher_logits": draw(2, 4, 5, seed=1)}
STATES = {"student_states": draw(2, 4, 5), "teacher_states": draw(2, 4, 5, seed=1)}
DRAWN = torch.tensor([[1, 4, 0, 2], [3, 0, 1, 0]])

# A valid call of every function, with all its arguments.
CALLS = {
    "activation": {"features": S, **PAPER},
    "activation_boundary": {
        "student_responses": A, "teacher_responses": B, "margin": 1.0, **PAPER},
    "adaptive_ensemble": {
        "student_logits": Z, "teacher_logits": [V, -V], **HOT, "largest": 0.9, "normalise": False},
    "adaptive_weights": {
        "student_logits": Z, "teacher_logits": [V, -V], **HOT, "largest": 0.9, "normalise": True},
    "aggregated": {"joint_logits": draw(2, 3, 4, 2)},
    "all_triplets": {"batch": 4, "device": "cpu"},
    "anomaly_maps": {"students_maps": [A, B], "teacher_maps": B},
    "apprenticeship": {
        **LOGITS, "labels": Y, "teacher_weight": 1.0, "label_weight": 0.3, "imitation_weight": 0.7},
    "attended_matching": {
        "student_maps": [A, B], "teacher_maps": [B],
        "attention": draw(2, 1, 2).softmax(2)},
    "attention_matrices": {**TOKEN_SCORES, **PRESENT, **PAPER},
    "attention_map": {"maps": A, "power": 2.0},
    "attention_scores": {"queries": OURS[0], "keys": OURS[1]},
    "attention_transfer": {**MAPS, "power": 2.0, **PAPER},
    "best_label_share": {"label_risk": 0.3, "teacher_risk": 0.1},
    "binary_codes": {"values": S},
    "block_distillation": MAPS,
    "bounded_regression": {"student_boxes": S, "teacher_boxes": T, "boxes": S + T, "margin": 0.5},
    "certainty_weights": {"logits": [Z, V], "sharpness": 1.0},
    "channel_distillation": MAPS,
    "channel_statistics": {"maps": A, "epsilon": 1e-5},
    "channel_wise": {**MAPS, **HOT},
    "class_activation_maps": {"maps": A, "classifier_weight": draw(6, 4)},
    "class_attention": {
        "student_activation_maps": A, "teacher_activation_maps": B, "resolution": 2, **PAPER},
    "class_wise": {"logits": Z, "partner_logits": V, **HOT},
    "common_feature_discrepancy": {"one": S, "other": T, "bandwidths": (0.5, 1.0)},
    "compact_bilinear": {"first": S, "second": T, "size": 8, "seed": 1},
    "competition": {**LOGITS, **HOT},
    "confidence_penalty": {"logits": Z},
    "compression_reward": {"accuracy": U.abs(), "compression": W / 4, "teacher_accuracy": 0.9},
    "confidence_weighted": {**LOGITS, "labels": Y},
    "confidence_weights": {"logits": [Z, V], "labels": Y},
    "confused_judging_loss": {
        "real_scores": U, "fake_scores": W, "confusion_weight": 0.5, "kind": "non_saturating"},
    "connected_classes": {"class_sets": [[0, 1], [1, 2], [3]], "classes": 4},
    "consistency_cost": {"logits": Z, "probabilities": P},
    "contrastive_diversity": {
        "local": S, "whole": T, "old_local": T, "old_whole": S, "temperature": 1.0},
    "correlation_congruence": {**SAMPLES, "kernel_coefficient": 0.4, "order": 2},
    "cosine_targets": {**LOGITS, **HOT},
    "coteaching": {"first_logits": Z, "second_logits": V, "labels": Y, "share": 0.5, **PAPER},
    "crd": {
        **SAMPLES, "dataset_size": 100.0, "negatives": draw(7, 3, seed=2),
        "labels": torch.arange(5), "temperature": 0.5, "normaliser": 1.0, "kept": torch.arange(35).view(5, 7) % 3 > 0,},
    "cross_entropy_estimate": {**UNION, "classes": 5},
    "cross_entropy_with": {"logits": Z, "probabilities": P},
    "ctc_log_probability": {
        "logits": draw(2, 4, 5), **LENGTHS, "blank": 0,
        "hypotheses": torch.tensor([[[1, 2], [3, -1]], [[4, 4], [-1, -1]]])},
    "curriculum_weight": {"epoch": 1.0, "ramp_epochs": 10.0, "lowest": 0.0, "highest": 1.0},
    "darkrank": {
        **SAMPLES, "form": "soft", "scale": 1.0, "power": 2.0, "list_length": 3,
        "normalise": False},
    "decision_adversarial": LOGITS,
    "decoupled_kd": {
        **LOGITS, "labels": Y, **HOT, "target_weight": 1.0, "other_weight": 8.0},
    "decoupled_terms": {**LOGITS, "labels": Y, **HOT},
    "deep_self_attention": {
        "student_heads": OURS, "teacher_heads": THEIRS, "value_weight": 1.0, **PRESENT},
    "density_distillation": {"log_scales": S, "teacher_log_densities": T},
    "depth_weights": {"layers": 3},
    "descriptor_regression": MAPS,
    "discrepancy": LOGITS,
    "drawn_triplets": {"batch": 4, "count": 3, "generator": torch.Generator(), "device": "cpu"},
    "dissimilarity_matrix": {"features": S},
    "early_decay": {"epoch": 60, "every": 30, "factor": 0.9},
    "elastic_penalty": {"parameters": [S, A], "anchors": [T, B], "importances": [T.square(), A.abs()]},
    "ensemble_log_probabilities": {
        "logits": [Z, V], "weights": SHARES, "mean": "arithmetic"},
    "equivalent_smoothing": {
        "soft_weight": 0.5, "classes": 4, "temperature": 2.0, "correct": 0.9,
        "variant": "authors"},
    "factor_transfer": {"student_factor": A, "teacher_factor": B, "norm": 1, **PAPER},
    "factorised_estimate": {**UNION, "classes": 5, "steps": 100},
    "feature_statistics": {**MAPS, "epsilon": 1e-5},
    "feature_vectors": {"student": draw(2, 3, 4, 4), "teacher": draw(2, 3, 4, 4, seed=1),
                        "spare": 2},
    "fooling_loss": {"fake_scores": U, "kind": "least_squares"},
    "frame_distillation": {**FRAMES, **LENGTHS, **HOT},
    "fsp": FOUR,
    "fsp_matrix": {"first": A, "last": B},
    "gate_penalty": {"gates": [U, W], "costs": (1.0, 2.0)},
    "generalised_distillation": {
        **LOGITS, "labels": Y, "teacher_share": 0.3, **HOT, **PAPER},
    "generator_distillation": {
        "codes": S, "old_codes": T, "decoded": A, "old_decoded": B, "generated": B,
        "old_generated": A},
    "gradient_attention": {"student_gradients": S, "teacher_gradients": T},
    "gradient_decomposition": {**LOGITS, "labels": Y},
    "gradient_identity": {},
    "graph_distillation": {
        "student_graphs": [draw(2, 3, 3)], "teacher_graphs": [draw(2, 3, 3, seed=1)], **PAPER},
    "graph_prior_penalty": {"edges": P, "prior": draw(5).softmax(0)},
    "guided_targets": {**LOGITS, "labels": Y, **HOT},
    "hallucination_loss": {"hallucinated_maps": A, "privileged_maps": B},
    "graph_knowledge": {**SAMPLES, "neighbours": 2, "power": 2},
    "hard_loss": {"logits": Z, "labels": Y},
    "hidden_states": {
        "projected": draw(2, 4, 3), "teacher_states": draw(2, 4, 3, seed=1), **PRESENT},
    "hierarchical_context": {**MAPS, "levels": (2, 1)},
    "hint": {"regressed": A, "teacher_maps": B, **PAPER},
    "hybrid_transfer": {**SAMPLES, **PAPER},
    "icarl_loss": {"logits": Z, "labels": Y, "old_logits": V[:, :2]},
    "information_entropy": {"teacher_logits": V, "base": 10.0},
    "information_flow": {
        "student_layers": [S, S], "teacher_layers": [T, T], "epoch": 1.0, "initial_weight": 100.0,
        "decay": 0.7, **PAPER},
    "inter_channel_correlation": {"student": A, "teacher": B, **PAPER},
    "internal_representation": {**TOKEN_SCORES, **STATES, **PRESENT, "cosine_weight": 1.0},
    "irg_edges": {**SAMPLES, **PAPER},
    "irg_transformation": {**FOUR, **PAPER},
    "jacobian_matching": {"student_gradients": S, "teacher_gradients": T},
    "jensen_shannon": {**LOGITS, "teacher_share": 0.3, **HOT},
    "joined_distillation": {
        "student_logits": Z, "old_logits": V[:, :2], "current_logits": V[:, 2:], **HOT},
    "joined_probabilities": {"old_logits": V[:, :2], "current_logits": V[:, 2:], **HOT},
    "joint_loss": {"joint_logits": draw(2, 3, 4, 2), "labels": torch.tensor([0, 2, 1])},
    "judging_loss": {"real_scores": U, "fake_scores": W, "kind": "non_saturating"},
    "kd_svd": {**LAYERS, "vectors": 1, "spare": 3},
    "kept_share": {"epoch": 3.0, "noise_rate": 0.4, "ramp_epochs": 10.0},
    "label_smoothing": {"logits": Z, "labels": Y, "smoothing": 0.1},
    "labelled_cross_entropy": {"logits": Z, "labels": Y},
    "layer_projection": {
        "student_states": draw(2, 3, 4), "teacher_states": draw(2, 5, 4, seed=1), **HOT},
    "least_ambiguous": {"teacher_logits": [Z, V]},
    "learning_without_forgetting": {**LOGITS, **HOT},
    "listmle": SCORES,
    "listnet": SCORES,
    "locality_preserving": {**SAMPLES, "neighbours": 2, "bandwidth": 1.0},
    "log_euclidean": {**SAMPLES, "ridge": 1.0},
    "log_space_estimate": {**UNION, "classes": 5},
    "local_structure": {
        "features": S, "arcs": ARCS, "kernel": "polynomial", "bandwidth": 1.0, "degree": 2,
        "offset": 0.5},
    "local_structure_preservation": {
        **SAMPLES, "arcs": ARCS, "kernel": "rbf", "bandwidth": 1.0, "degree": 2, "offset": 0.0,
        **PAPER},
    "logit_distance": LOGITS,
    "logit_graph": {
        "student_logits": Z, "teachers": [V, -V], "weights": draw(2), **HOT},
    "logit_regression": LOGITS,
    "matching_cross_entropy": {"teacher_logits": V, "targets": P, **HOT},
    "mixed_labels": {"labels": Y, "clean_logits": V, "label_share": 0.3, **HOT},
    "mean_discrepancy": {"one": S, "other": T},
    "min_norm_weights": {"gradients": S, "largest": 0.9, "normalise": True},
    "mean_of_those_that_know": {**UNION, "classes": 5},
    "mean_raw_logits": {**UNION, "classes": 5},
    "most_confident_classifier": {**UNION, "classes": 5},
    "multi_head_relations": {
        "student_heads": OURS, "teacher_heads": THEIRS, "relation_heads": 2, **PRESENT},
    "multi_level_logits": {
        **LOGITS, "temperatures": (2.0, 3.0), "instance_weight": 1.0, "batch_weight": 1.0,
        "class_weight": 1.0, **PAPER},
    "minillm": {
        **NEXT_TOKENS, "tokens": DRAWN, **PRESENT, "weights": draw(2, 4, seed=2).abs(), "clip": 0.2,
        "length_normalised": True, **PAPER},
    "modality_fooling_loss": {"hallucinated_logits": Z, "labels": Y},
    "modality_judging_loss": {
        "privileged_logits": V, "hallucinated_logits": Z, "labels": Y},
    "modality_prior": {"weights": U, **HOT},
    "mutual_loss": {"logits": Z, "peers": [V, -V], "target": "peers", **HOT},
    "neuron_selectivity": {
        **MAPS, "kernel": "gaussian", "degree": 2, "offset": 0.0, "bandwidth": 0.5},
    "noisy_label_distillation": {
        "logits": Z, "labels": Y, "clean_logits": V, "label_share": 0.3, **HOT},
    "noisy_logits": {
        "teacher_logits": V, "sd": 0.3, "share": 0.5, "generator": torch.Generator()},
    "normalized_kd": {**LOGITS, "labels": Y, **HOT, "other_weight": 1.5},
    "one_hot": {"teacher_logits": V},
    "oracle_weights": {"logits": [Z, V], "labels": Y},
    "overhaul": {"student_responses": A, "teacher_responses": B, "margin": -U.abs()},
    "overhaul_margin": {"weight": U, "bias": W, **PAPER},
    "parameter_distribution": {
        "student_groups": [[S]], "teacher_groups": [[T]], "bins": 8, "kept": 6},
    "parameter_histogram": {"group": [S, T], "bins": 8, "span": 3.0},
    "pair_distillation": {
        "student_better": U, "student_worse": W, "teacher_better": W, "teacher_worse": U},
    "pair_wise": {**MAPS, "nodes": 2},
    "paraphrase_reconstruction": {"reconstruction": A, "teacher_maps": B},
    "patient": {**STATES, **PAPER},
    "pearson_distillation": {
        **LOGITS, **HOT, "inter_weight": 1.0, "intra_weight": 1.0, **PAPER},
    "permuted_predictions": {"teacher_logits": V, "generator": torch.Generator()},
    "pixel_wise": {**MAPS, **HOT},
    "policy_gradient": {"log_probabilities": -U.abs(), "rewards": W, "baseline": 0.5, **PAPER},
    "privileged_features": {
        "student_scores": U, "teacher_scores": W, "labels": U.sigmoid(), "teacher_share": 0.4},
    "probabilistic_transfer": {**SAMPLES, **PAPER},
    "quantization_mimic": {**MAPS, "step": 0.5},
    "ranking_distillation": {
        **SCORES, "kept": 3, "position_scale": 1.0, "discrepancy_scale": 0.5, **PAPER},
    "relation_divergence": {**TOKEN_SCORES, **PRESENT},
    "relative_block_error": MAPS,
    "relative_dissimilarity": {
        "student": S, "teachers": [T, -T], "triplets": TRIPLETS, "margin": 0.1},
    "representation_similarity": SAMPLES,
    "restricted_cross_entropy": {"student_logits": Z, **UNION},
    "restyle": {"teacher_maps": B, "student_maps": A, "epsilon": 1e-5},
    "representation_graph": {"student": draw(5, 8), "teachers": [S, T], "seed": 1},
    "reused_classifier": {"projected": A, "teacher_maps": B, **PAPER},
    "reverse_gradient": {"values": S, "weight": 1.0},
    "reverse_kl": {**LOGITS, **HOT},
    "rkd_angle": {**SAMPLES, **PAPER},
    "rkd_distance": {**SAMPLES, **PAPER},
    "rocket_hint": {"light": Z, "booster": V, "gradient_block": True},
    "rule_teacher": {
        "student_logits": Z, "fulfilled": draw(4, 2, 5), "confidence": draw(4, 2).softmax(1),
        "strength": 3.0},
    "self_attention": {"maps": [A, B]},
    "semantic_calibration": {
        "student_maps": [[A]], "teacher_maps": [[B]], "attention": torch.ones(2, 1, 1), **PAPER},
    "sequence_distillation": {**SCORES, "normalise": True},
    "similarities": {"samples": S},
    "similarity_graph": {"features": S, "kept": torch.ones(5, 5) > 0},
    "similarity_preserving": SAMPLES,
    "soft_targets": {**LOGITS, **HOT},
    "softened_correct": {"classes": 4, "temperature": 2.0, "correct": 0.9, **PAPER},
    "small_losses": {"losses": U, "share": 0.5},
    "spatial_attention": {"maps": A, "size": (3, 2)},
    "spike_guidance": {**FRAMES, **LENGTHS, "blank": 0},
    "standardised": {"maps": A, "mean": U, "sd": W.abs()},
    "standardize_logits": {"logits": Z, **PAPER},
    "standardized_soft_targets": {**LOGITS, **HOT, **PAPER},
    "state_directions": {**STATES, **PRESENT},
    "statistics_distance": {
        "mean": U, "variance": W.abs(), "stored_mean": W, "stored_variance": U.abs()},
    "teacher_free_regularisation": {
        "logits": Z, "labels": Y, "temperature": 20.0, "correct": 0.9, **PAPER},
    "sentence_direction": {"student_state": S, "teacher_state": T},
    "separate_distillation": {
        "student_logits": Z, "old_logits": V[:, :2], "current_logits": V[:, 2:], **HOT},
    "standard_normal_divergence": {"mean": S, "log_variance": T},
    "token_divergence": {**NEXT_TOKENS, **PRESENT, "kind": "forward", "teacher_share": 0.5},
    "token_divergences": {**NEXT_TOKENS, "kind": "forward", "teacher_share": 0.5},
    "top_cross_entropy": {**LOGITS, "kept": 2},
    "top_score_difference": {"logits": Z, "kept": 2},
    "total_variation": {"images": A},
    "transformed_teacher": {**LOGITS, **HOT, "weighted": True},
    "triplet_distillation": {
        **SAMPLES, "triplets": TRIPLETS, "least_margin": 0.2, "greatest_margin": 0.5},
    "uniform_layers": {"student_layers": 2, "teacher_layers": 6},
    "unit_filters": {"weight": B},
    "variational_information": {
        "predicted_mean": A, "teacher_maps": B, "raw_variance": U, "minimum_variance": 1e-5,
        **PAPER},
    "virtual_teacher": {
        "labels": Y, "classes": 5, "correct": 0.9, "dtype": torch.float64},
    "virtual_teacher_identity": {},
    "weighted_soft_targets": {
        **LOGITS, "background": 1, "background_weight": 1.5, **HOT},
    "zero_padded_mean": {**UNION, "classes": 5},
    "weighted_imitation": {
        "student": S, "teachers": [T, -T], "edges": draw(5, 2).softmax(1),
        "prior": draw(2).softmax(0)},
}  # fmt: skip

# The modules: how one is made, and a call of it.
MODULES = {
    "AttentionFusion": (
        {"channels": 4, "middle": 3, "out": 5, "fuse": True},
        {"maps": A, "residual": draw(2, 3, 2, 2), "size": (3, 2)},
    ),
    "CRD": (
        {"student_features": 3, "teacher_features": 3, "dataset_size": 20, "negatives": 8, "momentum": 0.5,
         "features": 4, "temperature": 0.5, "quiet": True},
        {**SAMPLES, "labels": torch.arange(5), "index": torch.arange(5)},
    ),
    "CurriculumTemperature": (
        {"lowest": 1.0, "span": 20.0, "start": 1.0},
        {"reversal_weight": 0.5, **LOGITS},
    ),
    "InstanceTemperature": (
        {"classes": 5, "hidden": 4, "lowest": 1.0, "span": 20.0, "start": 1.0},
        {"reversal_weight": 0.5, **LOGITS},
    ),
    "LayerAttention": (
        {"student_shapes": [SHAPE, SHAPE], "teacher_shapes": [SHAPE], "width": 5},
        {"student_maps": [A, B], "teacher_maps": [B]},
    ),
    "MultiHeadGraphs": (
        {"channels": [4, 4], "heads": 2},
        {"student_layers": [draw(2, 4, 4, 4), draw(2, 4, 4, 4, seed=1)],
         "teacher_layers": [draw(2, 4, 4, 4, seed=2), draw(2, 4, 4, 4, seed=3)], **PAPER},
    ),
    "Paraphraser": ({"teacher_shape": SHAPE, "rate": 0.5}, {"teacher_maps": A}),
    "ReusedClassifierProjector": (
        {"student_shape": SHAPE, "teacher_shape": SHAPE, "reduction": 2}, MAPS),
    "ReviewFusion": (
        {"student_shapes": [SHAPE], "teacher_shapes": [SHAPE], "middle": 3},
        {"student_maps": [A]},
    ),
    "RuleAttention": (
        {"features": 3, "rules": 2, "width": 4, "sharpness": 2.0},
        {"features": draw(4, 3), "fulfilled": draw(4, 2, 5)}),
    "SemanticCalibration": (
        {"student_shapes": [SHAPE], "teacher_shapes": [SHAPE], "batch": 2, "reduction": 2},
        {"student_maps": [A], "teacher_maps": [B]},
    ),
    "Translator": ({"student_shape": SHAPE, "factors": 3, "normalise": True}, {"student_maps": A}),
    "VariationalRegressor": (
        {"student_shape": SHAPE, "teacher_shape": SHAPE, "initial_variance": 5.0,
         "minimum_variance": 1e-5, **PAPER},
        MAPS,
    ),
}  # fmt: skip


def made(name):
    torch.manual_seed(0)
    return getattr(losses, name)(**MODULES[name][0]).double().eval()


def calls():
    """(name, what is called, its arguments) of all functions, constructors and modules."""
    for name, arguments in CALLS.items():
        yield name, getattr(losses, name), arguments
    for name, (options, arguments) in MODULES.items():
        yield name, getattr(losses, name), options
        yield f"{name}()", lambda name=name, **given: made(name)(**given), arguments


EVERY = {name: (call, arguments) for name, call, arguments in calls()}


def flat(value):
    """The tensors in what a call returns."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [one for part in value for one in flat(part)] if isinstance(value, list | tuple) else []


def tensors_in(value, put=lambda one: one):
    """(a tensor, a function that gives the argument with another in its place)."""
    if isinstance(value, torch.Tensor):
        yield value, put
    elif isinstance(value, list):
        for place, one in enumerate(value):

            def inside(new, place=place):
                return put([*value[:place], new, *value[place + 1:]])  # fmt: skip

            yield from tensors_in(one, inside)


def names(argument):
    """What a sentence may call an argument: by its name, or by the noun in it."""
    return {argument, *(part.removesuffix("s") for part in argument.split("_"))}

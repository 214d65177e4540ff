"""The losses of section 2, each made ready for two networks: what it looks at, and its adapters.

`METHODS[name].build(student, teacher, setting)` takes the `View`s of both networks on a first batch
and returns a module that maps the views of any later batch to the loss. Whatever it learns (adapters,
projections, a temperature) are its parameters; they join the optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods import learning
from kdnb.methods.wiring import (
    Build,
    Plain,
    Setting,
    adapted,
    by_depth,
    on_each_layer,
    on_embedding,
    on_last_layer,
    on_logits,
    pairs_of,
    summed,
)
from kdnb.training.layers import View

__all__ = ["METHODS", "Method", "Setting"]


@dataclass(frozen=True)
class Method:
    """How one method is set up.

    Attributes:
        section: of the survey: 2.1 response, 2.2 feature, 2.3 relation.
        paper: its key in `papers/references.bib`.
        title: as readers know it.
        build: views of student and teacher on a first batch, setting -> the loss as a module.
        weight: the published weight beside the cross-entropy; None where none is known.
        alone: whether it replaces the cross-entropy, too.
    """

    section: str
    paper: str
    title: str
    build: Build
    weight: float | None = None
    alone: bool = False


def _class_attention(student: View, teacher: View, batch: Batch) -> Tensor:
    maps = [losses.class_activation_maps(v.maps[-1], v.classifier) for v in (student, teacher)]
    return losses.class_attention(*maps)


def _parameters(student: View, teacher: View, batch: Batch) -> Tensor:
    pairs_of(student, teacher)
    return losses.parameter_distribution(student.groups, teacher.groups)


def _distances_and_angles(student: View, teacher: View, batch: Batch) -> Tensor:
    pair = student.embedding, teacher.embedding
    return 25 * losses.rkd_distance(*pair, variant="authors") + 50 * losses.rkd_angle(
        *pair, variant="authors"
    )


def _flows(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    steps = range(len(student) - 1)
    return torch.stack(
        [losses.fsp(student[i], student[i + 1], teacher[i], teacher[i + 1]) for i in steps]
    ).sum()


def _triplets(student: View, teacher: View, batch: Batch) -> Tensor:
    """Every anchor with the next sample of its class and the next of another, around the batch."""
    same = batch.labels[:, None] == batch.labels[None]
    size = len(batch.labels)
    ahead = (torch.arange(size, device=same.device) - torch.arange(
        size, device=same.device)[:, None]) % size  # fmt: skip
    ahead = torch.where(ahead == 0, size, ahead)
    far = torch.full_like(ahead, 2 * size)
    positive = torch.where(same, ahead, far)
    positive.fill_diagonal_(2 * size)
    negative = torch.where(~same, ahead, far)
    keep = (positive.amin(1) < 2 * size) & (negative.amin(1) < 2 * size)
    anchors = torch.arange(size, device=same.device)[keep]
    if len(anchors) == 0:
        return student.embedding.sum() * 0
    chosen = torch.stack([anchors, positive[keep].argmin(1), negative[keep].argmin(1)], 1)
    unit = [torch.nn.functional.normalize(v.embedding.float()) for v in (student, teacher)]
    return losses.triplet_distillation(*unit, chosen)


def _dissimilarity(student: View, teacher: View, batch: Batch) -> Tensor:
    return losses.relative_dissimilarity(student.embedding, [teacher.embedding])


METHODS: dict[str, Method] = {
    # 2.1 response
    "soft_targets": Method(
        "2.1", "hinton2015", "KD", on_logits(losses.soft_targets, temperature=4.0), 1.0),
    "logit_regression": Method(
        "2.1", "ba2014", "Logits", on_logits(losses.logit_regression)),
    "decoupled_kd": Method(
        "2.1", "zhao2022dkd", "DKD", on_logits(losses.decoupled_kd, True, temperature=4.0), 1.0),
    "normalized_kd": Method(
        "2.1", "yang2023nkd", "NKD", on_logits(losses.normalized_kd, True), 1.0),
    "pearson_distillation": Method(
        "2.1", "huang2022dist", "DIST", on_logits(losses.pearson_distillation), 2.0),
    "standardized_soft_targets": Method(
        "2.1", "sun2024lskd", "LSKD", on_logits(losses.standardized_soft_targets, temperature=2.0), 9.0),
    "multi_level_logits": Method(
        "2.1", "jin2023mlkd", "MLKD", on_logits(losses.multi_level_logits), 1.0),
    "transformed_teacher": Method(
        "2.1", "zheng2024ttm", "WTTM", on_logits(losses.transformed_teacher, temperature=4.0)),
    "curriculum_temperature": Method(
        "2.1", "li2023ctkd", "CTKD", lambda s, t, setting: learning.LearntTemperature(), 1.0),
    # 2.2 feature
    "hint": Method(
        "2.2", "romero2015fitnets", "FitNet",
        adapted(summed(partial(losses.hint, variant="common")), which="middle"), 100.0),
    "hint_regression": Method(
        "2.2",
        "romero2015fitnets",
        "FitNet (first stage)",
        learning.HintRegression,
        1.0,
        alone=True,
    ),
    "projected_hint": Method(
        "2.2",
        "romero2015fitnets",
        "Hint on embeddings",
        lambda s, t, setting: learning.ProjectedHint(s, t, learnt=True),
        alone=True,
    ),
    "random_hint": Method(
        "2.2",
        "romero2015fitnets",
        "Hint on embeddings, random map",
        lambda s, t, setting: learning.ProjectedHint(s, t, learnt=False),
        alone=True,
    ),
    "attention_transfer": Method(
        "2.2", "zagoruyko2017at", "AT", on_each_layer(losses.attention_transfer, variant="authors"),
        1000.0),
    "neuron_selectivity": Method(
        "2.2", "huang2017nst", "NST", on_each_layer(losses.neuron_selectivity), 50.0),
    "factor_transfer": Method("2.2", "kim2018ft", "FT", learning.Factors, 200.0),
    "activation_boundary": Method(
        "2.2", "heo2019ab", "AB",
        adapted(
            lambda s, t: by_depth(
                [losses.activation_boundary(a, b, variant="authors") for a, b in zip(s, t, strict=True)]
            ), "before", normalise=True), 1.0),
    "overhaul": Method("2.2", "heo2019ofd", "OFD", learning.Overhaul, 1.0),
    "variational_information": Method("2.2", "ahn2019vid", "VID", learning.Variational, 1.0),
    "semantic_calibration": Method("2.2", "chen2021semckd", "SemCKD", learning.Calibration, 400.0),
    "hierarchical_context": Method("2.2", "chen2021reviewkd", "ReviewKD", learning.Review, 1.0),
    "reused_classifier": Method("2.2", "chen2022simkd", "SimKD", learning.ReusedClassifier, 1.0, alone=True),
    "class_attention": Method(
        "2.2", "guo2023catkd", "CAT-KD", lambda s, t, setting: Plain(_class_attention)),
    "feature_statistics": Method(
        "2.2", "yang2020adain", "AdaIN", adapted(summed(losses.feature_statistics))),
    "parameter_distribution": Method(
        "2.2", "liu2019kr", "KR", lambda s, t, setting: Plain(_parameters)),
    "layer_projection": Method("2.2", "passban2021alp", "ALP-KD", learning.LayerProjection),
    # 2.3 relations between layers
    "fsp": Method("2.3", "yim2017fsp", "FSP", adapted(_flows)),
    "kd_svd": Method("2.3", "lee2018kdsvd", "KD-SVD", adapted(losses.kd_svd), 1.0),
    "graph_distillation": Method("2.3", "lee2019mhgd", "MHGD", learning.Graphs),
    "information_flow": Method(
        "2.3", "passalis2020ifm", "IFM", lambda s, t, setting: learning.InformationFlow()),
    # 2.3 relations between samples
    "rkd": Method(
        "2.3", "park2019rkd", "RKD", lambda s, t, setting: Plain(_distances_and_angles), 1.0),
    "similarity_preserving": Method(
        "2.3", "tung2019sp", "SP", on_last_layer(losses.similarity_preserving), 3000.0),
    "correlation_congruence": Method(
        "2.3", "peng2019cc", "CC", on_embedding(losses.correlation_congruence), 0.02),
    "probabilistic_transfer": Method(
        "2.3", "passalis2018pkt", "PKT",
        on_embedding(losses.probabilistic_transfer, variant="authors"), 30000.0),
    "hybrid_transfer": Method(
        "2.3", "passalis2020pktlight", "PKT (hybrid)", on_embedding(losses.hybrid_transfer)),
    "irg_edges": Method("2.3", "liu2019irg", "IRG (edges)", on_embedding(losses.irg_edges)),
    "locality_preserving": Method(
        "2.3", "chen2020lp", "LP", on_embedding(losses.locality_preserving)),
    "crd": Method("2.3", "tian2020crd", "CRD", learning.Contrastive, 0.8),
    "inter_channel_correlation": Method(
        "2.3", "liu2021ickd", "ICKD",
        adapted(summed(losses.inter_channel_correlation), which="last")),
    "triplet_distillation": Method(
        "2.3", "feng2019triplet", "Triplet", lambda s, t, setting: Plain(_triplets)),
    "darkrank": Method("2.3", "chen2018darkrank", "DarkRank", on_embedding(losses.darkrank)),
    "relative_dissimilarity": Method(
        "2.3", "you2017", "You 2017", lambda s, t, setting: Plain(_dissimilarity)),
}  # fmt: skip

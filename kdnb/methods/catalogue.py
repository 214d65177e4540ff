"""The losses of sections 2 and 5.4, each set up for two networks with layers and adapters.

`method("at").build(student, teacher, setting, power=2.0)` takes the `View`s of both networks on a
first batch and the method's options, and returns a module that maps the views of any later batch to
the loss. Whatever it learns (adapters, projections, a temperature) is among its parameters; add
them to the optimiser.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods import learning, relating
from kdnb.methods.names import known_as
from kdnb.methods.wiring import (
    Build,
    Plain,
    Setting,
    Wire,
    adapted,
    by_depth,
    check_pooled,
    clipped,
    learnt,
    on_each_layer,
    on_embedding,
    on_last_layer,
    on_logits,
    options_of,
    pairs_of,
    plain,
    summed,
    warmed_up,
    whole,
)
from kdnb.names import nearest
from kdnb.training.layers import View

__all__ = ["METHODS", "Method", "Setting", "method", "table"]


@dataclass(frozen=True)
class Method:
    """How one method is set up.

    Attributes:
        section: section of the survey: 2.1 response, 2.2 feature, 2.3 relation, 5.4 graph.
        paper: its key in `papers/references.bib`.
        title: its usual name.
        wire: how its loss is connected to two networks; for a method of your own, any callable of
            (student view, teacher view, setting, **options) that returns a module.
        weight: the published weight, relative to the cross-entropy; None if none is known.
        alone: whether it also replaces the cross-entropy.
        scheme: the name of the module that trains with it, in `kdnb.methods`.
        revision: increased whenever its behaviour in training changes; part of the description of a
            run.
    """

    section: str
    paper: str
    title: str
    wire: Build
    weight: float | None = None
    alone: bool = False
    scheme: str = "offline.distil"
    revision: int = 1

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name, with their default values."""
        own = isinstance(self.wire, Wire)
        return dict(self.wire.options) if own else options_of(self.wire)

    @property
    def chapter(self) -> str:
        """The chapter that explains it, such as `2-1`."""
        return self.section.replace(".", "-")

    @property
    def loss(self) -> str | None:
        """The public name of its loss in `kdnb.losses`; None for a method of your own."""
        return self.wire.loss.__name__ if isinstance(self.wire, Wire) else None

    @property
    def file(self) -> Path | None:
        """The file of its loss."""
        own = isinstance(self.wire, Wire)
        return Path(inspect.getfile(self.wire.loss)) if own else None

    def build(self, student: View, teacher: View, setting: Setting, **options: Any) -> nn.Module:
        """The loss for these two networks, as a module of (student view, teacher view, batch).

        Args:
            student, teacher: views of a first batch; only their shapes matter.
            options: values for some of `options`; the others keep their defaults.

        Raises:
            ValueError: for an unknown option, naming the nearest one; or for layers that it cannot
                use.
        """
        self.check(options)
        return self.wire(student, teacher, setting, **options)

    def check(self, options: dict[str, Any]) -> None:
        """Require that every option is one of the method's.

        Raises:
            ValueError: naming the first unknown one, and the nearest option.
        """
        known = self.options
        for name in options:
            if name not in known:
                hint = nearest(name, known) if known else "it has none"
                raise ValueError(f"{self.title} has no option {name!r} ({hint}).")


def method(name: str) -> Method:
    """A method by its name: a key of `METHODS`, a former name or another usual spelling.

    Raises:
        ValueError: for an unknown name, naming the nearest ones.

    >>> method("FitNet").title, method("attention_transfer").options
    ('FitNet', {'power': 2.0, 'variant': 'authors'})
    """
    return METHODS[known_as(name, list(METHODS))]


def revised(name: str) -> dict[str, int]:
    """The revision of a method in the description of a run; nothing for the first one.

    >>> revised("kd"), revised("crd")
    ({}, {'revision': 2})
    """
    found = method(name).revision
    return {} if found == 1 else {"revision": found}


def check_revision(name: Any, revision: int) -> None:
    """Require that a run used the current revision of its catalogue method.

    Raises:
        ValueError: for a run of a different revision.
    """
    today = method(name).revision if isinstance(name, str) else revision
    if revision != today:
        raise ValueError(
            f"this run is described with revision {revision} of {method(name).title}, which is at "
            f"revision {today} today: its records keep their values, and a new run says "
            f"revision={today}."
        )


def table(section: str | None = None) -> pd.DataFrame:
    """The methods of a section of the survey, or all: one row each, indexed by name.

    Columns: title, section, paper (its key in the bibliography), loss (its name in `kdnb.losses`),
    weight (published, relative to the cross-entropy; NaN if none is known) and options, as text.

    Raises:
        ValueError: for a section without methods.
    """
    sections = sorted({one.section for one in METHODS.values()})
    if section is not None and section not in sections:
        raise ValueError(f"no method belongs to section {section!r}: {', '.join(sections)} have.")
    rows = {
        name: {
            "title": one.title,
            "section": one.section,
            "paper": one.paper,
            "loss": one.loss,
            "weight": one.weight,
            "options": ", ".join(f"{key}={value!r}" for key, value in one.options.items()),
        }
        for name, one in METHODS.items()
        if section in (None, one.section)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _class_attention(student: View, teacher: View, batch: Batch, **options: Any) -> Tensor:
    ours = losses.class_activation_maps(student.maps[-1], student.classifier)
    theirs = losses.class_activation_maps(teacher.maps[-1], teacher.classifier.detach())
    return losses.class_attention(ours, theirs, **options)


def _pooled(student: View, teacher: View, setting: Setting, **options: Any) -> nn.Module:
    for name, view in (("student", student), ("teacher", teacher)):
        check_pooled(name, view)
    return Plain(partial(_class_attention, **options))


def _parameters(student: View, teacher: View, batch: Batch, **options: Any) -> Tensor:
    pairs_of(student, teacher)
    theirs = [[weight.detach() for weight in group] for group in teacher.groups]
    return losses.parameter_distribution(student.groups, theirs, **options)


def _triplets(student: View, teacher: View, batch: Batch, **options: Any) -> Tensor:
    """Triplets: each anchor, the next sample of its class and of another class, cyclically."""
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
    return losses.triplet_distillation(*unit, chosen, **options)


def _dissimilarity(student: View, teacher: View, batch: Batch, **options: Any) -> Tensor:
    return losses.relative_dissimilarity(student.embedding, [teacher.embedding], **options)


def _beyond_the_list(options: Mapping[str, Any]) -> int:
    """The samples that DarkRank needs: an anchor and the list that it orders."""
    return options["list_length"] + 1


def _similarity_graphs(student: View, teacher: View, batch: Batch, **options: Any) -> Tensor:
    pairs = pairs_of(student, teacher)
    return torch.stack([losses.graph_knowledge(s, t, **options) for s, t in pairs]).mean()


# AB, added to the cross-entropy or as a stage before it.
BOUNDARIES = adapted(
    losses.activation_boundary, by_depth, "before", normalise=True, variant="authors"
)

METHODS: dict[str, Method] = {
    # 2.1 response
    "kd": Method("2.1", "hinton2015", "KD", on_logits(losses.soft_targets, temperature=4.0), 1.0),
    "logit_regression": Method("2.1", "ba2014", "Logits", on_logits(losses.logit_regression)),
    "dkd": Method(
        "2.1", "zhao2022dkd", "DKD",
        warmed_up(on_logits(losses.decoupled_kd, True, temperature=4.0)), 1.0, revision=2),
    "nkd": Method("2.1", "yang2023nkd", "NKD", on_logits(losses.normalized_kd, True), 1.0),
    "dist": Method("2.1", "huang2022dist", "DIST", on_logits(losses.pearson_distillation), 2.0),
    "lskd": Method(
        "2.1", "sun2024lskd", "LSKD",
        on_logits(losses.standardized_soft_targets, temperature=2.0), 9.0),
    "mlkd": Method("2.1", "jin2023mlkd", "MLKD", on_logits(losses.multi_level_logits), 1.0),
    "ttm": Method(
        "2.1", "zheng2024ttm", "WTTM", on_logits(losses.transformed_teacher, temperature=4.0)),
    "ctkd": Method(
        "2.1", "li2023ctkd", "CTKD",
        learnt(losses.CurriculumTemperature, learning.LearntTemperature), 1.0),
    # 2.2 feature
    "fitnets": Method(
        "2.2", "romero2015fitnets", "FitNet",
        adapted(losses.hint, summed, which="middle", variant="common"), 100.0),
    "fitnets_stage1": Method(
        "2.2", "romero2015fitnets", "FitNet (first stage)",
        learnt(losses.hint, learning.HintRegression), 1.0, alone=True),
    "projected_hint": Method(
        "2.2", "romero2015fitnets", "Hint on embeddings",
        learnt(losses.hint, partial(learning.ProjectedHint, learnt=True)), alone=True),
    "random_hint": Method(
        "2.2", "romero2015fitnets", "Hint on embeddings, random map",
        learnt(losses.hint, partial(learning.ProjectedHint, learnt=False)), alone=True),
    "at": Method(
        "2.2", "zagoruyko2017at", "AT",
        on_each_layer(losses.attention_transfer, variant="authors"), 1000.0),
    "nst": Method("2.2", "huang2017nst", "NST", on_each_layer(losses.neuron_selectivity), 50.0),
    "ft": Method(
        "2.2", "kim2018ft", "FT", learnt(losses.factor_transfer, learning.Factors), 200.0,
        revision=2),
    "ab": Method("2.2", "heo2019ab", "AB", BOUNDARIES, 1.0),
    "ab_stage1": Method("2.2", "heo2019ab", "AB (first stage)", BOUNDARIES, 1.0, alone=True),
    "ofd": Method(
        "2.2", "heo2019ofd", "OFD",
        learnt(losses.overhaul, learning.Overhaul, batch_statistics=True), 1.0, revision=2),
    "vid": Method(
        "2.2", "ahn2019vid", "VID",
        learnt(losses.variational_information, learning.Variational), 1.0),
    "semckd": Method(
        "2.2", "chen2021semckd", "SemCKD",
        learnt(losses.semantic_calibration, learning.Calibration), 400.0),
    "reviewkd": Method(
        "2.2", "chen2021reviewkd", "ReviewKD",
        warmed_up(learnt(losses.hierarchical_context, learning.Review, least=2)), 1.0, revision=2),
    "simkd": Method(
        "2.2", "chen2022simkd", "SimKD",
        learnt(losses.reused_classifier, learning.ReusedClassifier), 1.0, alone=True),
    "catkd": Method(
        "2.2", "guo2023catkd", "CAT-KD",
        Wire(losses.class_attention, _pooled, options_of(losses.class_attention))),
    "adain": Method(
        "2.2", "yang2020adain", "AdaIN", adapted(losses.feature_statistics, summed)),
    "kr": Method(
        "2.2", "liu2019kr", "KR (our reconstruction)",
        plain(losses.parameter_distribution, _parameters)),
    "alpkd": Method(
        "2.2", "passban2021alp", "ALP-KD",
        learnt(losses.layer_projection, learning.LayerProjection)),
    # 2.3 relations between layers
    "fsp": Method("2.3", "yim2017fsp", "FSP", learnt(losses.fsp, relating.Flows), revision=2),
    "fsp_stage1": Method(
        "2.3", "yim2017fsp", "FSP (first stage)", learnt(losses.fsp, relating.Flows), 1.0,
        alone=True),
    "kdsvd": Method(
        "2.3", "lee2018kdsvd", "KD-SVD", clipped(adapted(losses.kd_svd, whole)), 1.0, revision=2),
    "mhgd": Method(
        "2.3", "lee2019mhgd", "MHGD",
        clipped(learnt(losses.graph_distillation, relating.Graphs, least=2)), 1.0, revision=2),
    "ifm": Method(
        "2.3", "passalis2020ifm", "IFM",
        learnt(losses.information_flow, relating.InformationFlow, least=3), scheme="offline.ifm",
        revision=2),
    # 2.3 relations between samples
    "rkd": Method(
        "2.3", "park2019rkd", "RKD",
        learnt(losses.rkd_distance, relating.DistancesAndAngles, least=3), 1.0),
    "sp": Method("2.3", "tung2019sp", "SP", on_last_layer(losses.similarity_preserving, 2), 3000.0),
    "cc": Method(
        "2.3", "peng2019cckd", "CC",
        learnt(losses.correlation_congruence, relating.Congruence), 1.0, revision=2),
    "pkt": Method(
        "2.3", "passalis2018pkt", "PKT",
        on_embedding(losses.probabilistic_transfer, 2, variant="authors"), 30000.0),
    "pkt_hybrid": Method(
        "2.3", "passalis2020pktlight", "PKT (hybrid)", on_embedding(losses.hybrid_transfer, 3)),
    "irg": Method(
        "2.3", "liu2019irg", "IRG", learnt(losses.irg_edges, relating.RelationshipGraph, least=2),
        revision=2),
    "lp": Method("2.3", "chen2021lp", "LP", on_embedding(losses.locality_preserving, 2), revision=2),
    "crd": Method(
        "2.3", "tian2020crd", "CRD",
        replace(learnt(losses.crd, relating.Contrastive, least=2), classes=2), 0.8, revision=2),
    "ickd": Method(
        "2.3", "liu2021ickd", "ICKD",
        adapted(losses.inter_channel_correlation, summed, which="last")),
    "triplet": Method(
        "2.3", "feng2019triplet", "Triplet",
        replace(plain(losses.triplet_distillation, _triplets), classes=2)),
    "darkrank": Method(
        "2.3", "chen2018darkrank", "DarkRank",
        on_embedding(losses.darkrank, _beyond_the_list)),
    "you2017": Method(
        "2.3", "you2017multi", "You 2017 (one teacher)",
        plain(losses.relative_dissimilarity, _dissimilarity, 3), scheme="offline.you2017"),
    # 5.4 graphs
    "gkd": Method(
        "5.4", "lassance2020gkd", "GKD", plain(losses.graph_knowledge, _similarity_graphs, 3), 25.0),
}  # fmt: skip

"""The losses of section 2, each made ready for two networks: what it looks at, and its adapters.

`METHODS[name].build(student, teacher, setting)` takes the `View`s of both networks on a first batch
and returns a module that maps the views of any later batch to the loss. Whatever it learns (adapters,
projections, a temperature) are its parameters; they join the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import ConvolutionalRegressor, PointwiseAdapter
from kdnb.schemes.views import View

Place = Literal["maps", "before"]
Which = Literal["all", "middle", "last"]


@dataclass(frozen=True)
class Setting:
    """What a method may have to know besides the two networks.

    Attributes:
        images: how many the training set has.
        batch_size: of the training.
    """

    images: int
    batch_size: int


Build = Callable[[View, View, Setting], nn.Module]


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


class _Plain(nn.Module):
    """A loss without anything to learn."""

    def __init__(self, function: Callable[[View, View, Batch], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return self.function(student, teacher, batch)


class _Adapted(nn.Module):
    """A loss on layers that 1x1 convolutions bring to the teacher's width, and pooling to one size.

    On all layers, on the middle one alone (as FitNets has it), or on the last.
    """

    def __init__(
        self,
        student: View,
        teacher: View,
        function: Callable[[list[Tensor], list[Tensor]], Tensor],
        place: Place,
        which: Which,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.function, self.place, self.which = function, place, which
        self.adapters = nn.ModuleList(
            PointwiseAdapter(s.shape, t.shape, normalise) for s, t in self._pairs(student, teacher)
        )

    def _pairs(self, student: View, teacher: View) -> list[tuple[Tensor, Tensor]]:
        pairs = _pairs(student, teacher, self.place)
        return {"all": pairs, "middle": [pairs[len(pairs) // 2]], "last": pairs[-1:]}[self.which]

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        adapted = [
            adapter(s, t)
            for adapter, (s, t) in zip(self.adapters, self._pairs(student, teacher), strict=True)
        ]
        return self.function([pair[0] for pair in adapted], [pair[1] for pair in adapted])


def _pairs(student: View, teacher: View, place: Place = "maps") -> list[tuple[Tensor, Tensor]]:
    ours, theirs = getattr(student, place), getattr(teacher, place)
    if len(ours) != len(theirs):
        raise ValueError(
            f"layers are matched one to one; got {len(ours)} of the student and {len(theirs)} of "
            "the teacher: name as many of both (kdnb.schemes.views.Layers)."
        )
    return list(zip(ours, theirs, strict=True))


def _logits(loss: Callable[..., Tensor], labels: bool = False, **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        more = (batch.labels,) if labels else ()
        return loss(student.logits, teacher.logits, *more, **fixed)

    return lambda student, teacher, setting: _Plain(term)


def _embedding(loss: Callable[..., Tensor], **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        return loss(student.embedding, teacher.embedding, **fixed)

    return lambda student, teacher, setting: _Plain(term)


def _each_layer(loss: Callable[..., Tensor], **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        return torch.stack([loss(s, t, **fixed) for s, t in _pairs(student, teacher)]).sum()

    return lambda student, teacher, setting: _Plain(term)


def _last_layer(loss: Callable[..., Tensor], **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        return loss(student.maps[-1], teacher.maps[-1], **fixed)

    return lambda student, teacher, setting: _Plain(term)


def _adapted(
    function: Callable[[list[Tensor], list[Tensor]], Tensor],
    place: Place = "maps",
    which: Which = "all",
    normalise: bool = False,
) -> Build:
    return lambda student, teacher, setting: _Adapted(
        student, teacher, function, place, which, normalise
    )


def _sum(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda student, teacher: torch.stack(
        [loss(s, t) for s, t in zip(student, teacher, strict=True)]
    ).sum()


def _by_depth(terms: Sequence[Tensor]) -> Tensor:
    weights = losses.depth_weights(len(terms))
    return torch.stack([w * term for w, term in zip(weights, terms, strict=True)]).sum()


class _CurriculumTemperature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature, self.reversal = losses.CurriculumTemperature(), 0.0

    def begin(self, epoch: int) -> None:
        self.reversal = losses.curriculum_weight(epoch + 1)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        temperature = self.temperature(self.reversal)
        return losses.soft_targets(student.logits, teacher.logits, temperature)


class _InformationFlow(nn.Module):
    epoch = 0

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = _pairs(student, teacher)
        return losses.information_flow(
            [pair[0] for pair in pairs], [pair[1] for pair in pairs], self.epoch
        )


class _Pieces(nn.Module):
    """The larger of two halves of the channels: a maxout activation."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.maximum(*maps.chunk(2, 1))


class _HintRegression(nn.Module):
    """FitNets' first stage: a maxout regressor on the student's guided layer, the teacher's kind."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        batch, channels, *size = teacher.maps[-1].shape
        target = batch, 2 * channels, *size
        self.regressor = ConvolutionalRegressor(student.maps[-1].shape, target, _Pieces())

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.hint(self.regressor(student.maps[-1]), teacher.maps[-1])


class _ProjectedHint(nn.Module):
    """A hint between embeddings, through a linear map: of the student, learnt, or of the teacher.

    A fixed random map of the teacher's embedding is how the hint's baseline of PKT's paper works.
    """

    def __init__(self, student: View, teacher: View, learnt: bool) -> None:
        super().__init__()
        ours, theirs = student.embedding.shape[1], teacher.embedding.shape[1]
        self.learnt = learnt
        sizes = (ours, theirs) if learnt else (theirs, ours)
        self.projection = nn.Linear(*sizes, bias=False).requires_grad_(learnt)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        ours, theirs = student.embedding.float(), teacher.embedding.float()
        if self.learnt:
            ours = self.projection(ours)
        else:
            theirs = self.projection(theirs)
        return losses.hint(ours[..., None, None], theirs[..., None, None])


class _Factors(nn.Module):
    """FT: the paraphraser is trained first, on the teacher alone, and then stays as it is."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        self.paraphraser = losses.Paraphraser(teacher.maps[-1].shape)
        self.translator = losses.Translator(student.maps[-1].shape, self.paraphraser.factors)

    def prepare(self, teacher: View) -> Tensor:
        """The loss of the first stage."""
        maps = teacher.maps[-1].float()
        return losses.paraphrase_reconstruction(self.paraphraser(maps), maps)

    def prepared(self) -> None:
        """What the first stage has taught is kept."""
        self.paraphraser.requires_grad_(False)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        with torch.no_grad():
            factor = self.paraphraser.encode(teacher.maps[-1])
        return losses.factor_transfer(self.translator(student.maps[-1]), factor, variant="authors")


class _Graphs(_Adapted):
    """MHGD: the attention network is trained first, on the teacher alone, and then stays as it is."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__(student, teacher, self._loss, "maps", "all", normalise=False)
        self.attention = losses.MultiHeadGraphs([maps.shape[1] for maps in teacher.maps])

    def prepare(self, teacher: View) -> Tensor:
        """The loss of the first stage."""
        return self.attention.estimation([maps.float() for maps in teacher.maps])

    def prepared(self) -> None:
        """What the first stage has taught is kept."""
        self.attention.requires_grad_(False)

    def _loss(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        return self.attention(student, teacher)


class _Overhaul(_Adapted):
    """OFD; the margins are the means of the teacher's negative responses on the first batch."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__(student, teacher, self._loss, "before", "all", normalise=True)
        for level, responses in enumerate(teacher.before):
            negative = responses.float().clamp_max(0)
            count = (negative < 0).sum((0, 2, 3)).clamp_min(1)
            self.register_buffer(f"margin{level}", negative.sum((0, 2, 3)) / count)

    def _loss(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        terms = [
            losses.overhaul(s, t, getattr(self, f"margin{level}"))
            for level, (s, t) in enumerate(zip(student, teacher, strict=True))
        ]
        return _by_depth(terms) / 1000  # the authors' unit


class _Variational(nn.Module):
    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        self.regressors = nn.ModuleList(
            losses.VariationalRegressor(s.shape, t.shape, variant="authors")
            for s, t in _pairs(student, teacher)
        )

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = zip(self.regressors, _pairs(student, teacher), strict=True)
        return torch.stack([regressor(s, t) for regressor, (s, t) in pairs]).sum()


class _SemanticCalibration(nn.Module):
    """SemCKD on all stages but the first, whose 3x3 projections cost more than any student here."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        ours, theirs = ([m.shape for m in view.maps[1:]] for view in (student, teacher))
        self.calibration = losses.SemanticCalibration(ours, theirs, setting.batch_size)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.semantic_calibration(
            *self.calibration(student.maps[1:], teacher.maps[1:]), variant="authors"
        )


class _Review(nn.Module):
    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        _pairs(student, teacher)
        ours, theirs = ([m.shape for m in view.maps] for view in (student, teacher))
        self.fusion = losses.ReviewFusion(ours, theirs)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        fused = self.fusion(student.maps)
        pairs = zip(fused, teacher.maps, strict=True)
        return torch.stack([losses.hierarchical_context(s, t) for s, t in pairs]).sum()


class _ReusedClassifier(nn.Module):
    """SimKD: what is deployed is the student, the projector and the teacher's classifier."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        self.projector = losses.ReusedClassifierProjector(
            student.maps[-1].shape, teacher.maps[-1].shape
        )

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.reused_classifier(*self.projector(student.maps[-1], teacher.maps[-1]))

    def answer(self, student: View, classifier: nn.Module) -> Tensor:
        """The deployed logits; `classifier` is the teacher's."""
        maps = self.projector.layers(student.maps[-1])
        return classifier(maps.mean((2, 3)))


class _LayerProjection(nn.Module):
    """ALP-KD on the pooled maps, each brought to the teacher's last width by its own linear layer."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        width = teacher.maps[-1].shape[1]
        self.ours = nn.ModuleList(nn.Linear(m.shape[1], width) for m in student.maps)
        self.theirs = nn.ModuleList(
            nn.Linear(m.shape[1], width).requires_grad_(False) for m in teacher.maps
        )

    @staticmethod
    def _states(view: View, projections: nn.ModuleList) -> Tensor:
        pairs = zip(view.maps, projections, strict=True)
        return torch.stack([layer(maps.mean((2, 3))) for maps, layer in pairs], dim=1)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.layer_projection(
            self._states(student, self.ours), self._states(teacher, self.theirs)
        )


class _Contrastive(nn.Module):
    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        widths = student.embedding.shape[1], teacher.embedding.shape[1]
        queue = min(16384, setting.images // 2)
        self.crd = losses.CRD(*widths, dataset_size=setting.images, queue=queue, quiet=True)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return self.crd(student.embedding, teacher.embedding, batch.labels)


def _class_attention(student: View, teacher: View, batch: Batch) -> Tensor:
    maps = [losses.class_activation_maps(v.maps[-1], v.classifier) for v in (student, teacher)]
    return losses.class_attention(*maps)


def _parameters(student: View, teacher: View, batch: Batch) -> Tensor:
    _pairs(student, teacher)
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
        "2.1", "hinton2015", "KD", _logits(losses.soft_targets, temperature=4.0), 1.0),
    "logit_regression": Method(
        "2.1", "ba2014", "Logits", _logits(losses.logit_regression)),
    "decoupled_kd": Method(
        "2.1", "zhao2022dkd", "DKD", _logits(losses.decoupled_kd, True, temperature=4.0), 1.0),
    "normalized_kd": Method(
        "2.1", "yang2023nkd", "NKD", _logits(losses.normalized_kd, True), 1.0),
    "pearson_distillation": Method(
        "2.1", "huang2022dist", "DIST", _logits(losses.pearson_distillation), 2.0),
    "standardized_soft_targets": Method(
        "2.1", "sun2024lskd", "LSKD", _logits(losses.standardized_soft_targets, temperature=2.0), 9.0),
    "multi_level_logits": Method(
        "2.1", "jin2023mlkd", "MLKD", _logits(losses.multi_level_logits), 1.0),
    "transformed_teacher": Method(
        "2.1", "zheng2024ttm", "WTTM", _logits(losses.transformed_teacher, temperature=4.0)),
    "curriculum_temperature": Method(
        "2.1", "li2023ctkd", "CTKD", lambda s, t, setting: _CurriculumTemperature(), 1.0),
    # 2.2 feature
    "hint": Method(
        "2.2", "romero2015fitnets", "FitNet",
        _adapted(_sum(partial(losses.hint, variant="common")), which="middle"), 100.0),
    "hint_regression": Method(
        "2.2",
        "romero2015fitnets",
        "FitNet (first stage)",
        _HintRegression,
        1.0,
        alone=True,
    ),
    "projected_hint": Method(
        "2.2",
        "romero2015fitnets",
        "Hint on embeddings",
        lambda s, t, setting: _ProjectedHint(s, t, learnt=True),
        alone=True,
    ),
    "random_hint": Method(
        "2.2",
        "romero2015fitnets",
        "Hint on embeddings, random map",
        lambda s, t, setting: _ProjectedHint(s, t, learnt=False),
        alone=True,
    ),
    "attention_transfer": Method(
        "2.2", "zagoruyko2017at", "AT", _each_layer(losses.attention_transfer, variant="authors"),
        1000.0),
    "neuron_selectivity": Method(
        "2.2", "huang2017nst", "NST", _each_layer(losses.neuron_selectivity), 50.0),
    "factor_transfer": Method("2.2", "kim2018ft", "FT", _Factors, 200.0),
    "activation_boundary": Method(
        "2.2", "heo2019ab", "AB",
        _adapted(
            lambda s, t: _by_depth(
                [losses.activation_boundary(a, b, variant="authors") for a, b in zip(s, t, strict=True)]
            ), "before", normalise=True), 1.0),
    "overhaul": Method("2.2", "heo2019ofd", "OFD", _Overhaul, 1.0),
    "variational_information": Method("2.2", "ahn2019vid", "VID", _Variational, 1.0),
    "semantic_calibration": Method("2.2", "chen2021semckd", "SemCKD", _SemanticCalibration, 400.0),
    "hierarchical_context": Method("2.2", "chen2021reviewkd", "ReviewKD", _Review, 1.0),
    "reused_classifier": Method("2.2", "chen2022simkd", "SimKD", _ReusedClassifier, 1.0, alone=True),
    "class_attention": Method(
        "2.2", "guo2023catkd", "CAT-KD", lambda s, t, setting: _Plain(_class_attention)),
    "feature_statistics": Method(
        "2.2", "yang2020adain", "AdaIN", _adapted(_sum(losses.feature_statistics))),
    "parameter_distribution": Method(
        "2.2", "liu2019kr", "KR", lambda s, t, setting: _Plain(_parameters)),
    "layer_projection": Method("2.2", "passban2021alp", "ALP-KD", _LayerProjection),
    # 2.3 relations between layers
    "fsp": Method("2.3", "yim2017fsp", "FSP", _adapted(_flows)),
    "kd_svd": Method("2.3", "lee2018kdsvd", "KD-SVD", _adapted(losses.kd_svd), 1.0),
    "graph_distillation": Method("2.3", "lee2019mhgd", "MHGD", _Graphs),
    "information_flow": Method(
        "2.3", "passalis2020ifm", "IFM", lambda s, t, setting: _InformationFlow()),
    # 2.3 relations between samples
    "rkd": Method(
        "2.3", "park2019rkd", "RKD", lambda s, t, setting: _Plain(_distances_and_angles), 1.0),
    "similarity_preserving": Method(
        "2.3", "tung2019sp", "SP", _last_layer(losses.similarity_preserving), 3000.0),
    "correlation_congruence": Method(
        "2.3", "peng2019cc", "CC", _embedding(losses.correlation_congruence), 0.02),
    "probabilistic_transfer": Method(
        "2.3", "passalis2018pkt", "PKT",
        _embedding(losses.probabilistic_transfer, variant="authors"), 30000.0),
    "hybrid_transfer": Method(
        "2.3", "passalis2020pktlight", "PKT (hybrid)", _embedding(losses.hybrid_transfer)),
    "irg_edges": Method("2.3", "liu2019irg", "IRG (edges)", _embedding(losses.irg_edges)),
    "locality_preserving": Method(
        "2.3", "chen2020lp", "LP", _embedding(losses.locality_preserving)),
    "crd": Method("2.3", "tian2020crd", "CRD", _Contrastive, 0.8),
    "inter_channel_correlation": Method(
        "2.3", "liu2021ickd", "ICKD",
        _adapted(_sum(losses.inter_channel_correlation), which="last")),
    "triplet_distillation": Method(
        "2.3", "feng2019triplet", "Triplet", lambda s, t, setting: _Plain(_triplets)),
    "darkrank": Method("2.3", "chen2018darkrank", "DarkRank", _embedding(losses.darkrank)),
    "relative_dissimilarity": Method(
        "2.3", "you2017", "You 2017", lambda s, t, setting: _Plain(_dissimilarity)),
}  # fmt: skip

"""The methods that learn something of their own beside the student, or change as epochs pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import ConvolutionalRegressor
from kdnb.losses.checks import Variant
from kdnb.methods.wiring import Adapted, Setting, Term, pairs_of, weighted_by_depth
from kdnb.training.layers import View


class LearntTemperature(Term):
    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        lowest: float = 1.0,
        span: float = 20.0,
        start: float = 1.0,
        ramp_epochs: float = 10,
    ) -> None:
        super().__init__()
        self.temperature = losses.CurriculumTemperature(lowest, span, start)
        self.reversal, self.ramp_epochs = 0.0, ramp_epochs

    def begin(self, epoch: int) -> None:
        self.reversal = losses.curriculum_weight(epoch + 1, self.ramp_epochs)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        temperature = self.temperature(self.reversal)
        return losses.soft_targets(student.logits, teacher.logits, temperature)


class InformationFlow(Term):
    epoch = 0

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        initial_weight: float = 100.0,
        decay: float = 0.7,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        self.options = {"initial_weight": initial_weight, "decay": decay, "variant": variant}

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = pairs_of(student, teacher)
        return losses.information_flow(
            [pair[0] for pair in pairs], [pair[1] for pair in pairs], self.epoch, **self.options
        )


class DistancesAndAngles(Term):
    """RKD: both of its terms, with the authors' weights."""

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        variant: Variant = "authors",
    ) -> None:
        super().__init__()
        self.distance_weight, self.angle_weight = distance_weight, angle_weight
        self.variant = variant

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pair = student.embedding, teacher.embedding
        return self.distance_weight * losses.rkd_distance(
            *pair, variant=self.variant
        ) + self.angle_weight * losses.rkd_angle(*pair, variant=self.variant)


class _Pieces(nn.Module):
    """The larger of two halves of the channels: a maxout activation."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.maximum(*maps.chunk(2, 1))


class HintRegression(Term):
    """FitNets' first stage: a maxout regressor on the student's guided layer, the teacher's kind."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        batch, channels, *size = teacher.maps[-1].shape
        target = batch, 2 * channels, *size
        self.regressor = ConvolutionalRegressor(student.maps[-1].shape, target, _Pieces())

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.hint(self.regressor(student.maps[-1]), teacher.maps[-1])


class ProjectedHint(Term):
    """A hint between embeddings, through a linear map: of the student, learnt, or of the teacher.

    A fixed random map of the teacher's embedding is how the hint's baseline of PKT's paper works.
    """

    def __init__(self, student: View, teacher: View, setting: Setting, learnt: bool) -> None:
        super().__init__()
        ours, theirs = student.embedding.shape[1], teacher.embedding.shape[1]
        self.learnt = learnt
        sizes = (ours, theirs) if learnt else (theirs, ours)
        self.projection = nn.Linear(*sizes, bias=False).requires_grad_(learnt)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        ours, theirs = student.embedding.float(), teacher.embedding.float()
        if self.learnt:
            ours = self.projection(ours)
        else:
            theirs = self.projection(theirs)
        return losses.hint(ours[..., None, None], theirs[..., None, None])


class Factors(Term):
    """FT: the paraphraser is trained first, on the teacher alone, and then stays as it is."""

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        rate: float = 0.5,
        norm: Literal[1, 2] = 1,
        variant: Variant = "authors",
    ) -> None:
        super().__init__()
        self.options = {"norm": norm, "variant": variant}
        self.paraphraser = losses.Paraphraser(teacher.maps[-1].shape, rate)
        self.translator = losses.Translator(student.maps[-1].shape, self.paraphraser.factors)

    def prepare(self, teacher: View) -> Tensor:
        """The loss of the first stage."""
        maps = teacher.maps[-1].float()
        return losses.paraphrase_reconstruction(self.paraphraser(maps), maps)

    def prepared(self) -> None:
        """What the first stage has taught is kept."""
        self.paraphraser.requires_grad_(False)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        with torch.no_grad():
            factor = self.paraphraser.encode(teacher.maps[-1])
        return losses.factor_transfer(self.translator(student.maps[-1]), factor, **self.options)


class Graphs(Adapted):
    """MHGD: the attention network is trained first, on the teacher alone, and then stays as it is."""

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        heads: int = 8,
        variant: Variant = "paper",
    ) -> None:
        super().__init__(student, teacher, self._loss, "maps", "all", normalise=False)
        self.variant = variant
        self.attention = losses.MultiHeadGraphs([maps.shape[1] for maps in teacher.maps], heads)

    def prepare(self, teacher: View) -> Tensor:
        """The loss of the first stage."""
        if len(teacher.logits) < self.least:
            return sum(weights.sum() for weights in self.attention.parameters()) * 0
        return self.attention.estimation([maps.float() for maps in teacher.maps])

    def prepared(self) -> None:
        """What the first stage has taught is kept."""
        self.attention.requires_grad_(False)

    def _loss(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        return self.attention(student, teacher, self.variant)


class Overhaul(Adapted):
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
        return weighted_by_depth(terms) / 1000  # the authors' unit


class Variational(Term):
    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        initial_variance: float = 5.0,
        minimum_variance: float = 1e-5,
        variant: Variant = "authors",
    ) -> None:
        super().__init__()
        self.regressors = nn.ModuleList(
            losses.VariationalRegressor(
                s.shape, t.shape, initial_variance, minimum_variance, variant
            )
            for s, t in pairs_of(student, teacher)
        )

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = zip(self.regressors, pairs_of(student, teacher), strict=True)
        return torch.stack([regressor(s, t) for regressor, (s, t) in pairs]).sum()


class Calibration(Term):
    """SemCKD on all stages but the first, whose 3x3 projections cost more than any student here.

    Its attention describes a layer by similarities within a batch of a fixed size: a smaller last
    batch adds nothing.
    """

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        reduction: int = 4,
        variant: Variant = "authors",
    ) -> None:
        super().__init__()
        self.variant, self.least = variant, setting.batch_size
        ours, theirs = ([m.shape for m in view.maps[1:]] for view in (student, teacher))
        size = setting.batch_size
        self.calibration = losses.SemanticCalibration(ours, theirs, size, reduction)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.semantic_calibration(
            *self.calibration(student.maps[1:], teacher.maps[1:]), variant=self.variant
        )


class Review(Term):
    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        middle: int | None = None,
        levels: Sequence[int] = (4, 2, 1),
    ) -> None:
        super().__init__()
        pairs_of(student, teacher)
        self.levels = tuple(levels)
        ours, theirs = ([m.shape for m in view.maps] for view in (student, teacher))
        self.fusion = losses.ReviewFusion(ours, theirs, middle)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        fused = self.fusion(student.maps)
        pairs = zip(fused, teacher.maps, strict=True)
        return torch.stack([losses.hierarchical_context(s, t, self.levels) for s, t in pairs]).sum()


class ReusedClassifier(Term):
    """SimKD: what is deployed is the student, the projector and the teacher's classifier."""

    def __init__(self, student: View, teacher: View, setting: Setting, reduction: int = 2) -> None:
        super().__init__()
        self.projector = losses.ReusedClassifierProjector(
            student.maps[-1].shape, teacher.maps[-1].shape, reduction
        )

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.reused_classifier(*self.projector(student.maps[-1], teacher.maps[-1]))

    def answer(self, student: View, classifier: nn.Module) -> Tensor:
        """The deployed logits; `classifier` is the teacher's."""
        maps = self.projector.layers(student.maps[-1])
        return classifier(maps.mean((2, 3)))


class LayerProjection(Term):
    """ALP-KD on the pooled maps, each brought to the teacher's last width by its own linear layer."""

    def __init__(
        self, student: View, teacher: View, setting: Setting, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        width = teacher.maps[-1].shape[1]
        self.ours = nn.ModuleList(nn.Linear(m.shape[1], width) for m in student.maps)
        self.theirs = nn.ModuleList(
            nn.Linear(m.shape[1], width).requires_grad_(False) for m in teacher.maps
        )

    @staticmethod
    def _states(view: View, projections: nn.ModuleList) -> Tensor:
        pairs = zip(view.maps, projections, strict=True)
        return torch.stack([layer(maps.mean((2, 3))) for maps, layer in pairs], dim=1)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.layer_projection(
            self._states(student, self.ours), self._states(teacher, self.theirs), self.temperature
        )


class Contrastive(Term):
    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        queue: int = 16384,
        features: int = 128,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        widths = student.embedding.shape[1], teacher.embedding.shape[1]
        if setting.images is None:
            raise ValueError("it needs to know how many images the training set has: images=...")
        queue = min(queue, setting.images // 2)
        self.crd = losses.CRD(*widths, setting.images, queue, features, temperature, quiet=True)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return self.crd(student.embedding, teacher.embedding, batch.labels)

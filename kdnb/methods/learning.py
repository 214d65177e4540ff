"""Methods that learn something besides the student, or change over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import ConvolutionalRegressor
from kdnb.losses.checks import Variant
from kdnb.methods.wiring import Adapted, Setting, Term, check_pooled, pairs_of, weighted_by_depth
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

    def begin(self, epoch: int, epochs: int) -> None:
        self.reversal = losses.curriculum_weight(epoch + 1, self.ramp_epochs)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        temperature = self.temperature(self.reversal)
        return losses.soft_targets(student.logits, teacher.logits, temperature)


class _Pieces(nn.Module):
    """A maxout activation: the larger of two halves of the channels."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.maximum(*maps.chunk(2, 1))


class HintRegression(Term):
    """FitNets' first stage: a maxout regressor on the student's guided layer, as in the teacher."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        batch, channels, *size = teacher.maps[-1].shape
        target = batch, 2 * channels, *size
        self.regressor = ConvolutionalRegressor(student.maps[-1].shape, target, _Pieces())

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.hint(self.regressor(student.maps[-1]), teacher.maps[-1])


class ProjectedHint(Term):
    """A hint between embeddings, by a learnt linear map of the student or a map of the teacher.

    A fixed random map of the teacher's embedding is the hint baseline of PKT's paper.
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
    """FT: the paraphraser is trained first, on the teacher alone, and then stays fixed."""

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
        """Freeze what the first stage has learnt."""
        self.paraphraser.requires_grad_(False)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        with torch.no_grad():
            factor = self.paraphraser.encode(teacher.maps[-1])
        return losses.factor_transfer(self.translator(student.maps[-1]), factor, **self.options)


class Overhaul(Adapted):
    """OFD; the margins come from the batch normalisations before the teacher's ReLUs.

    If there is none, the mean and standard deviation of the first batch's responses replace its
    bias and weight.
    """

    def __init__(
        self, student: View, teacher: View, setting: Setting, variant: Variant = "paper"
    ) -> None:
        super().__init__(student, teacher, self._loss, "before", "all", normalise=True)
        pairs = zip(teacher.before, teacher.norms, strict=True)
        for level, (responses, norm) in enumerate(pairs):
            if norm is not None:
                scale, shift = norm.weight, norm.bias
            else:
                values = responses.float().transpose(0, 1).flatten(1)
                scale, shift = values.std(1, correction=0), values.mean(1)
            margin = losses.overhaul_margin(scale, shift, variant)
            self.register_buffer(f"margin{level}", margin.clone())

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
    batch adds nothing, and a larger one is truncated.
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
        ours, theirs = ([m[: self.least] for m in view.maps[1:]] for view in (student, teacher))
        return losses.semantic_calibration(*self.calibration(ours, theirs), variant=self.variant)


class Review(Term):
    """ReviewKD on the stages and, as the deepest level, the last stage's mean as a 1x1 map."""

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
        ours, theirs = ([m.shape for m in _and_pooled(view)] for view in (student, teacher))
        self.fusion = losses.ReviewFusion(ours, theirs, middle)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        fused = self.fusion(_and_pooled(student))
        pairs = zip(fused, _and_pooled(teacher), strict=True)
        return torch.stack([losses.hierarchical_context(s, t, self.levels) for s, t in pairs]).sum()


def _and_pooled(view: View) -> list[Tensor]:
    return [*view.maps, view.maps[-1].mean((2, 3), keepdim=True)]


class ReusedClassifier(Term):
    """SimKD: the student, the projector and the teacher's classifier are deployed together."""

    def __init__(self, student: View, teacher: View, setting: Setting, reduction: int = 2) -> None:
        super().__init__()
        check_pooled("teacher", teacher)
        self.projector = losses.ReusedClassifierProjector(
            student.maps[-1].shape, teacher.maps[-1].shape, reduction
        )

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.reused_classifier(*self.projector(student.maps[-1], teacher.maps[-1]))

    def answer(self, student: View, classifier: nn.Module) -> Tensor:
        """The deployed logits; `classifier` is the teacher's."""
        pooled = self.projector.project(student.maps[-1]).mean((2, 3), keepdim=True)
        weight = next(classifier.parameters())
        pooled = pooled.to(weight.dtype)
        return classifier(pooled if weight.ndim == 4 else pooled.flatten(1)).flatten(1)


class LayerProjection(Term):
    """ALP-KD on the pooled maps, each mapped to the teacher's last width by a linear layer."""

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

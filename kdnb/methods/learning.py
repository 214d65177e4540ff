"""The methods that learn something of their own beside the student, or change as epochs pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import ConvolutionalRegressor
from kdnb.methods.wiring import Adapted, Setting, by_depth, pairs_of
from kdnb.training.layers import View


class LearntTemperature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature, self.reversal = losses.CurriculumTemperature(), 0.0

    def begin(self, epoch: int) -> None:
        self.reversal = losses.curriculum_weight(epoch + 1)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        temperature = self.temperature(self.reversal)
        return losses.soft_targets(student.logits, teacher.logits, temperature)


class InformationFlow(nn.Module):
    epoch = 0

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = pairs_of(student, teacher)
        return losses.information_flow(
            [pair[0] for pair in pairs], [pair[1] for pair in pairs], self.epoch
        )


class _Pieces(nn.Module):
    """The larger of two halves of the channels: a maxout activation."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.maximum(*maps.chunk(2, 1))


class HintRegression(nn.Module):
    """FitNets' first stage: a maxout regressor on the student's guided layer, the teacher's kind."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        batch, channels, *size = teacher.maps[-1].shape
        target = batch, 2 * channels, *size
        self.regressor = ConvolutionalRegressor(student.maps[-1].shape, target, _Pieces())

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.hint(self.regressor(student.maps[-1]), teacher.maps[-1])


class ProjectedHint(nn.Module):
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


class Factors(nn.Module):
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


class Graphs(Adapted):
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
        return by_depth(terms) / 1000  # the authors' unit


class Variational(nn.Module):
    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        self.regressors = nn.ModuleList(
            losses.VariationalRegressor(s.shape, t.shape, variant="authors")
            for s, t in pairs_of(student, teacher)
        )

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = zip(self.regressors, pairs_of(student, teacher), strict=True)
        return torch.stack([regressor(s, t) for regressor, (s, t) in pairs]).sum()


class Calibration(nn.Module):
    """SemCKD on all stages but the first, whose 3x3 projections cost more than any student here."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        ours, theirs = ([m.shape for m in view.maps[1:]] for view in (student, teacher))
        self.calibration = losses.SemanticCalibration(ours, theirs, setting.batch_size)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return losses.semantic_calibration(
            *self.calibration(student.maps[1:], teacher.maps[1:]), variant="authors"
        )


class Review(nn.Module):
    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        pairs_of(student, teacher)
        ours, theirs = ([m.shape for m in view.maps] for view in (student, teacher))
        self.fusion = losses.ReviewFusion(ours, theirs)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        fused = self.fusion(student.maps)
        pairs = zip(fused, teacher.maps, strict=True)
        return torch.stack([losses.hierarchical_context(s, t) for s, t in pairs]).sum()


class ReusedClassifier(nn.Module):
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


class LayerProjection(nn.Module):
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


class Contrastive(nn.Module):
    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        widths = student.embedding.shape[1], teacher.embedding.shape[1]
        queue = min(16384, setting.images // 2)
        self.crd = losses.CRD(*widths, dataset_size=setting.images, queue=queue, quiet=True)

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return self.crd(student.embedding, teacher.embedding, batch.labels)

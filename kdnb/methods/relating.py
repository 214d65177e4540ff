"""The methods of section 2.3 with parameters, with memory, or with several losses."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import Variant
from kdnb.methods.wiring import Adapted, Setting, Term, pairs_of
from kdnb.training.layers import View

# For networks that already agree on the first batch, this value limits the weight.
LEAST_CONGRUENCE = 1e-4


class InformationFlow(Term):
    """IFM; the weight of intermediate layers falls as in the authors' 50 epochs, rescaled."""

    epoch = 0.0

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

    def begin(self, epoch: int, epochs: int) -> None:
        self.epoch = 50 * epoch / epochs

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


class Congruence(Term):
    """CC with the soft targets of its paper.

    Without a `congruence_weight`, the term starts on the first batch at the cross-entropy of a
    uniform guess, so that neither term is negligible.
    """

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        congruence_weight: float | None = None,
        soft_weight: float = 1.0,
        temperature: float = 4.0,
        kernel_coefficient: float = 0.4,
        order: int = 2,
    ) -> None:
        super().__init__()
        if len(student.logits) < 2:  # a later batch of one still has its soft targets
            raise ValueError("it needs at least 2 samples in a batch; got 1.")
        self.options = {"kernel_coefficient": kernel_coefficient, "order": order}
        self.soft_weight, self.temperature = soft_weight, temperature
        if congruence_weight is None:
            first = float(self._congruence(student, teacher))
            congruence_weight = math.log(student.logits.shape[1]) / max(first, LEAST_CONGRUENCE)
        self.register_buffer("congruence_weight", torch.tensor(float(congruence_weight)))

    def _congruence(self, student: View, teacher: View) -> Tensor:
        return losses.correlation_congruence(student.embedding, teacher.embedding, **self.options)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        value = self.congruence_weight * self._congruence(student, teacher)
        if self.soft_weight:
            soft = losses.soft_targets(student.logits, teacher.logits, self.temperature)
            value = value + self.soft_weight * soft
        return value


class Flows(Term):
    """FSP between neighbouring layers; only the student is trained.

    If a layer of the two networks has different widths, fixed orthonormal weights map the wider
    one's channels to the width of the other. A learnt map could lower the loss by itself.
    """

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        for level, (ours, theirs) in enumerate(pairs_of(student, teacher)):
            narrow, wide = sorted((ours.shape[1], theirs.shape[1]))
            weight = torch.empty(narrow, wide)
            nn.init.orthogonal_(weight)
            self.register_buffer(f"map{level}", weight)

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        pairs = [
            self._narrowed(level, *pair) for level, pair in enumerate(pairs_of(student, teacher))
        ]
        terms = [
            losses.fsp(ours, last, theirs, goal)
            for (ours, theirs), (last, goal) in itertools.pairwise(pairs)
        ]
        return torch.stack(terms).sum()

    def _narrowed(self, level: int, *pair: Tensor) -> list[Tensor]:
        if pair[0].shape[1] == pair[1].shape[1]:
            return list(pair)
        weight = getattr(self, f"map{level}")
        return [
            torch.einsum("nc,bchw->bnhw", weight.to(maps.dtype), maps)
            if maps.shape[1] == weight.shape[1]
            else maps
            for maps in pair
        ]


class RelationshipGraph(Term):
    """IRG: logits, vertices, and the edges with the moves between layers.

    Vertices are embeddings, the student's mapped to the teacher's width by a learnt linear map
    where they differ. Moves are defined only between neighbouring layers of equal width, so a
    network whose stages all differ in width has none.
    """

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        logits_weight: float = 1.0,
        vertex_weight: float = 1.0,
        edge_weight: float = 1.0,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        if len(student.logits) < 3:  # a later batch of two adds the other terms
            raise ValueError(
                f"it needs at least 3 samples in a batch; got {len(student.logits)}: between two "
                "there is one relation, which nothing can be compared with."
            )
        self.logits_weight, self.vertex_weight = logits_weight, vertex_weight
        self.edge_weight, self.variant = edge_weight, variant
        ours, theirs = student.embedding.shape[1], teacher.embedding.shape[1]
        self.map = nn.Identity() if ours == theirs else nn.Linear(ours, theirs, bias=False)
        self.moves = [
            level
            for level, pair in enumerate(itertools.pairwise(pairs_of(student, teacher)))
            if all(first.shape[1] == last.shape[1] for first, last in zip(*pair, strict=True))
        ]

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        ours, theirs = student.embedding.float(), teacher.embedding.float()
        logits = 2 * losses.logit_regression(student.logits, teacher.logits)
        vertices = 2 * losses.logit_regression(self.map(ours), theirs)
        relations = losses.irg_edges(ours, theirs, self.variant)
        for level in self.moves:
            relations = relations + losses.irg_transformation(
                *student.maps[level : level + 2], *teacher.maps[level : level + 2], self.variant
            )
        terms = self.logits_weight * logits, self.vertex_weight * vertices
        return sum(terms) + self.edge_weight * relations


class Graphs(Adapted):
    """MHGD: the attention network is trained first, on the teacher alone, and then stays fixed."""

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
        """Freeze what the first stage has learnt."""
        self.attention.requires_grad_(False)

    def _loss(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        return self.attention(student, teacher, self.variant)


class Contrastive(Term):
    """CRD, with a memory indexed by the samples' positions in the training set, if known."""

    def __init__(
        self,
        student: View,
        teacher: View,
        setting: Setting,
        negatives: int = 16384,
        features: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        widths = student.embedding.shape[1], teacher.embedding.shape[1]
        if setting.images is None:
            raise ValueError("it needs to know how many images the training set has: images=...")
        self.crd = losses.CRD(
            *widths, setting.images, negatives, features, temperature, momentum, quiet=True
        )

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        labels = batch.labels
        if labels is not None and labels.is_floating_point():
            labels = labels.argmax(1) if labels.ndim == 2 and labels.shape[1] > 1 else None
        if labels is not None and labels.ndim != 1:  # dense maps have no single class
            labels = None
        return self.crd(student.embedding, teacher.embedding, labels, batch.index)

"""Where the teacher looks, and which of its layers to look at: AT, CAT-KD, ALP-KD, SemCKD."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._checks import at_least_float32, check_maps, check_temperature
from kdnb.losses.adapters import bottleneck, map_shape, to_common_size
from kdnb.losses.feature._common import (
    Variant,
    check_layers,
    check_variant,
    no_autocast,
    unit,
)


def attention_map(maps: Tensor, power: float = 2.0) -> Tensor:
    """The spatial attention of Zagoruyko 2017: sum over channels of |A|^power, (batch, H, W).

    >>> attention_map(torch.tensor([[[[1.0, 2.0]], [[0.0, -2.0]]]]))
    tensor([[[1., 8.]]])
    """
    check_maps(maps=maps)
    return at_least_float32(maps).abs().pow(power).sum(dim=1)


def attention_transfer(
    student_maps: Tensor,
    teacher_maps: Tensor,
    power: float = 2.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""Activation-based attention transfer (Zagoruyko and Komodakis 2017, equation 2).

    .. math:: L = \frac1B \sum_b \Big\lVert \frac{Q_S}{\lVert Q_S \rVert_2}
        - \frac{Q_T}{\lVert Q_T \rVert_2} \Big\rVert_2,
        \quad Q = \mathrm{vec}\Big(\sum_c |A_c|^p\Big)

    for one pair of layers; the paper sums over pairs, with half of its weight (10^3 divided by
    the number of elements and the batch) in front.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width). Widths may differ, as the
            channels are summed; other spatial sizes are pooled to the common one.
        power: p, at least 1; 2 in the paper's experiments.
        variant: "authors" is the mean over batch and positions of the squared differences, used
            with a weight of 1000, whose effect therefore depends on height times width.

    Returns:
        A scalar without unit, between 0 and the square root of 2 (in the paper's form).

    Raises:
        ValueError: for other shapes, or a power below 1.

    Departures: the norm is not squared in the paper, squared in the authors' code. At equal maps
    it has no gradient; 0 is taken.

    >>> student, teacher = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    >>> attention_transfer(student, teacher)
    tensor(1.4142)
    """
    check_variant(variant)
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    if not power >= 1:
        raise ValueError(f"power must be at least 1; got {power}.")
    student, teacher = to_common_size(
        at_least_float32(student_maps), at_least_float32(teacher_maps)
    )
    student, teacher = (
        unit(attention_map(unit(maps, (1, 2, 3)), power).flatten(1), 1)
        for maps in (student, teacher)
    )
    if variant == "authors":
        return (student - teacher).square().mean()
    return torch.linalg.vector_norm(student - teacher, dim=1).mean()


def class_activation_maps(maps: Tensor, classifier_weight: Tensor) -> Tensor:
    """Each class's map: the channels in front of the global average pool, weighted by the class.

    Args:
        maps: (batch, channels, height, width).
        classifier_weight: (classes, channels), the weight of the linear classifier.

    Returns:
        (batch, classes, height, width); its mean over positions is the logits less the bias.

    >>> class_activation_maps(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 2.0]])).item()
    3.0
    """
    check_maps(maps=maps)
    if classifier_weight.ndim != 2 or classifier_weight.shape[1] != maps.shape[1]:
        raise ValueError(
            f"classifier_weight must be (classes, {maps.shape[1]}) for maps {tuple(maps.shape)}; "
            f"got {tuple(classifier_weight.shape)}."
        )
    with no_autocast(maps):
        weight, features = at_least_float32(classifier_weight), at_least_float32(maps)
        dtype = torch.promote_types(weight.dtype, features.dtype)
        return torch.einsum("kc,bchw->bkhw", weight.to(dtype), features.to(dtype))


def class_attention(
    student_activation_maps: Tensor,
    teacher_activation_maps: Tensor,
    resolution: int = 2,
    variant: Variant = "paper",
) -> Tensor:
    r"""Class attention transfer, CAT-KD (Guo 2023): pooled, normalised class activation maps.

    .. math:: L = \frac{1}{BK} \sum_b \sum_k \Big\lVert
        \frac{\phi(M^S_k)}{\lVert \phi(M^S_k) \rVert_2}
        - \frac{\phi(M^T_k)}{\lVert \phi(M^T_k) \rVert_2} \Big\rVert_2^2

    with K classes, the maps M of :func:`class_activation_maps` and average pooling phi.

    Args:
        student_activation_maps, teacher_activation_maps: (batch, classes, height, width); the
            spatial sizes may differ.
        resolution: side of the pooled maps, 2 in the authors' CIFAR-100 runs.
        variant: "authors" averages over the pooled positions too, resolution² times less.

    Returns:
        A scalar without unit, between 0 and 4.

    Raises:
        ValueError: for other shapes, different classes, or a resolution below 1.

    Departures: the paper's equation and default resolution are recalled; pooling, normalisation
    and the mean over elements are confirmed in the authors' code.

    >>> class_attention(torch.ones(1, 3, 4, 4), -torch.ones(1, 3, 2, 2))
    tensor(4.)
    """
    check_variant(variant)
    check_maps(
        "BC",
        student_activation_maps=student_activation_maps,
        teacher_activation_maps=teacher_activation_maps,
    )
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1; got {resolution}.")
    student, teacher = (
        unit(F.adaptive_avg_pool2d(at_least_float32(maps), resolution), (2, 3))
        for maps in (student_activation_maps, teacher_activation_maps)
    )
    distance = (student - teacher).square()
    return distance.mean() if variant == "authors" else distance.sum(dim=(2, 3)).mean()


def layer_projection(
    student_states: Tensor, teacher_states: Tensor, temperature: float = 1.0
) -> Tensor:
    r"""ALP-KD (Passban 2021): every student layer meets a mixture of all the teacher's layers.

    .. math:: L = \sum_i \mathrm{MSE}\Big(h^S_i, \sum_j \epsilon_{ij} h^T_j\Big),
        \quad \epsilon_{ij} = \mathrm{softmax}_j(h^S_i \cdot h^T_j / \tau)

    The attention is computed for each sample; gradients flow through it.

    Args:
        student_states: (batch, student layers, width), one vector for each layer, the [CLS]
            token's in the paper; pool a convolutional map to one.
        teacher_states: (batch, teacher layers, width).
        temperature: 1 in the paper; the square root of the width in some re-implementations.

    Returns:
        A scalar in squared units of the states: the mean over batch and width, summed over the
        student's layers.

    Raises:
        ValueError: for other shapes, different widths, or a temperature that is not above 0.

    Departures: no released code; the dot-product attention and the mean squared error are
    recalled, and agree with a public re-implementation up to its scaled dot product and its
    mean over layers.

    >>> layer_projection(torch.ones(1, 1, 2), torch.tensor([[[2.0, 2.0], [2.0, 2.0]]]))
    tensor(1.)
    """
    check_temperature(temperature)
    shapes = [tuple(states.shape) for states in (student_states, teacher_states)]
    if any(len(shape) != 3 or 0 in shape for shape in shapes) or shapes[0][::2] != shapes[1][::2]:
        raise ValueError(
            "student_states and teacher_states must be (batch, layers, width) with the same batch "
            f"and width; got student_states {shapes[0]} and teacher_states {shapes[1]}."
        )
    student, teacher = at_least_float32(student_states), at_least_float32(teacher_states)
    with no_autocast(student):
        attention = torch.softmax(student @ teacher.mT / temperature, dim=2)
        mixture = attention @ teacher
    return (student - mixture).square().mean(dim=(0, 2)).sum()


def semantic_calibration(
    student_maps: Sequence[Sequence[Tensor]],
    teacher_maps: Sequence[Sequence[Tensor]],
    attention: Tensor,
    variant: Variant = "paper",
) -> Tensor:
    r"""SemCKD (Chen 2021, equation 6): each pair of layers counts by its attention.

    .. math:: L = \frac1B \sum_b \sum_s \sum_t a_{bst}\, \mathrm{MSE}(P_{st}(F^S_s), F^T_t)

    Args:
        student_maps: for each student layer, one projection onto every teacher layer's shape.
        teacher_maps: the same shapes; :class:`SemanticCalibration` builds both.
        attention: (batch, student layers, teacher layers), a distribution over the last axis.
        variant: "authors" also divides by the number of student layers.

    Returns:
        A scalar in squared units of the maps, 0 where every pair agrees.

    Raises:
        ValueError: for pairs of different shapes or an attention of another shape.

    Departures: the number of the equation is recalled; the terms follow the authors' code.

    >>> maps = [[torch.ones(1, 2, 3, 3), torch.ones(1, 4, 2, 2)]]
    >>> targets = [[torch.zeros(1, 2, 3, 3), torch.ones(1, 4, 2, 2)]]
    >>> semantic_calibration(maps, targets, torch.tensor([[[0.25, 0.75]]]))
    tensor(0.2500)
    """
    check_variant(variant)
    check_layers(student_maps, teacher_maps)
    rows = []
    for student_row, teacher_row in zip(student_maps, teacher_maps, strict=True):
        check_layers(student_row, teacher_row)
        row = []
        for student, teacher in zip(student_row, teacher_row, strict=True):
            check_maps(student_maps=student, teacher_maps=teacher)
            difference = at_least_float32(student) - at_least_float32(teacher)
            row.append(difference.square().flatten(1).mean(dim=1))
        rows.append(torch.stack(row, dim=1))
    distances = torch.stack(rows, dim=1)
    if attention.shape != distances.shape:
        raise ValueError(
            f"attention must be (batch, student layers, teacher layers) {tuple(distances.shape)}; "
            f"got {tuple(attention.shape)}."
        )
    loss = (at_least_float32(attention) * distances).sum(dim=(1, 2)).mean()
    return loss / distances.shape[1] if variant == "authors" else loss


class SemanticCalibration(nn.Module):
    """SemCKD's projections and attention; its output is what :func:`semantic_calibration` takes.

    A layer is described by the batch's similarity matrix F F^T; a row of it, through a two-layer
    perceptron and normalised, is a sample's query (student) or key (teacher). The row has one
    entry for each sample, so the batch size is part of the module, as in the authors' code:
    drop incomplete batches. The maps of a pair are pooled to the smaller size.
    """

    def __init__(
        self,
        student_shapes: Sequence[Sequence[int]],
        teacher_shapes: Sequence[Sequence[int]],
        batch: int,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        self.batch = batch
        width = max(1, batch // reduction)
        self.queries = nn.ModuleList(self._embedding(batch, width) for _ in student_shapes)
        self.keys = nn.ModuleList(self._embedding(batch, width) for _ in teacher_shapes)
        students = [map_shape(shape, "student_shapes")[0] for shape in student_shapes]
        teachers = [map_shape(shape, "teacher_shapes")[0] for shape in teacher_shapes]
        self.projections = nn.ModuleList(
            nn.ModuleList(bottleneck(channels, 2 * out, out, close=False) for out in teachers)
            for channels in students
        )

    @staticmethod
    def _embedding(batch: int, width: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(batch, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def _describe(self, maps: Sequence[Tensor], embeddings: nn.ModuleList) -> Tensor:
        rows = []
        for value, embedding in zip(maps, embeddings, strict=True):
            if value.shape[0] != self.batch:
                raise ValueError(f"built for batches of {self.batch}; got {tuple(value.shape)}.")
            flat = at_least_float32(value).flatten(1)
            rows.append(unit(embedding((flat @ flat.T).to(embedding[0].weight.dtype)), 1))
        return torch.stack(rows, dim=1)

    def forward(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]
    ) -> tuple[list[list[Tensor]], list[list[Tensor]], Tensor]:
        """Projected student maps and teacher maps for every pair, and the attention."""
        check_layers(student_maps, self.queries, "student layers of the module")
        check_layers(teacher_maps, self.keys, "teacher layers of the module")
        with no_autocast(student_maps[0]):
            queries = self._describe(student_maps, self.queries)
            keys = self._describe(teacher_maps, self.keys)
            attention = torch.softmax(queries @ keys.mT, dim=2)
        projected, targets = [], []
        for student, row in zip(student_maps, self.projections, strict=True):
            pairs = [to_common_size(student, teacher) for teacher in teacher_maps]
            sources = [pair[0] for pair in pairs]
            projected.append([layer(x) for layer, x in zip(row, sources, strict=True)])
            targets.append([pair[1] for pair in pairs])
        return projected, targets, attention

"""MHGD (Lee and Song 2019): graphs between samples from a multi-head attention network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._arithmetic import divergence, unit
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_channels,
    check_lists,
    check_maps,
    check_number,
    check_parameters,
    check_samples,
    check_variant,
)
from kdnb.losses.kdsvd import matched, right_vectors


def feature_vectors(student: Tensor, teacher: Tensor, spare: int = 3) -> tuple[Tensor, Tensor]:
    """Reduce each sample's map to one vector over the channels, its first right singular vector.

    The teacher's entries are made to add up to at least 0. Of the student's first 1 + `spare`
    singular vectors, the one most similar to the teacher's is taken, with matching sign.

    Args:
        student, teacher: (batch, channels, height, width) with the same number of channels; height
            and width may differ.
        spare: how many more of the student's vectors are searched; 3 in the authors' code.

    Returns:
        Two tensors (batch, channels), student first, of length 1. Gradients flow into the
        teacher's too unless its maps are detached.

    Raises:
        ValueError: if an argument is not a map, or batch sizes or channels differ.
    """
    check_maps("B", student=student, teacher=teacher)
    check_channels(student=student, teacher=teacher)
    check_number(least=0, whole=True, spare=spare)
    target = _leading_vector(teacher)
    found, _ = right_vectors(student, 1 + spare)
    return matched(found, target.unsqueeze(2)).squeeze(2), target


def graph_distillation(
    student_graphs: Sequence[Tensor], teacher_graphs: Sequence[Tensor], variant: Variant = "paper"
) -> Tensor:
    r"""The divergence of two networks' attention graphs (Lee and Song 2019, MHGD).

    .. math:: L = \frac1B \sum_l \sum_h \sum_i \mathrm{KL}\big(A^T_{lhi} \,\|\, A^S_{lhi}\big),
        \quad A_{lhi} = \mathrm{softmax}_j \tanh G_{lhij}

    over pairs of neighbouring layers l, heads h and samples i; the tanh keeps a few strong edges
    from dominating the rest.

    Args:
        student_graphs, teacher_graphs: lists of equal length of logits G (heads, batch, batch),
            such as :class:`MultiHeadGraphs` computes.
        variant: "authors" is KL(A_S ‖ A_T), summed over the batch as well.

    Returns:
        A scalar in nats, at least 0; 0 when all graphs agree. Gradients flow into the teacher's
        graphs too unless they are detached.

    Raises:
        ValueError: for lists of different length, graphs of different shapes, or no graphs.

    Departures: the authors' code was read; of the paper, only the abstract. The direction and the
    batch mean of "paper" follow the KL divergence in the survey's Table 2; the authors' code uses
    the other direction.

    >>> graph_distillation([torch.zeros(1, 2, 2)], [torch.tensor([[[9.0, -9.0], [0.0, 0.0]]])])
    tensor(0.1639)
    """
    check_variant(variant)
    check_lists(student_graphs=student_graphs, teacher_graphs=teacher_graphs)
    loss = 0
    for index, (student, teacher) in enumerate(zip(student_graphs, teacher_graphs, strict=True)):
        names = f"student_graphs[{index}]", f"teacher_graphs[{index}]"
        check_parameters(**dict(zip(names, (student, teacher), strict=True)))
        if student.shape != teacher.shape or student.ndim != 3:
            raise ValueError(
                "graphs must be pairs of one shape (heads, batch, batch); got "
                f"{tuple(student.shape)} and {tuple(teacher.shape)}."
            )
        held, moved = (at_least_float32(graph).tanh().flatten(0, 1) for graph in (teacher, student))
        if variant == "authors":
            held, moved = moved, held
        total = divergence(held, moved).sum()
        loss = loss + (total if variant == "authors" else total / student.shape[1])
    return loss


class MultiHeadGraphs(nn.Module):
    r"""MHGD's attention network (Lee and Song 2019): describes a network's embedding by graphs.

    .. math:: G_{lhij} = f_{lh}(v_{l,i})^\top g_{lh}(v_{l-1,j}), \quad
        \hat v_{l,i} = \mathrm{unit}\Big(W_l \big[\textstyle\sum_j \mathrm{softmax}_j(G_{lhij})\,
        e_l(v_{l-1,j})\big]_h\Big)

    with :func:`feature_vectors` v of layer l; f, g and e are linear with batch normalisation, e
    with a ReLU. For each head, the graph says from which samples' earlier vectors a sample's later
    vector is computed. It is used in two phases:

    1. :meth:`estimation` trains the network on the teacher alone: -cos of v̂ and v.
    2. Calling the module gives the transfer loss: :func:`graph_distillation` of the graphs that the
       network draws for the student and for the teacher. It is frozen there in any mode: no
       parameter gets a gradient and batch normalisation uses its running statistics.

    Args:
        channels: channels of each layer, first layer first, at least 2; the same in both networks
            (map the student's with a 1x1 convolution if they differ).
        heads: the number of attention heads; 8 in the authors' code.

    Raises:
        ValueError: for fewer than 2 layers or a number below 1.

    Departures: architecture, phases and the dropping of heads follow the authors' code, which
    trains phase 1 for 40 epochs. While v̂ is trained, each head of a sample is dropped with a
    probability of about a half. The code clips the transfer gradient of each parameter to the norm
    of the cross-entropy's; this is part of the training, and `kdnb.distil` does it. Batch
    normalisation has their epsilon of 0.001 and torch's momentum. The gradient of a cosine passes
    through the singular vectors as in :func:`~kdnb.losses.kd_svd`.
    """

    def __init__(self, channels: Sequence[int], heads: int = 8) -> None:
        super().__init__()
        check_lists(channels=channels)
        widths = {f"channels[{i}]": width for i, width in enumerate(channels)}
        check_number(least=1, whole=True, heads=heads, **widths)
        if len(channels) < 2:
            raise ValueError(f"a graph lies between 2 layers; got channels {list(channels)}.")
        self.channels = tuple(channels)
        self.links = nn.ModuleList(_Link(*pair, heads) for pair in pairwise(channels))

    def estimation(self, teacher_layers: Sequence[Tensor]) -> Tensor:
        """Phase 1: 1 - cos of estimated and true vectors, a batch mean summed over the links.

        The layers are (batch, channels, height, width), with at least 2 samples.
        """
        self._check(teacher_layers)
        check_samples(**{f"teacher_layers[{i}]": maps for i, maps in enumerate(teacher_layers)})
        vectors = self._converted([_leading_vector(maps) for maps in teacher_layers])
        loss = 0
        with torch.autocast(vectors[0].device.type, enabled=False):
            for link, (earlier, later) in zip(self.links, pairwise(vectors), strict=True):
                estimate = link.estimate(earlier, later)
                loss = loss + (1 - (estimate * later).sum(dim=1)).mean()
        return loss

    def forward(
        self,
        student_layers: Sequence[Tensor],
        teacher_layers: Sequence[Tensor],
        variant: Variant = "paper",
    ) -> Tensor:
        """Phase 2: the transfer loss of two lists of maps, one map for each of `channels`."""
        self._check(student_layers)
        self._check(teacher_layers)
        pairs = zip(student_layers, teacher_layers, strict=True)
        sides = zip(*(feature_vectors(*pair) for pair in pairs), strict=True)
        student, teacher = (self._graphs(self._converted(vectors)) for vectors in sides)
        return graph_distillation(student, teacher, variant)

    def _graphs(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        with torch.autocast(vectors[0].device.type, enabled=False):
            return [
                link.graph(earlier, later, frozen=True)
                for link, (earlier, later) in zip(self.links, pairwise(vectors), strict=True)
            ]

    def _converted(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        dtype = self.links[0].output.weight.dtype
        return [value.to(dtype) for value in vectors]

    def _check(self, layers: Sequence[Tensor]) -> None:
        check_lists(layers=layers)
        widths = tuple(
            maps.shape[1] if isinstance(maps, Tensor) and maps.ndim == 4 else None
            for maps in layers
        )
        if widths != self.channels:
            raise ValueError(
                "layers must be maps (batch, channels, height, width), as built, with channels "
                f"{self.channels}; got {[tuple(getattr(maps, 'shape', ())) for maps in layers]}."
            )


class _Link(nn.Module):
    """The attention and the estimator between two neighbouring layers."""

    def __init__(self, earlier: int, later: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        width = math.ceil((earlier + later) / 2)
        self.senders = _normalised(later, heads * width)
        self.receivers = _normalised(earlier, heads * width)
        self.values = _normalised(earlier, width)
        self.output = nn.Linear(heads * width, later)

    def graph(self, earlier: Tensor, later: Tensor, frozen: bool = False) -> Tensor:
        """(heads, batch, batch): row i, the later sample; column j, the earlier one."""
        apply = _frozen if frozen else nn.Sequential.__call__
        senders, receivers = (
            apply(layers, vectors).unflatten(1, (self.heads, -1)).transpose(0, 1)
            for layers, vectors in ((self.senders, later), (self.receivers, earlier))
        )
        return senders @ receivers.mT

    def estimate(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Estimate the later vectors, (batch, channels) of length 1, from the earlier ones."""
        attention = self.graph(earlier, later).softmax(dim=2)
        if self.training:
            noise = torch.randn(attention.shape[:2], device=attention.device).unsqueeze(2)
            attention = attention * (noise >= noise.mean(dim=0))
        mixed = attention @ self.values(earlier).relu()
        return unit(self.output(mixed.transpose(0, 1).flatten(1)))


def _normalised(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, eps=1e-3))


def _frozen(layers: nn.Sequential, vectors: Tensor) -> Tensor:
    """Apply the layers in evaluation mode and without gradients to their parameters."""
    linear, norm = layers
    return F.batch_norm(
        F.linear(vectors, linear.weight.detach()),
        norm.running_mean,
        norm.running_var,
        norm.weight.detach(),
        norm.bias.detach(),
        eps=norm.eps,
    )


def _leading_vector(maps: Tensor) -> Tensor:
    """(batch, channels): the first right singular vector, its entries adding up to at least 0."""
    vector = right_vectors(maps, 1)[0].squeeze(2)
    return vector * torch.where(vector.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)

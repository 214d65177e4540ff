"""Few-sample distillation (FSKD, Li et al. 2020d): a closed form instead of training.

A student made by pruning or decomposition keeps its teacher's blocks. A 1x1 convolution is added
after the last convolution of each block, estimated by least squares on a few unlabelled images so
that the block's output matches the teacher's, and then absorbed into that convolution.
`match_blocks` takes any networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kdnb.losses.checks import check_maps
from kdnb.nets import features
from kdnb.training.borrowed import evaluating


def align(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""The 1x1 convolution that brings a student's maps closest to its teacher's.

    .. math:: Q = \arg\min_Q \sum_i \lVert Q X^s_i - X^t_i \rVert_F^2

    over all images and positions, in float64 (Li et al. 2020d).

    Args:
        student_maps, teacher_maps: (images, channels, height, width); the channels may differ.

    Returns:
        Q, (teacher's channels, student's channels) float64; the shortest solution if there are
        several.

    Raises:
        ValueError: for maps that differ in more than their channels.
    """
    check_maps("BHW", student_maps=student_maps, teacher_maps=teacher_maps)
    # Equations are pixels and unknowns channels: the pseudo-inverse also works if channels are dead
    # or there are fewer pixels than channels.
    source = student_maps.detach().double().transpose(0, 1).flatten(1)
    target = teacher_maps.detach().double().transpose(0, 1).flatten(1)
    return target @ torch.linalg.pinv(source)


@torch.no_grad()
def absorb(convolution: nn.Conv2d, matrix: Tensor) -> None:
    r"""Merge a 1x1 convolution into the one before it, which keeps its size.

    .. math:: W'_{oikl} = \sum_c Q_{oc} W_{cikl}, \quad b' = Q b

    Args:
        convolution: changed in place; not grouped.
        matrix: Q, (outputs, outputs).

    Raises:
        ValueError: for a matrix that is not (outputs, outputs), since later layers would no longer
            fit.
    """
    outputs = convolution.out_channels
    if tuple(matrix.shape) != (outputs, outputs):
        raise ValueError(
            f"the matrix must be ({outputs}, {outputs}) to be absorbed into {outputs} channels; "
            f"got {tuple(matrix.shape)}."
        )
    weight = convolution.weight
    weight.copy_((matrix.double() @ weight.double().flatten(1)).view(weight.shape))
    if convolution.bias is not None:
        convolution.bias.copy_(matrix.double() @ convolution.bias.double())


@torch.no_grad()
def fold(network: nn.Module, convolution: str, norm: str) -> None:
    r"""Merge a batch normalisation in eval mode into the convolution before it.

    .. math:: W' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} W, \quad
        b' = \beta + \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} (b - \mu)

    Args:
        network: changed in place: the normalisation becomes an `nn.Identity`.
        convolution, norm: module paths.

    Raises:
        TypeError: if the paths are not a Conv2d and a BatchNorm2d.
    """
    first, second = network.get_submodule(convolution), network.get_submodule(norm)
    if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.BatchNorm2d):
        raise TypeError(
            f"fold merges a BatchNorm2d into a Conv2d; {convolution!r} and {norm!r} are "
            f"{type(first).__name__} and {type(second).__name__}."
        )
    scale = second.weight / (second.running_var + second.eps).sqrt()
    bias = first.bias if first.bias is not None else torch.zeros_like(second.running_mean)
    first.weight.mul_(scale.view(-1, 1, 1, 1))
    first.bias = nn.Parameter(second.bias + scale * (bias - second.running_mean))
    network.set_submodule(norm, nn.Identity())


def match_blocks(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    blocks: Sequence[str] | Mapping[str, str],
    kept: Mapping[str, Tensor] | None = None,
) -> list[tuple[float, float]]:
    """Fit a student to its teacher, block by block, from a few unlabelled images.

    The blocks are fitted in order from the input, each on the output of those already fitted
    (one round of block coordinate descent).

    Args:
        student: changed in place; eval mode is used, and the mode restored afterwards. Fold its
            batch normalisations first (:func:`fold`): the paths must be followed directly by the
            activation.
        teacher: left unchanged.
        images: (images, channels, height, width), normalised; more pixels are better.
        blocks: paths of convolutions before an activation, the same in both networks, or a mapping
            from the student's to the teacher's module (which may be a normalisation).
        kept: the teacher's channels that the student has, for each student path with pruned
            channels.

    Returns:
        The relative squared error of each block's maps before and after its own fit.

    Raises:
        ValueError: for an unknown path, or maps that differ in more than the pruned channels.

    Departures: as in the authors' code, the blocks end before the activation. Their code absorbs
    after a batch normalisation without folding it, which is not exact.
    """
    pairs = dict(blocks) if isinstance(blocks, Mapping) else {path: path for path in blocks}
    errors = []
    with evaluating(student, teacher), torch.no_grad():
        with features(teacher, list(pairs.values())) as maps:
            teacher(images)
        for path, other in pairs.items():
            target = maps[other]
            if kept and path in kept:
                target = target[:, kept[path]]
            before = _output(student, path, images)
            absorb(student.get_submodule(path), align(before, target))
            after = _output(student, path, images)
            errors.append((_error(before, target), _error(after, target)))
    return errors


def _output(network: nn.Module, path: str, images: Tensor) -> Tensor:
    with features(network, [path]) as maps:
        network(images)
    return maps[path]


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).double().square().sum() / wanted.double().square().sum())

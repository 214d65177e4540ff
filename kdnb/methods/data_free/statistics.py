"""Lopes et al. 2017: distil from activation statistics recorded while the data were available.

Whoever trains the teacher records statistics of its layers on the data, class by class: means and
covariances of the top layer, or means of all layers. Images are then optimised to have such
activations. A third record, the few directions in which a layer's activations lie, is ours and
replaces the paper's spectral records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdnb.data import Batches
from kdnb.losses.checks import at_least_float32
from kdnb.methods.data_free.synthesis import Bounds, optimise_pixels
from kdnb.nets import features
from kdnb.training import Networks
from kdnb.training.borrowed import evaluating


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """The activation statistics of one layer on the data, for each class.

    Attributes:
        mean: (classes, units) float64.
        covariance: (classes, units, units) float64, divided by the number of images.
        counts: (classes,) images of each class.
    """

    mean: Tensor
    covariance: Tensor
    counts: Tensor


@torch.no_grad()
def record(
    network: nn.Module, batches: Batches, paths: Sequence[str], classes: int
) -> dict[str, LayerRecord]:
    """Record activation statistics, the only step that sees the data.

    Args:
        network: run in eval mode.
        batches: of the training data, with labels.
        paths: modules; maps are flattened, (batch, units).
        classes: number of classes of the labels, each at least once in the data.

    Returns:
        A record for each path. Sums are kept, never the activations.

    Raises:
        ValueError: if a class has no image.
    """
    counts = torch.zeros(classes, dtype=torch.int64)
    sums: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    with evaluating(network), features(network, list(paths)) as maps:
        for batch in batches.epoch(0):
            network(batch.images)
            labels = batch.labels.cpu()
            counts += torch.bincount(labels, minlength=classes)
            for path in paths:
                units = maps[path].flatten(1).double().cpu()
                width = units.shape[1]
                sums.setdefault(path, torch.zeros(classes, width, dtype=torch.float64))
                squares.setdefault(path, torch.zeros(classes, width, width, dtype=torch.float64))
                for label in labels.unique().tolist():
                    here = units[labels == label]
                    sums[path][label] += here.sum(0)
                    squares[path][label] += here.T @ here
    if not bool((counts > 0).all()):
        raise ValueError(f"classes without an image: {(counts == 0).nonzero()[:, 0].tolist()}.")
    found = {}
    for path in paths:
        mean = sums[path] / counts[:, None]
        second = squares[path] / counts[:, None, None]
        found[path] = LayerRecord(mean, second - mean[:, :, None] * mean[:, None, :], counts)
    return found


def sample_activations(kept: LayerRecord, per_class: int, *, seed: int = 0) -> Tensor:
    r"""Activations drawn from a record: :math:`\mathcal{N}(\mu_k, \Sigma_k)` for class k.

    Args:
        kept: of the layer.
        per_class: how many of each class.

    Returns:
        (classes * per_class, units) float32, class after class.
    """
    values, vectors = torch.linalg.eigh(kept.covariance)
    root = vectors * values.clamp_min(0).sqrt()[:, None, :]
    classes, units = kept.mean.shape
    stream = torch.Generator().manual_seed(seed)
    drawn = torch.randn(classes, per_class, units, generator=stream, dtype=torch.float64)
    return (kept.mean[:, None] + drawn @ root.mT).flatten(0, 1).float()


def principal_directions(kept: LayerRecord, share: float = 0.1) -> Tensor:
    """The leading directions of a layer's activations, class by class.

    Not the paper's spectral record, which is of a graph whose nodes are the units of several
    layers. Lopes et al. 2017 take a Laplacian of it (recalled). Their code
    (`replayed_distillation`, `compute_stats.py`, read in November 2026) weights an edge between
    units of neighbouring layers by the product of their class means and takes no Laplacian; it is
    unfinished there, and its objective does not use the result. Therefore it is not implemented
    here.

    Args:
        kept: of the layer.
        share: share of the directions that are kept, at least one.

    Returns:
        (classes, units, directions) float32, orthonormal columns: the leading eigenvectors of the
        second moment of the class.

    Raises:
        ValueError: for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1]; got {share}.")
    second = kept.covariance + kept.mean[:, :, None] * kept.mean[:, None, :]
    units = second.shape[1]
    vectors = torch.linalg.eigh(second).eigenvectors.flip(-1)
    return vectors[..., : max(1, round(share * units))].float()


def share_outside(activations: Tensor, basis: Tensor) -> Tensor:
    r"""The share of the activations outside the recorded directions.

    .. math:: L = \frac1n \sum_i \Big( 1 -
        \frac{\lVert V_{y_i}^T a_i \rVert_2^2}{\lVert a_i \rVert_2^2} \Big)

    Args:
        activations: (batch, units).
        basis: (batch, units, directions), of each image's class, orthonormal columns.

    Returns:
        A scalar in [0, 1]; rows of zeros count as 1.

    Raises:
        ValueError: if the shapes do not match.

    This loss is ours, for :func:`principal_directions`.
    """
    if activations.ndim != 2 or basis.shape[:2] != activations.shape:
        raise ValueError(
            f"activations must be (batch, units) and basis (batch, units, directions); got "
            f"{tuple(activations.shape)} and {tuple(basis.shape)}."
        )
    values = at_least_float32(activations)
    kept = torch.einsum("bu,bud->bd", values, basis.to(values)).square().sum(1)
    return (1 - kept / values.square().sum(1).clamp_min(1e-12)).mean()


def reconstruct(
    teacher: nn.Module,
    targets: Mapping[str, Tensor],
    shape: tuple[int, ...],
    *,
    directions: bool = False,
    bounds: Bounds | None = None,
    iterations: int = 500,
    lr: float = 0.05,
    batch_size: int = 500,
    precision: str = "32",
    seed: int = 0,
) -> Tensor:
    r"""Reconstruct images with the recorded activations (Lopes 2017).

    .. math:: \hat X = \arg\min_X\; l\big(\Phi(X), \Phi_{rec}\big)

    (Lopes et al. 2017, equation 2) with l the mean squared error, summed over the layers; or,
    ours, :func:`share_outside`.

    Args:
        teacher: frozen.
        targets: module path -> activations (images, units): one path, the top layer's, of
            `sample_activations`; or the class means of all layers. With `directions`, path ->
            bases (images, units, directions) of `principal_directions`.
        shape: shape of an image, (channels, height, width).
        bounds: bounds of the pixels.
        iterations, lr: number of steps and learning rate of Adam.
        batch_size: the number of images optimised at a time.

    Returns:
        (images, *shape) float32 on the CPU.

    Raises:
        ValueError: if the paths have different numbers of targets.

    Departures: the paper keeps one fixed dropout mask for each class while it records all layers;
    left out here.
    """
    sizes = {len(target) for target in targets.values()}
    if len(sizes) != 1:
        raise ValueError(f"every layer needs as many targets; got {sorted(sizes)}.")
    stream = torch.Generator().manual_seed(seed)
    made = []
    with features(teacher, list(targets)) as maps:
        for first in range(0, sizes.pop(), batch_size):
            wanted = {path: target[first : first + batch_size] for path, target in targets.items()}

            def terms(
                running: Networks, images: Tensor, wanted: Mapping[str, Tensor] = wanted
            ) -> dict[str, Tensor]:
                running["teacher"](images)
                parts = {}
                for path, goal in wanted.items():
                    units = at_least_float32(maps[path].flatten(1))
                    goal = goal.to(units)
                    parts[path] = (
                        share_outside(units, goal) if directions else (units - goal).square().mean()
                    )
                return parts

            count = len(next(iter(wanted.values())))
            made.append(
                optimise_pixels(
                    torch.randn(count, *shape, generator=stream), {"teacher": teacher}, terms,
                    iterations=iterations, lr=lr, bounds=bounds, precision=precision,
                    seed=seed + first,
                )
            )  # fmt: skip
    return torch.cat(made)

"""The distance between two sets of images in the features of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdnb.methods.adversarial.gan import applied
from kdnb.nets import features


def embedded(classifier: nn.Module, images: Tensor, path: str) -> Tensor:
    """The features of images: the outputs of one module of a classifier, as float64 vectors.

    Args:
        classifier: images -> anything; in eval mode while it runs.
        images: (count, channels, height, width), normalised as the classifier expects them.
        path: path of the module; maps are averaged over their positions.

    Returns:
        (count, numbers) on the CPU.
    """
    with features(classifier, [path]) as taken:
        rows = [taken[path].cpu() for _ in applied(classifier, images)]
    rows = [row.mean((2, 3)) if row.ndim == 4 else row.flatten(1) for row in rows]
    return torch.cat(rows).double()


def frechet_distance(mean: Tensor, covariance: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    r"""The squared Fréchet (2-Wasserstein) distance of two Gaussians (Dowson and Landau 1982).

    .. math:: d^2 = \lVert \mu_1 - \mu_2 \rVert_2^2 + \mathrm{tr}\big(\Sigma_1 + \Sigma_2
        - 2 (\Sigma_1^{1/2} \Sigma_2 \Sigma_1^{1/2})^{1/2}\big)

    The product under the root is symmetric, so its root is computed from eigenvalues; those that
    rounding makes negative count as 0. The root of the plain product, which is not symmetric,
    becomes complex if a covariance is singular.

    Args:
        mean, mean2: (numbers,).
        covariance, covariance2: (numbers, numbers), symmetric and positive semi-definite.

    Returns:
        The distance, at least 0, computed in float64.

    Raises:
        ValueError: for mismatched shapes, or a matrix that is not symmetric.

    >>> one = torch.eye(2)
    >>> round(frechet_distance(torch.zeros(2), one, torch.ones(2), 4 * one), 9)
    4.0
    """
    n = len(mean)
    for name, value, shape in (
        ("mean", mean, (n,)),
        ("mean2", mean2, (n,)),
        ("covariance", covariance, (n, n)),
        ("covariance2", covariance2, (n, n)),
    ):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}; got {tuple(value.shape)}.")
        if value.ndim == 2 and not torch.allclose(value, value.T, rtol=1e-4, atol=1e-6):
            raise ValueError(f"{name} must be symmetric.")
    first, second = covariance.double(), covariance2.double()
    values, vectors = torch.linalg.eigh((first + first.T) / 2)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    inner = root @ second @ root
    common = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp_min(0).sqrt().sum()
    apart = (mean.double() - mean2.double()).square().sum()
    return max(0.0, float(apart + first.trace() + second.trace() - 2 * common))


def feature_frechet(rows: Tensor, rows2: Tensor) -> float:
    """The Fréchet distance of two sets of vectors, each treated as a Gaussian with its moments.

    It compares whole sets; the order of the rows does not matter. The distance grows as there are
    fewer rows, so compare sets of equal size.

    Args:
        rows, rows2: (count, numbers), such as features of one layer; at least 2 rows each, with the
            same number of columns.

    Raises:
        ValueError: for wrong shapes, or fewer than 2 rows.

    >>> round(feature_frechet(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [3.0]])), 9)
    9.0
    """
    if rows.ndim != 2 or rows2.ndim != 2 or rows.shape[1] != rows2.shape[1]:
        raise ValueError(
            "features must be (count, numbers), of equally many numbers; got "
            f"{tuple(rows.shape)} and {tuple(rows2.shape)}."
        )
    moments = []
    for part in (rows.double(), rows2.double()):
        if len(part) < 2:
            raise ValueError(f"a covariance takes 2 rows at least; got {len(part)}.")
        moments += [part.mean(0), torch.cov(part.T).reshape(part.shape[1], -1)]
    return frechet_distance(*moments)


def classifier_frechet(
    classifier: nn.Module, images: Tensor, images2: Tensor, *, path: str
) -> float:
    """The Fréchet distance of two sets of images, in the features of a classifier.

    The Fréchet Inception distance (Heusel et al. 2017) with any classifier instead of Inception,
    such as a digit classifier for digits. Values are comparable only for the same classifier, the
    same layer and sets of equal size.

    Args:
        classifier, path: see `embedded`.
        images, images2: (count, channels, height, width), at least 2 each.

    Raises:
        ValueError: for fewer than 2 images.
    """
    return feature_frechet(*(embedded(classifier, part, path) for part in (images, images2)))

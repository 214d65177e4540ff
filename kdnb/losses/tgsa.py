"""TGSA (Bashivan et al. 2019): whether two networks find the same images similar."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import direction, identity, product, rows
from kdnb.losses.checks import check_samples, check_values


def dissimilarity_matrix(features: Tensor) -> Tensor:
    r"""The representational dissimilarity matrix of a network on probe images (Bashivan 2019).

    .. math:: \mathrm{RDM}_{ij} = 1 - \rho(f_i, f_j)

    with Pearson's correlation over the features of a layer. It is invariant to adding a constant to
    an image's features, to multiplying them by a positive number, and to the order of the features.

    Args:
        features: (images, ...), at least 2 images; flattened. At least 2 features are needed for a
            correlation.

    Returns:
        (images, images), symmetric, without unit: 0 on the diagonal, elsewhere between 0 and 2. An
        image whose features are all equal has correlation 0, and entry 1, with all others.

    Raises:
        ValueError: for fewer than 2 images.

    >>> features = torch.tensor([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0], [2.0, 1.0, 0.0]])
    >>> dissimilarity_matrix(features).abs().round(decimals=3)
    tensor([[0., 0., 2.],
            [0., 0., 2.],
            [2., 2., 0.]])
    """
    check_samples(features=features)
    check_values(features=features)
    correlations = _correlations(features)
    return (1 - correlations).masked_fill(identity(correlations), 0)


def representation_similarity(student: Tensor, teacher: Tensor) -> Tensor:
    r"""The agreement of two networks about which images are similar (Bashivan 2019, TG).

    .. math:: \mathrm{TG} = \rho\big(\mathrm{RDM}^S_{i<j}, \mathrm{RDM}^T_{i<j}\big)

    This is Pearson's correlation over all pairs of images. Layers of any width and kind may be
    compared.

    Args:
        student, teacher: (images, ...), features of the same images, at least 3; flattened.

    Returns:
        A scalar from -1 to 1 without unit: 1 for the same layer, about 0 for unrelated layers, and
        0 if all pairs of a network are equally dissimilar. Larger means more similar: to train with
        it, minimise 1 - TG.

    Raises:
        ValueError: for different numbers of images, or fewer than 3.

    Departures: only the paper's abstract and a public summary were read; the summary has this
    correlation of the upper triangles. The paper takes the mean over several layers of the teacher,
    and for each the most similar layer of the candidate; here it is one layer of each (see
    :func:`kdnb.methods.nas.teacher_guidance`).

    >>> ours = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 1.0], [3.0, 1.0, 0.0]])
    >>> representation_similarity(ours, 2 * ours + 1).round(decimals=4)
    tensor(1.)
    """
    check_samples(minimum=3, student=student, teacher=teacher)
    check_values(student=student, teacher=teacher)
    count = len(student)
    above = torch.triu_indices(count, count, 1, device=student.device)
    ours, theirs = (_correlations(one)[above[0], above[1]] for one in (student, teacher))
    # The correlations of 1 - rho and of rho are the same.
    dtype = torch.promote_types(ours.dtype, theirs.dtype)
    return (direction(ours.to(dtype), 0) * direction(theirs.to(dtype), 0)).sum()


def _correlations(features: Tensor) -> Tensor:
    """(images, images): Pearson's correlations over features."""
    unit = direction(rows(features), 1)
    return product(unit, unit.T)

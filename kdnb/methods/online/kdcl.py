"""KDCL (Guo et al. 2020): every student learns from one target made of all their logits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch, Batches
from kdnb.losses import hard_loss, soft_targets
from kdnb.losses.checks import at_least_float32, check_labels
from kdnb.methods.online.common import Distortion, check_networks, constrain_all, shifted
from kdnb.training import Recipe, Update, fit, predict
from kdnb.training.inputs import batches_for

Aggregate = Literal["naive", "min_logit", "linear", "general"]


def naive_target(logits: Tensor, labels: Tensor) -> Tensor:
    """KDCL-Naive: for each image the logits of the student with the smallest cross-entropy.

    Args:
        logits: (students, batch, classes).
        labels: (batch,).

    Returns:
        (batch, classes).
    """
    losses = torch.stack(
        [F.cross_entropy(z, labels, reduction="none") for z in _checked(logits, labels)]
    )
    return at_least_float32(logits)[
        losses.argmin(0), torch.arange(len(labels), device=labels.device)
    ]


def min_logit_target(logits: Tensor, labels: Tensor) -> Tensor:
    r"""KDCL-MinLogit: :math:`z_c = \min_k (z_{kc} - z_{ky})`, which is 0 at the true class y.

    Its cross-entropy is at most that of every student, since each other class gets its smallest
    margin.

    >>> z = torch.tensor([[[2.0, 1.0, 0.0]], [[1.0, -3.0, 2.0]]])
    >>> min_logit_target(z, torch.tensor([0]))
    tensor([[ 0., -4., -2.]])
    """
    logits = _checked(logits, labels)
    column = labels.view(1, -1, 1).expand(len(logits), -1, 1)
    return (logits - logits.gather(2, column)).amin(0)


def linear_target(logits: Tensor, labels: Tensor, sweeps: int = 5) -> Tensor:
    r"""KDCL-Linear: for each image the convex combination of logits with least cross-entropy.

    .. math:: \min_{a \ge 0,\, \sum a = 1} H\big(y, \mathrm{softmax}(\textstyle\sum_k a_k z_k)\big)

    The problem is convex. Weight is moved between two students at a time until the slope is 0 (by
    bisection), which is exact for two students.

    Args:
        logits: (students, batch, classes).
        labels: (batch,).
        sweeps: over all pairs of students.

    Returns:
        (batch, classes).
    """
    logits = _checked(logits, labels)
    truth = F.one_hot(labels, logits.shape[2]).to(logits)
    share = logits.new_full((len(logits), len(labels)), 1 / len(logits))
    mixed = (share.unsqueeze(2) * logits).sum(0)
    pairs = list(combinations(range(len(logits)), 2))
    for _ in range(sweeps if len(pairs) > 1 else 1):
        for i, j in pairs:
            along = logits[i] - logits[j]
            low, high = -share[i], share[j].clone()
            for _ in range(30):
                middle = (low + high) / 2
                error = (mixed + middle.unsqueeze(1) * along).softmax(1) - truth
                rising = (error * along).sum(1) > 0
                low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
            step = (low + high) / 2
            share[i], share[j] = share[i] + step, share[j] - step
            mixed = mixed + step.unsqueeze(1) * along
    return mixed


def general_weights(probabilities: Tensor, labels: Tensor) -> Tensor:
    r"""KDCL-General: the students' weights with least squared error on held-out images.

    .. math:: w = \frac{C^{-1} 1}{1^T C^{-1} 1}, \quad
        C_{ij} = \mathrm{E}\big[(f_i - t)^T (f_j - t)\big]

    with the one-hot label t (after Perrone and Cooper 1993).

    Args:
        probabilities: (students, images, classes), on images that no student was trained on.
        labels: (images,).

    Returns:
        (students,), sum 1. Some may be negative.
    """
    wrong = _checked(probabilities, labels).double() - F.one_hot(labels, probabilities.shape[2])
    flat = wrong.flatten(1)
    covariance = flat @ flat.T / len(labels)
    # Two equal students make the matrix singular: a small multiple of the identity splits the
    # weight between them.
    covariance += 1e-6 * covariance.trace() * torch.eye(len(flat), device=flat.device)
    weights = torch.linalg.solve(covariance, torch.ones_like(flat[:, 0]))
    return (weights / weights.sum()).float()


def _checked(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(f"logits must be (students, batch, classes); got {tuple(logits.shape)}.")
    check_labels(logits[0], labels)
    return at_least_float32(logits)


TARGETS = {"naive": naive_target, "min_logit": min_logit_target, "linear": linear_target}


def kdcl(
    networks: Mapping[str, nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    aggregate: Aggregate = "min_logit",
    validation: Batches | None = None,
    view: Distortion | None = shifted,
    weight: float = 1.0,
    temperature: float = 2.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""KDCL, collaborative learning (Guo et al. 2020): one target z for all students.

    .. math:: L = \sum_k H(y, p_k) + \mathrm{weight} \cdot T^2\, KL(\tilde p_z \,\|\, \tilde p_k)

    Args:
        networks: by name, two at least; trained in place.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        aggregate: how z is made: :func:`naive_target`, :func:`min_logit_target`,
            :func:`linear_target`, or ``general``: the weighted mean of the logits with
            :func:`general_weights` computed before every epoch.
        validation: un-shuffled, for ``general``.
        view: distorts a batch of images at random; every student gets its own view, which makes the
            target invariant to distortions, as in the paper. The default is a shift by up to an
            eighth of the side, after the batches' own augmentation. With None, all see the same
            batch.
        temperature: T, 2 in the paper (recalled).
        options: passed to `training.fit`.

    Returns:
        The history; the terms are `<name>.hard` and `<name>.soft`.

    Raises:
        ValueError: for one network, an unknown aggregate, ``general`` without validation, or inputs
            for which the default cannot make views.

    Departures: the four targets are recalled from the paper, whose authors published no code;
    whether ``general`` weights logits or probabilities is not confirmed. A separate view for every
    student is from the paper; the default distortion is ours. No gradient flows into the target.
    """
    check_networks(networks)
    if aggregate not in (*TARGETS, "general"):
        raise ValueError(f"aggregate is one of {(*TARGETS, 'general')}; got {aggregate!r}.")
    if (aggregate == "general") != (validation is not None):
        raise ValueError("validation images go with aggregate='general', and with no other.")
    shares: list[Tensor] = []

    def begin(epoch: int) -> None:
        if validation is not None:
            answers = [predict(network, validation).softmax(1) for network in networks.values()]
            shares[:] = [general_weights(torch.stack(answers), validation.images.labels.cpu())]

    def terms(running, batch: Batch) -> dict[str, Tensor]:
        look = view or (lambda images: images)
        logits = {name: running[name](look(batch.images)) for name in networks}
        stacked = torch.stack([z.detach().float() for z in logits.values()])
        if aggregate == "general":
            target = (shares[0].to(stacked).view(-1, 1, 1) * stacked).sum(0)
        else:
            target = TARGETS[aggregate](stacked, batch.labels)
        parts = {}
        for name, z in logits.items():
            parts[f"{name}.hard"] = hard_loss(z, batch.labels)
            parts[f"{name}.soft"] = weight * soft_targets(z, target, temperature)
        return parts

    update = Update(tuple(networks), terms, after=lambda: constrain_all(networks), begin=begin)
    batches = batches_for(examples, recipe, seed)
    return fit(networks, batches, update, recipe, seed=seed, **options)

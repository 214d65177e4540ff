"""Measures of online methods besides errors: entropy, flatness, churn and the ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batches
from kdnb.losses import ensemble_log_probabilities
from kdnb.losses.checks import at_least_float32, check_labels, check_logits, check_temperature
from kdnb.training import predict


def posterior_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""The mean entropy of a network's answers: :math:`-\frac1B \sum_b \sum_k p_{bk} \log p_{bk}`.

    Zhang et al. 2018 report 0.26 for an independent ResNet-32 on CIFAR-100 and 1.71 after mutual
    learning (temperature 1, over the training images; which images is recalled, not confirmed).

    Args:
        logits: (batch, classes), at least 2 classes.
        temperature: T > 0 of p = softmax(z / T).

    Returns:
        A scalar in nats, from 0 to log(classes).

    Raises:
        ValueError: for wrong shapes or a temperature that is not above 0.

    >>> posterior_entropy(torch.zeros(3, 4))
    tensor(1.3863)
    """
    check_logits(2, logits=logits)
    check_temperature(temperature)
    log_p = F.log_softmax(at_least_float32(logits) / temperature, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def loss_rise(
    network: nn.Module, batches: Batches, sds: Sequence[float], *, draws: int = 1, seed: int = 0
) -> list[float]:
    r"""The sharpness of a minimum: the rise of the loss when noise is added to the weights.

    .. math:: \frac1D \sum_d L(\theta + \sigma \epsilon_d) - L(\theta), \quad
        \epsilon_d \sim N(0, 1)

    with the cross-entropy L over one un-shuffled epoch of `batches`, in eval mode (Zhang et al.
    2018, section 3.6; after Chaudhari 2017 and Keskar 2017).

    Args:
        network: changed only while it is measured: every parameter is restored exactly.
        batches: un-augmented; the labels are those of its images.
        sds: the noise's standard deviations, each at least 0; all use the same `draws` directions,
            so that the curve is smooth.
        draws: noises averaged over.
        seed: for the noise.

    Returns:
        One rise in nats for each standard deviation.

    Raises:
        ValueError: for augmented or shuffled batches, a negative deviation or no draw.

    Departures: only parameters change; the running statistics of batch normalisation are kept,
    since the paper speaks of parameters. It does not give the number of draws.
    """
    if batches.augmented or batches.shuffle:
        raise ValueError("the loss is compared on one and the same epoch: no shuffle, no crops.")
    if min(sds, default=0) < 0 or draws < 1:
        raise ValueError(f"sds must be at least 0 and draws at least 1; got {sds} and {draws}.")
    labels = batches.images.labels.cpu()

    def loss() -> float:
        return float(F.cross_entropy(predict(network, batches), labels))

    parameters = list(network.parameters())
    kept = [parameter.detach().clone() for parameter in parameters]
    still, rises = loss(), [0.0] * len(sds)
    try:
        for draw in range(draws):
            generator = torch.Generator().manual_seed(seed * 1000 + draw)
            noise = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
            for place, sd in enumerate(sds):
                _set(parameters, [start + sd * step for start, step in zip(kept, noise)])
                rises[place] += (loss() - still) / draws
    finally:
        _set(parameters, kept)
    return rises


@torch.no_grad()
def _set(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def ensemble_errors(logits: Sequence[Tensor], labels: Tensor) -> int:
    """The errors of the networks' mean probabilities.

    >>> ensemble_errors([torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])], torch.tensor([0]))
    0
    """
    answers = ensemble_log_probabilities(logits)
    check_labels(answers, labels)
    return int((answers.argmax(1) != labels).sum())


def churn(logits: Tensor, other_logits: Tensor) -> float:
    """The share of images on which two networks' answers differ (Anil et al. 2018, section 3.3).

    >>> churn(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
    0.5
    """
    check_logits(logits=logits, other_logits=other_logits)
    return float((logits.argmax(1) != other_logits.argmax(1)).float().mean())

"""The adversary's side: the losses of a GAN as functions of scores, and a small discriminator.

A score is a logit: the discriminator's odds for "real" are exp(score). Every loss is written with
softplus, log(1 + e^x), so that no logarithm meets a rounded 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._checks import at_least_float32
from kdnb.nets._shared import check_counts

Kind = Literal["non_saturating", "saturating", "least_squares"]


def judging_loss(real_scores: Tensor, fake_scores: Tensor, kind: Kind = "non_saturating") -> Tensor:
    r"""What a discriminator minimises: real scores up, fake scores down.

    .. math:: L_D = -E_{real}[\log\sigma(d)] - E_{fake}[\log(1 - \sigma(d))]
        = E_{real}[\zeta(-d)] + E_{fake}[\zeta(d)]

    with the softplus :math:`\zeta` (Goodfellow et al. 2014, equation 1, negated). Its optimum is
    :math:`d^* = \log p_{real} - \log p_{fake}`, and the loss there is
    :math:`2\log 2 - 2\,\mathrm{JS}(p_{real}, p_{fake})`. Least squares (Mao et al. 2017, targets 1
    and 0): :math:`\tfrac12 E_{real}[(d - 1)^2] + \tfrac12 E_{fake}[d^2]`, whose optimum is
    :math:`p_{real} / (p_{real} + p_{fake})`.

    Args:
        real_scores, fake_scores: (batch,); the two batches may differ in size.
        kind: `saturating` and `non_saturating` differ for the generator only.

    Returns:
        A scalar: in nats, or in squared scores for least squares.

    Raises:
        ValueError: for scores that are not (batch,), or an unknown kind.

    >>> judging_loss(torch.zeros(2), torch.zeros(3))
    tensor(1.3863)
    """
    _check(kind, real_scores=real_scores, fake_scores=fake_scores)
    real, fake = at_least_float32(real_scores), at_least_float32(fake_scores)
    if kind == "least_squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def fooling_loss(fake_scores: Tensor, kind: Kind = "non_saturating") -> Tensor:
    r"""What a generator minimises: it wants its own work to score high.

    - `saturating`, the game's own value: :math:`E[\log(1 - \sigma(d))] = -E[\zeta(d)]`. Its
      gradient is :math:`-\sigma(d)`, next to nothing where the discriminator is sure;
    - `non_saturating`: :math:`-E[\log \sigma(d)] = E[\zeta(-d)]`, gradient
      :math:`-(1 - \sigma(d))`, largest there (Goodfellow et al. 2014, section 3);
    - `least_squares`: :math:`\tfrac12 E[(d - 1)^2]` (Mao et al. 2017).

    All three push scores up; they have the same fixed points against the best discriminator.

    Args:
        fake_scores: (batch,), with gradients into whoever made what is scored.

    Returns:
        A scalar; below 0 for `saturating`.

    Raises:
        ValueError: for scores that are not (batch,), or an unknown kind.

    >>> fooling_loss(torch.zeros(4)), fooling_loss(torch.zeros(4), "saturating")
    (tensor(0.6931), tensor(-0.6931))
    """
    _check(kind, fake_scores=fake_scores)
    fake = at_least_float32(fake_scores)
    if kind == "least_squares":
        return (fake - 1).square().mean() / 2
    return F.softplus(-fake).mean() if kind == "non_saturating" else -F.softplus(fake).mean()


class Critic(nn.Module):
    """A small discriminator of vectors: linear layers with leaky ReLU, scores without a sigmoid.

    The discriminators of adversarial distillation look at logits or features, so a few linear
    layers do. One that looks at maps without averaging them is
    `kdnb.schemes.online.Discriminator`; it gives probabilities.

    Args:
        inputs: numbers in a vector, or channels of maps, which are averaged over their positions.
        outputs: 1 for a score (batch,); more give (batch, outputs).
        widths: of the hidden layers.

    Raises:
        ValueError: for counts below 1, or (in the call) inputs of another size.

    >>> Critic(10)(torch.zeros(4, 10)).shape, Critic(8, 3)(torch.zeros(4, 8, 5, 5)).shape
    (torch.Size([4]), torch.Size([4, 3]))
    """

    def __init__(self, inputs: int, outputs: int = 1, *, widths: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        check_counts(inputs=inputs, outputs=outputs)
        self.inputs = inputs
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *widths]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear([inputs, *widths][-1], outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Scores (batch,), or (batch, outputs) where there are several."""
        if features.ndim == 4:
            features = features.mean((2, 3))
        if features.ndim != 2 or features.shape[1] != self.inputs:
            raise ValueError(
                f"this critic judges vectors of {self.inputs} numbers, or maps of so many "
                f"channels; got {tuple(features.shape)}."
            )
        return self.head(self.layers(features)).squeeze(1)


def _check(kind: str, **scores: Tensor) -> None:
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}.")
    for name, value in scores.items():
        if value.ndim != 1 or not len(value) or not torch.is_floating_point(value):
            raise ValueError(
                f"{name} must be floating-point scores of shape (batch,), at least 1; "
                f"got {value.dtype} of shape {tuple(value.shape)}."
            )

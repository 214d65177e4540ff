"""Losses of a generator and a discriminator (Goodfellow et al. 2014 and variants)."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_choice, check_number, check_scores

Kind = Literal["non_saturating", "saturating", "least_squares"]


def judging_loss(real_scores: Tensor, fake_scores: Tensor, kind: Kind = "non_saturating") -> Tensor:
    r"""The discriminator's loss (Goodfellow 2014): raise real scores, lower fake scores.

    .. math:: L_D = -E_{real}[\log\sigma(d)] - E_{fake}[\log(1 - \sigma(d))]
        = E_{real}[\zeta(-d)] + E_{fake}[\zeta(d)]

    with the softplus :math:`\zeta` (Goodfellow et al. 2014, equation 1, negated). Its optimum is
    :math:`d^* = \log p_{real} - \log p_{fake}`, and the loss there is
    :math:`2\log 2 - 2\,\mathrm{JS}(p_{real}, p_{fake})`. The least-squares form (Mao et al. 2017,
    targets 1 and 0) is :math:`\tfrac12 E_{real}[(d - 1)^2] + \tfrac12 E_{fake}[d^2]`, whose optimum
    is :math:`p_{real} / (p_{real} + p_{fake})`.

    Args:
        real_scores, fake_scores: (batch,); the two batches may differ in size.
        kind: `saturating` and `non_saturating` differ only for the generator.

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
    r"""The generator's loss (Goodfellow 2014): raise the scores of its own samples.

    - `saturating`, the original game: :math:`E[\log(1 - \sigma(d))] = -E[\zeta(d)]`. Its gradient
      is :math:`-\sigma(d)`, almost 0 where the discriminator is confident;
    - `non_saturating`: :math:`-E[\log \sigma(d)] = E[\zeta(-d)]`, gradient
      :math:`-(1 - \sigma(d))`, largest there (Goodfellow et al. 2014, section 3);
    - `least_squares`: :math:`\tfrac12 E[(d - 1)^2]` (Mao et al. 2017).

    All three push scores up, and have the same fixed points against the optimal discriminator.

    Args:
        fake_scores: (batch,), with gradients into the network whose output is scored.

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


def _check(kind: str, **scores: Tensor) -> None:
    check_choice(get_args(Kind), kind=kind)
    check_scores(**scores)


def confused_judging_loss(
    real_scores: Tensor,
    fake_scores: Tensor,
    confusion_weight: float,
    kind: Kind = "non_saturating",
) -> Tensor:
    r"""A discriminator's loss that also labels fakes as real, to keep it from overconfidence.

    .. math:: L_D = E_{real}[\zeta(-d)] + E_{fake}[\zeta(d)] + \mu\, E_{fake}[\zeta(-d)]

    (Belagiannis et al. 2018, section 3.3, regularisation by "adversarial samples"). The optimum
    moves from :math:`\log(p_{real}/p_{fake})` to :math:`\log(p_{real}/p_{fake} + \mu)`: a score
    never falls below :math:`\log \mu`, so the student's gradient never vanishes.

    Args:
        real_scores, fake_scores: (batch,).
        confusion_weight: mu, at least 0; 0 is `judging_loss`.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for a weight below 0, or scores that are not (batch,).
    """
    check_number(least=0, confusion_weight=confusion_weight)
    loss = judging_loss(real_scores, fake_scores, kind)
    as_real = "least_squares" if kind == "least_squares" else "non_saturating"
    return loss + confusion_weight * fooling_loss(fake_scores, as_real)

"""Co-teaching (Han et al. 2018): two networks, each trained on what the other finds easy."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_labels,
    check_logits,
    check_number,
    check_scores,
    check_variant,
)


def kept_share(epoch: float, noise_rate: float, ramp_epochs: float = 10.0) -> float:
    r"""The share of a batch that is kept for learning (Han 2018).

    .. math:: R(e) = 1 - \tau \min(e / E_k, 1)

    with the assumed share :math:`\tau` of wrong labels. Networks learn clean labels first, so at
    the start nothing is left out.

    Args:
        epoch: e, at least 0.
        noise_rate: tau, from 0 to 1.
        ramp_epochs: E_k, above 0; 10 in the paper.

    >>> kept_share(5, 0.4), kept_share(20, 0.4)
    (0.8, 0.6)
    """
    check_number(least=0, epoch=epoch)
    check_number(least=0, most=1, noise_rate=noise_rate)
    check_number(above=0, ramp_epochs=ramp_epochs)
    return 1 - noise_rate * min(epoch / ramp_epochs, 1)


def small_losses(losses: Tensor, share: float) -> Tensor:
    """The indices (kept,) of the given share of smallest losses, rounded down, but at least one.

    Args:
        losses: (batch,); ties go to the earlier sample.
        share: from 0 to 1.

    >>> small_losses(torch.tensor([0.3, 2.0, 0.1, 0.7]), 0.5)
    tensor([2, 0])
    """
    check_scores(losses=losses)
    check_number(least=0, most=1, share=share)
    kept = max(1, math.floor(share * len(losses) + 1e-9))
    return losses.detach().argsort(stable=True)[:kept]


def coteaching(
    first_logits: Tensor,
    second_logits: Tensor,
    labels: Tensor,
    share: float,
    variant: Variant = "paper",
) -> tuple[Tensor, Tensor]:
    r"""Each network's loss on the samples that the other would keep (Han 2018, algorithm 1).

    .. math:: L_f = \frac1{|\bar D_g|} \sum_{i \in \bar D_g} \ell(f, i), \qquad
        \bar D_g = \arg\min_{D:\,|D| \ge R|B|} \sum_{i \in D} \ell(g, i)

    and the same with f and g exchanged. A network that picks its own samples reinforces its own
    mistakes; two networks with different starts make different mistakes.

    Args:
        first_logits, second_logits: (batch, classes) of f and g on the same samples.
        labels: (batch,) integers, some of them wrong.
        share: R, the share that is kept; see `kept_share`.
        variant: "authors" divides the mean once more by the number of kept samples, as their code
            does. This makes no difference with Adam, but it does with SGD.

    Returns:
        The losses of f and of g, in nats, averaged over the samples kept. No gradient flows through
        the choice of samples.

    Raises:
        ValueError: for wrong shapes, wrong labels, or a share outside [0, 1].

    Departures: the paper's table and its authors' code were read. The number of kept samples is
    rounded down, as in that code; the formula requires at least R|B|.

    >>> sure, unsure = torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.zeros(2, 2)
    >>> coteaching(sure, unsure, torch.tensor([0, 0]), 0.5)[1]
    tensor(0.6931)
    """
    check_logits(classes=2, first_logits=first_logits, second_logits=second_logits)
    check_labels(first_logits, labels)
    check_variant(variant)
    each = [
        F.cross_entropy(at_least_float32(one), labels.long(), reduction="none")
        for one in (first_logits, second_logits)
    ]
    chosen = [small_losses(one, share) for one in each]
    made = []
    for own, other in ((0, 1), (1, 0)):
        loss = each[own][chosen[other]].mean()
        made.append(loss / len(chosen[other]) if variant == "authors" else loss)
    first, second = (nan_from(one, torch.stack(each)) for one in made)
    return first, second

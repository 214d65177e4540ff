"""Ranking with privileged information (Sharmanska et al. 2013): margins from a better view.

A linear function learns which of two samples ranks higher. Pairs that are easy on the privileged
view should be far apart on the student's view too; hard pairs need not be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize, nnls
from torch import Tensor

from kdnb.losses.checks import check_choice, check_number


class Ranking(NamedTuple):
    """A linear ranking.

    Attributes:
        weights: w, (features,) float64: x ranks by <w, x>.
        dual: (pairs,) float64, from 0 to C: the multiplier of each pair.
    """

    weights: Tensor
    dual: Tensor


def ordered_pairs(scores: Tensor) -> Tensor:
    """All (i, j) with a higher score for i than for j: (pairs, 2) int64.

    Raises:
        ValueError: if there is none, or scores are not (samples,).
    """
    _check_finite(scores=scores)
    if scores.ndim != 1:
        raise ValueError(f"scores must be (samples,); got {tuple(scores.shape)}.")
    pairs = (scores[:, None] > scores[None, :]).nonzero()
    if not len(pairs):
        raise ValueError("no sample ranks above another: all scores are equal.")
    return pairs


def ranking_svm(
    inputs: Tensor, pairs: Tensor, margins: Tensor | float = 1.0, cost: float = 1.0
) -> Ranking:
    r"""The exact ranking SVM: a box-constrained quadratic problem, solved in its dual.

    .. math:: \min_w \tfrac12 \|w\|^2 + C \sum_{(i, j)} \max\big(0, \rho_{ij} - \langle w, x_i -
        x_j\rangle\big)

    Args:
        inputs: (samples, features).
        pairs: (pairs, 2) int64: the first ranks above the second.
        margins: rho, one number or (pairs,), at least 0.
        cost: C > 0, of each pair.

    Raises:
        ValueError: for wrong shapes, margins below 0, or a cost that is not above 0.
    """
    check_number(above=0, cost=cost)
    _check_finite(inputs=inputs)
    if inputs.ndim != 2 or pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(
            "inputs must be (samples, features) and pairs (pairs, 2), at least 1; got "
            f"{tuple(inputs.shape)} and {tuple(pairs.shape)}."
        )
    _check_pairs(pairs, len(inputs))
    asked = torch.as_tensor(margins, dtype=torch.float64).detach()
    if asked.shape not in ((), (len(pairs),)):
        raise ValueError(
            f"margins must be one number or ({len(pairs)},), one a pair; got {tuple(asked.shape)}."
        )
    rho = asked.expand(len(pairs)).numpy()
    if not (np.isfinite(rho).all() and (rho >= 0).all()):
        raise ValueError("margins must be finite numbers, at least 0.")
    apart = _apart(inputs, pairs).numpy()

    def dual(a):  # in units of the cost
        w = cost * (apart.T @ a)
        return w @ w / 2 - cost * (rho @ a), cost * (apart @ w - rho)

    found = minimize(
        dual, np.zeros(len(pairs)), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(pairs),
        options={"maxiter": 50000, "maxfun": 200000, "maxcor": 50, "ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    held = cost * found.x
    return Ranking(torch.from_numpy(apart.T @ held), torch.from_numpy(held))


def rank_transfer(
    inputs: Tensor,
    privileged: Tensor,
    scores: Tensor,
    *,
    cost: float = 1.0,
    privileged_cost: float = 1.0,
    negative: str = "drop",
) -> tuple[Ranking, Ranking]:
    r"""Rank transfer (Sharmanska 2013): an SVM on the privileged view sets another SVM's margins.

    .. math:: \rho_{ij} = \langle w^*, x^*_i - x^*_j \rangle, \qquad
        \min_w \tfrac12 \|w\|^2 + C \sum \xi_{ij} \;\text{with}\;
        \langle w, x_i - x_j \rangle \ge \rho_{ij} - \xi_{ij},\; \xi_{ij} \ge 0

    Args:
        inputs: (samples, features), the view available at test.
        privileged: (samples, other features), available only in training.
        scores: (samples,), by which the samples are ranked. Equal scores form no pair.
        cost, privileged_cost: C of both SVMs.
        negative: what to do with pairs that the privileged view orders wrongly: "drop" leaves them
            out; "clip" sets their margin to 0, so that only the order counts.

    Returns:
        The ranking of the inputs, and the one of the privileged view.

    Raises:
        ValueError: for wrong shapes, an unknown `negative`, or if the privileged view orders no
            pair correctly.

    Departures: the rank transfer is recalled with confidence. We do not know how the paper treats
    pairs with a negative margin, so this is an option. The paper's other variant is
    `ranking_svm_plus`.
    """
    check_choice(("drop", "clip"), negative=negative)
    _check_finite(inputs=inputs, privileged=privileged, scores=scores)
    if len(inputs) != len(privileged) or len(inputs) != len(scores):
        raise ValueError(
            f"inputs, privileged and scores must be of the same samples; got {len(inputs)}, "
            f"{len(privileged)} and {len(scores)}."
        )
    pairs = ordered_pairs(scores)
    teacher = ranking_svm(privileged, pairs, 1.0, privileged_cost)
    margins = _apart(privileged, pairs) @ teacher.weights
    if negative == "drop":
        pairs, margins = pairs[margins > 0], margins[margins > 0]
        if not len(pairs):
            raise ValueError("the privileged view orders no pair rightly: there is no margin.")
    return ranking_svm(inputs, pairs, margins.clamp_min(0), cost), teacher


def ranking_svm_plus(
    inputs: Tensor,
    privileged: Tensor,
    pairs: Tensor,
    *,
    cost: float = 1.0,
    privileged_share: float = 1.0,
) -> Ranking:
    r"""SVM+ for rankings: the slack of each pair is a linear function of the privileged view.

    .. math:: \min_{w, w^*} \tfrac12 \|w\|^2 + \tfrac{\gamma}{2} \|w^*\|^2 + C \sum \xi_{ij}
        \;\text{with}\; \xi_{ij} = \langle w^*, x^*_i - x^*_j \rangle \ge 0,\;
        \langle w, x_i - x_j \rangle \ge 1 - \xi_{ij}

    Both constraints hold for all pairs: they are hard, and a few pairs that are wrong on both views
    can make them infeasible.

    Args:
        inputs: (samples, features), the view available at test.
        privileged: (samples, other features).
        pairs: (pairs, 2) int64: the first ranks above the second.
        cost: C > 0.
        privileged_share: gamma > 0.

    Returns:
        The ranking; `dual` are the multipliers of the margins, at least 0.

    Raises:
        ValueError: for wrong shapes, numbers that are not above 0, or infeasible pairs.

    Departures: SVM+ follows section 3 of Lopez-Paz et al. 2016, for differences and without
    offsets. That it is the paper's first variant is recalled.
    """
    check_number(above=0, cost=cost, privileged_share=privileged_share)
    _check_finite(inputs=inputs, privileged=privileged)
    if len(inputs) != len(privileged) or pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(
            "inputs and privileged must be of the same samples and pairs (pairs, 2), at least 1; got "
            f"{len(inputs)}, {len(privileged)} and {tuple(pairs.shape)}."
        )
    _check_pairs(pairs, len(inputs))
    apart, other = (_apart(view, pairs).numpy() for view in (inputs, privileged))
    count, features = apart.shape
    # In (w, sqrt(gamma) (w* + C / gamma sum d*)) this is the shortest vector z with G z >= h, which
    # non-negative least squares finds in finitely many steps (Lawson and Hanson 1974).
    root, offset = np.sqrt(privileged_share), other @ other.sum(0) * cost / privileged_share
    limits = np.block([[apart, other / root], [np.zeros_like(apart), other / root]])
    least = np.concatenate([1 + offset, offset])
    system = np.vstack([limits.T, least])
    size = np.abs(system).max()
    wanted = np.append(np.zeros(len(system) - 1), 1.0)
    found, _ = nnls(system / size, wanted, maxiter=50 * len(least))
    rest = system / size @ found - wanted
    if np.linalg.norm(rest) < 1e-9:
        raise ValueError(
            "no direction of the two views gives all pairs a margin and a slack above 0."
        )
    shortest = -rest[:-1] / rest[-1]
    return Ranking(
        torch.from_numpy(shortest[:features]),
        torch.from_numpy(-found[:count] / (size * rest[-1])),
    )


def ordered_rightly(ranking: Ranking, inputs: Tensor, scores: Tensor) -> float:
    """The share of pairs with different scores ordered correctly; a tie counts half."""
    _check_finite(inputs=inputs)
    if inputs.ndim != 2 or inputs.shape[1] != len(ranking.weights):
        raise ValueError(
            f"inputs must be (samples, {len(ranking.weights)}), the features of the ranking; got "
            f"{tuple(inputs.shape)}."
        )
    gaps = _apart(inputs, ordered_pairs(scores)) @ ranking.weights
    return float(((gaps > 0).double() + (gaps == 0).double() / 2).mean())


def _apart(inputs: Tensor, pairs: Tensor) -> Tensor:
    x = inputs.detach().double().cpu()
    if x.ndim != 2:
        raise ValueError(f"a view must be (samples, features); got {tuple(inputs.shape)}.")
    return x[pairs[:, 0]] - x[pairs[:, 1]]


def _check_finite(**tensors: Tensor) -> None:
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor; got a {type(value).__name__}.")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} must be finite; got NaN or infinity.")


def _check_pairs(pairs: Tensor, samples: int) -> None:
    whole = not (pairs.is_floating_point() or pairs.dtype == torch.bool)
    if not whole or not 0 <= int(pairs.min()) <= int(pairs.max()) < samples:
        raise ValueError(
            f"pairs must be integers from 0 to {samples - 1}, the samples; got {pairs.dtype} from "
            f"{pairs.min()} to {pairs.max()}."
        )

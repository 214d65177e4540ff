"""The four synthetic problems of Lopez-Paz et al. 2016, section 5: a view for the teacher alone.

Labels are the side of a hyperplane. Each problem gives, for R repetitions at once, the student's
inputs, the teacher's, and the labels. A fresh hyperplane is drawn for each repetition from the
standard normal distribution.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import check_choice, check_number

Problem = Literal[
    "clean_labels",
    "clean_features",
    "relevant_features",
    "dependent_features",
    "dependent_as_written",
    "dependent_in_place",
]
PROBLEMS: tuple[Problem, ...] = Problem.__args__
RELEVANT = 3  # features that determine the label, in the last problems


class Views(NamedTuple):
    """Samples of R repetitions.

    Attributes:
        regular: (R, samples, features), the student's inputs.
        privileged: (R, samples, features of the teacher).
        labels: (R, samples) int64, 0 or 1.
    """

    regular: Tensor
    privileged: Tensor
    labels: Tensor


def privileged_problem(
    problem: Problem,
    *,
    repeats: int,
    train: int = 200,
    test: int = 10000,
    features: int = 50,
    seed: int = 0,
) -> tuple[Views, Views]:
    r"""Training and test samples of one of the paper's problems.

    With x from N(0, I), the hyperplane alpha from N(0, I):

    - `clean_labels`: :math:`x^* = \langle\alpha, x\rangle`, the label is the sign of x* plus noise
      of N(0, 1);
    - `clean_features`: x* comes first, the label is the side of x*, the student sees x* + noise;
    - `relevant_features`: the label depends on the first three features, which are x*;
    - `dependent_features`: as in the authors' code. Three positions are drawn, separately for the
      training and the test samples; x* are the three values there; the label is whether
      :math:`\langle\alpha_{1:3}, x^*\rangle` is above its median;
    - `dependent_as_written`: as in their text. Three positions are drawn for each sample; x* are
      the values there, in the order of the positions, and the label is the side of
      :math:`\langle\alpha_J, x^*\rangle`: the coefficients change with the positions, which x* does
      not reveal;
    - `dependent_in_place`: our reading of "bounding boxes". As written, but x* keeps the values at
      their positions and is 0 elsewhere.

    Args:
        repeats: R.
        train, test: the numbers of samples per repetition.
        features: the number of features of the student's view.
        seed: for everything.

    Returns:
        The training samples and the test samples.

    Raises:
        ValueError: for an unknown problem, or a number that is too small.
    """
    check_choice(PROBLEMS, problem=problem)
    check_number(least=1, whole=True, repeats=repeats, train=train, test=test)
    check_number(least=RELEVANT, whole=True, features=features)
    stream = torch.Generator().manual_seed(seed)
    alpha = torch.randn(repeats, features, generator=stream)
    first, second = (_drawn(problem, alpha, samples, stream) for samples in (train, test))
    return first, second


def standardised(train: Views, test: Views) -> tuple[Views, Views]:
    """Standardise inputs on the training samples, as in the authors' code."""
    scaled: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for view in ("regular", "privileged"):
        seen = getattr(train, view)
        mean, sd = seen.mean(1, keepdim=True), seen.std(1, correction=0, keepdim=True)
        for made, samples in zip(scaled, (train, test), strict=True):
            made[view] = (getattr(samples, view) - mean) / sd.clamp_min(1e-12)
    return train._replace(**scaled[0]), test._replace(**scaled[1])


def exact_logistic(
    inputs: Tensor, targets: Tensor, ridge: float = 1e-3, steps: int = 100
) -> Tensor:
    r"""Solve logistic regression exactly, for R problems at once, by damped Newton steps.

    It minimises :math:`\frac1n \sum_i \ell(t_i, \sigma(\langle w, x_i\rangle + b)) + \frac{r}{2}
    \|w\|^2`. The penalty is equation 3's regulariser; without one, separable samples have no
    optimum.

    Args:
        inputs: (R, samples, features).
        targets: (R, samples), the probability of class 1: labels, or a teacher's answers.
        ridge: r > 0.
        steps: the most Newton steps; the iteration ends when no weight changes.

    Returns:
        (R, features + 1) float64: w, then b.

    Raises:
        ValueError: if shapes do not match, or the ridge is not above 0.
    """
    if inputs.ndim != 3 or targets.shape != inputs.shape[:2]:
        raise ValueError(
            "inputs must be (problems, samples, features) and targets (problems, samples); got "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}."
        )
    check_number(above=0, ridge=ridge)
    if not bool(torch.isfinite(inputs).all()):
        raise ValueError("inputs must be finite; got NaN or infinity.")
    if not bool(((targets >= 0) & (targets <= 1)).all()) or not targets.shape[1]:
        raise ValueError(
            "targets must be probabilities of class 1, from 0 to 1, of one sample at least."
        )
    x = F.pad(inputs.double(), (0, 1), value=1.0)  # the last column is the bias
    t, samples = targets.double(), x.shape[1]
    penalty = torch.full((x.shape[2],), ridge, dtype=torch.float64)
    penalty[-1] = 0.0
    weights = torch.zeros(x.shape[0], x.shape[2], dtype=torch.float64)

    def objective(w: Tensor) -> Tensor:
        z = torch.einsum("rnd,rd->rn", x, w)
        return (F.softplus(z) - t * z).mean(1) + (penalty * w**2).sum(1) / 2

    value = objective(weights)
    for _ in range(steps):
        p = torch.einsum("rnd,rd->rn", x, weights).sigmoid()
        gradient = torch.einsum("rnd,rn->rd", x, p - t) / samples + penalty * weights
        curved = torch.einsum("rnd,rn,rne->rde", x, p * (1 - p), x) / samples + penalty.diag()
        curved.diagonal(dim1=1, dim2=2).add_(1e-12)  # the bias has no penalty of its own
        move = torch.linalg.solve(curved, gradient)
        length = torch.ones(len(x), 1, dtype=torch.float64)
        for _ in range(30):  # a step that raises the objective is halved, for each problem
            worse = objective(weights - length * move) > value
            if not worse.any():
                break
            length = torch.where(worse[:, None], length / 2, length)
        moved = weights - length * move
        better = objective(moved) <= value
        weights = torch.where(better[:, None], moved, weights)
        value = objective(weights)
        if not better.any() or float((length * move).abs().max()) < 1e-10:
            break
    return weights


def _drawn(problem: Problem, alpha: Tensor, samples: int, stream: torch.Generator) -> Views:
    repeats, features = alpha.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream)

    x = normal(repeats, samples, features)
    if problem == "clean_labels":
        distance = torch.einsum("rnd,rd->rn", x, alpha)
        return Views(x, distance[..., None], _positive(distance + normal(repeats, samples)))
    if problem == "clean_features":
        labels = _positive(torch.einsum("rnd,rd->rn", x, alpha))
        return Views(x + normal(repeats, samples, features), x, labels)
    if problem == "relevant_features":
        chosen = x[..., :RELEVANT]
        return Views(x, chosen, _positive(torch.einsum("rnd,rd->rn", chosen, alpha[:, :RELEVANT])))
    if problem == "dependent_features":
        places = torch.rand(repeats, features, generator=stream).argsort(1)[:, None, :RELEVANT]
        chosen = x.gather(2, places.expand(-1, samples, -1))
        distance = torch.einsum("rnd,rd->rn", chosen, alpha[:, :RELEVANT])
        return Views(x, chosen, _positive(distance - distance.quantile(0.5, 1, keepdim=True)))
    places = torch.rand(repeats, samples, features, generator=stream).argsort(2)[..., :RELEVANT]
    places = places.sort(2).values
    chosen = x.gather(2, places)
    own = alpha[:, None].expand(-1, samples, -1).gather(2, places)
    labels = _positive((own * chosen).sum(2))
    if problem == "dependent_in_place":
        chosen = torch.zeros_like(x).scatter(2, places, chosen)
    return Views(x, chosen, labels)


def _positive(distance: Tensor) -> Tensor:
    return (distance > 0).long()

"""The synthetic problems: what each view tells; logistic regression against SciPy's optimiser."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from kdnb.methods.cross_modal import (
    PROBLEMS,
    Views,
    exact_logistic,
    privileged_problem,
    standardised,
)

SMALL = {"repeats": 3, "train": 200, "test": 400, "features": 8}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slope(x, y):
    """Least squares, one repeat at a time."""
    return [
        np.linalg.lstsq(a.double(), b.double(), rcond=None)[0] for a, b in zip(x, y, strict=True)
    ]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_shapes_and_seeds(problem):
    train, test = privileged_problem(problem, **SMALL, seed=1)
    assert train.regular.shape == (3, 200, 8) and test.regular.shape == (3, 400, 8)
    assert train.labels.shape == (3, 200) and set(train.labels.unique().tolist()) == {0, 1}
    wide = {"clean_labels": 1, "clean_features": 8, "dependent_in_place": 8}
    assert train.privileged.shape == (3, 200, wide.get(problem, 3))
    again, other = (privileged_problem(problem, **SMALL, seed=seed)[0] for seed in (1, 2))
    assert again.regular.equal(train.regular) and not other.regular.equal(train.regular)
    assert 0.3 < float(train.labels.float().mean()) < 0.7


def test_clean_labels_are_a_distance_along_one_direction():
    train, test = privileged_problem("clean_labels", **SMALL)
    for (alpha, same), x in zip(
        zip(
            slope(train.regular, train.privileged),
            slope(test.regular, test.privileged),
            strict=True,
        ),
        train.regular,
        strict=True,
    ):
        np.testing.assert_allclose(alpha, same, atol=1e-4)  # training and test share the hyperplane
        assert x.shape[1] == len(alpha)
    flipped = (train.privileged[..., 0] > 0).long() != train.labels
    assert 0.02 < float(flipped.float().mean()) < 0.3  # the noise
    near = train.privileged[..., 0].abs() < 1
    assert flipped[near].float().mean() > flipped[~near].float().mean()


def test_clean_features_are_the_students_without_their_noise():
    train, _ = privileged_problem("clean_features", **{**SMALL, "train": 4000})
    noise = train.regular - train.privileged
    assert noise.std() == pytest.approx(1, abs=0.02)
    together = (noise * train.privileged).mean()
    assert abs(float(together)) < 0.02  # independent of what the teacher sees
    assert (train.regular.var() / train.privileged.var()).item() == pytest.approx(2, abs=0.1)


def test_relevant_features_are_the_first_three_and_decide():
    train, _ = privileged_problem("relevant_features", **SMALL)
    assert train.privileged.equal(train.regular[..., :3])
    weights = exact_logistic(train.privileged, train.labels, 1e-6)
    z = torch.einsum("rnd,rd->rn", train.privileged.double(), weights[:, :-1]) + weights[:, -1:]
    assert ((z > 0) == (train.labels == 1)).double().mean() > 0.98


def test_the_codes_places_differ_between_training_and_test():
    train, test = privileged_problem("dependent_features", **{**SMALL, "features": 50})
    chosen = []
    for views in (train, test):
        same = views.regular[0, :, :, None] == views.privileged[0, :, None, :]
        places = same.all(0).nonzero()
        assert len(places) == 3  # one set of places for all samples of a call
        chosen.append(sorted(places[:, 0].tolist()))
    assert chosen[0] != chosen[1]
    assert train.labels.float().mean(1).tolist() == [0.5] * 3  # split at the median


def test_as_written_places_differ_between_samples_and_the_label_needs_them():
    problem = {**SMALL, "repeats": 40, "train": 400}
    train, _ = privileged_problem("dependent_as_written", **problem, seed=3)
    boxed, _ = privileged_problem("dependent_in_place", **problem, seed=3)
    assert boxed.regular.equal(train.regular) and boxed.labels.equal(train.labels)
    filled = boxed.privileged != 0
    assert filled.sum(2).eq(3).all()
    assert boxed.privileged[filled].equal(train.privileged.flatten())  # in the order of the places
    assert not filled[0, 0].equal(filled[0, 1]) or not filled[0, 0].equal(filled[0, 2])

    def training_accuracy(view):
        weights = exact_logistic(view, train.labels, 1e-4)
        z = torch.einsum("rnd,rd->rn", view.double(), weights[:, :-1]) + weights[:, -1:]
        return ((z > 0) == (train.labels == 1)).double().mean()

    assert training_accuracy(boxed.privileged) > 0.95  # one hyperplane for all places
    assert (
        training_accuracy(train.privileged) < 0.75
    )  # the values alone do not tell the coefficients


def test_standardised_by_the_training_samples():
    train, test = privileged_problem("clean_features", **SMALL)
    seen, unseen = standardised(train, test)
    for view in (seen.regular, seen.privileged):
        torch.testing.assert_close(view.mean(1), torch.zeros(3, 8), atol=1e-5, rtol=0)
        torch.testing.assert_close(view.std(1, correction=0), torch.ones(3, 8))
    shift = (test.regular - unseen.regular * train.regular.std(1, correction=0, keepdim=True))[0]
    torch.testing.assert_close(shift, train.regular[0].mean(0).expand(400, -1), atol=1e-4, rtol=0)
    assert seen.labels.equal(train.labels)
    flat = Views(torch.ones(1, 4, 2), torch.ones(1, 4, 1), torch.zeros(1, 4).long())
    assert standardised(flat, flat)[0].regular.equal(torch.zeros(1, 4, 2))


@pytest.mark.parametrize("separable", [True, False])
def test_exact_logistic_against_a_general_optimiser(separable):
    inputs = draw(2, 60, 5)
    labels = (inputs[..., 0] + (0 if separable else draw(2, 60, seed=1)) > 0).long()
    found = exact_logistic(inputs, labels, 1e-2)
    for x, y, weights in zip(inputs.double().numpy(), labels.numpy(), found, strict=True):

        def objective(w, x=x, y=y):
            z = x @ w[:-1] + w[-1]
            return np.mean(np.logaddexp(0, z) - y * z) + 0.005 * np.sum(w[:-1] ** 2)

        other = minimize(objective, np.zeros(6), method="BFGS", options={"gtol": 1e-8})
        np.testing.assert_allclose(weights, other.x, atol=1e-3)


def test_exact_logistic_of_soft_targets_is_where_the_gradient_ends():
    inputs, targets = draw(3, 40, 6), draw(3, 40, seed=1).sigmoid()
    weights = exact_logistic(10 * inputs, targets, 1e-4)  # far from 0 at first
    z = torch.einsum("rnd,rd->rn", 10 * inputs.double(), weights[:, :-1]) + weights[:, -1:]
    gap = z.sigmoid() - targets.double()
    gradient = torch.einsum("rnd,rn->rd", 10 * inputs.double(), gap) / 40 + 1e-4 * weights[:, :-1]
    assert gradient.abs().max() < 1e-7 and gap.mean(1).abs().max() < 1e-7


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="problem must be"):
        privileged_problem("noise", repeats=1)
    with pytest.raises(ValueError, match="features must be at least 3"):
        privileged_problem("clean_labels", repeats=1, features=2)
    with pytest.raises(
        ValueError, match=r"targets \(problems, samples\); got \(2, 4, 3\) and \(2, 5\)"
    ):
        exact_logistic(torch.zeros(2, 4, 3), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="ridge must be a finite number above 0"):
        exact_logistic(torch.zeros(2, 4, 3), torch.zeros(2, 4), 0.0)

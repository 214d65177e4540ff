"""Rank transfer: the exact problem and its conditions, margins, and two resolutions of digits."""

import numpy as np
import pytest
import torch
from digit_views import digits
from scipy.optimize import minimize

from kdnb.methods.cross_modal import (
    ordered_pairs,
    ordered_rightly,
    rank_transfer,
    ranking_svm,
    ranking_svm_plus,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pairs_are_those_that_rank():
    assert ordered_pairs(torch.tensor([2, 1, 2])).tolist() == [[0, 1], [2, 1]]
    with pytest.raises(ValueError, match="all scores are equal"):
        ordered_pairs(torch.ones(3))


@pytest.mark.parametrize("cost", [0.01, 1.0])
def test_the_svm_is_the_minimum_of_its_problem(cost):
    """Against a general optimiser of the primal problem with slacks, and by its conditions."""
    x, scores = draw(9, 3), torch.arange(9) + 2 * draw(9, seed=1)
    pairs = ordered_pairs(scores)
    margins = draw(len(pairs), seed=2).abs()
    found = ranking_svm(x, pairs, margins, cost)
    apart, rho = (x[pairs[:, 0]] - x[pairs[:, 1]]).numpy(), margins.numpy()
    count = len(pairs)

    def primal(v):
        return v[:3] @ v[:3] / 2 + cost * v[3:].sum(), np.append(v[:3], np.full(count, cost))

    limits = {
        "type": "ineq", "fun": lambda v: apart @ v[:3] - rho + v[3:],
        "jac": lambda v: np.hstack([apart, np.eye(count)]),
    }  # fmt: skip
    start = np.append(np.zeros(3), rho)
    other = minimize(primal, start, jac=True, method="SLSQP", constraints=[limits],
                     bounds=[(None, None)] * 3 + [(0, None)] * count, options={"maxiter": 500})  # fmt: skip
    np.testing.assert_allclose(found.weights, other.x[:3], atol=2e-3)
    gap = apart @ found.weights.numpy() - rho
    held = found.dual.numpy()
    assert (gap[held < cost - 1e-6] > -1e-4).all()  # not at the limit: the margin is kept
    assert (gap[held > 1e-6] < 1e-4).all()  # held by the pair: no room is left


@pytest.mark.parametrize("cost", [0.01, 1.0, 100.0])
def test_no_gap_is_left_between_primal_and_dual_on_digits(cost):
    views, labels = digits()
    chosen = (labels == 3) | (labels == 5)
    x, scores = views["small"][chosen][:40].double(), (labels[chosen] == 3).double()[:40]
    pairs = ordered_pairs(scores)
    found = ranking_svm(x, pairs, 1.0, cost)
    square = found.weights @ found.weights / 2
    gaps = (1 - (x[pairs[:, 0]] - x[pairs[:, 1]]) @ found.weights).clamp_min(0)
    primal, dual = square + cost * gaps.sum(), found.dual.sum() - square
    assert dual.item() == pytest.approx(primal.item(), rel=1e-5)


def test_equal_margins_are_the_ranking_svm():
    x, scores = draw(12, 4), torch.arange(12)
    pairs = ordered_pairs(scores)
    one, same = ranking_svm(x, pairs), ranking_svm(x, pairs, torch.ones(len(pairs)))
    torch.testing.assert_close(one.weights, same.weights)
    doubled = ranking_svm(x, pairs, 2.0, 1e3), ranking_svm(x, pairs, 1.0, 1e3)
    if all((x[pairs[:, 0]] - x[pairs[:, 1]]) @ doubled[1].weights > 0.99):
        torch.testing.assert_close(doubled[0].weights, 2 * doubled[1].weights, rtol=1e-3, atol=1e-4)


def test_a_view_that_is_the_privileged_one_learns_its_ranking():
    """Margins of w* on its own view are kept by w* itself: nobody shorter keeps them all."""
    x, scores = draw(15, 3), draw(15, 3) @ torch.tensor([1.0, -2.0, 0.5]).double()
    found, teacher = rank_transfer(x, x, scores, cost=1e4)
    cosine = torch.nn.functional.cosine_similarity(found.weights, teacher.weights, dim=0)
    assert cosine > 0.99 and found.weights.norm() <= teacher.weights.norm() * 1.001


def test_pairs_that_the_teacher_orders_wrongly():
    x, scores = draw(10, 3), torch.arange(10).double()
    noisy = scores[:, None] + 4 * draw(10, 1, seed=3)
    drop, teacher = rank_transfer(x, noisy, scores)
    clip, _ = rank_transfer(x, noisy, scores, negative="clip")
    pairs = ordered_pairs(scores)
    margins = (noisy[pairs[:, 0]] - noisy[pairs[:, 1]]) @ teacher.weights
    wrong = margins < 0
    assert 0 < int(wrong.sum()) < len(pairs)
    assert (len(drop.dual), len(clip.dual)) == (int((margins > 0).sum()), len(pairs))
    same = ranking_svm(x, pairs, margins.clamp_min(0))
    torch.testing.assert_close(clip.weights, same.weights)
    with pytest.raises(ValueError, match="orders no pair rightly"):
        rank_transfer(x, torch.zeros(10, 1), scores)


def test_two_resolutions_of_digits():
    """Threes rank above fives; the teacher sees 14 x 14 pixels, the ranking 4 x 4."""
    found = []
    for split in ("train", "validation"):
        views, labels = digits(split)
        chosen = (labels == 3) | (labels == 5)
        found.append(({k: v[chosen] for k, v in views.items()}, (labels[chosen] == 3).double()))
    (seen, scores), (unseen, others) = found
    few = {name: view[:40] for name, view in seen.items()}
    ranking, teacher = rank_transfer(few["small"], few["whole"], scores[:40])
    assert ordered_rightly(ranking, unseen["small"], others) > 0.75
    assert ordered_rightly(teacher, unseen["whole"], others) > 0.8
    assert (
        ordered_rightly(ranking._replace(weights=-ranking.weights), unseen["small"], others) < 0.25
    )


@pytest.mark.parametrize(("cost", "share"), [(0.1, 1.0), (1.0, 0.3)])
def test_svm_plus_is_the_minimum_of_its_problem(cost, share):
    """Against a general optimiser of the primal problem in (w, w*)."""
    scores = torch.arange(8).double()
    x, better = draw(8, 3), scores[:, None] + torch.stack([draw(8, seed=1), draw(8, seed=2)], 1) / 3
    pairs = ordered_pairs(scores)
    apart, other = (
        (view[pairs[:, 0]] - view[pairs[:, 1]]).numpy() for view in (x, better)
    )  # fmt: skip

    def primal(v):
        w, u = v[:3], v[3:]
        value = w @ w / 2 + share * u @ u / 2 + cost * (other @ u).sum()
        return value, np.concatenate([w, share * u + cost * other.sum(0)])

    margins = np.hstack([apart, other])
    slacks = np.hstack([np.zeros_like(apart), other])
    limits = [
        {"type": "ineq", "fun": lambda v: margins @ v - 1, "jac": lambda v: margins},
        {"type": "ineq", "fun": lambda v: slacks @ v, "jac": lambda v: slacks},
    ]
    tried = [
        minimize(
            primal, np.append(np.zeros(3), np.full(2, size)), jac=True, method="SLSQP",
            constraints=limits, options={"maxiter": 1000, "ftol": 1e-10},
        )
        for size in (0.1, 0.5, 1.0, 5.0)  # it stops at once from some starts
    ]  # fmt: skip
    best = min((one for one in tried if one.success), key=lambda one: one.fun)
    found = ranking_svm_plus(x, better, pairs, cost=cost, privileged_share=share)
    np.testing.assert_allclose(found.weights, best.x[:3], atol=5e-3)
    assert (found.dual >= 0).all()


def test_svm_plus_without_a_view_has_no_slack():
    """A privileged view of zeros allows none: the hard-margin ranking, where one exists."""
    scores = torch.arange(6).double()
    x = torch.stack([scores, draw(6)], 1)
    pairs = ordered_pairs(scores)
    plus = ranking_svm_plus(x, torch.zeros(6, 1), pairs)
    hard = ranking_svm(x, pairs, 1.0, 1e4)
    torch.testing.assert_close(plus.weights, hard.weights, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="of the same samples"):
        ranking_svm_plus(x, torch.zeros(5, 1), pairs)


def test_a_tie_counts_half():
    nothing = ranking_svm(torch.zeros(3, 2), torch.tensor([[0, 1]]))
    assert ordered_rightly(nothing, torch.zeros(3, 2), torch.arange(3)) == 0.5


def test_what_cannot_be_is_refused():
    pairs = torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match="margins must be finite numbers, at least 0"):
        ranking_svm(draw(2, 3), pairs, -1.0)
    with pytest.raises(ValueError, match="cost"):
        ranking_svm(draw(2, 3), pairs, cost=0)
    with pytest.raises(ValueError, match="of the same samples; got 2, 3 and 2"):
        rank_transfer(draw(2, 3), draw(3, 3), torch.arange(2))

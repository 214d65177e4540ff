"""Answers over all classes from classifiers that know some: minimisers, loops, what is determined."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from draws import draw, draw_wide
from loops import softmax
from scipy.optimize import least_squares, minimize

from kdnb import losses

RING = [[0, 1, 2, 3], [2, 3, 4, 5], [5, 6, 0]]
APART = [[0, 1, 2], [3, 4], [5, 6, 4]]
ESTIMATES = [
    losses.cross_entropy_estimate,
    losses.log_space_estimate,
    losses.factorised_estimate,
]


def said(sets, batch=6, scale=2.0, seed=0):
    return [draw(batch, len(own), scale=scale, seed=seed + i) for i, own in enumerate(sets)]


def restricted(q, sets):
    """What a q over all classes implies for each classifier, as logits with offsets of their own."""
    return [
        (q[:, own] / q[:, own].sum(1, keepdim=True)).log() + 3 * i for i, own in enumerate(sets)
    ]


def naive_cross_entropy(q, p, sets):
    """Of one image, in loops."""
    total = 0.0
    for answer, own in zip(p, sets, strict=True):
        mass = sum(q[label] for label in own)
        for chance, label in zip(answer, own, strict=True):
            total -= chance * math.log(q[label] / mass)
    return total


def hunter(p, sets, classes, steps=20_000):
    """The minorise-maximise iteration, in loops."""
    q = [1 / classes] * classes
    for _ in range(steps):
        masses = [sum(q[label] for label in own) for own in sets]
        new = []
        for label in range(classes):
            wins = sum(a[own.index(label)] for a, own in zip(p, sets, strict=True) if label in own)
            weight = sum(1 / m for m, own in zip(masses, sets, strict=True) if label in own)
            new.append(wins / weight)
        new = [value / sum(new) for value in new]
        if max(abs(a - b) for a, b in zip(q, new, strict=True)) < 1e-13:
            return new
        q = new
    return q


# What classifiers that agree determine


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("sets", [RING, [[0, 1], [1, 2, 3], [3, 4, 5, 6]], [[6, 0, 1, 2, 3, 4, 5]]])
def test_classifiers_that_agree_give_the_one_answer_behind_them(estimate, sets):
    q = draw(5, 7).softmax(1)
    torch.testing.assert_close(estimate(restricted(q, sets), sets, 7), q, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_one_classifier_of_all_classes_is_the_answer(estimate):
    logits = draw_wide(4, 5)
    order = [3, 0, 4, 1, 2]
    found = estimate([logits[:, order]], [order], 5)
    torch.testing.assert_close(found, logits.softmax(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_between_parts_that_share_no_class_nothing_is_known(estimate):
    """Any split of the mass between them fits as well: the estimate keeps the numbers of classes."""
    logits = said(APART)
    found = estimate(logits, APART, 7)
    torch.testing.assert_close(found[:, :3].sum(1), torch.full((6,), 3 / 7, dtype=torch.float64))
    alone = logits[0].softmax(1)
    torch.testing.assert_close(found[:, :3] * 7 / 3, alone, rtol=1e-9, atol=1e-12)
    moved = found.clone()
    moved[:, :3] *= 0.1
    for b in range(6):
        p = [own[b].softmax(0).tolist() for own in logits]
        values = [naive_cross_entropy(q[b].tolist(), p, APART) for q in (found, moved)]
        assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_parts_are_told():
    assert losses.connected_classes(RING, 7) == [[0, 1, 2, 3, 4, 5, 6]]
    assert losses.connected_classes(APART, 7) == [[0, 1, 2], [3, 4, 5, 6]]
    assert losses.connected_classes([[3], [1, 2], [0, 2], [0, 3]], 4) == [[0, 1, 2, 3]]
    for sets, classes, words in (
        ([[0, 1]], 3, r"class_sets must cover all 3 classes; got none with 2"),
        ([[0, 0, 1]], 2, r"class_sets\[0\] must hold every class once"),
        ([[0, 5]], 2, r"class_sets\[0\] must lie in \[0, 1\]"),
        ([[]], 1, r"class_sets\[0\] must be a list of at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            losses.connected_classes(sets, classes)


# The cross-entropy estimate


@pytest.mark.parametrize("sets", [RING, [[0, 1, 2], [2, 3], [3, 4, 5, 6, 1]]])
def test_the_estimate_against_a_general_minimiser(sets):
    logits = said(sets, batch=3)
    found = losses.cross_entropy_estimate(logits, sets, 7)
    for b in range(3):
        p = [own[b].softmax(0).tolist() for own in logits]

        def value(u, p=p):
            return naive_cross_entropy(np.exp(u - u.max()).tolist(), p, sets)

        best = minimize(value, np.zeros(7), method="BFGS", options={"gtol": 1e-9})
        q = np.exp(best.x - best.x.max())
        np.testing.assert_allclose(found[b].numpy(), q / q.sum(), atol=1e-5)
        assert value(found[b].log().numpy()) <= best.fun + 1e-12


def test_the_estimate_against_hunters_iteration():
    logits = said(RING, batch=4, scale=1.0)
    found = losses.cross_entropy_estimate(logits, RING, 7)
    for b in range(4):
        q = hunter([own[b].softmax(0).tolist() for own in logits], RING, 7)
        np.testing.assert_allclose(found[b].numpy(), q, atol=1e-8)


def test_its_gradient_is_zero_also_where_classifiers_are_all_but_certain():
    """Where Hunter's iteration would take millions of steps."""
    sets = [[0, 1, 2, 3], [3, 4, 5], [5, 6, 0]]
    logits = said(sets, batch=50, scale=15.0)
    q = losses.cross_entropy_estimate(logits, sets, 7)
    total = torch.zeros_like(q)
    for own, p in zip(sets, logits, strict=True):
        total[:, own] += q[:, own] / q[:, own].sum(1, keepdim=True) - p.softmax(1)
    assert total.abs().max() < 1e-8


def test_extreme_and_contradicting_classifiers_stay_finite():
    sure = [torch.tensor([[1e3, 0.0, -1e3]]), torch.tensor([[-1e3, 1e3, 0.0]])]
    for estimate in ESTIMATES:
        found = estimate(sure, [[0, 1, 2], [1, 2, 3]], 4)
        assert found.isfinite().all() and found.sum() == pytest.approx(1)


# The factorisations


def test_log_space_against_least_squares_with_offsets():
    logits = said(RING, batch=3)
    rows, columns = sum(map(len, RING)), 7 + len(RING)
    design = np.zeros((rows, columns))
    places = [(i, label) for i, own in enumerate(RING) for label in own]
    for row, (i, label) in enumerate(places):
        design[row, label] = design[row, 7 + i] = 1
    found = losses.log_space_estimate(logits, RING, 7)
    for b in range(3):
        target = np.concatenate([own[b].log_softmax(0).numpy() for own in logits])
        u = np.linalg.lstsq(design, target, rcond=None)[0][:7]
        np.testing.assert_allclose(found[b].numpy(), softmax(u.tolist()), rtol=1e-9)


def test_probabilities_against_a_general_minimiser():
    logits = said(RING, batch=2, scale=1.0)
    found = losses.factorised_estimate(logits, RING, 7, steps=2000)
    for b in range(2):
        p = [own[b].softmax(0).tolist() for own in logits]

        def residuals(values, p=p):
            u, v = values[:7], values[7:]
            return [
                chance - u[label] * v[i]
                for i, own in enumerate(RING)
                for chance, label in zip(p[i], own, strict=True)
            ]

        start = np.concatenate([found[b].numpy(), np.ones(3)])
        best = least_squares(residuals, start, bounds=(0, np.inf), xtol=1e-12, ftol=1e-14)
        np.testing.assert_allclose(found[b].numpy(), best.x[:7] / best.x[:7].sum(), atol=1e-4)


def test_every_step_of_the_factorisation_lowers_the_squares():
    logits = said(RING, batch=1, scale=3.0)
    p = [own[0].softmax(0) for own in logits]
    values = []
    for steps in range(1, 30):
        u = losses.factorised_estimate(logits, RING, 7, steps=steps)[0]
        value = 0.0  # with the best v for this u, whose scale is free
        for answer, own in zip(p, RING, strict=True):
            v = (answer * u[own]).sum() / u[own].square().sum()
            value += (answer - u[own] * v).square().sum().item()
        values.append(value)
    assert all(late <= early + 1e-15 for early, late in pairwise(values))
    assert values[-1] < values[0]


# The student in the place of the estimate


def test_the_students_loss_against_loops():
    z, logits = draw_wide(4, 7), said(RING, batch=4)
    expected = sum(
        naive_cross_entropy(softmax(z[b].tolist()), [softmax(o[b].tolist()) for o in logits], RING)
        for b in range(4)
    )
    found = losses.restricted_cross_entropy(z, logits, RING)
    assert found.item() == pytest.approx(expected / 4, rel=1e-12)


def test_the_student_that_minimises_it_is_the_estimate():
    logits = said(RING, batch=4)
    z = losses.cross_entropy_estimate(logits, RING, 7).log().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.restricted_cross_entropy(z, logits, RING), z)
    assert gradient.abs().max() < 1e-8


def test_with_one_classifier_of_all_classes_it_is_plain_distillation():
    z, v = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    found = losses.restricted_cross_entropy(z, [v], [[0, 1, 2, 3, 4]])
    torch.testing.assert_close(found, losses.cross_entropy_with(z, v.softmax(1)))


# What one does without the relation


def test_the_padded_mean_is_what_plain_distillation_from_each_aims_at():
    logits = said(RING)
    q = losses.zero_padded_mean(logits, RING, 7)
    z = q.log().requires_grad_()
    plain = 0.0
    for own, p in zip(RING, logits, strict=True):
        plain = plain - (p.softmax(1) * z.log_softmax(1)[:, own]).sum()
    (gradient,) = torch.autograd.grad(plain, z)
    assert gradient.abs().max() < 1e-12
    for b in range(6):
        for label in range(7):
            mass = sum(
                softmax(o[b].tolist())[own.index(label)]
                for o, own in zip(logits, RING, strict=True)
                if label in own
            )
            assert q[b, label].item() == pytest.approx(mass / 3, rel=1e-9)


def test_the_controls_against_loops():
    logits = said(RING)
    known = losses.mean_of_those_that_know(logits, RING, 7)
    raw = losses.mean_raw_logits(logits, RING, 7)
    surest = losses.most_confident_classifier(logits, RING, 7)
    for b in range(6):
        answers = [softmax(own[b].tolist()) for own in logits]
        means, scores = [], []
        for label in range(7):
            knowing = [i for i, own in enumerate(RING) if label in own]
            means.append(sum(answers[i][RING[i].index(label)] for i in knowing) / len(knowing))
            values = [logits[i][b, RING[i].index(label)].item() for i in knowing]
            scores.append(sum(values) / len(values))
        best = max(range(3), key=lambda i: max(answers[i]))
        expected = [0.0] * 7
        for chance, label in zip(answers[best], RING[best], strict=True):
            expected[label] = chance
        np.testing.assert_allclose(known[b].numpy(), np.array(means) / sum(means), rtol=1e-9)
        np.testing.assert_allclose(raw[b].numpy(), softmax(scores), rtol=1e-9)
        np.testing.assert_allclose(surest[b].numpy(), expected, rtol=1e-9)


def test_an_offset_of_one_classifier_changes_the_raw_mean_alone():
    logits = said(RING)
    moved = [logits[0] + 4, *logits[1:]]
    for rule in (*ESTIMATES, losses.zero_padded_mean, losses.mean_of_those_that_know):
        torch.testing.assert_close(rule(moved, RING, 7), rule(logits, RING, 7))
    raw = losses.mean_raw_logits(logits, RING, 7)
    assert (losses.mean_raw_logits(moved, RING, 7) - raw).abs().max() > 0.1


def test_what_does_not_fit_is_refused():
    logits = said(RING)
    with pytest.raises(ValueError, match=r"column for each of the 4 classes of class_sets\[0\]"):
        losses.zero_padded_mean([logits[0][:, :3], *logits[1:]], RING, 7)
    with pytest.raises(ValueError, match="classifier_logits and class_sets must be lists of one"):
        losses.zero_padded_mean(logits[:2], RING, 7)
    with pytest.raises(ValueError, match="must have the same number of samples"):
        losses.zero_padded_mean([logits[0][:3], *logits[1:]], RING, 7)

"""The least ambiguous teacher, and filters of length 1, against loops."""

import math

import pytest
import torch
from draws import draw_wide
from loops import softmax

from kdnb import losses


def entropy(p):
    return -sum(x * math.log(x) for x in p)


def test_every_sample_follows_its_surest_teacher():
    logits = [draw_wide(8, 5, seed=seed) for seed in range(3)]
    found, chosen = losses.least_ambiguous(logits)
    for b in range(8):
        values = [entropy(softmax(one[b].tolist())) for one in logits]
        best = values.index(min(values))
        assert chosen[b] == best
        assert torch.equal(found[b], logits[best][b])
    assert len(set(chosen.tolist())) > 1


def test_an_offset_of_a_teacher_does_not_change_who_is_chosen():
    logits = [draw_wide(8, 5, seed=seed) for seed in range(3)]
    moved = [one + 7 * number for number, one in enumerate(logits)]
    assert torch.equal(losses.least_ambiguous(moved)[1], losses.least_ambiguous(logits)[1])


def test_gradients_flow_into_the_chosen_answers_alone():
    logits = [draw_wide(6, 4, seed=seed).requires_grad_() for seed in range(2)]
    found, chosen = losses.least_ambiguous(logits)
    found.sum().backward()
    for number, one in enumerate(logits):
        torch.testing.assert_close(one.grad[:, 0], (chosen == number).double())


def test_filters_against_loops():
    weight = draw_wide(3, 2, 2, 2)
    squares = [sum(x * x for x in row) for row in weight.flatten(1).tolist()]
    expected = sum((square - 1) ** 2 for square in squares) / 3
    assert losses.unit_filters(weight).item() == pytest.approx(expected, rel=1e-12)
    lengths = weight.flatten(1).norm(dim=1)[:, None, None, None]
    assert losses.unit_filters(weight / lengths).item() == pytest.approx(0, abs=1e-24)
    with pytest.raises(ValueError, match=r"weight must be \(filters, ...\); got \(3,\)"):
        losses.unit_filters(torch.ones(3))

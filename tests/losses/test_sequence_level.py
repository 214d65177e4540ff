"""Sequence-level distillation: lists, all sequences, and CTC by the sum over every path."""

import itertools
import math

import pytest
import torch
from draws import draw

from kdnb.losses import ctc_log_probability, sequence_distillation


def joined(path, blank=0):
    """What a path spells: equal neighbours are one, blanks go."""
    merged = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in merged if k != blank)


def all_sequences(logits, blank=0):
    """{sequence: probability} by the sum over all paths."""
    q, found = logits.softmax(1).tolist(), {}
    for path in itertools.product(range(len(q[0])), repeat=len(q)):
        p = math.prod(q[n][k] for n, k in enumerate(path))
        found[joined(path, blank)] = found.get(joined(path, blank), 0.0) + p
    return found


def padded(sequences, tokens):
    return torch.tensor([[*one, *[-1] * (tokens - len(one))] for one in sequences])


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_against_all_paths(blank):
    logits = draw(4, 3)
    found = all_sequences(logits, blank)
    assert sum(found.values()) == pytest.approx(1)
    names = sorted(found)
    ours = ctc_log_probability(logits[None], torch.tensor([4]), padded(names, 4)[None], blank)
    torch.testing.assert_close(ours[0].exp(), torch.tensor([found[one] for one in names]).double())


def test_ctc_of_several_sequences_sees_each_ones_frames():
    logits, lengths = draw(2, 5, 4), torch.tensor([3, 5])
    lists = torch.stack([padded([(1, 2), (3,)], 2), padded([(3, 3), ()], 2)])
    ours = ctc_log_probability(logits, lengths, lists)
    for row, length in enumerate(lengths.tolist()):
        found = all_sequences(logits[row, :length])
        for place, one in enumerate(lists[row].tolist()):
            p = found[tuple(k for k in one if k >= 0)]
            assert ours[row, place].exp().item() == pytest.approx(p)
    spoilt = logits.clone()
    spoilt[0, 3:] = 9.0
    torch.testing.assert_close(ctc_log_probability(spoilt, lengths, lists), ours)


def test_too_few_frames_are_impossible_and_have_no_gradient():
    logits = draw(1, 2, 3).requires_grad_()
    found = ctc_log_probability(logits, torch.tensor([2]), torch.tensor([[[1, 1], [1, 2]]]))
    assert found[0, 0] == -math.inf and found[0, 1].isfinite()
    found[0, 1].backward()
    assert logits.grad.isfinite().all() and logits.grad.any()


def naive(student, teacher, normalise):
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(a) for a in t]
        p = [a / sum(p) for a in p]
        q = [math.exp(a) for a in s]
        q = [a / sum(q) for a in q] if normalise else q
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
    return total / len(student)


@pytest.mark.parametrize("normalise", [True, False])
def test_against_loops(normalise):
    s, t = draw(4, 3), draw(4, 3, seed=1)
    t[0, 2] = -math.inf  # a shorter list
    value = sequence_distillation(s, t, normalise)
    assert value.item() == pytest.approx(naive(s, t, normalise))


def test_the_gradient_is_student_minus_teacher():
    s, t = draw(2, 4).requires_grad_(), draw(2, 4, seed=1)
    sequence_distillation(s, t).backward()
    torch.testing.assert_close(s.grad, (s.softmax(1) - t.softmax(1)).detach() / 2)


def test_over_all_sequences_both_forms_are_one():
    """CTC's probabilities of all sequences sum to 1: normalising them changes nothing."""
    logits, other = draw(3, 3), draw(3, 3, seed=1)
    names = sorted(all_sequences(logits))
    lists = padded(names, 3)[None]
    scores = [ctc_log_probability(one[None], torch.tensor([3]), lists) for one in (logits, other)]
    kept = scores[1].isfinite()
    scores = [one[kept][None] for one in scores]
    torch.testing.assert_close(
        sequence_distillation(*scores), sequence_distillation(*scores, normalise=False)
    )


def test_one_hypothesis_is_the_ctc_loss():
    logits = draw(2, 5, 4)
    targets = torch.tensor([[1, 2], [3, -1]])
    scores = ctc_log_probability(logits, torch.tensor([5, 4]), targets[:, None])
    loss = sequence_distillation(scores, torch.zeros(2, 1).double(), normalise=False)
    expected = torch.nn.functional.ctc_loss(
        logits.log_softmax(2).transpose(0, 1), targets.clamp_min(1), torch.tensor([5, 4]),
        torch.tensor([2, 1]), reduction="none",
    ).mean()  # fmt: skip
    torch.testing.assert_close(loss, expected)
    assert sequence_distillation(scores, torch.zeros(2, 1).double()) == 0


def test_gradients_by_finite_differences():
    s, t = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    for normalise in (True, False):
        assert torch.autograd.gradcheck(
            lambda a, b, how=normalise: sequence_distillation(a, b, how), (s, t)
        )
    logits, lists = draw(2, 4, 3).requires_grad_(), torch.tensor([[[1, 2]], [[2, -1]]])
    assert torch.autograd.gradcheck(
        lambda a: ctc_log_probability(a, torch.tensor([4, 3]), lists), (logits,)
    )


def test_extreme_scores():
    s = torch.tensor([[1e5, -1e5]], requires_grad=True)
    value = sequence_distillation(s, -s.detach())
    value.backward()
    assert value.item() == pytest.approx(2e5) and s.grad.isfinite().all()


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (torch.tensor([[[1, 3]]]), "classes below 3"),
        (torch.tensor([[[1, 0]]]), "without the blank 0"),
        (torch.tensor([[[-1, 1]]]), "padded behind"),
        (torch.tensor([[1, 2]]), "hypotheses, tokens"),
        (torch.tensor([[[1.0]]]), "integers"),
        ([[[1]]], "got list"),
    ],
)
def test_lists_that_are_refused(lists, said):
    with pytest.raises(ValueError, match=said):
        ctc_log_probability(torch.zeros(1, 4, 3), torch.tensor([4]), lists)


def test_shapes_that_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        sequence_distillation(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="one shape"):
        sequence_distillation(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="blank"):
        ctc_log_probability(torch.zeros(1, 4, 3), torch.tensor([4]), torch.tensor([[[1]]]), 3)

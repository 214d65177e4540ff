"""MiniLM: relations of tokens, against loops, and what they do not see."""

import math

import pytest
import torch
from draws import draw
from loops import kl, softmax
from torch.autograd import gradcheck

from kdnb import losses


def scores(one, other):
    """Scaled products of plain lists."""
    return [
        [sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(len(x)) for y in other]
        for x in one
    ]


def naive(student, teacher, present):
    """The mean over sequences, heads and present queries, of tensors (batch, heads, tokens, d)."""
    total = 0.0
    for b, there in enumerate(present):
        tokens = [t for t, here in enumerate(there) if here]
        rows = 0.0
        for a in range(student[0].shape[1]):
            ours, theirs = (
                scores(*(x[b, a][tokens].tolist() for x in pair)) for pair in (student, teacher)
            )
            rows += sum(kl(softmax(t), softmax(s)) for s, t in zip(ours, theirs, strict=True))
        total += rows / (student[0].shape[1] * len(tokens))
    return total / len(present)


STUDENT = [draw(2, 3, 5, 2, seed=n) for n in range(3)]
TEACHER = [draw(2, 3, 5, 4, seed=n) for n in range(3, 6)]
ALL = torch.ones(2, 5, dtype=torch.bool)
SOME = torch.tensor([[True, True, True, False, False], [True, True, True, True, False]])


@pytest.mark.parametrize("present", [None, ALL, SOME])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_deep_self_attention_against_loops(present, weight):
    there = ALL if present is None else present
    expected = naive(STUDENT[:2], TEACHER[:2], there)
    expected += weight * naive([STUDENT[2]] * 2, [TEACHER[2]] * 2, there)
    value = losses.deep_self_attention(STUDENT, TEACHER, weight, present)
    assert value.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("present", [None, SOME])
def test_relations_of_version_2_against_loops(present):
    def again(heads, count):
        joined = torch.cat(list(heads.unbind(1)), dim=-1)  # heads side by side
        width = joined.shape[-1] // count
        return torch.stack([joined[..., k * width : (k + 1) * width] for k in range(count)], 1)

    expected = 0.0
    for ours, theirs in zip(STUDENT, TEACHER, strict=True):
        expected += naive(
            [again(ours, 2)] * 2, [again(theirs, 2)] * 2, ALL if present is None else present
        )
    value = losses.multi_head_relations(STUDENT, TEACHER, 2, present)
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_numbers_of_heads_may_differ_in_version_2_alone():
    other = [draw(2, 4, 5, 3, seed=n) for n in range(3)]
    assert losses.multi_head_relations(STUDENT, other, 6).isfinite()
    with pytest.raises(ValueError, match="as many heads in the student as in the teacher"):
        losses.deep_self_attention(STUDENT, other)
    with pytest.raises(ValueError, match="relation_heads 5 must divide the width 6"):
        losses.multi_head_relations(STUDENT, other, 5)


def test_nothing_is_seen_of_padding():
    spoilt = [[one.clone() for one in heads] for heads in (STUDENT, TEACHER)]
    for heads in spoilt:
        for one in heads:
            one[0, :, 3:] = 1e4
            one[1, :, 4:] = -1e4
    for loss in (
        losses.deep_self_attention,
        lambda s, t, present: losses.multi_head_relations(s, t, 2, present),
    ):
        clean = loss(STUDENT, TEACHER, present=SOME)
        assert loss(*spoilt, present=SOME).item() == pytest.approx(clean.item(), rel=1e-12)
    cut = [[one[:1, :, :3] for one in heads] for heads in (STUDENT, TEACHER)]
    whole = losses.deep_self_attention(
        *[[one[:1] for one in h] for h in (STUDENT, TEACHER)], present=SOME[:1]
    )
    assert losses.deep_self_attention(*cut).item() == pytest.approx(whole.item(), rel=1e-12)


def test_a_relation_is_of_directions_that_turn_together():
    """A rotation of a head's queries and keys changes no score; nor does an order of the tokens."""
    turn = torch.linalg.qr(draw(2, 2, seed=9)).Q
    turned = [one @ turn for one in STUDENT]
    value = losses.deep_self_attention(STUDENT, TEACHER)
    assert losses.deep_self_attention(turned, TEACHER).item() == pytest.approx(value.item())
    order = torch.tensor([3, 1, 4, 0, 2])
    mixed = [[one[:, :, order] for one in heads] for heads in (STUDENT, TEACHER)]
    assert losses.deep_self_attention(*mixed).item() == pytest.approx(value.item())


def test_scores_are_known_up_to_a_number_for_each_query():
    student, teacher = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    value = losses.relation_divergence(student, teacher)
    moved = student + draw(2, 3, 4, 1, seed=2)
    assert losses.relation_divergence(moved, teacher.log_softmax(-1)).item() == pytest.approx(
        value.item()
    )
    assert losses.relation_divergence(moved, student).item() == pytest.approx(0, abs=1e-12)


def test_gradients():
    inputs = [one.clone().requires_grad_() for one in STUDENT + TEACHER]
    assert gradcheck(lambda *x: losses.deep_self_attention(x[:3], x[3:], 0.5, SOME), inputs)
    assert gradcheck(lambda *x: losses.multi_head_relations(x[:3], x[3:], 3, SOME), inputs)
    spare = [one.clone().requires_grad_() for one in STUDENT]
    losses.deep_self_attention(spare, TEACHER, 1.0, SOME).backward()
    assert all(not one.grad[0, :, 3:].any() and one.grad[0, :, :3].any() for one in spare)


def test_extremes_in_half_precision():
    """Scores that are one-hot, and scores that disagree without measure."""
    far = [one.half() * 100 for one in STUDENT]
    assert losses.deep_self_attention(far, [-one for one in far], 1.0, SOME).isfinite()
    assert losses.deep_self_attention(far, far, 1.0, SOME).item() == pytest.approx(0, abs=1e-5)


def test_what_is_no_padding_is_refused():
    for present, words in (
        (torch.ones(2, 4, dtype=torch.bool), r"present must hold truth values of shape \(2, 5\)"),
        (ALL.long(), "got torch.int64"),
        (torch.zeros(2, 5, dtype=torch.bool), "a token in every sequence"),
    ):
        with pytest.raises(ValueError, match=words):
            losses.deep_self_attention(STUDENT, TEACHER, 1.0, present)
    with pytest.raises(ValueError, match="one shape"):
        losses.attention_scores(STUDENT[0], TEACHER[0])

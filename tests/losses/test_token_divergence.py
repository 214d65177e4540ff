"""Divergences of next-token distributions: loops, limits, and what padding does not do."""

import math

import pytest
import torch
from draws import draw
from loops import kl, softmax
from torch.autograd import gradcheck

from kdnb import losses
from kdnb.losses import token_divergence, token_divergences

S, T = draw(3, 4, 5, scale=2.0), draw(3, 4, 5, scale=2.0, seed=1)
SOME = torch.tensor(
    [[False, True, True, False], [True, True, True, True], [False, False, False, True]]
)


def naive(kind, share=0.5, there=SOME):
    total = 0.0
    for b in range(len(S)):
        places = [t for t in range(S.shape[1]) if there[b, t]]
        value = 0.0
        for t in places:
            q, p = softmax(S[b, t].tolist()), softmax(T[b, t].tolist())
            m = [share * x + (1 - share) * y for x, y in zip(p, q, strict=True)]
            value += {
                "forward": kl(p, q), "reverse": kl(q, p),
                "jensen_shannon": share * kl(p, m) + (1 - share) * kl(q, m),
            }[kind]  # fmt: skip
        total += value / len(places)
    return total / len(S)


@pytest.mark.parametrize("kind", ["forward", "reverse", "jensen_shannon"])
@pytest.mark.parametrize("present", [None, SOME])
def test_against_loops(kind, present):
    there = torch.ones_like(SOME) if present is None else present
    value = token_divergence(S, T, present, kind, 0.3)
    assert value.item() == pytest.approx(naive(kind, 0.3, there), rel=1e-10)
    each = token_divergences(S, T, kind, 0.3)
    assert each.shape == (3, 4) and each.min() >= 0


@pytest.mark.parametrize("kind", ["forward", "reverse", "jensen_shannon"])
def test_gradients(kind):
    s = S[:2, :, :3].clone().requires_grad_()
    assert gradcheck(lambda z: token_divergence(z, T[:2, :, :3], SOME[:2], kind, 0.3), (s,))


def test_one_token_is_the_loss_of_a_classifier():
    s, t = S[:, :1], T[:, :1]
    torch.testing.assert_close(token_divergence(s, t), losses.soft_targets(s[:, 0], t[:, 0], 1.0))
    torch.testing.assert_close(
        token_divergence(s, t, kind="reverse"), losses.reverse_kl(s[:, 0], t[:, 0])
    )
    torch.testing.assert_close(
        token_divergence(s, t, kind="jensen_shannon", teacher_share=0.2),
        losses.jensen_shannon(s[:, 0], t[:, 0], 0.2),
    )


def test_the_limits_of_jensen_and_shannon():
    """Divided by its share it tends to one of the other two."""
    for share, kind in ((1e-6, "forward"), (1 - 1e-6, "reverse")):
        value = token_divergence(S, T, SOME, "jensen_shannon", share)
        limit = token_divergence(S, T, SOME, kind)
        assert value.item() / min(share, 1 - share) == pytest.approx(limit.item(), rel=1e-3)


def test_word_level_distillation_is_the_likelihood_up_to_the_teachers_entropy():
    """The gradient of the forward divergence is that of cross-entropy with the teacher's distributions."""
    s = S.clone().requires_grad_()
    (ours,) = torch.autograd.grad(token_divergence(s, T), s)
    (theirs,) = torch.autograd.grad(-(T.softmax(2) * s.log_softmax(2)).sum(2).mean(), s)
    torch.testing.assert_close(ours, theirs)


def test_padding_takes_no_part_but_a_nan_in_it_is_told():
    other = S.clone()
    other[~SOME] += 5 * draw(*other[~SOME].shape, seed=2)
    torch.testing.assert_close(token_divergence(other, T, SOME), token_divergence(S, T, SOME))
    s = S.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(token_divergence(s, T, SOME), s)
    assert gradient[~SOME].eq(0).all()
    other[0, 0, 0] = math.nan
    assert token_divergence(other, T, SOME).isnan()


@pytest.mark.parametrize("kind", ["forward", "reverse", "jensen_shannon"])
def test_extreme_logits(kind):
    s = torch.tensor([[[1e4, -1e4, 0.0]]], requires_grad=True)
    value = token_divergence(s, torch.tensor([[[-1e4, 1e4, 0.0]]]), kind=kind)
    value.backward()
    assert value.isfinite() and s.grad.isfinite().all()
    assert token_divergence(1e4 * S, 1e4 * S, kind=kind).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: token_divergence(S[0], T[0]), "must be"),
        (
            lambda: token_divergence(S, T[:, :3]),
            "vocabulary\\) of one shape; got \\(3, 4, 5\\) and",
        ),
        (lambda: token_divergence(S, T, SOME[:, :3]), "shape \\(3, 4\\), \\(batch, tokens\\)"),
        (
            lambda: token_divergence(S, T, SOME & False),
            "present must have a token in every sequence",
        ),
        (lambda: token_divergence(S, T, kind="backward"), "kind"),
        (lambda: token_divergence(S, T, kind="jensen_shannon", teacher_share=1), "between 0 and 1"),
        (lambda: token_divergence(S, T, kind="jensen_shannon", teacher_share=0), "teacher_share"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()

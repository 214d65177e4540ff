"""MiniLLM: its gradient against that of the divergence of all sequences, summed one by one."""

import itertools
import math

import pytest
import torch
from draws import draw

from kdnb import losses
from kdnb.losses import minillm, token_divergence

WORDS, LONGEST = 3, 3
# Logits after each prefix of every sequence of 3 words out of 3; a word's logits depend on all before.
PREFIXES = {
    prefix: place
    for place, prefix in enumerate(
        p for n in range(LONGEST) for p in itertools.product(range(WORDS), repeat=n)
    )
}
STUDENT, TEACHER = draw(len(PREFIXES), WORDS), draw(len(PREFIXES), WORDS, seed=1)
SEQUENCES = torch.tensor(list(itertools.product(range(WORDS), repeat=LONGEST)))
ROWS = torch.tensor([[PREFIXES[tuple(s[:n])] for n in range(LONGEST)] for s in SEQUENCES.tolist()])
ALL = torch.ones_like(SEQUENCES, dtype=torch.bool)


def log_probability(table):
    return table[ROWS].log_softmax(2).gather(2, SEQUENCES[..., None])[..., 0].sum(1)


def gradient_of(value_of):
    table = STUDENT.clone().requires_grad_()
    return torch.autograd.grad(value_of(table), table)[0]


def expected_gradient(**options):
    """Of the surrogate, each sequence with the student's probability."""

    def value(table):
        chances = log_probability(table.detach()).exp()
        total = 0.0
        for n, chance in enumerate(chances):
            row = slice(n, n + 1)
            total = total + chance * minillm(
                table[ROWS[row]], TEACHER[ROWS[row]], SEQUENCES[row], ALL[row], **options
            )
        return total

    return gradient_of(value)


def test_the_gradient_is_that_of_the_divergence_of_sequences():
    def divergence(table):
        logs = log_probability(table)
        return (logs.exp() * (logs - log_probability(TEACHER))).sum() / LONGEST

    found = expected_gradient(clip=None, length_normalised=False)
    torch.testing.assert_close(found, gradient_of(divergence))


def test_without_what_follows_it_is_on_policy_distillation():
    """The last token has no future: for sequences of one token only the single step is left."""
    last = torch.tensor([[False, False, True]]).expand_as(ALL)
    ours = gradient_of(lambda z: minillm(z[ROWS], TEACHER[ROWS], SEQUENCES, last))
    theirs = gradient_of(lambda z: token_divergence(z[ROWS], TEACHER[ROWS], last, "reverse"))
    torch.testing.assert_close(ours, theirs)


def naive(s, t, tokens, present, weights, clip, normalised, authors):
    """Gradients by hand: of the first term by autograd, of the second by its formula."""
    log_q, log_p = s.log_softmax(2), t.log_softmax(2)
    count, returns = int(present.sum()), {}
    for b in range(len(s)):
        places = [i for i in range(s.shape[1]) if present[b, i]]
        for n, i in enumerate(places):
            rest = [float((log_p - log_q).detach()[b, j, tokens[b, j]]) for j in places[n + 1 :]]
            returns[b, i] = sum(rest) / (len(rest) if normalised and rest else 1)
    if authors:
        values = list(returns.values())
        mean = sum(values) / count
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / count)
        returns = {place: (v - mean) / (spread + 1e-8) for place, v in returns.items()}
    total = 0.0
    for (b, i), after in returns.items():
        w = float(weights[b, i])
        q = log_q[b, i].exp()
        total = total + (1 if authors else w) * (q * (log_q[b, i] - log_p[b, i])).sum()
        # The clipped ratio has no gradient where clipping makes the gain smaller.
        free = clip is None or not ((w > 1 + clip and after > 0) or (w < 1 - clip and after < 0))
        if free:
            total = total - w * after * log_q[b, i, tokens[b, i]]
    return total / count


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_gradients_against_loops(clip, normalised, variant):
    s, t = draw(3, 4, 5), draw(3, 4, 5, seed=1)
    tokens = torch.randint(0, 5, (3, 4), generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[False, True, True, False], [True] * 4, [False, False, False, True]])
    weights = draw(3, 4, seed=2).abs() + 0.3
    ours, theirs = s.clone().requires_grad_(), s.clone().requires_grad_()
    value = minillm(ours, t, tokens, present, weights, clip, normalised, variant)
    again = naive(theirs, t, tokens, present, weights, clip, normalised, variant == "authors")
    torch.testing.assert_close(
        torch.autograd.grad(value, ours)[0], torch.autograd.grad(again, theirs)[0]
    )


def test_importance_weights_correct_for_another_drawer():
    """At sequences of one token, draws from a mixture have the same gradient on average."""
    s, t = draw(1, 1, 4), draw(1, 1, 4, seed=1)
    mixture = 0.2 * t.softmax(2) + 0.8 * s.softmax(2)
    ours, theirs = s.clone().requires_grad_(), s.clone().requires_grad_()
    there = torch.ones(1, 1, dtype=torch.bool)
    total = 0.0
    for token in range(4):
        weight = (s.softmax(2) / mixture)[..., token]
        drawn = torch.tensor([[token]])
        total = total + mixture[0, 0, token] * minillm(ours, t, drawn, there, weight, clip=None)
    value = token_divergence(theirs, t, kind="reverse")
    torch.testing.assert_close(
        torch.autograd.grad(total, ours)[0], torch.autograd.grad(value, theirs)[0]
    )


def test_extreme_logits_and_padding():
    s = torch.tensor([[[1e4, -1e4], [0.0, 0.0]]], requires_grad=True)
    tokens, there = torch.tensor([[0, 1]]), torch.tensor([[True, False]])
    value = minillm(s, torch.tensor([[[-1e4, 1e4], [0.0, 0.0]]]), tokens, there)
    value.backward()
    assert value.isfinite() and s.grad.isfinite().all() and s.grad[0, 1].eq(0).all()
    spoilt = torch.tensor([[[0.0, 1.0], [math.nan, 0.0]]])
    assert minillm(spoilt, torch.zeros(1, 2, 2), tokens, there).isnan()


def test_wrong_arguments():
    s, tokens, there = draw(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3) > 0
    for call, words in (
        (lambda: minillm(s, s, tokens.float(), there), "tokens must be integers"),
        (
            lambda: minillm(s, s, tokens[:, :2], there),
            r"tokens must be .* \(2, 3\); got .* \(2, 2\)",
        ),
        (lambda: minillm(s, s, tokens, there[:, :2]), "present must hold truth values"),
        (lambda: minillm(s, s, tokens, there, torch.ones(2)), "weights must be of shape"),
        (
            lambda: minillm(s, s, tokens, there, -torch.ones(2, 3)),
            "weights must be at least 0; got -1",
        ),
        (lambda: minillm(s, s, tokens, there, clip=0), "clip must be a finite number above 0"),
        (lambda: minillm(s, s, tokens, there, variant="ours"), "variant"),
        (lambda: losses.minillm(s[0], s[0], tokens[0], there[0]), "must be"),
    ):
        with pytest.raises(ValueError, match=words):
            call()

"""Beams of ensembles and what a student is trained on, in a small language and on real words."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import losses, papers
from kdnb.methods import multi_teacher as mt

START, END, WORDS = 0, 1, 5


def chain(seed, sharp=2.0):
    """A model whose next token depends on the last one and on the place."""
    generator = torch.Generator().manual_seed(seed)
    table = sharp * torch.randn(6, WORDS, WORDS, generator=generator)
    table[..., START] = -math.inf

    def said(prefixes):
        return table[min(prefixes.shape[1] - 1, 5), prefixes[:, -1]]

    return said


def probability(members, tokens, mean):
    total, prefix = 0.0, [START]
    for token in (*tokens, END):
        each = torch.stack([m(torch.tensor([prefix]))[0].log_softmax(0) for m in members])
        if mean == "arithmetic":
            step = each.exp().mean(0).log()
        else:
            step = each.mean(0).log_softmax(0)
        total += float(step[token])
        prefix.append(token)
    return total


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_wide_beam_finds_what_enumeration_finds(count, mean):
    members = [chain(seed) for seed in range(count)]
    every = {
        tokens: probability(members, tokens, mean)
        for length in range(4)
        for tokens in itertools.product(range(2, WORDS), repeat=length)
    }
    best = sorted(every, key=every.get, reverse=True)[:3]
    found = mt.beam_search(members, start=START, end=END, beam=40, longest=4, mean=mean)
    assert [one.tokens for one in found[:3]] == best
    for one in found[:3]:
        assert one.log_probability == pytest.approx(every[one.tokens], rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed):
    members, tokens = [chain(seed), chain(seed + 10)], []
    while len(tokens) < 12:
        prefix = torch.tensor([[START, *tokens]])
        token = int(torch.stack([m(prefix).softmax(1) for m in members]).mean(0).argmax())
        if token == END:
            break
        tokens.append(token)
    (found,) = mt.beam_search(members, start=START, end=END, beam=1, longest=12)
    assert found.tokens == tuple(tokens)


def test_lengths_can_be_forgiven():
    options = {"start": START, "end": END, "beam": 8, "longest": 6}
    lengths = [
        len(mt.beam_search([chain(4)], length_power=power, **options)[0].tokens)
        for power in (0.0, 3.0)
    ]
    assert lengths[0] < lengths[1]


def test_bleu_and_edits_by_hand():
    reference = list("abcd")
    assert mt.sentence_bleu(reference, reference) == 1
    assert mt.sentence_bleu(list("xy"), reference) == 0
    # 3 of 4 tokens, 2 of 3 pairs, 1 of 2 triples, 0 of 1: (m + 1) / (c + 1) beyond the first
    expected = (3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert mt.sentence_bleu(list("abcx"), reference) == pytest.approx(expected)
    shorter = (1 * 3 / 3 * 2 / 2 * 1) ** 0.25 * math.exp(1 - 4 / 3)
    assert mt.sentence_bleu(list("abc"), reference) == pytest.approx(shorter)
    assert mt.sentence_bleu(list("aaaa"), reference) < 0.5  # matches are clipped
    assert mt.edit_rate(list("acd"), reference) == 0.25
    assert mt.edit_rate([], reference) == 1


@pytest.mark.parametrize("seed", range(5))
def test_edits_against_recursion(seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = (torch.randint(3, (size,), generator=generator).tolist() for size in (5, 6))

    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        same = distance(a[1:], b[1:]) + (a[0] != b[0])
        return min(same, distance(a[1:], b) + 1, distance(a, b[1:]) + 1)

    assert mt.edit_rate(one, other) == pytest.approx(distance(one, other) / 6)


def test_the_oracle_is_most_like_the_reference():
    beam, reference = [list("ba"), list("abx"), list("ab")], list("ab")
    assert mt.choose(beam) == beam[0]
    assert mt.choose(beam, reference, "oracle") == beam[2]
    scores = [mt.sentence_bleu(one, reference) for one in beam]
    assert mt.sentence_bleu(mt.choose(beam, reference, "oracle"), reference) == max(scores)
    with pytest.raises(ValueError, match="the oracle needs a reference"):
        mt.choose(beam, by="oracle")


def test_the_corpus_is_filtered_and_joined():
    sources, references = ["s1", "s2"], [list("abcd"), list("abcd")]
    beams = [[list("abcx"), list("abcd")], [list("wxyz")]]
    assert mt.distilled_corpus(sources, beams, references) == [
        ("s1", beams[0][0]), ("s1", references[0])]  # fmt: skip
    alone = mt.distilled_corpus(sources, beams, references, union=False, largest_edit_rate=None)
    assert alone == [("s1", beams[0][0]), ("s2", beams[1][0])]
    oracle = mt.distilled_corpus(sources, beams, references, by="oracle", union=False)
    assert oracle == [("s1", references[0])]
    with pytest.raises(ValueError, match="of one length; got 2, 1 and 2"):
        mt.distilled_corpus(sources, beams[:1], references)


def test_teachers_are_followed_until_the_student_is_better():
    chosen = mt.Selective({"de": 30.0, "fr": 35.0}, weight=0.5, threshold=1.0)
    nll, kd = torch.tensor(2.0), torch.tensor(4.0)
    assert chosen.loss("de", nll, kd) == 3
    chosen.check({"de": 31.5, "fr": 35.5})
    assert chosen.loss("de", nll, kd) == 2 and chosen.loss("fr", nll, kd) == 3
    chosen.check({"de": 29.0})
    assert chosen.loss("de", nll, kd) == 3
    with pytest.raises(KeyError):
        chosen.check({"it": 1.0})


class Letters(nn.Module):
    """The next letter of a word from the last three."""

    def __init__(self, seed, width=24):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(28, 8)
        self.layers = nn.Sequential(nn.Linear(24, width), nn.Tanh(), nn.Linear(width, 28))

    def forward(self, prefixes):
        last = F.pad(prefixes, (2, 0))[:, -3:]
        return self.layers(self.embedding(last).flatten(1))


def windows(words):
    prefixes, following = [], []
    for word in words:
        known = [START]
        for token in (*word, END):
            prefixes.append(([0, 0, *known])[-3:])
            following.append(token)
            known.append(token)
    return torch.tensor(prefixes), torch.tensor(following)


def fitted(model, loss, steps=150):
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(model)
        value.backward()
        optimiser.step()
    return value.item()


def test_letters_of_real_titles_from_teachers_to_a_student():
    """Words of the titles of this package's papers: an ensemble's answers, the 8 likeliest kept."""
    titles = " ".join(entry.fields["title"] for entry in papers.bibliography().entries.values())
    found = sorted({w for w in titles.lower().split() if w.isascii() and w.isalpha()})[:120]
    words = [[ord(letter) - 95 for letter in word] for word in found]
    prefixes, following = windows(words)
    members = [Letters(seed) for seed in (1, 2, 3)]
    for member in members:
        fitted(member, lambda one: F.cross_entropy(one(prefixes), following))
    with torch.no_grad():
        target = losses.ensemble_log_probabilities([member(prefixes) for member in members])
    student = Letters(9, width=12)
    before = losses.top_cross_entropy(student(prefixes), target, 8).item()
    after = fitted(student, lambda one: losses.top_cross_entropy(one(prefixes), target, 8))
    assert after < 0.8 * before
    beam = mt.beam_search(members, start=START, end=END, beam=5, longest=12)
    assert 1 < len(beam) <= 5 and len({one.tokens for one in beam}) == len(beam)
    assert [one.log_probability for one in beam] == sorted(
        (one.log_probability for one in beam), reverse=True
    )
    assert all(2 <= token < 28 for one in beam for token in one.tokens)

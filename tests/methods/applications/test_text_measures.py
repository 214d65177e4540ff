"""What is measured on text: by hand, and on models whose answers are known."""

import math

import pytest
import torch
from small_languages import END, model, sentences

from kdnb.losses import token_divergences
from kdnb.methods.applications.generation import continuations
from kdnb.methods.applications.text_measures import (
    bleu,
    corpus_bleu,
    distinct,
    excess_error,
    likelihood,
    mean_rouge_l,
    place_divergences,
    rouge_l,
    written,
)

TOKENS = sentences()


def test_likelihood_is_over_all_tokens():
    logs = model(0)(TOKENS).log_softmax(2)
    values = [
        -float(logs[b, t - 1, TOKENS[b, t]])
        for b in range(64) for t in range(2, TOKENS.shape[1]) if TOKENS[b, t] != 0
    ]  # fmt: skip
    assert likelihood(model(0), TOKENS, 2, batch=7) == pytest.approx(
        sum(values) / len(values), rel=1e-5
    )


def test_own_text_estimates_entropy_and_divergence():
    prompts = torch.tensor([[2]]).expand(4000, -1)
    generator = torch.Generator().manual_seed(0)
    drawn = continuations(model(0), prompts, longest=1, end=END, generator=generator).tokens
    said = written(model(0), model(1), drawn)
    q, p = (model(n)(prompts[:1])[0, 0].log_softmax(0) for n in (0, 1))
    # Padding is never drawn, and is in the models' distributions.
    kept = q[1:].softmax(0)
    assert said.own == pytest.approx(float(-(kept * q[1:]).sum()), abs=0.05)
    assert said.teachers == pytest.approx(float(-(kept * p[1:]).sum()), abs=0.08)
    assert said.reverse == said.teachers - said.own


def test_divergences_by_place():
    each = token_divergences(model(0)(TOKENS)[:, :-1], model(1)(TOKENS)[:, :-1])
    found = place_divergences(model(0), model(1), TOKENS, 2, batch=10)
    for place in range(TOKENS.shape[1] - 2):
        rows = TOKENS[:, place + 2] != 0
        assert found[place].item() == pytest.approx(each[rows, place + 1].mean().item(), rel=1e-5)


def test_a_student_that_is_its_teacher_on_every_text_has_no_excess():
    class Shifted(torch.nn.Module):
        """Its error is the same after every prefix."""

        def forward(self, tokens):
            logits = torch.zeros(*tokens.shape, 6)
            logits[..., 3] = 1.0
            return logits

    class Flat(Shifted):
        def forward(self, tokens):
            return 0 * super().forward(tokens)

    prompts = torch.full((50, 1), 2)
    assert excess_error(Flat(), Shifted(), prompts, longest=5, end=99) == pytest.approx(0, abs=1e-3)


def test_excess_is_that_of_own_prefixes():
    student, teacher, prompts = model(0), model(1), torch.full((400, 1), 2)
    generator = torch.Generator().manual_seed(0)
    found = excess_error(student, teacher, prompts, longest=3, end=99, generator=generator)
    generator = torch.Generator().manual_seed(0)
    kinds = []
    for who in (student, teacher):
        drawn = continuations(who, prompts, longest=3, end=99, generator=generator).tokens
        kinds.append(float(place_divergences(student, teacher, drawn).sum()))
    assert found == pytest.approx(100 * (kinds[0] / kinds[1] - 1))


def test_rouge_and_distinct():
    assert rouge_l("abcd", "abcd") == 1 and rouge_l("abc", "xyz") == 0
    assert rouge_l("axbyc", "abc") == pytest.approx(2 * 3 / 8)
    assert rouge_l("", "") == 1 and rouge_l("", "a") == 0
    ours, theirs = torch.tensor([[2, 3, 4, 1, 0]]), torch.tensor([[2, 3, 5, 4, 1]])
    assert mean_rouge_l(ours, theirs, 1, END) == pytest.approx(2 * 2 / 5)
    rows = torch.tensor([[2, 3, 4, 3, 4], [2, 3, 4, 1, 0]])
    assert distinct(rows, 1, 2) == pytest.approx(3 / 5)  # 34 43 34; 34 41
    with pytest.raises(ValueError, match="n must be"):
        distinct(rows, 1, 0)


def test_bleu_of_a_corpus_by_loops():
    stream = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.randint(0, 2, (n,), generator=stream).tolist() for n in lengths] for lengths in ((7, 4, 9, 3), (8, 4, 7, 6)))  # fmt: skip
    product = 1.0
    for n in (1, 2, 3, 4):
        right = count = 0
        for said, given in zip(ours, theirs, strict=True):
            grams = [said[i : i + n] for i in range(len(said) - n + 1)]
            left = [given[i : i + n] for i in range(len(given) - n + 1)]
            count += len(grams)
            for gram in grams:
                if gram in left:  # each of the reference's is matched once
                    left.remove(gram)
                    right += 1
        product *= (right / count) ** 0.25
    assert 0 < product < 1
    assert corpus_bleu(ours, theirs) == pytest.approx(product * math.exp(1 - 25 / 23))


def test_bleu_of_known_cases():
    one = [["a", "b", "c", "d", "e"]]
    assert corpus_bleu(one, one) == 1 and corpus_bleu(one, [["v", "w", "x", "y", "z"]]) == 0
    long = [["a", "b", "c", "d", "e", "f", "g", "h"]]
    assert corpus_bleu(one, long) == pytest.approx(math.exp(1 - 8 / 5))  # too short
    assert corpus_bleu(long, one) == pytest.approx((5 / 8 * 4 / 7 * 3 / 6 * 2 / 5) ** 0.25)
    assert corpus_bleu([["a", "b"]], [["a", "b"]], longest=2) == 1
    # Papineni's example: a word counts as often as the reference has it
    the = [["the", "the", "the", "the", "the", "the", "the"]]
    assert corpus_bleu(the, [["the", "cat", "is", "on", "the", "mat"]], longest=1) == pytest.approx(
        2 / 7
    )
    rows = torch.tensor([[2, 3, 4, 5, 3, 4, 1, 0], [2, 5, 5, 5, 5, 1, 0, 0]])
    assert bleu(rows, rows, 1, END) == 1
    assert bleu(rows, rows.flip(0), 1, END) < 0.1
    for wrong in (([], []), (one, [])):
        with pytest.raises(ValueError, match="one reference for each hypothesis"):
            corpus_bleu(*wrong)
    with pytest.raises(ValueError, match="longest"):
        corpus_bleu(one, one, longest=0)

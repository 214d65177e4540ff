"""Sampling, beams and text of two authors, against the enumerated distribution of all responses."""

import math

import pytest
import torch
from small_languages import END, Whole, distribution, model, sentences, shares

from kdnb.methods import multi_teacher as mt
from kdnb.methods.applications.generation import (
    beam_continuations,
    continuations,
    interleaved,
    responses,
    without_padding,
    words_of,
)

PROMPT, LONGEST = (2, 4), 3
PROMPTS = torch.tensor([PROMPT])


def far(found, truth):
    return sum(abs(found.get(key, 0.0) - chance) for key, chance in truth.items()) / 2


def drawn(count=4000, **options):
    generator = torch.Generator().manual_seed(0)
    rows = PROMPTS.expand(count, -1)
    return continuations(model(0), rows, longest=LONGEST, end=END, generator=generator, **options)


def test_samples_have_the_models_distribution():
    truth = distribution(model(0), PROMPT, LONGEST)
    assert sum(truth.values()) == pytest.approx(1)
    found = drawn()
    assert far(shares(found.tokens, 2), truth) < 0.06
    assert found.weights.eq(1).all() and found.tokens[:, :2].eq(PROMPTS).all()


def test_what_follows_an_end_is_padding_and_no_padding_is_drawn():
    tokens = drawn(500).tokens[:, 2:]
    ended = (tokens == END).cumsum(1) - (tokens == END).long() > 0
    assert tokens[ended].eq(0).all() and tokens[~ended].ne(0).all()


def test_the_greedy_answer_is_the_likeliest_token_each_time():
    said = continuations(model(0), PROMPTS, longest=LONGEST, end=END, greedy=True).tokens[0]
    response = []
    while len(response) < LONGEST and END not in response:
        logits = model(0)(torch.tensor([[*PROMPT, *response]]))[0, -1]
        response.append(1 + int(logits[1:].argmax()))
    assert said[2 : 2 + len(response)].tolist() == response


def test_a_mixture_has_the_mixtures_distribution_and_its_weights():
    found = drawn(mixed=model(1), share=0.4)
    one, other = (model(n)(PROMPTS)[0, -1, 1:].softmax(0) for n in (0, 1))
    mixture = 0.4 * other + 0.6 * one
    first = found.tokens[:, 2]
    rates = torch.stack([(first == token).float().mean() for token in range(1, 6)])
    torch.testing.assert_close(rates, mixture.detach(), atol=0.03, rtol=0)
    expected = (one / mixture)[first - 1]
    torch.testing.assert_close(found.weights[:, 0], expected.detach())


def test_a_model_without_steps_says_the_same():
    options = {"longest": 4, "end": END}
    rows = PROMPTS.expand(50, -1)
    for write in (
        lambda m: continuations(m, rows, generator=torch.Generator().manual_seed(3), **options).tokens,
        lambda m: beam_continuations(m, rows, beam=3, **options)[0],
        lambda m: interleaved(m, model(1), rows, top=2, generator=torch.Generator().manual_seed(3), **options),
    ):  # fmt: skip
        assert write(Whole(model(0))).equal(write(model(0)))


def test_a_wide_beam_finds_the_likeliest_responses():
    truth = distribution(model(0), PROMPT, LONGEST)
    best = sorted(truth, key=truth.get, reverse=True)[:5]
    rows, totals = beam_continuations(model(0), PROMPTS, longest=LONGEST, end=END, beam=200)
    found = [tuple(t for t in row[2:].tolist() if t) for row in rows[0][:5]]
    assert found == best
    torch.testing.assert_close(totals[0, :5].exp(), torch.tensor([truth[key] for key in best]))


def test_a_beam_of_1_is_greedy_and_all_prompts_are_searched():
    prompts = torch.tensor([[2, 3], [2, 4], [2, 5]])
    options = {"longest": 5, "end": END}
    rows, _ = beam_continuations(model(0), prompts, beam=1, **options)
    assert rows[:, 0].equal(continuations(model(0), prompts, greedy=True, **options).tokens)
    rows, _ = beam_continuations(model(0), prompts, beam=3, **options)
    for number in range(3):
        alone, _ = beam_continuations(model(0), prompts[number : number + 1], beam=3, **options)
        assert rows[number].equal(alone[0])


@pytest.mark.parametrize("power", [0.0, 0.7, 1.5])
def test_a_wide_beam_ranks_by_length(power):
    """Wide enough to hold all responses, it finds those with the best log p / length^power."""
    truth = distribution(model(0), PROMPT, LONGEST)
    ranked = sorted(truth, key=lambda key: math.log(truth[key]) / len(key) ** power, reverse=True)
    rows, totals = beam_continuations(
        model(0), PROMPTS, longest=LONGEST, end=END, beam=400, length_power=power
    )
    found = [tuple(t for t in row[2:].tolist() if t) for row in rows[0][:8]]
    assert found == ranked[:8]
    torch.testing.assert_close(totals[0, :8].exp(), torch.tensor([truth[key] for key in ranked[:8]]))  # fmt: skip


def test_the_beam_of_one_prompt_is_that_of_several_teachers():
    def says(prefixes):
        logits = model(0)(torch.cat([torch.full((len(prefixes), 1), 2), prefixes[:, 1:]], 1))[:, -1]
        logits[:, 0] = -torch.inf
        return logits

    other = mt.beam_search([says], start=2, end=END, beam=50, longest=3)[0]
    rows, totals = beam_continuations(model(0), torch.tensor([[2]]), longest=3, end=END, beam=50)
    ended = [n for n, row in enumerate(rows[0]) if END in row]
    assert tuple(t for t in rows[0][ended[0]][1:].tolist() if t not in (0, END)) == other.tokens
    assert float(totals[0, ended[0]]) == pytest.approx(other.log_probability, abs=1e-5)


def test_text_of_two_authors():
    """With top 1 it is the teacher's likeliest token or its draw; with all tokens it is the student's text."""
    rows = PROMPTS.expand(3000, -1)

    def write(top):
        generator = torch.Generator().manual_seed(0)
        options = {"longest": 3, "end": END, "generator": generator}
        return interleaved(model(0), model(1), rows, top=top, **options)

    assert far(shares(write(6), 2), distribution(model(0), PROMPT, 3)) < 0.06
    q, p = (model(n)(PROMPTS)[0, -1, 1:].softmax(0) for n in (0, 1))
    kept = torch.zeros(5)
    kept[p.topk(2).indices] = 1
    expected = q * kept + (q * (1 - kept)).sum() * p
    rates = torch.stack([(write(2)[:, 2] == token).float().mean() for token in range(1, 6)])
    torch.testing.assert_close(rates, expected.detach(), atol=0.03, rtol=0)


def test_text_of_two_authors_is_written_no_longer_than_it_takes():
    """Both are asked as often as the longest sequence has tokens, and rows are padded to their full length."""
    asked = []

    def sure(tokens):  # writes 4, then the end
        asked.append(tokens.shape[1])
        logits = torch.zeros(*tokens.shape, 6)
        logits[..., END if tokens.shape[1] > 2 else 4] = 50.0
        return logits

    rows = interleaved(sure, sure, PROMPTS.expand(5, -1), longest=9, end=END, top=1)
    assert rows.shape == (5, 11) and rows.equal(
        torch.tensor([[2, 4, 4, 1, *[0] * 7]]).expand(5, -1)
    )
    assert max(asked) == 3


def test_the_words_of_a_row():
    assert words_of([2, 4, 5, 3, END, 0, 0], 2, END) == [5, 3]
    rows = torch.tensor([[2, 3, 0, 0], [2, 3, 1, 0]])
    assert without_padding(rows).equal(rows[:, :3])


def test_modes_are_as_before_and_dropout_is_off():
    student = model(0)
    student.dropout.p = 0.9
    student.train()
    first, second = (
        continuations(student, PROMPTS, longest=3, end=END, greedy=True).tokens for _ in range(2)
    )
    assert student.training and student.dropout.training and first.equal(second)


def test_which_tokens_belong_to_the_response():
    tokens = sentences(4)
    present = responses(tokens, 1)
    assert present.sum(1).equal((tokens != 0).sum(1) - 1)
    assert responses(tokens, 3)[:, :2].eq(False).all()
    with pytest.raises(ValueError, match="prompt must lie in"):
        responses(tokens, 0)
    with pytest.raises(ValueError, match="prompt must lie in"):
        responses(tokens, 7)


def test_wrong_arguments():
    options = {"longest": 2, "end": END}
    for call, words in (
        (lambda: continuations(model(0), PROMPTS, longest=0, end=END), "longest"),
        (lambda: continuations(model(0), PROMPTS, temperature=0, **options), "temperature"),
        (lambda: continuations(model(0), PROMPTS, share=2, **options), "share"),
        (lambda: continuations(model(0), PROMPTS, mixed=model(1), greedy=True, **options), "mixed"),
        (
            lambda: continuations(model(0), PROMPTS, mixed=model(1), temperature=2, **options),
            "mixed",
        ),
        (lambda: beam_continuations(model(0), PROMPTS, beam=0, **options), "beam"),
        (lambda: beam_continuations(model(0), PROMPTS, length_power=-1, **options), "length_power"),
        (lambda: interleaved(model(0), model(1), PROMPTS, top=0, **options), "top"),
    ):
        with pytest.raises(ValueError, match=words):
            call()

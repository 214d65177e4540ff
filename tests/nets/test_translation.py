"""The translator: what it may look at, step by step, and against the equations."""

import pytest
import torch

from kdnb.nets.translation import Translator

SOURCE, END = 4, 1


def translator(**options):
    torch.manual_seed(0)
    return Translator(12, 9, source=SOURCE, width=6, **options)


def rows(count=3, longest=5, seed=0):
    """Sources of one to four words, a start, and targets."""
    stream = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 9, (count, SOURCE + 1 + longest), generator=stream)
    tokens[0, 2:SOURCE] = END
    tokens[:, SOURCE] = 2
    return tokens


def test_a_target_is_read_from_left_to_right_and_step_by_step():
    model, tokens = translator(), rows()
    whole = model(tokens)
    assert whole.shape == (3, 10, 9) and whole[:, :SOURCE].eq(0).all()
    other = tokens.clone()
    other[:, 7:] = 3
    torch.testing.assert_close(model(other)[:, :7], whole[:, :7])
    logits, state = model.step(tokens[:, : SOURCE + 1])
    torch.testing.assert_close(logits, whole[:, SOURCE])
    for place in range(SOURCE + 1, 10):
        logits, state = model.step(tokens[:, place : place + 1], state)
        torch.testing.assert_close(logits, whole[:, place])


def test_every_word_of_the_source_counts_and_rows_do_not_mix():
    model, tokens = translator(), rows()
    whole = model(tokens)
    for place in range(SOURCE):
        other = tokens.clone()
        other[1, place] = 10
        changed = (model(other) - whole).abs().amax((1, 2))
        assert changed[1] > 1e-4 and changed[0] == changed[2] == 0


def test_attention_against_the_equations():
    model, tokens = translator(), rows()
    read, _ = model.encoder(model.source_words(tokens[:, :SOURCE]))
    for b in range(3):
        words = [j for j in range(SOURCE) if tokens[b, j] != END]
        hidden = torch.tanh(model.first(torch.stack([read[b, j] for j in words]).mean(0)))[
            None, None
        ]
        for t in range(SOURCE, 10):
            said, hidden = model.decoder(model.words(tokens[b : b + 1, t : t + 1]), hidden)
            h = said[0, 0]
            share = torch.stack([h @ model.attention(read[b, j]) for j in words]).softmax(0)
            found = sum(a * read[b, j] for a, j in zip(share, words, strict=True))
            logits = model.next(torch.tanh(model.joined(torch.cat([found, h]))))
            torch.testing.assert_close(model(tokens)[b, t], logits, rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training():
    model, tokens = translator(dropout=0.5), rows()
    model.train()
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


def test_rows_without_a_start_are_refused():
    with pytest.raises(ValueError, match="4 places of the source and a start; got 4 tokens"):
        translator()(rows()[:, :SOURCE])
    with pytest.raises(ValueError, match="source"):
        Translator(12, 9, source=0)

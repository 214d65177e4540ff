"""TinyBERT's losses, against loops; padding in the paper's form and in the authors'."""

import pytest
import torch
from draws import draw

from kdnb import losses

SOME = torch.tensor([[True, True, True, False], [True, True, False, False]])


def naive(student, teacher, present, variant):
    total, count = 0.0, 0
    batch, heads, tokens, _ = student.shape
    for b in range(batch):
        for a in range(heads):
            for i in range(tokens):
                for j in range(tokens):
                    rows = variant == "authors" or present[b, i]
                    if rows and present[b, j]:
                        total += (student[b, a, i, j] - teacher[b, a, i, j]).item() ** 2
                    count += variant == "authors" or bool(present[b, i] and present[b, j])
    return total / count


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_attention_matrices_against_loops(variant):
    student, teacher = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    for present in (SOME, torch.ones_like(SOME)):
        value = losses.attention_matrices(student, teacher, present, variant)
        assert value.item() == pytest.approx(naive(student, teacher, present, variant), rel=1e-10)
    assert losses.attention_matrices(student, teacher).item() == pytest.approx(
        losses.attention_matrices(student, teacher, torch.ones_like(SOME), variant).item()
    )


def test_the_authors_loss_shrinks_with_padding():
    """Two more padded tokens: the paper's value stays, the authors' falls with the square."""
    student, teacher, there = draw(1, 2, 3, 3), draw(1, 2, 3, 3, seed=1), torch.ones(1, 3).bool()
    longer = [torch.nn.functional.pad(one, (0, 3, 0, 3)) for one in (student, teacher)]
    more = torch.nn.functional.pad(there, (0, 3))
    paper = losses.attention_matrices(student, teacher, there)
    assert losses.attention_matrices(*longer, more).item() == pytest.approx(paper.item())
    authors = losses.attention_matrices(*longer, more, "authors")
    assert authors.item() == pytest.approx(paper.item() / 4)


def test_hidden_states_against_loops():
    ours, theirs = draw(2, 4, 3), draw(2, 4, 3, seed=1)
    squares = [
        (a - b) ** 2
        for sentence, other, there in zip(ours, theirs, SOME, strict=True)
        for x, y, here in zip(sentence.tolist(), other.tolist(), there, strict=True)
        if here
        for a, b in zip(x, y, strict=True)
    ]
    value = losses.hidden_states(ours, theirs, SOME)
    assert value.item() == pytest.approx(sum(squares) / len(squares), rel=1e-10)
    spoilt = ours.masked_fill(~SOME[..., None], 1e6)
    assert losses.hidden_states(spoilt, theirs, SOME).item() == pytest.approx(value.item())


def test_layers_are_spread_evenly():
    assert losses.uniform_layers(4, 12) == [2, 5, 8, 11]
    assert losses.uniform_layers(6, 6) == list(range(6))
    with pytest.raises(ValueError, match="multiple of student_layers; got 6 and 4"):
        losses.uniform_layers(4, 6)


def test_other_widths_and_heads_are_refused():
    with pytest.raises(ValueError, match="a linear map to the teacher's width"):
        losses.hidden_states(draw(2, 4, 3), draw(2, 4, 5))
    with pytest.raises(ValueError, match="with as many heads"):
        losses.attention_matrices(draw(2, 3, 4, 4), draw(2, 6, 4, 4))

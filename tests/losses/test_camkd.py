"""How sure teachers are, against loops."""

import math

import pytest
import torch
from draws import draw_wide
from loops import softmax

from kdnb import losses


def test_confidence_against_loops():
    logits, labels = [draw_wide(6, 3, seed=seed) for seed in range(3)], torch.arange(6) % 3
    found = losses.confidence_weights(logits, labels)
    for b in range(6):
        entropies = [-math.log(softmax(m[b].tolist())[labels[b]]) for m in logits]
        total = sum(map(math.exp, entropies))
        for k, entropy in enumerate(entropies):
            expected = (1 - math.exp(entropy) / total) / 2
            assert found[k, b].item() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(found.sum(0), torch.ones(6, dtype=torch.float64))
    assert found.max() <= 0.5


def test_certainty_against_loops():
    logits = [draw_wide(6, 3, seed=seed) for seed in range(3)]
    found = losses.certainty_weights(logits, 2.0)
    for b in range(6):
        answers = [softmax(m[b].tolist()) for m in logits]
        shares = [math.exp(2 * sum(p * math.log(p) for p in answer)) for answer in answers]
        for k, share in enumerate(shares):
            assert found[k, b].item() == pytest.approx(share / sum(shares), rel=1e-9)


def test_equal_teachers_count_equally_and_one_alone_whole():
    v, labels = draw_wide(4, 3), torch.arange(4) % 3
    for found in (losses.confidence_weights([v, v], labels), losses.certainty_weights([v, v])):
        torch.testing.assert_close(found, torch.full_like(found, 0.5))
    assert torch.equal(losses.confidence_weights([v], labels), torch.ones_like(v[None, :, 0]))


def test_a_certain_teacher_that_is_wrong_counts_only_without_labels():
    wrong, unsure = torch.tensor([[8.0, 0.0]]), torch.tensor([[0.0, 0.1]])
    labels = torch.tensor([1])
    assert losses.certainty_weights([wrong, unsure])[0] > 0.6
    assert losses.confidence_weights([wrong, unsure], labels)[0] < 0.01
    torch.testing.assert_close(
        losses.certainty_weights([wrong, unsure], 0.0), torch.full((2, 1), 0.5)
    )

"""Label embeddings: targets against loops, training."""

import draws
import pytest
import torch
from softened_labels import QUICK, batches, small

from kdnb.methods import self_distillation as own


def test_embedding_targets_against_a_loop():
    embeddings, labels = draws.draw(4, 3), torch.tensor([1, 3])
    targets = own.embedding_targets(embeddings, labels, 0.7)
    for b, label in enumerate(labels):
        scores = torch.tensor(
            [-float(((embeddings[label] - e) ** 2).sum()) / (2 * 0.49) for e in embeddings]
        )
        torch.testing.assert_close(targets[b].float(), scores.softmax(0))
        assert targets[b].argmax() == label
    assert not targets.requires_grad
    with pytest.raises(ValueError, match="width must be above 0"):
        own.embedding_targets(embeddings, labels, 0.0)
    with pytest.raises(ValueError, match="classes, features"):
        own.embedding_targets(embeddings[0], labels)
    with pytest.raises(ValueError, match="labels must be integers"):
        own.embedding_targets(embeddings, labels.float())


def test_classes_with_close_embeddings_share_the_target():
    embeddings = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0]])
    targets = own.embedding_targets(embeddings, torch.tensor([0]))
    assert targets[0, 1] > 0.49
    assert targets[0, 2] < 1e-5


def test_embedding_training():
    history = own.embedding_distil(small(), batches(), QUICK)
    assert {"hard", "soft"} <= set(history[0])
    with pytest.raises(TypeError, match="'body' must be a linear layer"):
        own.embedding_distil(small(), batches(), QUICK, head="body")

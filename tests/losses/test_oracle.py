"""The teachers that are right, against loops."""

import torch
from draws import draw_wide, labels_of

from kdnb import losses


def test_those_that_are_right_against_loops():
    logits, labels = [draw_wide(12, 3, seed=seed) for seed in range(3)], torch.arange(12) % 3
    weights = losses.oracle_weights(logits, labels)
    nobody = 0
    for b in range(12):
        right = [float(member[b].argmax() == labels[b]) for member in logits]
        nobody += not any(right)
        assert weights[:, b].tolist() == (right if any(right) else [1.0] * 3)
    assert 0 < nobody < 12


def test_the_oracle_is_right_wherever_a_teacher_is():
    logits, labels = [draw_wide(40, 4, seed=seed) for seed in range(3)], torch.arange(40) % 4
    weights = losses.oracle_weights(logits, labels)
    known = torch.stack([member.argmax(1) == labels for member in logits]).any(0)
    mean = losses.ensemble_log_probabilities(logits)
    oracle = losses.ensemble_log_probabilities(logits, weights)
    assert (oracle.exp().gather(1, labels[:, None]) >= mean.exp().gather(1, labels[:, None]))[
        known
    ].all()
    # A mean of answers with one and the same largest class has that class, too.
    assert torch.equal((oracle.argmax(1) == labels)[known], torch.ones(int(known.sum())).bool())
    torch.testing.assert_close(oracle[~known], mean[~known])


def test_no_gradient_and_one_teacher():
    logits = draw_wide(5, 3).requires_grad_()
    weights = losses.oracle_weights([logits], labels_of(logits))
    assert not weights.requires_grad
    assert torch.equal(weights, torch.ones_like(weights))

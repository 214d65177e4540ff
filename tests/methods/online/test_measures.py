"""What online methods are judged by: entropy, flatness, the ensemble."""

import math

import draws
import pytest
import torch
from small_networks import assert_same, batches, linear, state

from kdnb.methods import online
from kdnb.training import predict


def test_entropy_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    expected = (1.5 * math.log(2) + math.log(3)) / 2
    assert float(online.posterior_entropy(p.log())) == pytest.approx(expected)
    assert float(online.posterior_entropy(2 * p.log(), 2.0)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="temperature"):
        online.posterior_entropy(p, 0.0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        online.posterior_entropy(p[:, :1])


def test_the_loss_rises_as_a_quadratic_does():
    """In the mean over noise a loss rises by sd²/2 times the trace of its Hessian, nearly."""
    network, plain = linear(), batches(shuffle=False)
    before = state(network)
    sd = 0.01
    (rise,) = online.loss_rise(network, plain, [sd], draws=300)
    assert_same(state(network), before)
    images = torch.cat([batch.images.flatten(1) for batch in plain.epoch(0)])
    p = predict(network, plain).softmax(1)
    inputs = (images**2).sum(1) + 1  # the bias sees a constant 1
    trace = ((p * (1 - p)).sum(1) * inputs).mean()
    assert rise == pytest.approx(float(sd**2 / 2 * trace), rel=0.35)


def test_noise_is_shared_by_the_deviations():
    rises = online.loss_rise(linear(), batches(shuffle=False), [0.0, 0.5, 1.0], draws=2)
    assert rises[0] == 0.0
    assert rises == online.loss_rise(linear(), batches(shuffle=False), [0.0, 0.5, 1.0], draws=2)
    assert rises[1] == online.loss_rise(linear(), batches(shuffle=False), [0.5], draws=2)[0]
    with pytest.raises(ValueError, match="no shuffle"):
        online.loss_rise(linear(), batches(), [0.1])
    with pytest.raises(ValueError, match="draws at least 1"):
        online.loss_rise(linear(), batches(shuffle=False), [0.1], draws=0)


def test_the_ensemble_is_the_mean_of_probabilities():
    logits = [draws.draw(9, 4, seed=s) for s in range(3)]
    mean = sum(z.softmax(1) for z in logits) / 3
    torch.testing.assert_close(online.ensemble_log_probabilities(logits).exp(), mean)
    labels = torch.arange(9) % 4
    assert online.ensemble_errors(logits, labels) == int((mean.argmax(1) != labels).sum())
    with pytest.raises(ValueError, match="logits must be a list of at least 1; got 0"):
        online.ensemble_log_probabilities([])
    with pytest.raises(ValueError, match="same shape"):
        online.ensemble_log_probabilities([logits[0], logits[0][:, :2]])

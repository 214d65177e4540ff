"""Views: who sees what, and signals whose noise and band are what they are said to be."""

import math

import pytest
import torch
from torch import nn

import kdnb
from kdnb.methods.cross_modal import Seeing, Streams, halves, narrow_band, noisy_at, view_of


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(inputs, classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, classes)


VIEWS = {"high": draw(12, 6), "low": draw(12, 4, seed=1)}
LABELS = torch.arange(12) % 3


def test_a_network_sees_its_view_alone():
    net = linear(4)
    torch.testing.assert_close(Seeing(net, "low")(VIEWS), net(VIEWS["low"]))
    both = VIEWS["high"], VIEWS["low"]
    torch.testing.assert_close(Seeing(net, 1)(both), net(VIEWS["low"]))
    doubled = Seeing(net.double(), "low")  # asked in its own precision
    assert doubled(VIEWS).dtype == torch.float64


def test_every_method_works_across_views():
    """A catalogue method between two views; only the student moves, by its own view."""
    student, teacher = linear(4), linear(6, seed=1)
    before = student.weight.detach().clone(), teacher.weight.detach().clone()
    found = kdnb.distil(
        Seeing(student, "low"), Seeing(teacher, "high"), (VIEWS, LABELS), method="kd",
        temperature=2.0, epochs=2, batch_size=6, lr=0.1,
    )  # fmt: skip
    assert {"kd", "hard"} < set(found.history)
    assert not torch.equal(student.weight, before[0])
    assert torch.equal(teacher.weight, before[1])


def test_the_privileged_view_is_not_asked_for_at_test():
    net = Seeing(linear(4), "low")
    torch.testing.assert_close(net({"low": VIEWS["low"]}), net(VIEWS))


def test_streams_are_the_mean_of_their_logits():
    nets = [linear(4), linear(4, seed=1)]
    joint = Streams([Seeing(net, "low") for net in nets])
    expected = (nets[0](VIEWS["low"]) + nets[1](VIEWS["low"])) / 2
    torch.testing.assert_close(joint(VIEWS), expected)
    assert kdnb.evaluate(joint, (VIEWS, LABELS))["accuracy"] >= 0
    with pytest.raises(ValueError, match="two networks or more; got 1"):
        Streams(nets[:1])


def test_views_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="no view 'lo' .nearest: low"):
        view_of(VIEWS, "lo")
    for view in (2, -1, "low"):
        with pytest.raises(ValueError, match="a position in a tuple; the inputs are a tuple"):
            view_of((1, 2), view)
    with pytest.raises(ValueError, match="the inputs are a Tensor"):
        view_of(torch.zeros(2, 2), 0)


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 10.0])
def test_noise_has_the_power_that_is_asked_for(decibels):
    signal = draw(5, 1000) * torch.arange(1, 6)[:, None]
    noise = noisy_at(signal, decibels) - signal
    ratio = signal.square().sum(1) / noise.square().sum(1)
    torch.testing.assert_close(10 * ratio.log10(), torch.full((5,), decibels), atol=1e-3, rtol=0)
    babble = noisy_at(signal, decibels, signal.flip(0)) - signal
    shape = torch.nn.functional.cosine_similarity(babble, signal.flip(0))
    torch.testing.assert_close(shape, torch.ones(5))


def test_noise_by_seed_and_silence():
    signal = draw(2, 50)
    assert torch.equal(noisy_at(signal, 3, seed=1), noisy_at(signal, 3, seed=1))
    assert not torch.equal(noisy_at(signal, 3, seed=1), noisy_at(signal, 3, seed=2))
    silent = torch.zeros(2, 50)
    assert torch.equal(noisy_at(silent, 0), silent)
    assert torch.equal(noisy_at(signal, 0, silent), signal)
    assert noisy_at(draw(2, 1, 4, 4), 0).shape == (2, 1, 4, 4)


@pytest.mark.parametrize(("length", "factor"), [(64, 2), (64, 4), (30, 2), (30, 3)])
def test_a_narrow_band_keeps_low_tones_and_loses_high_ones(length, factor):
    time = torch.arange(length) / length
    kept = length // factor
    for cycles in range(1, length // 2):
        tone = (2 * math.pi * cycles * time).cos()[None]
        found = narrow_band(tone, factor)
        assert found.shape == (1, kept)
        expected = tone[:, ::factor] if cycles < kept / 2 else torch.zeros(1, kept)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_factor_of_one_changes_nothing():
    signal = draw(3, 20)
    torch.testing.assert_close(narrow_band(signal, 1), signal)


def test_halves_make_the_image():
    images = draw(2, 1, 4, 6)
    torch.testing.assert_close(torch.cat(halves(images), -1), images)


def test_what_is_no_signal_is_refused():
    with pytest.raises(ValueError, match="factor must divide the 20 values"):
        narrow_band(draw(1, 20), 3)
    with pytest.raises(ValueError, match="an even width; got 5"):
        halves(draw(1, 1, 4, 5))
    with pytest.raises(ValueError, match="a signal must be a floating-point tensor"):
        noisy_at(torch.zeros(3), 0)
    with pytest.raises(ValueError, match=r"the signal's shape \(2, 5\); got \(2, 4\)"):
        noisy_at(draw(2, 5), 0, draw(2, 4))
    with pytest.raises(ValueError, match="decibels must be a finite number"):
        noisy_at(draw(2, 5), math.inf)

"""Chebotar and Waters 2016, Cui et al. 2017: an ensemble of acoustic models, on spoken digits."""

import functools
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb.data import DataError
from kdnb.data.sounds import load_sounds
from kdnb.data.spectra import log_mel
from kdnb.training import Recipe

RECIPE = Recipe(
    epochs=10, batch_size=50, optimiser="adam", lr=0.003, schedule="cosine", precision="32"
)
SPEAKER = 4  # the one of whom 30 recordings are transcribed


@functools.cache
def spoken(part):
    try:
        sounds = load_sounds("fsdd", offline=True)[part]
    except DataError as reason:
        pytest.skip(str(reason))
    mel = log_mel(sounds.padded(0.6), 8000, bands=24, window=512, hop=256)
    mel = (mel - mel.mean((1, 2), keepdim=True)) / mel.std((1, 2), keepdim=True)
    return mel.flatten(1), sounds.labels, sounds.speakers


def acoustic(seed, *widths):
    torch.manual_seed(seed)
    sizes = (408, *widths, 10)
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_a_speaker_with_few_transcriptions_is_learnt_from_an_ensemble():
    x, y, who = spoken("train")
    own, foreign = who == SPEAKER, (x[who != SPEAKER][:800], y[who != SPEAKER][:800])
    untranscribed, labels = x[own], y[own]
    few = torch.cat([(labels == digit).nonzero()[:3, 0] for digit in range(10)])
    teachers = [acoustic(0, 96), acoustic(1, 64, 64), acoustic(2)]
    for teacher in teachers:
        kdnb.train(teacher, foreign, RECIPE)
        kdnb.train(teacher, (untranscribed[few], labels[few]), RECIPE, lr=0.001, batch_size=15)
    ensemble = kdnb.Ensemble(teachers, weights=[2, 2, 1]).eval()
    taught, alone = acoustic(5, 48), acoustic(5, 48)
    fit = kdnb.distil(taught, ensemble, untranscribed, RECIPE, method="kd", label_weight=0.0)
    assert "hard" not in fit.history  # no transcription is read
    kdnb.train(alone, (untranscribed[few], labels[few]), RECIPE, epochs=60, batch_size=30)

    x, y, who = (part[spoken("validation")[2] == SPEAKER] for part in spoken("validation"))
    with torch.no_grad():
        log_p = torch.stack([teacher(x).log_softmax(1) for teacher in teachers])
        mean = torch.einsum("k,kbc->bc", torch.tensor([0.4, 0.4, 0.2]), log_p.exp()).log()
        torch.testing.assert_close(ensemble(x).softmax(1), mean.exp(), rtol=1e-4, atol=1e-5)
        each = torch.stack([F.nll_loss(one, y) for one in log_p])
        assert F.nll_loss(mean, y) <= (torch.tensor([0.4, 0.4, 0.2]) * each).sum()
        right = [float((net(x).argmax(1) == y).float().mean()) for net in (taught, alone)]
    assert right[0] > right[1]
    assert right[0] > 0.6

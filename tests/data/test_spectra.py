"""Log-mel spectra: bands, a naive derivation, and tones where they belong."""

import math

import numpy as np
import pytest
import torch

from kdnb.data.spectra import log_mel, mel_bands


def tone(hertz, rate=8000, length=2048):
    return (2 * math.pi * hertz * torch.arange(length) / rate).sin()[None]


def test_against_a_naive_loop():
    waves = torch.randn(2, 700, generator=torch.Generator().manual_seed(0))
    found = log_mel(waves, 8000, bands=8, window=128, hop=64)
    assert found.shape == (2, 8, 1 + (700 - 128) // 64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(128) / 128)
    mel = [700 * (10 ** (m / 2595) - 1)
           for m in np.linspace(0, 2595 * math.log10(1 + 4000 / 700), 10)]  # fmt: skip
    for sample, frame in ((0, 0), (1, 5)):
        cut = waves[sample].double().numpy()[frame * 64 : frame * 64 + 128] * hann
        power = np.abs(np.fft.rfft(cut)) ** 2
        for band in range(8):
            low, middle, high = mel[band : band + 3]
            total = 0.0
            for place, value in enumerate(power):
                hertz = place * 4000 / 64
                rise, fall = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
                total += max(0.0, min(rise, fall)) * value
            expected = math.log(total + 1e-6)
            assert found[sample, band, frame].item() == pytest.approx(expected, abs=1e-3)


def test_a_tone_is_loudest_in_its_band_and_higher_tones_lie_higher():
    loudest = [
        int(log_mel(tone(hertz), 8000)[0].mean(1).argmax()) for hertz in (200, 600, 1500, 3500)
    ]
    assert loudest == sorted(set(loudest))
    centre = mel_bands(32, 129, 8000)
    assert all(0 < float(column.max()) <= 1 for column in centre.T)


def test_twice_as_loud_is_four_times_the_power():
    quiet, loud = log_mel(tone(1000), 8000), log_mel(2 * tone(1000), 8000)
    assert (loud - quiet).max().item() == pytest.approx(math.log(4), abs=1e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least 256 samples; got .1, 100."):
        log_mel(torch.zeros(1, 100), 8000)
    with pytest.raises(ValueError, match="200 bands are too many for 129 bins"):
        mel_bands(200, 129, 8000)

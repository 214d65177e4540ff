"""Log-mel spectra of recordings: the inputs of networks for sound."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mel_bands(bands: int, bins: int, rate: int) -> Tensor:
    """Triangular filters evenly spaced on the mel scale, (bins, bands), each of height 1.

    A mel is 2595 log10(1 + f / 700). The first band begins at 0 Hz, the last ends at half the rate.

    Args:
        bands: number of bands.
        bins: bins of the spectrum, from 0 Hz to half the rate.
        rate: samples per second.

    Raises:
        ValueError: if there are so many bands that one has no bin.
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    tone = torch.linspace(0, rate / 2, bins, dtype=torch.float64)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (tone - low) / (middle - low), (high - tone) / (high - middle)
    filters = torch.minimum(rise, fall).clamp_min(0)
    if not (filters.sum(0) > 0).all():
        raise ValueError(f"{bands} bands are too many for {bins} bins: one of them has none.")
    return filters.float()


def log_mel(
    waves: Tensor, rate: int, *, bands: int = 32, window: int = 256, hop: int = 128
) -> Tensor:
    """The logarithm of the power in mel bands over time.

    Args:
        waves: (batch, samples), from -1 to 1.
        rate: samples per second.
        bands: number of mel bands.
        window: length of the Hann window in samples.
        hop: samples from one window to the next.

    Returns:
        (batch, bands, frames) float32, natural logarithms of the power plus 1e-6; there are
        1 + (samples - window) // hop frames.

    Raises:
        ValueError: for wrong shapes, or recordings shorter than the window.
    """
    if waves.ndim != 2 or waves.shape[1] < window:
        raise ValueError(
            f"waves must be (batch, samples), at least {window} samples; got {tuple(waves.shape)}."
        )
    spectrum = torch.stft(
        waves.float(), window, hop, window=torch.hann_window(window, device=waves.device),
        center=False, return_complex=True,
    )  # fmt: skip
    filters = mel_bands(bands, spectrum.shape[1], rate).to(waves.device)
    return (spectrum.abs().square().transpose(1, 2) @ filters + 1e-6).log().transpose(1, 2)

"""Views: assigning views to networks, and making views of a signal or an image.

Every method of the package takes networks that see the same inputs. If the inputs hold several
views by name, `{"clean": ..., "noisy": ...}`, and the networks are wrapped in `Seeing`, which picks
one view, each method works across views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.losses.checks import check_number
from kdnb.names import brief, nearest
from kdnb.training.answers import ask, logits_of
from kdnb.training.first import check_module


class Seeing(nn.Module):
    """A network that sees one of several views.

    Args:
        network: takes only the view. It is trained, measured and saved as the module itself.
        view: the key of the view in a dict of inputs, or its position in a tuple.

    Raises:
        TypeError: for anything but a module, or a view that is neither key nor position.
        ValueError: (in the call) for inputs without this view.

    >>> net = Seeing(nn.Linear(3, 2), "low")
    >>> net({"high": torch.zeros(4, 9), "low": torch.zeros(4, 3)}).shape
    torch.Size([4, 2])
    """

    takes_whole = True  # inputs arrive as the whole dict or tuple

    def __init__(self, network: nn.Module, view: str | int) -> None:
        super().__init__()
        check_module("a network that sees a view", network)
        if isinstance(view, bool) or not isinstance(view, (str, int)):
            raise TypeError(f"a view is a key or a position; got {brief(view)}.")
        self.network, self.view = network, view

    def forward(self, inputs: Any) -> Any:
        """The network's answer to its view."""
        return ask(self.network, view_of(inputs, self.view))


def view_of(inputs: Any, view: str | int) -> Any:
    """One view of a batch's inputs.

    Raises:
        ValueError: if the inputs have no such view.
    """
    if isinstance(inputs, Mapping):
        if view in inputs:
            return inputs[view]
        raise ValueError(f"the inputs have no view {view!r} ({nearest(str(view), inputs)}).")
    if isinstance(inputs, Sequence) and isinstance(view, int) and 0 <= view < len(inputs):
        return inputs[view]
    raise ValueError(
        f"the view {brief(view)} is a key of a dict of inputs or a position in a tuple; the inputs "
        f"are a {type(inputs).__name__}."
    )


def pair_of(name: str, given: Any) -> tuple[Any, Any]:
    """A pair of views or layer paths, of the learning network and of the other.

    Raises:
        ValueError: for anything else, including a string of two letters.
    """
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(
            f"{name} must be a pair, of the network that learns and of the other; got {brief(given)}."
        )
    first, second = given
    return first, second


class Streams(nn.Module):
    """Several networks as one: the mean of their logits, as in two-stream networks.

    Args:
        networks: two or more networks that take the same inputs (wrapped in `Seeing` if these hold
            views).
    """

    takes_whole = True

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if isinstance(networks, nn.Module) and not isinstance(networks, nn.ModuleList):
            raise TypeError("streams are a list of networks; got one module.")
        if len(networks) < 2:
            raise ValueError(f"streams are two networks or more; got {len(networks)}.")
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Any) -> Tensor:
        """(batch, classes)."""
        answers = [logits_of(ask(network, inputs)) for network in self.networks]
        if len({one.shape for one in answers}) > 1:
            shapes = " and ".join(str(tuple(one.shape)) for one in answers)
            raise ValueError(f"streams must answer for the same classes; got {shapes}.")
        return torch.stack(answers).mean(0)


def noisy_at(
    signal: Tensor, decibels: float, noise: Tensor | None = None, *, seed: int = 0
) -> Tensor:
    r"""Add noise to a signal, at a given ratio of powers for every sample.

    .. math:: y = x + n \sqrt{\frac{\sum x^2}{10^{d/10} \sum n^2}}

    Args:
        signal: x, (batch, ...), such as recordings (batch, time) or images.
        decibels: d, 10 times the logarithm of signal power over noise power.
        noise: n, of the same shape, such as other recordings for babble; white noise if None.
        seed: for white noise.

    Returns:
        The noisy signal, of the same shape. A silent sample stays silent, and silent noise adds
        nothing.

    Raises:
        ValueError: for noise of a wrong shape, a signal that is not a floating-point batch, or
            decibels that are not finite.
    """
    _check_signal(signal)
    check_number(decibels=decibels)
    if noise is None:
        stream = torch.Generator().manual_seed(seed)
        noise = torch.randn(signal.shape, generator=stream, dtype=signal.dtype).to(signal.device)
    if noise.shape != signal.shape:
        raise ValueError(
            f"noise must have the signal's shape {tuple(signal.shape)}; got {tuple(noise.shape)}."
        )
    powers = [one.flatten(1).square().sum(1) for one in (signal, noise)]
    scale = (powers[0] / (10 ** (decibels / 10) * powers[1].clamp_min(1e-30))).sqrt()
    return signal + noise * scale.view(-1, *[1] * (signal.ndim - 1))


def narrow_band(signal: Tensor, factor: int = 2) -> Tensor:
    """The lower part of the band at a lower sampling rate, as a telephone transmits it.

    Frequencies from the new Nyquist limit up are removed before every `factor`-th value is kept.

    Args:
        signal: (batch, ..., time).
        factor: the ratio of the rates, such as 2 from 8 kHz to 4 kHz; a divisor of the length.

    Returns:
        (batch, ..., time / factor).

    Raises:
        ValueError: if the factor does not divide the length, or is below 1.
    """
    _check_signal(signal)
    check_number(least=1, whole=True, factor=factor)
    length = signal.shape[-1]
    if length % factor:
        raise ValueError(f"factor must divide the {length} values of a signal; got {factor}.")
    kept = length // factor
    spectrum = torch.fft.rfft(signal)
    if factor > 1:
        spectrum[..., (kept + 1) // 2 :] = 0
    return torch.fft.irfft(spectrum, n=length)[..., ::factor]


def halves(images: Tensor) -> tuple[Tensor, Tensor]:
    """The left and the right half of images (batch, channels, height, width), as two views."""
    _check_signal(images)
    middle, odd = divmod(images.shape[-1], 2)
    if odd:
        raise ValueError(f"images must have an even width; got {images.shape[-1]}.")
    return images[..., :middle], images[..., middle:]


def _check_signal(signal: Tensor) -> None:
    if not isinstance(signal, Tensor) or not signal.is_floating_point() or signal.ndim < 2:
        raise ValueError("a signal must be a floating-point tensor (batch, ..., time).")

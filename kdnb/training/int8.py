"""Networks that compute in 8-bit integers on a CPU, by torch's own quantisation.

There is one way, `prepared` and then `converted`, and two moments for it. After training, ranges are
measured on some inputs: `kdnb.export` writes such a network. During training, fake quantisers let the
network learn with its rounding: `kdnb.methods.quantized.int8_distillation`, for networks that lose too
much otherwise; `kdnb.export` writes its result as well. The arithmetic is that of Jacob et al. (2018).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.training.first import check_module


def prepared(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    engine: str | None = None,
    *,
    learns: bool = True,
) -> nn.Module:
    """A copy of a network that measures its ranges, ready for `converted`.

    Weights get int8 with a scale for each output channel, activations uint8 with one scale; batch
    normalisations are folded into convolutions.

    Args:
        network: that torch.fx can trace: no branches that depend on numbers.
        example: a batch of inputs, or a tuple of arguments.
        engine: of `torch.backends.quantized.supported_engines`; that in use when None.
        learns: with fake quantisers, for quantisation-aware training, in train mode; otherwise the
            copy only watches, in eval mode, what some passes of inputs show.

    Raises:
        ValueError: for an engine that torch has not here, or a network that cannot be traced.
    """
    check_module("network", network, learns=learns)
    engine = engine or torch.backends.quantized.engine
    known = [one for one in torch.backends.quantized.supported_engines if one != "none"]
    if not known:
        raise ValueError("torch has no arithmetic in int8 on this machine.")
    if engine not in known:
        raise ValueError(f"torch has no engine {engine!r} here; it has {', '.join(known)}.")
    with quietly():
        from torch.ao.quantization import (
            get_default_qat_qconfig_mapping,
            get_default_qconfig_mapping,
        )
        from torch.ao.quantization.quantize_fx import prepare_fx, prepare_qat_fx

        inputs = example if isinstance(example, tuple) else (example,)
        own = copy.deepcopy(network).train(learns)
        try:
            if learns:
                return prepare_qat_fx(own, get_default_qat_qconfig_mapping(engine), inputs)
            return prepare_fx(own, get_default_qconfig_mapping(engine), inputs)
        except (TypeError, torch.fx.proxy.TraceError) as error:
            raise ValueError(f"torch.fx cannot trace this network: {error}") from error


def converted(network: nn.Module) -> nn.Module:
    """What `prepared` gave, trained or shown inputs, as a network that computes in int8, in eval mode."""
    with quietly():
        from torch.ao.quantization.quantize_fx import convert_fx

        return convert_fx(copy.deepcopy(network).cpu().eval())


def layers_of(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that compute in int8, with their names."""
    for name, part in network.named_modules():
        if hasattr(part, "set_weight_bias") and hasattr(part, "weight"):
            yield name, part


@contextmanager
def quietly() -> Iterator[None]:
    """Without the library's notices about its future and about `reduce_range`."""
    with warnings.catch_warnings():
        for module in (r"torch\.ao\.", r"torch\.jit", r"kdnb\.(methods\.quantized|training\.int8)"):
            warnings.filterwarnings("ignore", module=module)
        warnings.filterwarnings("ignore", message=r"(?s).*torch\.ao\.quantization is deprecated.*")
        warnings.filterwarnings("ignore", message=r"(?s).*reduce_range.*")
        yield

"""Networks that compute in 8-bit integers on a CPU, by torch's own quantisation.

The steps are always `prepared` and then `converted`, at one of two times. After training, ranges are
measured on some inputs: `kdnb.export` writes such a network. During training, fake quantisers let the
network learn with the rounding: `kdnb.methods.quantized.int8_distillation`, for networks that lose too
much otherwise; `kdnb.export` writes its result as well. The arithmetic is that of Jacob et al. (2018).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.training.answers import precision_of
from kdnb.training.borrowed import twin_of
from kdnb.training.first import check_module

_Norm = nn.modules.batchnorm._BatchNorm
SMALL = 1e-3  # least weight of a batch normalisation, since training divides by it


def prepared(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    engine: str | None = None,
    *,
    learns: bool = True,
) -> nn.Module:
    """A copy of a network that measures its ranges, ready for `converted`.

    Weights get int8 with a scale for each output channel, activations uint8 with one scale; batch
    normalisations are folded into convolutions. While a folded
    one learns, torch divides by its weight. If that is exactly 0, as in new residual networks of timm,
    the learning copy has 0.001, which is less than 8 bits resolve. Normalisations of classes other than
    torch's own stay in float32.

    Args:
        network: a float32 network that torch.fx can trace: no branches that depend on numbers, or on
            the mode, train or eval, outside of modules such as `nn.Dropout`.
        example: a batch of inputs, or a tuple of arguments.
        engine: one of `torch.backends.quantized.supported_engines`; the current one if None.
        learns: if true, with fake quantisers for quantisation-aware training, in train mode; else
            the copy only observes the ranges of some inputs, in eval mode.

    Raises:
        ValueError: for an engine that torch lacks here, or a network that cannot be traced, is not
            in float32, or whose trace would depend on the mode in which it was taken.
    """
    check_module("network", network, learns=learns)
    engine = engine or torch.backends.quantized.engine
    known = [one for one in torch.backends.quantized.supported_engines if one != "none"]
    if not known:
        raise ValueError("torch has no arithmetic in int8 on this machine.")
    if engine not in known:
        raise ValueError(f"torch has no engine {engine!r} here; it has {', '.join(known)}.")
    if precision_of(network) is not None:
        raise ValueError(
            f"int8 starts from weights in float32; these are {precision_of(network)}: give network.float()."
        )
    with quietly():
        from torch.ao.quantization import (
            get_default_qat_qconfig_mapping,
            get_default_qconfig_mapping,
        )
        from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
        from torch.ao.quantization.quantize_fx import prepare_fx, prepare_qat_fx

        inputs = example if isinstance(example, tuple) else (example,)
        own = twin_of(network)
        leaves = PrepareCustomConfig().set_non_traceable_module_classes(_foldable(own, learns))
        try:
            if learns:
                _check_modes(own)
                mapping = get_default_qat_qconfig_mapping(engine)
                return prepare_qat_fx(own.train(), mapping, inputs, leaves)
            return prepare_fx(own.eval(), get_default_qconfig_mapping(engine), inputs, leaves)
        except (TypeError, torch.fx.proxy.TraceError) as error:
            raise ValueError(f"torch.fx cannot trace this network: {error}") from error


@torch.no_grad()
def _foldable(network: nn.Module, learns: bool) -> list[type[nn.Module]]:
    """Give batch normalisations the weights that folding needs; return the classes that it does not know."""
    norms = [part for part in network.modules() if isinstance(part, _Norm)]
    for norm in norms:
        if norm.weight is None:  # leaves the function unchanged
            like = norm.running_mean
            norm.weight, norm.bias = (
                nn.Parameter(made(norm.num_features, device=getattr(like, "device", None)), False)
                for made in (torch.ones, torch.zeros)
            )
            norm.affine = True
        elif learns:
            norm.weight.masked_fill_(norm.weight == 0, SMALL)
    return sorted(
        {type(one) for one in norms if not _of_torch(one)}, key=lambda kind: kind.__name__
    )


def _of_torch(part: nn.Module) -> bool:
    return type(part).__module__.startswith("torch.nn.")


class _Tracer(torch.fx.Tracer):
    def is_leaf_module(self, part: nn.Module, path: str) -> bool:
        return isinstance(part, _Norm) or super().is_leaf_module(part, path)


def _check_modes(network: nn.Module) -> None:
    """Refuse a network whose graph depends on its mode: a trace keeps the mode in which it was taken."""
    train, evaluating = (str(_Tracer().trace(network.train(mode))) for mode in (True, False))
    if train != evaluating:
        different = (one for one in train.splitlines() if one not in set(evaluating.splitlines()))
        line = next(different, "a step").strip()
        raise ValueError(
            "this network computes otherwise in train mode than in eval mode, by more than its modules, "
            f"and torch.fx would keep it in train mode for ever: {line}. Use modules, such as nn.Dropout "
            "in place of torch.nn.functional.dropout."
        )


def converted(network: nn.Module) -> nn.Module:
    """The network from `prepared`, after training or observing inputs, in int8 and eval mode."""
    with quietly():
        from torch.ao.quantization.quantize_fx import convert_fx

        return convert_fx(twin_of(network).cpu().eval())


def layers_of(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that compute in int8, with their names."""
    for name, part in network.named_modules():
        if hasattr(part, "set_weight_bias") and hasattr(part, "weight"):
            yield name, part


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress the library's notices about deprecation and `reduce_range`."""
    with warnings.catch_warnings():
        for module in (r"torch\.ao\.", r"torch\.jit", r"kdnb\.(methods\.quantized|training\.int8)"):
            warnings.filterwarnings("ignore", module=module)
        warnings.filterwarnings("ignore", message=r"(?s).*torch\.ao\.quantization is deprecated.*")
        warnings.filterwarnings("ignore", message=r"(?s).*reduce_range.*")
        yield

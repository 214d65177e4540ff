"""Networks that compute in 8-bit integers on a CPU, by torch's own quantisation.

There is one way, `prepared` and then `converted`, and two moments for it. After training, ranges are
measured on some inputs: `kdnb.export` writes such a network. During training, fake quantisers let the
network learn with its rounding: `kdnb.methods.quantized.int8_distillation`, for networks that lose too
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
SMALL = 1e-3  # of a batch normalisation's weight, by which training divides


def prepared(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    engine: str | None = None,
    *,
    learns: bool = True,
) -> nn.Module:
    """A copy of a network that measures its ranges, ready for `converted`.

    Weights get int8 with a scale for each output channel, activations uint8 with one scale; batch
    normalisations are folded into convolutions. While a folded one learns, torch divides by its weight: where that is
    exactly 0, as in fresh residual networks of timm, the copy that learns has 0.001, less than 8 bits
    resolve. Normalisations of other classes than torch's own stay as they are, in float32.

    Args:
        network: in float32, that torch.fx can trace: no branches that depend on numbers, and none on
            the mode, train or eval, outside of modules such as `nn.Dropout`.
        example: a batch of inputs, or a tuple of arguments.
        engine: of `torch.backends.quantized.supported_engines`; that in use when None.
        learns: with fake quantisers, for quantisation-aware training, in train mode; otherwise the
            copy only watches, in eval mode, what some passes of inputs show.

    Raises:
        ValueError: for an engine that torch has not here, or a network that cannot be traced, is not
            in float32, or whose trace would keep the mode in which it was taken.
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
    """Give batch normalisations the weights that folding needs; classes of those that it does not know."""
    norms = [part for part in network.modules() if isinstance(part, _Norm)]
    for norm in norms:
        if norm.weight is None:  # the same function
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
    """Refuse a network whose graph depends on its mode: what is traced in one mode stays in it."""
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
    """What `prepared` gave, trained or shown inputs, as a network that computes in int8, in eval mode."""
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
    """Without the library's notices about its future and about `reduce_range`."""
    with warnings.catch_warnings():
        for module in (r"torch\.ao\.", r"torch\.jit", r"kdnb\.(methods\.quantized|training\.int8)"):
            warnings.filterwarnings("ignore", module=module)
        warnings.filterwarnings("ignore", message=r"(?s).*torch\.ao\.quantization is deprecated.*")
        warnings.filterwarnings("ignore", message=r"(?s).*reduce_range.*")
        yield

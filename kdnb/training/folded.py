"""Frozen networks with their batch normalisations folded into the convolutions before them."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kdnb.training.answers import precision_of

# A trace runs the Python of `forward` once, so it must have no side effects: these have none.
_KNOWN = ("kdnb.nets.", "torch.nn.modules.", "torchvision.")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def folded(network: nn.Module) -> nn.Module:
    r"""Fold the batch normalisations of a frozen network into the convolutions before them.

    In eval mode a batch normalisation is affine, so a convolution W, b before it can absorb it:

    .. math:: W' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} W, \quad
        b' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} (b - \mu) + \beta

    Answers differ from the network's by rounding. The copy does not follow later changes of the
    network's weights.

    Args:
        network: in float32, in any mode; it is not changed.

    Returns:
        A copy in eval mode, without gradients. The network itself if nothing can be folded, or if a
        copy might behave differently: it has modules of packages other than torch, torchvision and
        kdnb, hooks, a replaced `forward`, or code that torch.fx cannot trace.
    """
    inner = list(network.modules())
    some = any(type(part) in _NORMS for part in inner)
    if not some or precision_of(network) is not None or not all(map(_is_plain, inner)):
        return network
    own = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        graph = torch.fx.symbolic_trace(own)
    except Exception:  # noqa: BLE001 - whatever the code of a network raises when it is traced
        return network
    parts = dict(graph.named_modules())
    calls = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
    pairs = 0
    for node in list(graph.graph.nodes):
        norm = _called(node, parts, calls, _NORMS)
        before = node.args[0] if norm is not None and node.args else None
        convolution = _called(before, parts, calls, _CONVOLUTIONS)
        if convolution is None or len(before.users) > 1 or norm.running_mean is None:
            continue
        graph.set_submodule(before.target, fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
        pairs += 1
    if not pairs:
        return network
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.requires_grad_(False)


def _is_plain(part: nn.Module) -> bool:
    """Whether a module does what its class says, and its class is one that can be traced."""
    return (
        f"{type(part).__module__}.".startswith(_KNOWN)
        and not (part._forward_hooks or part._forward_pre_hooks)
        and "forward" not in vars(part)
        and part._compiled_call_impl is None
    )


def _called(
    node: object, parts: dict[str, nn.Module], calls: Counter, kinds: tuple[type, ...]
) -> nn.Module | None:
    """The module that a step of the graph calls, if it is of such a class and called only once."""
    if not isinstance(node, torch.fx.Node) or node.op != "call_module" or calls[node.target] > 1:
        return None
    part = parts[node.target]
    return part if type(part) in kinds else None

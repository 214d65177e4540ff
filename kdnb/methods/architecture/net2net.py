"""Resizing networks: Net2Net (Chen et al. 2016) grows them, pruning thins them.

Net2Net starts a wider or deeper student from exactly the function of its teacher. Which layers must
follow a change of width is found by running the network on a few images and tracking which outputs
enter which layers, so it works on any module whose layers are `nn.Module`s.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdnb.nets import features
from kdnb.training.borrowed import evaluating

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def widen(
    network: nn.Module,
    layer: str,
    units: int,
    images: Tensor,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    r"""Net2WiderNet (Chen 2016): a copy with more units in one layer and the same function.

    .. math:: U_{\cdot j} = W_{\cdot g(j)}, \quad
        V_{j \cdot} = \frac{W'_{g(j) \cdot}}{|\{k : g(k) = g(j)\}|}

    g(j) = j for the old units and a random old unit for each new one; W are the weights into the
    layer, W' those out of it (Chen et al. 2016, section 2.2). Batch normalisation in between is
    copied unit by unit.

    Args:
        network: left as it is.
        layer: path of a Conv2d or Linear. In a residual block only the inner convolution can be
            widened, since the width of the other must match the shortcut.
        units: the new number of outputs, at least the old one.
        images: a few normalised images, to find the layers that follow and to check the result.
        noise: standard deviation of noise added to the copied weights of the new units, relative to
            that of all weights. 0 keeps the function exactly; a little noise breaks the symmetry of
            the copies, which otherwise stay equal except for dropout.
        seed: for g and the noise.

    Raises:
        ValueError: for fewer units than before, a grouped convolution, a layer whose output enters
            something other than layers (such as a sum), or an unknown path.

    Departures: the paper adds its small noise to the weights of all copies but one; here it is
    added to the weights into the new units.
    """
    old = _outputs(network, layer)
    if units < old:
        raise ValueError(f"{layer} has {old} units; a wider one needs as many or more: {units}.")
    generator = torch.Generator().manual_seed(seed)
    origin = torch.cat([torch.arange(old), torch.randint(old, (units - old,), generator=generator)])
    share = torch.bincount(origin).double().reciprocal()[origin]
    wider = _selected(network, layer, origin, share, images)
    if noise:
        weight = wider.get_submodule(layer).weight
        drawn = torch.randn(weight[old:].shape, generator=generator, dtype=weight.dtype)
        with torch.no_grad():
            weight[old:] += noise * weight.std() * drawn.to(weight.device)
    else:
        _check_same(network, wider, layer, images)
    return wider


def deepen(network: nn.Module, relu: str, images: Tensor) -> nn.Module:
    r"""Net2DeeperNet (Chen 2016): a copy of a network with one more layer and the same function.

    .. math:: \phi(W x) \to \phi(U \phi(W x)), \quad U = I

    which needs an activation with phi(phi(x)) = phi(x), such as ReLU (Chen et al. 2016, section
    2.3). After maps the new layer is a 3x3 convolution with batch normalisation, whose scale and
    shift undo the statistics of `images`; after vectors it is linear.

    Args:
        network: left as it is.
        relu: path of the `nn.ReLU` after which the layer is inserted; in the copy this becomes a
            Sequential of `relu`, `conv` and `bn` or `linear`, and `relu_2`.
        images: enough images for reliable statistics of the new normalisation.

    Raises:
        TypeError: if the path is not a ReLU.
        ValueError: for an unknown path.
    """
    deeper = copy.deepcopy(network)
    with features(deeper, [relu]) as maps:
        _evaluated(deeper, images)
    old, output = deeper.get_submodule(relu), maps[relu]
    if not isinstance(old, nn.ReLU):
        raise TypeError(f"an identity layer goes behind a ReLU; {relu} is {type(old).__name__}.")
    width, kind = output.shape[1], {"device": output.device, "dtype": output.dtype}
    layers: OrderedDict[str, nn.Module] = OrderedDict(relu=old)
    if output.ndim == 4:
        layers["conv"] = nn.Conv2d(width, width, 3, padding=1, bias=False, **kind)
        nn.init.dirac_(layers["conv"].weight)
        layers["bn"] = _undone(nn.BatchNorm2d(width, **kind), output)
    else:
        layers["linear"] = nn.Linear(width, width, **kind)
        nn.init.eye_(layers["linear"].weight)
        nn.init.zeros_(layers["linear"].bias)
    layers["relu_2"] = nn.ReLU()
    deeper.set_submodule(relu, nn.Sequential(layers).train(old.training))
    return deeper


def prune(network: nn.Module, layer: str, units: int, images: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy of a network with fewer units in one layer, keeping those with the largest weights.

    Filters are ranked by the sum of their absolute weights (Li et al. 2017, 1608.08710). Few-sample
    distillation repairs such students (`kdnb.methods.offline.fskd`).

    Args:
        network: left as it is.
        layer: path of a Conv2d or Linear, as in :func:`widen`.
        units: the number of units to keep.
        images: a few images, to find the layers that follow.

    Returns:
        The thinner network, and the kept units in ascending order.

    Raises:
        ValueError: as :func:`widen`; also for more units than there are, or none.
    """
    old = _outputs(network, layer)
    if not 1 <= units <= old:
        raise ValueError(
            f"{layer} has {old} units, of which between 1 and {old} can stay: {units}."
        )
    size = network.get_submodule(layer).weight.detach().abs().flatten(1).sum(1)
    kept = size.topk(units).indices.sort().values.cpu()
    return _selected(network, layer, kept, torch.ones(units), images), kept


@dataclass(frozen=True)
class _Followers:
    """The consumers of a layer's output: normalisations on the way, and the layers that read it."""

    norms: list[str]
    readers: list[str]


def _followers(network: nn.Module, layer: str, images: Tensor) -> _Followers:
    """Track which outputs are which inputs, from `layer` to the next layers with weights."""
    leaves = {m: n for n, m in network.named_modules() if not list(m.children())}
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    handles = [m.register_forward_hook(lambda m, x, y: calls.append((m, x[0], y))) for m in leaves]
    try:
        _evaluated(network, images)
    finally:
        for handle in handles:
            handle.remove()
    flowing: list[Tensor] = []
    found = _Followers([], [])
    for module, given, output in calls:
        if leaves[module] == layer:
            flowing.append(output)
        elif any(given is tensor for tensor in flowing):
            if isinstance(module, nn.Conv2d | nn.Linear):
                found.readers.append(leaves[module])
                continue
            if isinstance(module, NORMS):
                found.norms.append(leaves[module])
            flowing.append(output)
    if not found.readers:
        raise ValueError(
            f"the output of {layer} goes into no convolution or linear layer directly (it may be "
            "added to a shortcut, or be the network's own): its width cannot change alone."
        )
    return found


@torch.no_grad()
def _selected(
    network: nn.Module, layer: str, origin: Tensor, share: Tensor, images: Tensor
) -> nn.Module:
    """A copy whose unit j of `layer` is unit origin[j] of the network, and counts share[j]."""
    followers = _followers(network, layer, images)
    changed = copy.deepcopy(network)
    producer = changed.get_submodule(layer)
    device = producer.weight.device
    origin, share = origin.to(device), share.to(device)
    changed.set_submodule(layer, _resized(producer, outputs=origin))
    for path in followers.norms:
        old = changed.get_submodule(path)
        norm = copy.deepcopy(old)
        norm.num_features = len(origin)
        for name in ("weight", "bias", "running_mean", "running_var"):
            if (value := getattr(old, name)) is not None:
                kept = value[origin].clone()
                parameter = isinstance(value, nn.Parameter)
                setattr(norm, name, nn.Parameter(kept) if parameter else kept)
        changed.set_submodule(path, norm)
    before = _outputs(network, layer)
    for path in followers.readers:
        reader = changed.get_submodule(path)
        # A linear layer that reads flattened maps has one input for each pixel of a channel.
        pixels = reader.weight.shape[1] // before
        inputs = (origin[:, None] * pixels + torch.arange(pixels, device=device)).flatten()
        shares = share.to(reader.weight.dtype).repeat_interleave(pixels)
        changed.set_submodule(path, _resized(reader, inputs=inputs, shares=shares))
    try:
        _evaluated(changed, images)
    except RuntimeError as error:
        raise ValueError(
            f"the output of {layer} is also used outside of layers, such as in a sum with a "
            f"shortcut: its width cannot change alone ({error})."
        ) from error
    return changed


def _resized(
    module: nn.Module,
    outputs: Tensor | None = None,
    inputs: Tensor | None = None,
    shares: Tensor | None = None,
) -> nn.Module:
    """A copy of a layer with some of its outputs, or some of its inputs, each weighted."""
    weight, bias = module.weight.detach(), module.bias
    if outputs is not None:
        weight, bias = weight[outputs], None if bias is None else bias.detach()[outputs]
    if inputs is not None:
        weight = weight[:, inputs] * shares.view(1, -1, *[1] * (weight.ndim - 2))
    changed = copy.deepcopy(module)
    changed.weight = nn.Parameter(weight.clone())
    changed.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    names = ("out_channels", "in_channels")
    if isinstance(module, nn.Linear):
        names = ("out_features", "in_features")
    for name, size in zip(names, weight.shape[:2], strict=True):
        setattr(changed, name, size)
    return changed


def _outputs(network: nn.Module, layer: str) -> int:
    paths = dict(network.named_modules())
    if layer not in paths:
        raise ValueError(f"{type(network).__name__} has no module {layer!r}.")
    module = paths[layer]
    if not isinstance(module, nn.Conv2d | nn.Linear) or getattr(module, "groups", 1) != 1:
        raise ValueError(f"{layer} must be a Linear or an ungrouped Conv2d; got {module}.")
    return module.weight.shape[0]


@torch.no_grad()
def _undone(norm: nn.BatchNorm2d, maps: Tensor) -> nn.BatchNorm2d:
    """A batch normalisation that returns these maps unchanged, in eval and in train mode."""
    variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)
    return norm


def _check_same(network: nn.Module, other: nn.Module, layer: str, images: Tensor) -> None:
    found, wanted = _evaluated(other, images), _evaluated(network, images)
    scale = float(wanted.abs().max().clamp_min(1.0))
    if not torch.allclose(found, wanted, rtol=0, atol=1e-3 * scale):
        raise ValueError(
            f"a wider {layer} would change the function: something reads its output that is no "
            "layer of the network."
        )


@torch.no_grad()
def _evaluated(network: nn.Module, images: Tensor) -> Tensor:
    """The network's output in eval mode."""
    with evaluating(network):
        return network(images)

"""The networks: kdnb's own, small and faithful to their papers, and any from timm or torchvision.

>>> net = build("resnet20", num_classes=100, in_channels=3, image_size=32)
>>> sum(parameter.numel() for parameter in net.parameters())
278324
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from kdnb.names import brief, imported
from kdnb.nets import _elsewhere, lenet, maxout, plain, resnet, vgg
from kdnb.nets._shared import check_counts, check_fits, height_width
from kdnb.nets.checkpoints import (
    CheckpointCard,
    CheckpointError,
    load_weights,
    pretrained_names,
    restore,
)
from kdnb.nets.features import features, module_paths
from kdnb.nets.lenet import LeNet5
from kdnb.nets.maxout import MaxoutNet
from kdnb.nets.mlp import MLP, constrain, constraint
from kdnb.nets.plain import PlainNet
from kdnb.nets.resnet import FourStageResNet, ResNet
from kdnb.nets.tiny import TinyConvNet
from kdnb.nets.vgg import VGG
from kdnb.nets.wrn import WideResNet

__all__ = [
    "CheckpointCard",
    "CheckpointError",
    "build",
    "constrain",
    "constraint",
    "features",
    "load_weights",
    "module_paths",
    "names",
    "pretrained",
    "pretrained_names",
]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    **{name: partial(LeNet5, widths=widths) for name, widths in lenet.WIDTHS.items()},
    **{
        f"resnet{depth}": partial(ResNet, depth=depth, widths=resnet.NARROW)
        for depth in resnet.DEPTHS
    },
    **{f"resnet{d}x4": partial(ResNet, depth=d, widths=resnet.WIDE) for d in (8, 32)},
    **{
        name: partial(FourStageResNet, blocks=blocks) for name, blocks in resnet.FOUR_STAGES.items()
    },
    **{
        f"wrn-{depth}-{width}": partial(WideResNet, depth=depth, width=width)
        for depth, width in ((16, 1), (16, 2), (28, 10), (40, 1), (40, 2))
    },
    "maxout_mnist": partial(MaxoutNet, layers=maxout.TEACHER),
    "fitnet_mnist": partial(MaxoutNet, layers=maxout.FITNET),
    "tiny": TinyConvNet,
    **{name: partial(VGG, convolutions=n) for name, n in vgg.CONVOLUTIONS.items()},
    **{f"plain{depth}": partial(PlainNet, depth=depth) for depth in plain.LAYERS},
}


def names() -> list[str]:
    """The names of kdnb's own networks; `build` also takes any `wrn-<depth>-<width>`."""
    return list(_NETWORKS)


def build(
    name: str,
    *,
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int | Sequence[int] = 28,
    **options: Any,
) -> nn.Module:
    """A new, untrained network; its weights come from torch's random state.

    Args:
        name: one of `names()`, or `wrn-<depth>-<width>`; `timm:<name>` or `torchvision:<name>`
            for a classifier of these libraries; any other name is looked up in timm, then in
            torchvision. kdnb's names take precedence: `resnet26` and `vgg13` are the CIFAR
            nets, `timm:resnet26` and `torchvision:vgg13` the ImageNet ones. Or `module:name`, your
            own class or function, which is called with those of the arguments below that it
            takes.
        num_classes: number of classes; the output is (batch, classes) logits.
        in_channels: channels of the images. torchvision's networks take only 3.
        image_size: size of the images in pixels, one number or (height, width). Networks with
            global pooling work on other sizes too.
        options: further options of the network. In kdnb, `mlp` takes widths, dropout_input,
            dropout_hidden and max_norm; `resnet*`, `vgg*` and `plain*` take width, and `resnet*`
            (except with 18 and 34 layers) shortcut too; `*_mnist` take irange. For timm and
            torchvision they are passed on, but never weights: networks built here are untrained.

    Raises:
        ValueError: for an unknown name (names the nearest known ones), an option that the network
            does not take (names those it does), or sizes that it cannot handle
            or this machine cannot hold.
        TypeError: for a name that is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(
            f'the name of a network is a string, such as "resnet20"; got {brief(name)}.'
        )
    check_counts(num_classes=num_classes, in_channels=in_channels)
    data = {
        "num_classes": num_classes,
        "in_channels": in_channels,
        "image_size": height_width(image_size),
    }
    module, colon, _ = name.partition(":")
    if colon and module not in _elsewhere.LIBRARIES:
        return _strangers(name, {**data, **options})
    if factory := _own(name):
        _check_options(name, factory, options)
        make = partial(factory, **data, **options)
    else:
        make = _elsewhere.builder(name, names(), data, options)
    check_fits(name, {**data, **options}, make)
    return make()


def pretrained(name: str, dataset: str) -> nn.Module:
    """A trained network that comes with the workbook, in eval mode.

    Its `card` records on what it was trained, how, and its errors. It takes images that are
    normalised by the mean and standard deviation of its data set, as `kdnb.data` does.

    Args:
        name, dataset: one of `pretrained_names()`, such as "resnet20" and "cifar10".

    Raises:
        CheckpointError: for an unknown name (names the nearest ones), or a damaged file.

    >>> net = pretrained("lenet5", "mnist")
    >>> net.card.test_error < 0.01
    True
    """
    weights, card = restore(name, dataset)
    options = dict(card.network)
    with torch.random.fork_rng(devices=[]):  # keeps the caller's random state
        network = build(options.pop("name"), **options)
    network.load_state_dict(weights)
    network.card = card
    return network.eval()


def _own(name: str) -> Callable[..., nn.Module] | None:
    if match := re.fullmatch(r"wrn-([0-9]+)-([0-9]+)", name):
        return partial(WideResNet, depth=int(match[1]), width=int(match[2]))
    return _NETWORKS.get(name)


def _strangers(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A user's own network: `module:name`, called with the arguments that it takes."""
    make = imported(name)
    if isinstance(make, nn.Module):
        raise TypeError(f"{name} is a network already: give it as it is.")
    try:
        takes = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        takes = ()
    every = any(one.kind is one.VAR_KEYWORD for one in takes)
    given = {k: v for k, v in arguments.items() if every or k in {one.name for one in takes}}
    try:
        network = make(**given)
    except Exception as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        raise ValueError(f"{name} cannot be called with {brief(given, 200)}: {said}.") from error
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name} gives a {type(network).__name__}, not a torch module.")
    return network


def _check_options(name: str, factory: Callable[..., nn.Module], options: dict[str, Any]) -> None:
    fixed = {"num_classes", "in_channels", "image_size", *getattr(factory, "keywords", ())}
    accepted = [key for key in inspect.signature(factory).parameters if key not in fixed]
    if wrong := [key for key in options if key not in accepted]:
        takes = f"it takes {', '.join(accepted)}" if accepted else "it takes none"
        raise ValueError(f"{name} does not take the option {', '.join(wrong)}: {takes}.")

"""Multilayer perceptrons with dropout and a bound on the incoming weights (Hinton et al. 2012)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real

import torch
import torch.fx
from torch import Tensor, nn

from kdnb.names import brief
from kdnb.nets._shared import above_zero, check_counts, height_width
from kdnb.nets.maxout import MaxoutNet


def constrain(module: nn.Module) -> None:
    r"""Project the weights of every `MLP` and `MaxoutNet` onto their bounds, after each step.

    The incoming weight vector w of each hidden unit, if longer than the bound c = `max_norm`, is
    scaled down to it: w <- w · min(1, c / ||w||₂) (Hinton et al. 2012, 1207.0580). Biases and the
    output layer are free. The same holds for the filters of a `MaxoutNet`, including its output layer.
    Other modules, and an MLP whose `max_norm` is None, do not change.

    Args:
        module: any module; it is changed in place.
    """
    for part in _bounded(module):
        _project(part)


def constraint(module: nn.Module) -> Callable[[], None] | None:
    """`constrain` as a function to call after every step; None if nothing in the module is bounded.

    The bounded parts are found once: in a small network, finding them takes a fortieth of a step.
    """
    parts = _bounded(module)

    def project() -> None:
        for part in parts:
            _project(part)

    return project if parts else None


def _bounded(module: nn.Module) -> list[nn.Module]:
    return [
        part
        for part in module.modules()
        if isinstance(part, MaxoutNet) or (isinstance(part, MLP) and part.max_norm is not None)
    ]


@torch.no_grad()
def _project(part: nn.Module) -> None:
    if isinstance(part, MaxoutNet):
        part.constrain()
        return
    for layer in part.hidden:
        layer.linear.weight.renorm_(p=2, dim=0, maxnorm=part.max_norm)


class MLP(nn.Module):
    """Linear layers with ReLU on the flattened image, and dropout before each of them.

    Args:
        num_classes, in_channels, image_size: of the data; the input has
            in_channels · height · width numbers.
        widths: of the hidden layers; an empty list gives softmax regression.
        dropout_input: the share of input numbers set to 0 in training.
        dropout_hidden: the share of each hidden layer's units set to 0 in training.
        max_norm: bound on the length of the incoming weight vectors (not on its square), enforced
            by `constrain`.

    Raises:
        ValueError: for a dropout outside [0, 1), a bound that is not above 0, wrong widths, or
            (in the forward) images of another size.
        TypeError: for widths that are not a list.

    Hidden weights start at N(0, 2 / fan_in), He's initialisation for ReLU, the output layer's at
    N(0, 1 / fan_in), biases at 0.

    Departures: units are scaled by 1 / (1 - dropout) in training, where the paper scales the
    weights by 1 - dropout in testing. The same network then has weights of (1 - dropout) times the
    paper's length, so that a bound c of the paper is c · (1 - dropout) here. The paper starts from
    N(0, 0.01²).
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        widths: Sequence[int] = (1200, 1200),
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(widths, Sequence) or isinstance(widths, str):
            raise TypeError(f"widths must be a list such as [1200, 1200]; got {brief(widths)}.")
        if len(widths) > 1000:
            raise ValueError(f"widths must name at most 1,000 layers; got {len(widths)}.")
        check_counts(**{f"widths[{i}]": width for i, width in enumerate(widths)})
        for name, share in (("dropout_input", dropout_input), ("dropout_hidden", dropout_hidden)):
            if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= share < 1:
                raise ValueError(f"{name} must lie in [0, 1); got {brief(share)}.")
        if max_norm is not None and not above_zero(max_norm):
            raise ValueError(
                f"max_norm must be None or a finite number above 0; got {brief(max_norm)}."
            )
        self.shape = (in_channels, *height_width(image_size))
        self.max_norm = max_norm
        sizes = [math.prod(self.shape), *widths]
        self.stem = nn.Sequential(nn.Flatten(), nn.Dropout(dropout_input))
        self.hidden = nn.Sequential(*(_layer(n, m, dropout_hidden) for n, m in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], num_classes)
        for layer in self.hidden:
            nn.init.kaiming_normal_(layer.linear.weight, nonlinearity="relu")
            nn.init.zeros_(layer.linear.bias)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        return self.head(self.hidden(self.stem(_of_shape(images, self.shape))))


@torch.fx.wrap  # so that torch.fx traces it as one operation, without its checks of sizes
def _of_shape(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same images. Raises `ValueError` for those of another shape."""
    if tuple(images.shape[1:]) != shape:
        raise ValueError(
            f"this mlp was built for images of shape (batch, {', '.join(map(str, shape))})"
            f"; got {tuple(images.shape)}. Build it with the in_channels and image_size of "
            "the data."
        )
    return images


def _layer(inputs: int, units: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(linear=nn.Linear(inputs, units), relu=nn.ReLU(), dropout=nn.Dropout(dropout))
    )

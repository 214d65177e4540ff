"""Search spaces of small convolutional networks: a network is a tuple of layers, plain data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from kdnb.losses.checks import check_choice, check_number


@dataclass(frozen=True)
class Layer:
    """One convolution, batch normalisation, ReLU and pooling.

    Attributes:
        channels: the number of output channels.
        kernel: its side, an odd number; the map keeps its size.
        pool: side of the max-pooling after it; 1 for none.
        norm: whether there is batch normalisation before the ReLU.
    """

    channels: int
    kernel: int = 3
    pool: int = 1
    norm: bool = True

    def __post_init__(self) -> None:
        check_number(
            least=1, whole=True, channels=self.channels, kernel=self.kernel, pool=self.pool
        )
        check_choice((True, False), norm=self.norm)
        if self.kernel % 2 == 0:
            raise ValueError(
                f"kernel must be odd, so that maps keep their size; got {self.kernel}."
            )

    def __str__(self) -> str:
        parts = [f"{self.channels}@{self.kernel}x{self.kernel}"]
        parts += ["plain"] * (not self.norm) + [f"pool{self.pool}"] * (self.pool > 1)
        return " ".join(parts)


Architecture = tuple[Layer, ...]


def spelt(architecture: Architecture) -> str:
    """An architecture as text.

    >>> spelt((Layer(8), Layer(16, kernel=1, pool=2, norm=False)))
    '8@3x3 - 16@1x1 plain pool2'
    """
    return " - ".join(map(str, architecture))


class Gate(nn.Module):
    """A learnt factor for each channel, 1 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.factor[:, None, None]


class ConvNet(nn.Module):
    """The network of an architecture: its layers, the mean over all positions, a linear classifier.

    `stage1`, `stage2`, ... are its layers, `pool` is the input of the classifier `head`, so every
    function of kdnb finds its layers. Convolutions have a bias only if no normalisation follows.
    Weights are initialised as PyTorch does.

    Args:
        architecture: at least one layer.
        num_classes, in_channels: of the data.
        gates: whether a learnt factor per channel follows the ReLU of each layer, as
            :func:`kdnb.methods.nas.search_widths` needs.

    Raises:
        ValueError: for no layer, or a number below 1.
    """

    def __init__(
        self,
        architecture: Sequence[Layer],
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        gates: bool = False,
    ) -> None:
        super().__init__()
        check_number(least=1, whole=True, num_classes=num_classes, in_channels=in_channels)
        self.architecture = tuple(architecture)
        if not self.architecture:
            raise ValueError("a network needs at least one layer; got an architecture of none.")
        channels = in_channels
        for number, layer in enumerate(self.architecture, start=1):
            self.add_module(f"stage{number}", _stage(channels, layer, gates))
            channels = layer.channels
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = images
        for stage in self.stages():
            maps = stage(maps)
        return self.head(self.pool(maps))

    def stages(self) -> list[nn.Sequential]:
        """The layers, in order."""
        return [getattr(self, f"stage{n}") for n in range(1, len(self.architecture) + 1)]


def _stage(inputs: int, layer: Layer, gates: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(
        inputs, layer.channels, layer.kernel, padding=layer.kernel // 2, bias=not layer.norm
    )
    if layer.norm:
        parts["bn"] = nn.BatchNorm2d(layer.channels)
    parts["relu"] = nn.ReLU()
    if gates:
        parts["gate"] = Gate(layer.channels)
    if layer.pool > 1:
        parts["pool"] = nn.MaxPool2d(layer.pool, ceil_mode=True)
    return nn.Sequential(parts)


def build(
    architecture: Sequence[Layer], seed: int, *, num_classes: int = 10, in_channels: int = 1
) -> ConvNet:
    """The network of an architecture, initialised from a seed; the random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConvNet(architecture, num_classes=num_classes, in_channels=in_channels)


@dataclass(frozen=True)
class Space:
    """A space of architectures with given depths and kinds of layers.

    Attributes:
        depths: numbers of layers.
        channels, kernels, pools, norms: the options for a layer.

    >>> space = Space(depths=(1, 2), channels=(8, 16), kernels=(3,), pools=(2,))
    >>> len(space), spelt(next(iter(space)))
    (6, '8@3x3 pool2')
    """

    depths: tuple[int, ...] = (1, 2, 3)
    channels: tuple[int, ...] = (8, 16, 32)
    kernels: tuple[int, ...] = (1, 3, 5)
    pools: tuple[int, ...] = (1, 2)
    norms: tuple[bool, ...] = (True,)

    def __post_init__(self) -> None:
        for name in ("depths", "channels", "kernels", "pools", "norms"):
            if not isinstance(getattr(self, name), tuple) or not getattr(self, name):
                raise ValueError(f"{name} must be a tuple of at least one value.")
        for depth in self.depths:
            check_number(least=1, whole=True, depths=depth)
        self.layers()  # rejects invalid layers

    def layers(self) -> list[Layer]:
        """All options for a layer."""
        return [Layer(*one) for one in product(self.channels, self.kernels, self.pools, self.norms)]

    def __len__(self) -> int:
        return sum(len(self.layers()) ** depth for depth in self.depths)

    def __iter__(self) -> Iterator[Architecture]:
        for depth in self.depths:
            yield from product(self.layers(), repeat=depth)

    def draw(self, generator: torch.Generator) -> Architecture:
        """Draw a random architecture: a depth, then each layer, all uniformly.

        Deep ones are not favoured, although there are more of them.
        """
        choices = self.layers()

        def one(count: int) -> int:
            return int(torch.randint(count, (1,), generator=generator))

        depth = self.depths[one(len(self.depths))]
        return tuple(choices[one(len(choices))] for _ in range(depth))


def draw_distinct(
    draw: Callable[[torch.Generator], Architecture],
    count: int,
    seed: int,
    accept: Callable[[Architecture], bool] | None = None,
) -> list[Architecture]:
    """Draw random architectures, all different.

    Args:
        draw: such as `Space.draw`.
        accept: a filter, such as for size; all count if None.

    Raises:
        ValueError: if 1,000 draws in a row give no new one, since there are too few.
    """
    check_number(least=1, whole=True, count=count)
    generator = torch.Generator().manual_seed(seed)
    found: dict[Architecture, None] = {}
    vain = 0
    while len(found) < count:
        before, one = len(found), draw(generator)
        if one not in found and (accept is None or accept(one)):
            found[one] = None
        vain = 0 if len(found) > before else vain + 1
        if vain == 1000:
            raise ValueError(
                f"1,000 draws in a row brought none but the {len(found)} found: {count} are too many."
            )
    return list(found)

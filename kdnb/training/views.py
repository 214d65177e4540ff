"""The parts of a network that a distillation loss can see: logits, maps, the classifier's input."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.names import nearest
from kdnb.nets import features
from kdnb.training.answers import Output, ask, logits_of
from kdnb.training.borrowed import evaluating

INPUT = ":input"
CHANNELS_FIRST = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.MaxPool2d,
    nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """The layers to use in a network, as module paths; `path:input` is the input of a module.

        Layers(maps=("features.4", "features.9"), head="fc")

    Attributes:
        maps: modules whose outputs are maps, shallow to deep: (batch, channels, height, width), or
            (batch, features), read as maps of one position. If a module returns a tuple, its first
            entry is used.
        before: the same layers before their last ReLU; those of `maps` if none are named.
        embedding: the classifier's input, (batch, features); the head's input if not named.
        head: the classifier, a linear layer.
        channels_last: the maps are (batch, height, width, channels).
        prefix_tokens: the maps may be tokens (batch, tokens, channels), of which this number at the
            start, such as a class token, are not positions of the image. None refuses tokens.
        grid: the height and width of the tokens; a square if None.
    """

    maps: tuple[str, ...]
    before: tuple[str, ...] = ()
    embedding: str = ""
    head: str = ""
    channels_last: bool = False
    prefix_tokens: int | None = None
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("maps", "before"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a tuple of module paths, not one string.")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if "" in (*self.maps, *self.before):
            raise ValueError("a path of Layers is empty: name a module inside the network.")
        object.__setattr__(self, "before", self.before or self.maps)
        if len(self.before) > len(self.maps):
            raise ValueError(f"`before` has more places than `maps`; got {self.before}.")
        if not self.embedding and self.head:
            object.__setattr__(self, "embedding", f"{self.head}{INPUT}")

    @property
    def paths(self) -> list[str]:
        """All paths whose outputs are collected."""
        return [path for path in dict.fromkeys([*self.maps, *self.before, self.embedding]) if path]

    def as_maps(self, path: str, output: Tensor, layout: str | None = None) -> Tensor:
        """A layer's output as maps (batch, channels, height, width), exactly or not at all.

        Args:
            layout: "first" or "last" if the layer's kind determines the position of the channels; else
                it is inferred from square maps, or for others taken from `channels_last`.

        Raises:
            ValueError: if that is impossible; names the layer, its shape, and what to do.
        """
        shape = tuple(output.shape)
        if output.ndim == 2:
            return output[..., None, None]
        if output.ndim == 4:
            last = layout == "last" if layout else self._looks_last(shape)
            if last and not self.channels_last:
                raise ValueError(
                    f"{path!r} gives {shape}, which looks like (batch, height, width, channels): "
                    "say Layers(..., channels_last=True), or name a layer of maps."
                )
            if self.channels_last and not last:
                raise ValueError(
                    f"{path!r} gives {shape}, which looks like (batch, channels, height, width), "
                    "and channels_last=True says otherwise: leave that out, or name another layer."
                )
            return output.movedim(-1, 1) if last else output
        if output.ndim == 3 and self.prefix_tokens is not None:
            return self._unfolded(path, output[:, self.prefix_tokens :])
        hint = ": say Layers(..., prefix_tokens=0)" if output.ndim == 3 else ""
        raise ValueError(
            f"{path!r} gives {shape}, not maps (batch, channels, height, width){hint}, or name "
            "another layer."
        )

    def _looks_last(self, shape: tuple[int, ...]) -> bool:
        """Whether maps are square only with channels last; else `channels_last` as given."""
        _, one, two, three = shape
        first, last = two == three, one == two
        return self.channels_last if first == last else last

    def _unfolded(self, path: str, tokens: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        side = math.isqrt(count)
        grid = self.grid if self.grid and math.prod(self.grid) == count else (side, side)
        if math.prod(grid) != count:
            raise ValueError(
                f"{path!r} gives {count} tokens, which are no square: say "
                "Layers(..., grid=(height, width)) and how many prefix_tokens come first."
            )
        return tokens.transpose(1, 2).reshape(batch, channels, *grid)


class View:
    """The outputs of one network on one batch.

    Attributes:
        logits: (batch, classes).
        maps, before: (batch, channels, height, width) each, at the layers' places.
        embedding: (batch, features).
        classifier: the weight of the classifier, (classes, features).
        groups: the weights of the convolutions in each layer's stage.
        norms: the batch normalisation whose output, perhaps added to a shortcut's, is each of
            `before`; None if there is none.
    """

    def __init__(
        self, logits: Tensor, outputs: Mapping[str, Tensor], layers: Layers, network: nn.Module
    ) -> None:
        self.logits, self._samples = logits, len(logits)
        self._outputs, self._layers, self._network = outputs, layers, network

    @property
    def maps(self) -> list[Tensor]:
        return [self._map(path) for path in self._layers.maps]

    @property
    def before(self) -> list[Tensor]:
        return [self._map(path) for path in self._layers.before]

    def _map(self, path: str) -> Tensor:
        layout = None if path.endswith(INPUT) else _layout(self._network.get_submodule(path))
        return self._layers.as_maps(path, self._of_batch(path), layout)

    def _of_batch(self, path: str) -> Tensor:
        output = self._outputs[path]
        if output.ndim == 0 or len(output) != self._samples:
            raise ValueError(
                f"{path!r} gives {tuple(output.shape)} for {self._samples} samples, which must come "
                "first: name a layer whose output has the batch as its first axis."
            )
        return output

    @property
    def embedding(self) -> Tensor:
        path = self._layers.embedding
        if not path:
            raise ValueError(
                "nobody said what the classifier reads: name it, Layers(..., embedding=...) or "
                "Layers(..., head=...)."
            )
        output = self._of_batch(path)
        if output.ndim > 2 and output[0, ..., :1, :1].numel() != output[0].numel():
            raise ValueError(
                f"{path!r} gives {tuple(output.shape)}, not (batch, features): name what the "
                "classifier reads, Layers(..., embedding=...)."
            )
        return output.flatten(1)

    @property
    def classifier(self) -> Tensor:
        path = self._layers.head
        if not path:
            raise ValueError(
                "nobody said which layer the classifier is: name it, Layers(head=...)."
            )
        weight = getattr(_module(self._network, path), "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2:
            raise ValueError(
                f"{path!r} is no linear classifier: name another layer, Layers(head=...)."
            )
        return weight.flatten(1)

    @property
    def groups(self) -> list[list[Tensor]]:
        return [_convolutions(self._network, path) for path in self._layers.maps]

    @property
    def norms(self) -> list[nn.BatchNorm2d | None]:
        pairs = zip(self._layers.before, self.before, strict=True)
        return [_norm_of(self._network, path, maps.shape[1]) for path, maps in pairs]

    def outputs(self) -> dict[str, Tensor]:
        """The layers' outputs by path, as the network returned them."""
        return {path: self._outputs[path] for path in self._layers.paths}

    def ran(self) -> dict[str, Tensor]:
        """The `outputs` of layers that have run."""
        found = {}
        for path in self._layers.paths:
            with contextlib.suppress(LookupError, RuntimeError):
                found[path] = self._outputs[path]
        return found

    def watched(self) -> tuple[View, set[str]]:
        """The same view, and a set that collects the paths whose outputs are read."""
        watch = _Watched(self._outputs)
        return View(self.logits, watch, self._layers, self._network), watch.seen


class _Watched(Mapping[str, Tensor]):
    def __init__(self, outputs: Mapping[str, Tensor]) -> None:
        self.outputs, self.seen = outputs, set()

    def __getitem__(self, path: str) -> Tensor:
        self.seen.add(path)
        return self.outputs[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


def _layout(module: nn.Module) -> str | None:
    """The position of the channels in a layer of a known kind: "first" or "last"; None for others."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    if type(module) in (nn.Linear, nn.LayerNorm):  # a subclass may transpose its input
        return "last"
    return "first" if isinstance(module, CHANNELS_FIRST) else None


def _convolutions(network: nn.Module, path: str) -> list[Tensor]:
    """The weights of the convolutions in a module, or in its nearest parent that has some."""
    while True:
        modules = network.get_submodule(path).modules()
        weights = [module.weight for module in modules if isinstance(module, nn.Conv2d)]
        if weights or not path:
            return weights
        path = path.rpartition(".")[0]


SHORTCUTS = {"shortcut", "downsample"}  # their names in kdnb, torchvision and timm


def _norm_of(network: nn.Module, path: str, channels: int) -> nn.BatchNorm2d | None:
    """The batch normalisation before a ReLU, or before the sum with a shortcut that precedes it.

    In a chain it is the last one before that point; in a block, the block's last one outside of
    shortcuts.
    """
    name = path.removesuffix(INPUT)
    module = network.get_submodule(name)
    if isinstance(module, nn.BatchNorm2d) and path == name:
        return module if module.affine else None
    if not isinstance(module, nn.ReLU | nn.Identity):
        return None
    outer = name.rpartition(".")[0]
    found = None
    for inner, part in network.get_submodule(outer).named_modules(prefix=outer):
        if inner == name and isinstance(network.get_submodule(outer), nn.Sequential):
            break
        inside = inner.removeprefix(outer).strip(".").split(".")
        if isinstance(part, nn.BatchNorm2d) and not SHORTCUTS & set(inside):
            found = part
    known = found is not None and found.affine and found.num_features == channels
    return found if known else None


class _Both(Mapping[str, Tensor]):
    """Outputs of modules, and inputs of others."""

    def __init__(self, outputs: Any, inputs: Mapping[str, Tensor]) -> None:
        self.outputs, self.inputs = outputs, inputs

    def __getitem__(self, path: str) -> Tensor:
        if not path.endswith(INPUT):
            return self.outputs[path]
        if path not in self.inputs:
            raise LookupError(f"module {path.removesuffix(INPUT)!r} has not run.")
        self.outputs.check(path, self.inputs[path])
        return self.inputs[path]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.outputs, *self.inputs])

    def __len__(self) -> int:
        return len(self.outputs) + len(self.inputs)


def _module(network: nn.Module, path: str) -> nn.Module:
    """The module of a path or of a `path:input`.

    Raises:
        ValueError: if there is none; names the nearest paths.
    """
    name, known = path.removesuffix(INPUT), dict(network.named_modules())
    if name not in known:
        raise ValueError(
            f"{type(network).__name__} has no module {name!r} ({nearest(name, known)})."
        )
    return known[name]


def _keeper(
    given: dict[str, Tensor], path: str, outputs: Any
) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        value = next(
            (one for one in (*arguments, *named.values()) if isinstance(one, Tensor)), None
        )
        if value is None:
            raise ValueError(f"module {path.removesuffix(INPUT)!r} is given no tensor.")
        # In-place modules overwrite their input.
        outputs.look(path)
        given[path] = value.clone() if getattr(module, "inplace", False) else value

    return keep


@contextlib.contextmanager
def viewing(network: nn.Module, layers: Layers) -> Iterator[Callable[[Tensor], View]]:
    """Collect the layers' outputs while the block runs.

    Yields:
        A function from the logits that the network has just returned to its `View`.
    """
    inputs = [path for path in layers.paths if path.endswith(INPUT)]
    plain = [path for path in layers.paths if path not in inputs]
    given: dict[str, Tensor] = {}
    with features(network, plain, first=True) as outputs, contextlib.ExitStack() as stack:
        for path in inputs:
            handle = _module(network, path).register_forward_pre_hook(
                _keeper(given, path, outputs), with_kwargs=True
            )
            stack.callback(handle.remove)
        yield lambda logits: View(logits, _Both(outputs, given), layers, network)


@torch.no_grad()
def look(network: nn.Module, layers: Layers, images: Any, output: Output = None) -> View:
    """A `View` of some inputs, in eval mode without gradients; the mode is restored."""
    with evaluating(network), viewing(network, layers) as seen:
        return seen(logits_of(ask(network, images), output))

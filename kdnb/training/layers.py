"""What a distillation loss may see of a network: logits, maps, the classifier's input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdnb.nets import features


@dataclass(frozen=True)
class Layers:
    """Where to look in a network, as module paths.

    Attributes:
        maps: whose outputs are maps (batch, channels, height, width), shallow to deep.
        before: the same layers in front of their last ReLU.
        embedding: whose output is what the classifier reads, (batch, features).
        head: the classifier, a linear layer.
    """

    maps: tuple[str, ...]
    before: tuple[str, ...]
    embedding: str
    head: str

    @property
    def paths(self) -> list[str]:
        """All paths whose outputs are collected."""
        return list(dict.fromkeys([*self.maps, *self.before, self.embedding]))


class View:
    """One network on one batch.

    Attributes:
        logits: (batch, classes).
        maps, before: (batch, channels, height, width) each, at the layers' places.
        embedding: (batch, features).
        classifier: the weight of the classifier, (classes, features).
        groups: the weights of the convolutions in each layer's stage.
    """

    def __init__(
        self, logits: Tensor, outputs: Mapping[str, Tensor], layers: Layers, network: nn.Module
    ) -> None:
        self.logits = logits
        self._outputs, self._layers, self._network = outputs, layers, network

    @property
    def maps(self) -> list[Tensor]:
        return [self._outputs[path] for path in self._layers.maps]

    @property
    def before(self) -> list[Tensor]:
        return [self._outputs[path] for path in self._layers.before]

    @property
    def embedding(self) -> Tensor:
        return self._outputs[self._layers.embedding].flatten(1)

    @property
    def classifier(self) -> Tensor:
        return self._network.get_submodule(self._layers.head).weight

    @property
    def groups(self) -> list[list[Tensor]]:
        return [_convolutions(self._network, path) for path in self._layers.maps]

    def watched(self) -> tuple[View, set[str]]:
        """The same view, and a set that gathers the paths whose outputs are looked at in it."""
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


def layers_of(network: nn.Module, maps: Sequence[str] = ()) -> Layers:
    """The layers of a network built like kdnb's: `stage1`, `stage2`, ... (or `layers`), and `head`.

    Args:
        maps: module paths to take instead of all stages, shallow to deep.

    Raises:
        ValueError: when the network has no such parts: give `Layers(...)` yourself.

    >>> from kdnb import nets
    >>> layers_of(nets.build("resnet8")).before
    ('stage1.0.preactivation', 'stage2.0.preactivation', 'stage3.0.preactivation')
    """
    paths = [path for path, _ in network.named_modules() if path]
    found = list(maps) or [p for p in paths if p.startswith("stage") and "." not in p]
    found = found or [p for p in paths if p.startswith("layers.") and p.count(".") == 1]
    embedding = next((p for p in ("embedding", "hidden", "pool") if p in paths), None)
    if not found or embedding is None or "head" not in paths:
        raise ValueError(
            f"{type(network).__name__} has no stages, embedding and head by which kdnb could know "
            "its layers: name them with kdnb.training.layers.Layers."
        )
    if unknown := [path for path in found if path not in paths]:
        raise ValueError(f"{type(network).__name__} has no module {unknown[0]!r}.")
    before = tuple(_before_relu(network, path) for path in found)
    return Layers(tuple(found), before, embedding, "head")


def _convolutions(network: nn.Module, path: str) -> list[Tensor]:
    """The weights of the convolutions in a module, or in the module around it that has some."""
    while True:
        modules = network.get_submodule(path).modules()
        weights = [module.weight for module in modules if isinstance(module, nn.Conv2d)]
        if weights or not path:
            return weights
        path = path.rpartition(".")[0]


def _before_relu(network: nn.Module, path: str) -> str:
    """The module whose output enters the last ReLU of a stage; the stage itself without one."""
    stage, _, _ = path.rpartition(".")
    root = stage if isinstance(network.get_submodule(path), nn.ReLU) else path
    leaves = [
        f"{root}.{name}"
        for name, module in network.get_submodule(root).named_modules()
        if name and not list(module.children())
    ]
    if root != path:
        leaves = leaves[: leaves.index(path) + 1]
    relus = [i for i, leaf in enumerate(leaves) if isinstance(network.get_submodule(leaf), nn.ReLU)]
    return leaves[relus[-1] - 1] if relus and relus[-1] > 0 else path


@contextlib.contextmanager
def viewing(network: nn.Module, layers: Layers) -> Iterator[Callable[[Tensor], View]]:
    """Collect the layers' outputs while the block runs.

    Yields:
        A function from the logits that the network has just returned to its `View`.
    """
    with features(network, layers.paths) as outputs:
        yield lambda logits: View(logits, outputs, layers, network)


@torch.no_grad()
def look(network: nn.Module, layers: Layers, images: Tensor) -> View:
    """A `View` of some images, in eval mode and without gradients; the mode is put back."""
    training = network.training
    network.eval()
    try:
        with viewing(network, layers) as seen:
            return seen(network(images))
    finally:
        network.train(training)

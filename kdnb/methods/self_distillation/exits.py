"""Networks with several exits, and measuring the savings of leaving early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdnb.losses.checks import at_least_float32, check_labels
from kdnb.nets import features
from kdnb.training.borrowed import evaluating


class MultiExit(nn.Module):
    """A network with early exits; its own classifier is the last exit.

    An exit is an adapter to the shape of the deepest features, a mean over positions, and a linear
    classifier. The network itself is not copied; its parts are used directly.

    Args:
        network: images -> logits (batch, classes).
        early: module paths whose outputs feed the early exits, shallow to deep: maps (batch,
            channels, height, width) or features (batch, width).
        deepest: the module path whose output the classifier reads, pooled or not: `stage3` of
            kdnb's ResNets, the last hidden layer of an MLP.
        example: a batch of images, from which the shapes are read.

    The exits' weights are drawn from torch's random state.

    Raises:
        ValueError: for no early exit, an unknown path, or outputs of a wrong kind.

    Departures: the bottleneck is a 1x1 convolution to a quarter of the deepest width, one whose
    kernel and stride are the ratio of the sizes, and a 1x1 convolution to the deepest width, each
    with batch normalisation and ReLU, as in a public re-implementation of BYOT; the paper says
    only that there is a bottleneck and a fully connected layer.
    """

    def __init__(
        self, network: nn.Module, early: Sequence[str], deepest: str, example: Tensor
    ) -> None:
        super().__init__()
        if not early:
            raise ValueError("early must name at least one module path; got none.")
        with evaluating(network), torch.no_grad(), features(network, [*early, deepest]) as seen:
            classes = network(example).shape[1]
            shapes = {path: tuple(seen[path].shape[1:]) for path in (*early, deepest)}
        for path, shape in shapes.items():
            if len(shape) not in (1, 3):
                raise ValueError(
                    f"{path!r} must give maps (batch, channels, height, width) or features "
                    f"(batch, width); its outputs have {len(shape)} axes after the batch."
                )
        self.network, self.early, self.deepest = network, tuple(early), deepest
        self.exits = nn.ModuleList(
            Exit(shapes[path], shapes[deepest], classes) for path in self.early
        )
        # Raised by `multi_exit_distil`; kept here so that checkpoints include it.
        self.register_buffer("temperature", torch.ones(()))

    @property
    def feature_paths(self) -> list[str]:
        """The module paths of every exit's features, all of the same shape, the deepest last."""
        adapters = [f"exits.{number}.adapter" for number in range(len(self.exits))]
        return [*adapters, f"network.{self.deepest}"]

    def forward(self, images: Tensor) -> Tensor:
        """The logits of all exits, (batch, exits, classes); the last are the network's own."""
        with features(self.network, self.early) as seen:
            last = self.network(images)
        early = [leave(seen[path]) for leave, path in zip(self.exits, self.early, strict=True)]
        return torch.stack([*early, last], 1)

    @torch.no_grad()
    def stop_early(self, image: Tensor, threshold: float) -> tuple[Tensor, int]:
        """The answer for one image, computed only up to the first confident exit.

        Args:
            image: (1, channels, height, width); use eval mode.
            threshold: threshold of the exit's largest probability.

        Returns:
            Logits (1, classes), and the index of the exit.
        """
        if len(image) != 1:
            raise ValueError(f"one image at a time can stop early; got a batch of {len(image)}.")
        parts = dict(self.network.named_modules(remove_duplicate=False))

        def look(number: int):
            def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
                logits = self.exits[number](output)
                if at_least_float32(logits).softmax(1).amax() >= threshold:
                    raise _Left(logits, number)

            return hook

        handles = [
            parts[path].register_forward_hook(look(number))
            for number, path in enumerate(self.early)
        ]
        try:
            return self.network(image), len(self.early)
        except _Left as left:
            return left.logits, left.number
        finally:
            for handle in handles:
                handle.remove()


class _Left(Exception):
    """Raised inside the network to leave it at an exit."""

    def __init__(self, logits: Tensor, number: int) -> None:
        super().__init__(f"left at exit {number}")
        self.logits, self.number = logits, number


class Exit(nn.Module):
    """An adapter from one shape to another, a mean over positions, a classifier."""

    def __init__(self, shape: Sequence[int], to: Sequence[int], classes: int) -> None:
        super().__init__()
        self.adapter = _adapter(tuple(shape), tuple(to))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if len(to) == 3 else None
        self.head = nn.Linear(to[0], classes)

    def forward(self, outputs: Tensor) -> Tensor:
        """Logits (batch, classes) of a layer's outputs."""
        adapted = self.adapter(outputs)
        return self.head(self.pool(adapted) if self.pool else adapted)


def _adapter(shape: tuple[int, ...], to: tuple[int, ...]) -> nn.Sequential:
    if len(to) == 1:
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if len(shape) == 3 else []
        return nn.Sequential(*pool, nn.Linear(shape[0], to[0]), nn.ReLU())
    if len(shape) == 1 or shape[1] < to[1] or shape[2] < to[2]:
        raise ValueError(f"features of shape {shape} cannot be adapted to the deepest, {to}.")
    stride = (shape[1] // to[1], shape[2] // to[2])
    inner = max(1, to[0] // 4)
    return nn.Sequential(
        *_convolution(shape[0], inner, (1, 1)),
        *_convolution(inner, inner, stride),
        nn.AdaptiveAvgPool2d(to[1:]),  # if the sizes are not multiples of each other
        *_convolution(inner, to[0], (1, 1)),
    )


def _convolution(inputs: int, outputs: int, size: tuple[int, int]) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, size, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def exit_costs(network: MultiExit, image: Tensor) -> list[int]:
    """Measure the multiply-adds for one image that leaves at each exit.

    They include the network up to the exit and all exits evaluated on the way. Convolutions and
    matrix products are counted, as PyTorch's counter does; normalisation and activations are not.

    Args:
        image: (1, channels, height, width).

    Returns:
        One integer for each exit, the last exit's last.
    """
    if len(image) != 1:
        raise ValueError(f"the cost is that of one image; got a batch of {len(image)}.")
    parts = dict(network.network.named_modules(remove_duplicate=False))
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        reached: dict[str, int] = {}

        def note(path: str):
            def hook(*_: object) -> None:  # a return value would replace the output
                reached[path] = counter.get_total_flops()

            return hook

        handles = [parts[path].register_forward_hook(note(path)) for path in network.early]
        with features(network.network, network.early) as seen:
            network.network(image)
        for handle in handles:
            handle.remove()
        backbone = counter.get_total_flops()
        asked = []
        for leave, path in zip(network.exits, network.early, strict=True):
            leave(seen[path])
            asked.append(counter.get_total_flops() - backbone)
    early = [reached[path] + own for path, own in zip(network.early, asked, strict=True)]
    return [flops // 2 for flops in (*early, backbone + asked[-1])]


def exit_taken(logits: Tensor, threshold: float) -> Tensor:
    """The first exit whose largest probability reaches the threshold, else the last.

    Args:
        logits: (batch, exits, classes), as `MultiExit` gives them.

    Returns:
        (batch,) int64.

    >>> exit_taken(torch.tensor([[[0.0, 0.0], [3.0, 0.0]], [[4.0, 0.0], [0.0, 0.0]]]), 0.9)
    tensor([1, 0])
    """
    _check_exits(logits)
    sure = at_least_float32(logits).softmax(2).amax(2) >= threshold
    sure[:, -1] = True
    return sure.int().argmax(1)


class Savings(NamedTuple):
    """The errors and savings of leaving early.

    Attributes:
        threshold: threshold of the confidence.
        errors: error rate of the answers given.
        multiply_adds: multiply-adds of the mean image.
        saved: the saved share relative to always using the full network; below 0 if the exits cost
            more than they save.
        taken: the share of the images that leave at each exit.
    """

    threshold: float
    errors: int
    multiply_adds: float
    saved: float
    taken: list[float]


def savings(
    logits: Tensor, labels: Tensor, costs: Sequence[int], threshold: float, full: int | None = None
) -> Savings:
    """The savings and errors of a confidence threshold on these images.

    Args:
        logits: (batch, exits, classes).
        labels: (batch,) integers.
        costs: costs of each exit, from `exit_costs`.
        full: what to compare with: `kdnb.methods.architecture.multiply_adds` of the network without
            exits, say; the last of `costs` if None.

    Raises:
        ValueError: for wrong shapes, or a wrong number of costs.
    """
    _check_exits(logits)
    check_labels(logits[:, 0], labels)
    if len(costs) != logits.shape[1]:
        raise ValueError(f"got {len(costs)} costs for {logits.shape[1]} exits; one each is needed.")
    taken = exit_taken(logits, threshold)
    answers = logits[torch.arange(len(logits), device=logits.device), taken]
    spent = float(torch.tensor(costs, dtype=torch.float64)[taken.cpu()].mean())
    shares = taken.bincount(minlength=len(costs)) / len(taken)
    return Savings(
        threshold=threshold,
        errors=int((answers.argmax(1) != labels).sum()),
        multiply_adds=spent,
        saved=1 - spent / (full or costs[-1]),
        taken=shares.tolist(),
    )


def _check_exits(logits: Tensor) -> None:
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(
            f"logits must have shape (batch, exits, classes), all at least 1; "
            f"got {tuple(logits.shape)}."
        )

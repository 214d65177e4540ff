"""The training loop's speed, as ratios measured in one run: `python benchmarks/training.py`.

1. Overhead: `kdnb.training.fit` against a bare PyTorch loop over the very same batches, LeNet-5 on
   MNIST, batch 256, float32. Below 1.10 is wanted.
2. ResNet-20 on CIFAR-10 images, batch 128, crop and flip: kdnb (in-memory batches, bf16 autocast
   and channels_last where the CPU gains from them) against the common recipe (DataLoader with
   two workers, PIL transforms, float32). Above 2 is wanted.

Each pair is measured in turns, A B A B ..., after a warm-up, so that a drift of the machine's
speed meets both; the ratio is the median over the pairs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import in_turns, scripts
from kdnb import data, nets
from kdnb.data import Batches
from kdnb.training import Recipe, Update, fit
from kdnb.training.devices import gains_from_bf16

MEAN, SD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def cross_entropy(networks, batch):
    return {"hard": F.cross_entropy(networks["net"](batch.images), batch.labels)}


def fitted(network: nn.Module, batches: Batches, precision: str) -> None:
    recipe = Recipe(epochs=1, lr=0.05, schedule="constant", precision=precision)
    fit({"net": network}, batches, Update(("net",), cross_entropy), recipe)


def bare(network: nn.Module, batches) -> None:
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for images, labels, *_ in batches:
        loss = F.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def compare(first: Callable[[], None], second: Callable[[], None], pairs: int) -> list[float]:
    """seconds(first) / seconds(second), pair by pair, after one warm-up of each."""
    times = in_turns({"first": first, "second": second}, pairs)
    return [a / b for a, b in zip(times["first"], times["second"], strict=True)]


def overhead() -> list[float]:
    source = data.load("mnist")
    images = source.train.select(slice(None, 256 * 80))
    batches = Batches(images, 256, mean=source.mean, sd=source.sd)
    network = nets.build("lenet5")
    return compare(
        lambda: fitted(network, batches, "32"), lambda: bare(network, batches.epoch(0)), pairs=9
    )


def resnet20() -> list[float]:
    source = data.load("cifar10")
    images = source.train.select(slice(None, 128 * 40))
    batches = Batches(images, 128, mean=MEAN, sd=SD, crop_padding=4, flip=True)
    loader = scripts.loader(scripts.Served(images, source, 4, flip=True), 128, workers=2)
    ours, theirs = (nets.build("resnet20", in_channels=3, image_size=32) for _ in range(2))
    return compare(lambda: bare(theirs, loader), lambda: fitted(ours, batches, "auto"), pairs=5)


def report(name: str, ratios: list[float], wanted: str) -> None:
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"{name}: {middle:.2f} (from {low:.2f} to {high:.2f}); wanted {wanted}", flush=True)


if __name__ == "__main__":
    print(f"{torch.get_num_threads()} threads, bf16 {'used' if gains_from_bf16() else 'not used'}")
    report("LeNet-5, time of fit / bare loop", overhead(), "below 1.10")
    report("ResNet-20, time of DataLoader recipe / kdnb", resnet20(), "above 2")

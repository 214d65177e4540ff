"""Anybody's training data as batches: Datasets, DataLoaders, lists of batches, tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from kdnb.data.batches import Batch, Batches, mixed_seed
from kdnb.data.images import Images

Labels = Literal["classes", "any", "none"]


class LoaderBatches:
    """Somebody's own batches behind the interface of `Batches`.

    Args:
        loader: a DataLoader, or anything with a length that can be iterated over again and again
            and gives (images, labels): floating-point images ready for the network.
        device: where the batches are moved to.
        seed: of the order, where `loader` has a generator of its own.
        labels: which labels are taken: "classes", numbers of classes alone; "any", also soft
            labels and dense maps; "none", whatever comes or nothing, since nobody reads them.

    Raises:
        TypeError: when `loader` has no length, or can be read only once.
    """

    augmented = True  # unknown, so an image is never taken to look the same twice

    def __init__(
        self,
        loader: Any,
        device: torch.device | str = "cpu",
        *,
        seed: int = 0,
        labels: Labels = "classes",
    ):
        if isinstance(loader, Iterator) or not hasattr(loader, "__iter__"):
            raise TypeError(
                f"batches are read again in every epoch, which a {type(loader).__name__} cannot: "
                "give a DataLoader, a Dataset or a list of (images, labels)."
            )
        try:
            self._length = len(loader)
        except TypeError as error:
            raise TypeError(
                f"the {type(loader).__name__} has no length, which learning-rate schedules need: "
                "give its class or its Dataset a __len__."
            ) from error
        self.loader, self.device, self.seed = loader, torch.device(device), seed
        self.labels: Labels = labels

    @property
    def examples(self) -> int:
        """The images of an epoch: what the sampler gives, else the batches that are listed."""
        dataset, sampler = (getattr(self.loader, name, None) for name in ("dataset", "sampler"))
        for counted in (sampler, dataset):
            if hasattr(counted, "__len__"):
                return len(counted)
        if isinstance(self.loader, (list, tuple)):
            return sum(len(_parts(item)[0]) for item in self.loader)
        return self._length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch; the order follows (seed, number) where the loader allows it."""
        generator = getattr(self.loader, "generator", None)
        if generator is not None:
            generator.manual_seed(mixed_seed(self.seed, number, "order"))
        sampler = getattr(self.loader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(number)
        for item in self.loader:
            yield self._batch(item)

    def _batch(self, item: Any) -> Batch:
        parts = _parts(item)
        if len(parts) != 2 and self.labels != "none":
            kind = f"a {type(item).__name__} of {len(parts)}" if parts[0] is not item else ""
            raise TypeError(
                f"a batch must be a pair (images, labels), not {kind or type(item).__name__}."
            )
        images = torch.as_tensor(parts[0])
        if not images.is_floating_point():
            raise TypeError(
                f"the loader gives {images.dtype} images, a network needs floating-point ones: "
                "convert and normalise them in the Dataset."
            )
        labels = self._labels(parts)
        moved = images.to(self.device, torch.float32, non_blocking=True)
        return Batch(moved, labels)

    def _labels(self, parts: Any) -> Tensor | None:
        if self.labels == "none" and (len(parts) != 2 or not isinstance(parts[1], Tensor)):
            return None
        labels = torch.as_tensor(parts[1])
        kind = torch.int64
        if labels.is_floating_point():
            if self.labels == "classes":
                raise TypeError(f"the loader gives {labels.dtype} labels, not numbers of classes.")
            kind = torch.float32
        return labels.to(self.device, kind, non_blocking=True)


def _parts(item: Any) -> Any:
    return item if isinstance(item, (tuple, list)) and len(item) else [item]


class TensorBatches:
    """Batches of tensors in memory, in a new order in every epoch.

    Args:
        inputs: (N, ...) floating point, ready for the network.
        labels: (N, ...), or None where nobody reads them.
        seed: of the order: a function of (seed, epoch) alone.

    Raises:
        TypeError: for inputs that are not floating point.
        ValueError: for no input, or other numbers of inputs and labels.
    """

    augmented = True  # no teacher's answers are stored for them

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor | None,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
    ):
        if not inputs.is_floating_point():
            raise TypeError(
                f"the inputs are {inputs.dtype}, a network needs floating-point ones: convert and "
                "normalise them first."
            )
        if len(inputs) == 0 or labels is not None and len(labels) != len(inputs):
            count = "no" if labels is None else len(labels)
            raise ValueError(f"tensors need one label an input; got {len(inputs)} and {count}.")
        self.inputs, self.labels = inputs, labels
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle

    @property
    def examples(self) -> int:
        """The number of inputs."""
        return len(self.inputs)

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, a function of (seed, number) alone."""
        order = torch.arange(self.examples)
        if self.shuffle:
            stream = torch.Generator().manual_seed(mixed_seed(self.seed, number, "order"))
            order = torch.randperm(self.examples, generator=stream)
        for chosen in order.split(self.batch_size):
            here = chosen.to(self.inputs.device)
            labels = self.labels
            if labels is not None:
                labels = labels[chosen.to(labels.device)]
                labels = labels.float() if labels.is_floating_point() else labels.long()
            yield Batch(self.inputs[here].float(), labels, here)


def as_batches(
    data: Any,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    seed: int = 0,
    labels: Labels = "classes",
    shuffle: bool = True,
) -> Batches | LoaderBatches | TensorBatches:
    """Whatever holds training data as batches.

    Args:
        data: `Batches` or `LoaderBatches` (returned as they are), a pair of tensors (inputs,
            labels), one tensor of inputs, a DataLoader, a torch Dataset of (image, label), or any
            other iterable of batches with a length.
        batch_size, seed: of a Dataset or tensors, which are shuffled anew in every epoch.
        labels: see `LoaderBatches`.
        shuffle: False takes a Dataset or tensors in their own order.

    Raises:
        TypeError: when `data` is none of these.
    """
    if isinstance(data, (Batches, LoaderBatches, TensorBatches)):
        return data
    if isinstance(data, Images):
        raise TypeError("Images are not normalised: give Batches(images, ..., mean=..., sd=...).")
    if isinstance(data, Tensor):
        data = (data, None)
    if _pair_of_tensors(data):
        if data[1] is None and labels != "none":
            raise TypeError(
                "labels are read, and one tensor of inputs has none: give (inputs, labels)."
            )
        return TensorBatches(*data, batch_size, seed=seed, shuffle=shuffle)
    if isinstance(data, Dataset) and not isinstance(data, DataLoader):
        mixing = shuffle and not isinstance(data, IterableDataset)
        data = DataLoader(data, batch_size, shuffle=mixing, generator=torch.Generator())
    return LoaderBatches(data, device, seed=seed, labels=labels)


def _pair_of_tensors(data: Any) -> bool:
    return (
        isinstance(data, (tuple, list))
        and len(data) == 2
        and isinstance(data[0], Tensor)
        and (data[1] is None or isinstance(data[1], Tensor))
    )

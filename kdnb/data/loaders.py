"""User data as batches: Datasets, DataLoaders, lists of batches, tensors."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from kdnb.data.batches import Batch, Batches, mixed_seed
from kdnb.data.forms import (
    Mixed,
    as_labels,
    is_complex,
    is_mixed,
    kind_of,
    mapped,
    moved,
    real_labels,
    rows_of,
    samples_in,
    tensors_in,
)
from kdnb.data.given import are_pair, are_tensors, check_form, of_arrays
from kdnb.data.images import Images
from kdnb.names import brief

Labels = Literal["classes", "any", "none"]
LABEL_KEYS = ("labels", "label", "targets", "target")  # of a batch that is one dict


class LoaderBatches:
    """A user's own batches behind the interface of `Batches`.

    Args:
        loader: a DataLoader, or anything with a length that can be iterated over repeatedly
            and yields (inputs, labels), or one dict with the key "labels". Inputs are a tensor, or
            a tuple, list or dict of tensors, ready for the network: floating-point images, token
            ids, masks. Labels of mixed images are a triple (first, second, share of the first).
        device: where the batches are moved to.
        seed: for the order. Generators held by the loader, sampler or data set are reseeded in
            every epoch, and persistent workers are restarted, so that an epoch is a function of
            (seed, number).
        labels: which labels are accepted: "classes", class numbers only; "any", also soft
            labels, mixed ones and dense maps; "none", anything or nothing, since they are not
            used.
        counted: whether a length is needed; else an epoch ends where the loader does.

    Raises:
        TypeError: if `loader` has no length that is needed, or can be read only once.
        ValueError: if it has no batch.
    """

    augmented = True  # unknown, so assume that an image never looks the same twice

    def __init__(
        self,
        loader: Any,
        device: torch.device | str = "cpu",
        *,
        seed: int = 0,
        labels: Labels = "classes",
        counted: bool = True,
    ):
        if isinstance(loader, Iterator) or not hasattr(loader, "__iter__"):
            raise TypeError(
                f"batches are read again in every epoch, which the {type(loader).__name__} given cannot: "
                "give a DataLoader, a Dataset, a list of batches or tensors (inputs, labels)."
            )
        try:
            self._length = len(loader)
        except TypeError as error:
            if counted:
                raise TypeError(_no_length(loader)) from error
            self._length = None
        if self._length == 0:
            raise ValueError(
                f"the {type(loader).__name__} gives no batch: it has no data, or fewer samples than "
                "a batch and drop_last=True."
            )
        self.loader, self.device, self.seed = loader, torch.device(device), seed
        self.labels: Labels = labels

    @property
    def examples(self) -> int:
        """The number of samples in an epoch, from the sampler or else from the listed batches.

        A sampler that draws with replacement counts no more samples than the data set has.
        """
        dataset, sampler = (getattr(self.loader, name, None) for name in ("dataset", "sampler"))
        batched = getattr(self.loader, "batch_sampler", None)
        if batched is not None and not isinstance(batched, BatchSampler):
            return sum(len(one) for one in batched)
        counts = [len(one) for one in (sampler, dataset) if hasattr(one, "__len__")]
        if counts:
            return min(counts)
        if isinstance(self.loader, (list, tuple)):
            return sum(self._batch(item).size for item in self.loader)
        return self._length

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(_no_length(self.loader))
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch; the order is a function of (seed, number) if the loader allows it."""
        _seed_generators(self.loader, self.seed, number)
        if getattr(self.loader, "persistent_workers", False):
            self.loader._iterator = None  # its workers hold the random state of the previous epoch
        length = None if self._length is None else len(self.loader)
        try:
            for place, item in enumerate(self.loader):
                if place == length:  # endless data ends after its stated length
                    break
                yield self._batch(item)
        except (TypeError, RuntimeError, KeyError, ValueError) as error:
            if not _of_collating(error):
                raise
            words = str(error).removeprefix("default_collate: ").rstrip(".")
            raise ValueError(
                f"the samples of this data make no batch: {words}. Convert them to tensors of one "
                "shape in the Dataset, or give a DataLoader with a collate_fn."
            ) from error

    def _batch(self, item: Any) -> Batch:
        inputs, labels = self._pair(item)
        return Batch(moved(_ready(inputs), self.device), self._labels(labels))

    def _pair(self, item: Any) -> tuple[Any, Any]:
        """Inputs and labels from an item of the loader."""
        if isinstance(item, Mapping):
            inputs, labels = _labels_apart(item)
            if labels is None and self.labels != "none":
                raise TypeError(
                    f"a batch must be a pair (inputs, labels), or a dict with the entry 'labels', "
                    f"not a {type(item).__name__} of {', '.join(map(repr, item))}."
                )
            return inputs, labels
        if isinstance(item, Batch):
            item = item[:2]
        parts = item if isinstance(item, (tuple, list)) and len(item) else [item]
        if len(parts) == 4 and is_mixed(parts[1:]):
            parts = parts[0], tuple(parts[1:])
        if self.labels == "none":
            return parts[0], parts[1] if len(parts) == 2 else None
        if len(parts) != 2:
            kind = f"a {type(item).__name__} of {len(parts)}" if parts[0] is not item else ""
            raise TypeError(
                f"a batch must be a pair (inputs, labels), not {kind or type(item).__name__}: give "
                "several inputs as ((first, second), labels), and mixed labels as (inputs, first, "
                "second, share of the first)."
            )
        return parts[0], parts[1]

    def _labels(self, given: Any) -> Tensor | Mixed | None:
        if self.labels == "none" and (not isinstance(given, (Tensor, Mixed)) or is_complex(given)):
            return None
        labels = as_labels(given)
        if isinstance(labels, Mixed):
            if self.labels == "classes":
                raise TypeError("the loader gives mixed labels, not numbers of classes.")
            return moved(labels, self.device)
        if not labels.ndim:
            raise TypeError(
                "these are single samples (input, label), not batches: give "
                "torch.utils.data.DataLoader(samples, batch_size)."
            )
        kind = torch.int64
        if labels.is_floating_point():
            if self.labels == "classes":
                raise TypeError(f"the loader gives {labels.dtype} labels, not numbers of classes.")
            kind = torch.float32
        return labels.to(self.device, kind, non_blocking=True)


def _of_collating(error: Exception) -> bool:
    """Whether the error arose when torch collated samples, not in the user's code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    from_a_worker = "_utils/collate.py" in str(error).rstrip().rpartition("File ")[2]
    return module == "torch.utils.data._utils.collate" or from_a_worker


def _ready(inputs: Any) -> Any:
    """Inputs as networks take them: floating point in float32, integers unchanged.

    Raises:
        TypeError: for images of bytes, sparse tensors, or inputs without any tensor.
    """

    def one(value: Tensor) -> Tensor:
        if value.layout is not torch.strided:
            raise TypeError(
                f"the data gives tensors of layout {value.layout}, which make no batches: give "
                "tensor.to_dense()."
            )
        value = value.detach()  # inputs never get gradients
        if value.dtype == torch.uint8 and value.ndim == 4:
            raise TypeError(
                "the data gives torch.uint8 images, a network needs floating-point ones: convert "
                "and normalise them in the Dataset."
            )
        return value.float() if value.is_floating_point() else value

    if isinstance(inputs, (int, float)):
        inputs = torch.as_tensor(inputs)
    ready = mapped(one, inputs)
    if isinstance(ready, (Tensor, Mapping, tuple, list)) and next(tensors_in(ready), None) is None:
        raise TypeError(
            f"the inputs are {kind_of(inputs)}, without a tensor in it: load them and convert them "
            "to tensors in the Dataset."
        )
    return ready


def _labels_apart(item: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """A dict's inputs and its labels, if it has an entry for them."""
    name = next((key for key in LABEL_KEYS if key in item), None)
    return {key: value for key, value in item.items() if key != name}, item[name] if name else None


def _seed_generators(loader: Any, seed: int, number: int) -> None:
    """Seed every generator that a loader, its sampler or its data set holds, and set the epoch."""
    batched = getattr(loader, "batch_sampler", None)
    holders = [loader, getattr(loader, "sampler", None), batched, getattr(batched, "sampler", None)]
    holders.append(getattr(loader, "dataset", None))
    seeded: set[int] = set()
    for place, holder in enumerate(holders):
        if holder is None or isinstance(holder, (list, tuple)):
            continue
        if hasattr(holder, "set_epoch"):
            holder.set_epoch(number)
        for name, value in sorted(getattr(holder, "__dict__", {}).items()):
            if id(value) in seeded:
                continue
            purpose = "order" if name == "generator" and place < 4 else f"{place} {name}"
            if _seeded(value, mixed_seed(seed, number, purpose)):
                seeded.add(id(value))


def _seeded(generator: Any, seed: int) -> bool:
    """Seed a generator of any kind; False if the object is not a generator."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random):
        generator.seed(seed)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed % 2**32)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    else:
        return False
    return True


_WIDE = (torch.uint16, torch.uint32, torch.uint64)


class TensorBatches:
    """Batches of tensors in memory, in a new order in every epoch.

    Args:
        inputs: (N, ...), ready for the network; or a tuple, list or dict of such tensors.
        labels: (N, ...), or None if they are not used.
        seed: for the order, which is a function of (seed, epoch) alone.

    Raises:
        TypeError: for images of bytes, or complex labels.
        ValueError: for no input, or different numbers of inputs and labels.
    """

    augmented = True  # so no teacher outputs are stored for them

    def __init__(
        self,
        inputs: Any,
        labels: Tensor | None,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
    ):
        inputs = _ready(inputs)
        lengths = {len(one) for one in tensors_in(inputs)}
        count = samples_in(inputs)
        if count == 0 or lengths != {count} or labels is not None and len(labels) != count:
            if not count:
                raise ValueError("these tensors hold no sample.")
            given = "no" if labels is None else len(labels)
            shown = " and ".join(map(str, sorted(lengths)))
            hint = ""
            if isinstance(inputs, list):
                hint = " A list of tensors is several inputs: for one of several samples give torch.stack(samples)."
            raise ValueError(f"tensors need one label an input; got {shown} and {given}.{hint}")
        if labels is not None and real_labels(labels).dtype in _WIDE:  # few operations support them
            labels = labels.long()
        self.inputs, self.labels = inputs, labels
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle

    @property
    def examples(self) -> int:
        """The number of inputs."""
        return samples_in(self.inputs)

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, a function of (seed, epoch) alone."""
        order = torch.arange(self.examples)
        if self.shuffle:
            stream = torch.Generator().manual_seed(mixed_seed(self.seed, number, "order"))
            order = torch.randperm(self.examples, generator=stream)
        device = next(tensors_in(self.inputs)).device
        for chosen in order.split(self.batch_size):
            here = chosen.to(device)
            labels = self.labels
            if labels is not None:
                labels = labels[chosen.to(labels.device)]
                labels = labels.float() if labels.is_floating_point() else labels.long()
            yield Batch(rows_of(self.inputs, here), labels, here)


def as_batches(
    data: Any,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    seed: int = 0,
    labels: Labels = "classes",
    shuffle: bool = True,
    counted: bool = True,
) -> Batches | LoaderBatches | TensorBatches:
    """Any supported form of training data as batches.

    Args:
        data: `Batches` or `LoaderBatches` (returned as they are), a pair of tensors or NumPy arrays
            (inputs, labels), whose inputs may be a tuple or a dict of tensors, inputs alone, a dict of
            tensors with the key "labels", a DataLoader, a torch Dataset of (input, label), or any
            other iterable of batches with a length.
        batch_size, seed: for a Dataset or tensors, which are reshuffled in every epoch.
        labels, counted: see `LoaderBatches`.
        shuffle: False keeps the order of a Dataset or tensors.

    Raises:
        TypeError: if `data` is none of these.
    """
    if isinstance(data, (Batches, LoaderBatches, TensorBatches)):
        return data
    if isinstance(data, Images):
        raise TypeError("Images are not normalised: give Batches(images, ..., mean=..., sd=...).")
    if data is None or isinstance(data, (str, bytes)):
        raise TypeError(
            f"the data is {brief(data)}: give tensors (inputs, labels), a Dataset, a DataLoader, or "
            "the images of kdnb.data.load(name)."
        )
    data = of_arrays(data, read=labels != "none")
    check_form(data)
    if isinstance(data, Tensor):
        data = (data, None)
    elif isinstance(data, Mapping) and are_tensors(data):
        data = _labels_apart(data)
    if are_pair(data):
        if data[1] is None and labels != "none":
            raise TypeError("labels are read, and this data has none: give (inputs, labels).")
        if labels == "none" and is_complex(data[1]):
            data = (data[0], None)
        return TensorBatches(*data, batch_size, seed=seed, shuffle=shuffle)
    if isinstance(data, Dataset) and not isinstance(data, DataLoader):
        if hasattr(data, "__len__") and not len(data):
            raise ValueError(f"the {type(data).__name__} is empty.")
        streams = isinstance(data, IterableDataset)
        if not streams and not hasattr(data, "__len__"):
            raise TypeError(_no_length(data, "shuffling needs"))
        mixing = shuffle and not streams
        data = DataLoader(data, batch_size, shuffle=mixing, generator=torch.Generator())
    return LoaderBatches(data, device, seed=seed, labels=labels, counted=counted)


def _no_length(data: Any, why: str = "learning-rate schedules need") -> str:
    return (
        f"the {type(data).__name__} has no length, which {why}: give its class or its Dataset a "
        "__len__."
    )

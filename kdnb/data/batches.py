"""Batches made on the network's device: images stay uint8 there, and are shuffled, shifted, flipped,
jittered and normalised a batch at a time, as a pure function of (seed, epoch).
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.data.forms import Mixed, moved, rows_of, samples_in, tensors_in
from kdnb.data.images import Images


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
        images: (B, C, H, W) float32, normalised. Batches of a user's own data may hold any tensor, or
            a tuple, list or dict of tensors.
        labels: (B,) int64. Those of a user's own data may have other shapes, be `Mixed`, or None
            if no term reads labels.
        index: (B,) int64, positions of the images in the `Images` they come from; None if unknown.
        view: (B,) int64, always on the CPU: which of its views each image shows, counted over
            all images, index · views + (y · (2 padding + 1) + x) · 2 + mirrored; None if views
            cannot be counted.
    """

    images: Any
    labels: Any
    index: Tensor | None = None
    view: Tensor | None = None

    @property
    def size(self) -> int:
        """The number of samples, taken from the labels if there are any."""
        known = isinstance(self.labels, (Tensor, Mixed)) and len(self.labels)
        return known or samples_in(self.images)

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return next((one.device for one in tensors_in(self.images)), torch.device("cpu"))

    def share(self, part: slice) -> Batch:
        """A slice of the samples."""
        cut = (None if value is None else rows_of(value, part) for value in self)
        return Batch(*cut)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; `view` is a position in a file and stays on the CPU."""
        parts = [value for value in self[:-1] if value is not None]
        if all(isinstance(value, Tensor) and value.device == device for value in parts):
            return self
        there = (None if value is None else moved(value, device) for value in self[:-1])
        return Batch(*there, self.view)


class Batches:
    """Batches of images in memory.

    Args:
        images: moved to `device` once.
        batch_size: images per batch; the last one of an epoch may be smaller.
        mean, sd: of each channel on the 0-1 scale; a batch holds (x / 255 - mean) / sd.
        seed: for the order and every augmentation, each an independent stream: switching one on
            does not change the others. Drawn on the CPU, so the same on every device.
        shuffle: a new order in every epoch.
        crop_padding: pad by this many black pixels and crop at random: a shift of up to that many
            pixels in each direction.
        flip: mirror left to right with probability 1/2.
        jitter: s scales brightness, then contrast about the image's mean, by factors uniform in
            [1 - s, 1 + s]; values stay within 0 and 1.
        drop_last: leave out a smaller last batch.
        channels_last: the memory format of the batches.

    Raises:
        ValueError: if there is no image, or an option is out of range.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        mean: Sequence[float],
        sd: Sequence[float],
        seed: int = 0,
        shuffle: bool = True,
        crop_padding: int = 0,
        flip: bool = False,
        jitter: float = 0.0,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
    ):
        channels = images.images.shape[1]
        if len(images) == 0:
            raise ValueError("there are no images to make batches of.")
        if batch_size < 1 or crop_padding < 0 or not 0 <= jitter <= 1:
            raise ValueError(
                "batch_size must be at least 1, crop_padding at least 0 and jitter within 0 and 1, "
                f"not {batch_size}, {crop_padding} and {jitter}."
            )
        if len(mean) != channels or len(sd) != channels or min(sd) <= 0:
            raise ValueError(
                f"mean and sd need one value for each of the {channels} channels, sd above 0: "
                f"not {mean} and {sd}."
            )
        if drop_last and len(images) < batch_size:
            raise ValueError(f"{len(images)} images make no full batch of {batch_size}.")
        self.images = images.to(device)
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.mean, self.sd = tuple(map(float, mean)), tuple(map(float, sd))
        self.crop_padding, self.flip, self.jitter = crop_padding, flip, jitter
        self.drop_last, self.channels_last = drop_last, channels_last

    @property
    def device(self) -> torch.device:
        """The device on which batches are made."""
        return self.images.images.device

    @property
    def examples(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def augmented(self) -> bool:
        """Whether an image may look different in another epoch."""
        return bool(self.crop_padding or self.flip or self.jitter)

    @property
    def views(self) -> int | None:
        """The number of views of an image: 162 with padding 4 and flips; None if unlimited."""
        if self.jitter:
            return None
        return (2 * self.crop_padding + 1) ** 2 * (2 if self.flip else 1)

    def __len__(self) -> int:
        batches = self.examples / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, a function of (seed, number) alone."""
        count = self.examples
        order = torch.arange(count)
        if self.shuffle:
            order = torch.randperm(count, generator=self._stream("order", number))
        changes = self._changes(number)
        views = self._views(order, changes)
        order = order.to(self.device)
        changes = {key: value.to(self.device) for key, value in changes.items()}
        scale = torch.tensor([1 / (255 * sd) for sd in self.sd], device=self.device).view(-1, 1, 1)
        shift = torch.tensor(
            [-mean / sd for mean, sd in zip(self.mean, self.sd, strict=True)], device=self.device
        ).view(-1, 1, 1)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            now = slice(start, start + self.batch_size)
            index = order[now]
            here = {key: value[now] for key, value in changes.items()}
            images = self._look(self.images.images.index_select(0, index), **here)
            images = images.mul_(scale).add_(shift)
            labels = self.images.labels.index_select(0, index)
            yield Batch(images, labels, index, None if views is None else views[now])

    def _changes(self, number: int) -> dict[str, Tensor]:
        """The random changes to the images of an epoch, in the order of the epoch."""
        count, changes = self.examples, {}
        if self.crop_padding:
            stream = self._stream("crop", number)
            offsets = (2, count)
            changes["crop"] = torch.randint(2 * self.crop_padding + 1, offsets, generator=stream).T
        if self.flip:
            changes["flip"] = torch.rand(count, generator=self._stream("flip", number)) < 0.5
        if self.jitter:
            factors = torch.rand(count, 2, generator=self._stream("jitter", number))
            changes["jitter"] = 1 + self.jitter * (2 * factors - 1)
        return changes

    def _views(self, order: Tensor, changes: dict[str, Tensor]) -> Tensor | None:
        """The view that each image of an epoch shows, in the order of the epoch."""
        if self.views is None:
            return None
        view = torch.zeros_like(order)
        if "crop" in changes:
            y, x = changes["crop"].T
            view = y * (2 * self.crop_padding + 1) + x
        if "flip" in changes:
            view = 2 * view + changes["flip"]
        return order * self.views + view

    def _look(
        self,
        images: Tensor,
        crop: Tensor | None = None,
        flip: Tensor | None = None,
        jitter: Tensor | None = None,
    ) -> Tensor:
        """The augmented images (B, C, H, W), 0 to 255 in float32."""
        if crop is not None:
            images = _cropped(images, self.crop_padding, crop)
        if flip is not None:
            images = _flipped(images, flip)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)  # cheaper in uint8
        images = images.float()
        if jitter is not None:
            brightness, contrast = jitter.T.reshape(2, -1, 1, 1, 1)
            images = (images * brightness).clamp_(0, 255)
            mean = images.mean((1, 2, 3), keepdim=True)
            images = ((images - mean) * contrast + mean).clamp_(0, 255)
        return images

    def _stream(self, purpose: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(mixed_seed(self.seed, number, purpose))


def _cropped(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Each image (B, C, H, W), padded with black pixels and cropped at its own offset (B, 2) = (y, x).

    Whole rows are copied from where they start in the flattened padded images: on a CPU this is
    several times faster than indexing pixels.
    """
    flat = F.pad(images, (padding,) * 4).flatten()
    width = images.shape[3]
    moved = offsets[:, 0] * (width + 2 * padding) + offsets[:, 1]
    starts = _row_starts(tuple(images.shape), padding, images.device) + moved.view(-1, 1, 1)
    return flat.unfold(0, width, 1).index_select(0, starts.flatten()).view(images.shape)


@functools.lru_cache(maxsize=4)
def _row_starts(shape: tuple[int, ...], padding: int, device: torch.device) -> Tensor:
    """Where each row (B, C, H) of an image at offset (0, 0) starts in the flattened padded images."""
    count, channels, height, width = shape
    planes = torch.arange(count * channels, device=device).view(count, channels, 1)
    rows = planes * (height + 2 * padding) + torch.arange(height, device=device)
    return rows * (width + 2 * padding)


def _flipped(images: Tensor, flip: Tensor) -> Tensor:
    """The images (B, C, H, W), mirrored left to right where `flip` (B,) is true."""
    both = torch.cat([images, images.flip(-1)])
    count = len(images)
    return both.index_select(0, torch.arange(count, device=images.device) + count * flip)


def in_order(images: Images, like: Any, device: torch.device) -> Batches:
    """Batches for a pass without training: the images in order, without augmentation.

    Args:
        like: batches or a card whose `mean` and `sd` normalise the pixels.
    """
    size = 250 if device.type == "cpu" else 1000  # fits into a CPU's cache; fills an accelerator
    return Batches(images, size, mean=like.mean, sd=like.sd, shuffle=False, device=device)


def mixed_seed(seed: int, number: int, purpose: str) -> int:
    """A 63-bit seed derived from a seed, an epoch and a purpose; different inputs give different seeds."""
    text = f"{seed} {number} {purpose}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

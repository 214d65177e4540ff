"""How a frozen teacher is asked: once for each image, or view of an image, where that is exact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch, Batches
from kdnb.progress import note
from kdnb.training.answers import Called, Output
from kdnb.training.devices import arithmetic
from kdnb.training.inputs import in_order
from kdnb.training.layers import Layers, View, look
from kdnb.training.loop import Networks
from kdnb.training.metrics import predict
from kdnb.training.recipe import Recipe
from kdnb.training.teacher_cache import TeacherCache
from kdnb.training.wrapped import settled


@contextlib.contextmanager
def asked(
    teacher: nn.Module, batches: Any, recipe: Recipe, output: Output = None
) -> Iterator[Callable[[Networks, Batch], Tensor]]:
    """How a scheme asks the frozen network "teacher" what it says of a batch: (B, classes).

    Images that never change are asked about once, in float32, before training. Of images that are
    cropped and flipped every view is asked about once and kept on disk (`TeacherCache`). Other
    batches cannot be recognised: there the teacher answers in every step. Where answers are kept, the
    teacher's weights must not change, so its batch normalisations are folded.
    """
    known = isinstance(batches, Batches) and not isinstance(teacher, Called)
    if not known or not batches.views:
        yield torch.no_grad()(lambda networks, batch: networks["teacher"](batch.images))
    elif not batches.augmented:
        stored = teacher_logits(teacher, batches, output)
        yield lambda networks, batch: stored[batch.index]
    else:
        cache = TeacherCache(teacher, batches, arithmetic(recipe.precision), output)
        yield torch.no_grad()(
            lambda networks, batch: cache(settled(networks["teacher"], cache.name), batch)
        )
        note(f"teacher: {cache}")


def teacher_logits(teacher: nn.Module, batches: Batches, output: Output = None) -> Tensor:
    """The teacher's logits for every image of un-augmented batches, (examples, classes) float32.

    Raises:
        ValueError: when the batches augment their images: the stored logits would then belong
            to other images than the student sees.
    """
    if batches.augmented:
        raise ValueError(
            "the teacher's logits cannot be stored for batches that are cropped, flipped or "
            "jittered anew in every epoch: ask the teacher in every step instead."
        )
    plain = in_order(batches.images, batches, batches.device)
    return predict(teacher.to(batches.device), plain, output).to(batches.device)


class Recorded:
    """A frozen network's views of every image of a set, computed once.

    Only for images that never change: a map of an augmented image is not the map of the image.

    Args:
        network: in the form in which it answers; it is asked in eval mode.
        batches: un-augmented.
        half: keep maps in bfloat16, as autocast hands them on, instead of float32.

    Raises:
        ValueError: when the batches augment their images.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Layers,
        batches: Batches,
        half: bool,
        output: Output = None,
    ) -> None:
        if batches.augmented:
            raise ValueError(
                "views cannot be stored for batches that are cropped, flipped or jittered anew in "
                "every epoch: ask the network in every step instead."
            )
        self.layers = layers
        plain = in_order(batches.images, batches, batches.device)
        self.network = network = network.to(batches.device)
        kept: list[dict[str, Tensor]] = []
        for batch in plain.epoch(0):
            with torch.autocast(batches.device.type, torch.bfloat16, enabled=half):
                view = look(network, layers, batch.images, output)
            shown = {"": view.logits.float(), **view.outputs()}
            if layers.embedding:
                shown[layers.embedding] = view.embedding.float()
            kept.append(shown)
        self.outputs = {path: torch.cat([part[path] for part in kept]) for path in kept[0]}

    def __call__(self, index: Tensor) -> View:
        """The view of some images, by their places in the set."""
        return View(
            self.outputs[""].index_select(0, index),
            _Rows(self.outputs, index),
            self.layers,
            self.network,
        )


class Remembered:
    """A frozen network's logits and embedding of every view of the images, each computed once.

    For methods that look at nothing else of the teacher: maps are too many numbers to keep.

    Args:
        batches: cropped and flipped, so that their views are counted.
        precision: in Fabric's words.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Layers,
        batches: Batches,
        precision: str,
        output: Output = None,
    ) -> None:
        self.network, self.layers, self.dtype = network, layers, torch.float32
        self.cache = TeacherCache(network, batches, f"{precision}-{layers.embedding}", output)

    def __call__(self, look: Callable[[Tensor], View], batch: Batch) -> View:
        """The view of a batch; `look` gives that of images that were never seen so."""

        def ask(images: Tensor) -> Tensor:
            view = look(images)
            self.classes, self.dtype = view.logits.shape[1], view.embedding.dtype
            return torch.cat([view.logits, view.embedding.float()], 1)

        both = self.cache(ask, batch)
        outputs = {self.layers.embedding: both[:, self.classes :].to(self.dtype)}
        return View(both[:, : self.classes], outputs, self.layers, self.network)


class _Rows(Mapping[str, Tensor]):
    """Some rows of every tensor, gathered when they are asked for: most methods look at few."""

    def __init__(self, outputs: dict[str, Tensor], index: Tensor) -> None:
        self.outputs, self.index = outputs, index

    def __getitem__(self, path: str) -> Tensor:
        return self.outputs[path].index_select(0, self.index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

"""Pictures with known masks and boxes: real objects of one data set on real photographs of another.

Data sets of segmentation and detection are large, and none comes with a package. Clothes of
Fashion-MNIST on photographs of CIFAR-10 have what those tasks need: a class for every pixel, a box
for every object, and a background that is not a plain colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.data import Images
from kdnb.losses.checks import check_number

THRESHOLD = 0.2  # the brightness, from 0 to 1, above which a pixel belongs to the object


@dataclass(frozen=True)
class Canvases:
    """Composed pictures.

    Attributes:
        images: (N, 3, side, side) float32, about -1 to 1.
        masks: (N, side, side) int64: 0 is the background, k + 1 the objects' class k.
        boxes: (N, 4) float32 of the object placed last: left, top, right and bottom, as fractions
            of the side. It may cover others; nothing covers it.
        labels: (N,) int64, the class of that object, from 0.
    """

    images: Tensor
    masks: Tensor
    boxes: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


def compose(
    objects: Images,
    photographs: Images,
    count: int,
    *,
    at_most: int = 2,
    shrink: int = 2,
    brightness: float = 1.0,
    seed: int = 0,
) -> Canvases:
    """Pictures with one to `at_most` objects at random places.

    Args:
        objects: grey images on black, such as those of Fashion-MNIST; each is shrunk by `shrink`.
        photographs: colour images, larger than the shrunk objects.
        count: how many pictures. Objects and photographs are drawn with replacement, so disjoint
            sources make disjoint pictures.
        at_most: objects of a picture; later ones cover earlier ones.
        brightness: of the photographs, from 0 for black; small networks find objects on darker ones
            sooner.
        seed: for all draws.

    Raises:
        ValueError: for objects that are not grey or do not fit on the photographs.
    """
    check_number(least=1, whole=True, count=count, at_most=at_most, shrink=shrink)
    check_number(least=0, most=1, brightness=brightness)
    side, small = photographs.images.shape[-1], objects.images.shape[-1] // shrink
    if objects.images.shape[1] != 1 or photographs.images.shape[1] != 3 or not 2 <= small <= side:
        raise ValueError(
            "objects must be grey and fit on colour photographs; got "
            f"{tuple(objects.images.shape[1:])} shrunk by {shrink} on "
            f"{tuple(photographs.images.shape[1:])}."
        )
    generator = torch.Generator().manual_seed(seed)

    def draw(end: int, *shape: int) -> Tensor:
        return torch.randint(end, shape, generator=generator)

    images = brightness * photographs.images[draw(len(photographs), count)].float() / 255
    masks = torch.zeros(count, side, side, dtype=torch.int64)
    chosen, places = draw(len(objects), count, at_most), draw(side - small + 1, count, at_most, 2)
    present = draw(at_most, count) + 1
    pixels = F.avg_pool2d(objects.images[chosen.flatten()].float() / 255, shrink)
    pixels = pixels.view(count, at_most, small, small)
    boxes = torch.zeros(count, 4)
    for row in range(count):
        # The last object is always there, so that it has a box and a class.
        for number in range(at_most - int(present[row]), at_most):
            item, (y, x) = pixels[row, number], places[row, number].tolist()
            inside = item > THRESHOLD
            window = slice(y, y + small), slice(x, x + small)
            images[row][(slice(None), *window)] = torch.where(
                inside, item, images[row][(slice(None), *window)]
            )
            label = int(objects.labels[chosen[row, number]])
            masks[row][window] = torch.where(inside, label + 1, masks[row][window])
        boxes[row] = _box(inside, y, x) / side
    return Canvases(2 * images - 1, masks, boxes, objects.labels[chosen[:, -1]])


def _box(inside: Tensor, y: int, x: int) -> Tensor:
    """Left, top, right and bottom of the object in pixels; the whole window if it is empty."""
    if not bool(inside.any()):
        inside = torch.ones_like(inside)
    rows, columns = (torch.nonzero(inside.any(axis))[:, 0] for axis in (1, 0))
    return torch.stack([columns[0] + x, rows[0] + y, columns[-1] + 1 + x, rows[-1] + 1 + y]).float()

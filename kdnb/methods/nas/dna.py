"""DNA (Li et al. 2020): each block of the teacher supervises the candidates that may replace it.

A supernet holds all candidates for one block, which share weights. Its input is the teacher's maps
before the block; it is trained to produce those after it, on one random path per step. Blocks thus
learn independently, and few candidates share weights. Then every path of every block is rated by
its error, and the best combination within a size limit is chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import block_distillation, relative_block_error
from kdnb.methods.architecture.design import parameters
from kdnb.methods.online.branches import Branches
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.borrowed import evaluating
from kdnb.training.first import check_learns, first_batch
from kdnb.training.inputs import batches_for

Path = tuple[int, ...]  # for each layer of a block, the index of its operation


class SuperBlock(nn.Module):
    """All candidates for one block: layers of several operations; a path chooses one per layer.

    Args:
        layers: for each layer its operations, whose outputs have the same shape.

    Raises:
        ValueError: for no layer, or a layer without operations.

    Attributes:
        path: the path that is run; in train mode a random one is drawn in every call.
    """

    def __init__(self, layers: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__()
        if not layers or not all(len(one) for one in layers):
            raise ValueError("a block needs at least one layer, and each layer an operation.")
        self.layers = nn.ModuleList(nn.ModuleList(operations) for operations in layers)
        self.path: Path = (0,) * len(layers)

    def paths(self) -> list[Path]:
        """All candidates."""
        return list(product(*(range(len(operations)) for operations in self.layers)))

    def forward(self, maps: Tensor) -> Tensor:
        if self.training:
            self.path = tuple(int(torch.randint(len(one), ())) for one in self.layers)
        for operations, number in zip(self.layers, self.path, strict=True):
            maps = operations[number](maps)
        return maps

    def alone(self, path: Path) -> nn.Sequential:
        """One candidate, with its shared weights."""
        return nn.Sequential(*(one[n] for one, n in zip(self.layers, path, strict=True)))


def cut(teacher: nn.Module, ends: Sequence[str], example: Tensor) -> list[nn.Sequential]:
    """Cut the teacher into blocks, each ending with a named child, and the rest after the last.

    Args:
        teacher: a chain of its children, see `kdnb.methods.online.branches.Branches.split`.
        ends: names of children, in order.
        example: a batch of inputs.

    Raises:
        ValueError: for names that are not children, in a wrong order, or of the last child: a
            classifier must remain.
    """
    names = [name for name, _ in teacher.named_children()]
    if unknown := [end for end in ends if end not in names[:-1]]:
        raise ValueError(f"{unknown[0]!r} ends no block: {', '.join(names[:-1])} do.")
    places = [names.index(end) + 1 for end in ends]
    if not places or places != sorted(set(places)):
        raise ValueError(f"ends must be children in order, none twice; got {list(ends)}.")
    Branches.split([teacher], names[-1], example)  # rejects anything but a chain
    children = list(teacher.named_children())
    return [
        nn.Sequential(OrderedDict(children[start:stop]))
        for start, stop in zip([0, *places], [*places, len(children)], strict=True)
    ]


def supervise_block(
    block: SuperBlock,
    teacher_blocks: Sequence[nn.Module],
    place: int,
    data: Any,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    **fields: Any,
) -> Fit:
    """Train all candidates for one block on the teacher's maps; labels are not used.

    Args:
        block: trained in place.
        teacher_blocks: from :func:`cut`; frozen.
        place: the index of the block that it replaces, from 0.
        data, recipe, seed, fields: as in `kdnb.distil`.

    Returns:
        The history, with the loss `block`; the block, as `fit.networks["block"]`.

    Raises:
        ValueError: for an invalid place, or candidates whose maps differ in shape from the
            teacher's.

    Departures: the authors' code leaves the teacher in train mode while blocks learn, so its batch
    statistics change; here it is in eval mode. Paths are drawn uniformly.
    """
    recipe = recipe_of(supervise_block, recipe, fields)
    _check_place(place, teacher_blocks)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    front, own = nn.Sequential(*teacher_blocks[:place]), teacher_blocks[place]
    images = first_batch(batches, seed).images[:2]
    with evaluating(front, own, block), torch.no_grad():
        given = front(images)
        for path in block.paths():  # every candidate is tried before any is trained
            _maps_of(block, path, given, own(given))
    check_learns("block", block)

    def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            seen = networks["front"](batch.images)
            wanted = networks["own"](seen)
        return {"block": block_distillation(networks["block"](seen), wanted)}

    networks = {"block": block, "own": own, "front": front}
    update = Update(("block",), terms)
    about = {"method": {"verb": "supervise_block", "place": place}}
    history = fit(networks, batches, update, recipe, seed=seed, identity=about)
    return Fit.of(history, {"block": block})


def _check_place(place: int, teacher_blocks: Sequence[nn.Module]) -> None:
    if place not in range(len(teacher_blocks) - 1):
        raise ValueError(f"place must lie in 0 to {len(teacher_blocks) - 2}; got {place}.")


def _maps_of(block: SuperBlock, path: Path, given: Tensor, wanted: Tensor) -> Tensor:
    """The output of a candidate for the teacher's maps.

    Raises:
        ValueError: naming the candidate, if it cannot take them or its output differs in shape from
            the teacher's block.
    """
    block.path = path
    try:
        made = block(given)
        block_distillation(made, wanted)
    except (RuntimeError, ValueError) as error:
        words = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(f"the candidate {path} does not fit: {words}") from error
    return made


@torch.no_grad()
def rate_paths(
    block: SuperBlock, teacher_blocks: Sequence[nn.Module], place: int, images: Tensor
) -> dict[Path, float]:
    """The relative error of every candidate for a block, on held-out images.

    Batch normalisation uses the statistics of these images, because those of the supernet mix all
    paths.

    Args:
        block, teacher_blocks, place: as in :func:`supervise_block`.
        images: (images, ...), at least 2.

    Raises:
        ValueError: for fewer images, an invalid place, or candidates whose maps differ in shape
            from the teacher's.
    """
    _check_place(place, teacher_blocks)
    if len(images) < 2:
        raise ValueError(f"candidates are rated on at least 2 images; got {len(images)}.")
    front, own = nn.Sequential(*teacher_blocks[:place]), teacher_blocks[place]
    state = {key: value.clone() for key, value in block.state_dict().items()}
    found = {}
    with evaluating(front, own, block):
        given = front(images)
        wanted = own(given)
        for norm in block.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.train()
        for path in block.paths():
            found[path] = float(relative_block_error(_maps_of(block, path, given, wanted), wanted))
    block.load_state_dict(state)
    return found


def choose(
    blocks: Sequence[SuperBlock], ratings: Sequence[dict[Path, float]], limit: int | None = None
) -> list[Path]:
    """The combination of paths with the smallest sum of errors, within a limit of parameters.

    Args:
        ratings: ratings of each block, from :func:`rate_paths`.
        limit: parameters of all blocks together; None for no limit.

    Raises:
        ValueError: if no combination is small enough.
    """
    sizes = [{path: parameters(block.alone(path)) for path in block.paths()} for block in blocks]
    allowed = [
        paths for paths in product(*ratings)
        if limit is None or sum(size[p] for size, p in zip(sizes, paths, strict=True)) <= limit
    ]  # fmt: skip
    if not allowed:
        least = sum(min(size.values()) for size in sizes)
        raise ValueError(f"limit={limit} is below the smallest combination, {least} parameters.")
    return list(min(allowed, key=lambda paths: sum(r[p] for r, p in zip(ratings, paths, strict=True))))  # fmt: skip


def assembled(
    blocks: Sequence[SuperBlock], paths: Sequence[Path], rest: nn.Module
) -> nn.Sequential:
    """The student: one path per block with the supernet's weights, and the teacher's rest.

    The weights are shared: train a `copy.deepcopy` of it.
    """
    parts = [block.alone(path) for block, path in zip(blocks, paths, strict=True)]
    return nn.Sequential(*parts, rest)

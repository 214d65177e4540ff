"""The student becomes the master (Ye et al. 2019, CVPR): student blocks tested inside teachers."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods.online.branches import Branches
from kdnb.methods.options import recipe_of
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.borrowed import borrowed, evaluating
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for

TaskLoss = Callable[[Tensor, Tensor], Tensor]  # (student's answer, teacher's answer) -> scalar


def as_the_teacher_says(answer: Tensor, teacher: Tensor) -> Tensor:
    """The loss of a task of classes: KL at T = 1."""
    return losses.soft_targets(answer, teacher, 1.0)


class ChannelCoding(nn.Module):
    r"""Channel coding (Ye 2019): weight the channels of the student's maps for a task, per image.

    .. math:: u = F \odot \sigma(W_2\, \mathrm{ReLU}(W_1\, \mathrm{GAP}(F)))

    followed by a 1x1 convolution to the teacher's width, if it differs.

    Args:
        channels: number of channels of the student's maps.
        out: of the teacher's.
        reduction: the hidden layer has channels // reduction units, at least 1.
    """

    def __init__(self, channels: int, out: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weigh = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )
        self.widen = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, maps: Tensor) -> Tensor:
        weights = self.weigh(maps.flatten(2).mean(2))
        return self.widen(maps * weights[:, :, None, None])


class Master(nn.Module):
    """The student's blocks, and for each task a branch that starts after one of them.

    Attributes:
        blocks: of the student, by the name of the child that ends each.
        places: for each task, the block after which its branch starts.
        codings, rests: of each task, the channel coding and the teacher's later blocks.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        places: Mapping[str, str],
        codings: Mapping[str, nn.Module],
        rests: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.places = dict(places)
        last = max(list(blocks).index(place) for place in places.values())
        self.blocks = nn.ModuleDict(list(blocks.items())[: last + 1])
        self.codings, self.rests = nn.ModuleDict(codings), nn.ModuleDict(rests)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The answer to each task, by its name."""
        value, answers = images, {}
        for name, block in self.blocks.items():
            value = block(value)
            for task, place in self.places.items():
                if place == name:
                    answers[task] = self.rests[task](self.codings[task](value))
        return {task: answers[task] for task in self.places}


class Explorer(nn.Module):
    """The first phase: every block of the student replaces every teacher's.

    Args:
        blocks: of the student, by name.
        codings: by task and block, `codings[task][block]`.
    """

    def __init__(
        self, blocks: Mapping[str, nn.Module], codings: Mapping[str, Mapping[str, nn.Module]]
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(blocks)
        self.codings = nn.ModuleDict({task: nn.ModuleDict(own) for task, own in codings.items()})

    def forward(self, images: Tensor) -> dict[str, dict[str, Tensor]]:
        """The inputs of each teacher's later blocks, `[task][block]`."""
        value, coded = images, {task: {} for task in self.codings}
        for name, block in self.blocks.items():
            value = block(value)
            for task, own in self.codings.items():
                coded[task][name] = own[name](value)
        return coded


def become_master(
    student: nn.Module,
    teachers: Mapping[str, nn.Module],
    blocks: Sequence[str],
    data: Any,
    held_out: Any,
    recipe: Recipe | None = None,
    *,
    task_losses: Mapping[str, TaskLoss] | None = None,
    fine_tuning: Recipe | None = None,
    evaluate: Callable[[Networks], dict[str, float]] | None = None,
    seed: int = 0,
    **fields: Any,
) -> Fit:
    r"""Train a multi-task student that shares blocks as long as this helps each task (Ye 2019).

    First every block n of the student is put into every teacher m: the output of its channel coding
    passes through the teacher's remaining, frozen blocks, and

    .. math:: L_m^n = L_{task}\big(T_m^{>n}(u_m^n),\; T_m(x)\big)

    is minimised, summed over blocks and teachers. Then task m branches off after the block with the
    smallest :math:`L_m^n` on held-out images, with a copy of its teacher's later blocks, and
    everything is trained together.

    Args:
        student: a chain of its children (see `Branches.split`); its blocks are trained in place.
        teachers: by task, frozen; also chains, with the same block names and the same heights and
            widths after each block.
        blocks: the children that end each block, in order.
        data: unlabelled; any labels are ignored.
        held_out: other images, a tensor of inputs or whatever `kdnb.data.as_batches` takes.
        task_losses: (the student's answer, the teacher's) -> scalar, by task; KL at T = 1 if left
            out. Use squared distances for regression.
        fine_tuning: the recipe of the second phase; `recipe` if left out.
        evaluate: a function of the networks, called after every epoch of both phases; the student
            is "explorer" in the first and "master" in the second.
        recipe, seed, fields: as in `kdnb.distil`, of the first phase.

    Returns:
        The history of both phases, one after the other, with `phase`, and a term for each task and
        block, `<task>.<block>`, or each task; the :class:`Master`, as `fit.networks["master"]`,
        whose `places` tell where tasks branch off.

    Raises:
        ValueError: for no teacher, blocks that do not exist, networks that are not chains, or
            mismatched maps.

    Departures: channel coding and the choice of the branch follow released code (KamalEngine,
    `task_branching.py`). In each step of the first phase that code draws one random block per task,
    while all are trained here, and it chooses by the loss on the training images. Its codings have
    no biases and at least 16 hidden units.
    """
    recipe = recipe_of(become_master, recipe, fields)
    if not teachers or not blocks:
        raise ValueError("become_master needs at least one teacher and one block.")
    task_losses = {name: as_the_teacher_says for name in teachers} | dict(task_losses or {})
    if unknown := set(task_losses) - set(teachers):
        raise ValueError(f"task_losses are of {sorted(unknown)}, which no teacher teaches.")
    batches = batches_for(data, recipe, seed, "none", given=fields)
    example = first_batch(batches, seed).images
    with borrowed(student, *teachers.values()):
        for net in teachers.values():
            net.eval()
        own = _blocks(student, blocks, example)
        rests = {
            task: {name: rest_after(net, name, example) for name in blocks}
            for task, net in teachers.items()
        }
        sizes = {task: _outputs(net, blocks, example) for task, net in teachers.items()}
        ours = _outputs(student, blocks, example)
        for task, theirs in sizes.items():
            for name in blocks:
                if ours[name][1:] != theirs[name][1:]:
                    raise ValueError(
                        f"behind {name!r} the student's maps are {ours[name]} and those of the "
                        f"teacher of {task!r} {theirs[name]}: heights and widths must agree."
                    )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codings = {
                task: {name: ChannelCoding(ours[name][0], sizes[task][name][0]) for name in blocks}
                for task in teachers
            }
        explorer = Explorer(own, codings)
        frozen = {f"teacher.{task}": net for task, net in teachers.items()}

        def explored(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                said = {task: trained[f"teacher.{task}"](batch.images) for task in teachers}
            found = trained["explorer"](batch.images)
            return {
                f"{task}.{name}": task_losses[task](rests[task][name](value), said[task])
                for task, by_block in found.items()
                for name, value in by_block.items()
            }

        first = fit(
            {"explorer": explorer, **frozen}, batches, Update(("explorer",), explored), recipe,
            seed=seed, evaluate=evaluate,
            identity={"method": {"verb": "become_master", "blocks": list(blocks)}},
        )  # fmt: skip
        explorer.eval()  # from here on batch normalisations keep their statistics
        measured = _held_out(explorer, teachers, rests, task_losses, held_out, recipe)
        places = {task: min(values, key=values.get) for task, values in measured.items()}
        master = Master(
            own,
            places,
            {task: codings[task][place] for task, place in places.items()},
            {task: copy.deepcopy(rests[task][place]) for task, place in places.items()},
        )
        for parameter in master.parameters():
            parameter.requires_grad_(True)

        def together(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                said = {task: trained[f"teacher.{task}"](batch.images) for task in teachers}
            found = trained["master"](batch.images)
            return {task: task_losses[task](found[task], said[task]) for task in teachers}

        update = Update(("master",), together, after=lambda: constrain(student))
        second = fit(
            {"master": master, **frozen}, batches, update, fine_tuning or recipe, seed=seed,
            evaluate=evaluate,
            identity={"method": {"verb": "become_master", "places": places}},
        )  # fmt: skip
    rows = [{"phase": number, **row} for number, part in ((1, first), (2, second)) for row in part]
    for task, values in measured.items():
        for name, value in values.items():
            rows[len(first) - 1][f"held_out.{task}.{name}"] = value
    return Fit.of(rows, {"master": master})


def rest_after(network: nn.Module, name: str, example: Tensor) -> nn.Sequential:
    """A chain's children after one of them, verified against the network on an example.

    Raises:
        ValueError: for an unknown child or the last one, or a network that is not a chain.
    """
    names = [child for child, _ in network.named_children()]
    if name not in names[:-1]:
        raise ValueError(
            f"{name!r} is no child with others behind it: there are {', '.join(names)}."
        )
    return Branches.split([network], names[names.index(name) + 1], example).heads[0]


def _blocks(network: nn.Module, ends: Sequence[str], example: Tensor) -> dict[str, nn.Sequential]:
    """A chain's children, cut after each of the ends: {end: its block}."""
    children, found, before = list(network.named_children()), {}, 0
    names = [name for name, _ in children]
    for end in ends:
        rest_after(network, end, example)  # checks that it is a chain and has this child
        place = names.index(end) + 1
        if place <= before:
            raise ValueError(f"blocks must come in the order of the network's children, {names}.")
        found[end] = nn.Sequential(OrderedDict(children[before:place]))
        before = place
    return found


def _outputs(
    network: nn.Module, blocks: Sequence[str], example: Tensor
) -> dict[str, tuple[int, ...]]:
    """The shape of one image's maps after each block."""
    found: dict[str, tuple[int, ...]] = {}
    value = example
    with evaluating(network), torch.no_grad():
        for name, child in network.named_children():
            value = child(value)
            if name in blocks:
                found[name] = tuple(value.shape[1:])
    for name, shape in found.items():
        if len(shape) != 3:
            raise ValueError(f"{name!r} gives {shape} for an image, not maps.")
    return found


def _held_out(
    explorer: Explorer,
    teachers: Mapping[str, nn.Module],
    rests: Mapping[str, Mapping[str, nn.Module]],
    task_losses: Mapping[str, TaskLoss],
    data: Any,
    recipe: Recipe,
) -> dict[str, dict[str, float]]:
    """The loss of each task after each block, on held-out images."""
    batches = batches_for(data, recipe, 0, "none")
    totals = {task: dict.fromkeys(own, 0.0) for task, own in rests.items()}
    seen = 0
    with torch.no_grad():
        for batch in batches.epoch(0):
            found = explorer(batch.images)
            seen += batch.size
            for task, by_block in found.items():
                said = teachers[task](batch.images)
                for name, value in by_block.items():
                    loss = task_losses[task](rests[task][name](value), said)
                    totals[task][name] += batch.size * float(loss)
    return {task: {name: v / seen for name, v in own.items()} for task, own in totals.items()}

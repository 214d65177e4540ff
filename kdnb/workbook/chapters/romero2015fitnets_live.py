"""Short trainings with six methods of section 2.2, and what each of them sees before and after."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import figures, losses
from kdnb.data import Batches, ImageData
from kdnb.losses.adapters import to_common_size
from kdnb.methods import catalogue
from kdnb.methods.offline.distil import distil
from kdnb.methods.wiring import Setting
from kdnb.training import Recipe
from kdnb.training.layers import Layers, View, layers_of, look
from kdnb.training.teacher import Recorded

SHOWN = ("attention_transfer", "neuron_selectivity", "factor_transfer", "activation_boundary",
         "overhaul", "variational_information")  # fmt: skip
# Three places of equal resolution: behind each pooling of either network.
STUDENT_MAPS = ("layers.1", "layers.3", "layers.5")
TEACHER_MAPS = ("layers.0", "layers.1", "layers.2")


def places(network: nn.Module, maps: Sequence[str]) -> Layers:
    """Maps behind the pooling; "before" are responses of the second and third convolutions.

    A maxout unit has no ReLU whose input AB and OFD could look at; these responses, in front of
    the max, have signs. The first convolution's would cost more than all the rest.
    """
    before = tuple(f"{path}.maxout.conv" for path in maps[1:])
    return replace(layers_of(network, maps), before=before)


class Agreement(NamedTuple):
    """What one method compares on one batch: the teacher's and the student's side, and how alike.

    Attributes:
        teacher, student: (batch, height, width), to be drawn.
        value: their `correlation`, 1 where they agree.
    """

    teacher: Tensor
    student: Tensor
    value: float


@dataclass(frozen=True)
class Seen:
    """One method's student: before training, with its adapter alone trained, and after."""

    method: str
    knowledge: nn.Module
    before: Agreement
    adapter: Agreement
    after: Agreement
    adapted: bool  # whether the method has an adapter
    student: nn.Module  # after training


def train_and_look(
    student: nn.Module,
    teacher: nn.Module,
    source: ImageData,
    *,
    images: int = 1000,
    looked_at: int = 200,
    recipe: Recipe,
    methods: Sequence[str] = SHOWN,
) -> dict[str, Seen]:
    """Train copies of a student with each method, and look at the first test images.

    Each starts from the same weights and learns from the cross-entropy and the method at its
    published weight. Beside it, the method's adapter is trained for as long on the student's
    initial, frozen maps: what it reaches is the adapter's doing.

    Args:
        images: training images used.
        looked_at: test images on which agreement is measured.
    """
    chosen = source.train_all.select(slice(images))
    batches = Batches(chosen, recipe.batch_size, mean=source.mean, sd=source.sd)
    ours, theirs = places(student, STUDENT_MAPS), places(teacher, TEACHER_MAPS)
    recorded = Recorded(teacher, theirs, batches, half=recipe.precision == "bf16")
    shown = Batches(source.test.select(slice(looked_at)), looked_at, mean=source.mean, sd=source.sd,
                    shuffle=False)  # fmt: skip
    test = next(iter(shown)).images
    answer = look(teacher, theirs, test)
    first = next(iter(batches)).images
    found = {}
    for name in methods:
        method = catalogue.method(name)
        setting = Setting(images=images, batch_size=recipe.batch_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            fresh = method.build(look(student, ours, first), look(teacher, theirs, first), setting)

        def trained(moving: bool, method=method, fresh=fresh) -> tuple[nn.Module, nn.Module]:
            network, mine = copy.deepcopy((student, fresh))
            network.requires_grad_(moving)
            distil(network, teacher, batches, recipe, weight=method.weight, recorded=recorded,
                   method=replace(method, wire=lambda *_: mine), layers=(ours, theirs),
                   label_weight=float(moving))  # fmt: skip
            return network, mine

        def agreement(network: nn.Module, mine: nn.Module, name=name) -> Agreement:
            with torch.no_grad():
                return agreement_of(name, mine, look(network, ours, test), answer)

        learning = any(p.requires_grad for p in fresh.parameters())
        adapter = trained(moving=False)[1] if learning else fresh
        network, mine = trained(moving=True)
        if hasattr(fresh, "paraphraser"):  # the teacher's factor is the same before and after
            fresh.paraphraser = mine.paraphraser
        found[name] = Seen(
            name, mine, agreement(student, fresh), agreement(student, adapter),
            agreement(network, mine), learning, network,
        )  # fmt: skip
    return found


def agreement_of(name: str, knowledge: nn.Module, student: View, teacher: View) -> Agreement:
    """What a method of `SHOWN` compares, at its first place (FT: at the last).

    Of many channels one is drawn: that in which the teacher's side varies most.
    """
    if name == "attention_transfer":
        sides = [
            F.normalize(losses.attention_map(v.maps[0]), dim=(1, 2)) for v in (teacher, student)
        ]
    elif name == "neuron_selectivity":
        sides = [selectivity(view.maps[0]) for view in (teacher, student)]
    elif name == "factor_transfer":
        code = knowledge.paraphraser.encode(teacher.maps[-1])
        factors = code, knowledge.translator(student.maps[-1])
        factors = [F.normalize(factor, dim=(1, 2, 3)) for factor in factors]
        return Agreement(*(mosaic(factor) for factor in factors), correlation(*factors))
    elif name == "variational_information":
        mine, target = to_common_size(student.maps[0], teacher.maps[0])
        sides = [target, knowledge.regressors[0].mean(mine)]
    else:
        mine, target = knowledge.adapters[0](student.before[0], teacher.before[0])
        if name == "activation_boundary":
            sides = [(target > 0).float(), (mine > 0).float()]
        else:
            target = torch.maximum(target, knowledge.margin0[:, None, None])
            # Below a negative target nothing is asked: there the student is as good as on it.
            sides = [target, torch.where((mine <= target) & (target <= 0), target, mine)]
    value = correlation(*sides)
    if sides[0].ndim == 4:
        channel = int(sides[0].var((0, 2, 3)).argmax())
        sides = [side[:, channel] for side in sides]
    return Agreement(*sides, value)


def selectivity(maps: Tensor) -> Tensor:
    """Which positions respond in the same channels, (batch, HW, HW): all that NST compares.

    The mean over channels of f fᵀ with f the channel's pattern over the positions, of length 1.
    """
    patterns = F.normalize(maps.float().flatten(2), dim=2)
    return patterns.mT @ patterns / maps.shape[1]


def mosaic(maps: Tensor, columns: int = 4) -> Tensor:
    """Channels (batch, C, H, W) in a grid, (batch, rows·(H+1)-1, columns·(W+1)-1), NaN between."""
    batch, channels, height, width = maps.shape
    rows = -(-channels // columns)
    sheet = maps.new_full((batch, rows * (height + 1) - 1, columns * (width + 1) - 1), float("nan"))
    for i in range(channels):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        sheet[:, y : y + height, x : x + width] = maps[:, i]
    return sheet


def correlation(teacher: Tensor, student: Tensor) -> float:
    """Of all that differs from image to image: each number's mean over the batch is taken off."""
    flat = [
        (side - side.mean(0)).flatten()
        for side in (teacher.detach().float(), student.detach().float())
    ]
    return float(F.cosine_similarity(*flat, dim=0))


LABELS = {
    "attention_transfer": "AT: attention map",
    "neuron_selectivity": "NST: positions that\nrespond together",
    "factor_transfer": "FT: factors\n(12 of 3x3)",
    "activation_boundary": "AB: sign of one\nchannel's response",
    "overhaul": "OFD: margin ReLU of\none channel's response",
    "variational_information": "VID: predicted mean\nof one channel",
}


def side_by_side(seen: Mapping[str, Seen], picture: Tensor, image: int) -> Figure:
    """One row a method: the image, the teacher's side, the student's before and after, agreement.

    Args:
        picture: (1, H, W) uint8, the test image of that number.
        image: which of the test images that `train_and_look` looked at.
    """
    figure, grid = plt.subplots(
        len(seen), 5, figsize=(8.8, 1.62 * len(seen) + 0.3), width_ratios=[1, 1, 1, 1, 1.5],
        squeeze=False,
    )  # fmt: skip
    titles = ("image", "teacher", "student before", "student after", "agreement")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    for row, (name, one) in zip(grid, seen.items(), strict=True):
        figures.image(row[0], picture)
        row[0].text(-0.08, 0.5, LABELS[name], transform=row[0].transAxes, ha="right", va="center",
                    fontsize=9)  # fmt: skip
        sides = one.before.teacher[image], one.before.student[image], one.after.student[image]
        for axes, side in zip(row[1:4], sides, strict=True):
            draw_map(axes, side, name)
        bars = {"before": one.before, "adapter alone": one.adapter, "after": one.after}
        if not one.adapted:
            del bars["adapter alone"]
        _bars(row[4], {label: bar.value for label, bar in bars.items()})
    grid[-1, 4].set_xlabel("correlation", fontsize=9)
    return figure


def draw_map(axes: plt.Axes, side: Tensor, name: str) -> None:
    """One map; scales differ from map to map, since no method but OFD and VID compares sizes."""
    values = np.asarray(side, dtype=float)
    if name == "activation_boundary":
        axes.imshow(values, cmap="gray", vmin=-0.4, vmax=1.2, interpolation="nearest")
    else:
        axes.imshow(values, cmap="cividis", interpolation="nearest")
    axes.axis("off")


def _bars(axes: plt.Axes, bars: Mapping[str, float]) -> None:
    colours = {"before": figures.LIGHT, "adapter alone": figures.SKY, "after": figures.ORANGE}
    places = np.arange(len(bars))[::-1]
    axes.barh(places, list(bars.values()), color=[colours[label] for label in bars], height=0.7)
    for place, (label, value) in zip(places, bars.items(), strict=True):
        axes.text(max(value, 0) + 0.03, place, f"{label} {value:.2f}", va="center", fontsize=8)
    axes.set(xlim=(min(0, *bars.values()) - 0.02, 1.75), ylim=(-0.7, len(bars) - 0.3), yticks=[])
    axes.set_xticks([0, 0.5, 1])
    axes.grid(False, axis="y")


def agreement_table(seen: Mapping[str, Seen]) -> pd.DataFrame:
    """Agreement on all the images looked at, one row a method."""
    rows = {
        catalogue.method(name).title: {
            "before": one.before.value,
            "adapter alone": one.adapter.value if one.adapted else np.nan,
            "after": one.after.value,
        }
        for name, one in seen.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method").round(2)


@torch.no_grad()
def variances(seen: Seen, teacher: nn.Module, source: ImageData, images: int = 200) -> Figure:
    """VID: the variance of each channel that was learnt, against its error on test images.

    The loss is least where a channel's variance is its mean squared error, the dashed line.
    """
    shown = Batches(source.test.select(slice(images)), images, mean=source.mean, sd=source.sd,
                    shuffle=False)  # fmt: skip
    test = next(iter(shown)).images
    mine = look(seen.student, places(seen.student, STUDENT_MAPS), test)
    theirs = look(teacher, places(teacher, TEACHER_MAPS), test)
    figure, axes = plt.subplots(figsize=(5.6, 3.7))
    colours, markers = (figures.BLUE, figures.ORANGE, figures.GREEN), "os^"
    for i, regressor in enumerate(seen.knowledge.regressors):
        student, target = to_common_size(mine.maps[i], theirs.maps[i])
        error = (regressor.mean(student) - target).square().mean((0, 2, 3))
        variance = F.softplus(regressor.raw_variance) + regressor.minimum_variance
        axes.plot(error.log(), variance.log(), markers[i], color=colours[i], alpha=0.7, ms=4,
                  label=f"place {i + 1}: {len(error)} channels")  # fmt: skip
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], np.log(5.0))
    axes.plot([low, high], [low, high], color=figures.GREY, lw=1, ls="--", label="best for VID")
    axes.axhline(np.log(5.0), color=figures.GREY, lw=1, ls=":", label="before training")
    axes.set(xlabel="log of the channel's mean squared error", ylabel="log-variance")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure

"""Figures and tables of chapter 2-2, but for those of its short trainings."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor
from torch.nn import functional as F

from kdnb import figures, losses, nets, papers
from kdnb.methods.catalogue import METHODS
from kdnb.papers.statistics import interval
from kdnb.reproductions.romero2015fitnets import STARTS, Parameters, arms
from kdnb.training.layers import View
from kdnb.workbook.chapters.romero2015fitnets_live import draw_map

# --- what makes the start hard -------------------------------------------------------------------


def signal_by_depth(images: Tensor, labels: Tensor) -> pd.DataFrame:
    """How far the signal gets in the untrained student, forwards and backwards.

    Args:
        images: (batch, 1, height, width), normalised.
        labels: (batch,) int64.

    Returns:
        One row for each start and layer: the standard deviation of the layer's maps over batch
        and positions, and the root mean square of the cross-entropy's gradient in its weights.
    """
    rows = []
    for start, irange in STARTS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nets.build("fitnet_mnist", irange=irange)
        paths = [f"layers.{i}" for i in range(len(network.layers))]
        with nets.features(network, paths) as maps:
            F.cross_entropy(network(images), labels).backward()
        for layer, path in enumerate(paths, 1):
            weight = network.get_submodule(path).maxout.conv.weight
            gradient = float(weight.grad.square().mean().sqrt())
            spread = float(maps[path].detach().std(0).mean())
            rows.append({"start": start, "layer": layer, "spread": spread, "gradient": gradient})
    return pd.DataFrame(rows)


def signal(frame: pd.DataFrame) -> Figure:
    """`signal_by_depth` as curves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3))
    names = {"uniform": "uniform in ±0.005", "he": "He"}
    looks = zip(
        frame.groupby("start", sort=False), (figures.BLUE, figures.ORANGE), "os", strict=True
    )
    for (start, rows), colour, marker in looks:
        style = {"color": colour, "marker": marker, "label": names[start]}
        left.semilogy(rows["layer"], rows["spread"], **style)
        right.semilogy(rows["layer"], rows["gradient"], **style)
    for epsilon, line in ((1e-5, "--"), (1e-8, ":")):
        right.axhline(
            epsilon, color=figures.GREY, lw=1, ls=line, label=f"$\\epsilon$ = {epsilon:.0e}"
        )
    left.set(xlabel="layer", ylabel="sd of the maps over images", title="Forwards")
    right.set(xlabel="layer", ylabel="rms gradient of a weight", title="Backwards")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


# --- the schematic -------------------------------------------------------------------------------


def two_stages() -> Figure:
    """FitNets: the teacher's hint layer, the student's guided layer, the regressor, two stages."""
    figure, axes = plt.subplots(figsize=(9.2, 4))
    axes.set(xlim=(0, 14.6), ylim=(-0.15, 6.4))
    axes.axis("off")

    def box(x, y, width, text, colour, height=1.0, alpha=0.3):
        style = {"boxstyle": "round,pad=0.06", "fc": colour, "ec": figures.GREY, "alpha": alpha}
        axes.add_patch(FancyBboxPatch((x, y), width, height, lw=1.2, **style))
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)

    def arrow(*line, colour=figures.GREY, style="-"):
        arrows = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "ls": style}
        axes.annotate("", line[2:], line[:2], arrowprops=arrows)

    box(0.1, 2.6, 1.2, "images\n$x$", figures.LIGHT)
    for i, width in enumerate((48, 48, 24)):
        hint = "\nhint layer" if i == 1 else ""
        box(
            2.2 + 3.3 * i,
            5,
            2.5,
            f"{width} channels{hint}",
            figures.BLUE,
            alpha=0.6 if i == 1 else 0.25,
        )
        arrow(*((1.4, 3.5, 2.1, 5.1) if i == 0 else (1.5 + 3.3 * i, 5.5, 2.1 + 3.3 * i, 5.5)))
    for i, width in enumerate((16, 16, 16, 16, 12, 12)):
        guided = "\nguided" if i == 3 else ""
        alpha = 0.75 if i == 3 else 0.3
        box(2.2 + 1.65 * i, 0.9, 1.15, f"{width} ch.{guided}", figures.ORANGE, alpha=alpha)
        start = (1.4, 2.5, 2.1, 1.9) if i == 0 else (1.8 + 1.65 * i, 1.4, 2.1 + 1.65 * i, 1.4)
        arrow(*start)
    box(6.6, 2.55, 2.3, "regressor $r$\n(dropped later)", figures.PURPLE, 0.8)
    arrow(7.75, 2.05, 7.75, 2.45)
    box(6.6, 3.8, 2.3, "hint loss", figures.GREEN, 0.6)
    arrow(7.75, 3.45, 7.75, 3.72)
    arrow(6.95, 4.95, 7.35, 4.5)
    box(12.4, 2.5, 2.1, "soft targets\nand labels", figures.GREEN)
    arrow(11.4, 5.3, 12.9, 3.65)
    arrow(11.7, 1.6, 12.9, 2.4)
    for x, end, text in (
        (2.2, 8.35, "stage 1 trains this half and $r$, with the hint loss alone"),
        (2.2, 11.6, "stage 2 trains the whole student, with soft targets and labels"),
    ):
        y = 0.6 if end < 9 else 0.1
        axes.plot([x, end], [y, y], color=figures.GREY, lw=1.2)
        axes.text(x, y - 0.07, text, fontsize=8.5, va="top", color=figures.GREY)
    axes.text(2.2, 6.2, "teacher: trained, frozen", fontsize=9, color=figures.GREY)
    axes.text(2.2, 2.2, "student: twice as deep, thin", fontsize=9, color=figures.GREY)
    return figure


# --- recorded results -----------------------------------------------------------------------------


def all_arms(table: pd.DataFrame) -> Figure:
    """Mean test errors of every arm with 95% t intervals, beside the paper's.

    On a logarithmic axis where an arm makes more than ten times the errors of another.
    """
    published: dict[str, float] = {}
    for claim in papers.claims_of("romero2015fitnets"):
        published |= claim.published
    rows = {}
    recorded = table.columns.get_level_values("arm")
    for arm in [name for name in arms(Parameters()) if name in recorded]:
        values = table[arm, "test_errors"].dropna().to_numpy()
        low, high = interval(values)
        rows[arm] = {"mean": values.mean(), "low": low, "high": high,
                     "published": published.get(arm, np.nan)}  # fmt: skip
    frame = pd.DataFrame.from_dict(rows, orient="index")
    figure = figures.forest(frame, "test errors of 10,000")
    if frame["mean"].max() > 10 * frame["mean"].min():
        figure.axes[0].set_xscale("log")
    return figure


# --- where attention lies, by layer and power -----------------------------------------------------


def attention_grid(view: View, picture: Tensor, image: int, powers: Sequence[float]) -> Figure:
    """Attention maps of one image: one row a power, one column a layer.

    Args:
        view: of the batch that holds the image.
        picture: (1, H, W) uint8.
        image: its number in the batch.
    """
    columns = len(view.maps) + 1
    figure, grid = plt.subplots(
        len(powers), columns, figsize=(1.9 * columns, 1.75 * len(powers)), squeeze=False
    )
    for number, (row, power) in enumerate(zip(grid, powers, strict=True)):
        figures.image(row[0], picture)
        row[0].text(-0.1, 0.5, f"$p$ = {power:g}", transform=row[0].transAxes, ha="right",
                    va="center")  # fmt: skip
        for layer, (axes, maps) in enumerate(zip(row[1:], view.maps, strict=True), 1):
            draw_map(
                axes, losses.attention_map(maps[image : image + 1], power)[0], "attention_transfer"
            )
            if number == 0:
                axes.set_title(f"layer {layer}: {maps.shape[2]}x{maps.shape[3]}")
    return figure


def attention_slider(view: View, pictures: Tensor) -> ipywidgets.Widget:
    """Choose an image and the power p, and see the attention of every layer.

    Args:
        view: of a batch of images.
        pictures: (batch, 1, H, W) uint8, the same images.
    """
    image = ipywidgets.IntSlider(value=0, min=0, max=len(pictures) - 1, description="image",
                                 continuous_update=False)  # fmt: skip
    power = ipywidgets.FloatSlider(value=2.0, min=1.0, max=8.0, step=0.5, description="power p",
                                   continuous_update=False)  # fmt: skip

    def draw(image: int, power: float) -> None:
        figure = attention_grid(view, pictures[image], image, [power])
        display(figure)
        plt.close(figure)

    output = ipywidgets.interactive_output(draw, {"image": image, "power": power})
    return ipywidgets.VBox([ipywidgets.HBox([image, power]), output])


# --- the methods of section 2.2 -------------------------------------------------------------------

# What each looks at, and what computes it; the rest of the table comes from METHODS.
LOOKS_AT = {
    "fitnets": ("one middle map, elementwise", "losses.hint"),
    "fitnets_stage1": ("one middle map, elementwise, as a first stage", "losses.hint"),
    "projected_hint": ("the embedding, through a learnt map", "losses.hint"),
    "random_hint": ("the embedding, through a random map", "losses.hint"),
    "at": ("where the energy of a map lies", "losses.attention_transfer"),
    "nst": ("the patterns of single channels", "losses.neuron_selectivity"),
    "ft": ("a code of the last maps", "losses.factor_transfer"),
    "ab": ("the signs in front of the ReLU", "losses.activation_boundary"),
    "ab_stage1": (
        "the signs in front of the ReLU, as a first stage", "losses.activation_boundary"),
    "ofd": ("responses in front of the ReLU, negative ones as ceilings", "losses.overhaul"),
    "vid": (
        "maps, each channel as far as it can be predicted", "losses.variational_information"),
    "semckd": (
        "every pair of layers, weighted by attention", "losses.semantic_calibration"),
    "reviewkd": (
        "maps fused from deep to shallow, at several scales", "losses.hierarchical_context"),
    "simkd": ("the maps in front of the classifier", "losses.reused_classifier"),
    "catkd": ("one map for each class", "losses.class_attention"),
    "adain": (
        "mean and standard deviation of each channel", "losses.feature_statistics"),
    "kr": (
        "distributions of the weights in groups of layers",
        "losses.parameter_distribution",
    ),
    "alpkd": (
        "every layer's state against a mixture of the teacher's", "losses.layer_projection"),
}  # fmt: skip
# Of section 2.2 too, but no loss between views: title, paper, what it looks at, what computes it.
OTHERS = (
    ("RCO", "jin2019rco", "the teacher's checkpoints, in turn", "methods.offline.rco.follow_route"),
)


def method_table() -> pd.DataFrame:
    """Every method of section 2.2 in kdnb, and where it is judged."""
    from kdnb.reproductions.tian2020crd import COMPARED

    rows = []
    for name, method in METHODS.items():
        if method.section == "2.2":
            what, where = LOOKS_AT[name]
            judged = "chapter 2-3's fair comparison (tian2020crd)"
            if name not in COMPARED:
                judged = "chapter 2-3's retrieval (passalis2018pkt)"
            if name == "ab_stage1":
                judged = "not judged by itself"
            if name == "fitnets_stage1":
                judged = "this chapter (romero2015fitnets)"
            rows.append((method.title, method.paper, what, where, judged))
    rows += [(*one, "illustrated, not judged") for one in OTHERS]
    columns = ["method", "paper", "looks at", "in kdnb", "verdict"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(1, "section", "2.2")
    return frame.set_index("method")

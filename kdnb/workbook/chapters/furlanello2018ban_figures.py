"""Figures of chapter 3-3: who teaches whom, what an answer holds, and the theory of many rounds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from time import perf_counter

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from kdnb import figures
from kdnb.data import Batches
from kdnb.losses import attention_map
from kdnb.methods import self_distillation as own
from kdnb.nets import features
from kdnb.papers.statistics import interval
from kdnb.training.inputs import logits_on
from kdnb.workbook.chapters.yuan2020tfkd_figures import STAGES, Lab


def schematic() -> Figure:
    """Four ways to be one's own teacher: over generations, in time, in depth, by views."""
    figure, grid = plt.subplots(1, 4, figsize=(9.4, 2.7))
    titles = ("the former generation", "an earlier self", "a deeper layer", "another view")
    for axes, title in zip(grid, titles, strict=True):
        axes.set(xlim=(0, 1), ylim=(0, 1), title=title)
        axes.title.set_fontsize(10)
        axes.axis("off")
    generations, time, depth, views = grid
    for number, height in enumerate((0.78, 0.46, 0.14)):
        _box(generations, 0.5, height, f"generation {number}", frozen=number < 2)
    for high, low in ((0.78, 0.46), (0.46, 0.14)):
        _arrow(generations, (0.5, high - 0.1), (0.5, low + 0.1))
    done = np.linspace(0, 1, 60)
    time.plot(0.06 + 0.42 * done, 0.3 + 0.4 * np.cos(done * np.pi / 2), color=figures.BLUE)
    time.plot(0.52 + 0.42 * done, 0.3 + 0.4 * np.cos(done * np.pi / 2), color=figures.BLUE)
    time.plot(0.48, 0.3, "o", color=figures.ORANGE, ms=8)
    _arrow(time, (0.51, 0.26), (0.84, 0.36), rad=0.5)
    time.text(0.5, 0.03, "the snapshot teaches the next cycle", ha="center", fontsize=9,
              color=figures.GREY)  # fmt: skip
    time.text(0.5, 0.86, "learning rate in two cycles", ha="center", fontsize=9, color=figures.GREY)
    for number, height in enumerate((0.14, 0.46, 0.78)):
        _box(depth, 0.3, height, f"stage {number + 1}", width=0.46)
        _box(depth, 0.82, height, "exit", width=0.28)
        _line(depth, (0.53, height), (0.68, height))
    for low, high in ((0.14, 0.46), (0.46, 0.78)):
        _line(depth, (0.3, low + 0.1), (0.3, high - 0.1))
    _arrow(depth, (0.82, 0.68), (0.82, 0.56))
    _arrow(depth, (0.96, 0.72), (0.96, 0.2), rad=-0.5)
    for x, name in ((0.22, "view a"), (0.78, "view b")):
        _box(views, x, 0.14, name, width=0.38)
        _line(views, (x, 0.24), (0.5 + (x - 0.5) * 0.4, 0.4))
        _line(views, (0.5 + (x - 0.5) * 0.4, 0.6), (x, 0.74))
        _box(views, x, 0.84, "answer", width=0.34)
    _box(views, 0.5, 0.5, "one network", width=0.6)
    _arrow(views, (0.43, 0.84), (0.57, 0.84), style="<|-|>")
    return figure


def _box(axes, x, y, text, width=0.66, frozen=False):
    colour = figures.LIGHT if frozen else "white"
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2 + 0.03, y - 0.07), width - 0.06, 0.14,
            boxstyle="round,pad=0.03", fc=colour, ec=figures.BLUE, lw=1.4,
        )
    )  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def _line(axes, start, end):
    axes.plot(*zip(start, end, strict=True), color=figures.GREY, lw=1.2)


def _arrow(axes, start, end, rad=0.0, style="-|>"):
    how = {"arrowstyle": style, "color": figures.RED, "lw": 1.6, "shrinkA": 0, "shrinkB": 0,
           "connectionstyle": f"arc3,rad={rad}", "mutation_scale": 11}  # fmt: skip
    axes.annotate("", end, start, arrowprops=how)


def arm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95% t interval of every arm's test errors, as `figures.forest` takes them."""
    rows = {}
    for arm, values in table.xs("test_errors", axis=1, level="metric").items():
        values = values.dropna().to_numpy()
        low, high = interval(values)
        rows[arm] = {"mean": values.mean(), "low": low, "high": high, "published": np.nan}
    return pd.DataFrame.from_dict(rows, orient="index")


def what_is_taught(image: Tensor, logits: Tensor, label: int, classes: Sequence[str]) -> Figure:
    """One image and what its student is asked to answer: label, CWTM, DKPP, BAN.

    Args:
        logits: (classes,) of the teacher.
    """
    answer = logits.softmax(0)
    one_hot = torch.zeros_like(answer).scatter(0, torch.tensor(label), 1.0)
    generator = torch.Generator().manual_seed(1)
    shuffled = own.permuted_predictions(logits[None], generator)[0].softmax(0)
    shown = {"label": one_hot, "CWTM": float(answer.max()) * one_hot, "DKPP": shuffled,
             "BAN": answer}  # fmt: skip
    figure, grid = plt.subplots(1, 5, figsize=(9.4, 2.3), width_ratios=[0.8, 1.5, 1.5, 1.5, 1.5])
    figures.image(grid[0], image)
    grid[0].set_title(f"{label}: {classes[label]}", fontsize=9)
    for axes, (title, shares) in zip(grid[1:], shown.items(), strict=True):
        figures.bars(axes, shares.numpy(), [str(number) for number in range(len(classes))])
        axes.set(ylim=(0, 1.05), title=title, xlabel="class")
    grid[1].set_ylabel("target")
    for axes in grid[2:]:
        axes.tick_params(labelleft=False)
    return figure


def gradient_parts(student: Tensor, teacher: Tensor, labels: Tensor) -> Figure:
    """Each image's gradient, its label part against its dark part, by the teacher's confidence.

    Args:
        student, teacher: logits (images, classes).
    """
    label, dark = own.gradient_decomposition(student, teacher, labels)
    count = len(labels)  # the decomposition is of a batch mean
    sure = teacher.softmax(1)[torch.arange(count), labels]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.0))
    for values, name, colour, mark in (
        (label, "label part", figures.BLUE, "o"), (dark, "dark knowledge", figures.ORANGE, "^"),
    ):  # fmt: skip
        left.plot(sure, count * values.norm(dim=1), mark, ms=3, alpha=0.5, color=colour, label=name)
    left.set(xlabel="teacher's probability of the true class", ylabel="length of the part")
    left.legend(fontsize=9, markerscale=2)
    share = dark.square().sum(1) / (label.square() + dark.square()).sum(1)
    right.hist(share.numpy(), np.linspace(0, 1, 26), color=figures.ORANGE, edgecolor="white")
    right.set(xlabel="share of dark knowledge in the squared length", ylabel="images")
    return figure


def exits(lab: Lab) -> Figure:
    """Errors at each exit, and what leaving early saves, of three networks with exits."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.1))
    thresholds = np.linspace(0.1, 1.0, 46)
    styles = (("byot", "BYOT", figures.BLUE, "o-"), ("exits", "multi-exit", figures.ORANGE, "s--"))
    for name, title, colour, line in styles:
        network = lab.run(name).model
        logits = logits_on(network, lab.test, lab.source)
        costs = own.exit_costs(network, lab.example)
        errors = [
            100 * float((answer.argmax(1) != lab.test.labels).float().mean())
            for answer in logits.unbind(1)
        ]
        left.plot(range(1, len(errors) + 1), errors, line, color=colour, label=title)
        swept = [own.savings(logits, lab.test.labels, costs, float(t)) for t in thresholds]
        share = 100 / len(lab.test)
        right.plot([100 * one.saved for one in swept], [share * one.errors for one in swept],
                   line, ms=3, color=colour, label=title)  # fmt: skip
    plain = 100 * lab.run("labels").errors / len(lab.test)
    for axes in (left, right):
        axes.axhline(plain, color=figures.GREY, lw=1, ls=":", label="no exits, labels")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    left.set(xlabel="exit", ylabel="test errors, %", title="at each exit")
    left.set_xticks([1, 2, 3], ["1", "2", "3 (last)"])
    right.set(xlabel="multiply-adds saved, % of going to the end", ylabel="test errors, %",
              title="leaving where sure enough")  # fmt: skip
    return figure


def exit_table(lab: Lab, name: str, thresholds: tuple[float, ...]) -> pd.DataFrame:
    """What confidence thresholds save on the lab's test images."""
    network = lab.run(name).model
    logits = logits_on(network, lab.test, lab.source)
    costs = own.exit_costs(network, lab.example)
    rows = [own.savings(logits, lab.test.labels, costs, t) for t in thresholds]
    return pd.DataFrame(
        {
            "confidence asked for": thresholds,
            "errors": [row.errors for row in rows],
            "multiply-adds (mean)": [round(row.multiply_adds) for row in rows],
            "saved, %": [round(100 * row.saved, 1) for row in rows],
            "leave at exit 1, 2, 3, %": [
                ", ".join(f"{100 * share:.0f}" for share in row.taken) for row in rows
            ],
        }
    ).set_index("confidence asked for")


def attention(lab: Lab, chosen: tuple[int, ...] = (0, 3, 8)) -> Figure:
    """Where each stage looks on some test images, without SAD and with it: before the softmax."""
    columns = [(name, path) for name in ("labels", "sad") for path in STAGES]
    figure, grid = plt.subplots(
        len(chosen), len(columns) + 1, figsize=(8.8, 1.35 * len(chosen) + 0.3)
    )
    images = lab.test.select(torch.tensor(chosen))
    view = Batches(images, len(chosen), mean=lab.source.mean, sd=lab.source.sd, shuffle=False)
    seen = {}
    for name in ("labels", "sad"):
        network = lab.run(name).network.cpu()
        with torch.no_grad(), features(network, STAGES) as maps:
            network(next(iter(view)).images)
        seen |= {(name, path): attention_map(maps[path].float()) for path in STAGES}
    for row, line in enumerate(grid):
        figures.image(line[0], images.images[row])
        for axes, column in zip(line[1:], columns, strict=True):
            axes.imshow(seen[column][row], cmap="cividis")
            axes.axis("off")
    grid[0, 0].set_title("image", fontsize=9)
    for axes, (name, path) in zip(grid[0, 1:], columns, strict=True):
        title = {"labels": "labels", "sad": "SAD"}[name]
        axes.set_title(f"{title}: stage {path[-1]}", fontsize=9)
    return figure


def early_exit_times(lab: Lab, name: str, threshold: float, count: int = 100) -> pd.DataFrame:
    """Milliseconds an image, one at a time: to the end without exits, and leaving early."""
    network, plain = lab.run(name).model.cpu(), lab.run(name).network.cpu()
    view = Batches(
        lab.test.select(slice(count)), 1, mean=lab.source.mean, sd=lab.source.sd, shuffle=False
    )
    images = [batch.images.contiguous() for batch in view]
    rows = {}
    with torch.inference_mode():
        for title, answer in (
            ("to the end, no exits", plain),
            (f"leaving at {threshold:g}", lambda image: network.stop_early(image, threshold)),
        ):
            start = perf_counter()
            for image in images:
                answer(image)
            rows[title] = {"ms an image": 1000 * (perf_counter() - start) / count}
    return pd.DataFrame.from_dict(rows, orient="index").round(2)


def rounds(seed: int = 2, noise: float = 0.5, tolerance: float = 0.02, count: int = 25) -> Figure:
    """Mobahi's example: the fit of several rounds, the basis that is left, the error of each."""
    points, targets = own.noisy_sinusoid(seed, noise=noise)
    made = own.kernel_rounds(points, targets, count, tolerance=tolerance)
    errors = own.sinusoid_errors(seed, count, tolerance, noise)
    at = np.linspace(0, 1, 201)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.4, 3.0), width_ratios=[1.3, 1, 1])
    left.plot(at, np.sin(2 * np.pi * at), color=figures.GREY, ls=":", label="truth")
    left.plot(points, targets, "k.", ms=7, label="data")
    best = int(np.argmin(errors)) + 1
    styles = {1: (figures.BLUE, "-"), best: (figures.GREEN, "--"), len(made): (figures.RED, "-.")}
    for number, (colour, line) in styles.items():
        left.plot(at, made.predict(at, number), line, color=colour, label=f"round {number}")
        middle.plot(np.arange(1, len(points) + 1), made.shrinkage[number], line, marker=".",
                    color=colour)  # fmt: skip
    left.set(xlabel="$x$", ylabel="$f(x)$", title="the functions")
    left.legend(fontsize=8)
    middle.set(xlabel="basis function, by eigenvalue", ylabel="kept of it, $B_t$")
    middle.set(ylim=(-0.03, 1.05), title="what is left of the basis")
    middle.set_xticks(range(1, len(points) + 1, 2))
    right.plot(range(1, len(errors) + 1), errors, "o-", ms=4, color=figures.GREY)
    for number, (colour, _) in styles.items():
        right.plot(number, errors[number - 1], "o", ms=7, color=colour)
    right.set(xlabel="round", ylabel="mean squared error", title="the error of each round",
              ylim=(0, None))  # fmt: skip
    return figure


def explorer() -> ipywidgets.Widget:
    """Choose the noise, the tolerance and the data; see what rounds of self-distillation do."""
    seed = ipywidgets.IntSlider(2, 0, 20, description="data", continuous_update=False)
    noise = ipywidgets.FloatSlider(
        0.5, min=0.1, max=1.0, step=0.1, description="noise", continuous_update=False
    )
    tolerance = ipywidgets.SelectionSlider(
        options=[0.005, 0.01, 0.02, 0.045, 0.08], value=0.02, description="tolerance",
        continuous_update=False,
    )  # fmt: skip
    picture = ipywidgets.Image(format="png")

    def draw(_: object = None) -> None:
        figure, buffer = rounds(seed.value, noise.value, tolerance.value), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        picture.value = buffer.getvalue()

    for control in (seed, noise, tolerance):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([seed, noise, tolerance]), picture])

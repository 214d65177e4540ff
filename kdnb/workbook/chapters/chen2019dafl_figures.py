"""Figures of chapter 5-6: DAFL's game and terms, its record, and what moves the other methods.

The images themselves, in one style for all methods, are in `chen2019dafl_gallery`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from kdnb import figures
from kdnb.losses import activation, information_entropy, one_hot, statistics_distance
from kdnb.methods.data_free import batch_norm_inputs, class_similarity, dirichlet_targets
from kdnb.nets import features
from kdnb.papers.statistics import interval
from kdnb.reproductions.chen2019dafl import COURSE
from kdnb.runs.trials import Result

# Arms of the record and what they are called in figures.
ARMS = {
    "teacher": "teacher, on data",
    "distilled": "student, teacher's answers to data",
    "student": "student, labels",
    "dafl": "DAFL: all three terms",
    "dafl_published_rate": "DAFL at the published rate",
    "only_one_hot_entropy": "one-hot + entropy",
    "only_entropy_activation": "entropy + activation",
    "only_entropy": "entropy alone",
    "only_one_hot": "one-hot alone",
    "only_one_hot_activation": "one-hot + activation",
    "only_activation": "activation alone",
    "noise": "noise instead of a generator",
}
LONG_ARMS = {
    "dafl": "batches of 64 at 0.01, 24,000 iterations",
    "dafl_published_batch": "batches of 512 at 0.2, 480 iterations",
}
COMPARED = [arm for arm in ARMS if arm != "dafl_published_rate"]  # with a published accuracy
# Arms of the other four papers' records.
OTHER_ARMS = {
    "nayak2019zskd": {
        "teacher": "teacher, on data", "distilled": "student, teacher's answers to data",
        "student": "student, labels", "data_impressions": "data impressions",
        "class_impressions": "class impressions", "noise": "noise",
    },
    "micaelli2019zskt": {
        "teacher": "teacher, on data", "distilled": "student, teacher's answers to data",
        "student": "student, labels", "zskt": "ZSKT, with attention maps",
        "without_attention": "ZSKT, without", "noise": "noise",
    },
    "yin2020deepinversion": {
        "teacher": "teacher, on data", "distilled": "student, teacher's answers to data",
        "student": "student, labels", "adaptive": "adaptive DeepInversion",
        "deep_inversion": "DeepInversion", "deep_dream": "DeepDream", "noise": "noise",
    },
    "wang2018dd": {
        "teacher": "all of the data", "fixed": "10 distilled, known network",
        "fixed_real": "10 real, known network", "random": "100 distilled, any network",
        "random_real": "100 real, any network", "average_real": "mean images, any network",
    },
}  # fmt: skip
ON_MNIST = ("nayak2019zskd", "wang2018dd")  # of these four: published numbers for the same data
MEASURED = [
    "accuracy", "last_ten_accuracy", "last_ten_accuracy_sd", "fresh_accuracy", "transition_error",
]  # fmt: skip
WITHOUT_DATA = [arm for arm in ARMS if arm not in ("teacher", "distilled", "student")]


def schematic() -> Figure:
    """DAFL: the frozen teacher grades a generator's images; the student imitates it on them."""
    figure, axes = plt.subplots(figsize=(8.6, 3.4))
    axes.set(xlim=(0, 12.4), ylim=(0, 4.9))
    axes.axis("off")

    def box(x: float, y: float, width: float, text: str, colour: str, height: float = 1.0) -> None:
        patch = FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0.06", fc=colour, ec=figures.GREY, alpha=0.3
        )
        axes.add_patch(patch)
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=10)

    def arrow(start: tuple, end: tuple, colour: str = figures.GREY, **more: object) -> None:
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, **more}
        axes.annotate("", end, start, arrowprops=style)

    box(0.1, 1.9, 1.2, "noise\n$z$", figures.LIGHT)
    box(2.0, 1.9, 1.9, "generator\n(trained)", figures.GREEN)
    box(4.6, 1.9, 1.4, "images\n$G(z)$", figures.LIGHT)
    box(6.9, 3.2, 2.1, "teacher\n(frozen)", figures.BLUE)
    box(6.9, 0.6, 2.1, "student\n(trained)", figures.ORANGE)
    box(9.9, 3.2, 2.4, "one-hot, entropy,\nactivation", figures.GREEN)
    box(9.9, 1.3, 2.4, "divergence of\nthe answers", figures.ORANGE)
    arrow((1.4, 2.4), (1.9, 2.4))
    arrow((4.0, 2.4), (4.5, 2.4))
    arrow((6.1, 2.6), (6.8, 3.5))
    arrow((6.1, 2.2), (6.8, 1.2))
    arrow((9.1, 3.7), (9.8, 3.7))
    arrow((9.1, 3.4), (9.8, 2.2))
    arrow((9.1, 1.2), (9.8, 1.7))
    back = {"ls": "--", "connectionstyle": "arc3,rad=0.28"}
    arrow((11.1, 4.35), (2.95, 3.0), figures.GREEN, **back)
    arrow((11.1, 1.15), (8.0, 0.5), figures.ORANGE, ls="--", connectionstyle="arc3,rad=-0.3")
    axes.text(
        3.2, 4.25, "gradient, through the teacher", fontsize=9, color=figures.GREY, ha="center"
    )
    axes.text(10.0, 0.12, "gradient", fontsize=9, color=figures.GREY, ha="center")
    return figure


def term_demonstrations(
    teacher: nn.Module, batches: Mapping[str, Tensor], layer: str = "stage3"
) -> Figure:
    """What each of DAFL's terms looks at: sureness, balance of a batch, size of activations.

    Args:
        batches: title -> images as the teacher sees them; their activations are compared.
        layer: of the teacher.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.8, 2.8))
    peaks = torch.linspace(0.101, 0.999, 60)
    left.plot(peaks.numpy(), [float(one_hot(_peaked(p))) for p in peaks], color=figures.BLUE)
    left.set(xlabel="largest probability", ylabel="$L_{oh}$, nats", title="one-hot: be sure")
    shares = torch.linspace(0.1, 1, 60)
    batch = [_unbalanced(share) for share in shares]
    for base, name, line in ((10.0, "base 10", "-"), (None, "natural", "--")):
        values = [float(information_entropy(logits, base)) for logits in batch]
        middle.plot(100 * shares.numpy(), values, line, color=figures.BLUE, label=name)
    middle.set(xlabel="share of one class in a batch, %", ylabel="$L_{ie}$",
               title="entropy: be of all classes")  # fmt: skip
    middle.legend()
    colours = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.RED)
    with features(teacher, [layer]) as maps, torch.no_grad():
        for (name, images), colour in zip(batches.items(), colours, strict=False):
            teacher(images)
            size = maps[layer].abs().flatten(1).mean(1)
            right.hist(size.numpy(), 25, density=True, histtype="step", color=colour, lw=1.8,
                       label=f"{name}: $L_a$ = {float(activation(maps[layer])):.2f}")  # fmt: skip
    right.set(xlabel="mean activation of an image", ylabel="density",
              title="activation: excite the filters")  # fmt: skip
    right.set_ylim(0, 1.5 * right.get_ylim()[1])
    right.legend(fontsize=8, loc="upper right")
    return figure


def _peaked(probability: float, classes: int = 10) -> Tensor:
    """Logits of one image that is of class 0 with this probability, all others alike."""
    rest = torch.full((1, classes), (1 - float(probability)) / (classes - 1))
    rest[0, 0] = probability
    return rest.log()


def _unbalanced(share: float, classes: int = 10, images: int = 900) -> Tensor:
    """Logits of a batch of sure images, this share of which is of class 0, the rest spread."""
    first = round(float(share) * images)
    others = 1 + torch.arange(images - first) % (classes - 1)
    labels = torch.cat([torch.zeros(first, dtype=torch.int64), others])
    return 50 * nn.functional.one_hot(labels, classes).float()


def conventions(results: Mapping[str, Result], classes: int = 10) -> Figure:
    """Two courses of runs that differ in the entropy's logarithm or weight.

    Args:
        results: title -> trial of DAFL that was looked at in every iteration.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9))
    looks = ("-", "--", "-")
    widths, colours = (3.4, 1.6, 1.6), (figures.SKY, figures.BLUE, figures.RED)
    for (title, result), look, width, colour in zip(
        results.items(), looks, widths, colours, strict=False
    ):
        given = result.description["arguments"]
        natural = given.get("entropy") == "natural"
        unit = given["weights"]["entropy"] / (1.0 if natural else np.log(10))
        # Back to the entropy of the batch's mean answer, whatever the base and the weight.
        entropy = -np.array(result.series["entropy"]) / unit / np.log(classes)
        steps = 1 + np.arange(len(entropy))
        left.plot(steps, entropy, look, lw=width, color=colour, label=title)
        right.plot(steps, result.series["soft"], look, lw=width, color=colour)
    left.set(xlabel="iteration", ylabel="entropy / ln 10", title="how balanced the batches are")
    right.set(xlabel="iteration", ylabel="divergence, nats", title="the student's loss")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


# --- the record -----------------------------------------------------------------------------------


def recorded_arms(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Rows of `papers.show_frame` for some of DAFL's arms, as `figures.forest` takes them."""
    return figures.forest_rows(frame, arms).rename(index=ARMS)


def other_arms(key: str, table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Test accuracies of another paper's arms, as `figures.forest` takes them.

    Published values stand beside ours where they are of the same data.

    Args:
        key: of the paper, in `OTHER_ARMS`.
        table: of its record.
        frame: `papers.show_frame` of the same.
    """
    known = frame.drop_duplicates("quantity").set_index("quantity")["published"]
    rows = {}
    for arm, title in OTHER_ARMS[key].items():
        values = table[(arm, "accuracy")].dropna().to_numpy()
        low, high = interval(values)
        published = known.get(arm, np.nan) if key in ON_MNIST else np.nan
        rows[title] = {"mean": values.mean(), "low": low, "high": high, "published": published}
    return pd.DataFrame.from_dict(rows, orient="index")


def last_or_mean(
    table: pd.DataFrame, titles: Mapping[str, str] = {arm: ARMS[arm] for arm in WITHOUT_DATA}
) -> pd.DataFrame:
    """The last iteration beside the mean of the last ten evaluations, with spreads over seeds.

    Percent of the test images; `swing` is the standard deviation within the last ten of a run,
    averaged over the seeds; the best of all evaluations is what a choice by the test set reports.
    """
    rows = {}
    for arm, title in titles.items():
        found = table[arm]
        rows[title] = {
            ("last iteration", "mean"): found["accuracy"].mean(),
            ("last iteration", "sd over seeds"): found["accuracy"].std(),
            ("mean of the last ten", "mean"): found["last_ten_accuracy"].mean(),
            ("mean of the last ten", "sd over seeds"): found["last_ten_accuracy"].std(),
            ("within a run", "swing"): found["last_ten_accuracy_sd"].mean(),
            ("best of all evaluations", "above the last"): (
                found["best_accuracy"] - found["accuracy"]
            ).mean(),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")
    frame.columns = pd.MultiIndex.from_tuples(list(frame.columns))
    return frame.round(2)


def courses(
    table: pd.DataFrame,
    long: pd.DataFrame,
    published: float,
    arms: Sequence[str] = ("dafl", "only_one_hot_entropy", "dafl_published_rate", "noise"),
) -> Figure:
    """Test accuracy in the course of a run: means over the seeds, 95% intervals and every seed.

    Args:
        table, long: results of the two profiles; of the long one, DAFL's only seed is drawn.
        published: the paper's accuracy, in percent.
    """
    names = {f"accuracy_after_{part}": part for part in COURSE} | {"accuracy": 100}
    parts = [table[arm][list(names)].rename(columns=names).assign(condition=ARMS[arm])
             for arm in arms]  # fmt: skip
    parts.append(long["dafl"][list(names)].iloc[:1].rename(columns=names)
                 .assign(condition="published generator and iterations"))  # fmt: skip
    course = pd.concat(parts).rename_axis("seed").reset_index()
    course = course.melt(["condition", "seed"], var_name="share", value_name="accuracy")
    figure = figures.lines(
        course.dropna().astype({"share": int}), "accuracy", "test accuracy, %", over="share",
        over_label="share of the iterations, %", bars=True, baseline=published,
        baseline_label="DAFL, published", roles={ARMS["noise"]: "other"} if "noise" in arms else None,
    )  # fmt: skip
    (axes,) = figure.axes
    axes.set_ylim(0, 106)
    return figure


def stability(table: pd.DataFrame, arms: Sequence[str] = tuple(WITHOUT_DATA)) -> Figure:
    """Every seed's last iteration, and the mean and spread of its last ten evaluations."""
    figure, axes = plt.subplots(figsize=(7.6, 0.5 * len(arms) + 1.2))
    for place, arm in enumerate(reversed(arms)):
        found = table[arm].dropna()
        heights = place + np.linspace(-0.25, 0.25, len(found))
        axes.errorbar(
            found["last_ten_accuracy"], heights, xerr=found["last_ten_accuracy_sd"], fmt="o", ms=4,
            color=figures.BLUE, label="mean of the last ten evaluations, and their sd",
        )  # fmt: skip
        axes.plot(found["accuracy"], heights, "D", ms=4, mfc="none", color=figures.ORANGE,
                  label="last iteration")  # fmt: skip
    axes.set_yticks(range(len(arms)), [ARMS[arm] for arm in reversed(arms)])
    axes.set_xlabel("test accuracy of one seed, %")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=2)
    return figure


# --- what moves the other methods -----------------------------------------------------------------


def impressions(weight: Tensor, classes: Sequence[str], shown: int = 3) -> Figure:
    """ZSKD: how alike the classes are to the teacher's last layer, and targets drawn accordingly.

    Args:
        weight: of the last layer, (classes, features).
        shown: the class whose targets are drawn.
    """
    figure, (left, *panels) = plt.subplots(1, 3, figsize=(8.8, 3.0), width_ratios=(1.25, 1, 1))
    similar = class_similarity(weight.detach())
    size = float((similar - torch.eye(len(similar))).abs().max())
    frame = pd.DataFrame(similar.numpy(), classes, classes)
    figures.heat(frame, "", centre=0, limits=(-size, size), cells=False, axes=left)
    left.set(title="cosine of two classes' weights", xlabel="class", ylabel="class")
    for axes, scale in zip(panels, (1.0, 0.1), strict=True):
        drawn = dirichlet_targets(weight, 4, scales=(scale,))[4 * shown : 4 * shown + 4].numpy()
        places = np.arange(len(classes))
        for row, target in enumerate(drawn):
            axes.bar(places, 0.85 * target, bottom=3 - row, width=0.8, color=figures.BLUE)
            axes.axhline(3 - row, color=figures.GREY, lw=0.8)
        axes.set_xticks(places, classes)
        axes.set(title=f"four targets of class {classes[shown]}, scale {scale:g}", yticks=[],
                 xlabel="class", ylim=(-0.05, 4))  # fmt: skip
        axes.grid(False)
    return figure


def statistics_gaps(teacher: nn.Module, batches: Mapping[str, Tensor]) -> Figure:
    """How far a batch's statistics are from those that the batch normalisations have stored."""
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    gaps = {}
    with batch_norm_inputs(teacher) as inputs, torch.no_grad():
        for name, images in batches.items():
            teacher(images)
            gaps[name] = []
            for layer, maps in inputs:
                variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
                gap = statistics_distance(mean, variance, layer.running_mean, layer.running_var)
                size = layer.running_mean.norm() + layer.running_var.norm()
                gaps[name].append(float(gap / size))
    colours = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED)
    width = 0.8 / len(gaps)
    for number, ((name, values), colour) in enumerate(zip(gaps.items(), colours, strict=False)):
        places = np.arange(len(values)) + (number - (len(gaps) - 1) / 2) * width
        axes.bar(places, values, width, color=colour, label=name)
    axes.set_xticks(range(len(values)), [f"layer {k + 1}" for k in range(len(values))])
    axes.set(ylabel="distance / size of what is stored", yscale="log")
    axes.grid(False, axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure

"""Tables and the figure of the fair comparison of section 2."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdnb import figures, papers
from kdnb.methods import catalogue
from kdnb.methods.catalogue import METHODS
from kdnb.reproductions.tian2020crd import (
    COMPARED,
    LEFT_OUT,
    STUDENTS,
    Parameters,
    against,
    arm_of,
    trial,
)

KD = "kd"
LOOKS = {"2.1": ("response", figures.BLUE, "o"), "2.2": ("feature", figures.ORANGE, "s"),
         "2.3": ("relation", figures.GREEN, "D")}  # fmt: skip
NAMES = {"resnet": "thin ResNet-8", "vgg": "thin VGG-8"}


def protocol(p: Parameters) -> pd.DataFrame:
    """The comparison's protocol, read from the trials themselves."""
    one = trial(p, KD, "resnet", 1.0, 0).arguments
    recipe = one["recipe"]
    students = " and ".join(
        f"{NAMES[name]} ({s['network']['name']}, width x {s['network']['width']:g})"
        for name, s in STUDENTS.items()
    )
    rows = {
        "teacher": f"{one['teacher'].arguments['network']['name']}, one for all seeds",
        "students": students,
        "images": f"{p.compare_images} of CIFAR-10's training images, not augmented",
        "steps": f"{p.compare_epochs} epochs in batches of {recipe['batch_size']}",
        "optimiser": f"SGD, momentum {recipe['momentum']:g}, {recipe['schedule'].replace('_', '-')} "
        f"schedule with peak {recipe['lr']:g}, weight decay {recipe['weight_decay']:g}",
        "loss": "cross-entropy + weight x method",
        "weights": "six tried for each method, tuned on held-out training images with the VGG student",
        "pairs": f"{p.seeds} seeds; one seed fixes initial weights and order of images for all",
        "measured": f"last epoch, {p.test_images} test images",
        "tests": "paired t-tests over seeds, Holm's correction over all methods",
    }
    return pd.DataFrame({"what": rows.values()}, index=pd.Index(rows, name="the comparison"))


def weights_frame(found: dict[str, Any]) -> pd.DataFrame:
    """What `tune` tried and took: one row a method."""
    rows = {}
    for method, one in found["weights"].items():
        errors = {float(weight): count for weight, count in one["held_out_errors"].items()}
        taken = one["held_out_errors"][f"{one['weight']:g}"]
        end = {min(errors): "smallest", max(errors): "largest"}
        nearest = min(errors, key=lambda weight: abs(weight - one["weight"]))
        published = f"{catalogue.method(method).weight or 0:g}"
        rows[catalogue.method(method).title] = {
            "weight": f"{one['weight']:g}",
            # Of a method that has changed since, the record's first weight is not today's.
            "published": published if published in one["held_out_errors"] else "",
            "tried": f"{min(errors):g} to {max(errors):g}",
            "held-out errors": taken,
            "of the others": f"{sorted(errors.values())[1]} to {max(errors.values())}",
            "at an end": end.get(nearest, ""),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def title_of(method: str) -> str:
    """As readers know it."""
    return "undistilled" if method == "student" else METHODS[method].title


def dots(table: pd.DataFrame) -> Figure:
    """Mean accuracy of every method with its 95% interval and its seeds, a panel for each student.

    Methods stand in the order of their mean over both students, the best at the top. Lines mark
    soft targets and the undistilled student.
    """
    accuracy = table.xs("accuracy", axis=1, level="metric")
    names = list(STUDENTS)
    order = sorted(COMPARED, key=lambda m: -sum(accuracy[arm_of(m, s)].mean() for s in names))
    titles = [METHODS[m].title for m in order]
    size = (8.8, 0.235 * len(order) + 1.3)
    figure, grid = plt.subplots(1, len(names), figsize=size, sharey=True, layout="constrained")
    for axes, student in zip(grid, names, strict=True):
        arms = {arm_of(m, student): METHODS[m].title for m in order}
        frame = figures.tidy(table, "accuracy", arms)
        section = {METHODS[m].title: METHODS[m].section for m in order}
        look = {
            "data": frame.assign(section=frame["condition"].map(section)), "x": "accuracy",
            "y": "condition", "order": titles, "hue": "section", "hue_order": list(LOOKS),
            "palette": [colour for _, colour, _ in LOOKS.values()], "legend": False, "ax": axes,
        }  # fmt: skip
        sns.stripplot(**look, jitter=False, size=3, alpha=0.35, zorder=1)
        sns.pointplot(
            **look, errorbar=figures.interval, linestyle="none", markersize=4.5, zorder=3,
            markers=[marker for *_, marker in LOOKS.values()], err_kws={"linewidth": 1.4},
        )  # fmt: skip
        axes.axvline(accuracy[arm_of(KD, student)].mean(), color=figures.BLUE, lw=1.2, ls="--")
        axes.axvline(accuracy[f"student_{student}"].mean(), color=figures.GREY, lw=1.2, ls=":")
        axes.set(xlabel="test accuracy, %", ylabel="", title=NAMES[student])
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="", label=f"{section} {name}")
        for section, (name, colour, marker) in LOOKS.items()
    ]
    handles.append(Line2D([], [], color=figures.BLUE, lw=1.2, ls="--", label="KD"))
    handles.append(Line2D([], [], color=figures.GREY, lw=1.2, ls=":", label="undistilled"))
    handles.append(Line2D([], [], color=figures.GREY, marker="o", ms=3, ls="", alpha=0.5,
                          label="one seed"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2)
    return figure


def holm_table(table: pd.DataFrame, student: str) -> pd.DataFrame:
    """`against` both controls side by side, best first: differences in percentage points."""
    parts = {"the undistilled student": "student", "KD": KD}
    frame = None
    for name, control in parts.items():
        rows = against(table, student, control).set_index("method")
        bounds = [f"{row.low:+.1f} to {row.high:+.1f}" for row in rows.itertuples()]
        block = pd.DataFrame(
            {
                (f"against {name}", "difference"): rows["difference"].map("{:+.2f}".format),
                (f"against {name}", "95% interval"): pd.Series(bounds, rows.index),
                (f"against {name}", "p (Holm)"): rows["p_holm"].map("{:.2g}".format),
                (f"against {name}", "verdict"): rows["verdict"],
            }
        )
        if frame is None:
            frame = pd.DataFrame({(NAMES[student], "accuracy, %"): rows["accuracy"].round(2)})
            missing = against(table, student, KD).set_index("method").loc["student", "accuracy"]
            frame.loc["student"] = round(float(missing), 2)
        frame = frame.join(block)
    frame = frame.sort_values(frame.columns[0], ascending=False).fillna("")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return frame.rename(index=title_of).rename_axis("method")


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many methods of each family are above or below each control, for both students."""
    rows = []
    for student in STUDENTS:
        for name, control in (("undistilled", "student"), ("KD", KD)):
            found = against(table, student, control)
            found = found[found["method"].isin(COMPARED)]
            family = found["method"].map(
                lambda m: f"{METHODS[m].section} {LOOKS[METHODS[m].section][0]}"
            )
            for section, part in found.groupby(family):
                tally = part["verdict"].value_counts()
                rows.append((NAMES[student], name, section, *(int(tally.get(word, 0)) for word in
                             ("above", "no difference shown", "below"))))  # fmt: skip
    columns = ["student", "against", "family", "above", "no difference shown", "below"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])


def short(key: str) -> str:
    """`Park et al. 2019`, from the bibliography."""
    entry = papers.bibliography().entries[key]
    authors = [" ".join(p.prelast_names + p.last_names) for p in entry.persons["author"]]
    if len(authors) > 2:
        authors = [f"{authors[0]} et al."]
    return f"{' and '.join(authors)} {entry.fields['year']}"


def methods_table(section: str, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every method of a section, its paper, its name in `METHODS`, and the comparison's verdict.

    Args:
        table: of the comparison's record; without it there are no verdicts.
    """
    judged = {}
    if table is not None:
        for student in STUDENTS:
            for name, control in (("undistilled", "student"), ("KD", KD)):
                found = against(table, student, control).set_index("method")["verdict"]
                judged[f"{NAMES[student]}, against {name}"] = found
    rows = []
    for name, method in METHODS.items():
        if method.section == section:
            out = LEFT_OUT.get(name, "")
            verdicts = {
                column: f"not compared: {out}" if out else found.get(name, "the control")
                for column, found in judged.items()
            }
            rows.append(
                {"method": method.title, "paper": short(method.paper), "name": name} | verdicts
            )
    return pd.DataFrame(rows).set_index("method")


def spread(table: pd.DataFrame) -> pd.Series:
    """The sd of the undistilled student's accuracy over seeds, in percentage points."""
    accuracy = table.xs("accuracy", axis=1, level="metric")
    return pd.Series({NAMES[s]: float(np.std(accuracy[f"student_{s}"], ddof=1)) for s in STUDENTS})

"""Figures of chapter 2-1 that know its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from kdnb import figures
from kdnb.data import ImageData
from kdnb.losses import logit_regression, soft_targets
from kdnb.papers.statistics import interval
from kdnb.reproductions.hinton2015 import best_shift, example_logits, shift_biases, shifted_classes
from kdnb.runs.trials import Result


def temperature_and_gradient(temperatures: Sequence[float]) -> Figure:
    """How long the soft gradient is, with and without T², and its angle to logit regression's."""
    lengths, angles = [], []
    for temperature in temperatures:
        student, teacher = example_logits()
        (soft,) = torch.autograd.grad(soft_targets(student, teacher, temperature), student)
        (limit,) = torch.autograd.grad(logit_regression(student, teacher), student)
        lengths.append(float(soft.norm()))
        cosine = (soft * limit).sum() / (soft.norm() * limit.norm())
        angles.append(float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3))
    left.loglog(temperatures, lengths, color=figures.BLUE, label="with the factor $T^2$")
    bare = np.asarray(lengths) / np.asarray(temperatures) ** 2
    left.loglog(temperatures, bare, color=figures.ORANGE, ls="--", label="without")
    left.set(xlabel="temperature $T$", ylabel="length of the gradient", title="Balance")
    left.legend()
    right.semilogx(temperatures, angles, color=figures.BLUE)
    right.set(xlabel="temperature $T$", ylabel="angle, degrees", ylim=(0, None),
              title="Angle to the gradient of logit regression")  # fmt: skip
    return figure


def bias_shift(results: Mapping[str, Result], source: ImageData) -> Figure:
    """Error rate against the common shift of some biases, on validation and test images."""
    shifts = np.arange(-12, 12.05, 0.25)
    figure, grid = plt.subplots(
        1, len(results), figsize=(4.2 * len(results), 3.1), squeeze=False, sharey=False
    )
    for axes, (arm, result) in zip(grid[0], results.items(), strict=True):
        moved, tensors = shifted_classes(arm), result.tensors()
        splits = {"validation": source.validation, "test": source.test}
        for (name, images), colour, line in zip(
            splits.items(), (figures.BLUE, figures.ORANGE), ("-", "--"), strict=True
        ):
            logits = tensors[f"logits.{name}"]
            wrong = [
                float(
                    (shift_biases(logits, moved, float(s)).argmax(1) != images.labels)
                    .float()
                    .mean()
                )
                for s in shifts
            ]
            axes.plot(shifts, 100 * np.asarray(wrong), line, color=colour, label=f"{name} images")
        best = best_shift(tensors["logits.validation"], source.validation.labels, moved)
        axes.axvline(best, color=figures.GREY, lw=1, ls=":", label=f"tuned: {best:+.1f}")
        title = "never saw a 3" if arm == "no_3" else "saw only 7s and 8s"
        which = "of class 3" if arm == "no_3" else "of classes 7 and 8"
        axes.set(
            xlabel=f"shift of the bias {which}", ylabel="errors, %", title=title, ylim=(0, None)
        )
        axes.legend()
    return figure


def temperatures(table: pd.DataFrame) -> Figure:
    """Test errors against temperature: narrow students left, wide ones right, 95% t intervals."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2))
    narrow = {float(a[8:]): a for a, _ in table.columns if a.startswith("narrow_T")}
    wide = {float(a[6:]): a for a, _ in table.columns if a.startswith("wide_T")} | {
        20.0: "distilled"
    }
    for axes, arms, units in ((left, narrow, 30), (right, wide, 800)):
        rows = [(t, table[arms[t], "test_errors"].dropna().to_numpy()) for t in sorted(arms)]
        means = np.array([values.mean() for _, values in rows])
        bounds = np.array([interval(values) for _, values in rows]).T
        axes.errorbar([t for t, _ in rows], means, yerr=np.abs(bounds - means), fmt="o-",
                      color=figures.BLUE, capsize=3)  # fmt: skip
        axes.set_xscale("log")
        ticks = [t for t, _ in rows]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set(xlabel="temperature $T$", title=f"{units} units a layer")
    left.set_ylabel("test errors of 10,000")
    low, high = right.get_ylim()
    middle = (low + high) / 2  # the same scale for both would flatten the right-hand side
    right.set_ylim(middle - max(15, middle - low), middle + max(15, high - middle))
    return figure


def arm_rows(table: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Mean and 95% t interval of the test errors of some arms, as `figures.forest` takes them."""
    rows = {}
    for arm in arms:
        values = table[arm, "test_errors"].dropna().to_numpy()
        low, high = interval(values)
        rows[arm] = {"mean": values.mean(), "low": low, "high": high, "published": np.nan}
    return pd.DataFrame.from_dict(rows, orient="index")

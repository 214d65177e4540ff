"""Chapter 3-3's laboratory: every method of section 3.3 on the same few images; Tf-KD's figure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from time import process_time
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from kdnb import data, figures
from kdnb.data import Batches
from kdnb.methods import self_distillation as own
from kdnb.methods.offline import distil
from kdnb.runs.task import built
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, logits_on

NETWORK = {"name": "resnet8", "width": 0.5}
STAGES = ["stage1", "stage2", "stage3"]


class Lab:
    """The same images, network and recipe for every method; one seed.

    Attributes:
        source: the data set.
        teacher: generation 0, trained on labels; the baseline of every comparison.
    """

    def __init__(
        self, dataset: str = "fashion_mnist", images: int = 384, test: int = 500, epochs: int = 4
    ) -> None:
        self.source = data.load(dataset)
        self.images = self.source.train_all.select(slice(images))
        self.test = self.source.test.select(slice(test))
        self.recipe = Recipe(
            epochs=epochs, batch_size=16, lr=0.05, nesterov=True, weight_decay=5e-4,
            schedule="one_cycle", crop_padding=2, flip=True,
        )  # fmt: skip
        self.runs: dict[str, Run] = {}

    @property
    def batches(self) -> Batches:
        """The training batches, from the first epoch on."""
        return batches_of(self.images, self.source, self.recipe, seed=0)

    def fresh(self, number: int = 0) -> nn.Module:
        """An untrained network: generation 0's weights, or those of a later generation."""
        return built(NETWORK, self.source, own.fresh_seed(0, number))

    def exits(self) -> own.MultiExit:
        """Generation 0's untrained network with exits after its first two stages."""
        torch.manual_seed(0)
        return own.MultiExit(self.fresh(), STAGES[:2], STAGES[2], self.example)

    @cached_property
    def example(self) -> torch.Tensor:
        """One normalised training image, (1, channels, height, width)."""
        return next(iter(self.batches)).images[:1].cpu().contiguous()

    @property
    def teacher(self) -> nn.Module:
        """The network that learnt from labels."""
        return self.run("labels").model

    def run(self, name: str) -> Run:
        """Train by one of `METHODS`; once, and remembered."""
        if name not in self.runs:
            if METHODS[name].pupil:
                self.run("labels")  # its teacher, which is not part of its own time
            start = process_time()
            model = METHODS[name].train(self)
            seconds = process_time() - start
            network = getattr(model, "network", model).eval()  # the one to deploy
            logits = logits_on(network, self.test, self.source)
            wrong = int((logits.argmax(1) != self.test.labels).sum())
            self.runs[name] = Run(model.eval(), network, wrong, seconds)
        return self.runs[name]

    def table(self) -> pd.DataFrame:
        """All methods: who teaches, what it needs, errors, time; illustrated, not judged."""
        plain = self.run("labels").seconds
        rows = {}
        for name, method in METHODS.items():
            run = self.run(name)
            rows[method.title] = {
                "who teaches": method.teacher, "errors": run.errors,
                "processor time (labels = 1)": round(run.seconds / plain, 1),
                "call": f"`{method.call}`", "verdict": method.verdict,
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


class Run(NamedTuple):
    """A trained model, the network in it to deploy, its test errors, its processor seconds."""

    model: nn.Module
    network: nn.Module
    errors: int
    seconds: float


class Method(NamedTuple):
    """A row of the table, and how it is run; a pupil learns from the lab's teacher."""

    title: str
    teacher: str
    call: str
    train: Callable[[Lab], nn.Module]
    pupil: bool = False
    verdict: str = "illustrated, not judged"


def _trained(function: Callable, make: Callable[[Lab], nn.Module], **options):
    """(lab) -> the model that `function` has trained in place."""

    def train(lab: Lab) -> nn.Module:
        model = make(lab)
        function(model, lab.batches, lab.recipe, **options)
        return model.eval()

    return train


def _born_again(lab: Lab, teacher: nn.Module | None = None, **options) -> nn.Module:
    student = lab.fresh(1)
    own.next_generation(
        student, teacher or lab.teacher, lab.batches, lab.recipe, seed=own.fresh_seed(0, 1),
        **options,
    )  # fmt: skip
    return student


def _tolerant(lab: Lab) -> nn.Module:
    teacher = lab.fresh()
    own.tolerant_teacher(teacher, lab.batches, lab.recipe)
    return _born_again(lab, teacher)


def _snapshots(lab: Lab) -> nn.Module:
    network, recipe = lab.fresh(), lab.recipe.model_copy(update={"schedule": "cosine"})
    own.snapshot_distil(network, lab.batches, recipe, cycles=2)
    return network


METHODS = {
    "labels": Method("labels alone (generation 0)", "nobody", "distil.train",
                     _trained(distil.train, Lab.fresh), verdict="the control"),
    "ban": Method("BAN (Furlanello 2018)", "the former generation", "born_again", _born_again, True,
                  "judged: furlanello2018ban"),
    "self": Method("Tf-KD self (Yuan 2020)", "a like network, at a temperature", "self_taught",
                   lambda lab: _born_again(lab, temperature=20.0, soft_weight=0.9, hard_weight=0.1),
                   True, "judged: yuan2020tfkd"),
    "virtual": Method("Tf-KD virtual (Yuan 2020)", "a teacher made by hand", "virtually_taught",
                      _trained(own.virtually_taught, Lab.fresh), verdict="judged: yuan2020tfkd"),
    "tolerant": Method("tolerant teacher (Yang 2019)", "a teacher kept unsure", "tolerant_teacher",
                       _tolerant),
    "snapshots": Method("snapshot distillation (Yang 2019)", "the last cycle's weights",
                        "snapshot_distil", _snapshots),
    "byot": Method("BYOT (Zhang 2019)", "the deepest exit: answers, features",
                   "be_your_own_teacher", _trained(own.be_your_own_teacher, Lab.exits)),
    "exits": Method("multi-exit (Phuong and Lampert 2019)", "the deepest exit: softened answers",
                    "multi_exit_distil", _trained(own.multi_exit_distil, Lab.exits)),
    "sad": Method("SAD (Hou 2019)", "the next deeper layer's attention", "self_attention_distil",
                  _trained(own.self_attention_distil, Lab.fresh, paths=STAGES, start=0.5)),
    "classes": Method("CS-KD (Yun 2020)", "another image of the class", "class_wise_distil",
                      _trained(own.class_wise_distil, Lab.fresh)),
    "rotations": Method("SLA (Lee 2019)", "four rotations together", "augmentation_distil",
                        _trained(own.augmentation_distil,
                                 lambda lab: own.JointClassifier(lab.fresh()))),
    "distorted": Method("DDGSD (Xu and Liu 2019)", "another distortion of the image",
                        "distorted_views", _trained(own.distorted_views, Lab.fresh)),
    "embeddings": Method("self-knowledge (Hahn and Choi 2019)", "its own classes' embeddings",
                         "embedding_distil", _trained(own.embedding_distil, Lab.fresh)),
    "beta": Method("Beta smoothing (Zhang and Sabuncu 2020)", "the mean of its own weights",
                   "beta_smoothed",
                   _trained(own.beta_smoothed, lambda lab: own.WithAverage(lab.fresh()))),
}  # fmt: skip


def virtual_teachers(classes: int = 10, correct: float = 0.99) -> Figure:
    """How much the virtual teacher's true class keeps: against temperature, and as answers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.0), width_ratios=[1, 1.25])
    temperatures = np.geomspace(1, 100, 60)
    styles = (("paper", figures.BLUE, "-"), ("authors", figures.ORANGE, "--"))
    for variant, colour, line in styles:
        kept = [own.softened_correct(classes, t, correct, variant) for t in temperatures]
        name = {"paper": "equation of the paper", "authors": "released code"}[variant]
        left.semilogx(temperatures, kept, line, color=colour, label=name)
    left.axhline(1 / classes, color=figures.GREY, lw=1, ls=":")
    left.text(1.1, 1 / classes - 0.065, "1 / classes", color=figures.GREY, fontsize=9)
    left.set(xlabel=r"temperature $\tau$", ylabel="probability of the true class", ylim=(0, 1.05))
    left.set_xticks([1, 10, 100], ["1", "10", "100"])
    left.legend(fontsize=9)
    width = 0.27
    smooth = 1 - 0.1 + 0.1 / classes
    answers = [
        ("label smoothing, 0.1", smooth, figures.GREEN, ""),
        (r"virtual, $\tau$ = 20", own.softened_correct(classes, 20, correct), figures.BLUE, "//"),
        ("the same, released code", own.softened_correct(classes, 20, correct, "authors"),
         figures.ORANGE, ".."),
    ]  # fmt: skip
    for number, (name, kept, colour, hatch) in enumerate(answers):
        shares = [kept, *[(1 - kept) / (classes - 1)] * (classes - 1)]
        right.bar(np.arange(classes) + (number - 1) * width, shares, width, label=name,
                  color=colour, hatch=hatch, edgecolor="white", lw=0.3)  # fmt: skip
    right.set_xticks(range(classes), ["true", *map(str, range(2, classes + 1))])
    right.set(
        xlabel="class", ylabel="the teacher's probability (log)", yscale="log", ylim=(5e-3, 3)
    )
    right.grid(False, axis="x")
    right.legend(fontsize=9, loc="upper right")
    return figure

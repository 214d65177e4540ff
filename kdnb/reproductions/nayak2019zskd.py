"""Nayak et al. 2019, "Zero-Shot Knowledge Distillation in Deep Networks" (ZSKD), on MNIST.

A LeNet-5 teaches a LeNet-5 whose first two convolutions have half the channels. Data impressions
are images for which the teacher, at temperature 20, outputs soft targets that are drawn from a
Dirichlet distribution; class impressions are made for one-hot targets instead. Each of these banks, and a
bank of the noise from which both start, teaches a student with the same steps. They are compared with
students with data.

`full` has the published bank: 24,000 impressions of 1,500 steps. `laptop` makes 4,000 in 100 steps
at a larger rate, and a student passes over them 40 times; a pilot of these sizes, judged on
held-out training images, showed that this is enough to learn from; nothing was tuned.

Departures: as in `data_impressions`; in addition, the published students see augmented impressions.
Optimiser, rate and passes of the students are ours.
"""

from __future__ import annotations

from collections.abc import Callable

from kdnb.reproductions import Arms, Reproduction, chen2019dafl, every_arm
from kdnb.reproductions.chen2019dafl import (
    TEACHER,
    Parameters,
    distilled,
    measure,
    setting,
    supervised,
)
from kdnb.runs.trials import Trial

__all__ = ["PROFILES", "REPRODUCTION", "Parameters", "arms", "measure"]

PROFILES = every_arm(chen2019dafl.PROFILES)

STUDENT = {"name": "lenet5_half_zskd"}
TEMPERATURE = 20.0  # of the impressions and of every student
SCALES = (1.0, 0.1)  # half of the targets are drawn at each scale
CLASSES = 10
REACH = 10.0  # how far Adam can move a normalised pixel; black and white are 3.2 apart


def pixel_steps(p: Parameters) -> int:
    """Adam's steps on the pixels: as published for the published bank, else a third of a bank's."""
    return p.pixel_steps if p.bank_images >= 24000 else max(1, p.pixel_steps // 3)


def arms(p: Parameters) -> Arms:
    """Teacher, students with data, and students of impressions and of noise."""
    data, teacher, steps = setting(p)["data"], supervised(p, TEACHER), pixel_steps(p)
    synthesis = {
        "data": data, "per_class": p.bank_images // (CLASSES * len(SCALES)),
        "scales": list(SCALES), "temperature": TEMPERATURE, "iterations": steps,
        "lr": REACH / steps, "batch_size": 100,
    }  # fmt: skip
    recipe = {
        "epochs": max(1, 2 * p.bank_epochs // 3), "batch_size": p.batch_size,
        "optimiser": "adam", "lr": 1e-3, "schedule": "constant",
    }  # fmt: skip

    def impressions(one_hot: bool) -> Callable[[int], Trial]:
        arguments = {**synthesis, "one_hot": one_hot}
        return lambda seed: Trial(
            "zskd_bank",
            {**arguments, "teacher": teacher(seed)}, seed,
        )  # fmt: skip

    def noise(seed: int) -> Trial:
        arguments = {"data": data, "teacher": teacher(seed), "images": p.bank_images,
                     "image_size": 28, "kind": "uniform"}  # fmt: skip
        return Trial("noise_bank", arguments, seed)

    def learnt(bank: Callable[[int], Trial]) -> Callable[[int], Trial]:
        arguments = {"data": data, "network": STUDENT, "recipe": recipe,
                     "temperature": TEMPERATURE}  # fmt: skip
        return lambda seed: Trial(
            "bank_taught",
            {**arguments, "teacher": teacher(seed), "bank": bank(seed)}, seed,
        )  # fmt: skip

    return {
        "teacher": teacher,
        "student": supervised(p, STUDENT),
        "distilled": distilled(p, STUDENT, teacher, TEMPERATURE),
        "noise": learnt(noise),
        "class_impressions": learnt(impressions(one_hot=True)),
        "data_impressions": learnt(impressions(one_hot=False)),
    }


REPRODUCTION = Reproduction("nayak2019zskd", arms, measure)

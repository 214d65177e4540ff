"""Cho and Hariharan 2019, "On the Efficacy of Knowledge Distillation", on CIFAR-10.

They find that a larger teacher is not a better one, and that a sequence of distillations does not
solve this; stopping early helps, either the teacher's training or the distillation. Data, networks,
recipe and weights are those of `mirzadeh2020takd`, which finds that sequences do help: both papers
are judged on the same trials of teachers, controls and sequences.
"""

from __future__ import annotations

from pydantic import Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions import mirzadeh2020takd as takd
from kdnb.runs.trials import Trial

SHARED = ("student", "teacher4", "largest_teacher", "taught_by_4", "taught_by_6",
          "taught_by_largest", "via_6", "full_path")  # fmt: skip


class Parameters(takd.Parameters):
    """The setting of `mirzadeh2020takd`, and the epochs of stopping; the defaults are `quick`."""

    early_epochs: int = Field(1, ge=1, le=1000, description="of the early-stopped teacher")
    stop_epoch: int = Field(1, ge=0, le=1000, description="epochs with the teacher, then without")
    arms: list[str] = Field(
        ["student", "early_teacher", "taught_by_early_teacher"],
        description="the arms to run; all when empty",
    )


PROFILES = {
    name: Parameters(**{**takd.PROFILES[name].model_dump(), **own})
    for name, own in {
        "quick": {"arms": Parameters().arms},
        "laptop": {"early_epochs": 2, "stop_epoch": 15},
        "full": {"early_epochs": 50, "stop_epoch": 75},
    }.items()
}


def arms(p: Parameters) -> Arms:
    """The sweep and two sequences of TAKD; an early-stopped teacher; early-stopped distillation."""
    both = takd.arms(p)
    return {
        **{name: both[name] for name in SHARED},
        "early_teacher": lambda seed: early_teacher(p, seed),
        "taught_by_early_teacher": lambda seed: student(p, seed, teacher=early_teacher(p, seed)),
        "stopped": lambda seed: student(p, seed, teacher=takd.alone(p, p.largest, seed),
                                        stop_epoch=p.stop_epoch),
    }  # fmt: skip


def early_teacher(p: Parameters, seed: int) -> Trial:
    """The teacher with a recipe of fewer epochs: its learning rate falls equally far, but sooner."""
    return takd.alone(p, p.largest, seed, epochs=p.early_epochs)


def student(p: Parameters, seed: int, *, teacher: Trial, **stop: int) -> Trial:
    """The student of a teacher; with `stop_epoch` distillation stops after that number of epochs."""
    function = "early_stopped" if stop else "distilled"
    arguments = {
        **takd.student_setting(p), **takd.LOSS, "network": takd.network(takd.STUDENT),
        "teacher": teacher,
    }  # fmt: skip
    return Trial(function, {**arguments, **stop}, seed)


REPRODUCTION = Reproduction("cho2019efficacy", arms, takd.measure)

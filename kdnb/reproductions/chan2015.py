"""Chan, Ke and Lane 2015, "Transferring Knowledge from a RNN to a DNN": soft alignments for a small model.

A bidirectional recurrent network learns the states of spoken digits. A small feed-forward network, which sees
a window of frames, learns from the recurrent network's soft alignment instead of the labels. Both are judged
as recognisers: the answer is the word whose states, passed from left to right, best explain the recording.

Departures: ten words of six speakers instead of read newspapers, and an even alignment instead of a trained
one; see `papers/chan2015/setting.md`. The questions about few transcriptions and about noise are our own.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data.sounds import sound_card
from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.functions.speech import CONDITIONS
from kdnb.runs.trials import Result, Trial

DATASET = "fsdd"


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    teacher_epochs: int = Field(2, ge=1, le=1000)
    student_epochs: int = Field(2, ge=2, le=1000)
    teacher_units: int = Field(48, ge=1, le=1000, description="in each direction")
    student_units: int = Field(8, ge=1, le=1000)
    context: int = Field(4, ge=0, le=30, description="frames beside each, that the student sees")
    labelled: int = Field(240, ge=10, le=2400, description="recordings with a transcription")
    decibels: float = Field(5.0, ge=-50, le=100, description="signal over noise")
    lr: float = Field(0.008, gt=0, le=1, description="Adam's peak")
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions")
    scored: str = Field("test", pattern="^(test|validation)$", description="validation in pilots")
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(teacher_epochs=8, student_epochs=12, seeds=10)
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={"teacher_epochs": 40, "student_epochs": 60, "teacher_units": 256, "seeds": 20}
    ),
}


def arms(p: Parameters) -> Arms:
    """One trial for each seed; `measure` returns the conditions to compare."""
    arguments: dict[str, Any] = {
        "data": {"name": DATASET, "sha256": sound_card(DATASET).sha256["train"]},
        "states": 3,
        "teacher": {"hidden": p.teacher_units},
        "student": {"hidden": [p.student_units], "before": p.context, "behind": p.context},
        "recipe": {"epochs": p.teacher_epochs, "batch_size": 64, "optimiser": "adam", "lr": p.lr,
                   "schedule": "cosine", "precision": "32"},
        "student_epochs": p.student_epochs,
        "labelled": p.labelled,
        "decibels": p.decibels,
        "scored": p.scored,
    }  # fmt: skip
    return {"speech": lambda seed: Trial("spoken_frames", arguments, seed)}


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` returns besides the one that runs."""
    return {*CONDITIONS, "teacher", "few_teacher", "student"}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Metrics of each condition, as a separate arm: `taught_error` is `taught.error`."""
    found = {}
    for name, value in result.metrics.items():
        for condition in sorted(conditions(LAPTOP), key=len, reverse=True):
            if name.startswith(f"{condition}_"):
                found[f"{condition}.{name.removeprefix(f'{condition}_')}"] = value
                break
    return found


REPRODUCTION = Reproduction("chan2015", arms, measure)

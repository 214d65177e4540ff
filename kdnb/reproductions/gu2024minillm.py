"""Gu et al. 2024, "MiniLLM": should a small language model learn by the reverse divergence, on its own text?

A teacher and students are recurrent language models of captions. Every student is first trained on labels;
then, with equal numbers of steps, it learns from labels, from the teacher's sequences, from the teacher's
next-word distributions by several divergences, on given or on its own text, or by MiniLLM. A model reads the
first three words of a test caption and continues it. The continuation is judged by the teacher, by
references, and by the model itself.

Departures: the paper's teachers are GPT-2, GPT-J, OPT and LLaMA models with billions of parameters, its data
instructions; see `papers/gu2024minillm/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data.parallel import parallel_card
from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.trials import Result, Trial

DATASET, PROMPT, TEACHER_SEED = "multi30k", 3, 7200
ON_POLICY = {"kind": "words", "on_policy": 1.0}
# Arm -> how the student continues after training on labels.
METHODS: dict[str, dict[str, Any]] = {
    "start": {"kind": "none"},
    "labels": {"kind": "labels"},
    "seqkd": {"kind": "sequences"},
    "kd": {"kind": "words", "divergence": "forward"},
    "kd_reverse": {"kind": "words", "divergence": "reverse"},
    "gkd_forward": {**ON_POLICY, "divergence": "forward"},
    "gkd_jensen_shannon": {**ON_POLICY, "divergence": "jensen_shannon"},
    "gkd_reverse": {**ON_POLICY, "divergence": "reverse"},
    "minillm": {"kind": "minillm"},
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    vocabulary: int = Field(
        1000, ge=100, le=20000, description="most frequent words; other captions go"
    )
    teacher_width: int = Field(64, ge=8, le=4096)
    teacher_captions: int = Field(1000, ge=100, le=29000)
    teacher_epochs: int = Field(2, ge=1, le=1000)
    width: int = Field(24, ge=4, le=4096, description="of students")
    captions: int = Field(500, ge=100, le=29000, description="of students")
    start_epochs: int = Field(
        2, ge=1, le=1000, description="on labels, before the teacher comes in"
    )
    epochs: int = Field(1, ge=1, le=1000, description="of every method")
    lr: float = Field(0.002, gt=0, le=1, description="of every method, Adam's peak")
    samples: int = Field(1, ge=1, le=100, description="responses to each prompt")
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions")
    evaluated: str = Field(
        "test", pattern="^(test|validation)$", description="validation in pilots"
    )
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(
    vocabulary=600, teacher_width=128, teacher_captions=29000, teacher_epochs=8, width=32,
    captions=1280, start_epochs=12, epochs=5, samples=3, seeds=8,
)  # fmt: skip
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={
            "vocabulary": 8000,
            "teacher_width": 1024,
            "teacher_epochs": 20,
            "width": 128,
            "captions": 10000,
            "epochs": 20,
            "seeds": 20,
        }
    ),
}


def arms(p: Parameters) -> Arms:
    """The teacher, and the students of all methods."""
    texts = {
        "name": DATASET, "sha256": parallel_card(DATASET).sha256["train"], "vocabulary": p.vocabulary,
        "shortest": 6, "longest": 14,
    }  # fmt: skip
    data = {**texts, "captions": p.captions}
    teacher_network = {"width": p.teacher_width, "dropout": 0.2}
    network = {"width": p.width}

    def recipe(epochs: int, lr: float, batch: int = 64) -> dict[str, Any]:
        return {"epochs": epochs, "batch_size": batch, "optimiser": "adam", "lr": lr,
                "schedule": "cosine", "precision": "32"}  # fmt: skip

    master = Trial(
        "language_model",
        {"data": {**texts, "captions": p.teacher_captions}, "network": teacher_network,
         "recipe": recipe(p.teacher_epochs, 0.004)},
        TEACHER_SEED,
    )  # fmt: skip
    common = {
        "teacher": master,
        "teacher_network": teacher_network,
        "prompt": PROMPT,
        "samples": p.samples,
    }

    def taught(seed: int, name: str) -> Trial:
        start = Trial(
            "language_model",
            {"data": data, "network": network, "recipe": recipe(p.start_epochs, 0.008, 32)},
            seed,
        )
        return Trial(
            "language_student",
            {"data": {**data, "evaluated": p.evaluated}, "network": network, "recipe": recipe(p.epochs, p.lr),
             "start": start, "method": METHODS[name], **common},
            seed,
        )  # fmt: skip

    found: Arms = {
        "teacher": lambda seed: Trial(
            "language_teacher", {"data": {**data, "evaluated": p.evaluated}, **common}, seed
        )
    }
    for name in METHODS:
        found[name] = lambda seed, name=name: taught(seed, name)
    return found


def measure(arm: str, result: Result) -> dict[str, float]:
    """The metrics of the trials."""
    return dict(result.metrics)


REPRODUCTION = Reproduction("gu2024minillm", arms, measure)

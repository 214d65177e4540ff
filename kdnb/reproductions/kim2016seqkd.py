"""Kim and Rush 2016, "Sequence-Level Knowledge Distillation": should a small translator learn its teacher's translations?

Translators of German captions into English, recurrent with attention: a wide teacher, and narrow students
that learn, with equal numbers of steps, from references, from the teacher's next-word distributions on them
(word level), from the teacher's translations (sequence level), or from both. Some continue with the
translation in the teacher's beam that is most similar to the reference (interpolation); as a control, one
continues with references. Translations are found greedily and by beam search.

Departures: the paper's teachers are LSTMs of 4 x 1000 units on four million sentences; see
`papers/kim2016seqkd/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data.parallel import parallel_card
from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.trials import Result, Trial

DATASET, TEACHER_SEED = "multi30k", 7210
# Arm -> what a student learns from: a corpus, with or without next words. All start from new weights.
LESSONS: dict[str, tuple[str, bool]] = {
    "labels": ("references", False),
    "word": ("references", True),
    "seq": ("translations", False),
    "seq_word": ("translations", True),
}
# Arm -> which student continues, and with what.
GOING_ON: dict[str, tuple[str, str]] = {
    "labels_on": ("labels", "references"),
    "inter": ("labels", "interpolation"),
    "seq_inter": ("seq", "interpolation"),
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    vocabulary: int = Field(1000, ge=100, le=20000, description="of English words; other pairs go")
    source_vocabulary: int = Field(2000, ge=100, le=40000, description="of German words")
    longest: int = Field(12, ge=4, le=50, description="words of a caption")
    pairs: int = Field(1000, ge=100, le=29000, description="for training")
    teacher_width: int = Field(64, ge=8, le=4096)
    teacher_dropout: float = Field(0.3, ge=0, lt=1)
    teacher_epochs: int = Field(2, ge=1, le=1000)
    width: int = Field(32, ge=4, le=4096, description="of students")
    epochs: int = Field(2, ge=1, le=1000, description="of a student that begins anew")
    epochs_on: int = Field(1, ge=1, le=1000, description="of a student that goes on")
    lr: float = Field(0.006, gt=0, le=1, description="Adam's peak for students")
    lr_on: float = Field(0.002, gt=0, le=1, description="of those that go on")
    label_weight: float = Field(1.0, ge=0, le=100, description="beside next words, of weight 1")
    beam: int = Field(5, ge=1, le=100, description="of the teacher's translations")
    oracle_beam: int = Field(10, ge=1, le=100, description="of the interpolation")
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions")
    evaluated: str = Field("test", pattern="^(test|validation)$", description="validation in pilots")  # fmt: skip
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(
    pairs=29000,
    teacher_width=128,
    teacher_epochs=12,
    width=28,
    epochs=20,
    epochs_on=4,
    lr=0.003,
    seeds=10,
)
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={
            "vocabulary": 8000,
            "source_vocabulary": 12000,
            "longest": 40,
            "teacher_width": 1024,
            "teacher_epochs": 20,
            "width": 256,
            "epochs": 20,
            "oracle_beam": 35,
            "seeds": 20,
        }
    ),
}


def arms(p: Parameters) -> Arms:
    """The teacher, and the students of every kind."""
    texts = {
        "name": DATASET, "sha256": parallel_card(DATASET).sha256["train"], "source_vocabulary": p.source_vocabulary,
        "vocabulary": p.vocabulary, "shortest": 3, "longest": p.longest, "pairs": p.pairs,
    }  # fmt: skip
    data = {**texts, "evaluated": p.evaluated}
    wide = {"width": p.teacher_width, "dropout": p.teacher_dropout}
    network = {"width": p.width}

    def recipe(epochs: int, lr: float) -> dict[str, Any]:
        return {"epochs": epochs, "batch_size": 64, "optimiser": "adam", "lr": lr,
                "schedule": "cosine", "precision": "32"}  # fmt: skip

    teacher = Trial(
        "translator",
        {"data": data, "network": wide, "recipe": recipe(p.teacher_epochs, 0.003)},
        TEACHER_SEED,
    )

    def told(beam: int, by: str) -> Trial:
        about = {"data": texts, "network": wide, "teacher": teacher, "beam": beam,
                 "length_power": 1.0, "by": by}  # fmt: skip
        return Trial("translations", about, TEACHER_SEED)

    corpora = {
        "references": None,
        "translations": told(p.beam, "model"),
        "interpolation": told(p.oracle_beam, "oracle"),
    }
    words = {"teacher": teacher, "network": wide, "label_weight": p.label_weight}

    def beginning(name: str, seed: int) -> Trial:
        corpus, by_words = LESSONS[name]
        lesson = {"corpus": corpora[corpus], "words": words if by_words else None}
        about = {"data": data, "network": network, "recipe": recipe(p.epochs, p.lr), **lesson}
        return Trial("translator", about, seed)

    def going_on(name: str, seed: int) -> Trial:
        start, corpus = GOING_ON[name]
        lesson = {"corpus": corpora[corpus], "start": beginning(start, seed)}
        about = {"data": data, "network": network, "recipe": recipe(p.epochs_on, p.lr_on), **lesson}
        return Trial("translator", about, seed)

    found: Arms = {"teacher": lambda seed: teacher}
    for name in LESSONS:
        found[name] = lambda seed, name=name: beginning(name, seed)
    for name in GOING_ON:
        found[name] = lambda seed, name=name: going_on(name, seed)
    return found


def measure(arm: str, result: Result) -> dict[str, float]:
    """The metrics of the trials."""
    return dict(result.metrics)


REPRODUCTION = Reproduction("kim2016seqkd", arms, measure)

"""Wang et al. 2020, MiniLM: distilling attention from a trained sentence encoder into a small one.

A student of two layers first learns without labels from the last layer of a trained encoder of
English sentences, and then from 300 labelled questions (TREC, six classes). We compare the
attention alone, attention with the value relation, TinyBERT's layer-to-layer losses, plain features, and
the controls: no first stage, a teacher with random weights, the attention of another question, masked
words without a teacher, and the soft answers of a classifier on the teacher.

Departures: the paper's teacher is BERT-base, its text is English Wikipedia and BooksCorpus, its students
have 12 heads and 384 or more units, and are fine-tuned on GLUE and SQuAD 2. Here the teacher is itself
derived from MiniLM, and the text is 4,500 questions.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data.texts import text_card
from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.trials import Result, Trial

# Arm -> the first stage: loss, teacher, whether the targets are those of another question.
FIRST: dict[str, dict[str, Any]] = {
    "attention": {"lesson": "attention"},
    "minilm": {"lesson": "minilm"},
    "tinybert": {"lesson": "tinybert"},
    "states": {"lesson": "states"},
    "random_teacher": {"lesson": "attention", "teacher": "random"},
    "swapped": {"lesson": "attention", "swapped": True},
    "words": {"lesson": "words"},
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    labelled: int = Field(300, ge=10, le=4500, description="questions with labels")
    longest: int = Field(16, ge=4, le=64, description="tokens to which a question is cut")
    width: int = Field(96, ge=12, le=768, description="of the student, a multiple of 12 heads")
    layers: int = Field(2, ge=1, le=6, description="of the student; a divisor of 6 for TinyBERT")
    first_epochs: int = Field(2, ge=1, le=1000, description="over all questions, without labels")
    epochs: int = Field(30, ge=1, le=10000, description="over the labelled questions")
    evaluated: Literal["test", "validation"] = "test"
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    arms: list[str] = Field(
        ["labels", "attention", "probe"], description="the arms to run; all when empty"
    )


LAPTOP = Parameters(first_epochs=6, epochs=50, seeds=6, arms=[])
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(update={"first_epochs": 100, "width": 384, "seeds": 20}),
}


def arms(p: Parameters) -> Arms:
    """Students with every first stage and with none, and the linear classifiers on the teachers."""
    data = {"name": "trec", "sha256": text_card("trec").sha256["train"], "longest": p.longest}
    network = {"layers": p.layers, "width": p.width, "heads": 12, "hidden": 2 * p.width}
    unlabelled = text_card("trec").train.size - text_card("trec").validation
    steps = -(-unlabelled // 64)  # in an epoch over all questions

    def recipe(epochs: int, lr: float) -> dict[str, Any]:
        return {"epochs": epochs, "batch_size": 64, "optimiser": "adamw", "lr": lr,
                "schedule": "one_cycle", "weight_decay": 0.01, "precision": "32"}  # fmt: skip

    def first(name: str, seed: int) -> Trial:
        common = {"data": data, "network": network, "recipe": recipe(p.first_epochs, 0.002)}
        return Trial("sentences_untaught", {**common, **FIRST[name]}, seed)

    def probe(seed: int, teacher: str = "trained") -> Trial:
        arguments = {"data": {**data, "evaluated": p.evaluated}, "labelled": p.labelled,
                     "ridge": 0.1, "teacher": teacher}  # fmt: skip
        return Trial("sentences_probed", arguments, seed)

    def second(seed: int, epochs: int = p.epochs, labelled: int = p.labelled, **more: Any) -> Trial:
        arguments = {"data": {**data, "evaluated": p.evaluated}, "network": network,
                     "recipe": recipe(epochs, 0.001), "labelled": labelled, **more}  # fmt: skip
        return Trial("sentences_taught", arguments, seed)

    # As many steps as the first and the second stage together.
    few = -(-p.labelled // 64)
    soft = p.first_epochs + -(-p.epochs * few // steps)
    found: Arms = {
        "labels": second,
        "probe": probe,
        "random_probe": lambda seed: probe(seed, "random"),
        "answers": lambda seed: second(seed, soft, answers=probe(seed)),
    }
    for name in FIRST:
        found[name] = lambda seed, name=name: second(seed, start=first(name, seed))
    return found


def measure(arm: str, result: Result) -> dict[str, float]:
    """Accuracy on the evaluated questions, and errors on the labelled ones, in percent."""
    found = result.metrics
    return {
        "accuracy": 100 * (1 - found["evaluated_errors"] / found["evaluated_sentences"]),
        "errors": found["evaluated_errors"],
        "train_error": 100 * found["train_errors"] / found["train_sentences"],
    }


REPRODUCTION = Reproduction("wang2020minilm", arms, measure)

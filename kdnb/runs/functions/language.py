"""Tiny language models of captions, as runs: trained on labels, then taught by a larger one."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdnb.data.parallel import load_parallel
from kdnb.methods.applications.generation import continuations, logits_of, reading, responses
from kdnb.methods.applications.language_models import (
    distil_language_model,
    teacher_sequences,
    train_language_model,
)
from kdnb.methods.applications.minillm import distil_sequences
from kdnb.methods.applications.text_measures import (
    distinct,
    excess_error,
    likelihood,
    mean_rouge_l,
    written,
)
from kdnb.methods.self_distillation.common import fresh
from kdnb.nets.language import RecurrentLM
from kdnb.runs.task import restored_into, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.metrics import BINS, calibration_error
from kdnb.training.randomness import mix

START, END = 2, 1  # 0 is padding


class Captions(NamedTuple):
    """Captions as tokens: a start, words, an end, padding.

    Attributes:
        words: the word of each token.
        tokens: (captions, longest + 2) int64 of each split.
    """

    words: tuple[str, ...]
    tokens: dict[str, Tensor]


@functools.lru_cache(maxsize=2)
def captions(name: str, vocabulary: int, shortest: int, longest: int) -> Captions:
    """The English side of a parallel corpus, in lower case, without punctuation.

    Only captions of `shortest` to `longest` words that are all among the `vocabulary` most frequent words of
    the training split are kept, without duplicates within a split or captions of the training split.
    """
    texts = load_parallel(name)
    split = {
        part: [tuple(re.findall(r"[a-z]+", line.lower())) for line in one.lines["en"]]
        for part, one in texts.items()
    }
    counts = Counter(word for row in split["train"] for word in row)
    known = sorted(counts, key=lambda word: (-counts[word], word))[:vocabulary]
    places = {word: place for place, word in enumerate(known, 3)}
    tokens, seen = {}, set()
    for part in ("train", "validation", "test"):
        kept = [
            row for row in dict.fromkeys(split[part])
            if shortest <= len(row) <= longest and all(word in places for word in row) and row not in seen
        ]  # fmt: skip
        seen.update(kept)
        made = torch.zeros(len(kept), longest + 2, dtype=torch.int64)
        for into, row in zip(made, kept, strict=True):
            into[: len(row) + 2] = torch.tensor([START, *(places[word] for word in row), END])
        tokens[part] = made
    return Captions(("", "(end)", "(start)", *known), tokens)


def _captions_of(data: dict[str, Any]) -> Captions:
    return captions(data["name"], data["vocabulary"], data["shortest"], data["longest"])


def _network(network: dict[str, Any], data: dict[str, Any], seed: int) -> RecurrentLM:
    return fresh(lambda: RecurrentLM(len(_captions_of(data).words), **network), seed)


def _taught_rows(data: dict[str, Any], seed: int) -> Tensor:
    """The training captions of a seed."""
    tokens = _captions_of(data).tokens["train"]
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(mix(seed, 2)))
    return tokens[order[: data["captions"]]]


def language_model(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
) -> Outcome:
    """A language model trained on captions: a teacher, or a student before it is taught.

    Args:
        data: {"name", "sha256", "vocabulary", "shortest", "longest", "captions"}: the last is the number of
            training captions, drawn by the seed.
        network: of `RecurrentLM`.

    Returns:
        The likelihoods of training and validation captions in nats per token, epoch by epoch for the second, and
        the weights.
    """
    model, rows = _network(network, data, mix(seed, 1)), _taught_rows(data, seed)
    held_out = _captions_of(data).tokens["validation"]
    fit = train_language_model(
        model, rows, Recipe(**recipe), seed=mix(seed, 4), checkpoint=context.checkpoint
    )
    metrics = {"train_nll": likelihood(model, rows), "validation_nll": likelihood(model, held_out)}
    return Outcome(metrics, {"words": list(fit.history.words)}, weights_kept(model))


def language_student(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    start: Result,
    teacher: Result,
    teacher_network: dict[str, Any],
    prompt: int,
    method: dict[str, Any],
    samples: int,
) -> Outcome:
    """A student that is taught after training on labels, and measures of its texts.

    Args:
        data: as in `language_model`, and {"evaluated"}: "test", or "validation" in pilots.
        start, teacher: trials of `language_model`; the student's has the same seed.
        prompt: number of given words, from which the student continues.
        method: {"kind": "none"} leaves the student unchanged; "labels"; "sequences" (sequence-level: samples
            of the teacher); "words" with options of `distil_language_model`; "minillm" with options of
            `distil_sequences`.
        samples: number of responses drawn for every prompt of the evaluated captions.

    Returns:
        On evaluated captions: `nll`, `teacher_nll` of the captions; of drawn responses `own`, `teachers`, `reverse` (nats per
        token), `rouge` (percent, mean over samples), `distinct` (percent); `excess` (percent) and `calibration`
        (percent, expected calibration error of the next word).
    """
    given = prompt + 1  # the start counts
    student = restored_into(_network(network, data, 0), start)
    master = restored_into(_network(teacher_network, data, 0), teacher).eval()
    rows, plan = _taught_rows(data, seed), Recipe(**recipe)
    options: dict[str, Any] = {
        "prompt": given,
        "seed": mix(seed, 5),
        "checkpoint": context.checkpoint,
    }
    kind, more = method["kind"], {k: v for k, v in method.items() if k != "kind"}
    if "divergence" in more:
        more["kind"] = more.pop("divergence")
    if kind == "labels":
        train_language_model(student, rows, plan, **options)
    elif kind == "sequences":
        told = teacher_sequences(master, rows, prompt=given, end=END, beam=None, seed=mix(seed, 6))
        train_language_model(student, told, plan, **options)
    elif kind == "words":
        distil_language_model(student, master, rows, plan, end=END, **options, **more)
    elif kind == "minillm":
        distil_sequences(student, master, rows, plan, end=END, **options, **more)
    elif kind != "none":
        raise ValueError(f"unknown kind {kind!r} of method.")
    evaluated = _captions_of(data).tokens[data["evaluated"]]
    return Outcome(
        _measured(student, master, evaluated, given, samples, mix(seed, 7)),
        {},
        weights_kept(student),
    )


def language_teacher(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    teacher_network: dict[str, Any],
    prompt: int,
    samples: int,
) -> Outcome:
    """The teacher, measured like its students; arguments as in `language_student`."""
    master = restored_into(_network(teacher_network, data, 0), teacher).eval()
    evaluated = _captions_of(data).tokens[data["evaluated"]]
    return Outcome(_measured(master, master, evaluated, prompt + 1, samples, mix(seed, 7)))


def _measured(
    student: nn.Module, teacher: nn.Module, rows: Tensor, given: int, samples: int, seed: int
) -> dict[str, float]:
    """What `language_student` returns."""
    generator = torch.Generator().manual_seed(seed)
    longest, prompts = rows.shape[1] - given, rows[:, :given].repeat(samples, 1)
    drawn = continuations(student, prompts, longest=longest, end=END, generator=generator).tokens
    said = written(student, teacher, drawn, given)
    found = {
        "nll": likelihood(student, rows, given),
        "teacher_nll": likelihood(teacher, rows, given),
        "own": said.own,
        "teachers": said.teachers,
        "reverse": said.reverse,
        "rouge": 100 * mean_rouge_l(drawn, rows.repeat(samples, 1), given, END),
        "distinct": 100 * distinct(drawn, given),
        # The number of bins is that of the first record; `kdnb.evaluate` uses more.
        "calibration": 100 * next_word_calibration(student, rows, given, bins=10),
    }
    if student is not teacher:
        found["excess"] = excess_error(
            student, teacher, prompts, longest=longest, end=END, generator=generator
        )
    return found


def next_word_calibration(model: nn.Module, rows: Tensor, given: int, bins: int = BINS) -> float:
    """The expected calibration error of the likeliest next token, a share."""
    with reading(model):
        probabilities = logits_of(model, rows)[:, :-1].softmax(2)
    present = responses(rows, given)
    sure, guess = (one[present] for one in probabilities.max(2))
    return calibration_error(sure, guess == rows[:, 1:][present], bins)

"""Small translators of captions, as runs: from references, a teacher's translations or next words."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdnb.data.parallel import load_parallel
from kdnb.methods.applications.generation import beam_continuations, continuations
from kdnb.methods.applications.language_models import (
    distil_language_model,
    teacher_sequences,
    train_language_model,
)
from kdnb.methods.applications.text_measures import bleu, likelihood
from kdnb.methods.self_distillation.common import fresh
from kdnb.nets.translation import Translator
from kdnb.runs.task import restored_into, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.randomness import mix

END, START, UNKNOWN = 1, 2, 2  # 0 is padding; a start opens targets, and sources have unknown words
BEAM = {"beam": 5, "length_power": 1.0}
WORD = re.compile(r"[^\W\d_]+")


class Pairs(NamedTuple):
    """Captions in two languages as tokens: a source padded by end tokens, a start, a target, an end, padding.

    Attributes:
        source_words, words: the word of each token.
        tokens: (pairs, 2 * longest + 2) int64 of each split; the first `longest` are the source.
    """

    source_words: tuple[str, ...]
    words: tuple[str, ...]
    tokens: dict[str, Tensor]


@functools.lru_cache(maxsize=2)
def pairs(name: str, source_vocabulary: int, vocabulary: int, shortest: int, longest: int) -> Pairs:
    """A parallel corpus, German to English, in lower case, without punctuation.

    Only pairs of `shortest` to `longest` words on either side whose English words are all among the
    `vocabulary` most frequent ones of the training split are kept, without sources that occur twice in a
    split or in an earlier split. German words that are not among the `source_vocabulary` most frequent ones
    are unknown.
    """
    splits: dict[str, list[tuple[tuple[str, ...], ...]]] = {}
    for part, one in load_parallel(name).items():
        sides = zip(one.lines["de"], one.lines["en"], strict=True)
        splits[part] = [tuple(tuple(WORD.findall(line.lower())) for line in row) for row in sides]

    def frequent(side: int, count: int) -> tuple[str, ...]:
        counts = Counter(word for row in splits["train"] for word in row[side])
        return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:count])

    theirs, ours = frequent(0, source_vocabulary), frequent(1, vocabulary)
    source_places, places = ({word: 3 + i for i, word in enumerate(one)} for one in (theirs, ours))
    tokens, seen = {}, set()
    for part in ("train", "validation", "test"):
        kept: dict[tuple[str, ...], tuple[str, ...]] = {}
        for source, target in splits[part]:
            short = all(shortest <= len(side) <= longest for side in (source, target))
            if short and source not in seen and all(word in places for word in target):
                kept.setdefault(source, target)
        seen.update(kept)
        made = torch.zeros(len(kept), 2 * longest + 2, dtype=torch.int64)
        made[:, :longest], made[:, longest] = END, START
        for row, (source, target) in zip(made, kept.items(), strict=True):
            row[: len(source)] = torch.tensor([source_places.get(word, UNKNOWN) for word in source])
            said = torch.tensor([*(places[word] for word in target), END])
            row[longest + 1 : longest + 1 + len(said)] = said
        tokens[part] = made
    return Pairs(("", "(end)", "(unknown)", *theirs), ("", "(end)", "(start)", *ours), tokens)


def _pairs_of(data: dict[str, Any]) -> Pairs:
    names = ("name", "source_vocabulary", "vocabulary", "shortest", "longest")
    return pairs(*(data[name] for name in names))


def _network(network: dict[str, Any], data: dict[str, Any], seed: int) -> Translator:
    found = _pairs_of(data)
    sizes = len(found.source_words), len(found.words)
    return fresh(lambda: Translator(*sizes, source=data["longest"], end=END, **network), seed)


def _taught_rows(data: dict[str, Any]) -> Tensor:
    """The training pairs: the same for teacher and students."""
    return _pairs_of(data).tokens["train"][: data["pairs"]]


def translator(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    start: Result | None = None,
    corpus: Result | None = None,
    words: dict[str, Any] | None = None,
) -> Outcome:
    """A translator: a teacher, or a student of references, of a teacher's translations, or of its next words.

    Args:
        data: {"name", "sha256", "source_vocabulary", "vocabulary", "shortest", "longest", "pairs",
            "evaluated"}: "pairs" is the number of training pairs, the first ones;
            "evaluated" is "test", or "validation" in pilots.
        network: of `Translator`.
        start: a trial of this function, from whose weights it starts.
        corpus: a trial of `translations`, instead of the references.
        words: {"teacher", "network", "label_weight"}: the teacher, a trial of this function, gives its next words too.

    Returns:
        On evaluated pairs: `greedy` and `beam`, the BLEU in percent of greedy decoding and of a beam of 5
        (ranked by nats per token); `mode`, the mean probability of the beam's first translation in percent;
        `nll`, of the references in nats per token. On training pairs: `train_nll` of the targets.
    """
    given, plan = data["longest"] + 1, Recipe(**recipe)
    model = _network(network, data, mix(seed, 1))
    if start is not None:
        restored_into(model, start)
    rows = _taught_rows(data) if corpus is None else corpus.tensors()["tokens"]
    options: dict[str, Any] = {"prompt": given, "seed": mix(seed, 4), "checkpoint": context.checkpoint}  # fmt: skip
    if words is None:
        train_language_model(model, rows, plan, **options)
    else:
        master = restored_into(_network(words["network"], data, 0), words["teacher"]).eval()
        weight = words["label_weight"]
        distil_language_model(model, master, rows, plan, end=END, label_weight=weight, **options)
    found = _measured(model, _pairs_of(data).tokens[data["evaluated"]], given)
    return Outcome({**found, "train_nll": likelihood(model, rows, given)}, {}, weights_kept(model))


def translations(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    beam: int,
    length_power: float,
    by: str,
) -> Outcome:
    """A teacher's translations of the training sources, see `teacher_sequences`; by the oracle for interpolation.

    Returns:
        `bleu` with the references in percent, and the tokens.
    """
    given, rows = data["longest"] + 1, _taught_rows(data)
    master = restored_into(_network(network, data, 0), teacher).eval()
    search = {"beam": beam, "length_power": length_power, "by": by}
    said = teacher_sequences(master, rows, prompt=given, end=END, **search)
    return Outcome({"bleu": 100 * bleu(said, rows, given, END)}, {}, {"tokens": said})


def _measured(model: nn.Module, rows: Tensor, given: int) -> dict[str, float]:
    """The results of `translator` on evaluated pairs."""
    prompts, options = rows[:, :given], {"longest": rows.shape[1] - given, "end": END}
    greedy = continuations(model, prompts, greedy=True, **options).tokens
    beams, totals = beam_continuations(model, prompts, **BEAM, **options)
    return {
        "greedy": 100 * bleu(greedy, rows, given, END),
        "beam": 100 * bleu(beams[:, 0], rows, given, END),
        "mode": 100 * float(totals[:, 0].double().exp().mean()),
        "nll": likelihood(model, rows, given),
    }

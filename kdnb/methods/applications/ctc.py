"""Distillation of recognisers that align themselves: CTC by frames, by sequences, and guided.

Each CTC model places its spikes in different frames, which prevents frame-wise distillation. Kurata
and Audhkhasi 2019 align the spikes first; others (Takashima et al. 2018, recalled) distil the
teacher's likeliest sequences, as Wong and Gales 2016 do for models with alignments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import (
    ctc_log_probability,
    frame_distillation,
    sequence_distillation,
    spike_guidance,
)
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.applications.acoustic import Inputs, frame_logits, teachers_logits
from kdnb.methods.applications.frames import fit_sequences
from kdnb.methods.multi_teacher.sequences import Hypothesis, edit_rate
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.training import Fit, Networks, Recipe

Level = Literal["sequence", "frame", "guided"]


def train_ctc(
    model: nn.Module,
    data: tuple[Inputs, Tensor],
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    """Train a recogniser on token sequences without alignment.

    Args:
        model: frames and lengths -> logits (batch, frames, classes), class 0 the blank.
        data: ((frames, lengths), tokens), the tokens (sequences, most) from 1, then -1.
        recipe, seed, checkpoint, fields: as in `kdnb.train`.

    Returns:
        The history, with the term `hard` in nats per sequence; the model as
        `fit.networks["model"]`.
    """
    recipe = recipe_of(train_ctc, recipe, fields)

    def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
        return {"hard": _ctc(networks["model"](*batch.images), batch.images[1], batch.labels)}

    return fit_sequences(
        model, data, recipe, terms, {"verb": "train_ctc"}, seed, checkpoint, fields
    )


def distil_ctc(
    student: nn.Module,
    teacher: nn.Module | Tensor,
    data: tuple[Inputs, Tensor] | Inputs,
    recipe: Recipe | None = None,
    *,
    level: Level = "sequence",
    beam: int = 5,
    weight: float = 1.0,
    label_weight: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train a CTC student on the answers of a CTC teacher.

    .. math:: L = w\, L_{level} + w_h\, (-\log P_S(y \mid O))

    - "sequence": :math:`\sum_{H} P_T(H) \log (P_T(H) / P_S(H))` over the teacher's `beam` likeliest
      token sequences, with the student's CTC probability
      (:func:`kdnb.losses.sequence_distillation`). The student is free to place its spikes.
    - "frame": :func:`kdnb.losses.frame_distillation`. The student must spike where the teacher
      does.
    - "guided": :func:`kdnb.losses.spike_guidance`, added to the CTC loss of labels.

    Args:
        student: trained in place.
        teacher: frozen, evaluated once per sequence; or its logits.
        data: ((frames, lengths), tokens), or (frames, lengths) where labels are not used.
        level: as above.
        beam: the number of hypotheses for the level "sequence".
        weight, label_weight: w and w_h.
        temperature: T of the level "frame".
        recipe, seed, checkpoint, fields: as in `kdnb.train`.

    Returns:
        The history, with the level's name and `hard` as terms; the student as
        `fit.networks["model"]`.

    Raises:
        ValueError: for an unknown level, weights that are all 0, or labels that are missing.

    Departures: the papers' texts were not available; weighting hypotheses by the teacher's
    posterior over the list is recalled.
    """
    recipe = recipe_of(distil_ctc, recipe, fields)
    check_choice(("sequence", "frame", "guided"), level=level)
    check_weights_of_terms(weight=weight, label_weight=label_weight)
    check_number(least=1, whole=True, beam=beam)
    check_number(above=0, temperature=temperature)
    inputs, tokens = data if isinstance(data[0], (tuple, list)) else (data, None)
    if tokens is None and (label_weight or level == "guided"):
        raise ValueError("labels are needed, for label_weight and for guidance: give tokens.")
    if level == "guided" and not label_weight:
        raise ValueError("guidance says when and not what: give a label_weight above 0.")
    answers = teachers_logits(teacher, inputs)
    lists = n_best(answers, inputs[1], beam) if level == "sequence" and weight else None

    def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
        lengths, place = batch.images[1], batch.index
        logits, found = networks["model"](*batch.images), {}
        if lists is not None:
            scores = ctc_log_probability(logits, lengths, lists.tokens[place])
            found[level] = weight * sequence_distillation(
                scores, lists.scores[place], normalise=False
            )
        elif weight and level == "frame":
            found[level] = weight * frame_distillation(logits, answers[place], lengths, temperature)
        elif weight:
            found[level] = weight * spike_guidance(logits, answers[place], lengths)
        if label_weight:
            found["hard"] = label_weight * _ctc(logits, lengths, batch.labels)
        return found

    about = {"verb": "distil_ctc", "level": level, "beam": beam, "weight": weight,
             "label_weight": label_weight, "temperature": temperature}  # fmt: skip
    return fit_sequences(student, (inputs, tokens), recipe, terms, about, seed, checkpoint, fields)


class Lists(NamedTuple):
    """The likeliest token sequences of several recordings.

    Attributes:
        tokens: (recordings, hypotheses, most) int64, padded by -1.
        scores: (recordings, hypotheses) log-probabilities; minus infinity where a list is shorter.
    """

    tokens: Tensor
    scores: Tensor


@torch.no_grad()
def n_best(logits: Tensor, lengths: Tensor, beam: int) -> Lists:
    """The `beam` likeliest token sequences of each recording, with their exact probabilities.

    Args:
        logits: (recordings, frames, classes), class 0 the blank.
        lengths: (recordings,).
    """
    logs = logits.float().log_softmax(2)
    found = [
        [one.tokens for one in prefix_beam_search(row[:n].tolist(), beam)]
        for row, n in zip(logs, lengths.tolist(), strict=True)
    ]
    most = max(1, *(len(tokens) for row in found for tokens in row))
    tokens = torch.full((len(found), beam, most), -1)
    there = torch.zeros(len(found), beam, dtype=torch.bool)
    for row, listed in enumerate(found):
        for place, one in enumerate(listed):
            tokens[row, place, : len(one)] = torch.tensor(one, dtype=torch.int64)
            there[row, place] = True
    scores = ctc_log_probability(logits, lengths, tokens)
    return Lists(tokens, scores.masked_fill(~there, -torch.inf))


def prefix_beam_search(
    log_probabilities: Sequence[Sequence[float]], beam: int, blank: int = 0, least: float = -14.0
) -> list[Hypothesis]:
    """The likeliest token sequences of one recording, summing over all paths of each.

    Args:
        log_probabilities: of each frame, of each class.
        beam: the number of sequences kept in every frame, and the most that are returned.
        blank: the class that stands for no token.
        least: classes less likely than this in a frame do not extend a sequence there.

    Returns:
        The sequences, best first, each with a lower bound of its log-probability: paths through
        sequences dropped on the way are not counted.
    """
    check_number(least=1, whole=True, beam=beam)
    never = -math.inf
    # For each sequence: the log-probability of its paths that end in a blank, and in its last
    # token.
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, never)}
    for frame in log_probabilities:
        likely = [k for k, value in enumerate(frame) if k != blank and value > least]
        grown: dict[tuple[int, ...], list[float]] = {}
        for tokens, (in_blank, in_token) in kept.items():
            both = _log_sum(in_blank, in_token)
            own = grown.setdefault(tokens, [never, never])
            own[0] = _log_sum(own[0], both + frame[blank])
            if tokens:
                own[1] = _log_sum(own[1], in_token + frame[tokens[-1]])
            for k in likely:
                before = in_blank if tokens and tokens[-1] == k else both
                longer = grown.setdefault((*tokens, k), [never, never])
                longer[1] = _log_sum(longer[1], before + frame[k])
        ranked = sorted(grown.items(), key=lambda one: -_log_sum(*one[1]))
        kept = {tokens: (ends[0], ends[1]) for tokens, ends in ranked[:beam]}
    found = [Hypothesis(tokens, _log_sum(*ends)) for tokens, ends in kept.items()]
    return [one for one in found if one.log_probability > never]


def greedy_tokens(logits: Tensor, lengths: Tensor, blank: int = 0) -> list[tuple[int, ...]]:
    """The tokens of the likeliest path: equal neighbours are merged and blanks removed."""
    found = []
    for path, n in zip(logits.argmax(2).tolist(), lengths.tolist(), strict=True):
        changes = [k for place, k in enumerate(path[:n]) if place == 0 or path[place - 1] != k]
        found.append(tuple(k for k in changes if k != blank))
    return found


def token_error_rate(
    model: nn.Module | Tensor, inputs: Inputs, tokens: Tensor, blank: int = 0
) -> float:
    """Insertions, deletions and substitutions, in percent of the reference tokens.

    If tokens are words, this is the word error rate. It may exceed 100.

    Args:
        model: or its logits.
        tokens: (sequences, most) integers, then -1.
    """
    logits = model if isinstance(model, Tensor) else frame_logits(model, inputs)
    heard = greedy_tokens(logits, inputs[1], blank)
    asked = [[k for k in row if k >= 0] for row in tokens.tolist()]
    edits = sum(edit_rate(h, a) * max(1, len(a)) for h, a in zip(heard, asked, strict=True))
    return 100 * edits / sum(len(a) for a in asked)


def _ctc(logits: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
    """The CTC loss in nats per sequence."""
    return -ctc_log_probability(logits, lengths, tokens[:, None]).mean()


def _log_sum(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))

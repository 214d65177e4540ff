"""Language models as teacher and student: word-level, sequence-level and on-policy distillation.

Kim and Rush 2016: a student learns the teacher's next-token distributions (word level), or the
sequences that the teacher writes (sequence level). Agarwal et al. 2024 (GKD): other divergences,
and sequences sampled from the student. Xu et al. 2025: sequences written by both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses.checks import at_least_float32, check_choice, check_number
from kdnb.losses.token_divergence import Divergence, token_divergence
from kdnb.methods.applications.generation import (
    beam_continuations,
    continuations,
    interleaved,
    logits_of,
    responses,
    without_padding,
    words_of,
)
from kdnb.methods.multi_teacher.sequences import choose
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.inputs import batches_for


def next_token_loss(logits: Tensor, tokens: Tensor, prompt: int) -> Tensor:
    """The negative log-likelihood of responses, in nats per token.

    Args:
        logits: (batch, length, vocabulary) of the next token after each prefix.
        tokens: (batch, length) int64.
        prompt: the number of leading tokens that are given; 1 predicts all but the first.

    Returns:
        A scalar: the mean over a response's tokens, and over sequences, as in
        `kdnb.losses.token_divergence`.
    """
    present = responses(tokens, prompt)[:, prompt - 1 :]
    logs = at_least_float32(logits)[:, prompt - 1 : -1].log_softmax(2)
    each = -logs.gather(2, tokens[:, prompt:, None])[..., 0]
    weights = present / present.sum(1, keepdim=True).clamp_min(1)
    return (each.masked_fill(~present, 0) * weights).sum(1).mean()


def train_language_model(
    model: nn.Module,
    tokens: Tensor,
    recipe: Recipe | None = None,
    *,
    prompt: int = 1,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    """Train a language model by likelihood.

    On a teacher's sequences, this is sequence-level distillation.

    Args:
        model: (batch, length) integers to logits of the next token.
        tokens: (sequences, length) int64, see `kdnb.methods.applications.generation`.
        prompt: the number of leading tokens that are given and not learnt.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.
    """
    recipe = recipe_of(train_language_model, recipe, fields)
    batches = batches_for(tokens, recipe, seed, "none", given=fields)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        cut = without_padding(batch.images)
        return {"words": next_token_loss(logits_of(networks["model"], cut), cut, prompt)}

    history = fit(
        {"model": model}, batches, Update(("model",), terms), recipe, seed=seed,
        checkpoint=checkpoint, identity={"method": {"verb": "train_language_model", "prompt": prompt}},
    )  # fmt: skip
    return Fit.of(history, {"model": model})


def distil_language_model(
    student: nn.Module,
    teacher: nn.Module,
    tokens: Tensor,
    recipe: Recipe | None = None,
    *,
    prompt: int = 1,
    end: int = 1,
    kind: Divergence = "forward",
    teacher_share: float = 0.5,
    on_policy: float = 0.0,
    top: int | None = None,
    label_weight: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Teach next-token distributions along given or student-generated sequences (GKD).

    .. math:: L = (1 - \lambda)\, \mathrm E_{(x, y)} D(p \| q)(y \mid x)
        + \lambda\, \mathrm E_x \mathrm E_{y \sim q(\cdot \mid x)} D(p \| q)(y \mid x)

    with D as in :func:`kdnb.losses.token_divergence`. Each batch uses one kind of sequences, the
    student's own with probability lambda. lambda = 0 and "forward" is word-level distillation.

    Args:
        student, teacher: language models of one vocabulary.
        tokens: (sequences, length) int64; on-policy batches use only their prompts.
        prompt: the number of leading tokens that are given.
        end: the token that ends a response.
        kind, teacher_share: the divergence.
        on_policy: lambda, from 0 to 1.
        top: if given, the student's sequences are written with the teacher's corrections
            (speculative knowledge distillation,
            :func:`kdnb.methods.applications.generation.interleaved`).
        label_weight: weight of the added likelihood of the given sequences.
        temperature: the sampling temperature of the student.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.

    Returns:
        The history: `divergence`, and `words` where labels have a weight.
    """
    recipe = recipe_of(distil_language_model, recipe, fields)
    check_number(least=0, most=1, on_policy=on_policy)
    check_number(least=0, label_weight=label_weight)
    batches = batches_for(tokens, recipe, seed, "none", given=fields)
    longest = tokens.shape[1] - prompt

    def drawn(batch: Tensor) -> Tensor:
        given = batch[:, :prompt]
        if top is not None:
            return interleaved(student, teacher, given, longest=longest, end=end, top=top)
        return continuations(
            student, given, longest=longest, end=end, temperature=temperature
        ).tokens

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        own = on_policy > 0 and float(torch.rand(())) < on_policy
        sequences = without_padding(drawn(batch.images) if own else batch.images)
        said = logits_of(networks["student"], sequences)
        with torch.no_grad():
            aim = logits_of(networks["teacher"], sequences)
        # The prompt does not count.
        present = responses(sequences, prompt)[:, prompt - 1 :]
        ours, theirs = said[:, prompt - 1 : -1], aim[:, prompt - 1 : -1]
        found = {"divergence": token_divergence(ours, theirs, present, kind, teacher_share)}
        if label_weight:
            labelled = without_padding(batch.images)
            if own:
                said = logits_of(networks["student"], labelled)
            found["words"] = label_weight * next_token_loss(said, labelled, prompt)
        return found

    settings = {
        "verb": "distil_language_model", "prompt": prompt, "end": end, "kind": kind,
        "teacher_share": teacher_share, "on_policy": on_policy, "top": top,
        "label_weight": label_weight, "temperature": temperature,
    }  # fmt: skip
    history = fit(
        {"student": student, "teacher": teacher}, batches, Update(("student",), terms), recipe,
        seed=seed, checkpoint=checkpoint, identity={"method": settings},
    )  # fmt: skip
    return Fit.of(history, {"student": student})


def teacher_sequences(
    teacher: nn.Module,
    tokens: Tensor,
    *,
    prompt: int = 1,
    end: int = 1,
    beam: int | None = 4,
    length_power: float = 0.0,
    by: Literal["model", "oracle"] = "model",
    seed: int = 0,
    batch: int = 256,
) -> Tensor:
    r"""A teacher's answers to prompts, for sequence-level distillation (Kim and Rush 2016).

    .. math:: \hat y = \arg\max_{y \in \mathcal B} p(y \mid x), \qquad
        \tilde y = \arg\max_{y \in \mathcal B} \mathrm{BLEU}(y, y^\star)

    with the teacher's beam and the given answer y*. "model" takes the first, "oracle" the second,
    which is sequence-level interpolation; its BLEU is
    :func:`kdnb.methods.multi_teacher.sentence_bleu`.

    Args:
        teacher: a language model.
        tokens: (sequences, length) int64: the prompts; for the oracle with their given answers.
        prompt, end: as in `distil_language_model`.
        beam, length_power: of the beam search, see `beam_continuations`; a beam of None draws one
            sequence.
        by: how to choose from the beam.
        seed: for the drawing.

    Returns:
        (sequences, length) int64. Train on it by `train_language_model`.

    Raises:
        ValueError: for an oracle without a beam.

    Departures: the paper's text was not available; the oracle's smoothed sentence BLEU is recalled.
    """
    check_choice(("model", "oracle"), by=by)
    if by == "oracle" and beam is None:
        raise ValueError("the oracle chooses among a beam: give beam a number.")
    generator = torch.Generator(device=tokens.device).manual_seed(seed)
    longest, found = tokens.shape[1] - prompt, []
    for rows in tokens.split(batch):
        asked = rows[:, :prompt]
        if beam is None:
            said = continuations(
                teacher, asked, longest=longest, end=end, generator=generator
            ).tokens
        else:
            beams, _ = beam_continuations(
                teacher, asked, longest=longest, end=end, beam=beam, length_power=length_power
            )
            said = beams[:, 0]
            if by == "oracle":
                said = torch.stack([_closest(*pair, prompt, end) for pair in zip(beams, rows, strict=True)])  # fmt: skip
        found.append(said)
    return torch.cat(found)


def _closest(beam: Tensor, reference: Tensor, prompt: int, end: int) -> Tensor:
    """The row of a beam whose response is most similar to the reference's."""
    said = [words_of(row, prompt, end) for row in beam.tolist()]
    chosen = choose(said, words_of(reference.tolist(), prompt, end), "oracle")
    return beam[said.index(list(chosen))]

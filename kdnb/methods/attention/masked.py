"""Masked language modelling (Devlin et al. 2019): learn from text without a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses.checks import check_number
from kdnb.methods.options import recipe_of
from kdnb.names import brief
from kdnb.nets import features
from kdnb.nets.transformer import PADDING, TextEncoder
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for


def hidden_words(tokens: Tensor, share: float) -> Tensor:
    """Draw the words of each sentence to hide, at least one: booleans of the shape of the tokens.

    Args:
        tokens: (sentences, length) integers, 0 for padding.
        share: the share of hidden words.
    """
    hidden = (torch.rand(tokens.shape) < share).to(tokens.device) & (tokens != PADDING)
    hidden[:, 0] |= ~hidden.any(1) & (tokens[:, 0] != PADDING)  # so that there is a mean
    return hidden


def model_masked_words(
    student: TextEncoder,
    tokens: Any,
    recipe: Recipe | None = None,
    *,
    mask: int,
    share: float = 0.15,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    """Train an encoder to predict hidden words from the words around them.

    Args:
        student: its own embeddings, with a bias per word, give the logits of the words.
        tokens: (sentences, length) integers, 0 for padding.
        mask: the token that stands for a hidden word.
        share: the share of words that are hidden, drawn again in every epoch; 0.15 in the paper.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.

    Raises:
        TypeError: for a student that is not a `TextEncoder`.
        ValueError: for a mask outside the vocabulary, tokens that are not integers, a sentence of
            only padding, or as `kdnb.distil`.

    Departures: every hidden word is replaced by `mask`; the paper leaves a tenth unchanged and
    replaces a tenth by other words.
    """
    recipe = recipe_of(model_masked_words, recipe, fields)
    check_number(above=0, most=1, share=share)
    if not isinstance(student, TextEncoder):
        raise TypeError(f"student must be a TextEncoder; got {brief(student)}.")
    words = student.words.num_embeddings
    check_number(least=1, most=words - 1, whole=True, mask=mask)
    batches = batches_for(tokens, recipe, seed, "none", given=fields)
    _check_tokens(first_batch(batches, seed).images, words)
    bias = nn.Linear(student.words.num_embeddings, 1, bias=False)  # a bias for each word
    nn.init.zeros_(bias.weight)
    last = f"blocks.{len(student.blocks) - 1}"

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        words = batch.images
        hidden = hidden_words(words, share)
        with features(student, [last]) as seen:
            networks["student"](words.masked_fill(hidden, mask))
            states = seen[last]
        hidden = hidden[:, : states.shape[1]]
        scores = states[hidden] @ student.words.weight.T + bias.weight[0]
        return {"words": F.cross_entropy(scores, words[:, : states.shape[1]][hidden])}

    history = fit(
        {"student": student, "bias": bias}, batches, Update(("student", "bias"), terms), recipe,
        seed=seed, checkpoint=checkpoint, identity={"method": {"verb": "model_masked_words", "share": share}},
    )  # fmt: skip
    return Fit.of(history, {"student": student})


def _check_tokens(tokens: Any, words: int) -> None:
    whole = isinstance(tokens, Tensor) and tokens.dtype in (torch.int64, torch.int32)
    if not whole or tokens.ndim != 2:
        got = (
            f"{tokens.dtype} {tuple(tokens.shape)}"
            if isinstance(tokens, Tensor)
            else type(tokens).__name__
        )
        raise ValueError(f"tokens must be integers (sentences, length); got {got}.")
    lowest, highest = map(int, tokens.aminmax())
    if not 0 <= lowest <= highest < words:
        raise ValueError(
            f"tokens must lie in 0 to {words - 1}, the student's vocabulary; got {lowest} to {highest}."
        )
    if not bool((tokens[:, 0] != PADDING).all()):
        raise ValueError("every sentence must begin with a word; got one that begins with padding.")

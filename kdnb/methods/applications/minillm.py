"""MiniLLM (Gu et al. 2024): the student's own sequences, judged as a whole by the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses.checks import Variant, check_number
from kdnb.losses.minillm import minillm
from kdnb.methods.applications.generation import (
    continuations,
    logits_of,
    responses,
    without_padding,
)
from kdnb.methods.applications.language_models import next_token_loss
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.inputs import batches_for


def distil_sequences(
    student: nn.Module,
    teacher: nn.Module,
    tokens: Tensor,
    recipe: Recipe | None = None,
    *,
    prompt: int = 1,
    end: int = 1,
    share: float = 0.2,
    plain_weight: float = 1.0,
    clip: float | None = 0.2,
    length_normalised: bool = True,
    variant: Variant = "paper",
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""MiniLLM (Gu et al. 2024): minimise KL(q ‖ p) of whole sequences by `kdnb.losses.minillm`.

    It uses MiniLLM's three stabilisers. Each batch draws new sequences from a mixture of teacher
    and student and makes one step with them. The likelihood of the given sequences is added.

    Args:
        student, teacher: language models of one vocabulary. The student is already trained on
            labels.
        tokens: (sequences, length) int64: the prompts, and plain text for the likelihood.
        prompt: the number of leading tokens that are given.
        end: the token that ends a response.
        share: alpha of the mixture; 0.2 in the paper.
        plain_weight: weight of the likelihood.
        clip, length_normalised, variant: of the loss.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.

    Returns:
        The history: `sequences`, of which only the gradient is meaningful, and `words`.

    Departures: one step for each batch of drawn sequences, where the authors make several. Their
    plain text is the pre-training corpus; here the likelihood is that of the given sequences.
    """
    recipe = recipe_of(distil_sequences, recipe, fields)
    check_number(least=0, plain_weight=plain_weight)
    check_number(least=0, most=1, share=share)
    batches = batches_for(tokens, recipe, seed, "none", given=fields)
    longest = tokens.shape[1] - prompt

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        given = without_padding(batch.images)
        drawn = continuations(
            student, given[:, :prompt], longest=longest, end=end,
            mixed=teacher if share else None, share=share,
        )  # fmt: skip
        tokens = without_padding(drawn.tokens)
        said = logits_of(networks["student"], tokens)
        with torch.no_grad():
            aim = logits_of(networks["teacher"], tokens)
        response = tokens[:, prompt:]
        loss = minillm(
            said[:, prompt - 1 : -1], aim[:, prompt - 1 : -1], response,
            responses(tokens, prompt)[:, prompt - 1 :], drawn.weights[:, : response.shape[1]],
            clip=clip, length_normalised=length_normalised, variant=variant,
        )  # fmt: skip
        found = {"sequences": loss}
        if plain_weight:
            plain = logits_of(networks["student"], given)
            found["words"] = plain_weight * next_token_loss(plain, given, prompt)
        return found

    settings = {
        "verb": "distil_sequences", "prompt": prompt, "end": end, "share": share, "plain_weight": plain_weight,
        "clip": clip, "length_normalised": length_normalised, "variant": variant,
    }  # fmt: skip
    history = fit(
        {"student": student, "teacher": teacher}, batches, Update(("student",), terms), recipe,
        seed=seed, checkpoint=checkpoint, identity={"method": settings},
    )  # fmt: skip
    return Fit.of(history, {"student": student})

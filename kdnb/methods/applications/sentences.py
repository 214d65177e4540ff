"""Smaller sentence encoders: PKD, DistilBERT, and more text for a teacher.

PKD is by Sun et al. 2019, DistilBERT by Sanh et al. 2019; the text is made as by Tang et al. 2019.
TinyBERT and MiniLM are in :mod:`kdnb.methods.attention.transformers`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import Variant, check_choice, check_number
from kdnb.methods.attention.heads import attention_layers
from kdnb.methods.attention.masked import hidden_words
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.nets import features
from kdnb.nets.transformer import PADDING, TextEncoder
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.inputs import batches_for

Which = Literal["skip", "last"]


def patient_layers(student: int, teacher: int, which: Which = "skip") -> list[int]:
    """PKD's layer map: the teacher layers, from 0, for all student layers except the last.

    Args:
        student, teacher: numbers of layers; the teacher's a multiple for "skip".
        which: "skip" takes evenly spaced layers, "last" those just below the teacher's last.

    >>> patient_layers(6, 12), patient_layers(6, 12, "last")
    ([1, 3, 5, 7, 9], [6, 7, 8, 9, 10])
    """
    check_choice(("skip", "last"), which=which)
    check_number(least=2, whole=True, student=student)
    check_number(least=student, whole=True, teacher=teacher)
    if which == "last":
        return list(range(teacher - student, teacher - 1))
    return losses.uniform_layers(student, teacher)[:-1]


@contextlib.contextmanager
def _states(network: nn.Module, places: Sequence[int]) -> Iterator[list[Tensor]]:
    """A list that the network's calls fill with states of layers, (batch, tokens, width)."""
    blocks = [attention_layers(network)[place].block for place in places]
    found: list[Tensor] = []
    with features(network, blocks) as seen:
        yield found
        found.extend(seen[block] for block in blocks)


def distil_patiently(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    layers: Which | Sequence[int] = "skip",
    weight: float = 100.0,
    soft_weight: float = 0.5,
    label_weight: float = 0.5,
    temperature: float = 5.0,
    variant: Variant = "authors",
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Patient knowledge distillation (PKD): labels, soft targets and states of several layers.

    .. math:: L = (1 - \alpha) L_\mathrm{CE} + \alpha L_\mathrm{KD} + \beta L_\mathrm{PT}

    with :func:`kdnb.losses.patient` for the last term.

    Args:
        student, teacher: classifiers of tokens with self-attention, see
            `kdnb.methods.attention.heads.attention_layers`; of the same width.
        data: tokens with labels, as in `kdnb.distil`.
        layers: "skip" or "last", see `patient_layers`; or the teacher's layer for each of the
            student's first ones.
        weight, soft_weight, label_weight: beta, alpha and 1 - alpha. The defaults are among the
            values that the authors tried. The variant "authors" takes a mean over the width, which
            makes the term small; hence the 100.
        temperature, variant: of the two distillation terms.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.

    Raises:
        ValueError: for layers that a network does not have, or as `kdnb.distil`.
    """
    recipe = recipe_of(distil_patiently, recipe, fields)
    check_weights_of_terms(weight=weight, soft_weight=soft_weight, label_weight=label_weight)
    counts = len(attention_layers(student)), len(attention_layers(teacher))
    theirs = patient_layers(*counts, layers) if isinstance(layers, str) else list(layers)
    if not 1 <= len(theirs) <= counts[0] or not set(theirs) <= set(range(counts[1])):
        raise ValueError(
            f"layers must name 1 to {counts[0]} of the teacher's layers, from 0 to {counts[1] - 1}; got {theirs}."
        )
    ours = list(range(len(theirs)))
    batches = batches_for(data, recipe, seed, given=fields)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with _states(student, ours) as said_states:
            said = networks["student"](batch.images)
        with torch.no_grad(), _states(teacher, theirs) as aim_states:
            aim = networks["teacher"](batch.images)
        first, aims = (
            torch.stack([s[:, 0] for s in states], 1) for states in (said_states, aim_states)
        )
        return {
            "hard": label_weight * losses.hard_loss(said, batch.labels),
            "soft": soft_weight * losses.soft_targets(said, aim, temperature),
            "states": weight * losses.patient(first, aims, variant),
        }

    settings = {
        "verb": "distil_patiently", "layers": theirs, "temperature": temperature, "variant": variant,
        "weights": [weight, soft_weight, label_weight],
    }  # fmt: skip
    history = fit(
        {"student": student, "teacher": teacher}, batches, Update(("student",), terms), recipe,
        seed=seed, checkpoint=checkpoint, identity={"method": settings},
    )  # fmt: skip
    return Fit.of(history, {"student": student})


def start_from_layers(
    student: TextEncoder, teacher: TextEncoder, layers: Sequence[int] | None = None
) -> None:
    """Give a student its teacher's embeddings and some of its layers, as for DistilBERT.

    Args:
        student, teacher: of one vocabulary and width.
        layers: the teacher's, for each of the student; if None, evenly spaced from the first, such
            as every second one of a teacher twice as deep.

    Raises:
        ValueError: for other numbers of layers, or one that the teacher does not have.
    """
    if layers is None:
        step = len(teacher.blocks) / len(student.blocks)
        layers = [int(step * place) for place in range(len(student.blocks))]
    if len(layers) != len(student.blocks):
        raise ValueError(
            f"layers must name one for each of the student's {len(student.blocks)}; got {list(layers)}."
        )
    if not set(layers) <= set(range(len(teacher.blocks))):
        raise ValueError(
            f"layers must lie in 0 to {len(teacher.blocks) - 1}, the teacher's; got {list(layers)}."
        )
    for name in ("words", "places", "norm"):
        getattr(student, name).load_state_dict(getattr(teacher, name).state_dict())
    for block, place in zip(student.blocks, layers, strict=True):
        block.load_state_dict(teacher.blocks[place].state_dict())


def distil_masked_words(
    student: TextEncoder,
    teacher: TextEncoder,
    tokens: Tensor,
    recipe: Recipe | None = None,
    *,
    mask: int,
    share: float = 0.15,
    soft_weight: float = 5.0,
    word_weight: float = 2.0,
    state_weight: float = 1.0,
    temperature: float = 2.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""DistilBERT's triple loss on unlabelled text: soft targets, masked words, state cosines.

    .. math:: L = 5\, T^2\, \mathrm{KL}(p \| q) + 2\, L_\mathrm{mlm} + L_\mathrm{cos}

    Both networks predict a hidden word from the products of its state with their own embeddings.

    Args:
        student, teacher: of one vocabulary and width; the teacher comes from
            `kdnb.methods.attention.masked.model_masked_words`, and the student often from
            `start_from_layers`.
        tokens: (sentences, length) integers, 0 for padding.
        mask: the token that stands for a hidden word.
        share: share of the words that are hidden.
        soft_weight, word_weight, state_weight, temperature: 5, 2, 1 and 2 in the authors' code;
            their paper's text was not available.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.

    Departures: no bias for each word, and every hidden word is replaced by `mask`.
    """
    recipe = recipe_of(distil_masked_words, recipe, fields)
    check_number(above=0, most=1, share=share)
    check_weights_of_terms(
        soft_weight=soft_weight, word_weight=word_weight, state_weight=state_weight
    )
    batches = batches_for(tokens, recipe, seed, "none", given=fields)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        words = batch.images
        hidden = hidden_words(words, share)
        seen = words.masked_fill(hidden, mask)
        with _states(student, [len(student.blocks) - 1]) as ours:
            networks["student"](seen)
        with torch.no_grad(), _states(teacher, [len(teacher.blocks) - 1]) as theirs:
            networks["teacher"](seen)
        length = ours[0].shape[1]
        hidden, there = hidden[:, :length], (words != PADDING)[:, :length]
        said = ours[0][hidden] @ student.words.weight.T
        aim = theirs[0][hidden] @ teacher.words.weight.T.detach()
        return {
            "soft": soft_weight * losses.soft_targets(said, aim, temperature),
            "words": word_weight * F.cross_entropy(said, words[:, :length][hidden]),
            "states": state_weight * losses.state_directions(ours[0], theirs[0], there),
        }

    settings = {
        "verb": "distil_masked_words", "mask": mask, "share": share, "temperature": temperature,
        "weights": [soft_weight, word_weight, state_weight],
    }  # fmt: skip
    history = fit(
        {"student": student, "teacher": teacher}, batches, Update(("student",), terms), recipe,
        seed=seed, checkpoint=checkpoint, identity={"method": settings},
    )  # fmt: skip
    return Fit.of(history, {"student": student})


def masked_copies(
    tokens: Tensor, copies: int, *, mask: int, share: float = 0.1, cut: float = 0.25, seed: int = 0
) -> Tensor:
    """More sentences for a teacher (Tang et al. 2019): masked words and pieces of sentences.

    Args:
        tokens: (sentences, length) integers, 0 for padding, at the end.
        copies: the number of copies of each sentence.
        mask: the token that stands for a hidden word.
        share: the probability that a word is hidden; 0.1 in the paper.
        cut: the probability that only one to five words in a row are kept; 0.25 in the paper.

    Returns:
        (copies * sentences, length), all first copies first.

    Departures: numbers are recalled. The third rule, another word of the same part of speech, is
    left out.
    """
    check_number(least=1, whole=True, copies=copies)
    check_number(least=0, most=1, share=share, cut=cut)
    generator = torch.Generator().manual_seed(seed)
    made = tokens.repeat(copies, 1)
    there = made != PADDING
    hidden = torch.rand(made.shape, generator=generator) < share
    made = made.masked_fill(hidden & there, mask)
    for place in (torch.rand(len(made), generator=generator) < cut).nonzero().flatten().tolist():
        length = int(there[place].sum())
        count = min(length, int(torch.randint(1, 6, (), generator=generator)))
        first = int(torch.randint(0, length - count + 1, (), generator=generator))
        kept = made[place, first : first + count].clone()
        made[place] = PADDING
        made[place, :count] = kept
    return made

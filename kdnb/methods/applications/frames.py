"""Frame-level distillation (Chan et al. 2015): a recurrent acoustic model teaches a small one.

The recogniser is a hybrid one. A network predicts to which *state* of which word a frame belongs.
The recognised word is the one whose states, passed from left to right, explain the frames best.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import frame_distillation
from kdnb.losses.checks import check_flags, check_number
from kdnb.losses.frame_level import present_frames
from kdnb.methods.applications.acoustic import Inputs, teachers_logits
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.inputs import batches_for
from kdnb.training.targets import NOTHING


def even_states(labels: Tensor, lengths: Tensor, states: int, frames: int) -> Tensor:
    """An initial alignment: the states of words, each with an equal share of the frames.

    Args:
        labels: (words,) integers.
        lengths: (words,) integers, frames of each.
        states: states of a word; state s of word k is the class k * states + s.
        frames: of the result.

    Returns:
        (words, frames) int64; -100 after a word's end.

    >>> even_states(torch.tensor([1]), torch.tensor([5]), 2, 6)
    tensor([[   2,    2,    2,    3,    3, -100]])
    """
    check_number(least=1, whole=True, states=states, frames=frames)
    places = torch.arange(frames)
    share = places * states // lengths[:, None]
    found = labels[:, None] * states + share
    return found.masked_fill(places >= lengths[:, None], NOTHING)


def train_frames(
    model: nn.Module,
    data: tuple[Inputs, Tensor],
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    """Train an acoustic model on the states of an alignment, by cross-entropy frame by frame.

    Args:
        model: frames and lengths -> logits (batch, frames, states); trained in place.
        data: ((frames, lengths), states), the states (sequences, frames) with -100 after the end.
        recipe, seed, checkpoint, fields: as in `kdnb.train`.

    Returns:
        The history, with the term `hard`; the model as `fit.networks["model"]`.
    """
    recipe = recipe_of(train_frames, recipe, fields)

    def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
        return {"hard": _hard(networks["model"](*batch.images), batch.labels)}

    about = {"verb": "train_frames"}
    return fit_sequences(model, data, recipe, terms, about, seed, checkpoint, fields)


def distil_frames(
    student: nn.Module,
    teacher: nn.Module | Tensor,
    data: tuple[Inputs, Tensor] | Inputs,
    recipe: Recipe | None = None,
    *,
    label_weight: float = 0.0,
    weight: float = 1.0,
    temperature: float = 1.0,
    hard: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train a student on a teacher's soft alignment of the frames.

    .. math:: L = w\, T^2\, \mathrm{KL}(p \,\|\, q) + w_h\, H(y, q), \text{ averaged over frames}

    by :func:`kdnb.losses.frame_distillation`. Without labels, the default, any recordings can be
    used, transcribed or not.

    Args:
        student: an acoustic model; trained in place.
        teacher: another one, frozen, evaluated once per sequence; or its logits (sequences, frames,
            states), which may be those of an ensemble, or of other recordings of the same words,
            such as clean ones.
        data: ((frames, lengths), states), or (frames, lengths) where labels are not used.
        label_weight: w_h, of the labels' cross-entropy.
        weight: w.
        temperature: T.
        hard: use the teacher's likeliest state as the label instead of its soft alignment.
        recipe, seed, checkpoint, fields: as in `kdnb.train`.

    Returns:
        The history, with the terms `frames` and `hard` if they have a weight; the student as
        `fit.networks["model"]`.

    Raises:
        ValueError: for weights that are all 0, labels that are missing, or the teacher's logits of
            other sequences.

    Departures: Chan's abstract has the soft alignment and the divergence. T = 1 and training
    without labels are recalled.
    """
    recipe = recipe_of(distil_frames, recipe, fields)
    check_weights_of_terms(weight=weight, label_weight=label_weight)
    check_number(above=0, temperature=temperature)
    check_flags(hard=hard)
    inputs, states = data if isinstance(data[0], (tuple, list)) else (data, None)
    if label_weight and states is None:
        raise ValueError("label_weight needs labels: give ((frames, lengths), states).")
    answers = teachers_logits(teacher, inputs)

    def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
        frames, lengths = batch.images
        logits, theirs = networks["model"](frames, lengths), answers[batch.index]
        found = {}
        if weight and hard:
            behind = ~present_frames(logits, lengths)
            found["frames"] = weight * _hard(logits, theirs.argmax(2).masked_fill(behind, NOTHING))
        elif weight:
            found["frames"] = weight * frame_distillation(logits, theirs, lengths, temperature)
        if label_weight:
            found["hard"] = label_weight * _hard(logits, batch.labels)
        return found

    about = {"verb": "distil_frames", "weight": weight, "label_weight": label_weight,
             "temperature": temperature, "hard": hard}  # fmt: skip
    return fit_sequences(student, (inputs, states), recipe, terms, about, seed, checkpoint, fields)


def word_scores(
    logits: Tensor, lengths: Tensor, states: int, log_priors: Tensor | None = None
) -> Tensor:
    r"""The score of each word for a recording: the best path through its states.

    .. math:: \max_{s_1 \le \dots \le s_N} \sum_n \big(\log q_n(k, s_n) - \log \pi(k, s_n)\big),
        \quad s_1 = 1,\; s_N = S,\; s_{n+1} - s_n \in \{0, 1\}

    Args:
        logits: (recordings, frames, words * states).
        lengths: (recordings,), frames of each, at least `states`.
        states: S, of a word.
        log_priors: (words * states,), log of how frequent each state is: a network's posterior
            divided by the prior is a likelihood up to a factor. None treats all as equally
            frequent.

    Returns:
        (recordings, words).
    """
    check_number(least=1, whole=True, states=states)
    scores = logits.float().log_softmax(2)
    if log_priors is not None:
        scores = scores - log_priors
    scores = scores.unflatten(2, (-1, states))
    best = torch.full_like(scores[:, 0], -torch.inf)
    best[..., 0] = scores[:, 0, :, 0]
    final = best.clone()
    for n in range(1, scores.shape[1]):
        came = F.pad(best, (1, 0), value=-torch.inf)[..., :-1]
        best = torch.maximum(best, came) + scores[:, n]
        final = torch.where((lengths > n)[:, None, None], best, final)
    return final[..., -1]


def log_priors(states: Tensor, classes: int) -> Tensor:
    """The log of how frequent states are among frames, with one added to each count."""
    there = states[states != NOTHING]
    counts = torch.bincount(there, minlength=classes) + 1
    return (counts / counts.sum()).log()


def frame_errors(logits: Tensor, states: Tensor) -> float:
    """The percentage of frames whose likeliest state differs from the alignment."""
    there = states != NOTHING
    return 100 * float((logits.argmax(2) != states)[there].float().mean())


def _hard(logits: Tensor, states: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), states.flatten(), ignore_index=NOTHING)


def fit_sequences(
    model: nn.Module,
    data: tuple[Inputs, Tensor | None],
    recipe: Recipe,
    terms: Any,
    about: dict[str, Any],
    seed: int,
    checkpoint: Path | str | None,
    fields: dict[str, Any],
) -> Fit:
    """One model trained by terms on sequences in memory."""
    inputs, labels = data
    known = torch.zeros(len(inputs[0]), dtype=torch.int64) if labels is None else labels
    batches = batches_for((tuple(inputs), known), recipe, seed, "any", given=fields)
    history = fit(
        {"model": model}, batches, Update(("model",), terms), recipe, seed=seed,
        checkpoint=checkpoint, identity={"method": about},
    )  # fmt: skip
    return Fit.of(history, {"model": model})

"""Recordings of words, and small acoustic models taught by larger ones frame by frame, as trials."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kdnb.data.sounds import Part, Sounds, load_sounds
from kdnb.data.spectra import log_mel
from kdnb.losses.checks import check_choice
from kdnb.methods.applications.acoustic import (
    Inputs,
    RecurrentModel,
    WindowModel,
    frame_logits,
)
from kdnb.methods.applications.frames import (
    distil_frames,
    even_states,
    frame_errors,
    log_priors,
    train_frames,
    word_scores,
)
from kdnb.methods.cross_modal.views import noisy_at
from kdnb.methods.self_distillation.common import fresh
from kdnb.runs.trials import Context, Outcome
from kdnb.training import Recipe
from kdnb.training.randomness import mix

LONGEST = 40  # most frames of a recording; the rest is cut
SHORTEST = 6  # fewest frames, padded with silence: a path needs one for each state


class Spoken(NamedTuple):
    """Recordings as inputs of acoustic models.

    Attributes:
        frames: (recordings, frames, bands) float32, each band of mean 0 over a recording.
        lengths: (recordings,), the number of frames of each.
        words: (recordings,), the spoken words.
        states: (recordings, frames), every word's states of equal length, -100 after the end.
    """

    frames: Tensor
    lengths: Tensor
    words: Tensor
    states: Tensor

    @property
    def inputs(self) -> Inputs:
        """Frames and lengths."""
        return self.frames, self.lengths

    def select(self, chosen: Tensor) -> Spoken:
        """Some of the recordings."""
        return Spoken(*(part[chosen] for part in self))


def spoken(
    sounds: Sounds, states: int, *, bands: int = 24, hop: int = 160, decibels: float | None = None,
    seed: int = 0,
) -> Spoken:  # fmt: skip
    """Recordings as log-mel frames, with the states of an even alignment.

    Args:
        states: number of states per word.
        bands: number of mel bands.
        hop: samples from one frame to the next; windows have 256.
        decibels: signal-to-noise ratio of added white noise; None adds none.
        seed: for the noise.
    """
    rows = []
    for number, wave in enumerate(sounds.waves):
        signal = wave[None].float() / 32768
        if decibels is not None:
            signal = noisy_at(signal, decibels, seed=mix(seed, number))
        missing = 256 + hop * (SHORTEST - 1) - signal.shape[1]
        signal = nn.functional.pad(signal, (0, max(0, missing)))
        found = log_mel(signal, sounds.card.rate, bands=bands, window=256, hop=hop)[0].T
        # The mean of a recording depends on loudness and microphone, not on the word.
        rows.append((found - found.mean(0))[:LONGEST] / 3)
    lengths = torch.tensor([len(row) for row in rows])
    frames = pad_sequence(rows, batch_first=True)
    words = sounds.labels
    return Spoken(frames, lengths, words, even_states(words, lengths, states, frames.shape[1]))


@functools.lru_cache(maxsize=4)
def corpus(
    name: str, part: Part, states: int, decibels: float | None = None, seed: int = 0
) -> Spoken:
    """A split of a data set of recordings, made once per process."""
    return spoken(load_sounds(name)[part], states, decibels=decibels, seed=seed)


def spoken_frames_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    states: int,
    teacher: dict[str, Any],
    student: dict[str, Any],
    recipe: dict[str, Any],
    student_epochs: int,
    labelled: int,
    decibels: float,
    scored: str = "test",
) -> Outcome:
    """A recurrent teacher, and a small feed-forward student in every condition.

    The seed draws which recordings are transcribed, the initial weights (one student's for all
    conditions), the order of batches and the noise. All students take the same number of steps.

    Args:
        data: {"name", "sha256"} of recordings.
        states: number of states per word.
        teacher: options of `RecurrentModel`.
        student: options of `WindowModel`.
        recipe: for the teachers; students train for `student_epochs` instead of its epochs.
        labelled: number of transcribed recordings in the conditions with few.
        decibels: signal-to-noise ratio in the conditions with noise.
        scored: "test", or "validation" in pilots, which read no test recording.

    Returns:
        In percent, for every condition c of `CONDITIONS`, `teacher` and `few_teacher`:
        `<c>_error`, of words, and `<c>_frame_error`, of states against the even alignment; for
        students `<c>_loss`, nats per frame in the last epoch, and `<c>_settled`, the percentage by
        which it fell over the last two. `student_parameters` and `teacher_parameters`.
    """
    check_choice(("test", "validation"), scored=scored)
    name, plan = data["name"], Recipe(**recipe)
    seen = corpus(name, "train", states)
    asked = corpus(name, scored, states)  # type: ignore[arg-type]
    noise = [mix(seed, 4, n) for n in range(2)]
    seen_in_noise = corpus(name, "train", states, decibels, noise[0])
    asked_in_noise = corpus(name, scored, states, decibels, noise[1])  # type: ignore[arg-type]
    order = torch.randperm(len(seen.words), generator=torch.Generator().manual_seed(mix(seed, 2)))
    chosen = order[:labelled]
    few = seen.select(chosen)
    bands, classes = seen.frames.shape[2], states * (int(seen.words.max()) + 1)
    priors = log_priors(seen.states, classes)
    metrics: dict[str, float] = {}

    def judge(condition: str, model: nn.Module, on: Spoken) -> None:
        logits = frame_logits(model, on.inputs)
        heard = word_scores(logits, on.lengths, states, priors).argmax(1)
        metrics[f"{condition}_error"] = 100 * float((heard != on.words).float().mean())
        metrics[f"{condition}_frame_error"] = frame_errors(logits, on.states)

    def recurrent(number: int) -> nn.Module:
        return fresh(lambda: RecurrentModel(bands, classes, **teacher), mix(seed, 0, number))

    master, small_master = recurrent(0), recurrent(1)
    train_frames(master, (seen.inputs, seen.states), plan, seed=mix(seed, 3))
    # A tenth of the recordings: half as many steps are enough, and harm the model less.
    epochs = max(1, _epochs(plan.epochs, len(seen.words), labelled) // 2)
    train_frames(small_master, (few.inputs, few.states), plan, epochs=epochs, seed=mix(seed, 3))
    judge("teacher", master, asked)
    judge("few_teacher", small_master, asked)
    soft, weak = frame_logits(master, seen.inputs), frame_logits(small_master, seen.inputs)

    series: dict[str, list[float]] = {}
    conditions: dict[str, tuple[Spoken, Tensor | None, bool]] = {
        "labels": (seen, None, False),
        "taught": (seen, soft, False),
        "hard": (seen, soft, True),
        "few": (few, None, False),
        "few_taught": (few, soft[chosen], False),
        "semi": (seen, weak, False),
        "noisy": (seen_in_noise, None, False),
        "noisy_taught": (seen_in_noise, soft, False),
    }
    for condition, (own, answers, hard) in conditions.items():
        model = fresh(lambda: WindowModel(bands, classes, **student), mix(seed, 1))
        epochs = _epochs(student_epochs, len(seen.words), len(own.words))
        fields = {"epochs": epochs, "seed": mix(seed, 3)}
        if answers is None:
            fit = train_frames(model, (own.inputs, own.states), plan, **fields)
        else:
            fit = distil_frames(model, answers, own.inputs, plan, hard=hard, **fields)
        judge(condition, model, asked_in_noise if condition.startswith("noisy") else asked)
        losses = fit.history["hard" if answers is None else "frames"].tolist()
        series[condition] = losses if len(losses) <= 50 else losses[:: len(losses) // 25]
        before = losses[max(0, len(losses) - 1 - 2 * max(1, epochs // student_epochs))]
        metrics[f"{condition}_loss"] = losses[-1]
        metrics[f"{condition}_settled"] = 100 * (before - losses[-1]) / abs(before)
        metrics["student_parameters"] = float(sum(p.numel() for p in model.parameters()))
    metrics["teacher_parameters"] = float(sum(p.numel() for p in master.parameters()))
    return Outcome(metrics, series, {})


CONDITIONS = ("labels", "taught", "hard", "few", "few_taught", "semi", "noisy", "noisy_taught")


def _epochs(epochs: int, all_of_them: int, own: int) -> int:
    """Epochs over some recordings with the same number of steps as these over all, or slightly more."""
    return max(1, round(epochs * all_of_them / own))

"""KDGAN as a trial: described by JSON values, memoised on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kdnb.methods.adversarial.kdgan import kdgan
from kdnb.runs.functions.online import peer_seed
from kdnb.runs.task import built, network_of, prepared, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training.inputs import evaluated, logits_on

LAST = 10  # number of evaluations that define a game's final level
WATCHED = 2000  # validation images evaluated after every epoch


def kdgan_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    critic: dict[str, Any] | None = None,
    teacher: Result | None = None,
    classifier_share: float = 0.5,
    classifier_weight: float = 1.0,
    teacher_weight: float = 1.0,
    temperature: float | list[float] = 1.0,
    start: Result | None = None,
    critic_start: Result | None = None,
) -> Outcome:
    """A trial of `kdgan`; of the naive game of two (NaGAN) without a teacher, and of co-distillation
    without a critic.

    The classifier starts from the final weights of the trial `start`, else from the new weights that
    `supervised` gives the same network and seed; the critic likewise from `critic_start`. The teacher
    continues from the end of its own trial.

    Args:
        data: a `data_spec`.
        network, critic: descriptions of classifier and discriminator, as `built` takes them.
        recipe: fields of a `Recipe`, the same for every player.
        teacher: the trial that trained it on labels.
        critic: None to use the labels instead.
        temperature: of `kdgan`; a description with neither this nor `start` means the first form,
            a constant 1 and an untrained classifier.

    Returns:
        The measurements of `Task.outcome` for the classifier; `epochs_needed`; with a teacher also
        `teacher_test_errors` after the game. Series: `validation_errors`, of the first
        2,000 validation images at most. Tensors: `network.<key>` (the classifier's), and
        `teacher.<key>`.
    """
    task = prepared(context, seed, data, network, recipe, start=start)
    source = task.source
    judge = None
    if critic_start is not None:
        judge = network_of(critic_start, source)
    elif critic is not None:
        judge = built(critic, source, peer_seed(seed, 1))
    master = None if teacher is None else network_of(teacher, source)
    watched = evaluated(source.validation, data).select(slice(WATCHED))

    def errors(model, images) -> float:
        return float((logits_on(model, images, source).argmax(1) != images.labels).sum())

    def evaluate(networks) -> dict[str, float]:
        return {"validation_errors": errors(networks["classifier"], watched)}

    history = kdgan(
        task.network, master, judge, task.batches, task.recipe,
        classifier_share=classifier_share, classifier_weight=classifier_weight,
        teacher_weight=teacher_weight, temperature=temperature, label_epochs=0, seed=seed,
        checkpoint=context.checkpoint, evaluate=evaluate,
    )  # fmt: skip
    outcome = task.outcome(history)
    validation = [100 * row["validation_errors"] / len(watched) for row in history]
    metrics = {**outcome.metrics, "epochs_needed": float(epochs_needed(validation))}
    tensors = dict(outcome.tensors)
    if master is not None:
        metrics["teacher_test_errors"] = errors(master, evaluated(source.test, data))
        tensors |= weights_kept(master, "teacher")
    return replace(outcome, metrics=metrics, tensors=tensors)


def epochs_needed(errors: Sequence[float], margin: float = 1.0) -> int:
    """The first epoch, from 1, as good as the end: its error rate is at most the mean of the last ten
    plus a margin.

    Args:
        errors: errors of every epoch, in percent.
        margin: in points.

    >>> epochs_needed([90, 40, 20.5, 30, *[20] * 10])
    3
    """
    end = errors[-LAST:]
    level = sum(end) / len(end) + margin
    return next(epoch for epoch, value in enumerate(errors, 1) if value <= level)

"""Born-again networks (Furlanello 2018): generations of one architecture, and two controls.

Each generation starts from new weights and learns from the previous one. Two controls separate the
parts of the teacher's answer: CWTM keeps only its confidence, DKPP keeps its largest output and
shuffles the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import confidence_weighted, permuted_predictions, soft_targets
from kdnb.losses.checks import check_number
from kdnb.methods.offline.distil import train
from kdnb.methods.options import recipe_of
from kdnb.methods.self_distillation.common import History, fit_one, fresh, fresh_seed
from kdnb.names import brief
from kdnb.training import Fit, Recipe
from kdnb.training.answers import Output, logits_of
from kdnb.training.borrowed import shared_part
from kdnb.training.checkpoint import file_of
from kdnb.training.first import check_module, first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.targets import NOTHING, counted_rows, label_loss, labelled_rows
from kdnb.training.teacher import asked
from kdnb.training.watching import watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Targets = Literal["soft", "cwtm", "dkpp"]
TARGETS = ("soft", "cwtm", "dkpp")


def next_generation(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    targets: Targets = "soft",
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
    output: Output = None,
    ignore_index: int = NOTHING,
    **options: Any,
) -> History:
    """Train one generation: soft_weight · teacher's term + hard_weight · cross-entropy.

    Args:
        student: trained in place. It has the teacher's architecture, with different initial
            weights.
        teacher: the previous generation, frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        targets: "soft" (BAN, and BAN+L with a hard_weight), "cwtm" or "dkpp"; DKPP draws new
            permutations in every step.
        temperature: temperature of the teacher's answers, with "cwtm" of its confidence; the paper
            uses none.
        output, ignore_index: see `kdnb.train`.
        options: passed to `training.fit`.

    Returns:
        The history, one dict per epoch.

    Raises:
        ValueError: for unknown targets.
    """
    _check_targets(targets)
    batches = batches_for(examples, recipe, seed, labels="any")
    tried("student", student, first_batch(batches, seed), output)

    def soft(logits: Tensor, answer: Tensor, labels: Any) -> Tensor:
        ours, theirs = (counted_rows(one, labels, ignore_index) for one in (logits, answer))
        if not len(ours):
            return ours.sum() * 0
        if targets == "cwtm":
            _, truth = labelled_rows(logits, labels, ignore_index)
            return confidence_weighted(ours, theirs / temperature, truth)
        theirs = permuted_predictions(theirs) if targets == "dkpp" else theirs
        return soft_targets(ours, theirs, temperature)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        parts = {"soft": soft_weight * soft(logits, taught(networks, batch), batch.labels)}
        if hard_weight:
            parts["hard"] = hard_weight * label_loss(logits, batch.labels, 0.0, ignore_index)
        return parts

    named = {"verb": "born_again", "targets": targets, "temperature": temperature}
    named["ignore_index"] = ignore_index
    identity = {"method": {**named, "weights": [soft_weight, hard_weight]}}
    answers = dict.fromkeys(("network", "teacher"), partial(logits_of, output=output))
    with asked(teacher, batches, recipe, output) as taught:
        return fit_one(
            student, batches, recipe, terms, seed=seed, frozen={"teacher": teacher},
            answers=answers, identity=identity, **options,
        )  # fmt: skip


def born_again(
    make: Callable[[], nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    generations: int = 2,
    targets: Targets = "soft",
    weight: float = 1.0,
    label_weight: float = 0.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    output: Output = None,
    ignore_index: int = NOTHING,
    fabric: Fabric | None = None,
    **fields: Any,
) -> Fit:
    """Train born-again networks, from the first generation on (Furlanello 2018, section 3).

    Args:
        make: builds an untrained network from torch's random state; called once per generation,
            each time with a different seed, so that no two start from the same weights.
        data, recipe, evaluate, output, ignore_index, fabric: as in
            :func:`kdnb.methods.offline.distil.train`. A function `evaluate` gets the generation's
            network under the name "network".
        generations: the number of taught generations; the result also holds generation 0, which
            learns from labels.
        targets, weight, label_weight, temperature: for the taught generations, see
            `next_generation`.
        label_smoothing: of generation 0's labels.
        checkpoint: a file; generation k writes its own file in the same folder, with its number in
            the name.
        log_dir: a folder; generation k writes into its subfolder `generation<k>`.
        fields: fields of the recipe.

    Returns:
        The networks, as `fit.networks["generation0"]` and so on, and their concatenated histories,
        with the column `generation`.

    Raises:
        TypeError: if make is a network, or does not return one.
        ValueError: for fewer than 0 generations, unknown targets, networks that are not new, or an
            unknown or ignored keyword.
    """
    recipe = recipe_of(born_again, recipe, fields)
    _check_targets(targets)
    if isinstance(make, nn.Module) or not callable(make):
        got = f"a {type(make).__name__}" if isinstance(make, nn.Module) else brief(make)
        raise TypeError(
            f"make builds a new network at every call, such as lambda: nn.Linear(4, 3); got {got}."
        )
    check_number(least=0, weight=weight, label_weight=label_weight)
    if generations and not weight and not label_weight:
        raise ValueError("nothing would be learnt: weight and label_weight are 0.")
    check_number(above=0, temperature=temperature)
    check_number(least=0, whole=True, generations=generations)
    batches_for(
        data, recipe, seed, labels="any", given=fields
    )  # rejects invalid data before any training
    networks: dict[str, nn.Module] = {}
    rows: History = []
    former = None
    for number in range(generations + 1):
        own = fresh_seed(seed, number)
        network = fresh(make, own)
        check_module("what make returns", network)
        if any(network is other for other in networks.values()):
            raise ValueError("make must build a new network at every call; it returned one twice.")
        if former is not None and (shared := shared_part(network, former)):
            raise ValueError(
                f"make must build a new network at every call; two of its networks share {shared}."
            )
        shared = {
            "seed": own,
            "checkpoint": file_of(checkpoint, number),
            "log_dir": log_dir and Path(log_dir) / f"generation{number}",
            "fabric": fabric,
        }
        if former is None:
            history = train(
                network, data, recipe, label_smoothing=label_smoothing, evaluate=evaluate,
                output=output, ignore_index=ignore_index, **shared,
            ).rows  # fmt: skip
        else:
            history = next_generation(
                network, former, data, recipe, targets=targets, soft_weight=weight,
                hard_weight=label_weight, temperature=temperature, output=output,
                evaluate=watching(evaluate, {"network": network}, output, ignore_index),
                ignore_index=ignore_index, **shared,
            )  # fmt: skip
        former = networks[f"generation{number}"] = network
        rows += [{"generation": number, **row} for row in history]
    return Fit.of(rows, networks)


def _check_targets(targets: str) -> None:
    if targets not in TARGETS:
        raise ValueError(f"targets must be one of {', '.join(TARGETS)}; got {targets!r}.")

"""Banks of synthetic images as trials, students that learn from them, and distilled data sets.

A bank is a separate trial, made once for any number of students. Only the trial of dataset
distillation sees training images, since it distils them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb import losses
from kdnb.methods.data_free.bank import Bank, bank_of
from kdnb.methods.data_free.dataset_distillation import DistilledData, distil_dataset, trained_on
from kdnb.methods.data_free.deepinversion import WEIGHTS, deep_inversion
from kdnb.methods.data_free.synthesis import Keep, pixel_bounds
from kdnb.methods.data_free.zskd import data_impressions, dirichlet_targets
from kdnb.methods.offline.distil import distil
from kdnb.runs.functions.data_free import bank_tensors, class_shares, errors_on, isolated, measured
from kdnb.runs.task import as_trained, built, network_of
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, evaluated, examples_of, logits_on


def impressions_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    head: str = "head",
    per_class: int = 200,
    scales: tuple[float, ...] = (1.0, 0.1),
    one_hot: bool = False,
    image_size: int = 28,
    temperature: float = 20.0,
    iterations: int = 1500,
    lr: float = 0.01,
    batch_size: int = 1000,
) -> Outcome:
    """A bank of ZSKD's data impressions, from which any `banked_trial` can learn.

    Args:
        data, teacher: as for `dafl_trial`.
        head: the teacher's last layer, whose weight determines the similarity of classes.
        per_class: impressions for each class and scale.
        one_hot: one-hot targets, for class impressions, the paper's comparison.
        image_size: of the impressions.
        scales, temperature, iterations, lr, batch_size: of `dirichlet_targets` and
            `data_impressions`.

    Returns:
        The results of `Bank.summary`, `made_share_<class>`, and the bank as tensors.
    """
    source = isolated(datasets.load(data["name"]))
    master = network_of(teacher, source)
    weight = master.get_submodule(head).weight
    if one_hot:
        classes = torch.arange(len(source.classes))
        targets = F.one_hot(classes.repeat_interleave(per_class * len(scales))).float()
    else:
        targets = dirichlet_targets(weight, per_class, scales=tuple(scales), seed=seed)
    shape = (source.test.images.shape[1], image_size, image_size)
    images = data_impressions(
        master, targets, shape, bounds=pixel_bounds(source.mean, source.sd),
        temperature=temperature, iterations=iterations, lr=lr, batch_size=batch_size, seed=seed,
    )  # fmt: skip
    return _bank_outcome(bank_of(images, master))


def inversion_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    images: int,
    batch_size: int = 256,
    student: Result | None = None,
    weights: Mapping[str, float] = WEIGHTS,
    image_size: int = 32,
    iterations: int = 2000,
    lr: float = 0.05,
    jitter: int = 2,
    keep: Keep = "last",
) -> Outcome:
    """A bank of DeepInversion's images, all classes in turn; adaptive with a student's trial.

    Args:
        data, teacher: as for `dafl_trial`; the teacher has batch normalisation.
        images: their number, a multiple of `batch_size`.
        student: the trial of the network on which the images should be hard.
        weights, iterations, lr, jitter: of `deep_inversion`.
        keep: of `deep_inversion`; without it, the last images are kept, as in earlier descriptions.

    Returns:
        As `impressions_trial`.

    Raises:
        ValueError: if `images` is not a multiple of `batch_size`.
    """
    if images % batch_size:
        raise ValueError(f"images must be a multiple of batch_size; got {images}, {batch_size}.")
    source = isolated(datasets.load(data["name"]))
    master = network_of(teacher, source)
    pupil = None if student is None else network_of(student, source)
    shape = (source.test.images.shape[1], image_size, image_size)
    labels = torch.arange(images) % len(source.classes)
    made = [
        deep_inversion(
            master, wanted, shape, student=pupil, weights=weights, jitter=jitter,
            iterations=iterations, lr=lr, keep=keep, seed=seed * 1_000_003 + number,
        )
        for number, wanted in enumerate(labels.split(batch_size))
    ]  # fmt: skip
    return _bank_outcome(bank_of(torch.cat(made), master))


def noise_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    images: int,
    image_size: int,
    kind: str = "normal",
) -> Outcome:
    """A bank of the noise from which syntheses start: what a student learns without any of their steps.

    Args:
        data, teacher: as for `dafl_trial`.
        images: number of images.
        image_size: of each, in pixels.
        kind: "normal" of standard deviation 1, or "uniform" between black and white.

    Returns:
        As `impressions_trial`.

    Raises:
        ValueError: for another kind.
    """
    source = isolated(datasets.load(data["name"]))
    shape = (images, source.test.images.shape[1], image_size, image_size)
    stream = torch.Generator().manual_seed(seed)
    if kind == "normal":
        drawn = torch.randn(shape, generator=stream)
    elif kind == "uniform":
        low, high = pixel_bounds(source.mean, source.sd)
        drawn = low + (high - low) * torch.rand(shape, generator=stream)
    else:
        raise ValueError(f"kind must be 'normal' or 'uniform'; got {kind!r}.")
    return _bank_outcome(bank_of(drawn, network_of(teacher, source)))


def banked_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    bank: Result,
    recipe: dict[str, Any],
    temperature: float = 20.0,
) -> Outcome:
    """A student that learns only from a bank.

    Args:
        bank: a trial with the tensors `bank.images` and `bank.logits`.
        recipe: fields of a `Recipe`, without augmentation.
        temperature: of the soft targets.

    Returns:
        See `measured`.
    """
    source = isolated(datasets.load(data["name"]))
    student, master = built(network, source, seed), network_of(teacher, source)
    plan = Recipe(**recipe)
    history = distil(
        student, master, bank_in(bank).batches(plan.batch_size, seed=seed), plan,
        method=partial(losses.soft_targets, temperature=temperature), label_weight=0, seed=seed,
        checkpoint=context.checkpoint, evaluate=errors_on(source, data),
    ).rows  # fmt: skip
    return measured(as_trained(student, plan), source, data, history)


def bank_in(result: Result) -> Bank:
    """The bank of images that a finished trial holds."""
    tensors = result.tensors()
    return Bank(tensors["bank.images"], tensors["bank.logits"], {"trial": result.digest})


def dataset_distillation_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    fixed: bool,
    steps: int = 1,
    epochs: int = 3,
    per_class: int = 1,
    lr: float = 0.02,
    networks_a_step: int = 1,
    judged_on: int = 10,
) -> Outcome:
    """A trial of `distil_dataset`; it does use the training data.

    Args:
        data: a `data_spec`.
        network: a description, as `built` takes it.
        recipe: for learning the distilled images.
        fixed: distil for the one initialisation of this seed, else for any.
        steps, epochs, lr: of `DistilledData`.
        per_class: images of each class in every step.
        networks_a_step: networks with random initialisations in each step.
        judged_on: number of new networks that are trained on the images at the end.

    Returns:
        `fixed_test_errors`, of the network with the known initialisation (that of the seed);
        `fresh_test_errors` and `fresh_test_errors_sd` over networks with other initialisations;
        `distilled_images`; and the tensors `distilled.images`, `distilled.labels`,
        `distilled.rates`.
    """
    source = datasets.load(data["name"])
    plan = Recipe(**recipe)
    labels = torch.arange(len(source.classes)).repeat_interleave(per_class)
    shape = tuple(source.test.images.shape[1:])
    distilled = DistilledData(steps, labels, shape, epochs=epochs, lr=lr, seed=seed)
    known = built(network, source, seed)

    def another() -> torch.nn.Module:
        return built(network, source, int(torch.randint(2**31, ())))

    history = distil_dataset(
        distilled, known if fixed else another, batches_of(
            examples_of(source, data), source, plan, seed
        ), plan, networks_a_step=networks_a_step, seed=seed, checkpoint=context.checkpoint,
    )  # fmt: skip
    test = evaluated(source.test, data)

    def errors(start: torch.nn.Module) -> float:
        logits = logits_on(trained_on(distilled, start), test, source)
        return float((logits.argmax(1) != test.labels.cpu()).sum())

    fresh = [errors(built(network, source, 2**31 + 1000 * seed + n)) for n in range(judged_on)]
    with torch.no_grad():
        images, rates = distilled()
    return Outcome(
        {
            "fixed_test_errors": errors(known),
            "fresh_test_errors": statistics.fmean(fresh),
            "fresh_test_errors_sd": statistics.stdev(fresh) if judged_on > 1 else 0.0,
            "distilled_images": float(steps * len(labels)),
            "test_images": float(len(test)),
        },
        {key: [row[key] for row in history] for key in history[0]},
        {
            "distilled.images": images.cpu(),
            "distilled.labels": labels,
            "distilled.rates": rates.cpu(),
        },
    )


def _bank_outcome(bank: Bank) -> Outcome:
    return Outcome(bank.summary() | class_shares(bank.histogram()), {}, bank_tensors(bank))

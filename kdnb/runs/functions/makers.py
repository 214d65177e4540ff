"""The other makers of banks as trials: Lopes 2017, CMI, Fast, Kimura 2018, Radosavovic 2018.

Each makes a bank of images, in the form that `kdnb.runs.functions.banks.bank_in` reads. Those that
must see training images say which; all others take them away before anything else is done.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdnb import data as datasets
from kdnb.data import Batches
from kdnb.methods.data_free.bank import Bank, bank_of
from kdnb.methods.data_free.cmi import FeatureMemory, Head, contrastive_inversion, feature_count
from kdnb.methods.data_free.data_distillation import (
    ensembled,
    omni_supervised,
    self_labelled,
    shifts,
)
from kdnb.methods.data_free.fast import fast_synthesis
from kdnb.methods.data_free.few_shot import mixed_examples, pseudo_examples
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.statistics import (
    principal_directions,
    reconstruct,
    record,
    sample_activations,
)
from kdnb.methods.data_free.synthesis import pixel_bounds
from kdnb.runs.functions.data_free import bank_tensors, class_shares, errors_on, isolated, measured
from kdnb.runs.task import as_trained, built, network_of
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, evaluated, examples_of, logits_on

SIZE = 28
LAYERS = ["stage2", "stage3", "hidden"]  # of LeNet-5


def statistics_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    way: str,
    per_class: int,
    iterations: int,
    lr: float = 0.1,
) -> Outcome:
    """Lopes et al. 2017: statistics of some training images are stored, the images are dropped,
    and others are found that have these statistics.

    Args:
        data: a `data_spec`; its training images are read once, for the record.
        way: "top": activations of the last hidden layer, drawn from means and covariances; "all":
            the class means of three layers; "spectral" (its first name): principal directions of the
            convolutions' outputs, which are ours and no spectral record of the paper's.

    Raises:
        ValueError: for another way.
    """
    source = datasets.load(data["name"])
    master = network_of(teacher, source)
    seen = Batches(examples_of(source, data), 250, mean=source.mean, sd=source.sd, shuffle=False)
    paths = {"top": ["hidden"], "all": LAYERS, "spectral": ["stage3"]}
    if way not in paths:
        raise ValueError(f"way must be one of {', '.join(paths)}; got {way!r}.")
    kept = record(master, seen, paths[way], len(source.classes))
    source, seen = isolated(source), None  # from here on, only the record is left
    targets = {
        "top": lambda one: sample_activations(one, per_class, seed=seed),
        "all": lambda one: one.mean.float().repeat_interleave(per_class, 0),
        "spectral": lambda one: principal_directions(one, 0.05).repeat_interleave(per_class, 0),
    }
    images = reconstruct(
        master, {path: targets[way](one) for path, one in kept.items()}, (1, SIZE, SIZE),
        directions=way == "spectral", bounds=pixel_bounds(source.mean, source.sd),
        iterations=iterations, lr=lr, seed=seed,
    )  # fmt: skip
    stored = {"top": lambda one: one.mean.numel() + one.covariance.numel(),
              "all": lambda one: one.mean.numel(),
              "spectral": lambda one: principal_directions(one, 0.05).numel()}  # fmt: skip
    return _made(bank_of(images, master), stored=float(sum(map(stored[way], kept.values()))))


def contrastive_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    batches: int,
    batch_size: int,
    iterations: int,
    width: int = 8,
    momentum: float = 0.9,
    head_anew: bool = True,
) -> Outcome:
    """CMI (Fang et al. 2021): batch after batch, each unlike those that the memory holds.

    Args:
        momentum, head_anew: of `contrastive_inversion`, whose defaults are the authors' 0.5 and
            False; a description that does not say stands for the first form.
    """
    source = isolated(datasets.load(data["name"]))
    master = network_of(teacher, source)
    count = feature_count(master)
    memory = FeatureMemory(batches * batch_size, count)
    generator, head = _fresh(seed, lambda: (_generator(width), Head(count)))
    labels = torch.arange(batch_size) % len(source.classes)
    made = [
        contrastive_inversion(
            master, generator, labels, memory, head, iterations=iterations, lr=1e-2,
            momentum=momentum, head_anew=head_anew, seed=seed * 1_000_003 + number,
        )
        for number in range(batches)
    ]  # fmt: skip
    return _made(bank_of(torch.cat(made), master), remembered=float(len(memory)))


def fast_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    teacher: Result,
    batches: int,
    batch_size: int,
    inner_steps: int,
    width: int = 8,
) -> Outcome:
    """Fast synthesis (Fang et al. 2022): the last three batches that one generator is adapted to.

    The batches before are what it learns from how to start.
    """
    source = isolated(datasets.load(data["name"]))
    master = network_of(teacher, source)
    generator = _fresh(seed, lambda: _generator(width))
    images = fast_synthesis(
        master, generator, classes=len(source.classes), batches=batches, batch_size=batch_size,
        inner_steps=inner_steps, lr=1e-2, seed=seed,
    )  # fmt: skip
    return _made(bank_of(images[-3 * batch_size :], master))


def pseudo_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    recipe: dict[str, Any],
) -> Outcome:
    """Kimura et al. 2018: few real images, and as many pseudo examples that hunt for errors.

    The bank holds the pseudo examples as they are in the end; `start` those of the beginning.
    """
    source = datasets.load(data["name"])
    student, master, plan = (
        built(network, source, seed),
        network_of(teacher, source),
        Recipe(**recipe),
    )
    real = batches_of(examples_of(source, data), source, plan, seed)
    shown = next(Batches(real.images, len(real.images), mean=source.mean, sd=source.sd).epoch(0))
    start = mixed_examples(shown.images.cpu(), len(real.images), seed=seed)
    pixels, history = pseudo_examples(
        student, master, real, plan, start=start, pseudo_batch=plan.batch_size,
        pseudo_recipe=plan.model_copy(update={"lr": 0.05}),
        bounds=pixel_bounds(source.mean, source.sd), evaluate=errors_on(source, data), seed=seed,
    )  # fmt: skip
    outcome = measured(as_trained(student, plan), source, data, history)
    bank = bank_tensors(bank_of(pixels, master))
    return Outcome(outcome.metrics, outcome.series, {**outcome.tensors, **bank, "start": start})


def omni_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    labelled: int,
    recipe: dict[str, Any],
    pixels: int = 1,
    confidence: float = 0.6,
) -> Outcome:
    """Data distillation (Radosavovic et al. 2018): one network over several views labels images.

    Args:
        data: a `data_spec`; the labels of its first `labelled` images are read, no others.
        teacher: trained on these.
        pixels, confidence: of `shifts` and `self_labelled`.

    Returns:
        `measured`, and of the images without labels: how many were kept, and the share of wrong
        labels in percent that one view gives, that all views give, and among those kept. The bank
        holds a hundred of the images, *real* ones, with the logarithm of the ensemble's answer.
    """
    source = datasets.load(data["name"])
    master, plan = network_of(teacher, source), Recipe(**recipe)
    images = examples_of(source, data)
    known, others = images.select(slice(labelled)), images.select(slice(labelled, None))
    plain = Batches(others, 250, mean=source.mean, sd=source.sd, shuffle=False)
    views = shifts(pixels)
    found = self_labelled(master, plain, views, confidence=confidence)
    student = built(network, source, seed)
    history = omni_supervised(
        student, known, found, plan, mean=source.mean, sd=source.sd, seed=seed,
        evaluate=_errors(source, data),
    )  # fmt: skip
    shown = torch.cat([batch.images for batch in plain.epoch(0)])
    answers = ensembled(master, shown, views)
    sure = answers.amax(1) >= confidence

    def wrong(labels: Tensor, truth: Tensor) -> float:
        return 100 * float((labels != truth).float().mean())

    more = {
        "kept": float(len(found)),
        "wrong_by_one_view": wrong(ensembled(master, shown, views[:1]).argmax(1), others.labels),
        "wrong_by_all_views": wrong(answers.argmax(1), others.labels),
        "wrong_among_kept": wrong(found.labels, others.labels[sure]),
    }
    outcome = measured(as_trained(student, plan), source, data, history)
    bank = bank_tensors(Bank(shown[:100], answers[:100].clamp_min(1e-8).log()))
    return Outcome({**outcome.metrics, **more}, outcome.series, {**outcome.tensors, **bank})


def _generator(width: int) -> Generator:
    return Generator("dfad", width=width, image_size=SIZE)


def _fresh(seed: int, build: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _errors(source: datasets.ImageData, data: dict[str, Any]) -> Any:
    """`errors_on` for a network that `offline.train` calls `network`."""
    test = evaluated(source.test, data)

    def evaluate(networks: Any) -> dict[str, float]:
        logits = logits_on(networks["network"], test, source)
        return {"test_errors": float((logits.argmax(1) != test.labels).sum())}

    return evaluate


def _made(bank: Bank, **more: float) -> Outcome:
    return Outcome(bank.summary() | class_shares(bank.histogram()) | more, {}, bank_tensors(bank))

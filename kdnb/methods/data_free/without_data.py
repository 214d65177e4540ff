"""One function for methods that train a generator with the student, and for the noise control."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods.data_free.bank import bank_of
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.dafl import WEIGHTS, dafl
from kdnb.methods.data_free.dfad import dfad
from kdnb.methods.data_free.generators import PUBLISHED, Generator, generate
from kdnb.methods.data_free.synthesis import NoiseBatches
from kdnb.methods.data_free.zskt import zskt
from kdnb.methods.offline.distil import distil
from kdnb.methods.options import told_apart
from kdnb.methods.teachers import check_pair
from kdnb.names import nearest
from kdnb.training import Fit, Recipe
from kdnb.training.answers import precision_of
from kdnb.training.first import tried
from kdnb.training.layers import layers_of
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching

GAMES: dict[str, Callable[..., list[dict[str, float]]]] = {"dafl": dafl, "zskt": zskt, "dfad": dfad}
METHODS = (*GAMES, "noise")
# Of the generator's Adam. DAFL's published 0.2 belongs to batches of 512: in smaller ones it can
# destroy a generator (see `Generator`); 0.01 is the largest rate at which none of ours failed.
RATES = {"dafl": 0.01, "zskt": 1e-3, "dfad": 1e-3}
# Arguments that the function itself passes to a method, which are not options of the caller.
_OWN = {
    "student",
    "teacher",
    "generator",
    "recipe",
    "generator_recipe",
    "steps",
    "detector",
    "seed",
}


def data_free(
    student: nn.Module,
    teacher: nn.Module,
    recipe: Recipe | None = None,
    *,
    method: str = "dafl",
    generator: nn.Module | None = None,
    shape: Sequence[int] = (1, 32, 32),
    width: int = 64,
    steps: int = 100,
    generator_lr: float | None = None,
    detector: CollapseDetector | bool = True,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    **fields_and_options: Any,
) -> Fit:
    """Distil without any data, on images made by a generator.

    No argument takes training data, so none can be used.

    Args:
        student: images -> logits; trained in place, and left as `kdnb.train` leaves its network.
        teacher: frozen. It should expect normalised images: the generators end in a normalisation
            to mean 0 and variance 1.
        recipe: for the student, or its fields as keywords; an epoch is `steps` batches.
        method: `dafl`, `zskt`, `dfad`, or `noise`, the control to compare every run with: the
            student learns from the teacher's answers to Gaussian noise.
        generator: a `Generator`, or any module that makes images from noise (batch, latent) and has
            the attribute `latent`. If left out, the method's own generator is built.
        shape: shape of an image, (channels, side, side); used if no generator is given.
        width: channels of the generator that is built; the published number is 128.
        steps: an epoch, of the student.
        generator_lr: of the generator's Adam, whose schedule is the student's. Left out: 0.01 for
            `dafl` (0.2 is published, for batches of 512), 0.001 for `zskt` and `dfad`.
        detector: monitors the images and warns of a collapse; its measures join the history. False
            for none, such as for data that are not images.
        evaluate, seed, checkpoint, log_dir: as in `kdnb.train`. The student of the last epoch is
            kept, whatever `evaluate` measures.
        fields_and_options: fields of the recipe, and options of the method by name, such as
            `weights`, `base` and `features` of :func:`dafl`, `student_steps` of :func:`zskt`.
            `features` is found for kdnb's, timm's and torchvision's teachers.

    Returns:
        The history, and the networks `student` and, except for noise, `generator`.

    Raises:
        ValueError: for an unknown method, option or field; for a teacher whose layers are not known
            and whose `features` are not named; or for networks with different classes or one logit,
            not in float32, with nothing to learn, or that are the same network.

    >>> from kdnb import nets
    >>> student, teacher = nets.build("lenet5_half_dafl"), nets.build("lenet5")
    >>> fit = data_free(student, teacher, width=4, epochs=1, steps=2, batch_size=8, detector=False)
    >>> sorted(fit.networks), {"one_hot", "entropy", "activation", "soft"} <= set(fit.history)
    (['generator', 'student'], True)
    """
    if method not in METHODS:
        raise ValueError(
            f"data_free has no method {method!r} ({nearest(str(method), METHODS)}). ZSKD, "
            "DeepInversion, CMI and others make a bank of images first: see "
            "kdnb.methods.data_free."
        )
    check_pair(student, teacher)
    known = {method: _options(method)}
    fields, options = told_apart(data_free, fields_and_options, known)
    recipe, own = recipe_for(recipe, fields), options[method]
    shared = {"seed": seed, "checkpoint": checkpoint, "log_dir": log_dir}
    watch = watching(evaluate, {"student": student})
    if method == "noise":
        noise = NoiseBatches(steps, recipe.batch_size, shape, seed=seed)
        soft = partial(losses.soft_targets, temperature=1.0)
        return distil(student, teacher, noise, recipe, method=soft, label_weight=0, evaluate=watch,
                      **shared)  # fmt: skip
    if generator is None:
        generator = _built(method, shape, width, seed)
    if not hasattr(generator, "latent"):
        raise ValueError(
            f"{type(generator).__name__} does not say how many numbers it makes an image of: give "
            "it an attribute, generator.latent = 100."
        )
    made = Batch(generate(generator, 2), None)
    answers = []
    for name, network in (("student", student), ("teacher", teacher)):
        if kind := precision_of(network):
            raise ValueError(
                f"{method} makes images in float32, and the {name} holds {kind}: give network.float()."
            )
        try:
            answers.append(tried(name, network, made, learns=name == "student"))
        except ValueError as error:
            raise ValueError(
                f"{error} The generator's images are {tuple(made.images.shape[1:])}: shape= or "
                "generator= changes that."
            ) from error
    ours, theirs = (tuple(logits.shape) for logits in answers)
    if ours != theirs or len(ours) != 2 or ours[1] < 2:
        raise ValueError(
            f"{method} takes logits (batch, classes) of the same classes, two or more; the student "
            f"answers {ours} and the teacher {theirs}."
        )
    if method == "dafl" and "features" not in own and own.get("weights", WEIGHTS).get("activation"):
        own["features"] = layers_of(teacher).maps[-1]
    if detector is True:
        detector = CollapseDetector(bank_of(generate(generator, 2), teacher).logits.shape[1])
    rate = RATES[method] if generator_lr is None else generator_lr
    plan = {"optimiser": "adam", "schedule": recipe.schedule, "lr": rate}
    generators = Recipe(epochs=recipe.epochs, batch_size=recipe.batch_size,
                        precision=recipe.precision, **plan)  # fmt: skip
    history = GAMES[method](
        student, teacher, generator, recipe, generator_recipe=generators, steps=steps,
        detector=detector or None, evaluate=watch, **own, **shared,
    )  # fmt: skip
    return Fit.of(history, {"student": student, "generator": generator})


def _options(method: str) -> Mapping[str, Any]:
    """A method's options, except those that the function itself sets."""
    if method not in GAMES:
        return {}
    parameters = inspect.signature(GAMES[method]).parameters.values()
    return {
        p.name: p.default for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in _OWN
    }  # fmt: skip


def _built(method: str, shape: Sequence[int], width: int, seed: int) -> Generator:
    if len(shape) != 3:
        raise ValueError(f"shape is of an image, (channels, side, side); got {tuple(shape)}.")
    channels, height, side = shape
    if height != side:
        raise ValueError(f"the published generators make square images; got {tuple(shape)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        name = method if method in PUBLISHED else "dafl"
        return Generator(name, channels=channels, image_size=side, width=width)

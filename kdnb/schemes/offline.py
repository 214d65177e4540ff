"""Offline distillation (section 3.1): a teacher is trained first, then a student imitates it.

`train` and `distil` take any networks and data. The functions `supervised` and `distilled` do
the same from a description, as trials that are memoised on disk.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb import losses, nets
from kdnb.data import Batch, Batches, ImageData, Images, as_batches
from kdnb.losses._checks import at_least_float32
from kdnb.nets.mlp import constrain
from kdnb.progress import note
from kdnb.schemes.teacher_cache import TeacherCache
from kdnb.training import Networks, Recipe, Update, arithmetic, default_device, fit, predict
from kdnb.trials import Context, Outcome, Result

Loss = Callable[[Tensor, Tensor], Tensor]


def train(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    smoothing: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    """Train one network on labels alone: a teacher, or the student nobody teaches.

    Args:
        network: images -> logits (batch, classes). Trained in place.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        smoothing: of the labels, 0 for plain cross-entropy.
        options: of `training.fit` (evaluate, checkpoint, log_dir, fabric).

    Returns:
        The history, one dict an epoch.
    """

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        return {"hard": losses.label_smoothing(logits, batch.labels, smoothing)}

    update = Update(("network",), terms, after=lambda: constrain(network))
    batches = batches_for(examples, recipe, seed)
    return fit({"network": network}, batches, update, recipe, seed=seed, **options)


def distil(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    loss: Loss,
    soft_weight: float | tuple[float, float] = 1.0,
    hard_weight: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    """Train a student to imitate a teacher: soft_weight · loss + hard_weight · cross-entropy.

    The teacher sees exactly the images the student sees, and is asked once for each: see `asked`.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place;
            the teacher is frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        loss: (student logits, teacher logits) -> scalar, such as `losses.soft_targets` with its
            temperature bound.
        soft_weight: of that loss; a pair changes from epoch to epoch, linearly from its first
            number in the first epoch to its second in the last.
        hard_weight: of the cross-entropy with the true labels; at 0 no label is read.
        options: of `training.fit`.

    Returns:
        The history, one dict an epoch.
    """
    batches = batches_for(examples, recipe, seed)
    first, last = soft_weight if isinstance(soft_weight, Sequence) else (soft_weight, soft_weight)
    weight = first

    def begin(epoch: int) -> None:
        nonlocal weight
        weight = first + (last - first) * epoch / max(1, recipe.epochs - 1)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        # The teacher first: the student's maps, kept for its backward pass, are then still near.
        answers = taught(networks, batch)
        logits = networks["student"](batch.images)
        parts = {"soft": weight * loss(logits, answers)}
        if hard_weight:
            parts["hard"] = hard_weight * hard_loss(logits, batch.labels)
        return parts

    update = Update(("student",), terms, after=lambda: constrain(student), begin=begin)
    networks = {"student": student, "teacher": teacher}
    with asked(teacher, batches, recipe) as taught:
        return fit(networks, batches, update, recipe, seed=seed, **options)


@contextlib.contextmanager
def asked(
    teacher: nn.Module, batches: Any, recipe: Recipe
) -> Iterator[Callable[[Networks, Batch], Tensor]]:
    """How a scheme asks the frozen network "teacher" what it says of a batch: (B, classes).

    Images that never change are asked about once, in float32, before training. Of images that are
    cropped and flipped every view is asked about once and kept on disk (`TeacherCache`). Other
    batches cannot be recognised: there the teacher answers in every step.
    """
    if not isinstance(batches, Batches) or not batches.views:
        yield torch.no_grad()(lambda networks, batch: networks["teacher"](batch.images))
    elif not batches.augmented:
        stored = teacher_logits(teacher, batches)
        yield lambda networks, batch: stored[batch.index]
    else:
        cache = TeacherCache(teacher, batches, arithmetic(recipe.precision))
        yield torch.no_grad()(lambda networks, batch: cache(networks["teacher"], batch))
        note(f"teacher: {cache}")


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the true labels, in float32 at least: the term of every scheme."""
    return F.cross_entropy(at_least_float32(logits), labels)


def batches_for(examples: Any, recipe: Recipe, seed: int) -> Batches:
    """Anybody's examples as batches; an augmentation that would silently not happen is refused."""
    batches = as_batches(examples, recipe.batch_size, seed=seed)
    wanted = {name: getattr(recipe, name) for name in ("crop_padding", "flip", "jitter")}
    if any(value and getattr(batches, name, 0) != value for name, value in wanted.items()):
        raise ValueError(
            f"the recipe asks for {wanted}, which these batches do not do: make them by "
            "`batches_of`, or augment in your Dataset and leave it out of the recipe."
        )
    return batches


def teacher_logits(teacher: nn.Module, batches: Batches) -> Tensor:
    """The teacher's logits for every image of un-augmented batches, (examples, classes) float32.

    Raises:
        ValueError: when the batches augment their images: the stored logits would then belong
            to other images than the student sees.
    """
    if batches.augmented:
        raise ValueError(
            "the teacher's logits cannot be stored for batches that are cropped, flipped or "
            "jittered anew in every epoch: ask the teacher in every step instead."
        )
    plain = in_order(batches.images, batches, batches.device)
    return predict(teacher.to(batches.device), plain).to(batches.device)


def in_order(images: Images, like: Batches | ImageData, device: torch.device) -> Batches:
    """Batches for a pass without training: the images as they are, one after the other.

    Args:
        like: whose `mean` and `sd` of the pixels are taken.
    """
    size = 250 if device.type == "cpu" else 1000  # what fits a cache; what fills an accelerator
    return Batches(images, size, mean=like.mean, sd=like.sd, shuffle=False, device=device)


# --- the same as trials: described by JSON values, memoised on disk ------------------------------


def supervised(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    smoothing: float = 0.0,
    start: Result | None = None,
) -> Outcome:
    """A trial of `train`. Arguments: see `examples_of`, `built` and `Recipe`.

    The network starts from the weights that the trial `start` ended with, else from fresh ones.
    """
    task = prepared(context, seed, data, network, recipe, start=start)
    history = train(
        task.network, task.batches, task.recipe, smoothing=smoothing, seed=seed, **task.options
    )
    return task.outcome(history)


def distilled(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    loss: dict[str, Any],
    soft_weight: float | tuple[float, float] = 1.0,
    hard_weight: float = 0.0,
    start: Result | None = None,
) -> Outcome:
    """A trial of `distil`; `loss` names a function of `kdnb.losses` and holds its arguments.

    The student starts from the weights that the trial `start` ended with, else from the same
    weights as `supervised` gives the same network and seed.
    """
    task = prepared(context, seed, data, network, recipe, start=start, name="student")
    history = distil(
        task.network, network_of(teacher), task.batches, task.recipe, loss=loss_of(loss),
        soft_weight=soft_weight, hard_weight=hard_weight, seed=seed, **task.options,
    )  # fmt: skip
    return task.outcome(history)


def loss_of(description: dict[str, Any]) -> Loss:
    """The function of `kdnb.losses` that `{"name": ..., **arguments}` describes."""
    arguments = dict(description)
    return functools.partial(getattr(losses, arguments.pop("name")), **arguments)


def data_spec(
    name: str,
    *,
    split: str = "train_all",
    limit: int | None = None,
    without: tuple[int, ...] = (),
    only: tuple[int, ...] = (),
    evaluated: int | None = None,
) -> dict[str, Any]:
    """The `data` argument of a trial; with the data set's digest, so other data is another trial.

    Args:
        split: `train_all` (every training image) or `train` (without the validation split).
        limit: the first so many images of the split, which lie in a random order.
        without, only: classes left out, or the only ones kept.
        evaluated: only the first so many validation and test images are looked at.
    """
    spec: dict[str, Any] = {"name": name, "sha256": datasets.card(name).sha256["train"]}
    spec |= {"split": split, "limit": limit, "without": list(without), "only": list(only)}
    spec["evaluated"] = evaluated
    return {key: value for key, value in spec.items() if value not in (None, [])}


def examples_of(source: ImageData, spec: dict[str, Any]) -> Images:
    """The training images that a `data_spec` describes."""
    images: Images = getattr(source, spec["split"])
    keep = torch.ones(len(images), dtype=torch.bool)
    if limit := spec.get("limit"):
        keep[limit:] = False
    for label in spec.get("without", []):
        keep &= images.labels != label
    if only := spec.get("only"):
        keep &= torch.isin(images.labels, torch.tensor(only))
    return images.select(keep)


def batches_of(images: Images, source: ImageData, recipe: Recipe, seed: int) -> Batches:
    """Training batches as the recipe wants them."""
    return Batches(
        images, recipe.batch_size, mean=source.mean, sd=source.sd, seed=seed,
        crop_padding=recipe.crop_padding, flip=recipe.flip, jitter=recipe.jitter,
        device=default_device(),
    )  # fmt: skip


def built(network: dict[str, Any], source: ImageData, seed: int) -> nn.Module:
    """The network of a description `{"name": ..., **options}`; the seed fixes its weights."""
    options = dict(network)
    channels, size = source.train.images.shape[1], source.train.images.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nets.build(
            options.pop("name"), num_classes=len(source.classes), in_channels=channels,
            image_size=size, **options,
        )  # fmt: skip


def network_of(result: Result, source: ImageData | None = None) -> nn.Module:
    """The trained network of a finished trial, in eval mode.

    Args:
        source: fixes its channels and classes; the trial's own data set is loaded when None.
    """
    arguments = result.description["arguments"]
    source = datasets.load(arguments["data"]["name"]) if source is None else source
    return restored(result, arguments["network"], source)


def restored(
    result: Result, network: dict[str, Any], source: ImageData, name: str = "network"
) -> nn.Module:
    """The described network with the weights that a trial `kept` under a name, in eval mode."""
    model, start = built(network, source, seed=0), f"{name}."
    state = {k[len(start) :]: v for k, v in result.tensors().items() if k.startswith(start)}
    model.load_state_dict(state)
    return model.eval()


def kept(network: nn.Module, name: str = "network") -> dict[str, Tensor]:
    """A network's weights as a trial keeps them, for `restored` to find."""
    return {f"{name}.{key}": value.cpu() for key, value in network.state_dict().items()}


def logits_on(network: nn.Module, images: Images, source: ImageData) -> Tensor:
    """The network's logits on un-augmented images, (examples, classes) float32 on the CPU."""
    device = next(network.parameters()).device
    return predict(network, in_order(images, source, device))


def evaluated(images: Images, data: dict[str, Any]) -> Images:
    """The part of a validation or test set that a `data_spec` looks at."""
    return images.select(slice(data.get("evaluated")))


class Task(NamedTuple):
    """What a trial of one classifier starts from.

    Attributes:
        network: to be trained in place.
        batches: the training images as the recipe wants them.
        options: of `training.fit`: where the trial leaves its state, and what is looked at in
            every epoch, which is never the test set.
    """

    network: nn.Module
    batches: Batches
    recipe: Recipe
    options: dict[str, Any]
    source: ImageData
    data: dict[str, Any]

    def outcome(self, history: list, network: nn.Module | None = None) -> Outcome:
        """What every trial measures after the last epoch; its logits serve whatever is asked later.

        Args:
            network: the one to deploy, when it is another than the one trained.
        """
        network = network or self.network
        sets = {
            "train": self.batches.images,
            "validation": evaluated(self.source.validation, self.data),
            "test": evaluated(self.source.test, self.data),
        }
        logits = {name: logits_on(network, images, self.source) for name, images in sets.items()}
        labels = {name: images.labels.cpu() for name, images in sets.items()}
        metrics = {
            f"{name}_errors": float((answers.argmax(1) != labels[name]).sum())
            for name, answers in logits.items()
        }
        metrics["test_cross_entropy"] = float(F.cross_entropy(logits["test"], labels["test"]))
        metrics["train_images"] = float(len(self.batches.images))
        answers = {f"logits.{name}": logits[name] for name in ("validation", "test")}
        series = {key: [row[key] for row in history] for key in history[0]}
        return Outcome(metrics, series, {**kept(network), **answers})


def prepared(
    context: Context,
    seed: int,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    *,
    start: Result | None = None,
    name: str = "network",
) -> Task:
    """Data, network and recipe of a trial out of their descriptions.

    Args:
        start: the trial whose last weights the network starts from; else fresh ones.
        name: of the network among those that `fit` trains.
    """
    source = datasets.load(data["name"])
    model = built(network, source, seed) if start is None else network_of(start)
    plan = Recipe(**recipe)
    batches = batches_of(examples_of(source, data), source, plan, seed)
    validation = evaluated(source.validation, data)

    def evaluate(networks) -> dict[str, float]:
        logits = logits_on(networks[name], validation, source)
        labels = validation.labels
        return {
            "validation_errors": float((logits.argmax(1) != labels).sum()),
            "validation_cross_entropy": float(F.cross_entropy(logits, labels)),
        }

    watch = {"evaluate": evaluate} if data["split"] == "train" else {}
    options = {"checkpoint": context.checkpoint, **watch}
    return Task(model, batches, plan, options, source, data)

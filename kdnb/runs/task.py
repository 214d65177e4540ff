"""The inputs of a run: data, networks and recipes made from their descriptions."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb import losses, nets
from kdnb.data import Batches, ImageData
from kdnb.methods.offline.distil import Loss
from kdnb.names import nearest
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.devices import default_device
from kdnb.training.inputs import batches_of, evaluated, examples_of, logits_on
from kdnb.training.wrapped import convolutional


def loss_of(description: dict[str, Any]) -> Loss:
    """The function of `kdnb.losses` that `{"name": ..., **arguments}` describes.

    Raises:
        ValueError: for an unknown loss; names the nearest.
    """
    arguments = dict(description)
    name = arguments.pop("name")
    if name not in losses.__all__:
        raise ValueError(f"there is no loss {name!r} ({nearest(name, losses.__all__)}).")
    return functools.partial(getattr(losses, name), **arguments)


def data_spec(
    name: str,
    *,
    split: str = "train_all",
    limit: int | None = None,
    skip: int | None = None,
    without: tuple[int, ...] = (),
    only: tuple[int, ...] = (),
    evaluated: int | None = None,
) -> dict[str, Any]:
    """The `data` argument of a trial; it includes the data set's digest, so other data is another trial.

    Args:
        split: `train_all` (every training image) or `train` (without the validation split).
        limit: number of images to take from the split, whose order is random.
        skip: number of images of the split to leave out before those.
        without, only: classes left out, or the only ones kept.
        evaluated: number of validation and test images to use, the first ones.
    """
    spec: dict[str, Any] = {"name": name, "sha256": datasets.card(name).sha256["train"]}
    spec |= {"split": split, "limit": limit, "without": list(without), "only": list(only)}
    spec |= {"skip": skip, "evaluated": evaluated}
    return {key: value for key, value in spec.items() if value not in (None, [])}


def built(network: dict[str, Any], source: ImageData, seed: int) -> nn.Module:
    """The network of a description `{"name": ..., **options}`; the seed fixes its weights."""
    options = dict(network)
    channels, size = source.train.images.shape[1], source.train.images.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nets.build(
            options.pop("name"), num_classes=len(source.classes), in_channels=channels,
            image_size=size, **options,
        )  # fmt: skip
    return made.to(default_device())


def network_of(result: Result, source: ImageData | None = None) -> nn.Module:
    """The trained network of a finished trial, in eval mode.

    Args:
        source: fixes its channels and classes; the trial's own data set is loaded if None.
    """
    arguments = result.description["arguments"]
    source = datasets.load(arguments["data"]["name"]) if source is None else source
    return restored(result, arguments["network"], source)


def restored(
    result: Result, network: dict[str, Any], source: ImageData, name: str = "network"
) -> nn.Module:
    """The described network with the weights that a trial kept under a name, in eval mode."""
    return restored_into(built(network, source, seed=0), result, name).eval()


def restored_into(model: nn.Module, result: Result, name: str = "network") -> nn.Module:
    """The network with the weights that a trial kept under a name."""
    start = f"{name}."
    state = {k[len(start) :]: v for k, v in result.tensors().items() if k.startswith(start)}
    model.load_state_dict(state)
    return model


def weights_kept(network: nn.Module, name: str = "network") -> dict[str, Tensor]:
    """A network's weights in the form that a trial keeps and `restored` reads."""
    return {f"{name}.{key}": value.cpu() for key, value in network.state_dict().items()}


def as_trained(network: nn.Module, recipe: Recipe) -> nn.Module:
    """A network in the memory format in which it was trained, so that its outputs round identically."""
    if recipe.precision != "32" and convolutional(network):
        network.to(memory_format=torch.channels_last)
    return network


class Task(NamedTuple):
    """The inputs of a trial of one classifier.

    Attributes:
        network: the network to train in place.
        batches: the training images as the recipe specifies them.
        options: options of `training.fit`: the checkpoint, and what is measured in every epoch,
            which is never the test set.
    """

    network: nn.Module
    batches: Batches
    recipe: Recipe
    options: dict[str, Any]
    source: ImageData
    data: dict[str, Any]

    def outcome(self, history: list, network: nn.Module | None = None) -> Outcome:
        """The measurements of every trial after the last epoch; its logits allow further ones later.

        Args:
            history: one row per epoch; empty for a network that was not trained.
            network: the network to deploy, if it differs from the trained one.
        """
        network = as_trained(network or self.network, self.recipe)
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
        series = {key: [row[key] for row in history] for key in (history[0] if history else ())}
        return Outcome(metrics, series, {**weights_kept(network), **answers})


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
    """Make the data, network and recipe of a trial from their descriptions.

    Args:
        start: the trial whose final weights the network starts from; new weights if None.
        name: the network's name among those that `fit` trains.
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

"""Embeddings learnt on some classes and used for retrieval on others, as trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb import nets
from kdnb.data import ImageData
from kdnb.losses import soft_targets
from kdnb.methods.applications.retrieval import (
    Normalised,
    class_mean_logits,
    embed,
    learn_embedding,
    recall_at,
    relations,
)
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.randomness import mix

HOW = ("triplet", "relations", "hint", "logits", "untrained")
CENTRE, SPREAD = 0.2, 0.33  # roughly, of the pixels of digits and clothes, from 0 to 1


def images_of(
    sources: Sequence[ImageData],
    part: str,
    classes: Sequence[int],
    first: int,
    each: int,
    side: int,
) -> tuple[Tensor, Tensor]:
    """Some grey images of some classes of several data sets, reduced in size, and their labels from 0.

    Args:
        sources: their classes are numbered consecutively: 0 to 9 of the first, 10 to 19 of the second.
        part: "train", "validation" or "test".
        classes: their numbers, in the order of the labels.
        first, each: which images of each class, in the data set's order.
        side: pixels in height and width.

    Raises:
        ValueError: if a class has too few images.
    """
    pixels, labels = [], []
    for label, number in enumerate(classes):
        source, own = _source_of(sources, number)
        images = getattr(source, part)
        places = torch.nonzero(images.labels == own)[:, 0][first : first + each]
        if len(places) < each:
            raise ValueError(
                f"images {first} to {first + each} of class {number} were asked for; the part "
                f"{part!r} has {int((images.labels == own).sum())}."
            )
        pixels.append(F.adaptive_avg_pool2d(images.images[places].float() / 255, side))
        labels.append(torch.full((each,), label))
    return (torch.cat(pixels) - CENTRE) / SPREAD, torch.cat(labels)


def _source_of(sources: Sequence[ImageData], number: int) -> tuple[ImageData, int]:
    own = number
    for source in sources:
        if own < len(source.classes):
            return source, own
        own -= len(source.classes)
    raise ValueError(f"class {number} is beyond the last one of these data sets.")


def split_classes(
    sources: Sequence[ImageData], seen: int, seed: int
) -> tuple[list[int], list[int]]:
    """A random split of the classes: those that are learnt, and the others."""
    count = sum(len(source.classes) for source in sources)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[:seen], order[seen:]


def built_embedding(network: dict[str, Any], side: int, seed: int, normalise: bool) -> nn.Module:
    """A network whose head gives the embedding; the seed fixes its weights.

    Args:
        network: `{"name": ..., "features": width of the embedding, **options}`.
    """
    options = dict(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nets.build(
            options.pop("name"), num_classes=options.pop("features"), image_size=side, **options
        )
    return Normalised(made) if normalise else made


def searched_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    more_data: dict[str, Any],
    seen: int,
    each: int,
    side: int,
    queries: int,
    network: dict[str, Any],
    recipe: dict[str, Any],
    how: str,
    normalise: bool = False,
    distance_weight: float = 1.0,
    angle_weight: float = 2.0,
    teacher: Result | None = None,
    shuffled: bool = False,
    scored: str = "test",
) -> Outcome:
    """An embedding that learns on some classes, and recall among images of all others.

    The seed determines which classes are learnt, so a teacher needs the seed of its students.

    Args:
        data, more_data: `data_spec`s of the two data sets whose classes are combined.
        seen: number of classes that are learnt.
        each: training images of each of them, the first ones.
        side: pixels of an image, in height and width.
        queries: images of each class, each searched for among the others.
        network: as for `built_embedding`.
        how: "triplet" learns from labels, the others from the teacher: "relations" by RKD, "hint" by the squared
            error of its embedding after a learnt linear map, "logits" by soft targets of its cosines with the
            means of the classes. "untrained" learns nothing.
        normalise: whether the embedding has length 1.
        distance_weight, angle_weight: of "relations".
        teacher: a trial of this function, with the same seed.
        shuffled: the teacher's embeddings belong to other images: a control.
        scored: the images that are searched, "test", or in pilots "train", also of unlearnt classes.

    Returns:
        Recall@1 in percent: `recall` among images of the other classes; `seen` among held-out images of as many
        learnt ones; `train` among the training images; `pixels` and `principal` for the pixels themselves, and for
        as many principal components of the training images as the embedding has features. The last `loss`. The
        weights, as `embedding.*`.
    """
    if how not in HOW:
        raise ValueError(f"how must be one of {', '.join(HOW)}; got {how!r}.")
    sources = [datasets.load(one["name"]) for one in (data, more_data)]
    known, unknown = split_classes(sources, seen, mix(seed, 0))
    plan = Recipe(**recipe)
    inputs, labels = images_of(sources, "train", known, 0, each, side)
    # A student and its teacher need different weights: their initialisation depends on the network.
    model = built_embedding(network, side, mix(seed, 1), normalise)
    losses: list[float] = []
    if how == "triplet":
        fit = learn_embedding(model, inputs, labels, plan, seed=mix(seed, 2))
        losses = fit.history.loss.tolist()
    elif how != "untrained":
        theirs = embed(_restored(teacher), inputs)
        if shuffled:
            order = torch.Generator().manual_seed(mix(seed, 3))
            theirs = theirs[torch.randperm(len(theirs), generator=order)]
        weights = distance_weight, angle_weight
        losses = _imitate(model, inputs, labels, theirs, plan, seed, how, weights)
    final = scored == "test"
    wanted = images_of(sources, "test" if final else "train", unknown, 0, queries, side)
    alike = images_of(
        sources, "test" if final else "validation", known[: len(unknown)], 0, queries, side
    )
    found = {"recall": embed(model, wanted[0]), "pixels": wanted[0].flatten(1)}
    found["principal"] = _principal(inputs, wanted[0], network["features"])
    metrics = {name: 100 * recall_at(one, wanted[1])[0] for name, one in found.items()}
    metrics["seen"] = 100 * recall_at(embed(model, alike[0]), alike[1])[0]
    metrics["train"] = 100 * recall_at(embed(model, inputs), labels)[0]
    metrics["loss"] = losses[-1] if losses else 0.0
    kept = {f"embedding.{name}": value.cpu() for name, value in model.state_dict().items()}
    return Outcome(metrics, {"loss": losses}, kept)


def _principal(training: Tensor, images: Tensor, features: int) -> Tensor:
    """The first principal components of the training images' pixels, for other images."""
    mean = training.flatten(1).mean(0)
    axes = torch.linalg.svd(training.flatten(1) - mean, full_matrices=False).Vh[:features]
    return (images.flatten(1) - mean) @ axes.T


def _imitate(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    theirs: Tensor,
    plan: Recipe,
    seed: int,
    how: str,
    weights: tuple[float, float],
) -> list[float]:
    """Train an embedding to imitate a teacher's; returns the loss of each epoch."""

    def related(ours: Tensor, wanted: Tensor) -> Tensor:
        return relations(ours, wanted, *weights)

    def pointed(ours: Tensor, wanted: Tensor) -> Tensor:
        return (ours - wanted).square().sum(1).mean()

    def classified(ours: Tensor, wanted: Tensor) -> Tensor:
        return soft_targets(ours, wanted, 1.0)

    loss, taught, targets = related, model, theirs
    if how != "relations":
        targets = theirs if how == "hint" else class_mean_logits(theirs, labels)
        width = embed(model, inputs[:2]).shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(seed, 4))
            taught = nn.Sequential(model, nn.Linear(width, targets.shape[1]))
        loss = pointed if how == "hint" else classified
    fit = learn_embedding(
        taught, inputs, labels, plan, targets=targets, loss=loss, seed=mix(seed, 2)
    )
    return fit.history.loss.tolist()


def _restored(result: Result) -> nn.Module:
    """The embedding that a trial learnt."""
    arguments = result.description["arguments"]
    model = built_embedding(
        arguments["network"], arguments["side"], 0, arguments.get("normalise", False)
    )
    start = "embedding."
    model.load_state_dict({k.removeprefix(start): v for k, v in result.tensors().items()})
    return model.eval()

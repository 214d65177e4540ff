"""Networks that learn from partly wrong labels, as trials."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Images
from kdnb.losses.checks import check_choice
from kdnb.methods.applications.coteaching import coteach, noisy_labels
from kdnb.runs.trials import Context, Outcome
from kdnb.training.inputs import examples_of
from kdnb.training.randomness import mix

LAST = 5  # epochs whose accuracies are averaged, as the paper averages its last ten


def label_noise_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    noise: dict[str, Any],
    hidden: int,
    pick: str,
    plan: dict[str, Any],
    scored: str = "test",
) -> Outcome:
    """Two perceptrons on images of half the side, whose training labels are partly wrong.

    All trials of a seed with the same noise have the same labels, initial weights and batches.

    Args:
        data: a `data_spec`; `evaluated` is the number of images on which accuracies are measured.
        noise: `kind` and `rate` of `noisy_labels`.
        hidden: units of each of both hidden layers.
        pick: of `coteach`: "other", "self" or "all".
        plan: `epochs`, `ramp_epochs`, `batch_size` and `rate` of `coteach`.
        scored: "test"; or "validation" for pilots, which read no test image.

    Returns:
        Percentages: `accuracy` on images with right labels, the mean of both networks and of the last five
        epochs; `best` and `last`, the highest and last of the first network; `fit`, on the noisy
        training labels; `precision`, right labels among those that the first network picked in the last
        epoch; `wrong`, wrong ones among all training labels.
    """
    check_choice(("test", "validation"), scored=scored)
    source = datasets.load(data["name"])
    seen = _halved(examples_of(source, data))
    judged = _halved(getattr(source, scored).select(slice(data["evaluated"])))
    inputs, right = seen
    given = noisy_labels(right, noise["rate"], len(source.classes), noise["kind"], mix(seed, 0))
    pair = [_perceptron(inputs, hidden, len(source.classes), mix(seed, 1, n)) for n in range(2)]
    curves: list[list[float]] = [[], []]

    def look() -> None:
        for network, curve in zip(pair, curves, strict=True):
            curve.append(_accuracy(network, *judged))

    done = coteach(
        *pair, inputs, given, noise["rate"], pick=pick, right=right, after_epoch=look, seed=mix(seed, 2), **plan
    )  # fmt: skip
    ends = [value for curve in curves for value in curve[-LAST:]]
    metrics = {
        "accuracy": sum(ends) / len(ends),
        "best": max(curves[0]),
        "last": curves[0][-1],
        "fit": _accuracy(pair[0], inputs, given),
        "precision": 100 * done.precision[-1],
        "wrong": 100 * float((given != right).double().mean()),
    }
    return Outcome(metrics, series={"first": curves[0], "second": curves[1]})


def _halved(images: Images) -> tuple[Tensor, Tensor]:
    pixels = F.avg_pool2d(images.images.float() / 255, 2)
    return (pixels - 0.13) / 0.27, images.labels


def _perceptron(inputs: Tensor, hidden: int, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(inputs[0].numel(), hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes),
        )  # fmt: skip


def _accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    network.eval()
    with torch.no_grad():
        right = network(inputs).argmax(1) == labels
    return 100 * float(right.double().mean())

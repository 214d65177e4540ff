"""Wang et al. 2018, "Dataset Distillation", on MNIST with LeNet-5.

A few images, and a rate for each step, are learnt so that a few gradient steps on them
train a network: for one known initialisation, or for any. They are compared with real images under
the same number of steps: a random draw from every class, or the mean image of each. These have no
learnt rates, but the best of a few constant rates on held-out training images.

Differences from the paper (numbers of the authors' read-me): 8 passes over the 60,000 images for the known
initialisation and 2 for any, whose step costs six times as much, instead of 400; batches of 256
instead of 1024; Adam's rate falls from 0.05 along a cosine instead of being halved from 0.01 every
40 passes. One random network a step is the default of their code, too. `full` has 400 and 100 passes. The
first rates, Adam's rate and the batch were chosen in one pilot of 60 to 350 steps on training
images alone, judged on held-out ones. It also showed that such short runs make no progress with
PyTorch's own, smaller initial weights, so networks start with Xavier's as in the paper.

Departures: the read-me's LeNet is not described; ours is LeNet-5 with ReLU and max-pooling.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.methods.data_free.dataset_distillation import DistilledData, distil_dataset, trained_on
from kdnb.reproductions import Arms, Reproduction, chen2019dafl, every_arm
from kdnb.reproductions.chen2019dafl import TEACHER, Parameters, setting, supervised
from kdnb.runs.task import built
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, evaluated, examples_of, logits_on

__all__ = ["PROFILES", "REPRODUCTION", "Parameters", "arms", "measure"]

PROFILES = every_arm(chen2019dafl.PROFILES)

STEPS, EPOCHS = 10, 3  # for any initialisation: 10 images per step, 3 passes through all steps
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
JUDGED_ON, TRIED_ON = 10, 3  # networks with other initial weights, for the test and for a rate


def arms(p: Parameters) -> Arms:
    """Distilled images for one and for any initialisation; real ones; all of the data."""
    data, passes = setting(p)["data"], p.distilling_epochs

    def distilled(passes: int, lr: float, **more: Any) -> Callable[[int], Trial]:
        arguments = {
            "data": data, "network": TEACHER, "epochs": EPOCHS, "judged_on": JUDGED_ON, "lr": lr,
            "recipe": {"epochs": passes, "batch_size": 256, "optimiser": "adam", "lr": 0.05,
                       "schedule": "cosine", "precision": "32"},
            **more,
        }  # fmt: skip
        return lambda seed: Trial("distilled_images", arguments, seed)

    def real(fixed: bool, steps: int, images: str) -> Callable[[int], Trial]:
        arguments = {
            "data": data, "network": TEACHER, "fixed": fixed, "steps": steps, "epochs": EPOCHS,
            "images": images, "rates": list(RATES), "judged_on": JUDGED_ON,
        }  # fmt: skip
        return lambda seed: Trial("real_images", arguments, seed)

    return {
        "teacher": supervised(p, TEACHER),
        "fixed": distilled(passes, 0.3, fixed=True, steps=1),
        "fixed_real": real(True, 1, "random"),
        "random": distilled(max(1, passes // 4), 0.1, fixed=False, steps=STEPS),
        "random_real": real(False, STEPS, "random"),
        "average_real": real(False, STEPS, "mean"),
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test accuracy in percent: for the known initialisation if the images are made for it.

    `fresh_accuracy` and its standard deviation are over networks with other initialisations.
    """
    found = result.metrics
    if "fresh_test_errors" not in found:
        return chen2019dafl.measure(arm, result)
    seen = found["test_images"]
    fresh = 100 * (1 - found["fresh_test_errors"] / seen)
    known = 100 * (1 - found["fixed_test_errors"] / seen)
    return {
        "accuracy": known if result.description["arguments"]["fixed"] else fresh,
        "fresh_accuracy": fresh,
        "fresh_accuracy_sd": 100 * found["fresh_test_errors_sd"] / seen,
        "images": found["distilled_images"],
    }


def distilled_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    fixed: bool,
    steps: int,
    epochs: int,
    lr: float,
    judged_on: int,
) -> Outcome:
    """`dataset_distillation_trial` for networks that start with Xavier's weights, as the paper's.

    Args:
        data, network, recipe, fixed, steps, epochs, lr, judged_on: as in that function.

    Returns:
        See `judged`, and the tensors `distilled.images` and `distilled.rates`.
    """
    source, plan = datasets.load(data["name"]), Recipe(**recipe)
    few = few_images(source, steps, epochs, lr, seed)
    known = started(network, source, seed)

    def another() -> nn.Module:
        return started(network, source, int(torch.randint(2**31, ())))

    history = distil_dataset(
        few, known if fixed else another, batches_of(examples_of(source, data), source, plan, seed),
        plan, seed=seed, checkpoint=context.checkpoint,
    )  # fmt: skip
    found = judged(few, network, source, data, seed, judged_on)
    with torch.no_grad():
        images, rates = few()
    return Outcome(
        found,
        {key: [row[key] for row in history] for key in history[0]},
        {"distilled.images": images.cpu(), "distilled.rates": rates.cpu()},
    )


def real_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    fixed: bool,
    steps: int,
    epochs: int,
    images: str,
    rates: list[float],
    judged_on: int,
) -> Outcome:
    """Train a network in a few gradient steps on real images, one of each class in every step.

    Args:
        data, network, steps, epochs, judged_on: as for `distilled_trial`.
        fixed: the rate is chosen for the known initialisation; else over three new ones,
            which are not those that are judged.
        images: "random" for other images in every step, "mean" for the mean image of each class,
            the same in all steps.
        rates: candidates; the best one on the validation images is used in all steps.

    Returns:
        See `judged`, and the `rate`; the tensor `real.images`.

    Raises:
        ValueError: for other images.
    """
    source = datasets.load(data["name"])
    chosen = drawn(source, steps, images, seed)

    def at(rate: float) -> DistilledData:
        few = few_images(source, steps, epochs, rate, seed)
        with torch.no_grad():
            few.images.copy_(chosen)
        return few

    fresh = [started(network, source, fresh_seed(seed, 500 + n)) for n in range(TRIED_ON)]
    tried = [started(network, source, seed)] if fixed else fresh
    held_out = evaluated(source.validation, data)

    def wrong(rate: float) -> float:
        return sum(errors(trained_on(at(rate), one), held_out, source) for one in tried)

    best = min(rates, key=wrong)
    found = judged(at(best), network, source, data, seed, judged_on)
    return Outcome({**found, "rate": best}, {}, {"real.images": chosen})


def judged(
    few: DistilledData,
    network: dict[str, Any],
    source: ImageData,
    data: dict[str, Any],
    seed: int,
    judged_on: int,
) -> dict[str, float]:
    """Test errors of networks trained on a few images.

    Returns:
        `fixed_test_errors`, of the network with the known initialisation;
        `fresh_test_errors` and `fresh_test_errors_sd` over networks with other initialisations;
        `distilled_images`, `test_images`.
    """
    test = evaluated(source.test, data)
    fresh = [started(network, source, fresh_seed(seed, n)) for n in range(judged_on)]
    found = [errors(trained_on(few, one), test, source) for one in fresh]
    return {
        "fixed_test_errors": errors(trained_on(few, started(network, source, seed)), test, source),
        "fresh_test_errors": statistics.fmean(found),
        "fresh_test_errors_sd": statistics.stdev(found) if judged_on > 1 else 0.0,
        "distilled_images": float(few.images.shape[0] * few.images.shape[1]),
        "test_images": float(len(test)),
    }


def few_images(source: ImageData, steps: int, epochs: int, lr: float, seed: int) -> DistilledData:
    """One image of each class for each step, initialised with normal noise."""
    labels = torch.arange(len(source.classes))
    shape = tuple(source.test.images.shape[1:])
    return DistilledData(steps, labels, shape, epochs=epochs, lr=lr, seed=seed)


def started(network: dict[str, Any], source: ImageData, seed: int) -> nn.Module:
    """The described network with Xavier's normal weights, and biases of 0.

    The variance is 2 / (inputs + outputs) of the layer (Glorot and Bengio 2010, equation 12).
    """
    made, stream = built(network, source, seed), torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_normal_(parameter, generator=stream)
        else:
            nn.init.zeros_(parameter)
    return made


def fresh_seed(seed: int, number: int) -> int:
    """A seed for initial weights for which no images were made."""
    return 2**31 + 1000 * seed + number


def errors(network: nn.Module, images: Images, source: ImageData) -> float:
    """The number of images that the network misclassifies."""
    return float((logits_on(network, images, source).argmax(1) != images.labels.cpu()).sum())


def drawn(source: ImageData, steps: int, images: str, seed: int) -> Tensor:
    """Real images for gradient steps, normalised, (steps, classes, channels, height, width).

    Args:
        source: its training images are used, without the held-out ones, on which the rate is chosen.
        images, seed: as for `real_trial`.

    Raises:
        ValueError: for other images.
    """
    examples = source.train
    stream = torch.Generator().manual_seed(seed)
    of_class = []
    for label in range(len(source.classes)):
        own = examples.images[examples.labels == label]
        if images == "random":
            own = own[torch.randperm(len(own), generator=stream)[:steps]].float()
        elif images == "mean":
            own = own.float().mean(0, keepdim=True).expand(steps, -1, -1, -1)
        else:
            raise ValueError(f"images must be 'random' or 'mean'; got {images!r}.")
        of_class.append(own)
    mean, sd = (torch.tensor(value).view(-1, 1, 1) for value in (source.mean, source.sd))
    return (torch.stack(of_class, dim=1) / 255 - mean) / sd


REPRODUCTION = Reproduction("wang2018dd", arms, measure)

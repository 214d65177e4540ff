"""Early grades of random networks, and their final accuracies, as trials."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor

from kdnb import data as datasets
from kdnb.data import Images, in_order
from kdnb.methods.architecture.design import multiply_adds, parameters
from kdnb.methods.nas import (
    Architecture,
    Space,
    build,
    draw_distinct,
    expected_best,
    representations,
    teacher_guidance,
)
from kdnb.methods.offline.distil import train
from kdnb.runs.task import network_of
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe, evaluate
from kdnb.training.devices import default_device
from kdnb.training.inputs import examples_of
from kdnb.training.randomness import mix

WHERE = {"guidance": "embedding", "logits": "logits", "layers": "layers"}


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 if one of the two is constant."""
    from scipy import stats

    if len(set(one)) < 2 or len(set(other)) < 2:
        return 0.0
    return float(stats.spearmanr(one, other).statistic)


def partial_rank_correlation(
    one: Sequence[float], other: Sequence[float], given: Sequence[float]
) -> float:
    """Spearman's partial rank correlation of two variables, given a third.

    >>> round(partial_rank_correlation([1, 2, 3, 4], [1, 2, 4, 3], [2, 1, 3, 4]), 3)
    0.667
    """
    r = rank_correlation(one, other)
    a, b = rank_correlation(one, given), rank_correlation(other, given)
    rest = (1 - a * a) * (1 - b * b)
    return 0.0 if rest < 1e-12 else (r - a * b) / rest**0.5


class _Grades:
    """The early grades of candidates: lists by name, one number for each candidate."""

    def __init__(self, probes: Tensor, early: Any, teacher: Any, untrained: Any, seed: int):
        self.probes, self.early = probes, early
        self.teacher = representations(teacher, probes)
        self.untrained = representations(untrained, probes)
        self.stream = torch.Generator().manual_seed(mix(seed, 2))
        self.found: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        self.found.setdefault(name, []).append(float(value))

    def look(self, network: torch.nn.Module, moment: int, thorough: bool) -> None:
        """Grade a candidate in its current state, after this number of epochs."""
        ours = representations(network, self.probes)
        self.note(f"guidance{moment}", teacher_guidance(ours, self.teacher))
        if moment:
            right = float(evaluate(network, self.early).accuracy)
            self.note(f"accuracy{moment}", right)
            self.note(f"both{moment}", right + self.found[f"guidance{moment}"][-1])
        if not thorough:
            return
        for name in ("logits", "layers"):
            self.note(f"{name}{moment}", teacher_guidance(ours, self.teacher, WHERE[name]))
        self.note(f"untrained{moment}", teacher_guidance(ours, self.untrained))
        order = torch.randperm(len(self.probes), generator=self.stream)
        other = {name: [one[order] for one in shown] for name, shown in self.teacher.items()}
        self.note(f"shuffled{moment}", teacher_guidance(ours, other))


def early_grades_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    space: dict[str, Any],
    candidates: int,
    most_multiply_adds: int,
    recipe: dict[str, Any],
    probes: int,
    early_images: int,
    teacher: Result,
    untrained: Result,
    moments: list[int],
    scored: str = "test",
) -> Outcome:
    """Random networks trained on labels; grades in the first epochs against final accuracies.

    Every seed draws its own networks and their weights.

    Args:
        data: a `data_spec` of the part `train`; `evaluated` is the number of images for final
            accuracies.
        space: of `Space`.
        candidates: number of networks, all different.
        most_multiply_adds: limit for one image; larger networks are drawn again.
        probes: number of held-out training images for representations.
        early_images: number of held-out training images for early accuracies, including the probes.
        teacher, untrained: trials of a trained network and one with random weights.
        moments: epochs after which candidates are graded, besides 0; at the first one by all controls.
        scored: final accuracies are on "test" images, or in pilots on "validation" images other than
            the early ones.

    Returns:
        For each grade `<grade><moment>_rank`, its rank correlation with the final accuracy over the
        candidates, and `_pick`, the final accuracy in percent of the candidate that it prefers: grades are
        `guidance` (embeddings), `accuracy`, `both` (their sum), `logits`, `layers` (the maximum over
        layers), `untrained` (another teacher), `shuffled` (images in another order). Also
        `parameters_rank` and `multiply_adds_rank`; `guidance<moment>_partial`, given the early accuracy;
        `random<moment>_pick`, what random search finds in as many epochs; and for the candidates the
        `mean`, `best`, `spread` and early mean in percent, and the rank correlation of both halves.
    """
    source, plan = datasets.load(data["name"]), Recipe(**recipe)
    seen = examples_of(source, data)
    held_out, count = source.validation, data["evaluated"]
    early = held_out.select(slice(early_images))
    if scored == "test":
        final = source.test.select(slice(count))
    else:
        final = held_out.select(slice(early_images, early_images + count))
    shown = _pixels(held_out.select(slice(probes)), source)
    master, nobody = network_of(teacher, source), network_of(untrained, source)
    grades = _Grades(shown, early, master, nobody, seed)
    channels, classes = seen.images.shape[1], len(source.classes)

    def made(architecture: Architecture, place: int):
        return build(architecture, mix(seed, 1, place), num_classes=classes, in_channels=channels)

    def small(architecture: Architecture) -> bool:
        return multiply_adds(made(architecture, 0), shown[0]) <= most_multiply_adds

    chosen = draw_distinct(_space(space).draw, candidates, mix(seed, 0), small)
    for place, architecture in enumerate(chosen):
        network = made(architecture, place)
        grades.look(network, 0, thorough=False)
        grades.note("parameters", parameters(network))
        grades.note("multiply_adds", multiply_adds(network, shown[0]))
        epochs = iter(range(1, plan.epochs + 1))

        def after(_: Any, network=network, epochs=epochs) -> dict[str, float]:
            if (epoch := next(epochs)) in moments:
                grades.look(network, epoch, thorough=epoch == moments[0])
            return {}

        train(network, seen, plan, evaluate=after, seed=mix(seed, 3, place))
        halves = [final.select(slice(start, None, 2)) for start in (0, 1)]
        for name, half in zip(("one", "other"), halves, strict=True):
            grades.note(name, float(evaluate(network, half).accuracy))
    right = float(evaluate(master, final).accuracy)
    return Outcome(_metrics(grades.found, plan.epochs, moments, right), series=grades.found)


def _metrics(
    found: dict[str, list[float]], epochs: int, moments: list[int], teacher: float
) -> dict[str, float]:
    """The results of `early_grades_trial` from lists with one number for each candidate."""
    final = [100 * (a + b) / 2 for a, b in zip(found["one"], found["other"], strict=True)]
    values: dict[str, float] = {}
    for name, grade in found.items():
        if name in ("one", "other"):
            continue
        values[f"{name}_rank"] = rank_correlation(grade, final)
        values[f"{name}_pick"] = final[max(range(len(final)), key=grade.__getitem__)]
    for moment in moments:
        given = found[f"accuracy{moment}"]
        values[f"guidance{moment}_partial"] = partial_rank_correlation(
            found[f"guidance{moment}"], final, given
        )
        # The cost of all candidates for these epochs and the preferred one to its end, in complete trainings.
        trained = ceil((len(final) * moment + epochs - moment) / epochs)
        values[f"random{moment}_pick"] = expected_best(final, min(trained, len(final)))
    mean = sum(final) / len(final)
    first = found[f"accuracy{moments[0]}"]
    return values | {
        "candidates_mean": mean,
        "candidates_best": max(final),
        "candidates_spread": (sum((a - mean) ** 2 for a in final) / len(final)) ** 0.5,
        "candidates_early": 100 * sum(first) / len(first),
        "candidates_halves": rank_correlation(found["one"], found["other"]),
        "teacher_accuracy": 100 * teacher,
    }


def _space(description: dict[str, Any]) -> Space:
    return Space(**{name: tuple(values) for name, values in description.items()})


def _pixels(images: Images, source: datasets.ImageData) -> Tensor:
    """Images as networks take them."""
    batches = in_order(images, source, default_device())
    return torch.cat([batch.images for batch in batches.epoch(0)])

"""One fair comparison of section 2, after the benchmark of Tian et al. 2020 (CRD).

The losses of section 2, for two students on few images of CIFAR-10 and one trained teacher, the
WRN-16-2 shipped with the workbook: the same initial weights for a seed, the same images in the same
order, the same number of steps, cross-entropy plus the method, and weights that were tuned with the
same budget for each student on held-out training images (`tuned`). A teacher with random weights is
the control for the teacher's knowledge.

The benchmark's central finding is that the older losses on features and relations, except CRD, hardly
ever beat plain soft targets.
"""

from __future__ import annotations

import contextlib
import json
import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats
from statsmodels.stats.multitest import multipletests

from kdnb import data as datasets
from kdnb import paths
from kdnb.data import Batches
from kdnb.methods import catalogue
from kdnb.methods.catalogue import METHODS
from kdnb.methods.offline.distil import first_value
from kdnb.nets.checkpoints import card_of
from kdnb.paths import temporary_folder
from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import TEST_IMAGES, Precision, setting
from kdnb.runs import trials
from kdnb.runs.functions.offline import transferred
from kdnb.runs.task import built, network_of
from kdnb.runs.trials import Result, Trial
from kdnb.training import NonFiniteLoss
from kdnb.training.inputs import examples_of
from kdnb.training.layers import layers_of

__all__ = ["PROFILES", "REPRODUCTION", "Parameters", "against", "arms", "places", "tuned"]


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(256, ge=64, le=40000, description="of the students")
    test_images: int = Field(500, ge=100, le=TEST_IMAGES)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(1, ge=1, le=1000)
    batch_size: int = Field(64, ge=2, le=4096, description="images a step")
    lr: float = Field(0.05, gt=0, le=10, description="peak of the one-cycle learning rate")
    augment: bool = Field(False, description="crops and flips")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["student_resnet", "kd_resnet"], description="the arms to run; all when empty"
    )


DATASET, TEACHER = "cifar10", "wrn-16-2"
PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=500, test_images=TEST_IMAGES, seeds=6, epochs=30, batch_size=32, lr=0.1, arms=[],
    ),
    "full": Parameters(
        train_images=40000, test_images=TEST_IMAGES, seeds=6, epochs=240, augment=True,
        precision="bf16", arms=[],
    ),
}  # fmt: skip

# The teacher's three stages, and three layers in each student.
STUDENTS: dict[str, dict[str, Any]] = {
    "resnet": {"network": {"name": "resnet8", "width": 0.5}, "maps": None},
    "vgg": {
        "network": {"name": "vgg8", "width": 0.125},
        "maps": ["stage1.relu1", "stage2.relu1", "stage5"],
    },
}
LEFT_OUT = {
    "fitnets_stage1": "the first stage of two",
    "ab_stage1": "the first stage of two",
    "fsp_stage1": "the first stage of two",
    "projected_hint": "has no labels",
    "random_hint": "has no labels",
}
COMPARED = [name for name in METHODS if name not in LEFT_OUT]
# Trained in two stages, the transfer alone and then the labels alone, and the first one's share of
# the epochs, as in the authors' code of MHGD: 40 of 140.
FIRST_STAGES = {"ab": "ab_stage1", "fsp": "fsp_stage1"}
FIRST_SHARE = 40 / 140
RANDOM, RANDOM_SEED = ("kd", "fitnets"), 5000  # methods with a random teacher, its seeds
FACTORS = (1 / 8, 1.0, 8.0)
TUNING_SEED = 1000  # not a seed of the recorded runs


def arm_of(method: str, student: str) -> str:
    """The name of a condition in the record."""
    return f"{method}_{student}"


def weights() -> dict[str, Any]:
    """The results of `tuned`, from `papers/tian2020crd/weights.json`: student -> method -> weight."""
    return json.loads((paths.root() / "papers" / "tian2020crd" / "weights.json").read_text())


def places() -> pd.DataFrame:
    """The position of each best weight among the four that were tried.

    Returns:
        Columns student, method, weight and place: `smallest`, `largest` or `within`. At an end,
        a weight further out might be even better.
    """
    rows = []
    for student, of in weights()["weights"].items():
        for method, one in of.items():
            tried = sorted(one["held_out_errors"], key=float)
            place = {0: "smallest", len(tried) - 1: "largest"}
            at = tried.index(f"{one['weight']:g}")
            rows.append((student, method, one["weight"], place.get(at, "within")))
    return pd.DataFrame(rows, columns=["student", "method", "weight", "place"])


def arms(p: Parameters) -> Arms:
    """For each student: alone, every method, and KD and hints from a random teacher; the teacher.

    Names are `arm_of(method, student)`; those of a random teacher begin with `random_`.
    """
    chosen = weights()["weights"]

    def arm(method: str, student: str, random: bool = False):
        weight = None if method == "student" else chosen[student][method]["weight"]
        return lambda seed: trial(p, method, student, weight, seed, random=random)

    found: Arms = {"teacher": lambda seed: teacher(p)}
    for student in STUDENTS:
        for method in ("student", *COMPARED):
            found[arm_of(method, student)] = arm(method, student)
        for method in RANDOM:
            found[f"random_{arm_of(method, student)}"] = arm(method, student, random=True)
    return found


def common(p: Parameters) -> dict[str, Any]:
    """Data and recipe of every student; the validation images are not among its images."""
    return setting(p, dataset=DATASET, lr=p.lr, augment=p.augment, batch_size=p.batch_size)


def teacher(p: Parameters) -> Trial:
    """The WRN-16-2 shipped with the workbook, the one teacher of all seeds."""
    digest = card_of(TEACHER, DATASET).sha256
    arguments = {"data": common(p)["data"], "network": {"name": TEACHER}, "sha256": digest}
    return Trial("shipped", arguments, 0)


def random_teacher(p: Parameters, seed: int) -> Trial:
    """An untrained WRN-16-2, a different one for each seed."""
    arguments = {"data": common(p)["data"], "network": {"name": TEACHER}}
    return Trial("untrained", arguments, RANDOM_SEED + seed)


def trial(
    p: Parameters,
    method: str,
    student: str,
    weight: float | None,
    seed: int,
    *,
    random: bool = False,
) -> Trial:
    """One student with one method; in two stages if the method has two, with the same total of epochs.

    With `random` its teacher has random weights.
    """
    arguments = {**common(p), "network": STUDENTS[student]["network"]}
    if method == "student":
        return Trial("supervised", arguments, seed)
    arguments |= {
        "teacher": random_teacher(p, seed) if random else teacher(p),
        "method": method, "weight": weight,
    }  # fmt: skip
    if catalogue.method(method).alone:
        arguments["hard_weight"] = 0.0
    if STUDENTS[student]["maps"]:
        arguments["student_maps"] = STUDENTS[student]["maps"]
    if method in FIRST_STAGES:
        return _in_two_stages(arguments, FIRST_STAGES[method], seed)
    return Trial("transferred", {**arguments, **catalogue.revised(method)}, seed)


def _in_two_stages(arguments: dict[str, Any], stage: str, seed: int) -> Trial:
    """A student that first learns only by the method and then only from labels."""
    recipe = arguments["recipe"]
    epochs = max(1, round(FIRST_SHARE * recipe["epochs"]))
    first = {**arguments, "recipe": {**recipe, "epochs": epochs}, "hard_weight": 0.0}
    first |= {"method": stage, **catalogue.revised(stage)}
    second = {key: arguments[key] for key in ("data", "network")}
    second["recipe"] = {**recipe, "epochs": max(1, recipe["epochs"] - epochs)}
    return Trial("supervised", {**second, "start": Trial("transferred", first, seed)}, seed)


def newcomer(
    p: Parameters, student: str, seed: int, *, method: Any, weight: float = 1.0, **options: Any
) -> dict[str, float]:
    """A user's loss in this comparison: the data, weights, order and steps of `trial`.

    The teacher is trained first if it is not available.

    Args:
        method, weight, options: of `kdnb.distil`.

    Returns:
        What `measure` returns for a recorded condition.
    """
    shared = trial(p, "kd", student, weight, seed).arguments
    arguments = {**shared, "teacher": trials.run(teacher(p)), "method": method}
    if isinstance(method, str):
        arguments |= catalogue.revised(method)
    with temporary_folder("kdnb-") as folder:
        context = trials.Context(folder / "checkpoint")
        outcome = transferred(context, seed, **arguments, method_options=options)
    described = SimpleNamespace(metrics=outcome.metrics, description={"arguments": shared})
    return measure("newcomer", described)


def tuned(p: Parameters, method: str, student: str) -> dict[str, Any]:
    """The best of four weights of a method for a student, by errors on held-out training images.

    First it tries an eighth of, once and eight times the published weight; if none is published, of the
    weight at which the method's first value equals the cross-entropy of a uniform guess. Then one
    more: eight times beyond the best if that is at an end, else a quarter or four times it, towards
    the better of its neighbours. A run that diverges counts as the worst.
    """
    published = METHODS[method].weight
    start = published or _level(math.log(10) / _first_value(p, method, student))
    errors: dict[float, int] = {}
    for weights_of in (lambda _: [start * factor for factor in FACTORS], _next_to_the_best):
        for weight in weights_of(errors):
            one = trial(p, method, student, weight, TUNING_SEED)
            _finish(one)
            errors[weight] = _errors(one)
    return {
        "origin": "published" if published else "first value",
        "weight": min(errors, key=errors.__getitem__),
        "held_out_errors": {f"{weight:g}": errors[weight] for weight in sorted(errors)},
    }


def _next_to_the_best(errors: dict[float, int]) -> list[float]:
    """One more weight: beyond the best if that is at an end, else towards its better neighbour."""
    low, middle, high = sorted(errors)
    best = min(errors, key=errors.__getitem__)
    if best == low:
        return [low / 8]
    if best == high:
        return [high * 8]
    return [middle / 4 if errors[low] < errors[high] else middle * 4]


def _level(value: float) -> float:
    """Rounded to one significant digit."""
    return float(f"{value:.0e}")


def _first_value(p: Parameters, method: str, student: str) -> float:
    one = trial(p, method, student, 1.0, TUNING_SEED)
    data, setting = one.arguments["data"], STUDENTS[student]
    source = datasets.load(data["name"])
    network = built(setting["network"], source, TUNING_SEED)
    model = network_of(trials.run(teacher(p)))
    batches = Batches(
        examples_of(source, data), p.batch_size, mean=source.mean, sd=source.sd, seed=TUNING_SEED
    )
    layers = layers_of(network, setting["maps"] or ()), layers_of(model)
    return first_value(METHODS[method], network, model, batches, layers)


def _finish(one: Trial) -> None:
    """Run a trial; one that diverges is left unfinished and does not stop the others."""
    with contextlib.suppress(NonFiniteLoss):
        trials.run(one)


def _errors(one: Trial) -> int:
    result = trials.finished(one)
    return int(result.metrics["validation_errors"]) if result else TEST_IMAGES


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test accuracy in percent, beside the errors."""
    data = result.description["arguments"]["data"]
    metrics = {k: v for k, v in result.metrics.items() if not k.startswith("validation")}
    seen = data.get("evaluated") or TEST_IMAGES
    return {**metrics, "accuracy": 100 * (1 - metrics["test_errors"] / seen)}


def against(table: pd.DataFrame, student: str, control: str) -> pd.DataFrame:
    """Each method against one control, by paired t-tests over seeds under Holm's correction.

    Args:
        table: a record's table, columns (arm, metric), one row for each seed.
        student: a key of `STUDENTS`.
        control: `student` or a method.

    Returns:
        One row per method, best first: mean accuracy and the mean difference to the control in
        percentage points, its 95% interval, p by Holm, and whether it is above or below at 5%.
    """
    accuracy = table.xs("accuracy", axis=1, level="metric")
    rows = []
    for method in ("student", *COMPARED):
        if method == control:
            continue
        ours = accuracy[arm_of(method, student)]
        test = stats.ttest_rel(ours, accuracy[arm_of(control, student)])
        low, high = test.confidence_interval(0.95)
        difference = float((ours - accuracy[arm_of(control, student)]).mean())
        rows.append((method, float(ours.mean()), difference, float(low), float(high), test.pvalue))
    frame = pd.DataFrame(rows, columns=["method", "accuracy", "difference", "low", "high", "p"])
    frame["p_holm"] = multipletests(frame.pop("p"), method="holm")[1]
    sign = (frame["difference"] > 0).map({True: "above", False: "below"})
    frame["verdict"] = sign.where(frame["p_holm"] < 0.05, "no difference shown")
    return frame.sort_values("accuracy", ascending=False, ignore_index=True)


REPRODUCTION = Reproduction("tian2020crd", arms, measure)

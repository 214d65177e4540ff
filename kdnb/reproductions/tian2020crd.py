"""One fair comparison of section 2, after the benchmark of Tian et al. 2020 (CRD).

The losses of section 2, for two students of one teacher on a part of CIFAR-10: the same initial weights
for a seed, the same images in the same order, the same number of steps, cross-entropy plus the method,
and weights that were all tuned with the same budget on held-out training images (`tune`).

The benchmark's central finding is that plain soft targets are hardly ever beaten by the older losses on
features and relations, CRD excepted.
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
from kdnb.methods.names import former
from kdnb.methods.offline.distil import first_value
from kdnb.paths import temporary_folder
from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import Precision
from kdnb.runs import trials
from kdnb.runs.functions.offline import transferred
from kdnb.runs.task import built, data_spec, network_of
from kdnb.runs.trials import Result, Trial
from kdnb.training import NonFiniteLoss
from kdnb.training.inputs import examples_of
from kdnb.training.layers import layers_of

__all__ = ["PROFILES", "REPRODUCTION", "Parameters", "against", "arms", "tune"]


class Parameters(BaseModel):
    """What the records are made with."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(2000, ge=256, le=40000, description="not read here")
    test_images: int = Field(500, ge=100, le=10000)
    queries: int = Field(200, ge=10, le=10000, description="not read here")
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    teacher_images: int = Field(2000, ge=256, le=40000)
    teacher_epochs: int = Field(3, ge=1, le=1000)
    student_epochs: int = Field(4, ge=1, le=1000, description="not read here")
    transfer_epochs: int = Field(3, ge=1, le=1000, description="not read here")
    precision: Precision = "32"
    arms: list[str] = Field([], description="the arms to run; all when empty")
    compare_images: int = Field(512, ge=128, le=40000, description="of the students")
    compare_epochs: int = Field(1, ge=1, le=1000)
    revised: bool = Field(
        False, description="methods as they are today; the first record has each in its first form"
    )


# The first record shared its teacher, and these parameters, with the first record of PKT.
TEACHERS = {
    "quick": {},
    "laptop": {
        "train_images": 20000, "test_images": 5000, "queries": 2000, "seeds": 6,
        "teacher_images": 40000, "teacher_epochs": 10, "student_epochs": 10, "transfer_epochs": 6,
        "precision": "bf16",
    },
    "full": {
        "train_images": 40000, "test_images": 10000, "queries": 10000, "seeds": 10,
        "teacher_images": 40000, "teacher_epochs": 100, "student_epochs": 100,
        "transfer_epochs": 50, "precision": "bf16",
    },
}  # fmt: skip
BUDGETS = {
    "quick": {"compare_images": 512, "compare_epochs": 1},
    "laptop": {"compare_images": 4096, "compare_epochs": 4},
    "full": {"compare_images": 40000, "compare_epochs": 240},
}
# The record at `laptop` was made before some methods were mended; `revised` is the same with those.
PROFILES = {
    name: Parameters(**shared, **BUDGETS[name], revised=name != "laptop")
    for name, shared in TEACHERS.items()
}
PROFILES["revised"] = PROFILES["laptop"].model_copy(update={"revised": True})

# The teacher's three stages, and as many places in each student.
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
    "gkd": "not in the catalogue when the comparison was recorded",
}
COMPARED = [name for name in METHODS if name not in LEFT_OUT]
# Trained in two stages, the transfer alone and then the labels alone, and the first one's share of
# the epochs, as in the authors' code of MHGD: 40 of 140.
FIRST_STAGES = {"ab": "ab_stage1", "fsp": "fsp_stage1"}
FIRST_SHARE = 40 / 140
FACTORS = (1 / 16, 1 / 4, 1.0, 4.0)
TUNING_SEED = 1000  # no seed of the recorded runs


def teacher(p: Parameters) -> Trial:
    """ResNet-20, the one teacher of all seeds; 10,000 training images are held out."""
    whole = p.teacher_images == 40000
    limit, evaluated = (None, None) if whole else (p.teacher_images, p.test_images)
    arguments = {
        "data": data_spec("cifar10", split="train", limit=limit, evaluated=evaluated),
        "network": {"name": "resnet20"},
        "recipe": {"epochs": p.teacher_epochs, "batch_size": 128, "lr": 0.2, "momentum": 0.9,
                   "nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle",
                   "crop_padding": 4, "flip": True, "precision": p.precision},
    }  # fmt: skip
    return Trial("supervised", arguments, 0)


def students_data(p: Parameters, images: int) -> dict[str, Any]:
    """The first `images` training images, none of which is among the 10,000 held out."""
    return data_spec("cifar10", split="train_all", limit=images, evaluated=p.test_images)


def arm_of(method: str, student: str) -> str:
    """The name of a condition in the record: the method's name at the time it was recorded."""
    return f"{former(method)}_{student}"


def weights() -> dict[str, Any]:
    """What `tune` has found, from `papers/tian2020crd/weights.json`."""
    return json.loads(
        (paths.root() / "papers" / "tian2020crd" / "weights.json").read_text(encoding="utf-8")
    )


def arms(p: Parameters) -> Arms:
    """`arm_of(method, student)` for every method, and the undistilled `student_<student>`."""
    tuned = weights()["weights"]

    def arm(method: str, student: str):
        weight = tuned[former(method)]["weight"] if method != "student" else None
        return lambda seed: trial(p, method, student, weight, seed)

    return {
        arm_of(method, student): arm(method, student)
        for student in STUDENTS
        for method in ("student", *COMPARED)
    }


def trial(p: Parameters, method: str, student: str, weight: float | None, seed: int) -> Trial:
    """One student of one method; in two stages where the method has two, with as many epochs in all."""
    setting = STUDENTS[student]
    arguments = {
        "data": students_data(p, p.compare_images),
        "network": setting["network"],
        "recipe": {"epochs": p.compare_epochs, "batch_size": 64, "lr": 0.1, "momentum": 0.9,
                   "weight_decay": 5e-4, "schedule": "one_cycle", "precision": p.precision},
    }  # fmt: skip
    if method == "student":
        return Trial("supervised", arguments, seed)
    arguments |= {"teacher": teacher(p), "method": method, "weight": weight}
    if catalogue.method(method).alone:
        arguments["hard_weight"] = 0.0
    if setting["maps"]:
        arguments["student_maps"] = setting["maps"]
    if not p.revised:
        return Trial("transferred", arguments, seed)
    if method in FIRST_STAGES:
        return _in_two_stages(arguments, FIRST_STAGES[method], seed)
    return Trial("transferred", {**arguments, **catalogue.revised(method)}, seed)


def _in_two_stages(arguments: dict[str, Any], stage: str, seed: int) -> Trial:
    """A student that is first taught by a method alone and then learns the labels alone."""
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
    """Anybody's loss in this comparison: the data, weights, order and steps of `trial`.

    The teacher is trained first, where it is not at hand.

    Args:
        method, weight, options: of `kdnb.distil`.

    Returns:
        What `measure` gives of a recorded condition.
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


def tune(p: Parameters, student: str = "vgg") -> dict[str, Any]:
    """The best of six weights for each method, by errors on 5,000 held-out training images.

    First a sixteenth and a quarter of, once and four times the published weight; where none is
    published, of the weight at which the method's first value equals the cross-entropy of a uniform
    guess. Then two more: half and twice the best, or beyond it where it lay at an end. A run that
    diverges counts as the worst. Both students use what is found on one.
    """
    found: dict[str, Any] = {}
    for method in COMPARED:
        published = METHODS[method].weight
        start = published or _level(math.log(10) / _first_value(p, method, student))
        errors: dict[float, int] = {}
        for weights_of in (lambda _, start=start: [start * f for f in FACTORS], _next_to_the_best):
            for weight in weights_of(errors):
                one = trial(p, method, student, weight, TUNING_SEED)
                _finish(one)
                errors[weight] = _errors(p, one)
        found[former(method)] = {
            "origin": "published" if published else "first value",
            "weight": min(errors, key=errors.__getitem__),
            "held_out_errors": {f"{weight:g}": errors[weight] for weight in sorted(errors)},
        }
    about = {"student": student, "seed": TUNING_SEED, "parameters": p.model_dump(mode="json")}
    return {**about, "weights": found}


def _next_to_the_best(errors: dict[float, int]) -> list[float]:
    """Two more weights: beyond the best where it lies at an end, else on both sides of it."""
    best = min(errors, key=errors.__getitem__)
    if best == min(errors):
        return [best / 4, best / 16]
    return [best * 4, best * 16] if best == max(errors) else [best / 2, best * 2]


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
        examples_of(source, data), 64, mean=source.mean, sd=source.sd, seed=TUNING_SEED
    )
    layers = layers_of(network, setting["maps"] or ()), layers_of(model)
    return first_value(METHODS[method], network, model, batches, layers)


def _finish(one: Trial) -> None:
    """Run a trial; one that diverges is left unfinished and does not stop the others."""
    with contextlib.suppress(NonFiniteLoss):
        trials.run(one)


def _errors(p: Parameters, one: Trial) -> int:
    result = trials.finished(one)
    return int(result.metrics["validation_errors"]) if result else p.test_images


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test accuracy in percent, beside the errors."""
    data = result.description["arguments"]["data"]
    metrics = {k: v for k, v in result.metrics.items() if not k.startswith("validation")}
    seen = min(10000, data.get("evaluated") or 10000)
    return {**metrics, "accuracy": 100 * (1 - metrics["test_errors"] / seen)}


def against(table: pd.DataFrame, student: str, control: str) -> pd.DataFrame:
    """Each method against one control, by paired t-tests over seeds under Holm's correction.

    Args:
        table: of a record, columns (arm, metric), one row for each seed.
        student: a key of `STUDENTS`.
        control: `student` or a method.

    Returns:
        One row a method, best first: mean accuracy and the mean difference to the control in
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

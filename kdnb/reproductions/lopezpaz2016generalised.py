"""Lopez-Paz et al. 2016, "Unifying Distillation and Privileged Information": synthetic data and MNIST.

Part 1 is the paper's four logistic regressions, with its own recipe and at their optimum; the fourth
as its code draws it, as its text describes it, and in our own reading. Part 2 is its MNIST experiment, a
student of 7 x 7 pixels and a teacher of 28 x 28, with its recipe of 50 epochs and to convergence; and a
student of 4 x 4 pixels, to convergence, on clean labels and on labels of which 40% are random.

Departures: images are reduced by block means, while the authors' code calls SciPy's imresize; training images
come from the 50,000 that are not held out; the students of a seed have the same initial weights.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

TEMPERATURES = (1, 2, 5, 10, 20, 50)
SHARES = [k / 10 for k in range(1, 11)]  # lambda above 0, over which the published means are taken
PROBLEMS = {  # trial -> its problem in `privileged_problem`
    "clean_labels": "clean_labels",
    "clean_features": "clean_features",
    "relevant": "relevant_features",
    "dependent": "dependent_features",
    "dependent_text": "dependent_as_written",
    "dependent_boxes": "dependent_in_place",
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    repeats: int = Field(2, ge=1, le=1000, description="synthetic data sets a seed")
    synthetic_test: int = Field(1000, ge=100, le=100000, description="samples of each")
    synthetic_epochs: int = Field(100, ge=1, le=10000)
    test_images: int = Field(1000, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=1000, description="paired repetitions")
    epochs: int = Field(50, ge=1, le=1000, description="of the paper's recipe on MNIST")
    long_epochs: int = Field(20, ge=1, le=10000, description="of 7 x 7 pixels, trained out")
    small_epochs: int = Field(20, ge=1, le=10000, description="of 4 x 4 pixels, trained out")
    arms: list[str] = Field(
        ["clean_labels", "relevant", "n300", "noisy"],
        description="the arms to run; all when empty",
    )


LAPTOP = Parameters(
    repeats=6, synthetic_test=10000, synthetic_epochs=1000, test_images=10000, seeds=16,
    long_epochs=1000, small_epochs=500, arms=[],
)  # fmt: skip
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(update={"seeds": 100}),
}


def arms(p: Parameters) -> Arms:
    """One trial for each data set; `measure` returns the conditions compared on it."""
    evaluated = None if p.test_images == 10000 else p.test_images
    data = data_spec("mnist", split="train", evaluated=evaluated)
    paper = {"epochs": p.epochs, "batch_size": 128, "optimiser": "rmsprop", "lr": 1e-3}

    def synthetic(problem: str):
        arguments = {
            "problem": problem, "repeats": p.repeats, "train": 200, "test": p.synthetic_test,
            "epochs": p.synthetic_epochs, "ridge": 1e-3,
        }  # fmt: skip
        return lambda seed: Trial("privileged_synthetic", arguments, seed)

    def digits(samples: int, students: list[dict[str, Any]], side: int = 7, **more: Any):
        arguments = {
            "data": data, "side": side, "samples": samples, "students": students, "recipe": paper,
            **more,
        }  # fmt: skip
        return lambda seed: Trial("privileged_digits", arguments, seed)

    def out(epochs: int) -> dict[str, Any]:
        return {**paper, "optimiser": "adam", "lr": 3e-3, "epochs": epochs}

    swept = [{"name": f"t{t}", "temperature": float(t), "shares": SHARES} for t in TEMPERATURES]
    whole = [LABELS, *swept, *controls(10.0)]
    few = [LABELS, swept[TEMPERATURES.index(10)]]
    return {
        **{name: synthetic(problem) for name, problem in PROBLEMS.items()},
        "n300": digits(300, whole),
        "n500": digits(500, whole),
        "n2000": digits(2000, few),
        "long": digits(300, trained_out(10.0), recipe=out(p.long_epochs)),
        "clean": digits(300, trained_out(2.0), side=4, recipe=out(p.small_epochs)),
        "noisy": digits(
            500, trained_out(2.0), side=4, recipe=out(p.small_epochs), random_labels=0.4
        ),
    }


SYNTHETIC = tuple(
    f"{how}{who}" for how in ("", "exact_") for who in ("teacher", "regular", "distilled")
)
LABELS = {"name": "labels", "shares": [0.0]}


def controls(temperature: float) -> list[dict[str, Any]]:
    """Students of the teacher's outputs alone, and controls for a gain without these."""
    soft = {"temperature": temperature, "shares": [1.0]}
    return [
        {"name": "pure", **soft},
        {"name": "half", **soft, "shares": [0.5]},
        {"name": "equation", **soft, "shares": [0.5], "variant": "paper"},
        {"name": "smoothed", **soft, "control": "smoothed"},
        {"name": "class_means", **soft, "control": "class_means"},
        {"name": "shuffled", **soft, "control": "shuffled"},
        {"name": "from_own_view", **soft, "teacher": "shrunk"},
        {"name": "tempered", **soft, "tempered": True},
    ]


def trained_out(temperature: float) -> list[dict[str, Any]]:
    """The controls at one temperature, and the teacher's outputs alone at all but the highest."""
    swept = [{"name": f"t{t}", "temperature": float(t), "shares": [1.0]} for t in TEMPERATURES[:-1]]
    return [LABELS, *swept, *controls(temperature)]


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` returns besides those that run."""
    found = set()
    for name, trial in arms(p).items():
        students = trial(0).arguments.get("students")
        measured = SYNTHETIC if students is None else ("teacher", "own_view")
        found |= {f"{name}_{one}" for one in measured}
        found |= {f"{name}_{one['name']}" for one in students or ()}
    return found


def measure(arm: str, result: Result) -> dict[str, float]:
    """Accuracies in percent of each condition, as arms `<trial>_<condition>`."""
    if arm in PROBLEMS:
        return {f"{arm}_{name}.accuracy": value for name, value in result.metrics.items()}
    found = {}
    for name, value in result.metrics.items():
        condition, _, on = name.rpartition("_")
        found[f"{arm}_{condition}.{'accuracy' if on == 'test' else 'train_accuracy'}"] = value
    return found


REPRODUCTION = Reproduction("lopezpaz2016generalised", arms, measure)

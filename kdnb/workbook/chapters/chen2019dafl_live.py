"""What chapter 5-6 runs live beside the judged part: every data-free method, very small.

All of it is illustrated, not judged: one seed, a hundred images, a few dozen steps. Each method is
a trial, so that several run at a time and the second time none does.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from kdnb.methods.data_free import Bank, bank_of, deepinversion
from kdnb.reproductions import chen2019dafl as dafl
from kdnb.reproductions import chosen
from kdnb.runs import trials
from kdnb.runs.functions.banks import bank_in
from kdnb.runs.task import data_spec, network_of
from kdnb.runs.trials import Result, Trial

IMAGES, STEPS = 100, 16  # of a bank: images, and Adam's steps on their pixels
EVALUATED = 250  # test images
NORMED = {"name": "tiny"}  # the teacher of methods that read batch normalisations
BANK = {"epochs": 4, "batch_size": 10, "optimiser": "adam", "lr": 2e-3, "schedule": "constant"}
COMPETE = 10.0  # of the adaptive term: ours


class Shelf(NamedTuple):
    """What the methods made and taught.

    Attributes:
        banks: method -> a hundred images or fewer, and the teacher's answers to them.
        accuracy: method -> of the student that learnt from them, percent of the test images.
        results: name -> finished trial, of everything that was run.
    """

    banks: dict[str, Bank]
    accuracy: dict[str, float]
    results: dict[str, Result]


def few(p: dafl.Parameters, images: int, **more: Any) -> dict[str, Any]:
    """A `data` argument: so many training images, where a method sees any at all."""
    return data_spec("mnist", limit=images, evaluated=min(EVALUATED, p.test_images), **more)


def teachers(p: dafl.Parameters) -> dict[str, Trial]:
    """The experiment's own teacher, and one with batch normalisation on the same images."""
    return {
        "teacher": dafl.supervised(p, dafl.TEACHER)(0),
        "normed": dafl.supervised(p, NORMED)(0),
    }


def terms(p: dafl.Parameters, iterations: int = 18) -> dict[str, Trial]:
    """A short DAFL with one of its terms alone, with two of them, with all three."""
    small = p.model_copy(
        update={"iterations": iterations, "every": iterations // 3, "width": 8, "batch_size": 32}
    )
    arms = dafl.arms(small)
    names = {
        "all three terms": "dafl",
        "one-hot alone": "only_one_hot",
        "entropy alone": "only_entropy",
        "activation alone": "only_activation",
        "without the entropy": "only_one_hot_activation",
    }
    return {f"DAFL, {title}": arms[arm](0) for title, arm in names.items()}


def logarithms(p: dafl.Parameters, iterations: int = 8) -> dict[str, Trial]:
    """Three runs from one start that differ in the logarithm or its weight, looked at step by step.

    In float32, so that what differs is not the rounding of bfloat16.
    """
    small = p.model_copy(
        update={"iterations": iterations, "every": 1, "width": 8, "batch_size": 32,
                "test_images": 100}
    )  # fmt: skip
    arms = dafl.arms(small)

    def trial(arm: str, **more: Any) -> Trial:
        made = arms[arm](0)
        plain = {**made.arguments, "teacher": teachers(p)["teacher"], "precision": "32", **more}
        return replace(made, arguments=plain)

    return {
        "base 10, weight 5": trial("dafl"),
        "natural, weight 5 / ln 10": trial("dafl_natural"),
        "natural, weight 5": trial("dafl_natural", weights=dafl.WEIGHTS),
    }


def makers(p: dafl.Parameters, images: int = IMAGES, steps: int = STEPS) -> dict[str, Trial]:
    """Method -> the trial that makes its bank of images, from the teacher alone or nearly so."""
    data, known = few(p, 1000), teachers(p)
    each = max(1, images // 10)

    def made(function: str, teacher: str = "teacher", **arguments: Any) -> Trial:
        own = {"data": data, "teacher": known[teacher], **arguments}
        return Trial(function, own, 0)

    # Half of them at each of the two published scales of the Dirichlet distribution.
    impressions = partial(made, "zskd_bank", per_class=max(1, each // 2),
                          iterations=steps, lr=0.05, batch_size=images)  # fmt: skip
    inverted = partial(made, "deepinversion_bank", "normed", images=images,
                       batch_size=images, image_size=28, iterations=steps, lr=0.1)  # fmt: skip
    statistics = partial(made, "statistics_bank", per_class=each, iterations=steps)
    found = {
        "ZSKD": impressions(),
        "class impressions": impressions(one_hot=True),
        "DeepInversion": inverted(),
        "inversion by class alone": inverted(weights={"class": 1.0}),
        "Lopes, top layer": statistics(way="top"),
        "Lopes, all layers": statistics(way="all"),
        "Lopes, spectral": statistics(way="spectral"),
        "CMI": made("cmi_bank", "normed", batches=3,
                    batch_size=max(10, images // 3), iterations=steps // 2),
        "Fast": made("fast_bank", "normed", batches=max(3, steps // 4),
                     batch_size=max(10, images // 3), inner_steps=5),
    }  # fmt: skip
    student = taught_by(found["DeepInversion"], p)
    weights = {**deepinversion.WEIGHTS, "compete": COMPETE}
    found["adaptive DeepInversion"] = inverted(student=student, weights=weights)
    return found


def taught_by(bank: Trial, p: dafl.Parameters) -> Trial:
    """A student that learns from a bank alone, from the teacher whose bank it is."""
    own = {name: bank.arguments[name] for name in ("data", "teacher")}
    arguments = {**own, "network": dafl.STUDENT, "bank": bank, "recipe": BANK}
    return Trial("bank_taught", arguments, 0)


def games(p: dafl.Parameters, iterations: int = 40) -> dict[str, Trial]:
    """Method -> a trial in which generator and student play: the student comes with the images."""
    shared = {
        "data": few(p, 1000), "network": dafl.STUDENT, "teacher": teachers(p)["teacher"],
        "iterations": iterations, "every": 10, "batch_size": 32, "precision": "32",
        "generator_recipe": {"optimiser": "adam", "lr": 1e-3, "schedule": "constant"},
        "student_recipe": {"optimiser": "adam", "lr": 2e-3, "schedule": "constant"},
    }  # fmt: skip
    return {
        name: Trial(
            "adversarial_generation",
            {**shared, "method": name.lower(), "generator": {"name": name.lower(), "width": 8},
             "student_steps": steps},
            0,
        )
        for name, steps in (("ZSKT", 10), ("DFAD", 5))
    }  # fmt: skip


def with_data(p: dafl.Parameters, images: int = IMAGES, steps: int = STEPS) -> dict[str, Trial]:
    """What the survey puts beside: few data, distilled data, unlabelled data; and the controls."""
    known = teachers(p)
    some = {"data": few(p, images), "network": dafl.STUDENT, "teacher": known["teacher"]}
    passes = max(1, steps // 4)
    kimura = {**some, "recipe": {**BANK, "epochs": passes}}
    plan = {"epochs": max(1, steps // 10), "batch_size": 100, "optimiser": "adam", "lr": 0.05,
            "schedule": "cosine", "precision": "32"}  # fmt: skip
    small = Trial(
        "supervised",
        {"data": few(p, 300), "network": dafl.TEACHER, "recipe": BANK}, 0,
    )  # fmt: skip

    def distilled_data(fixed: bool) -> Trial:
        arguments = {
            "data": few(p, 1000), "network": dafl.TEACHER, "recipe": plan, "fixed": fixed,
            "steps": 1, "epochs": 2, "lr": 0.3 if fixed else 0.1, "judged_on": 4,
        }  # fmt: skip
        return Trial("distilled_images", arguments, 0)

    few_alone = {**kimura, "loss": {"name": "soft_targets", "temperature": 1.0}}
    omni = {"data": few(p, 900), "network": dafl.TEACHER, "teacher": small, "labelled": 300,
            "recipe": {**BANK, "epochs": 3, "batch_size": 50}}  # fmt: skip
    return {
        "pseudo-examples": Trial("pseudo_examples", kimura, 0),
        "real images alone": Trial("distilled", few_alone, 0),
        "dataset distillation, fixed": distilled_data(True),
        "dataset distillation, random": distilled_data(False),
        "labelled images alone": small,
        "data distillation": Trial("omni_supervised", omni, 0),
        "on all data": dafl.arms(p)["distilled"](0),
    }


def toy(rounds: int = 12) -> Trial:
    """ZSKT's game in the plane."""
    return Trial("belief_matching_toy", {"rounds": rounds}, 0)


def run(p: dafl.Parameters) -> Shelf:
    """Everything of this module and the judged arms, several at a time where processes are free."""
    arms = chosen(dafl.REPRODUCTION, p, p.arms)
    judged = {f"{arm}, seed {seed}": trial for (arm, seed), trial in arms.items()}
    makes, alone = makers(p), with_data(p)
    taught = {name: taught_by(trial, p) for name, trial in makes.items()}
    own = {"DAFL": dafl.arms(p)["dafl"](0), **terms(p), **games(p)}  # these keep their images
    made = {f"bank of {name}": trial for name, trial in makes.items()}
    # Earlier, the longest chain: teacher, bank, student, adaptive bank.
    chain = {
        name: made[name] for name in ("bank of DeepInversion", "bank of adaptive DeepInversion")
    }
    results = trials.run_all(
        {**judged, **teachers(p), **chain, **logarithms(p), **own, "toy": toy(), **alone, **made,
         **taught}
    )  # fmt: skip
    distilled = [name for name in alone if name.startswith("dataset distillation")]

    def bank(name: str) -> Bank:
        if name not in distilled:
            return bank_in(results[f"bank of {name}" if name in makes else name])
        images = results[name].tensors()["distilled.images"].flatten(0, 1)
        teacher = network_of(results["teacher"])
        return bank_of(images, teacher, {"trial": results[name].digest})

    kept = [*makes, *own, *distilled, "pseudo-examples", "data distillation"]
    accuracy = {name: right(results[name]) for name in [*own, *alone, *taught]}
    return Shelf({name: bank(name) for name in kept}, accuracy, results)


def right(result: Result) -> float:
    """The share of the test images that a trial's student classifies rightly, in percent.

    Of networks trained on distilled data: the known one, or the mean of fresh ones.
    """
    found, arguments = result.metrics, result.description["arguments"]
    metric = "fixed_test_errors" if arguments.get("fixed") else "fresh_test_errors"
    errors = found.get("test_errors", found.get(metric))
    return 100 * (1 - errors / arguments["data"].get("evaluated", 10000))

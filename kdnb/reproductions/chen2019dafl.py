"""Chen et al. 2019, "Data-Free Learning of Student Networks" (DAFL), on MNIST.

A LeNet-5 teaches its half without any image: a generator makes images that the teacher is confident about.
For comparison there are students with data, a student of plain noise, the terms one by one, the entropy in
natural logarithms, and the rate of the released code. `laptop` shrinks the generator, the batch and the
number of iterations; `full` has the authors' values; `long` is one seed in small batches with the authors'
generator and number of iterations; `larger` has six seeds of a quarter of the authors' images. If the
generator has its published width, CIFAR-10 is included: ResNet-34 teaches ResNet-18.

The rate of the generator's Adam is 0.2 in the released code, for batches of 512. In batches of 64 that rate
makes generators collapse (all images become the same). A first recorded run showed this; it was stopped in
its fourth seed, after its test errors were seen (students of 79% to 93%). The rate and the sizes of `laptop`
were then chosen by accuracy on held-out training images, with one teacher and generators and students of
three seeds: at 0.05 no generator collapsed (92.1, 92.0 and 89.7% after 3,600 iterations at width 32), at 0.1
one of one did, and 0.02 learnt more slowly (89.6% against 92.1%). In the worst of the three seeds neither a
falling rate of the student (88.5% at width 16), nor twice the width, nor twice the batch (90.8% at a rate of
0.1) made a difference of more than two points. So `laptop` uses the cheapest of these. The trials at 0.2 are
a separate arm.

All of this was computed in bfloat16 on a CPU that supports it. The recorded runs were made on one that
does not, in float32, which the precision "auto" means there. On that CPU none of the six generators of
width 16 collapses at 0.2, and their students are better; with seed 0 one also survived in emulated
bfloat16 (93.4%). This was seen only in the record, and nothing was changed after it.

A generator of the published width, 128, does collapse in batches of 64, in float32 too (seed 0): at 0.2
within 480 iterations, at 0.05 between 8,040 and 8,160, with a student of 94.8 to 96.5% in the last
twenty evaluations before. All its values before the tanh then lay between -13,500 and -900, where the
tanh is -1 to the last bit: see `Generator`. According to these two, the time to collapse scales with the
rate to the power -2.2; `long` uses 0.01, at which it would be ten times its iterations, and one survived
them. Neither held-out images nor the test set were used for this. In batches of 512 the published
rate causes no collapse within the first 480 iterations, which are an arm of `long`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

WEIGHTS = {"one_hot": 1.0, "entropy": 5.0, "activation": 0.1}
ABLATION = {
    "one_hot": ["one_hot"],
    "entropy": ["entropy"],
    "activation": ["activation"],
    "one_hot_activation": ["one_hot", "activation"],
    "one_hot_entropy": ["one_hot", "entropy"],
    "entropy_activation": ["entropy", "activation"],
}
RATE = 0.2  # learning rate of the generator's Adam in the released code
COURSE = (20, 40, 60, 80)  # percent of the run after which the accuracy is recorded
TEACHER, STUDENT = {"name": "lenet5"}, {"name": "lenet5_half_dafl"}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(2000, ge=512, le=60000, description="of the teacher, and with data")
    test_images: int = Field(500, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions, each with its teacher")
    epochs: int = Field(4, ge=1, le=1000, description="of all networks that see data")
    width: int = Field(8, ge=2, le=512, description="channels of a generator; 128 published")
    batch_size: int = Field(64, ge=2, le=4096, description="images made at a time")
    iterations: int = Field(48, ge=1, le=10**7, description="of generator and student")
    every: int = Field(
        16, ge=1, le=10**7, description="iterations between two looks at the student"
    )
    generator_lr: float = Field(RATE, gt=0, description="of the generator's Adam")
    bank_images: int = Field(
        200,
        ge=20,
        le=10**6,
        multiple_of=20,
        description="synthetic images of a bank, all classes together",
    )
    pixel_steps: int = Field(
        100, ge=1, le=10**6, description="Adam's steps on the pixels of a bank"
    )
    bank_epochs: int = Field(20, ge=1, le=10**5, description="a student's passes over a bank")
    distilling_epochs: int = Field(
        1, ge=1, le=10**5, description="passes over the real images in dataset distillation"
    )
    arms: list[str] = Field(
        ["teacher", "noise", "dafl"], description="the arms to run; all when empty"
    )

    @model_validator(mode="after")
    def _whole_epochs(self) -> Parameters:
        if self.iterations % self.every:
            raise ValueError(
                f"iterations must be a multiple of every; got {self.iterations} and {self.every}."
            )
        return self


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=60000, test_images=10000, seeds=6, epochs=10, width=16, batch_size=64,
        iterations=3000, every=120, generator_lr=0.05, bank_images=4000, pixel_steps=300,
        bank_epochs=60, distilling_epochs=8, arms=[],
    ),
    "full": Parameters(
        train_images=60000, test_images=10000, seeds=6, epochs=10, width=128, batch_size=512,
        iterations=24000, every=120, bank_images=24000, pixel_steps=1500, bank_epochs=200,
        distilling_epochs=400, arms=[],
    ),
}  # fmt: skip
# One seed with the published generator and all of its iterations: the closest to `full` that a CPU
# can run. It also has the first iterations with the published batch and rate.
PROFILES["long"] = PROFILES["laptop"].model_copy(
    update={
        "seeds": 1,
        "generator_lr": 0.01,
        "width": PROFILES["full"].width,
        "iterations": PROFILES["full"].iterations,
        "arms": ["teacher", "distilled", "dafl", "dafl_published_batch"],
    }
)


# A quarter of the published number of images, at the published rate, with a control of the same
# budget: the most that a CPU can run with six seeds. Its conditions have separate names, so that
# its claims are not judged on smaller runs. See papers/chen2019dafl/setting.md.
PROFILES["larger"] = PROFILES["laptop"].model_copy(
    update={
        "batch_size": 256,
        "generator_lr": RATE,
        "iterations": 12000,
        "every": 480,
        "arms": ["teacher", "student", "distilled", "larger_noise", "larger_dafl"],
    }
)


def setting(p: Parameters) -> dict[str, Any]:
    """Data and recipe of all networks that see data."""
    evaluated = None if p.test_images == 10000 else p.test_images
    limit = None if p.train_images == 60000 else p.train_images
    return {
        "data": data_spec("mnist", limit=limit, evaluated=evaluated),
        "recipe": {"epochs": p.epochs, "batch_size": 256, "optimiser": "adam", "lr": 1e-3,
                   "schedule": "constant"},
    }  # fmt: skip


def supervised(p: Parameters, network: dict[str, Any]) -> Callable[[int], Trial]:
    """A network trained on labels, such as the teacher of every paper here."""
    arguments = {**setting(p), "network": network}
    return lambda seed: Trial("supervised", arguments, seed)


def distilled(
    p: Parameters, network: dict[str, Any], teacher: Callable[[int], Trial], temperature: float
) -> Callable[[int], Trial]:
    """A student distilled on the training images, without their labels."""
    arguments = {
        **setting(p), "network": network,
        "loss": {"name": "soft_targets", "temperature": temperature},
    }  # fmt: skip
    return lambda seed: Trial("distilled", {**arguments, "teacher": teacher(seed)}, seed)


def arms(p: Parameters) -> Arms:
    """Teacher; students with data, of noise and without data; the terms; the other logarithm.

    If the generator's rate is not the published one, the published rate is an arm too; if a generator
    of the published size learns from smaller batches, there is an arm with the first fiftieth of the
    iterations at the published batch and rate.
    """
    data, teacher = setting(p)["data"], supervised(p, TEACHER)

    def without_data(generator: dict[str, Any], lr: float = p.generator_lr, **more: Any):
        arguments = {
            "data": data, "network": STUDENT, "generator": generator, "iterations": p.iterations,
            "every": p.every, "batch_size": p.batch_size,
            "generator_recipe": {"optimiser": "adam", "lr": lr, "schedule": "constant"}, **more,
        }  # fmt: skip
        return lambda seed: Trial("dafl", {**arguments, "teacher": teacher(seed)}, seed)

    maker = {"name": "dafl", "width": p.width}
    natural = {**WEIGHTS, "entropy": WEIGHTS["entropy"] / math.log(10)}
    published = PROFILES["full"]
    as_published, looks = p.width >= published.width, 20
    every = max(1, p.iterations // (50 * looks))
    begun = {"batch_size": published.batch_size, "every": every, "iterations": looks * every}
    return {
        "teacher": teacher,
        "student": supervised(p, STUDENT),
        "distilled": distilled(p, STUDENT, teacher, 1.0),
        "noise": without_data({"name": "noise", "image_size": 32}),
        "dafl": without_data(maker, weights=WEIGHTS),
        "dafl_natural": without_data(maker, weights=natural, entropy="natural"),
        **{
            f"only_{name}": without_data(maker, weights={term: WEIGHTS[term] for term in terms})
            for name, terms in ABLATION.items()
        },
        **(
            {"dafl_published_rate": without_data(maker, RATE, weights=WEIGHTS)}
            if p.generator_lr != RATE
            else {}
        ),
        **(
            {"dafl_published_batch": without_data(maker, RATE, weights=WEIGHTS, **begun)}
            if as_published and p.batch_size < published.batch_size
            else {}
        ),
        **(
            {
                "larger_noise": without_data({"name": "noise", "image_size": 32}, precision="32"),
                "larger_dafl": without_data(maker, weights=WEIGHTS, precision="32"),
            }
            if PROFILES["larger"].batch_size <= p.batch_size < published.batch_size
            else {}
        ),
        **(cifar(p) if as_published else {}),
    }


def cifar(p: Parameters) -> Arms:
    """ResNet-34 to ResNet-18 on CIFAR-10: with data, and without.

    As in the authors' read-me: batches of 1,024, noise of 1,000 numbers, the generator's Adam
    at 0.02, the student's SGD at 0.1, 2,000 epochs (of 120 iterations, as on MNIST).

    Departures: rates fall along a cosine, while theirs fall tenfold after 800 and 1,600 epochs
    (`DAFL-train.py`); momentum, weight decay and the networks with data have the usual values.
    """
    limit = None if p.train_images == 60000 else p.train_images
    evaluated = None if p.test_images == 10000 else p.test_images
    data = data_spec("cifar10", limit=limit, evaluated=evaluated)
    sgd = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"}
    seen = {
        "data": data,
        "recipe": {"epochs": p.bank_epochs, "batch_size": 128, "nesterov": True, **sgd,
                   "crop_padding": 4, "flip": True},
    }  # fmt: skip
    student = {"name": "resnet18_cifar"}

    def teacher(seed: int) -> Trial:
        arguments = {**seen, "network": {"name": "resnet34_cifar"}}
        return Trial("supervised", arguments, seed)

    def distilled(seed: int) -> Trial:
        loss = {"name": "soft_targets", "temperature": 1.0}
        arguments = {**seen, "network": student, "loss": loss, "teacher": teacher(seed)}
        return Trial("distilled", arguments, seed)

    def dafl(seed: int) -> Trial:
        arguments = {
            "data": data, "network": student, "teacher": teacher(seed), "features": "pool",
            "generator": {"name": "dafl", "width": p.width, "latent": 1000},
            "iterations": 10 * p.iterations, "every": 10 * p.every,
            "batch_size": 2 * p.batch_size, "student_recipe": {"optimiser": "sgd", **sgd},
            "generator_recipe": {"optimiser": "adam", "lr": p.generator_lr / 10,
                                 "schedule": "cosine"},
        }  # fmt: skip
        return Trial("dafl", arguments, seed)

    return {"cifar10_teacher": teacher, "cifar10_distilled": distilled, "cifar10_dafl": dafl}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test accuracy in percent at the last epoch; for a student without data also its course.

    The course is the mean of the last ten evaluations with their spread, the accuracy after some
    shares of the run, and the best of all, which selection on the test set would have reported.
    """
    found, seen = result.metrics, result.description["arguments"]["data"].get("evaluated", 10000)
    measured = {
        "test_errors": found["test_errors"],
        "accuracy": 100 * (1 - found["test_errors"] / seen),
    }
    if "last_ten_test_errors" in found:
        measured["last_ten_accuracy"] = 100 * (1 - found["last_ten_test_errors"] / seen)
        measured["last_ten_accuracy_sd"] = 100 * found["last_ten_test_errors_sd"] / seen
        course = [100 * (1 - errors / seen) for errors in result.series["test_errors"]]
        measured["best_accuracy"] = max(course)
        for part in COURSE:
            looks = max(1, round(len(course) * part / 100))
            measured[f"accuracy_after_{part}"] = course[looks - 1]
    if "class_balance" in found:
        names = ("class_balance", "diversity", "confidence", "collapse_warnings")
        measured |= {name: found[name] for name in names}
    return measured


REPRODUCTION = Reproduction("chen2019dafl", arms, measure)

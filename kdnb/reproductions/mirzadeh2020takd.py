"""Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant", on CIFAR-10.

Plain networks of 2 to 10 layers. The student has two; it learns alone, from a teacher of every
size, and from the largest teacher through assistants. All runs use one temperature and one pair
of weights, fixed before the first run: the paper searches them in 120 trials and reports the best
test accuracy, we report the last epoch. `cho2019efficacy` shares these trials.

Teachers and assistants of the `laptop` profile learn from more images than the student, unlike the
paper's; `papers/mirzadeh2020takd/setting.md` explains why.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import TEST_IMAGES, Precision, setting
from kdnb.runs import chains
from kdnb.runs.trials import Result, Trial

STUDENT = 2  # in layers, like all sizes below
BETWEEN = (4, 6, 8)  # the sizes of smaller teachers and of assistants, below the largest teacher's
WIDE = "wide4"  # four layers with twice the channels

Size = int | Literal["wide4"]

# Temperature 4 and weights 0.9 and 0.1 are those of the comparison protocol of Tian et al. 2020,
# fixed a priori; both lie within the ranges that the paper searches.
LOSS: dict[str, Any] = {
    "loss": {"name": "soft_targets", "temperature": 4.0}, "soft_weight": 0.9, "hard_weight": 0.1,
}  # fmt: skip


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Literal["cifar10", "cifar100", "fashion_mnist"] = "cifar10"
    train_images: int = Field(128, ge=64, le=40000, description="of the student")
    teacher_images: int | None = Field(
        None, ge=64, le=40000, description="of teachers and assistants; the student's if none"
    )
    test_images: int = Field(200, ge=100, le=TEST_IMAGES)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(2, ge=1, le=1000, description="of the student")
    teacher_epochs: int | None = Field(
        None, ge=1, le=1000, description="of teachers and assistants; as the student if none"
    )
    lr: float = Field(0.1, gt=0, le=10, description="the student's peak of the learning rate")
    augment: bool = Field(True, description="crops and flips for the student; others have them")
    largest: Literal[8, 10] = Field(10, description="layers of the largest teacher")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["student", "taught_by_largest", "via_4"], description="the arms to run; all when empty"
    )

    @model_validator(mode="after")
    def _epochs_of_images(self) -> Self:
        if self.teacher_epochs and not self.teacher_images:
            raise ValueError("teacher_epochs needs teacher_images: all train alike without them")
        return self


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=2000, teacher_images=20000, test_images=TEST_IMAGES, seeds=6, epochs=30,
        teacher_epochs=6, lr=0.05, augment=False, largest=8, precision="bf16", arms=[],
    ),
    "full": Parameters(
        train_images=40000, test_images=TEST_IMAGES, seeds=10, epochs=150, precision="bf16", arms=[]
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """The student alone, the sweep over its teachers, and the chains from the largest down to it.

    If teachers see more images than the student, there are two further controls of our own:
    `own_...`, where all learn from the student's images, and `wide_...`, a teacher of four layers
    with twice the channels, which is built like the student but better than the narrow one.
    """
    between = [size for size in BETWEEN if size < p.largest]
    found: Arms = {"student": lambda seed: alone(p, STUDENT, seed)}
    for name, size in ({str(size): size for size in between} | {"largest": p.largest}).items():
        teacher = f"teacher{name}" if name != "largest" else "largest_teacher"
        found[teacher] = lambda seed, size=size: alone(p, size, seed)
        found[f"taught_by_{name}"] = lambda seed, size=size: taught(p, (size, STUDENT), seed)
    for size in reversed(between):
        found[f"assistant{size}"] = lambda seed, size=size: taught(p, (p.largest, size), seed)
        found[f"via_{size}"] = lambda seed, size=size: taught(p, (p.largest, size, STUDENT), seed)
    found["full_path"] = lambda seed: taught(p, (p.largest, *reversed(between), STUDENT), seed)
    if p.teacher_images:
        own = p.model_copy(update={"teacher_images": None, "teacher_epochs": None})
        found |= {
            "wide_teacher4": lambda seed: alone(p, WIDE, seed),
            "taught_by_wide_4": lambda seed: taught(p, (WIDE, STUDENT), seed),
            "own_teacher": lambda seed: alone(own, p.largest, seed),
            "taught_by_own": lambda seed: taught(own, (p.largest, STUDENT), seed),
            "via_own_4": lambda seed: taught(own, (p.largest, 4, STUDENT), seed),
        }
    return found


def alone(p: Parameters, size: Size, seed: int, **recipe: Any) -> Trial:
    """A network of this size on labels; `recipe` replaces parts of the setting's."""
    found = student_setting(p) if size == STUDENT else teacher_setting(p)
    return chains.supervised(
        network(size), data=found["data"], recipe={**found["recipe"], **recipe}, seed=seed
    )


def taught(p: Parameters, sizes: tuple[Size, ...], seed: int) -> Trial:
    """The last network of a chain that starts with a teacher of the first size."""
    before = teacher_setting(p)
    last = student_setting(p) if sizes[-1] == STUDENT else before
    return chains.chain(
        [network(size) for size in sizes], **last, **LOSS, teacher_data=before["data"],
        teacher_recipe=before["recipe"], seed=seed,
    )[-1]  # fmt: skip


def network(size: Size) -> dict[str, Any]:
    """The description of the plain network with this number of layers, or of a wide one."""
    if size == WIDE:
        return {"name": "plain4", "width": 2}
    return {"name": f"plain{size}"}


def student_setting(p: Parameters) -> dict[str, Any]:
    """Data and recipe of the student."""
    return setting(p, lr=p.lr, augment=p.augment)


def teacher_setting(p: Parameters) -> dict[str, Any]:
    """Data and recipe of teachers and assistants: the student's, or those of more images."""
    if p.teacher_images is None:
        return student_setting(p)
    more = {"train_images": p.teacher_images, "epochs": p.teacher_epochs or p.epochs}
    return setting(p.model_copy(update=more))


def measure(arm: str, result: Result) -> dict[str, float]:
    """The shares of test and training images that are misclassified, in percent."""
    found = result.metrics
    tested = result.description["arguments"]["data"].get("evaluated", TEST_IMAGES)
    return {
        "test_error": 100 * found["test_errors"] / tested,
        "train_error": 100 * found["train_errors"] / found["train_images"],
        "test_cross_entropy": found["test_cross_entropy"],
    }


REPRODUCTION = Reproduction("mirzadeh2020takd", arms, measure)

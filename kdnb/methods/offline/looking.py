"""The views of student and teacher for the terms of a distillation, and the deployed network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch, Batches
from kdnb.methods.offline.building import Bare, places_in, shown
from kdnb.methods.offline.parts import Part
from kdnb.names import brief
from kdnb.progress import note
from kdnb.training import Recipe, Update, fit
from kdnb.training.answers import Called, Ensemble, Output, ask, logits_of
from kdnb.training.borrowed import by_batch_statistics
from kdnb.training.devices import arithmetic
from kdnb.training.layers import Layers, View, layers_of, viewing
from kdnb.training.teacher import Recorded, Remembered, asked

Looked = Callable[[Any, Batch], View | Bare]  # networks, batch -> the view of one of them

# A method's own first stage, where it has one: FT's paraphraser learns the teacher's maps. Its
# authors use 40 epochs before 100 of the student; few images need more epochs for enough steps.
PREPARATION = Recipe(epochs=40, optimiser="adam", lr=0.001, schedule="constant", precision="32")
STUDENTS_EPOCHS, LEAST_STEPS = 100, 200


def places_for(
    student: nn.Module, teacher: nn.Module, layers: Any
) -> tuple[Layers | str, Layers | str]:
    """The layers of student and teacher: as given, as found, or the reason why none were found."""
    pair = (None, None) if layers is None else layers
    if (
        not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(one is None or isinstance(one, Layers) for one in pair)
    ):
        raise TypeError(
            "layers is a pair, the student's and the teacher's, each a kdnb.training.layers.Layers "
            'or None: Layers(maps=("path.of.a.stage", ...), head="path.of.the.classifier"); got '
            f"{brief(layers)}."
        )
    ours, theirs = pair
    if isinstance(teacher, (Ensemble, Called)):
        why = "several teachers, or a function, have no layers to look at: give one module."
        return places_in(student, ours), why
    return places_in(student, ours), places_in(teacher, theirs)


@contextlib.contextmanager
def asked_by(teacher: nn.Module, inputs: Any, by_batch: bool) -> Iterator[None]:
    """The teacher in eval mode, normalising by its running statistics or by those of the batch.

    A single sample has no statistics.
    """
    teacher.eval()
    alone = isinstance(inputs, Tensor) and len(inputs) < 2
    with contextlib.nullcontext() if alone or not by_batch else by_batch_statistics(teacher):
        yield


@contextlib.contextmanager
def students_views(network: nn.Module, layers: Layers | str, deep: bool) -> Iterator[Looked]:
    """The student's view of a batch: its answer, and its layers if needed."""
    if not deep:
        yield lambda networks, batch: shown(networks["student"](batch.images), layers, network)
        return
    with viewing(network, layers) as seen:
        yield lambda networks, batch: seen(networks["student"](batch.images))


@contextlib.contextmanager
def teachers_views(
    teacher: nn.Module,
    layers: Layers | str,
    deep: bool,
    wanted: set[str],
    batches: Any,
    recipe: Recipe,
    recorded: Recorded | None,
    output: Output,
    by_batch: bool = False,
) -> Iterator[Looked]:
    """The frozen teacher's view of a batch, computed once per image or view if this is exact.

    Args:
        by_batch: its batch normalisations use the batch's own statistics, so recorded views are not
            exact.
    """
    if by_batch:
        with viewing(teacher, layers) as seen:

            @torch.no_grad()
            def by_this_batch(networks: Any, batch: Batch) -> View:
                with asked_by(teacher, batch.images, True):
                    return seen(networks["teacher"](batch.images))

            yield by_this_batch
        return
    if recorded is not None and not callable(recorded):
        raise TypeError(
            f"recorded is the teacher's views, a kdnb.training.teacher.Recorded; got {brief(recorded)}."
        )
    if recorded is not None:
        yield lambda networks, batch: recorded(batch.index)
        return
    if not deep:
        with asked(teacher, batches, recipe, output) as taught:
            yield lambda networks, batch: shown(taught(networks, batch), layers, teacher)
        return
    countable = isinstance(batches, Batches) and batches.views
    if countable and not batches.augmented:
        stored = Recorded(teacher, layers, batches, recipe.precision == "bf16", output)
        yield lambda networks, batch: stored(batch.index)
        return
    remembered = None
    if countable and wanted <= {layers.embedding}:
        remembered = Remembered(teacher, layers, batches, arithmetic(recipe.precision), output)
    with viewing(teacher, layers) as seen:

        @torch.no_grad()
        def view(networks: Any, batch: Batch) -> View:
            def looked(images: Tensor) -> View:
                return seen(networks["teacher"](images))

            return remembered(looked, batch) if remembered else looked(batch.images)

        yield view
    if remembered:
        note(f"teacher: {remembered.cache}")


def prepare(
    part: Part,
    networks: Mapping[str, nn.Module],
    theirs: Looked,
    batches: Any,
    recipe: Recipe,
    seed: int,
    answers: Mapping[str, Any],
) -> None:
    """Run a method's first stage on the teacher, for the authors' share of the student's epochs."""

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        return {"preparation": part.module.prepare(theirs(networks, batch))}

    wanted = PREPARATION.epochs * recipe.epochs / STUDENTS_EPOCHS
    epochs = math.ceil(max(wanted, LEAST_STEPS / len(batches)))
    first = PREPARATION.model_copy(update={"batch_size": recipe.batch_size, "epochs": epochs})
    update = Update((part.name,), terms)
    fit(networks, batches, update, first, seed=seed, answers=answers)
    part.module.prepared()


class Answering(nn.Module):
    """The deployed network of a method whose answer differs from the student's (SimKD)."""

    def __init__(
        self,
        student: nn.Module,
        knowledge: nn.Module,
        classifier: nn.Module,
        layers: Layers | None = None,
        output: Output = None,
    ) -> None:
        super().__init__()
        self.output = output
        self.student, self.knowledge, self.classifier = student, knowledge, classifier
        self.layers = layers or layers_of(student)

    takes_whole = True

    def forward(self, inputs: Any) -> Tensor:
        """Logits (batch, classes)."""
        with viewing(self.student, self.layers) as seen:
            logits = logits_of(ask(self.student, inputs), self.output)
            return self.knowledge.answer(seen(logits), self.classifier)

"""Offline distillation (section 3.1): a teacher is trained first, then a student imitates it.

`train` learns from labels alone, `distil` from a teacher's logits, `transfer` from any knowledge
that `kdnb.methods.catalogue` lists. All take any networks and data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch, Batches
from kdnb.losses import hard_loss
from kdnb.methods import catalogue
from kdnb.methods.catalogue import Method
from kdnb.methods.wiring import Setting
from kdnb.nets import constrain
from kdnb.progress import note
from kdnb.training import Recipe, Update, fit
from kdnb.training.devices import arithmetic
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, View, layers_of, look, viewing
from kdnb.training.teacher import Recorded, Remembered, asked

Loss = Callable[[Tensor, Tensor], Tensor]


def train(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    smoothing: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    """Train one network on labels alone: a teacher, or the student nobody teaches.

    Args:
        network: images -> logits (batch, classes). Trained in place.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        smoothing: of the labels, 0 for plain cross-entropy.
        options: of `training.fit` (evaluate, checkpoint, log_dir, fabric).

    Returns:
        The history, one dict an epoch.
    """

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        return {"hard": losses.label_smoothing(logits, batch.labels, smoothing)}

    update = Update(("network",), terms, after=lambda: constrain(network))
    batches = batches_for(examples, recipe, seed)
    return fit({"network": network}, batches, update, recipe, seed=seed, **options)


def distil(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    loss: Loss,
    soft_weight: float | tuple[float, float] = 1.0,
    hard_weight: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    """Train a student to imitate a teacher: soft_weight · loss + hard_weight · cross-entropy.

    The teacher sees exactly the images the student sees, and is asked once for each: see `asked`.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place;
            the teacher is frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        loss: (student logits, teacher logits) -> scalar, such as `losses.soft_targets` with its
            temperature bound.
        soft_weight: of that loss; a pair changes from epoch to epoch, linearly from its first
            number in the first epoch to its second in the last.
        hard_weight: of the cross-entropy with the true labels; at 0 no label is read.
        options: of `training.fit`.

    Returns:
        The history, one dict an epoch.
    """
    batches = batches_for(examples, recipe, seed)
    first, last = soft_weight if isinstance(soft_weight, Sequence) else (soft_weight, soft_weight)
    weight = first

    def begin(epoch: int) -> None:
        nonlocal weight
        weight = first + (last - first) * epoch / max(1, recipe.epochs - 1)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        # The teacher first: the student's maps, kept for its backward pass, are then still near.
        answers = taught(networks, batch)
        logits = networks["student"](batch.images)
        parts = {"soft": weight * loss(logits, answers)}
        if hard_weight:
            parts["hard"] = hard_weight * hard_loss(logits, batch.labels)
        return parts

    update = Update(("student",), terms, after=lambda: constrain(student), begin=begin)
    networks = {"student": student, "teacher": teacher}
    with asked(teacher, batches, recipe) as taught:
        return fit(networks, batches, update, recipe, seed=seed, **options)


# A method's own first stage, where it has one: FT's paraphraser learns the teacher's maps.
PREPARATION = Recipe(epochs=2, optimiser="adam", lr=0.001, schedule="constant", precision="32")


def transfer(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    method: str | Method,
    weight: float,
    hard_weight: float = 1.0,
    layers: tuple[Layers, Layers] | None = None,
    recorded: Recorded | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[list[dict[str, float]], nn.Module]:
    """Train a student with one method of section 2: weight · method + hard_weight · cross-entropy.

    Adapters are built from the shapes of a first batch and join the student's optimiser. The
    teacher sees exactly the images the student sees. Where these never change, its views are
    computed once; so are its logits and embeddings of images that are cropped and flipped, when
    the method looks at nothing else of the teacher.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place; the
            teacher is frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        method: a name of the catalogue, or a `Method` of your own.
        hard_weight: of the cross-entropy with the true labels.
        layers: where to look in student and teacher; found by `layers_of` when None.
        recorded: the teacher's views, when they are at hand already.
        seed: of the adapters' initial weights, and as in `fit`.
        options: of `training.fit`.

    Returns:
        The history, one dict an epoch, and the method's module with what it learnt.

    Raises:
        ValueError: for an unknown method, or layers whose shapes the method cannot take.
    """
    method = catalogue.method(method) if isinstance(method, str) else method
    batches = batches_for(examples, recipe, seed)
    ours, theirs = layers or (layers_of(student), layers_of(teacher))
    knowledge, wanted = _built(method, student, teacher, (ours, theirs), batches, seed)
    remembered = None
    if recorded is None and isinstance(batches, Batches) and batches.views:
        if not batches.augmented:
            recorded = Recorded(teacher, theirs, batches, recipe.precision == "bf16")
        elif wanted <= {theirs.embedding}:
            remembered = Remembered(teacher, theirs, batches, arithmetic(recipe.precision))
    networks = {"student": student, "teacher": teacher, "knowledge": knowledge}

    with viewing(student, ours) as seen, viewing(teacher, theirs) as taught:

        def teachers_view(networks: Mapping[str, nn.Module], batch: Batch) -> View:
            if recorded is not None:
                return recorded(batch.index)

            def looked(images: Tensor) -> View:
                return taught(networks["teacher"](images))

            with torch.no_grad():
                return remembered(looked, batch) if remembered else looked(batch.images)

        def preparation(networks, batch: Batch) -> dict[str, Tensor]:
            return {"preparation": knowledge.prepare(teachers_view(networks, batch))}

        def terms(networks, batch: Batch) -> dict[str, Tensor]:
            # The teacher first: the student's maps, kept for its backward pass, are then still near.
            target = teachers_view(networks, batch)
            view = seen(networks["student"](batch.images))
            loss = networks["knowledge"](view, target, batch)
            parts = {"knowledge": weight * loss}
            if hard_weight:
                parts["hard"] = hard_weight * hard_loss(view.logits, batch.labels)
            return parts

        if hasattr(knowledge, "prepare"):
            first = PREPARATION.model_copy(update={"batch_size": recipe.batch_size})
            fit(networks, batches, Update(("knowledge",), preparation), first, seed=seed)
            knowledge.prepared()
        learning = any(p.requires_grad for p in knowledge.parameters())
        moved = ("student", "knowledge") if learning else ("student",)
        update = Update(
            moved, terms, after=lambda: constrain(student), begin=getattr(knowledge, "begin", None)
        )
        history = fit(networks, batches, update, recipe, seed=seed, **options)
    if remembered:
        note(f"teacher: {remembered.cache}")
    return history, knowledge


def _built(
    method: Method,
    student: nn.Module,
    teacher: nn.Module,
    layers: tuple[Layers, Layers],
    batches: Any,
    seed: int,
) -> tuple[nn.Module, set[str]]:
    """The method's module for these two networks, tried on a first batch before any training.

    The seed fixes its initial weights. Beside it: the teacher's layers that it looks at.
    """
    batch = next(iter(batches.epoch(0)))
    views = _both(student, teacher, layers, batch)
    setting = Setting(images=batches.examples, batch_size=len(batch.images))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        try:
            knowledge = method.build(*views, setting).to(batch.images.device)
            watched, seen = views[1].watched()
            knowledge.eval()(views[0], watched, batch)
        except (ValueError, RuntimeError) as error:
            shown = [_shapes(view, at) for view, at in zip(views, layers, strict=True)]
            raise ValueError(
                f"{method.title} cannot take these layers: {error} The student shows {shown[0]}; "
                f"the teacher {shown[1]}."
            ) from error
    return knowledge, seen


def _both(student: nn.Module, teacher: nn.Module, layers: Any, batch: Batch) -> list[View]:
    device = batch.images.device
    pairs = zip((student, teacher), layers, strict=True)
    return [look(network.to(device), at, batch.images) for network, at in pairs]


def _shapes(view: View, layers: Layers) -> str:
    maps = zip(layers.maps, view.maps, strict=True)
    named = [*maps, (layers.embedding, view.embedding), ("logits", view.logits)]
    return ", ".join(f"{path} {tuple(value.shape)}" for path, value in named)


@torch.no_grad()
def first_value(
    method: Method,
    student: nn.Module,
    teacher: nn.Module,
    batches: Any,
    layers: tuple[Layers, Layers],
    seed: int = 0,
) -> float:
    """The method's value on the first batch, before any training: its scale, to choose a weight."""
    knowledge, _ = _built(method, student, teacher, layers, batches, seed)
    batch = next(iter(batches.epoch(0)))
    return float(knowledge(*_both(student, teacher, layers, batch), batch))


class Answering(nn.Module):
    """The deployed network of a method that answers otherwise than the student (SimKD)."""

    def __init__(self, student: nn.Module, knowledge: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.student, self.knowledge, self.classifier = student, knowledge, classifier
        self.layers = layers_of(student)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        with viewing(self.student, self.layers) as seen:
            return self.knowledge.answer(seen(self.student(images)), self.classifier)

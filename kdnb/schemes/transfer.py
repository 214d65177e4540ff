"""Offline distillation of any knowledge (sections 2 and 3.1): logits, maps, relations.

`transfer` joins the cross-entropy and one method of `kdnb.schemes.methods` between any two
networks. `transferred` does the same from a description, as a trial that is memoised on disk.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import data as datasets
from kdnb.data import Batch, Batches, Images
from kdnb.nets.mlp import constrain
from kdnb.progress import note
from kdnb.schemes import offline
from kdnb.schemes.methods import METHODS, Method, Setting
from kdnb.schemes.teacher_cache import TeacherCache
from kdnb.schemes.views import Layers, View, layers_of, look, viewing
from kdnb.training import Recipe, Update, arithmetic, default_device, fit
from kdnb.trials import Context, Outcome, Result

# A method's own first stage, where it has one: FT's paraphraser learns the teacher's maps.
PREPARATION = Recipe(epochs=2, optimiser="adam", lr=0.001, schedule="constant", precision="32")


class Recorded:
    """A frozen network's views of every image of a set, computed once.

    Only for images that never change: a map of an augmented image is not the map of the image.

    Args:
        network: in the form in which it answers; it is asked in eval mode.
        batches: un-augmented.
        half: keep maps in bfloat16, as autocast hands them on, instead of float32.

    Raises:
        ValueError: when the batches augment their images.
    """

    def __init__(self, network: nn.Module, layers: Layers, batches: Batches, half: bool) -> None:
        if batches.augmented:
            raise ValueError(
                "views cannot be stored for batches that are cropped, flipped or jittered anew in "
                "every epoch: ask the network in every step instead."
            )
        self.layers = layers
        plain = offline.in_order(batches.images, batches, batches.device)
        self.network = network = network.to(batches.device)
        kept: list[dict[str, Tensor]] = []
        for batch in plain.epoch(0):
            with torch.autocast(batches.device.type, torch.bfloat16, enabled=half):
                view = look(network, layers, batch.images)
            kept.append(
                {"": view.logits.float()}
                | dict(zip(layers.maps, view.maps, strict=True))
                | dict(zip(layers.before, view.before, strict=True))
                | {layers.embedding: view.embedding.float()}
            )
        self.outputs = {path: torch.cat([part[path] for part in kept]) for path in kept[0]}

    def __call__(self, index: Tensor) -> View:
        """The view of some images, by their places in the set."""
        return View(
            self.outputs[""].index_select(0, index),
            _Rows(self.outputs, index),
            self.layers,
            self.network,
        )


class Remembered:
    """A frozen network's logits and embedding of every view of the images, each computed once.

    For methods that look at nothing else of the teacher: maps are too many numbers to keep.

    Args:
        batches: cropped and flipped, so that their views are counted.
        precision: in Fabric's words.
    """

    def __init__(
        self, network: nn.Module, layers: Layers, batches: Batches, precision: str
    ) -> None:
        self.network, self.layers, self.dtype = network, layers, torch.float32
        self.cache = TeacherCache(network, batches, f"{precision}-{layers.embedding}")

    def __call__(self, look: Callable[[Tensor], View], batch: Batch) -> View:
        """The view of a batch; `look` gives that of images that were never seen so."""

        def ask(images: Tensor) -> Tensor:
            view = look(images)
            self.classes, self.dtype = view.logits.shape[1], view.embedding.dtype
            return torch.cat([view.logits, view.embedding.float()], 1)

        both = self.cache(ask, batch)
        outputs = {self.layers.embedding: both[:, self.classes :].to(self.dtype)}
        return View(both[:, : self.classes], outputs, self.layers, self.network)


class _Rows(Mapping[str, Tensor]):
    """Some rows of every tensor, gathered when they are asked for: most methods look at few."""

    def __init__(self, outputs: dict[str, Tensor], index: Tensor) -> None:
        self.outputs, self.index = outputs, index

    def __getitem__(self, path: str) -> Tensor:
        return self.outputs[path].index_select(0, self.index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


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
        method: a name in `METHODS`, or a `Method` of your own.
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
    method = _known(method) if isinstance(method, str) else method
    batches = offline.batches_for(examples, recipe, seed)
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
                parts["hard"] = hard_weight * offline.hard_loss(view.logits, batch.labels)
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


def _known(name: str) -> Method:
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]


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


# --- the same as a trial -------------------------------------------------------------------------


def transferred(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    method: str,
    weight: float,
    hard_weight: float = 1.0,
    student_maps: list[str] | None = None,
    teacher_maps: list[str] | None = None,
    start: Result | None = None,
) -> Outcome:
    """A trial of `transfer`. Arguments: see `offline.distilled`.

    The student starts from the same weights as `offline.supervised` gives the same network and
    seed, or from those of the trial `start`.

    Args:
        student_maps, teacher_maps: module paths, shallow to deep; all stages when None.
    """
    task = offline.prepared(context, seed, data, network, recipe, start=start, name="student")
    master = offline.network_of(teacher)
    layers = layers_of(task.network, student_maps or ()), layers_of(master, teacher_maps or ())
    recorded = None
    if not task.batches.augmented:
        half = task.recipe.precision == "bf16"
        recorded = _recorded(teacher.digest, json.dumps(data), layers[1], half)
    history, knowledge = transfer(
        task.network, master, task.batches, task.recipe, method=method, weight=weight,
        hard_weight=hard_weight, layers=layers, recorded=recorded, seed=seed, **task.options,
    )  # fmt: skip
    if hasattr(knowledge, "answer"):
        classifier = master.get_submodule(layers[1].head)
        return task.outcome(history, Answering(task.network, knowledge, classifier).eval())
    return task.outcome(history)


@functools.lru_cache(maxsize=2)
def _recorded(digest: str, data: str, layers: Layers, half: bool) -> Recorded:
    """A finished teacher's views of a training set, kept for the next trials of this process."""
    from kdnb import trials

    spec = json.loads(data)
    source = datasets.load(spec["name"])
    images: Images = offline.examples_of(source, spec)
    batches = Batches(images, 500, mean=source.mean, sd=source.sd, device=default_device())
    return Recorded(offline.network_of(trials.read(digest)), layers, batches, half)

"""Offline distillation (section 3.1): a teacher is trained first, then a student imitates it.

`train` learns from labels alone; `distil` learns from a teacher, by one or several methods of the
catalogue or by any loss on the logits. Both take any networks and data, and return a `Fit`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.methods.offline import clipping
from kdnb.methods.offline.building import build, first_value, try_loss, twin_of_loss
from kdnb.methods.offline.looking import (
    Answering,
    places_for,
    prepare,
    students_views,
    teachers_views,
)
from kdnb.methods.offline.parts import (
    Part,
    Weight,
    check_learning,
    check_options,
    check_weight,
    parts_of,
    shared_temperature,
)
from kdnb.methods.options import recipe_of, told_apart
from kdnb.methods.teachers import check_pair
from kdnb.names import brief
from kdnb.nets import constraint
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import Called, Ensemble, Output, logits_of, outputs_of, teacher_of
from kdnb.training.borrowed import borrowed
from kdnb.training.checkpoint import held_of, note_state
from kdnb.training.first import (
    check_module,
    check_scalar,
    check_weights,
    first_batch,
    tried,
)
from kdnb.training.identity import of_function, of_network
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers
from kdnb.training.recipe import recipe_for
from kdnb.training.targets import NOTHING, check_every_label, check_index, label_loss
from kdnb.training.teacher import Recorded
from kdnb.training.watching import watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Answering", "Loss", "distil", "first_value", "train"]

Loss = Callable[[Tensor, Tensor], Tensor]


def train(
    network: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    label_smoothing: float = 0.0,
    loss: Loss | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    output: Output = None,
    ignore_index: int = NOTHING,
    fabric: Fabric | None = None,
    **fields: Any,
) -> Fit:
    """Train one network on labels alone: a teacher, or a student without a teacher.

    docs/your-data.md has an example for every kind of data, targets and networks.

    Args:
        network: inputs -> logits; trained in place. Its mode, memory format and `requires_grad` are
            restored afterwards. Submodules in eval mode while the network is in train mode, such as
            a frozen batch norm, stay in eval mode. A network in half or double precision keeps its
            precision.
        data: `Images` of a data set (normalised by its card, augmented as the recipe says),
            `Batches`, a Dataset, a DataLoader, or tensors (inputs, labels). Inputs are a tensor of
            any type, a tuple (passed as arguments if the network's forward takes that many) or a
            dict (passed as keywords if it has these names). Labels are class indices, (batch,) or
            one for each position of dense logits; probabilities, shaped like the logits; or, from a
            loader, a triple (first, second, share of the first) for mixed images. One logit (batch,
            1) is a binary task. A last batch of one sample is left out if a batch normalisation
            could not process it.
        recipe: a `Recipe`, or its fields as keywords (`epochs=10, lr=0.1`), or both, in which case
            the keywords override it. For the defaults see :func:`kdnb.training.recipe.recipe_for`.
        label_smoothing: amount of label smoothing, 0 for plain cross-entropy.
        loss: (answer, labels) -> scalar, replacing the cross-entropy, such as
            `torch.nn.functional.mse_loss` for real values. If it is a module, its parameters are
            trained with the network.
        evaluate: a function of the networks by name, called after every epoch, whose results join
            the history; or data, on which `kdnb.evaluate` measures the network.
        seed: for the order of the data, of dropout and of augmentation.
        checkpoint: a file from which an interrupted run continues, see :func:`kdnb.training.fit`.
            It belongs to one run with its initial weights: build the networks as in the first run,
            after `torch.manual_seed`.
        log_dir: a folder for TensorBoard: every term of every epoch.
        output: where to find the logits in the network's output. By default: the tensor itself,
            `.logits`, the entry "logits", or the first element of a tuple. Otherwise give a
            function of the output, or an attribute, key or position.
        ignore_index: the label of positions that do not count.
        fabric: a launched Fabric, for another device or several processes.

    Returns:
        The history, with the term `hard` (`loss`, if one is given), and the network, as
        `fit.networks["network"]`.

    Raises:
        ValueError: for an unknown or ignored keyword, inputs that the network cannot take, or
            labels that do not match the logits.

    >>> net = torch.nn.Linear(2, 2)
    >>> data = torch.eye(2).repeat(8, 1), torch.arange(2).repeat(8)
    >>> train(net, data, epochs=20, batch_size=4, lr=0.5).history.hard.iloc[-1] < 0.1
    True
    """
    recipe = recipe_of(train, recipe, fields)
    check_module("network", network)
    check_index(ignore_index)
    if loss is not None and not callable(loss):
        raise TypeError(f"loss is a function (answer, labels) -> scalar; got {brief(loss)}.")
    if loss is not None and label_smoothing:
        raise ValueError("label_smoothing is of the cross-entropy, which loss=... replaces.")
    batches = batches_for(data, recipe, seed, labels="any", given=fields)

    learns = isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters())
    held = held_of({} if learns else {"loss": loss}, checkpoint, fabric)
    networks = {"network": network, **({"loss": loss} if learns else held)}

    def value(logits: Tensor, labels: Any, own: Any = loss) -> dict[str, Tensor]:
        if loss is None:
            return {"hard": label_loss(logits, labels, label_smoothing, ignore_index)}
        found = {"loss": own(logits, labels)}
        check_scalar(found)
        return found

    first = first_batch(batches, seed)
    logits = tried("network", network, first, output)
    if loss is None:
        value(logits, first.labels)
        check_every_label(batches, logits, ignore_index)
    else:
        try_loss(partial(value, own=twin_of_loss(loss)), logits, first.labels)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        own = networks["loss"] if learns else loss
        return value(networks["network"](batch.images), batch.labels, own)

    def begin(epoch: int) -> None:
        if checkpoint and epoch == 1 and loss is not None:
            note_state({"loss": (loss, identity["method"]["loss"])})

    update = Update(tuple(networks), terms, after=constraint(network), begin=begin)
    settings = {"label_smoothing": label_smoothing, "ignore_index": ignore_index}
    identity = {"method": {"verb": "train", **settings}}
    if loss is not None:
        identity["method"]["loss"] = of_function(loss)
    history = fit(
        networks, batches, update, recipe, seed=seed, checkpoint=checkpoint,
        evaluate=watching(evaluate, {"network": network}, output, ignore_index), log_dir=log_dir,
        fabric=fabric, answers={"network": partial(logits_of, output=output)}, identity=identity,
    )  # fmt: skip
    return Fit.of(history, {"network": network}, loss if learns else None)


def planned(
    method: Any = "kd", weight: Any = None, **fields_and_options: Any
) -> tuple[list[Part], dict[str, Any]]:
    """The methods requested from `distil`, with their options, and the fields of its recipe.

    Raises:
        ValueError: for an unknown method, option or field, or a weight without a method.
    """
    parts = parts_of(method, weight)
    fields, options = told_apart(distil, fields_and_options, {p.name: p.known for p in parts})
    for part in parts:
        part.options = options[part.name]
        check_options(part)
    return parts, fields


def distil(
    student: nn.Module,
    teacher: Any,
    data: Any,
    recipe: Recipe | None = None,
    *,
    method: Any = "kd",
    weight: Weight | Mapping[str, Weight] | None = None,
    label_weight: float | None = None,
    layers: tuple[Layers | None, Layers | None] | None = None,
    recorded: Recorded | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    output: Output | tuple[Output, Output] = None,
    ignore_index: int = NOTHING,
    fabric: Fabric | None = None,
    **fields_and_options: Any,
) -> Fit:
    r"""Train a student to imitate a teacher, by one method or several.

    .. math:: L = w_h\, H(y, q) + \sum_m w_m L_m

    with the cross-entropy H of the true labels and the loss :math:`L_m` of each method. Adapters
    that a method needs are built from the shapes of a first batch and trained by the student's
    optimiser. The teacher sees exactly the same images as the student. If the methods allow it, the
    teacher runs only once for images that never change, and once per view for cropped and flipped
    ones.

    A run changes the teacher's mode and `requires_grad` while it lasts, and the process's random
    state. So run several at once in processes; threads would disturb each other, and at least need
    a teacher each (copy.deepcopy).

    Args:
        student: inputs -> logits; trained in place, and left as `train` leaves its network. It may
            take its inputs in a different precision from the teacher.
        teacher: frozen. A module; a list of modules, whose softened answers are averaged (the mean
            of their probabilities at the method's temperature, or at 1 for a loss of your own), or
            a `kdnb.Ensemble` of them, which may weight them or take their geometric mean; or any
            function of a batch's inputs that returns logits, whose networks are in eval mode.
        data, recipe, evaluate, seed, checkpoint, log_dir, fabric: as in :func:`train`. If no term
            uses labels, data needs none.
        method: a name of the catalogue (`kdnb.methods.table()` lists them), a `Method`, any
            callable loss(student_logits, teacher_logits[, labels]), or a list of these. A callable
            that cannot take dense logits gets one row per position that counts.
        weight: weight of the method: one number, or a pair for a linear change from the first epoch
            to the last; for several methods a dict by name, `{"at": 1000}`. The default is the
            published weight, or 1 for your own loss.
        label_weight: w_h. The default is 1, or 0 for a method that is used alone (SimKD).
        layers: the layers of student and teacher, see `kdnb.training.layers.Layers`; found by
            `layers_of` if left out. Methods on logits need none.
        recorded: the teacher's views, if they are already available.
        output: as in `train`, for both networks; or a pair for student and teacher.
        ignore_index: the label of positions of dense logits that do not count.
        fields_and_options: fields of the recipe, and options of the method by name, such as
            `temperature=4`. An option that several methods have is given by method,
            `temperature={"kd": 4, "dkd": 2}`.

    Returns:
        The history, with a column for each method and `hard` for the labels; the student, as
        `fit.networks["student"]` (and "deployed", if a method deploys more than the student); the
        modules that the methods learnt.

    Raises:
        ValueError: for an unknown method, option or field; one that would be ignored; layers whose
            shapes a method cannot use; or a student that is its own teacher.
    """
    parts, fields = planned(method, weight, **fields_and_options)
    recipe = recipe_for(recipe, fields)
    if label_weight is None:
        label_weight = 0.0 if any(p.method and p.method.alone for p in parts) else 1.0
    check_weight(label_weight, "label_weight")
    check_learning(parts, label_weight)
    outputs = outputs_of(output)
    check_index(ignore_index)
    guide = teacher_of(teacher, shared_temperature(parts, teacher), outputs[1])
    if guide is not teacher and isinstance(guide, Ensemble):
        outputs = outputs[0], None  # it extracts its members' logits itself
    check_weights("teacher", guide)
    check_pair(student, guide)
    reads = bool(label_weight) or any(part.labels for part in parts)
    batches = batches_for(data, recipe, seed, "any" if reads else "none", given=fields)

    own = [part.module for part in parts if part.module is not None]  # losses of the user's
    with borrowed(student, guide, *own), contextlib.ExitStack() as stack:
        at = places_for(student, guide, layers)
        deep, wanted, at = build(
            parts, (student, guide), at, batches, seed, outputs, ignore_index, match=not layers,
            label_weight=label_weight,
        )  # fmt: skip
        networks = {"student": student, "teacher": guide}
        networks |= {part.name: part.module for part in parts if part.module is not None}
        held = held_of({p.name: p.function for p in parts if not p.module}, checkpoint, fabric)
        networks |= held
        answers = dict(
            zip(networks, (partial(logits_of, output=one) for one in outputs), strict=False)
        )
        settings = {"label_weight": label_weight, "ignore_index": ignore_index}
        settings["layers"] = [repr(one) for one in at] if deep else None
        identity = _identity(parts, settings, student, guide, networks)
        ours = stack.enter_context(students_views(student, at[0], deep))
        theirs = stack.enter_context(
            teachers_views(
                guide,
                at[1],
                deep,
                wanted,
                batches,
                recipe,
                recorded,
                outputs[1],
                any(getattr(part.module, "batch_statistics", False) for part in parts),
            )
        )
        for part in parts:
            if hasattr(part.module, "prepare"):
                prepare(part, networks, theirs, batches, recipe, seed, answers)
        weights = {part.name: part.weight[0] for part in parts}
        most = [1.0]  # length of a clipped gradient, relative to the labels'

        def begin(epoch: int) -> None:
            if checkpoint and epoch == 1:
                found = zip(parts, identity["method"]["methods"], strict=True)
                note_state({p.name: (p.function, one["what"]) for p, one in found if p.function})
            done = epoch / max(1, recipe.epochs - 1)
            most[0] = clipping.share(epoch, recipe.epochs)
            for part in parts:
                first, last = part.weight
                weights[part.name] = first + (last - first) * done
                if hasattr(part.module, "begin"):
                    part.module.begin(epoch, recipe.epochs)

        def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
            # The teacher runs first, so that the student's maps are still cached for its backward
            # pass.
            target = theirs(networks, batch)
            view = ours(networks, batch)
            found = {
                part.name: weights[part.name]
                * part.value(networks, view, target, batch, ignore_index)
                for part in parts
            }
            if label_weight:
                loss = label_loss(view.logits, batch.labels, 0.0, ignore_index)
                found["hard"] = label_weight * loss
                clipping.clip(parts, found, student, most[0])
            return found

        moved = ["student", *held]
        for part in parts:
            if part.module is not None and any(p.requires_grad for p in part.module.parameters()):
                moved.append(part.name)
        update = Update(tuple(moved), terms, after=constraint(student), begin=begin)
        watch = watching(evaluate, {"student": student}, outputs[0], ignore_index)
        history = fit(
            networks, batches, update, recipe, seed=seed, checkpoint=checkpoint, evaluate=watch,
            log_dir=log_dir, fabric=fabric, answers=answers, identity=identity,
        )  # fmt: skip
    return _finished(history, parts, student, guide, at, outputs[0])


def _finished(
    history: list[dict[str, float]],
    parts: Sequence[Part],
    student: nn.Module,
    teacher: nn.Module,
    at: Sequence[Layers | str],
    output: Output,
) -> Fit:
    networks = {"student": student}
    for part in parts:
        if hasattr(part.module, "answer"):
            head = teacher.get_submodule(at[1].head)
            networks["deployed"] = Answering(student, part.module, head, at[0], output)
    learnt = {part.name: part.module for part in parts if part.module and _holds(part.module)}
    if len(parts) > 1:
        return Fit.of(history, networks, nn.ModuleDict(learnt) if learnt else None)
    return Fit.of(history, networks, learnt.get(parts[0].name))


def _holds(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


def _identity(
    parts: Sequence[Part],
    settings: Mapping[str, Any],
    student: nn.Module,
    teacher: nn.Module,
    networks: Mapping[str, nn.Module],
) -> dict[str, Any]:
    """The identity of this run's checkpoints, before any training."""
    called = isinstance(teacher, Called)
    weights = {name: of_network(one) for name, one in networks.items() if one is not teacher}
    weights["teacher"] = of_function(teacher.function) if called else of_network(teacher)
    methods = [part.identity() for part in parts]
    return {"method": {"methods": methods, **settings}, "weights": weights}

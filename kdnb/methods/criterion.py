"""A distillation loss for your own training loop: `loss = criterion(inputs, targets)`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.data.forms import as_labels, tensors_in
from kdnb.methods.offline import clipping
from kdnb.methods.offline.building import build
from kdnb.methods.offline.looking import asked_by, places_for, prepare, shown
from kdnb.methods.offline.parts import (
    Weight,
    check_options,
    check_weight,
    parts_of,
    shared_temperature,
)
from kdnb.methods.options import FIELDS, told_apart
from kdnb.progress import note
from kdnb.training import Recipe, devices
from kdnb.training.alone import check_takes_one
from kdnb.training.answers import Ensemble, Output, ask, logits_of, outputs_of, teacher_of
from kdnb.training.borrowed import borrowed, modes_kept
from kdnb.training.first import cannot_take, check_module, check_weights
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, viewing
from kdnb.training.randomness import check_seed
from kdnb.training.targets import NOTHING, check_index, label_loss


class Criterion(nn.Module):
    r"""The loss that `kdnb.distil` minimises, as a module for your own loop or trainer.

    .. math:: L = w_h\, H(y, q) + \sum_m w_m L_m

        criterion = kdnb.Criterion("crd", student, teacher, images, images=50000)
        optimiser = torch.optim.SGD([*student.parameters(), *criterion.parameters()], lr=0.1)
        for inputs, targets in loader:
            loss = criterion(inputs, targets)  # runs student and teacher
            optimiser.zero_grad(); loss.backward(); optimiser.step()

    Its parameters are what the method learns besides the student, such as adapters; its state holds
    neither network. The student runs in its current mode. The teacher always runs in eval mode and
    without gradients, and its mode is restored. No hooks remain on either network between calls.
    A copy (copy.deepcopy, pickle) holds copies of both networks: copy it together with the student,
    as in `copy.deepcopy((student, criterion))`.

    Args:
        method, weight, label_weight, layers, output, ignore_index: as in `kdnb.distil`. A pair of
            weights changes over the epochs through `begin`.
        student, teacher: as in `kdnb.distil`.
        example: inputs as the loop will provide them, or a pair (inputs, targets); adapters are
            built from the shapes of both networks' layers for it.
        images: the number of training images, which CRD needs.
        seed: for the adapters' initial weights.
        options: passed to the method by name.

    Attributes:
        terms: the weighted parts of the last call's loss, by name, without gradients; `hard` is the
            cross-entropy with the labels.
        logits: the student's answer in the last call, without gradients.

    Raises:
        ValueError: as `kdnb.distil`; in a call, for missing targets.

    >>> student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> criterion = Criterion("kd", student, teacher, torch.zeros(2, 4), temperature=2)
    >>> loss = criterion(torch.ones(2, 4), torch.tensor([0, 1]))
    >>> sorted(criterion.terms), len(list(criterion.parameters()))
    (['hard', 'kd'], 0)
    """

    def __init__(
        self,
        method: Any,
        student: nn.Module,
        teacher: Any,
        example: Any,
        *,
        weight: Weight | Mapping[str, Weight] | None = None,
        label_weight: float | None = None,
        layers: tuple[Layers | None, Layers | None] | None = None,
        output: Output | tuple[Output, Output] = None,
        ignore_index: int = NOTHING,
        images: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if wrong := [key for key in options if key in FIELDS]:
            raise ValueError(
                f"Criterion takes no {wrong[0]}: that belongs to your own loop (kdnb.distil has it)."
            )
        self.parts = parts_of(method, weight)
        _, own = told_apart(Criterion, options, {part.name: part.known for part in self.parts})
        for part in self.parts:
            part.options = own[part.name]
            check_options(part)
        if label_weight is None:
            label_weight = 0.0 if any(p.method and p.method.alone for p in self.parts) else 1.0
        check_weight(label_weight, "label_weight")
        check_index(ignore_index)
        check_seed(seed)
        self.label_weight, self.ignore_index, self.seed = label_weight, ignore_index, seed
        self.outputs = outputs_of(output)
        guide = teacher_of(teacher, shared_temperature(self.parts, teacher), self.outputs[1])
        if isinstance(guide, Ensemble) and guide is not teacher:
            self.outputs = self.outputs[0], None  # it extracts its members' logits itself
        check_module("student", student)
        check_weights("teacher", guide)
        self.networks = student, guide  # in a tuple, so that they are not submodules
        inputs, targets = _pair(example)
        batch = Batch(inputs, targets)
        once = SimpleNamespace(epoch=lambda number: iter([batch]), examples=images)
        at = places_for(*self.networks, layers)
        with borrowed(*self.networks):
            self.deep, _, self.places = build(
                self.parts, self.networks, at, once, seed, self.outputs, ignore_index,
                match=layers is None,
            )  # fmt: skip
        self.learnt = nn.ModuleDict(
            {part.name: part.module for part in self.parts if part.module is not None}
        ).train()
        self.weights = {part.name: part.weight[0] for part in self.parts}
        self.most = clipping.share(0, 1)
        modules = [part.module for part in self.parts]
        self.by_batch = any(getattr(module, "batch_statistics", False) for module in modules)
        self.unprepared = {part.name for part in self.parts if hasattr(part.module, "prepare")}
        self.kinds = _kinds(inputs)
        self.waits = any(first != last for first, last in (part.weight for part in self.parts))
        self.tried_one = False  # whether both networks were asked about a batch of one
        self.terms: dict[str, Tensor] = {}
        self.logits: Tensor | None = None

    def begin(self, epoch: int, epochs: int = 1) -> None:
        """Announce the start of an epoch, counted from 0, for everything that changes over epochs.

        This concerns the weights of `weight`, the warm-ups of DKD and ReviewKD, the clipping of
        KD-SVD
        and MHGD, CTKD and IFM.
        """
        self.waits = False
        self.most = clipping.share(epoch, epochs)
        for part in self.parts:
            first, last = part.weight
            self.weights[part.name] = first + (last - first) * epoch / max(1, epochs - 1)
            if hasattr(part.module, "begin"):
                part.module.begin(epoch, epochs)

    def prepare(self, data: Any, batch_size: int = 64, epochs: int = 1) -> None:
        """Run the first stage of FT or MHGD, on the teacher alone, once before the first call.

        Args:
            data: as in `kdnb.distil`; labels are not read.
            epochs: the epochs of the coming training, of which the first stage takes its share.
        """
        recipe = Recipe(epochs=epochs, batch_size=batch_size, lr=1.0, precision="32")
        batches = batches_for(data, recipe, self.seed, labels="none")
        networks = {"teacher": self.networks[1], **self.learnt}
        answers = {"teacher": lambda answer: logits_of(answer, self.outputs[1])}
        for part in self.parts:
            if part.name in self.unprepared:
                with self._seen(1) as seen, borrowed(self.networks[1]):

                    def theirs(networks: Any, batch: Batch, seen: Any = seen) -> Any:
                        with torch.no_grad():
                            return seen(networks["teacher"](batch.images))

                    prepare(part, networks, theirs, batches, recipe, self.seed, answers)
                self.unprepared.discard(part.name)
        self.learnt.train()

    def forward(self, inputs: Any, targets: Any = None, index: Tensor | None = None) -> Tensor:
        """The loss of a batch, a scalar; its terms are stored in `terms`.

        Args:
            inputs: as the networks take them.
            targets: as in `kdnb.distil`; None if no term uses labels.
            index: (batch,) positions of the samples in the training set, for CRD's memory.
        """
        student, teacher = self.networks
        if self.waits:
            self.waits = False
            note(
                "a pair of weights moves with criterion.begin(epoch, epochs): it stays at the first."
            )
        if self.unprepared:
            name = min(self.unprepared)
            raise ValueError(f"{name} has a first stage: call criterion.prepare(data) once before.")
        if self.label_weight and targets is None:
            raise ValueError("the cross-entropy reads labels: give targets, or label_weight=0.")
        targets = None if targets is None else as_labels(targets)
        batch = Batch(inputs, targets, index)
        # Another question of one process alone would hang networks that several share.
        if batch.size == 1 and not self.tried_one and not devices.several_processes():
            self.tried_one = True
            check_takes_one("student", student, inputs, self.outputs[0])
            check_takes_one("teacher", teacher, inputs, self.outputs[1])
        asked = asked_by(teacher, inputs, self.by_batch)
        with self._seen(1) as seen, modes_kept(teacher), torch.no_grad(), asked:
            target = seen(logits_of(self._ask("teacher", teacher, inputs), self.outputs[1]))
        with self._seen(0) as seen:
            view = seen(logits_of(self._ask("student", student, inputs), self.outputs[0]))
        terms = {
            part.name: self.weights[part.name]
            * part.value(self.learnt, view, target, batch, self.ignore_index)
            for part in self.parts
        }
        if self.label_weight:
            hard = label_loss(view.logits, targets, 0.0, self.ignore_index)
            terms["hard"] = self.label_weight * hard
            if torch.is_grad_enabled():
                clipping.clip(self.parts, terms, student, self.most)
        self.logits = view.logits.detach()
        self.terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack([value.float() for value in terms.values()]).sum()

    def _ask(self, name: str, network: nn.Module, inputs: Any) -> Any:
        try:
            return ask(network, inputs)
        except (RuntimeError, TypeError, ValueError) as error:
            if _kinds(inputs) == self.kinds:
                raise
            raise ValueError(
                f"{cannot_take(name, inputs, error)} (A criterion runs both networks itself: give it "
                "inputs, not logits.)"
            ) from error

    @contextlib.contextmanager
    def _seen(self, which: int) -> Iterator[Any]:
        """Turn an answer of one of the networks into its view."""
        network, layers = self.networks[which], self.places[which]
        if not self.deep:
            yield lambda logits: shown(logits, layers, network)
            return
        with viewing(network, layers) as seen:
            yield seen

    def extra_repr(self) -> str:
        """The weights."""
        weights = {**self.weights, **({"hard": self.label_weight} if self.label_weight else {})}
        return ", ".join(f"{name} {value:g}" for name, value in weights.items())


def _kinds(inputs: Any) -> list[tuple[Any, ...]]:
    """The type and the shape of one sample of each tensor."""
    return [(one.dtype, *one.shape[1:]) for one in tensors_in(inputs)]


def _pair(example: Any) -> tuple[Any, Tensor | None]:
    """Inputs and targets of an example batch."""
    if isinstance(example, (tuple, list)) and len(example) == 2:
        return example[0], as_labels(example[1])
    return example, None

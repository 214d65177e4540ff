"""Fukuda et al. 2017: one teacher per mini-batch, or every sample once with each teacher's answer.

Cross-entropy is linear in its target: in expectation a teacher drawn at random gives the gradient
of the mean teacher. The two ways to use several teachers differ from it, and from each other, only
in the noise of the gradient and in the steps of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch, Batches
from kdnb.data.batches import mixed_seed
from kdnb.data.loaders import LoaderBatches, TensorBatches
from kdnb.losses.checks import check_temperature
from kdnb.methods.multi_teacher.common import learn
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_teachers
from kdnb.training import Fit, Recipe
from kdnb.training.inputs import batches_for


def learn_by_switching(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    label_weight: float = 0.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Switching (Fukuda et al. 2017): learn each mini-batch from one random teacher.

    .. math:: L_b = w_h H(y, q) + w_s T^2\, \mathrm{KL}(p_{m(b)} \,\|\, q), \quad
        m(b) \sim U\{1, \dots, K\}

    Args:
        student: trained in place.
        teachers: frozen, at least one.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`. Without a weight of
            the labels, they are not used.
        temperature: T of all.
        soft_weight, label_weight: w_s and w_h.

    Returns:
        The history, with `soft` (and `hard`), and the network "student".

    Raises:
        ValueError: for no teacher, a student that is its own teacher, or as `kdnb.distil`.

    Departures: switching at each mini-batch is in the paper's abstract; drawing teachers at random
    is recalled. T, and using labels as well, are ours.
    """
    recipe = recipe_of(learn_by_switching, recipe, fields)

    def one_of(theirs: list[Tensor], batch: Batch) -> Tensor:
        return theirs[int(torch.randint(len(theirs), ()))]

    return _learn(
        learn_by_switching, one_of, student, teachers, data, recipe, fields, seed=seed,
        temperature=temperature, soft_weight=soft_weight, label_weight=label_weight,
        evaluate=evaluate, checkpoint=checkpoint,
    )  # fmt: skip


def learn_by_augmentation(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    label_weight: float = 0.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Augmentation (Fukuda et al. 2017): learn every sample once with each teacher's answer.

    .. math:: D' = \bigcup_{k=1}^K \{ (x, p_k(x)) : x \in D \}

    An epoch visits D' once, in a random order: it has K times the steps of the data. For a fair
    comparison, give it 1/K of the epochs.

    Args:
        data: `Images`, `Batches` without augmentation, or tensors.
        student, teachers, recipe, fields: and all others, as in :func:`learn_by_switching`.

    Returns:
        The history, with `soft` (and `hard`), and the network "student".

    Raises:
        TypeError: for data whose samples have no index, such as a DataLoader.
        ValueError: as `learn_by_switching`.

    Departures: as in `learn_by_switching`.
    """
    recipe = recipe_of(learn_by_augmentation, recipe, fields)

    def asked(theirs: list[Tensor], batch: Batch) -> Tensor:
        rows = torch.arange(batch.size, device=theirs[0].device)
        return torch.stack(theirs)[batch.index, rows]

    return _learn(
        learn_by_augmentation, asked, student, teachers, data, recipe, fields, seed=seed,
        temperature=temperature, soft_weight=soft_weight, label_weight=label_weight,
        evaluate=evaluate, checkpoint=checkpoint, once_each=True,
    )  # fmt: skip


class OncePerTeacher(LoaderBatches):
    """Every sample K times in an epoch, each time for a different teacher, given by `index`.

    Args:
        batches: batches that hold their samples in memory.
        teachers: K.
        seed: for the order, a function of (seed, epoch) alone.

    Raises:
        TypeError: for batches that can only be iterated.
    """

    def __init__(self, batches: Batches | TensorBatches, teachers: int, *, seed: int = 0):
        if not isinstance(batches, (Batches, TensorBatches)):
            raise TypeError(
                "every sample once per teacher takes Images, Batches or tensors, which lie in "
                f"memory; got {type(batches).__name__}."
            )
        super().__init__(batches, getattr(batches, "device", "cpu"), seed=seed)
        self.teachers = teachers

    @property
    def examples(self) -> int:
        """The number of samples in an epoch, each counted once per teacher."""
        return self.loader.examples * self.teachers

    def __len__(self) -> int:
        return math.ceil(self.examples / self.loader.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch; a sample's copies are mixed with all others."""
        single = list(self.loader.epoch(number))  # in its own order and with its augmentation
        images = torch.cat([batch.images for batch in single])
        known = single[0].labels is not None
        labels = torch.cat([batch.labels for batch in single]) if known else None
        stream = torch.Generator().manual_seed(mixed_seed(self.seed, number, "teachers"))
        order = torch.randperm(len(images) * self.teachers, generator=stream)
        for chosen in order.split(self.loader.batch_size):
            here = (chosen % len(images)).to(images.device)
            asked = (chosen // len(images)).to(images.device)
            yield Batch(images[here], None if labels is None else labels[here], asked)


def target_spread(
    student_logits: Tensor, teacher_logits: Sequence[Tensor], temperature: float = 1.0
) -> Tensor:
    r"""The variance that a random teacher adds to the gradient of a batch.

    .. math:: \frac1K \sum_k \lVert g_k - \bar g \rVert^2, \quad
        g_k = \frac{T}{B} \sum_b (q_b - p_{kb})

    the gradient with respect to a common shift of the batch's logits. It does not depend on the
    student.

    Args:
        student_logits: (batch, classes).
        teacher_logits: K tensors of the same shape.
        temperature: T > 0.

    Returns:
        A scalar, 0 for equal teachers.

    >>> z = torch.zeros(1, 2)
    >>> target_spread(z, [torch.tensor([[9.0, -9.0]]), torch.tensor([[-9.0, 9.0]])])
    tensor(0.5000)
    """
    check_temperature(temperature)
    ours = (student_logits / temperature).softmax(1)
    each = [temperature * (ours - (v / temperature).softmax(1)).mean(0) for v in teacher_logits]
    gradients = torch.stack(each)
    return (gradients - gradients.mean(0)).square().sum(1).mean()


def _learn(
    verb: Any, target: Callable[[list[Tensor], Batch], Tensor], student: nn.Module,
    teachers: Sequence[nn.Module], data: Any, recipe: Recipe, fields: Any, *, seed: int,
    temperature: float, soft_weight: float, label_weight: float, evaluate: Any,
    checkpoint: Path | str | None, once_each: bool = False,
) -> Fit:  # fmt: skip
    """Learn from the logits that `target` picks among the teachers' for each sample of a batch."""
    found = check_teachers(verb.__name__, student, teachers)
    check_temperature(temperature)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)
    reads = "any" if label_weight else "none"
    batches = batches_for(data, recipe, seed, reads, given=fields)
    if once_each:
        batches = OncePerTeacher(batches, len(found), seed=seed)

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        chosen = target(theirs, batch)
        return {"soft": soft_weight * losses.soft_targets(ours, chosen, temperature)}

    return learn(
        student, found, batches, recipe, terms, label_weight=label_weight, evaluate=evaluate,
        seed=seed, checkpoint=checkpoint,
        about={"verb": verb.__name__, "temperature": temperature, "soft_weight": soft_weight},
    )  # fmt: skip

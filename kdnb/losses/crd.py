"""CRD (Tian, Krishnan and Isola 2020): contrast a sample's teacher embedding with others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._arithmetic import product, rows, unit
from kdnb.losses.checks import (
    check_classes,
    check_flags,
    check_number,
    check_samples,
    check_together,
    fitted,
)


def crd(
    student: Tensor,
    teacher: Tensor,
    dataset_size: int,
    negatives: Tensor | None = None,
    labels: Tensor | None = None,
    temperature: float = 0.07,
    normaliser: float = 1.0,
    kept: Tensor | None = None,
) -> Tensor:
    r"""Contrastive representation distillation (Tian, Krishnan and Isola 2020).

    .. math:: L = -\frac1B \sum_b \Big[\log h(t_b, s_b) + \sum_n \log\big(1 - h(t_n, s_b)\big)\Big],
        \quad h(t, s) = \frac{e^{t^\top s / \tau} / Z}{e^{t^\top s / \tau} / Z + N / M}

    for unit vectors. The task is to tell the teacher's embedding of the same sample from N others;
    the training set has M samples. The student is the anchor; exchange the arguments to make the
    teacher the anchor. :class:`CRD` adds both and keeps the projections and the memory.

    Args:
        student, teacher: (batch, features) embeddings of the same width; normalised here.
        dataset_size: M, at least 1.
        negatives: (negatives, features) of other samples' teacher embeddings; by default each
            sample is compared with the others in its batch.
        labels: (batch,) classes; samples of the same class are then not used as negatives within
            the batch.
        temperature: tau > 0; 0.07 in the paper.
        normaliser: Z > 0; 1 in the paper.
        kept: (batch, negatives) booleans: which of `negatives` count for which sample; all by
            default. N is the number that count for the sample. The paper keeps only other classes.

    Returns:
        A scalar in nats, above 0. Gradients flow into the teacher too unless it is detached.

    Raises:
        ValueError: for different shapes, a sample without any negative, or numbers that are not
            above 0.

    Departures: h and tau are the paper's, recalled; the authors' code (RepDistiller, read) divides
    exp by a Z fixed on the first batch, adds 1e-7 to the denominator, and draws negatives of other
    classes from a memory of all training samples. Here the loss is computed with log-sigmoids and
    needs no 1e-7.

    >>> embedding = torch.eye(2)
    >>> crd(embedding, embedding, dataset_size=1, temperature=1.0)
    tensor(1.0064)
    """
    check_number(above=0, temperature=temperature, normaliser=normaliser)
    check_number(least=1, dataset_size=dataset_size)
    _check_embeddings(student=student, teacher=teacher)
    student, teacher = unit(rows(student)), unit(rows(teacher))
    if labels is not None:
        check_classes(len(student), labels=labels)
    if negatives is not None:
        if not isinstance(negatives, Tensor) or negatives.ndim == 0 or len(negatives):
            check_samples(minimum=1, negatives=negatives)
        _check_width("student", student, "negatives", negatives)
        others = product(student, unit(rows(negatives)).T)
        kept = torch.ones_like(others, dtype=torch.bool) if kept is None else kept
        if getattr(kept, "dtype", None) != torch.bool or kept.shape != others.shape:
            raise ValueError(
                f"kept must be truth values of shape {tuple(others.shape)}, (batch, negatives); "
                f"got {getattr(kept, 'dtype', type(kept).__name__)} of shape "
                f"{tuple(getattr(kept, 'shape', ()))}."
            )
        check_together(student=student, kept=kept)
    else:
        others = product(student, teacher.T)
        kept = _different(labels, student)
    counts = kept.sum(dim=1, keepdim=True)
    if not bool((counts > 0).all()):
        raise ValueError(f"every sample needs a negative; got a batch of {tuple(student.shape)}.")
    shift = torch.log(counts.to(others.dtype) * normaliser / dataset_size)
    positive = (student * teacher).sum(dim=1, keepdim=True) / temperature - shift
    against = F.logsigmoid(-(others / temperature - shift)) * kept
    return -(F.logsigmoid(positive).sum(dim=1) + against.sum(dim=1)).mean()


class CRD(nn.Module):
    """Both directions of :func:`crd` with linear projections and a memory of past embeddings.

    For every training sample seen so far, the memory holds one embedding per network, a moving
    average. Negatives are drawn from it once for the whole batch; each sample keeps those of other
    classes and never its own entry. While the memory is empty, and for `negatives=0`, the other
    samples of the batch are the negatives. A sample without any negative adds 0. The memory's size
    is printed when the module is created. Add the module's parameters to the optimiser.

    Args:
        student_features, teacher_features: widths of the two layers, flattened.
        dataset_size: M, how many samples the training set has.
        negatives: the largest number drawn for a batch; 16384 in the paper. 0 keeps no memory.
        features: width of the projections; 128 in the paper.
        temperature: 0.07 in the paper.
        momentum: the share of a sample's earlier embedding in its new entry, in [0, 1]; 0.5 in the
            authors' code.
        quiet: do not print the size of the memory.

    Departures: the authors' memory (RepDistiller, read) starts with random vectors, and each sample
    draws its own negatives, with repetition if the other classes have fewer than 16384 samples.
    Here they are drawn without repetition, once per batch, and N is the number kept. Their positive
    is the sample's memory entry before the update; here it is the embedding in the batch. As in
    their code, the normaliser Z of each direction is M times the mean of exp over the first
    training batch, and is then fixed.
    """

    def __init__(
        self,
        student_features: int,
        teacher_features: int,
        dataset_size: int,
        negatives: int = 16384,
        features: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        check_flags(quiet=quiet)
        check_number(above=0, temperature=temperature)
        sizes = {"student_features": student_features, "teacher_features": teacher_features}
        check_number(least=1, whole=True, dataset_size=dataset_size, features=features, **sizes)
        check_number(least=0, whole=True, negatives=negatives)
        check_number(least=0, most=1, momentum=momentum)
        self.project_student = nn.Linear(student_features, features)
        self.project_teacher = nn.Linear(teacher_features, features)
        self.dataset_size, self.temperature = dataset_size, temperature
        self.negatives, self.momentum = negatives, momentum
        size = dataset_size if negatives else 0
        self.register_buffer("student_memory", torch.zeros(size, features))
        self.register_buffer("teacher_memory", torch.zeros(size, features))
        self.register_buffer("classes", torch.full((size,), -1))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))
        self.register_buffer("normalisers", torch.zeros(2))
        if not quiet:
            mebibytes = self.memory_bytes / 2**20
            print(f"CRD: a memory of two times {size} x {features}, {mebibytes:.1f} MiB")

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes that the embeddings of both networks take."""
        return 2 * self.student_memory.numel() * self.student_memory.element_size()

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch of features; in training mode the batch then enters the memory.

        Args:
            student, teacher: (batch, ...), flattened.
            labels: (batch,) classes. Without them, other samples of the same class are negatives
                too.
            index: (batch,) positions of the samples in the training set. Without them, entries are
                filled in turn, and a sample's own entry can only be recognised by its class.

        Raises:
            ValueError: in training mode without labels and index: a sample would then be compared
                with its own entry.
        """
        check_samples(student=student, teacher=teacher)
        if labels is not None:
            check_classes(len(student), labels=labels)
        if index is not None:
            check_classes(len(student), whole=True, index=index)
        if self.training and self.negatives and labels is None and index is None:
            raise ValueError(
                "CRD needs labels or the samples' places in the training set, else a sample's own "
                "past embedding would be its negative."
            )
        with torch.autocast(student.device.type, enabled=False):
            student = fitted(self.project_student, "student", rows(student))
            teacher = fitted(self.project_teacher, "teacher", rows(teacher))
            student = unit(self.project_student(student))
            teacher = unit(self.project_teacher(teacher))
        places = self._places(index, len(student))
        drawn = self._drawn()
        kept = self._kept(labels, index, drawn, student)
        able = kept.any(dim=1)
        pairs = (student, teacher, self.teacher_memory), (teacher, student, self.student_memory)
        loss = (student.sum() + teacher.sum()) * 0
        for direction, (anchor, other, memory) in enumerate(pairs):
            normaliser = self._normaliser(direction, anchor, other)
            if bool(able.any()):
                one = crd(
                    anchor[able],
                    other[able],
                    self.dataset_size,
                    other if drawn is None else memory[drawn],
                    temperature=self.temperature,
                    normaliser=normaliser,
                    kept=kept[able],
                )
                loss = loss + one * (able.sum() / len(able))
        if self.training and places is not None:
            self._remember(student.detach(), teacher.detach(), labels, places, index is not None)
        return loss

    @torch.no_grad()
    def _places(self, index: Tensor | None, count: int) -> Tensor | None:
        """The batch's rows in the memory."""
        if not self.negatives:
            return None
        device = self.student_memory.device
        if index is None:
            return (torch.arange(count, device=device) + self.position) % self.dataset_size
        index = index.to(device)
        if bool((index < 0).any()) or bool((index >= self.dataset_size).any()):
            raise ValueError(
                f"index must lie in 0 to {self.dataset_size - 1}, the training set's size being "
                f"{self.dataset_size}; got {int(index.min())} to {int(index.max())}."
            )
        return index

    @torch.no_grad()
    def _drawn(self) -> Tensor | None:
        """The rows of the memory used for this batch; None if the memory is empty."""
        there = self.filled.nonzero().squeeze(1)
        if len(there) > self.negatives:
            order = torch.randperm(len(there))[: self.negatives]
            there = there[order.to(there.device)]
        return there if len(there) else None

    @torch.no_grad()
    def _kept(
        self, labels: Tensor | None, index: Tensor | None, drawn: Tensor | None, batch: Tensor
    ) -> Tensor:
        """(batch, negatives): those of other classes that are not the sample itself."""
        device = batch.device
        if drawn is None:
            own = torch.arange(len(batch), device=device)
            kept = own.unsqueeze(0) != own.unsqueeze(1)
            return kept if labels is None else kept & _different(labels.to(device), batch)
        kept = torch.ones(len(batch), len(drawn), dtype=torch.bool, device=device)
        if index is not None:
            kept &= index.to(device).unsqueeze(1) != drawn.unsqueeze(0)
        if labels is not None:
            kept &= labels.to(device).unsqueeze(1) != self.classes[drawn].unsqueeze(0)
        return kept

    @torch.no_grad()
    def _normaliser(self, direction: int, anchor: Tensor, other: Tensor) -> float:
        fixed = float(self.normalisers[direction])
        if fixed > 0:
            return fixed
        scores = product(anchor, other.T) / self.temperature
        value = float(scores.exp().mean()) * self.dataset_size
        if math.isnan(value):  # the loss is NaN in any case; the next batch sets the value
            return 1.0
        if self.training:
            self.normalisers[direction] = value
        return value

    @torch.no_grad()
    def _remember(
        self, student: Tensor, teacher: Tensor, labels: Tensor | None, places: Tensor, known: bool
    ) -> None:
        before = self.filled[places].unsqueeze(1) & known  # else another sample's
        share = self.momentum * before
        for memory, fresh in ((self.student_memory, student), (self.teacher_memory, teacher)):
            memory[places] = unit(share * memory[places] + (1 - share) * fresh)
        self.classes[places] = -1 if labels is None else labels.to(self.classes)
        self.filled[places] = True
        self.position.copy_((self.position + len(places)) % self.dataset_size)


def _check_embeddings(student: Tensor, teacher: Tensor) -> None:
    check_samples(minimum=1, student=student, teacher=teacher)
    _check_width("student", student, "teacher", teacher)


def _check_width(name: str, left: Tensor, other: str, right: Tensor) -> None:
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(
            f"{name} {tuple(left.shape)} and {other} {tuple(right.shape)} must both have shape "
            "(samples, features) with equally many features; project them first (see CRD)."
        )


def _different(labels: Tensor | None, samples: Tensor) -> Tensor:
    if labels is None:
        labels = torch.arange(len(samples), device=samples.device)
    return labels.unsqueeze(0) != labels.unsqueeze(1)

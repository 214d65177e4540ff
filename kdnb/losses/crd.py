"""CRD (Tian, Krishnan and Isola 2020): this sample's teacher embedding, told from other samples'."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._arithmetic import product, rows, unit
from kdnb.losses.checks import check_number, check_samples


def crd(
    student: Tensor,
    teacher: Tensor,
    dataset_size: int,
    negatives: Tensor | None = None,
    labels: Tensor | None = None,
    temperature: float = 0.07,
    normaliser: float = 1.0,
) -> Tensor:
    r"""Contrastive representation distillation (Tian, Krishnan and Isola 2020).

    .. math:: L = -\frac1B \sum_b \Big[\log h(t_b, s_b) + \sum_n \log\big(1 - h(t_n, s_b)\big)\Big],
        \quad h(t, s) = \frac{e^{t^\top s / \tau} / Z}{e^{t^\top s / \tau} / Z + N / M}

    for unit vectors: telling the teacher's embedding of the same sample from N others, of M
    samples in the training set. The student is the anchor; for the teacher as the anchor, call it
    with both exchanged. :class:`CRD` adds both and keeps the projections and the queues.

    Args:
        student, teacher: (batch, features) embeddings of one width; normalised here.
        dataset_size: M, at least 1.
        negatives: (N, features) of other samples' teacher embeddings; by default every sample
            takes the others of its batch.
        labels: (batch,) classes; samples of the same class are then no negatives of the batch.
        temperature: tau > 0; 0.07 in the paper.
        normaliser: Z > 0; 1 in the paper.

    Returns:
        A scalar in nats, above 0. Gradients flow into the teacher too unless it is detached.

    Raises:
        ValueError: for different shapes, an in-batch loss without any negative, or numbers that
            are not above 0.

    Departures: h and tau are the paper's, recalled; the authors' code (RepDistiller, read)
    divides exp by a Z fixed on the first batch, adds 1e-7 in the denominator, and draws negatives
    of other classes from a memory of all training samples. Here the loss is built from
    log-sigmoids and needs no 1e-7.

    >>> embedding = torch.eye(2)
    >>> crd(embedding, embedding, dataset_size=1, temperature=1.0)
    tensor(1.0064)
    """
    check_number(above=0, temperature=temperature, normaliser=normaliser)
    check_number(least=1, dataset_size=dataset_size)
    _check_embeddings(student=student, teacher=teacher)
    student, teacher = unit(rows(student)), unit(rows(teacher))
    if negatives is not None:
        _check_width("student", student, "negatives", negatives)
        others = product(student, unit(rows(negatives)).T)
        kept = torch.ones_like(others, dtype=torch.bool)
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
    """Both directions of :func:`crd` with linear projections and queues of past embeddings.

    Runs on any device: no sampler, no index. Negatives are the queue as far as it is filled, or,
    for a queue of 0 and in the first step, the others of the batch. The queues' memory is printed
    when the module is made. Its parameters join the optimiser.

    Args:
        student_features, teacher_features: widths of the two layers, flattened.
        dataset_size: M, how many samples the training set has.
        queue: how many past embeddings of each network are kept; 0 for none. Below M, else a
            sample can be its own negative.
        features: width of the projections; 128 in the paper.
        temperature: 0.07 in the paper.
        quiet: do not print the memory.

    Departures: the authors keep one embedding of every training sample, updated with momentum 0.5,
    and draw 16384 of them for each image. A queue needs no sample index; with shuffled epochs
    its entries are other samples but for the turn of an epoch. The normaliser Z of each direction
    is M times the mean of exp over the first batch in training, then fixed, as theirs.
    """

    def __init__(
        self,
        student_features: int,
        teacher_features: int,
        dataset_size: int,
        queue: int = 16384,
        features: int = 128,
        temperature: float = 0.07,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        check_number(above=0, temperature=temperature)
        sizes = {"student_features": student_features, "teacher_features": teacher_features}
        check_number(least=1, whole=True, dataset_size=dataset_size, features=features, **sizes)
        check_number(least=0, whole=True, queue=queue)
        if not queue < dataset_size:
            raise ValueError(f"queue must lie in [0, dataset_size); got {queue}, {dataset_size}.")
        self.project_student = nn.Linear(student_features, features)
        self.project_teacher = nn.Linear(teacher_features, features)
        self.dataset_size, self.temperature = dataset_size, temperature
        self.register_buffer("student_queue", torch.zeros(queue, features))
        self.register_buffer("teacher_queue", torch.zeros(queue, features))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))
        self.register_buffer("normalisers", torch.zeros(2))
        if not quiet:
            print(f"CRD: two queues of {queue} x {features}, {self.queue_bytes / 2**20:.1f} MiB")

    @property
    def queue_bytes(self) -> int:
        """The memory of both queues."""
        return 2 * self.student_queue.numel() * self.student_queue.element_size()

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss of a batch of features; in training the batch then enters the queues."""
        check_samples(student=student, teacher=teacher)
        with torch.autocast(student.device.type, enabled=False):
            student = unit(self.project_student(rows(student).to(self.student_queue.dtype)))
            teacher = unit(self.project_teacher(rows(teacher).to(self.student_queue.dtype)))
        filled = int(self.filled)
        past = (self.teacher_queue[:filled], self.student_queue[:filled]) if filled else (None,) * 2
        loss = 0
        pairs = ((student, teacher), (teacher, student))
        for direction, (anchor, other) in enumerate(pairs):
            loss = loss + crd(
                anchor,
                other,
                self.dataset_size,
                None if past[direction] is None else past[direction].clone(),
                labels,
                self.temperature,
                self._normaliser(direction, anchor, other),
            )
        if self.training:
            self._remember(student.detach(), teacher.detach())
        return loss

    @torch.no_grad()
    def _normaliser(self, direction: int, anchor: Tensor, other: Tensor) -> float:
        fixed = float(self.normalisers[direction])
        if fixed > 0:
            return fixed
        scores = product(anchor, other.T) / self.temperature
        value = float(scores.exp().mean()) * self.dataset_size
        if self.training:
            self.normalisers[direction] = value
        return value

    @torch.no_grad()
    def _remember(self, student: Tensor, teacher: Tensor) -> None:
        size = len(self.student_queue)
        if size == 0:
            return
        student, teacher = student[-size:], teacher[-size:]
        places = (torch.arange(len(student), device=student.device) + self.position) % size
        self.student_queue[places] = student
        self.teacher_queue[places] = teacher
        self.position.copy_((self.position + len(student)) % size)
        self.filled.copy_(torch.clamp(self.filled + len(student), max=size))


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
    if not isinstance(labels, Tensor) or labels.shape != samples.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(samples)},), one for each sample; "
            f"got {tuple(getattr(labels, 'shape', [type(labels).__name__]))}."
        )
    return labels.unsqueeze(0) != labels.unsqueeze(1)

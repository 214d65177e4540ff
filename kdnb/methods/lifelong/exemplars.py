"""Stored examples: a memory of fixed size for all classes, filled at random or by herding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.data import Images, as_batches
from kdnb.losses.checks import check_number, check_samples
from kdnb.methods.lifelong.contexts import Contexts, check_one_tensor, named_context
from kdnb.training.first import first_batch

Choose = Callable[[Tensor, int], Tensor]  # (inputs of one class, count) -> indices, best first


class Exemplars:
    """Stored inputs of every class seen so far, equally many per class, best first.

    When classes arrive, the lists of the others are cut at their end, so that the total stays
    within the memory (Rebuffi et al. 2017, algorithms 2 and 5).

    Args:
        memory: the largest total number of inputs.
    """

    def __init__(self, memory: int) -> None:
        check_number(least=1, whole=True, memory=memory)
        self.memory = memory
        self.groups: dict[tuple[int, int], Tensor] = {}

    def add(self, context: int, inputs: Tensor, labels: Tensor, choose: Choose) -> None:
        """Add the classes of a context.

        Args:
            context: its index; in the scenario "domain" several contexts have the same labels.
            inputs, labels: (N, ...) and (N,), all samples of these classes.
            choose: which inputs of one class are kept, in order.

        Raises:
            ValueError: if the memory is smaller than the number of classes.
        """
        members = labels.unique().tolist()
        count = self.memory // (len(self.groups) + len(members))
        if not count:
            raise ValueError(
                f"a memory of {self.memory} is smaller than the number of classes that it must hold."
            )
        self.groups = {key: kept[:count] for key, kept in self.groups.items()}
        for label in members:
            own = inputs[labels == label]
            self.groups[context, label] = own[choose(own, min(count, len(own)))].clone()

    def all(self) -> tuple[Tensor, Tensor]:
        """Inputs and labels of all stored examples; empty tensors at first."""
        if not self.groups:
            return torch.empty(0), torch.empty(0, dtype=torch.int64)
        labels = [torch.full((len(kept),), label) for (_, label), kept in self.groups.items()]
        return torch.cat(list(self.groups.values())), torch.cat(labels)

    def beside(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels of a new context, followed by all stored examples."""
        kept, own = self.all()
        return (
            (torch.cat([inputs, kept]), torch.cat([labels, own])) if len(own) else (inputs, labels)
        )

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))


def check_stored(contexts: Contexts, memory: int | None = None) -> None:
    """Require contexts whose inputs can be stored beside each other, and a memory for all classes.

    Raises:
        TypeError: for inputs that are not a single tensor.
        ValueError: for inputs of several shapes, or a memory below the number of classes.
    """
    if memory is not None:
        check_number(least=1, whole=True, memory=memory)
        if memory < sum(contexts.sizes):
            raise ValueError(
                f"a memory of {memory} is smaller than the number of classes that it must hold, "
                f"{sum(contexts.sizes)}."
            )
    shapes = []
    for number, examples in enumerate(contexts.train):
        with named_context(number):
            shapes.append(_shape_of(examples))
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"the inputs of context {number + 1} have the shape {shape}, those of the first "
                f"{shapes[0]}: they cannot be stored beside each other."
            )


def _shape_of(examples: Any) -> tuple[int, ...]:
    """The shape of one input."""
    if isinstance(examples, Images):
        return tuple(examples.images.shape[1:])
    batch = first_batch(as_batches(examples, 2, shuffle=False))
    check_one_tensor(batch.images)
    return tuple(batch.images.shape[1:])


def at_random(seed: int) -> Choose:
    """Any inputs, drawn without replacement."""
    generator = torch.Generator().manual_seed(seed)
    return lambda inputs, count: torch.randperm(len(inputs), generator=generator)[:count]


def herding(features: Tensor, count: int) -> Tensor:
    r"""Herding (Rebuffi 2017): an order of samples whose means stay close to the overall mean.

    .. math:: p_k = \arg\min_x \Big\lVert \mu - \frac1k \Big(\varphi(x)
        + \sum_{j < k} \varphi(p_j)\Big) \Big\rVert

    over the samples not yet taken (Rebuffi et al. 2017, algorithm 4), with features of length 1 and
    their mean mu.

    Args:
        features: (N, features) of one class; they are normalised to length 1 here.
        count: how many are taken, at most N.

    Returns:
        (count,) int64, in the order in which they are taken.

    Raises:
        ValueError: for a wrong shape, or more samples than there are.

    Departures: recalled. The authors' code takes the largest product with a running residual
    instead of the smallest distance, and may take a sample twice; van de Ven's code also normalises
    mu to length 1.
    """
    check_samples(1, features=features)
    check_number(least=0, most=len(features), whole=True, count=count)
    unit = F.normalize(features.double().flatten(1), dim=1)
    mean, total = unit.mean(0), torch.zeros(unit.shape[1], dtype=torch.float64)
    free = torch.ones(len(unit), dtype=torch.bool)
    # |mu - (x + s) / k|^2 is least where x'(s - k mu) is: the x have length 1, or 0.
    sizes, chosen = unit.square().sum(1), []
    for k in range(1, count + 1):
        cost = sizes / 2 + unit @ (total - k * mean)
        best = int(cost.masked_fill(~free, torch.inf).argmin())
        free[best] = False
        total += unit[best]
        chosen.append(best)
    return torch.tensor(chosen, dtype=torch.int64)

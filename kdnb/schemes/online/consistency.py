"""A network taught by its own past: temporal ensembling, mean teacher, the best checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import soft_targets
from kdnb.losses._checks import at_least_float32, check_logits
from kdnb.nets.mlp import constrain
from kdnb.schemes.offline import batches_for, hard_loss
from kdnb.schemes.online._common import Ramp, View
from kdnb.training import Recipe, Update, fit


def consistency_cost(logits: Tensor, probabilities: Tensor) -> Tensor:
    r"""The mean squared difference of probabilities, over the classes and the batch.

    .. math:: \frac{1}{C\,|B|} \sum_{i \in B} \lVert \mathrm{softmax}(z_i) - \tilde z_i \rVert^2

    (Laine and Aila 2017, algorithm 2; mean teacher uses the same.)

    Args:
        logits: (batch, classes).
        probabilities: (batch, classes), the target; no gradient flows into it.
    """
    check_logits(logits=logits, probabilities=probabilities)
    difference = at_least_float32(logits).softmax(1) - at_least_float32(probabilities).detach()
    return difference.square().mean()


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the images whose label is not -1, divided by the whole batch.

    >>> labelled_cross_entropy(torch.zeros(2, 4), torch.tensor([1, -1]))
    tensor(0.6931)
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum")
    return total / len(labels)


class TemporalEnsemble(nn.Module):
    """A network and what it has said of each training image, averaged over the epochs.

    Args:
        network: images -> logits.
        examples, classes: numbers of training images and of classes.
        momentum: of the average, 0.6 in the paper.
    """

    def __init__(self, network: nn.Module, examples: int, classes: int, momentum: float = 0.6):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1); got {momentum}.")
        self.network, self.momentum = network, momentum
        for name in ("average", "latest", "target"):
            self.register_buffer(name, torch.zeros(examples, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def fold(self, epoch: int) -> None:
        """Before epoch `epoch` >= 1: take the last epoch's answers in, correct the start at 0."""
        self.average.mul_(self.momentum).add_(self.latest, alpha=1 - self.momentum)
        self.target.copy_(self.average / (1 - self.momentum**epoch))


def temporal_ensembling(
    ensemble: TemporalEnsemble,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 30.0,
    ramp_up: int = 80,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Temporal ensembling (Laine and Aila 2017, algorithm 2).

    .. math:: L = \frac{1}{|B|} \sum_{i \in B \cap L} H(y_i, p_i) + w(t)\,
        \frac{1}{C|B|} \sum_{i \in B} \lVert p_i - \tilde z_i \rVert^2, \quad
        Z \leftarrow m Z + (1 - m) p, \; \tilde z = Z / (1 - m^t)

    Images whose label is -1 count in the second term alone.

    Args:
        ensemble: trained in place; its `network` is the result.
        examples: `Batches`, which know where each image lies.
        weight: of w(t), after `ramp_up` epochs. The paper's full weight is 30 times the share of
            labelled images (recalled).
        options: of `training.fit`.

    Returns:
        The history: `hard` and `consistency`.

    Raises:
        ValueError: when the examples do not tell where each image lies.

    Departures: in the first epoch, which has no target yet, the second term is 0, as w(0) is in
    the paper. One process only.
    """
    ramp = Ramp(weight, ramp_up)

    def begin(epoch: int) -> None:
        ramp.begin(epoch)
        if epoch == 0:
            ramp.now = 0.0
        else:
            ensemble.fold(epoch)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        if batch.index is None:
            raise ValueError("temporal ensembling needs `Batches`, which number their images.")
        logits = networks["network"](batch.images)
        ensemble.latest[batch.index] = logits.detach().float().softmax(1)
        return {
            "hard": labelled_cross_entropy(logits, batch.labels),
            "consistency": ramp.now * consistency_cost(logits, ensemble.target[batch.index]),
        }

    update = Update(("network",), terms, after=lambda: constrain(ensemble), begin=begin)
    batches = batches_for(examples, recipe, seed)
    return fit({"network": ensemble}, batches, update, recipe, seed=seed, **options)


class MeanTeacher(nn.Module):
    """A network and the moving average of its weights.

    Args:
        student: trained; `teacher` starts as a copy of it.
        ema_decay: m of teacher <- m · teacher + (1 - m) · student after every step; at step t,
            counted from 1, at most 1 - 1 / (t + 1), as in the authors' code (recalled).
    """

    def __init__(self, student: nn.Module, ema_decay: float = 0.999):
        super().__init__()
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1); got {ema_decay}.")
        self.student, self.ema_decay = student, ema_decay
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor, teachers_images: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits, and the teacher's without gradient."""
        with torch.no_grad():
            taught = self.teacher(teachers_images)
        return self.student(images), taught

    @torch.no_grad()
    def average(self) -> None:
        """Move the teacher's weights towards the student's."""
        self.step += 1
        decay = min(1 - 1 / (int(self.step) + 1), self.ema_decay)
        for mean, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)


def mean_teacher(
    pair: MeanTeacher,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 100.0,
    ramp_up: int = 5,
    view: View | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Mean teacher (Tarvainen and Valpola 2017, equations 1 and 2).

    .. math:: L = H(y, f(x, \theta, \eta)) + w\, \lVert f(x, \theta, \eta)
        - f(x, \theta', \eta') \rVert^2, \quad \theta' \leftarrow m \theta' + (1 - m) \theta

    Images whose label is -1 count in the second term alone.

    Args:
        pair: trained in place; `pair.teacher` is the result, `pair.student` the other.
        weight: w after `ramp_up` epochs, of a mean over the classes (the authors' code; recalled).
        view: distorts a batch of images at random, for student and teacher each by itself.
        options: of `training.fit`.

    Returns:
        The history: `hard` and `consistency`.

    Departures: as in the authors' code (recalled) the teacher runs in train mode, so that its
    dropout is the eta' of the paper and its batch normalisation keeps its own running statistics;
    only weights are averaged.
    """
    ramp = Ramp(weight, ramp_up)
    look = view or (lambda images: images)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits, taught = networks["pair"](look(batch.images), look(batch.images))
        cost = consistency_cost(logits, taught.float().softmax(1))
        return {
            "hard": labelled_cross_entropy(logits, batch.labels),
            "consistency": ramp.now * cost,
        }

    def after() -> None:
        constrain(pair.student)
        pair.average()

    update = Update(("pair",), terms, after=after, begin=ramp.begin)
    batches = batches_for(examples, recipe, seed)
    return fit({"pair": pair}, batches, update, recipe, seed=seed, **options)


class BestSoFar(nn.Module):
    """A network and its best checkpoint.

    Args:
        network: trained; `best` is a copy of it as it was when its score was highest.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.best = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("score", torch.tensor(-torch.inf, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def teaches(self, score: float) -> bool:
        """Keep the network where this score is a record; else its best self shall teach it."""
        if score < float(self.score):
            return True
        self.score.fill_(score)
        self.best.load_state_dict(self.network.state_dict())
        return False


def from_checkpoints(
    kept: BestSoFar,
    examples: Any,
    recipe: Recipe,
    *,
    score: Callable[[nn.Module], float],
    soft_weight: float = 1.0,
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Online distilling from checkpoints (Wei et al. 2019): the best self so far teaches.

    .. math:: L = H(y, p) + [s < s_{best}]\; \mathrm{soft\_weight} \cdot
        T^2\, KL(\tilde p_{best} \,\|\, \tilde p)

    While the network is the best it has been, it learns from the labels alone.

    Args:
        kept: trained in place; `kept.best` and `kept.network`.
        score: of the network in eval mode on held-out images, higher is better; asked before
            every epoch and after the last.
        options: of `training.fit`.

    Returns:
        The history: `hard` and `soft`, which is 0 in epochs without a teacher.

    Departures: recalled from the paper, which is on translation and scores checkpoints of many
    steps; here a checkpoint is an epoch.
    """
    teaching = False

    def begin(epoch: int) -> None:
        nonlocal teaching
        training = kept.training
        kept.eval()
        with torch.no_grad():
            teaching = kept.teaches(score(kept.network))
        kept.train(training)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        soft = logits.new_zeros(())
        if teaching:
            kept.best.eval()
            with torch.no_grad():
                taught = kept.best(batch.images)
            soft = soft_weight * soft_targets(logits, taught, temperature)
        return {"hard": hard_loss(logits, batch.labels), "soft": soft}

    update = Update(("network",), terms, after=lambda: constrain(kept.network), begin=begin)
    batches = batches_for(examples, recipe, seed)
    history = fit({"network": kept}, batches, update, recipe, seed=seed, **options)
    begin(recipe.epochs)
    return history

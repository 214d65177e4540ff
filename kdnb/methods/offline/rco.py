"""RCO (Jin et al. 2019), route-constrained optimisation: follow the teacher's training.

The student follows the teacher's checkpoints in turn. Distillation that stops early is `eskd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.methods.offline.distil import Loss, distil, train
from kdnb.training import Recipe
from kdnb.training.borrowed import twin_of
from kdnb.training.checkpoint import file_of

History = list[dict[str, float]]
State = dict[str, Tensor]


def record_route(
    network: nn.Module, examples: Any, recipe: Recipe, *, seed: int = 0, **options: Any
) -> tuple[History, list[State]]:
    """Train a teacher on labels and keep its weights after every epoch.

    Args:
        network, examples, recipe: as in :func:`kdnb.methods.offline.distil.train`.
        options: passed to `training.fit`, but no checkpoint: the route is kept in memory, and a
            resumed run would lack its beginning.

    Returns:
        The history, and one state_dict per epoch, on the CPU.

    Raises:
        ValueError: if a checkpoint is requested.
    """
    if options.get("checkpoint"):
        raise ValueError("a recorded route lies in memory and cannot be resumed from a checkpoint.")
    route: list[State] = []
    look = options.pop("evaluate", None)

    def evaluate(networks) -> dict[str, float]:
        with torch.inference_mode(False), torch.no_grad():
            route.append({k: v.detach().cpu().clone() for k, v in network.state_dict().items()})
        return look(networks) if look else {}

    fit = train(network, examples, recipe, seed=seed, evaluate=evaluate, **options)
    return fit.rows, route


def equal_intervals(epochs: int, anchors: int) -> list[int]:
    """Anchor points at equal distances (the "equal epoch interval" strategy of RCO).

    Args:
        epochs: of the teacher's training.
        anchors: the number of checkpoints that teach; the last is always the trained teacher.

    Returns:
        The epochs after which the teacher's checkpoints teach, from 1, ascending.

    Raises:
        ValueError: for more anchors than epochs, or none.

    >>> equal_intervals(240, 4)
    [60, 120, 180, 240]
    """
    if not 1 <= anchors <= epochs:
        raise ValueError(f"{epochs} epochs have between 1 and {epochs} anchors; got {anchors}.")
    return [round(epochs * (i + 1) / anchors) for i in range(anchors)]


def farthest_anchor(
    student_logits: Tensor, route_logits: Sequence[Tensor], current: int, hardness_ratio: float
) -> int:
    r"""The next anchor by RCO's greedy search: as far ahead as the student can still follow.

    .. math:: j^* = \max \{ j > i : H_j / H_i \le \delta \}, \quad
        H_j = \mathrm{KL}(p_{C_j} \Vert q)

    with the student q that has learnt from anchor i, on held-out images. If no later checkpoint is
    easy enough, the next one is taken, so that the route continues.

    Args:
        student_logits: (images, classes).
        route_logits: the teacher's on the same images, one tensor for every recorded epoch.
        current: i, the epoch (from 1) of the anchor that the student has just learnt.
        hardness_ratio: delta, above 1.

    Returns:
        An epoch from 1, above `current`.

    Raises:
        ValueError: if `current` is the last epoch or invalid, or the ratio is not above 1.

    Departures: the criterion is recalled. It is confirmed that the paper uses a greedy search for
    anchors as well as equal distances.
    """
    if not 1 <= current < len(route_logits):
        raise ValueError(
            f"the current anchor must lie before the last of {len(route_logits)} epochs; "
            f"got {current}."
        )
    if not hardness_ratio > 1:
        raise ValueError(f"hardness_ratio must be above 1; got {hardness_ratio}.")
    hardness = [float(losses.soft_targets(student_logits, v, 1.0)) for v in route_logits]
    reachable = range(current + 1, len(route_logits) + 1)
    easy = [j for j in reachable if hardness[j - 1] <= hardness_ratio * hardness[current - 1]]
    return max(easy, default=current + 1)


def follow_route(
    student: nn.Module,
    teacher: nn.Module,
    route: Sequence[State],
    anchors: Sequence[int],
    examples: Any,
    recipe: Recipe,
    *,
    loss: Loss,
    seed: int = 0,
    **options: Any,
) -> list[History]:
    r"""Route-constrained optimisation (Jin 2019): learn from one checkpoint after another.

    .. math:: L_i = w_h\, H(y, q) + w_s\, T^2\, \mathrm{KL}(p_{C_i} \Vert q), \quad
        C_1 \to C_2 \to \dots \to C_n

    (Jin et al. 2019). The student continues from its weights after the previous anchor.

    Args:
        student: trained in place.
        teacher: a network of the teacher's architecture; left unchanged.
        route: its weights after every epoch, from :func:`record_route`.
        anchors: epochs from 1, rising, such as :func:`equal_intervals` gives.
        recipe: for each anchor: the learning rate schedule restarts.
        loss: as in :func:`kdnb.methods.offline.distil.distil`.
        options: passed to `distil` (soft_weight, hard_weight) and `training.fit`.

    Returns:
        The history of each anchor.

    Raises:
        ValueError: if the anchors do not rise, or are outside the route.

    Departures: restarting the schedule at every anchor is recalled.
    """
    rising = list(anchors) == sorted(set(anchors))
    if not anchors or not rising or anchors[0] < 1 or anchors[-1] > len(route):
        raise ValueError(
            f"anchors must rise within epochs 1 to {len(route)} of the route; got {list(anchors)}."
        )
    histories = []
    for number, epoch in enumerate(anchors):
        guide = twin_of(teacher)
        guide.load_state_dict(route[epoch - 1])
        own = own_checkpoint(options, number)
        own |= {"weight": own.pop("soft_weight", 1.0), "label_weight": own.pop("hard_weight", 0.0)}
        taught = distil(student, guide, examples, recipe, method=loss, seed=seed, **own)
        histories.append(taught.rows)
    return histories


def own_checkpoint(options: dict[str, Any], number: int) -> dict[str, Any]:
    """The options of one of several successive runs, each with its own checkpoint file."""
    path = file_of(options.get("checkpoint"), number)
    return {**options, "checkpoint": path} if path else options

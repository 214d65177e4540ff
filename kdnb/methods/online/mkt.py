"""CTSL-MKT (Sun et al. 2021): online and self-distillation combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, mutual_loss, rkd_angle, rkd_distance, soft_targets
from kdnb.methods.online.common import check_networks
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.borrowed import twin_of
from kdnb.training.inputs import batches_for


class Remembering(nn.Module):
    """A network and a copy of it from the end of the last epoch.

    Args:
        network: images -> logits; `earlier` starts as a copy of it.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.earlier = twin_of(network).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def remember(self) -> None:
        """Set `earlier` to the current network."""
        self.earlier.load_state_dict(self.network.state_dict())

    def recall(self, images: Tensor) -> Tensor:
        """The answer of the earlier copy, in eval mode, without gradients."""
        self.earlier.eval()
        with torch.no_grad():
            return self.earlier(images)


def multiple_knowledge(
    students: Mapping[str, Remembering],
    examples: Any,
    recipe: Recipe,
    *,
    self_weight: float = 1.0,
    peer_weight: float = 1.0,
    distance_weight: float = 1.0,
    angle_weight: float = 2.0,
    temperature: float = 3.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train students that learn from themselves and from each other (Sun et al. 2021).

    .. math:: L_k = H(y, p_k) + w_s T^2 KL(\tilde p_k^{earlier} \| \tilde p_k)
        + w_p T^2 KL(\tilde p_l \| \tilde p_k) + w_d L_{RD}(z_k, z_l) + w_a L_{RA}(z_k, z_l)

    Response knowledge from the student's own last epoch and from its peers; relation knowledge,
    the distances and angles between the images of a batch, from its peers (RKD).

    Args:
        students: two or more by name; trained in place.
        self_weight, peer_weight, distance_weight, angle_weight: weights of the four terms.
        temperature: T.
        options: passed to `training.fit`.

    Returns:
        The history: `<name>.hard`, `.self`, `.peers` and `.relations`.

    Raises:
        ValueError: for one student.

    Departures: the composition (self and online, responses and relations) is confirmed by the
    abstract; the form of the self term, the weights and the temperature are recalled or ours. The
    relations are those of the logits, in RKD's released form: means over pairs and triples, not
    sums, so that a weight does not depend on the size of the batch; their weights are in the ratio
    1 to 2 there. In the first epoch there is no earlier copy, and its term is 0.
    """
    check_networks(students)
    first = True

    def begin(epoch: int) -> None:
        nonlocal first
        first = epoch == 0
        for student in students.values():
            student.remember()

    def terms(running, batch: Batch) -> dict[str, Tensor]:
        logits = {name: running[name](batch.images) for name in students}
        parts = {}
        for name, z in logits.items():
            peers = [other.detach() for key, other in logits.items() if key != name]
            own = z.new_zeros(())
            if not first:
                own = soft_targets(z, students[name].recall(batch.images), temperature)
            relations = sum(
                distance_weight * rkd_distance(z, peer, "authors")
                + angle_weight * rkd_angle(z, peer, "authors")
                for peer in peers
            )
            parts[f"{name}.hard"] = hard_loss(z, batch.labels)
            parts[f"{name}.self"] = self_weight * own
            parts[f"{name}.peers"] = peer_weight * mutual_loss(z, peers, "peers", temperature)
            parts[f"{name}.relations"] = relations / len(peers)
        return parts

    def after() -> None:
        for student in students.values():
            constrain(student.network)

    update = Update(tuple(students), terms, after=after, begin=begin)
    batches = batches_for(examples, recipe, seed)
    return fit(students, batches, update, recipe, seed=seed, **options)

"""ACNs (Zhang 2021): co-distillation on generated examples on which the classifiers disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, mutual_loss
from kdnb.methods.online.afd import map_fooling_loss, map_judging_loss
from kdnb.methods.online.common import check_networks, constrain_all, running_statistics_kept
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


class DivergentExamples(nn.Module):
    """ACNs' generator: change an image slightly so that the classifiers disagree.

    It computes `x + reach · tanh(g(x, noise))`, a weak residual connection, so the search stays
    near the image.

    Args:
        channels: number of channels of the images.
        hidden: its own width.
        reach: the largest change of a normalised pixel.
    """

    def __init__(self, channels: int, hidden: int = 16, reach: float = 0.3):
        super().__init__()
        if not reach > 0:
            raise ValueError(f"reach must be above 0; got {reach}.")
        self.reach = reach
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images of the same shape, with each pixel changed by at most `reach`."""
        noise = torch.randn_like(images[:, :1])
        moved = self.layers(torch.cat([images, noise], 1)).tanh()
        return images + self.reach * moved


def adversarial_codistillation(
    networks: Mapping[str, nn.Module],
    generator: nn.Module,
    critic: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    generator_recipe: Recipe,
    weight: float = 1.0,
    divergence_weight: float = 1.0,
    realism_weight: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Adversarial co-distillation, ACNs (Zhang et al. 2021): learn from divergent examples.

    There are three updates per batch. The generator searches for images on which the classifiers
    disagree and which the critic takes for real,
    :math:`\max_G \sum_k D(p_k, \mathrm{peers}) - [1 - C(G(x))]^2`; the critic separates them from
    real ones; the classifiers minimise cross-entropy and mutual divergence on real and generated
    images.

    Args:
        networks: the classifiers by name, two at least; trained in place.
        generator: images -> images, such as `DivergentExamples`.
        critic: images -> (batch,) in (0, 1), such as `Discriminator`.
        generator_recipe: for the first two updates.
        weight: weight of the classifiers' mutual divergence.
        divergence_weight, realism_weight: weights of the generator's two aims.
        options: passed to `training.fit`.

    Returns:
        The history: `divergence` (as the generator minimises it, at most 0), `realism`, `critic`,
        and `<name>.hard` and `<name>.soft`.

    Departures: from the abstract (divergent examples by a GAN, weak residual connection, restricted
    search, iterated phases) and the paper's min-max as recalled; layers and weights are ours.
    """
    check_networks(networks)
    names = list(networks)
    batches = batches_for(examples, recipe, seed)

    def diverging(running, batch: Batch) -> dict[str, Tensor]:
        made = running["generator"](batch.images)
        logits = []
        for name in names:
            with running_statistics_kept(running[name]):
                logits.append(running[name](made))
        apart = sum(_apart(logits, place) for place in range(len(names)))
        return {
            "divergence": -divergence_weight * apart,
            "realism": realism_weight * map_fooling_loss(running["critic"](made)),
        }

    def judging(running, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            made = running["generator"](batch.images)
        critic = running["critic"]
        return {"critic": map_judging_loss(critic(batch.images), critic(made))}

    def learning(running, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            made = running["generator"](batch.images)
        images, labels = torch.cat([batch.images, made]), batch.labels.repeat(2)
        logits = {name: running[name](images) for name in names}
        parts = {}
        for name, z in logits.items():
            peers = [other for key, other in logits.items() if key != name]
            parts[f"{name}.hard"] = hard_loss(z, labels)
            parts[f"{name}.soft"] = weight * mutual_loss(z, peers)
        return parts

    updates = [
        Update(("generator",), diverging, recipe=generator_recipe),
        Update(("critic",), judging, recipe=generator_recipe),
        Update(tuple(names), learning, after=lambda: constrain_all(networks)),
    ]
    inner = {**networks, "generator": generator, "critic": critic}
    return fit(inner, batches, updates, recipe, seed=seed, **options)


def _apart(logits: list[Tensor], place: int) -> Tensor:
    """KL of one network's answers from its peers', with gradients into all of them."""
    log_q = logits[place].float().log_softmax(1)
    others = [z.float().log_softmax(1) for i, z in enumerate(logits) if i != place]
    return sum((p.exp() * (p - log_q)).sum(1).mean() for p in others) / len(others)

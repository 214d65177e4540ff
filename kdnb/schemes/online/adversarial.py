"""Online distillation with an adversary: AFD (Chung 2020) and ACNs (Zhang 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.nets import features
from kdnb.nets.mlp import constrain
from kdnb.schemes.offline import batches_for, hard_loss
from kdnb.schemes.online._common import check_networks, running_statistics_kept
from kdnb.schemes.online.mutual_learning import mutual_loss
from kdnb.training import Recipe, Update, fit


class Transfer(nn.Module):
    """AFD's transfer layer: a network's maps brought to the channels of the one it imitates.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.bn(self.conv(maps)), 0.1)


class Discriminator(nn.Module):
    """A small convolutional critic: maps (batch, channels, height, width) -> (batch,) in (0, 1).

    Args:
        channels: of the maps.
        hidden: its own width.
    """

    def __init__(self, channels: int, hidden: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        self.head = nn.Linear(hidden, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(self.layers(maps).mean((2, 3))).squeeze(1).sigmoid()


def fooling_loss(judged_own: Tensor) -> Tensor:
    r"""The network's side, :math:`[1 - D_k(T_k(G_k(x)))]^2`, averaged over the batch.

    >>> fooling_loss(torch.tensor([0.5]))
    tensor(0.2500)
    """
    return (1 - judged_own.float()).square().mean()


def judging_loss(judged_other: Tensor, judged_own: Tensor) -> Tensor:
    r"""The critic's side: :math:`[1 - D_k(G_l(x))]^2 + [D_k(T_k(G_k(x)))]^2`.

    The network's own maps are the fakes, the imitated network's the real ones.
    """
    return (1 - judged_other.float()).square().mean() + judged_own.float().square().mean()


def adversarial_maps(
    networks: Mapping[str, nn.Module],
    transfers: Mapping[str, nn.Module],
    critics: Mapping[str, nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    maps: str,
    adversarial_recipe: Recipe,
    weight: float = 1.0,
    temperature: float = 3.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Online adversarial distillation of feature maps, AFD (Chung et al. 2020, section 3).

    Three updates on every batch: the networks on :math:`H(y, p_k) + w\, T^2` times the mean
    divergence from their peers' answers; the networks and transfer layers on
    :func:`fooling_loss`; the critics on :func:`judging_loss`. Network k imitates the next one, the
    last the first: a pair imitate each other, more networks form the paper's cycle.

    Args:
        networks: by name, in the order of the cycle; trained in place.
        transfers: by the same names, `Transfer` layers to the next network's channels.
        critics: by the same names, `Discriminator`s of the next network's channels.
        maps: module path of the maps, in every network.
        adversarial_recipe: of the second and third update; the paper uses another optimiser and
            a smaller rate for them.
        weight, temperature: of the answers; T = 3 (recalled).
        options: of `training.fit`.

    Returns:
        The history: `<name>.hard`, `.soft`, `.fooling` and `.judging`.

    Raises:
        ValueError: for one network, or for names that do not agree.

    Departures: the abstract and equations of the losses are confirmed; who imitates whom in the
    cycle, the layers of transfer and critic, and the optimisers are recalled or ours. What is
    real for critic k is the next network's maps as they are: no transfer is laid over them.
    """
    check_networks(networks)
    if list(transfers) != list(networks) or list(critics) != list(networks):
        raise ValueError(
            f"each network needs a transfer and a critic of its name; got {list(networks)}, "
            f"{list(transfers)} and {list(critics)}."
        )
    names = list(networks)
    follows = {name: names[(i + 1) % len(names)] for i, name in enumerate(names)}
    inner = {
        **networks,
        **{f"{name}.transfer": part for name, part in transfers.items()},
        **{f"{name}.critic": part for name, part in critics.items()},
    }
    made: dict[str, Tensor] = {}  # maps of this batch after the first update
    batches = batches_for(examples, recipe, seed)
    with ExitStack() as stack:
        taken = {name: stack.enter_context(features(net, [maps])) for name, net in networks.items()}

        def answers(running, batch: Batch) -> dict[str, Tensor]:
            logits = {name: running[name](batch.images) for name in names}
            parts = {}
            for name, z in logits.items():
                peers = [other for key, other in logits.items() if key != name]
                parts[f"{name}.hard"] = hard_loss(z, batch.labels)
                parts[f"{name}.soft"] = weight * mutual_loss(z, peers, "peers", temperature)
            return parts

        def fooling(running, batch: Batch) -> dict[str, Tensor]:
            for name in names:
                with running_statistics_kept(running[name]):
                    running[name](batch.images)
                made[name] = taken[name][maps].float()
            own = {name: running[f"{name}.transfer"](made[name]) for name in names}
            parts = {
                f"{name}.fooling": fooling_loss(running[f"{name}.critic"](own[name]))
                for name in names
            }
            made.update({f"{name}.own": value.detach() for name, value in own.items()})
            return parts

        def judging(running, batch: Batch) -> dict[str, Tensor]:
            parts = {}
            for name in names:
                critic = running[f"{name}.critic"]
                real = critic(made[follows[name]].detach())
                parts[f"{name}.judging"] = judging_loss(real, critic(made[f"{name}.own"]))
            made.clear()
            return parts

        def after() -> None:
            for network in networks.values():
                constrain(network)

        movers = (*names, *(f"{name}.transfer" for name in names))
        judges = tuple(f"{name}.critic" for name in names)
        updates = [
            Update(tuple(names), answers, after=after),
            Update(movers, fooling, recipe=adversarial_recipe, after=after),
            Update(judges, judging, recipe=adversarial_recipe),
        ]
        return fit(inner, batches, updates, recipe, seed=seed, **options)


class DivergentExamples(nn.Module):
    """ACNs' generator: an image moved a little, to where the classifiers disagree.

    `x + reach · tanh(g(x, noise))`: a weak residual connection, so the search stays near the image.

    Args:
        channels: of the images.
        hidden: its own width.
        reach: the farthest a normalised pixel is moved.
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
        """Images of the same shape, each pixel within `reach` of what it was."""
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

    Three updates on every batch. The generator seeks images on which the classifiers disagree and
    which the critic takes for real, :math:`\max_G \sum_k D(p_k, \mathrm{peers}) -
    [1 - C(G(x))]^2`; the critic tells them from real ones; the classifiers minimise
    cross-entropy and mutual divergence on real and generated images.

    Args:
        networks: the classifiers by name, two at least; trained in place.
        generator: images -> images, such as `DivergentExamples`.
        critic: images -> (batch,) in (0, 1), such as `Discriminator`.
        generator_recipe: of the first two updates.
        weight: of the classifiers' mutual divergence.
        divergence_weight, realism_weight: of the generator's two aims.
        options: of `training.fit`.

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
            "realism": realism_weight * fooling_loss(running["critic"](made)),
        }

    def judging(running, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            made = running["generator"](batch.images)
        critic = running["critic"]
        return {"critic": judging_loss(critic(batch.images), critic(made))}

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

    def after() -> None:
        for network in networks.values():
            constrain(network)

    updates = [
        Update(("generator",), diverging, recipe=generator_recipe),
        Update(("critic",), judging, recipe=generator_recipe),
        Update(tuple(names), learning, after=after),
    ]
    inner = {**networks, "generator": generator, "critic": critic}
    return fit(inner, batches, updates, recipe, seed=seed, **options)


def _apart(logits: list[Tensor], place: int) -> Tensor:
    """KL of one network's answers from its peers', with gradients into all of them."""
    log_q = logits[place].float().log_softmax(1)
    others = [z.float().log_softmax(1) for i, z in enumerate(logits) if i != place]
    return sum((p.exp() * (p - log_q)).sum(1).mean() for p in others) / len(others)

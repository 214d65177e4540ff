"""AFD (Chung 2020): networks imitate each other's feature maps, judged by critics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, mutual_loss
from kdnb.methods.online.common import check_networks, constrain_all, running_statistics_kept
from kdnb.nets import features
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


class Transfer(nn.Module):
    """AFD's transfer layer: map a network's channels to those of the network it imitates.

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
        channels: number of channels of the maps.
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


def map_fooling_loss(judged_own: Tensor) -> Tensor:
    r"""The network's side, :math:`[1 - D_k(T_k(G_k(x)))]^2`, averaged over the batch.

    >>> import torch
    >>> map_fooling_loss(torch.tensor([0.5]))
    tensor(0.2500)
    """
    return (1 - judged_own.float()).square().mean()


def map_judging_loss(judged_other: Tensor, judged_own: Tensor) -> Tensor:
    r"""The critic's side: :math:`[1 - D_k(G_l(x))]^2 + [D_k(T_k(G_k(x)))]^2`.

    The network's own maps are the fakes; the imitated network's maps are the real ones.
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

    There are three updates per batch: the networks on :math:`H(y, p_k) + w\, T^2` times the mean
    divergence from their peers' answers; the networks and transfer layers on
    :func:`map_fooling_loss`; the critics on :func:`map_judging_loss`. Network k imitates the next
    one and the last imitates the first: two networks imitate each other, more networks form the
    paper's cycle.

    Args:
        networks: by name, in the order of the cycle; trained in place.
        transfers: by the same names, `Transfer` layers to the next network's channels.
        critics: by the same names, `Discriminator`s of the next network's channels.
        maps: module path of the maps, in every network.
        adversarial_recipe: for the second and third update; the paper uses another optimiser and a
            smaller rate for them.
        weight, temperature: for the answers; T = 3 (recalled).
        options: passed to `training.fit`.

    Returns:
        The history: `<name>.hard`, `.soft`, `.fooling` and `.judging`.

    Raises:
        ValueError: for a single network, or mismatched names.

    Departures: the abstract and the equations of the losses are confirmed. The order of the cycle,
    the layers of transfer and critic, and the optimisers are recalled or ours. The real samples of
    critic k are the next network's maps, without a transfer layer.
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
                f"{name}.fooling": map_fooling_loss(running[f"{name}.critic"](own[name]))
                for name in names
            }
            made.update({f"{name}.own": value.detach() for name, value in own.items()})
            return parts

        def judging(running, batch: Batch) -> dict[str, Tensor]:
            parts = {}
            for name in names:
                critic = running[f"{name}.critic"]
                real = critic(made[follows[name]].detach())
                parts[f"{name}.judging"] = map_judging_loss(real, critic(made[f"{name}.own"]))
            made.clear()
            return parts

        def after() -> None:
            constrain_all(networks)

        movers = (*names, *(f"{name}.transfer" for name in names))
        judges = tuple(f"{name}.critic" for name in names)
        updates = [
            Update(tuple(names), answers, after=after),
            Update(movers, fooling, recipe=adversarial_recipe, after=after),
            Update(judges, judging, recipe=adversarial_recipe),
        ]
        return fit(inner, batches, updates, recipe, seed=seed, **options)

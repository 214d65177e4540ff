"""FedDF (Lin et al. 2020): a server distils its clients' networks into one on unlabelled images.

In a round of federated learning, some clients train the server's network on their own data and send
the weights back. FedAvg takes the mean of the weights. If the clients have different classes, this
mean is poor; FedDF starts from it and then learns from the mean of the clients' logits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import soft_targets
from kdnb.losses.checks import check_lists, check_number
from kdnb.training.borrowed import modes_kept, twin_of
from kdnb.training.metrics import outputs_for

Data = tuple[Tensor, Tensor]
DRAWS = 1000  # draws of the clients' shares before giving up


def split_clients(
    labels: Tensor, clients: int, concentration: float, seed: int = 0, *, least: int = 2
) -> list[Tensor]:
    """Split samples among clients: indices of the samples of each client.

    The samples of a class are split by shares drawn from a Dirichlet distribution; samples left
    over from rounding are dropped.

    Args:
        labels: (N,) integers.
        clients: how many.
        concentration: alpha: 100 gives every client nearly the same classes, 0.1 few classes to
            each.
        least: the least number of samples per client; shares are drawn again until every client has
            them.

    Raises:
        ValueError: for too few samples, or if no draw gives every client enough of them.
    """
    check_number(least=2, whole=True, clients=clients)
    if least < 2:  # check_number has a keyword of the same name
        raise ValueError(f"least must be at least 2; got {least}.")
    check_number(above=0, concentration=concentration)
    if len(labels) < 2 * least * clients:
        raise ValueError(f"{len(labels)} samples are too few for {clients} clients.")
    stream = torch.Generator().manual_seed(seed)
    for _ in range(DRAWS):
        parts: list[list[Tensor]] = [[] for _ in range(clients)]
        for one in labels.unique():
            own = (labels == one).nonzero()[:, 0]
            own = own[torch.randperm(len(own), generator=stream)]
            gamma = torch._standard_gamma(torch.full((clients,), float(concentration)), stream)
            counts = (gamma / gamma.sum().clamp_min(1e-30) * len(own)).long()
            for part, found in zip(parts, own[: counts.sum()].split(counts.tolist()), strict=True):
                part.append(found)
        found = [torch.cat(part) for part in parts]
        if min(map(len, found)) >= least:
            return found
    raise ValueError(
        f"of {DRAWS} drawings none gave each of {clients} clients {least} samples or more: take fewer "
        f"clients, or a larger concentration than {concentration}."
    )


def local_training(
    network: nn.Module, data: Data, *, epochs: int, rate: float, batch_size: int = 64, seed: int = 0
) -> nn.Module:
    """A copy of a network, trained by a client on its own data with plain SGD."""
    client = twin_of(network).train()
    optimiser = torch.optim.SGD(client.parameters(), lr=rate)
    stream = torch.Generator().manual_seed(seed)
    inputs, labels = data
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs), generator=stream).split(batch_size):
            if len(batch) < 2:
                continue
            optimiser.zero_grad()
            F.cross_entropy(client(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    return client


def averaged(clients: Sequence[nn.Module], weights: Sequence[float]) -> nn.Module:
    """FedAvg: a network whose weights are the mean of the clients', all of one architecture.

    Args:
        weights: such as the numbers of samples; they are divided by their sum.
    """
    check_lists(clients=list(clients), weights=list(weights))
    total = float(sum(weights))
    states = [client.state_dict() for client in clients]
    made = copy.deepcopy(clients[0])
    made.load_state_dict({
        name: sum(w / total * state[name] for w, state in zip(weights, states, strict=True)).to(first.dtype)
        for name, first in states[0].items()
    })  # fmt: skip
    return made


def mean_logits(clients: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The mean of the clients' logits, in eval mode and without gradients."""
    return torch.stack([outputs_for(client, inputs, len(inputs)) for client in clients]).mean(0)


def fuse(
    server: nn.Module,
    clients: Sequence[nn.Module],
    unlabelled: Tensor,
    *,
    steps: int,
    rate: float = 1e-3,
    batch_size: int = 128,
    seed: int = 0,
) -> nn.Module:
    """FedDF's fusion: train the server, in place, on the mean of its clients' logits.

    It uses Adam with a cosine schedule, and T = 1.

    Args:
        server: usually the `averaged` clients.
        clients: of any architectures; with several architectures, one server of each learns from
            all clients.
        unlabelled: (N, ...) inputs of any origin, without labels.
        steps: how many batches.
    """
    check_number(least=1, whole=True, steps=steps, batch_size=batch_size)
    goals = torch.cat([mean_logits(clients, part) for part in unlabelled.split(1000)])
    optimiser = torch.optim.Adam(server.parameters(), lr=rate)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    stream = torch.Generator().manual_seed(seed)
    with modes_kept(server):
        server.train()
        for _ in range(steps):
            batch = torch.randint(len(unlabelled), (batch_size,), generator=stream)
            optimiser.zero_grad()
            soft_targets(server(unlabelled[batch]), goals[batch], 1.0).backward()
            optimiser.step()
            plan.step()
    return server


def federate(
    server: nn.Module,
    data: Sequence[Data],
    unlabelled: Tensor | None,
    *,
    rounds: int,
    taking_part: int,
    local_epochs: int,
    local_rate: float,
    steps: int = 100,
    after_round: Callable[[nn.Module], object] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Run rounds of federated learning: FedDF, or FedAvg if `unlabelled` is None.

    Args:
        server: the initial network; left unchanged.
        data: (inputs, labels) of each client.
        unlabelled: the inputs on which the server distils.
        rounds: how many.
        taking_part: the number of clients drawn for a round.
        local_epochs, local_rate: as in `local_training`.
        steps: as in `fuse`.
        after_round: called with the server after every round.

    Returns:
        The server after the last round.
    """
    check_number(least=1, whole=True, rounds=rounds, local_epochs=local_epochs)
    check_number(least=1, most=len(data), whole=True, taking_part=taking_part)
    stream = torch.Generator().manual_seed(seed)
    for turn in range(rounds):
        drawn = torch.randperm(len(data), generator=stream)[:taking_part].tolist()
        clients = [
            local_training(server, data[n], epochs=local_epochs, rate=local_rate, seed=seed + 1000 * turn + n)
            for n in drawn
        ]  # fmt: skip
        server = averaged(clients, [len(data[n][1]) for n in drawn])
        if unlabelled is not None:
            fuse(server, clients, unlabelled, steps=steps, seed=seed + 1000 * turn)
        if after_round:
            after_round(server)
    return server

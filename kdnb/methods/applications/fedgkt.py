"""FedGKT (He et al. 2020): small edge networks and a large server network teach each other.

A client keeps its images. It sends the features from its small extractor, with labels and logits.
The server trains a large network on the features of all clients, and sends its logits back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import soft_targets
from kdnb.losses.checks import check_number
from kdnb.training.borrowed import modes_kept
from kdnb.training.metrics import outputs_for


@dataclass(eq=False)
class EdgeClient:
    """A client: two small networks, its data, and the server's latest logits for them.

    Attributes:
        extractor: inputs -> features.
        classifier: features -> logits.
        inputs, labels: its own data; only features, labels and logits leave it.
        server_logits: (N, classes), in the order of the inputs; None before the first exchange.
    """

    extractor: nn.Module
    classifier: nn.Module
    inputs: Tensor
    labels: Tensor
    server_logits: Tensor | None = None

    def logits(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.extractor(inputs))

    def uploaded(self) -> tuple[Tensor, Tensor]:
        """Features and logits of all inputs, in their order, in eval mode and without gradients."""
        features = outputs_for(self.extractor, self.inputs)
        return features, outputs_for(self.classifier, features, len(features))


def two_way_loss(
    logits: Tensor, labels: Tensor, other: Tensor | None, weight: float, temperature: float
) -> Tensor:
    """Cross-entropy plus, if the other side has answered, weight times T² KL to its answer."""
    loss = F.cross_entropy(logits, labels)
    if other is None:
        return loss
    return loss + weight * soft_targets(logits, other.detach(), temperature)


def group_knowledge_transfer(
    clients: Sequence[EdgeClient],
    server: nn.Module,
    *,
    rounds: int,
    client_epochs: int = 1,
    server_epochs: int = 1,
    weight: float = 1.0,
    temperature: float = 3.0,
    rate: float = 1e-3,
    batch_size: int = 64,
    after_round: Callable[[], object] | None = None,
    seed: int = 0,
) -> None:
    """Alternate between training clients and server, in place, and exchange logits both ways.

    Logits are stored per sample, so that a shuffled batch gets the answers to its own images.

    Args:
        clients: of one feature shape.
        server: features -> logits.
        rounds: the number of rounds, each with both trainings.
        weight: weight of the other side's answers; 0 turns off the exchange of logits, but not of
            features.
        temperature: temperature of both divergences.
        rate: learning rate of Adam.
        after_round: called without arguments.
    """
    check_number(least=1, whole=True, rounds=rounds, client_epochs=client_epochs, server_epochs=server_epochs)  # fmt: skip
    check_number(least=0, weight=weight)
    check_number(above=0, temperature=temperature, rate=rate)
    stream = torch.Generator().manual_seed(seed)
    optimisers = [
        torch.optim.Adam([*one.extractor.parameters(), *one.classifier.parameters()], lr=rate)
        for one in clients
    ]
    at_server = torch.optim.Adam(server.parameters(), lr=rate)
    parts = [part for one in clients for part in (one.extractor, one.classifier)]
    with modes_kept(*parts, server):
        for _ in range(rounds):
            sent = []
            for client, optimiser in zip(clients, optimisers, strict=True):
                client.extractor.train(), client.classifier.train()
                for batch in _batches(len(client.labels), client_epochs, batch_size, stream):
                    other = None if client.server_logits is None else client.server_logits[batch]
                    logits = client.logits(client.inputs[batch])
                    _step(optimiser, two_way_loss(logits, client.labels[batch], other, weight, temperature))  # fmt: skip
                sent.append(client.uploaded())
            features, answers = (torch.cat(parts) for parts in zip(*sent, strict=True))
            labels = torch.cat([client.labels for client in clients])
            server.train()
            for batch in _batches(len(labels), server_epochs, batch_size, stream):
                logits = server(features[batch])
                _step(at_server, two_way_loss(logits, labels[batch], answers[batch], weight, temperature))  # fmt: skip
            for client, (own, _) in zip(clients, sent, strict=True):
                client.server_logits = outputs_for(server, own)
            if after_round:
                after_round()


def edge_and_server(client: EdgeClient, server: nn.Module) -> nn.Module:
    """The network used in the end: the client's extractor followed by the server's network."""
    return nn.Sequential(client.extractor, server)


def _batches(count: int, epochs: int, size: int, stream: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from (b for b in torch.randperm(count, generator=stream).split(size) if len(b) > 1)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

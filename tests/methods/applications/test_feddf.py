"""Federated fusion: how samples are dealt out, what is averaged, and what the server learns."""

import pytest
import torch
from torch import nn

from kdnb.methods.applications.feddf import (
    averaged,
    federate,
    fuse,
    local_training,
    mean_logits,
    split_clients,
)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 4)


def data(count=80, seed=0):
    stream = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    return torch.randn(count, 3, generator=stream) + 4 * torch.eye(4)[labels, :3], labels


def test_samples_are_dealt_out_once_and_unevenly():
    labels = torch.arange(2000) % 10
    spread = {}
    for concentration in (0.1, 100.0):
        parts = split_clients(labels, 5, concentration, seed=1)
        everything = torch.cat(parts)
        assert len(everything.unique()) == len(everything) > 1900
        shares = torch.stack([labels[part].bincount(minlength=10) / len(part) for part in parts])
        spread[concentration] = shares.std(0).mean().item()
    assert spread[0.1] > 5 * spread[100.0]
    with pytest.raises(ValueError, match="too few for 5 clients"):
        split_clients(labels[:10], 5, 1.0)


def test_an_average_is_weighted_by_samples():
    one, two = linear(0), linear(1)
    made = averaged([one, two], [3, 1])
    torch.testing.assert_close(made.weight, (3 * one.weight + two.weight) / 4)
    deep = nn.BatchNorm1d(2)
    assert averaged([deep, deep], [1, 1]).num_batches_tracked.dtype == torch.int64
    with pytest.raises(ValueError, match="lists of one length"):
        averaged([one, two], [1])


def test_for_linear_networks_the_average_is_the_mean_of_the_logits():
    clients, inputs = [linear(0), linear(1)], data()[0]
    torch.testing.assert_close(averaged(clients, [1, 1])(inputs), mean_logits(clients, inputs))


def test_a_server_learns_the_mean_of_its_clients():
    inputs = data(200)[0]
    clients, server = [linear(0), linear(1)], linear(5)
    goal = mean_logits(clients, inputs).softmax(1)
    before = (server(inputs).softmax(1) - goal).abs().mean().item()
    fuse(server, clients, inputs, steps=300, rate=0.05)
    assert (server(inputs).softmax(1) - goal).abs().mean().item() < 0.1 * before


def test_clients_train_copies():
    server = linear(0)
    before = server.weight.clone()
    client = local_training(server, data(), epochs=3, rate=0.1)
    assert server.weight.equal(before) and not client.weight.equal(before)
    alike = local_training(server, data(), epochs=3, rate=0.1)
    assert client.weight.equal(alike.weight)


def test_rounds_learn_and_fedavg_takes_no_unlabelled_inputs():
    parts = [tuple(one[n::3] for one in data(240)) for n in range(3)]
    test, truth = data(400, seed=9)
    plan = {"rounds": 4, "taking_part": 2, "local_epochs": 3, "local_rate": 0.1, "seed": 1}
    seen = []
    plain = federate(linear(0), parts, None, **plan, after_round=seen.append)
    fused = federate(linear(0), parts, data(200, seed=3)[0], steps=50, **plan)
    for made in (plain, fused):
        assert (made(test).argmax(1) == truth).double().mean() > 0.8
    assert len(seen) == 4 and not plain.weight.equal(fused.weight)


def test_asked_clients_and_a_fused_server_keep_every_mode():
    inputs, _ = data()
    client, server = (nn.Sequential(nn.BatchNorm1d(3), linear(n)).train() for n in range(2))
    for network in (client, server):
        network[0].eval()  # frozen statistics
    fuse(server, [client], inputs, steps=1, batch_size=4)
    for network in (client, server):
        assert [part.training for part in network.modules()] == [True, False, True]


def test_clients_that_cannot_all_have_samples():
    with pytest.raises(
        ValueError, match="take fewer clients, or a larger concentration than 0.001"
    ):
        split_clients(torch.zeros(80, dtype=torch.int64), 10, 0.001)

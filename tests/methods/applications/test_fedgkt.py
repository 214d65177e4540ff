"""FedGKT: what each side learns, that answers meet their own images, and that edges get better."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb.losses import soft_targets
from kdnb.methods.applications.fedgkt import (
    EdgeClient,
    edge_and_server,
    group_knowledge_transfer,
    two_way_loss,
)


def rings(count, seed):
    """Inside or outside of a circle: more than a linear classifier of few features can tell."""
    stream = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 2, generator=stream)
    return points, (points.square().sum(1) > 1.4).long()


def client(seed, data):
    torch.manual_seed(seed)
    return EdgeClient(nn.Sequential(nn.Linear(2, 6), nn.ReLU()), nn.Linear(6, 2), *data)


def server():
    torch.manual_seed(9)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))


def test_the_loss_of_both_sides():
    z, v, y = torch.randn(5, 3), torch.randn(5, 3), torch.arange(5) % 3
    expected = F.cross_entropy(z, y) + 0.5 * soft_targets(z, v, 2.0)
    torch.testing.assert_close(two_way_loss(z, y, v, 0.5, 2.0), expected)
    torch.testing.assert_close(two_way_loss(z, y, None, 0.5, 2.0), F.cross_entropy(z, y))
    v.requires_grad_()
    assert not two_way_loss(z, y, v, 0.5, 2.0).requires_grad


def test_answers_are_those_to_the_same_images():
    clients, net = [client(n, rings(60, n)) for n in range(2)], server()
    group_knowledge_transfer(clients, net, rounds=2, seed=1)
    for one in clients:
        with torch.no_grad():
            expected = edge_and_server(one, net.eval())(one.inputs)
        torch.testing.assert_close(one.server_logits, expected)


def test_knowledge_travels_and_the_data_do_not():
    clients, net, calls = [client(n, rings(200, n)) for n in range(3)], server(), []
    test, truth = rings(500, 77)
    group_knowledge_transfer(clients, net, rounds=20, rate=0.02, after_round=lambda: calls.append(1))  # fmt: skip
    with torch.no_grad():
        right = (edge_and_server(clients[0], net)(test).argmax(1) == truth).double().mean()
    assert right > 0.9 and len(calls) == 20


def test_without_weight_no_logits_are_learnt():
    made = []
    for spoilt in (False, True):
        one, net = client(0, rings(60, 0)), server()
        one.server_logits = torch.full((60, 2), 5.0) if spoilt else None
        group_knowledge_transfer([one], net, rounds=1, weight=0.0)
        made.append(one.classifier.weight)
    torch.testing.assert_close(*made)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        group_knowledge_transfer([one], net, rounds=1, temperature=0.0)


def test_modes_are_as_before():
    one, net = client(0, rings(60, 0)), server()
    one.extractor.eval(), net.train()
    group_knowledge_transfer([one], net, rounds=1)
    assert not one.extractor.training and one.classifier.training and net.training

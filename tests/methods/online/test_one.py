"""ONE: the gate and the branches that it teaches."""

import draws
import torch
from branched_networks import QUICK, STEP, branched, large, resnets, tiny
from small_networks import batches
from torch.nn import functional as F

from kdnb.methods import online
from kdnb.training import predict


def one_step(weight):
    branches, gate = tiny(), online.Gate(6, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(draws.draw(3, 6, seed=5))
        gate.linear.bias.zero_()
    online.one(branches, gate, batches(count=8), STEP, weight=weight)
    return branches, gate


def test_the_gate_weighs_the_branches():
    gate = online.Gate(5, 3)
    weights = gate(draws.draw(7, 5, 4, 4).float())
    torch.testing.assert_close(weights.sum(1), torch.ones(7))
    torch.testing.assert_close(
        online.Gate(5, 3).eval()(torch.ones(2, 5, 3, 3)).sum(1), torch.ones(2)
    )
    logits = draws.draw(7, 3, 4).float()
    expected = sum(weights[:, [i]] * logits[:, i] for i in range(3))
    torch.testing.assert_close(online.gated(logits, weights), expected)


def test_the_gate_by_hand():
    gate = online.Gate(5, 3).eval()
    with torch.no_grad():
        gate.linear.bias.copy_(torch.tensor([-30.0, 0.5, -20.0]))
    maps = draws.draw(2, 5, 4, 4).float()
    z = maps.mean((2, 3)) @ gate.linear.weight.T + gate.linear.bias
    expected = (z / (1 + gate.bn.eps) ** 0.5).clamp_min(0).softmax(1)
    torch.testing.assert_close(gate(maps), expected)
    assert expected.min() > 0.1  # the ReLU lets no branch fall far


def test_the_gate_learns_from_the_labels_alone():
    """Its step is that of the ensemble's cross-entropy, by hand, and no divergence moves it."""
    gate = online.Gate(6, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(draws.draw(3, 6, seed=5))
        gate.linear.bias.zero_()
    start = gate.linear.weight.clone()
    batch = next(iter(batches(count=8)))
    said = tiny()(batch.images)
    loss = F.cross_entropy(online.gated(said.logits, gate(said.shared)), batch.labels)
    (gradient,) = torch.autograd.grad(loss, gate.linear.weight)
    assert gradient.abs().max() > 1e-4
    for weight in (0.0, 5.0):
        _, moved = one_step(weight)
        torch.testing.assert_close(moved.linear.weight, start - 0.1 * gradient)


def test_one_by_a_bare_step():
    ours, _ = one_step(2.0)
    branches, gate = tiny(), online.Gate(6, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(draws.draw(3, 6, seed=5))
        gate.linear.bias.zero_()
    batch = next(iter(batches(count=8)))
    said = branches(batch.images)
    teacher = online.gated(said.logits, gate(said.shared))
    loss = F.cross_entropy(teacher, batch.labels)
    for z in said.logits.unbind(1):
        p, q = (teacher.detach() / 3).softmax(1), (z / 3).softmax(1)
        loss = loss + F.cross_entropy(z, batch.labels)
        loss = loss + 2 * 9 * (p * (p / q).log()).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(branches.parameters()))
    for ours_, start, gradient in zip(
        ours.parameters(), branches.parameters(), gradients, strict=True
    ):
        torch.testing.assert_close(ours_, start - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_one_on_a_resnet_and_what_is_deployed():
    branches, gate = branched(), online.Gate(32, 3)
    history = online.one(branches, gate, large(), QUICK, ramp_up=4)
    assert 0 < history[0]["soft"] < history[1]["soft"]  # the weight climbs
    ensemble = predict(online.GatedBranches(branches, gate), large())
    assert ensemble.shape == (16, 3)
    assert sum(p.numel() for p in branches.deployed(2).parameters()) == sum(
        p.numel() for p in resnets(1)[0].parameters()
    )

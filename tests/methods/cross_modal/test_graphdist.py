"""Graph distillation: the graph by hand, one step, whom it trusts, and its control."""

import copy

import pytest
import torch
from digit_views import ADAM, digits, net
from torch.nn import functional as F

import kdnb
from kdnb.losses import graph_prior_penalty, weighted_imitation
from kdnb.methods.cross_modal import ModalityGraph, distil_by_graph
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=600, lr=0.01, momentum=0.0, schedule="constant", precision="32")
PATHS = dict.fromkeys(("small", "whole", "left"), "1")


def networks():
    return {"whole": net(196, 1), "small": net(16), "left": net(98, 2)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_graph_by_hand():
    torch.manual_seed(0)
    graph = ModalityGraph(3, 5, 4)
    logits, inner = [draw(6, 3, seed=s) for s in range(3)], [draw(6, 5, seed=s) for s in (3, 4, 5)]
    found = graph(logits, inner, target=1)
    nodes = [
        torch.cat([graph.logits(v), graph.representation(r)], 1)
        for v, r in zip(logits, inner, strict=True)
    ]
    for b in range(6):
        edges = [
            graph.edge.weight[0] @ torch.cat([nodes[1][b], nodes[j][b]]) + graph.edge.bias[0]
            for j in (0, 2)
        ]
        torch.testing.assert_close(found[b], (torch.stack(edges) / 8).softmax(0))


def test_its_step_by_hand_moves_the_target_alone():
    nets = networks()
    before = copy.deepcopy(nets)
    fit = distil_by_graph(
        nets, "small", digits(), STEP, paths=PATHS, trust={"whole": 1.2, "left": 1.0}, seed=3
    )
    views, labels = digits()
    order = ("small", "whole", "left")
    z = [before[name](views[name]) for name in order]
    r = [before[name][:2](views[name]) for name in order]
    torch.manual_seed(3)
    graph = ModalityGraph(10, 20)
    edges, prior = graph(z, r), torch.tensor([4.8, 4.0]).softmax(0)
    loss = F.cross_entropy(z[0], labels) + 10 * graph_prior_penalty(edges, prior)
    loss = loss + 10 * weighted_imitation(z[0], z[1:], edges, prior)
    loss = loss + weighted_imitation(r[0], r[1:], edges, prior)
    for new, old in ((nets["small"], before["small"]), (fit.learnt, graph)):
        gradients = torch.autograd.grad(loss, list(old.parameters()), retain_graph=True)
        pairs = zip(new.parameters(), old.parameters(), gradients, strict=True)
        for found, start, gradient in pairs:
            torch.testing.assert_close(found, start - 0.01 * gradient, rtol=1e-3, atol=1e-5)
    for name in ("whole", "left"):
        assert torch.equal(nets[name][0].weight, before[name][0].weight)


@pytest.mark.parametrize("prior_weight", [0.1, 1000.0])
def test_the_graph_goes_to_whom_is_near_unless_the_prior_holds_it(prior_weight):
    """A trained modality beside an untrained one, which is easier to come near: it draws the graph."""
    views, labels = digits()
    nets = networks()
    kdnb.train(nets["whole"], (views["whole"], labels), ADAM)
    fit = distil_by_graph(nets, "small", digits(), ADAM, paths=PATHS, prior_weight=prior_weight)
    order = ("small", "whole", "left")
    with torch.no_grad():
        z = [nets[name](views[name]) for name in order]
        r = [nets[name][:2](views[name]) for name in order]
        mean = fit.learnt(z, r).mean(0)
        distances = [1 - F.cosine_similarity(z[0], other).mean() for other in z[1:]]
    if prior_weight > 1:
        assert (mean - 0.5).abs().max() < 0.05
    else:
        near = int(distances[1] < distances[0])
        assert mean[near] > 0.9


def test_the_control_keeps_the_prior():
    fit = distil_by_graph(networks(), "small", digits(), STEP, paths=PATHS, learn_graph=False)
    assert fit.learnt is None and "prior" not in fit.history
    views, _ = digits()
    nets = networks()
    z = [nets[name](views[name]) for name in ("small", "whole", "left")]
    even = torch.full((600, 2), 0.5)
    by_hand = 10 * weighted_imitation(z[0], z[1:], even, even[0])
    assert fit.history["logits"].iloc[0] == pytest.approx(by_hand.item(), rel=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one of two modalities or more; got 'depth'"):
        distil_by_graph(networks(), "depth", digits(), STEP, paths=PATHS)
    with pytest.raises(ValueError, match="paths are for each of"):
        distil_by_graph(networks(), "small", digits(), STEP, paths={"small": "1"})
    wide = {**networks(), "left": net(98, 2, width=7)}
    with pytest.raises(ValueError, match="of one width; got .*'left': .7,."):
        distil_by_graph(wide, "small", digits(), STEP, paths=PATHS)

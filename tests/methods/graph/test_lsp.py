"""LSP as a scheme: both terms, and that structures come to agree."""

import torch
from small_graphs import two_villages
from torch.nn import functional as F

from kdnb.losses import local_structure_preservation
from kdnb.methods.graph import (
    NodeNetwork,
    learn_labels,
    mixing_matrix,
    node_answer,
    preserve_structure,
)
from kdnb.training import Recipe

GRAPH = two_villages(size=20)
NODES = torch.arange(10)
MIXING = mixing_matrix(GRAPH, "symmetric")
RECIPE = Recipe(epochs=80, optimiser="adam", lr=0.02, schedule="constant")


def network(width, seed):
    torch.manual_seed(seed)
    return NodeNetwork(GRAPH.features.shape[1], width, 2)


def teacher():
    made = learn_labels(
        network(24, 0), GRAPH.features, GRAPH.labels, NODES, RECIPE, 0, mixing=MIXING
    )
    return node_answer(made, GRAPH.features, MIXING)


def taught(weight, recipe=RECIPE, **options):
    return preserve_structure(
        network(4, 5), GRAPH.features, MIXING, GRAPH.labels, NODES, teacher().hidden, GRAPH.arcs,
        recipe, 0, weight=weight, **options,
    )  # fmt: skip


def apart(made):
    hidden = node_answer(made, GRAPH.features, MIXING).hidden
    return local_structure_preservation(hidden, teacher().hidden, GRAPH.arcs).item()


def test_a_step_follows_both_terms():
    once = Recipe(epochs=1, optimiser="sgd", lr=0.1, momentum=0.0, schedule="constant")
    made = network(4, 5)
    answer = made(GRAPH.features, MIXING)
    kept = local_structure_preservation(
        answer.hidden, teacher().hidden, GRAPH.arcs, variant="authors"
    )
    loss = F.cross_entropy(answer.logits[NODES], GRAPH.labels[NODES]) + 3 * kept
    gradients = torch.autograd.grad(loss, list(made.parameters()))
    expected = [w - 0.1 * g for w, g in zip(made.parameters(), gradients, strict=True)]
    found = list(taught(3.0, once, variant="authors").parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.detach(), other.detach())


def test_structures_come_to_agree():
    assert apart(taught(100.0)) < 0.7 * apart(taught(0.0))

"""GLNN: whose answers and labels are read, both terms, and that a student needs no edge."""

import copy
import math

import pytest
import torch
from small_graphs import two_villages
from torch.nn import functional as F

from kdnb.data import Graph, split_nodes
from kdnb.methods.graph import (
    NodeNetwork,
    fit_nodes,
    glnn,
    learn_labels,
    mixing_matrix,
    node_answer,
    propagated_labels,
)
from kdnb.training import Recipe

ONCE = Recipe(epochs=1, optimiser="sgd", lr=0.1, momentum=0.0, schedule="constant")
RECIPE = Recipe(epochs=60, optimiser="adam", lr=0.01, weight_decay=5e-4, schedule="constant")


@pytest.fixture
def graph():
    return two_villages()


def network(graph, seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return NodeNetwork(graph.features.shape[1], 16, graph.classes, dropout)


def weights(made):
    return torch.cat([weight.detach().flatten() for weight in made.parameters()])


def stepped(made, loss):
    """The weights after one step of plain gradient descent at 0.1."""
    gradients = torch.autograd.grad(loss, list(made.parameters()))
    return weights(made) - 0.1 * torch.cat([one.flatten() for one in gradients])


def test_a_step_follows_the_divergence_from_the_teacher(graph):
    goal = torch.randn(len(graph), 2, generator=torch.Generator().manual_seed(1))
    made = network(graph)
    logits = made(graph.features.to_dense()).logits
    p, q = goal.softmax(1), logits.softmax(1)
    expected = stepped(made, (p * (p / q).log()).sum(1).mean())
    glnn(made, graph.features, goal, ONCE, 0)
    torch.testing.assert_close(weights(made), expected)


def test_any_module_may_be_the_student(graph):
    """The same layers as a module of one's own learn the same."""
    goal = torch.randn(len(graph), 2, generator=torch.Generator().manual_seed(1))
    ours, words = network(graph), graph.features.to_dense()
    theirs = torch.nn.Sequential(ours.first, torch.nn.ReLU(), ours.last)
    theirs = copy.deepcopy(theirs)
    glnn(ours, words, goal, RECIPE, 0)
    assert glnn(theirs, words, goal, RECIPE, 0) is theirs and theirs.training
    torch.testing.assert_close(
        node_answer(theirs, words).logits, node_answer(ours, words).logits, rtol=1e-3, atol=1e-4
    )
    learn_labels(theirs, words, graph.labels, torch.arange(9), ONCE, 0)
    assert node_answer(theirs, words).hidden is None


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_step_with_both_terms_on_some_nodes(graph, share):
    goal = torch.randn(len(graph), 2, generator=torch.Generator().manual_seed(1))
    nodes, labelled = torch.tensor([4, 9, 30]), torch.tensor([9, 11])
    made = network(graph)
    logits = made(graph.features.to_dense()).logits
    soft = F.kl_div(logits[nodes].log_softmax(1), goal[nodes].softmax(1), reduction="batchmean")
    hard = F.cross_entropy(logits[labelled], graph.labels[labelled])
    expected = stepped(made, share * hard + (1 - share) * soft)
    glnn(
        made, graph.features, goal, ONCE, 0, nodes=nodes, labels=graph.labels, labelled=labelled,
        labels_share=share,
    )  # fmt: skip
    torch.testing.assert_close(weights(made), expected)


def test_labels_of_other_nodes_are_never_read(graph):
    """What a seed's test would betray: labels outside the training nodes change nothing."""
    split = split_nodes(graph.labels, 0, train=5, validation=5)
    spoilt = graph.labels.clone()
    spoilt[torch.cat(split[1:])] = 1 - spoilt[torch.cat(split[1:])]
    mixing = mixing_matrix(graph, "mean")
    for how in (None, mixing):
        one, other = (
            learn_labels(network(graph), graph.features, labels, split.train, RECIPE, 0, mixing=how)
            for labels in (graph.labels, spoilt)
        )
        assert weights(one).equal(weights(other))
    assert propagated_labels(graph, graph.labels, split.train).equal(
        propagated_labels(graph, spoilt, split.train)
    )


def test_a_perceptron_of_labels_sees_the_features_of_its_nodes_alone(graph):
    nodes = torch.arange(10)
    other = graph.features.to_dense().clone()
    other[10:] = 1 - other[10:]
    one = learn_labels(network(graph), graph.features, graph.labels, nodes, RECIPE, 0)
    two = learn_labels(network(graph), other, graph.labels, nodes, RECIPE, 0)
    torch.testing.assert_close(weights(one), weights(two))


def test_smoothing_smooths(graph):
    nodes = torch.arange(10)
    plain, smooth = (
        learn_labels(
            network(graph), graph.features, graph.labels, nodes, RECIPE, 0, smoothing=share
        )
        for share in (0.0, 0.4)
    )
    sure = [node_answer(one, graph.features).logits[nodes].softmax(1).max(1).values.mean() for one in (plain, smooth)]  # fmt: skip
    assert sure[1] < sure[0] - 0.05


def test_what_the_graph_knows_reaches_a_perceptron_by_answers(graph):
    """The method's point: edges help the teacher, and its answers for unlabelled nodes the student."""
    split = split_nodes(graph.labels, 1, train=4, validation=4)
    rest = torch.cat([split.validation, split.test])
    mixing = mixing_matrix(graph, "mean")
    teacher = learn_labels(
        network(graph), graph.features, graph.labels, split.train, RECIPE, 0, mixing=mixing
    )
    logits = node_answer(teacher, graph.features, mixing).logits

    def right(answers):
        return (answers.argmax(1) == graph.labels)[rest].float().mean().item()

    alone = learn_labels(network(graph, 1), graph.features, graph.labels, split.train, RECIPE, 0)
    pupil = glnn(network(graph, 1), graph.features, logits, RECIPE, 0)
    assert right(logits) > 0.85
    assert right(node_answer(pupil, graph.features).logits) > (
        right(node_answer(alone, graph.features).logits) + 0.1
    )


def test_a_training_is_a_function_of_its_seed(graph):
    goal = torch.randn(len(graph), 2, generator=torch.Generator().manual_seed(1))
    before = torch.random.get_rng_state()
    made = [network(graph, dropout=0.5) for _ in range(3)]
    state = torch.random.get_rng_state()
    for one, seed in zip(made, (0, 0, 1), strict=True):
        glnn(one, graph.features, goal, RECIPE, seed)
    assert torch.random.get_rng_state().equal(state)
    assert weights(made[0]).equal(weights(made[1])) and not weights(made[0]).equal(weights(made[2]))
    assert made[0].training
    torch.random.set_rng_state(before)


def test_labels_flow_along_edges():
    path = Graph(
        torch.ones(6, 1).to_sparse().coalesce(), torch.tensor([[0, 1, 3], [1, 2, 4]]),
        torch.tensor([0, 0, 0, 1, 1, 1]),
    )  # fmt: skip
    found = propagated_labels(path, path.labels, torch.tensor([0, 3]))
    assert found.argmax(1)[:5].tolist() == [0, 0, 0, 1, 1]
    torch.testing.assert_close(found.sum(1), torch.ones(6))
    torch.testing.assert_close(found[5], torch.tensor([0.5, 0.5]))  # no label arrives
    mixed = torch.zeros(6, 6)
    for node, near in enumerate(([0, 1], [0, 1, 2], [1, 2], [3, 4], [3, 4], [5])):
        mixed[node, near] = 1 / len(near)
    known = torch.zeros(6, 2)
    known[0, 0] = known[3, 1] = 1
    scores = torch.linalg.solve(torch.eye(6) - 0.9 * mixed, 0.1 * known)  # where it comes to rest
    rest = propagated_labels(path, path.labels, torch.tensor([0, 3]), steps=500)
    torch.testing.assert_close(
        rest[:5], (scores / scores.sum(1, keepdim=True))[:5], atol=1e-4, rtol=1e-3
    )


def test_wrong_arguments(graph):
    goal = torch.zeros(len(graph), 2)
    with pytest.raises(ValueError, match=r"labels_share must lie in \[0, 1\]; got 2"):
        glnn(network(graph), graph.features, goal, ONCE, 0, labels_share=2)
    with pytest.raises(ValueError, match="labels_share above 0 needs labels and labelled"):
        glnn(network(graph), graph.features, goal, ONCE, 0, labels_share=0.5)
    with pytest.raises(ArithmeticError, match="the loss of the nodes is nan"):
        fit_nodes(network(graph), graph.features, lambda answer: answer.logits.sum() * math.nan, ONCE, 0)  # fmt: skip

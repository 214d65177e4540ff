"""Networks on nodes: what each mixing takes up, and that a perceptron sees no edge."""

import pytest
import torch
from small_graphs import two_villages

from kdnb.data import Graph
from kdnb.methods.graph import NodeNetwork, mixing_matrix


@pytest.fixture
def graph():
    return two_villages(size=8, words=6)


def dense_mixing(graph, kind):
    """By loops over the neighbours of each node, itself among them."""
    n = len(graph)
    near = [{i} for i in range(n)]
    for a, b in graph.edges.T.tolist():
        near[a].add(b)
        near[b].add(a)
    made = torch.zeros(n, n)
    for i in range(n):
        for j in near[i]:
            scale = len(near[i]) if kind == "mean" else (len(near[i]) * len(near[j])) ** 0.5
            made[i, j] = 1 / scale
    return made


@pytest.mark.parametrize("kind", ["mean", "symmetric"])
def test_mixing_against_loops(graph, kind):
    torch.testing.assert_close(mixing_matrix(graph, kind).to_dense(), dense_mixing(graph, kind))


def test_means_sum_to_one_and_the_symmetric_matrix_is_symmetric(graph):
    torch.testing.assert_close(
        mixing_matrix(graph, "mean").to_dense().sum(1), torch.ones(len(graph))
    )
    matrix = mixing_matrix(graph, "symmetric").to_dense()
    torch.testing.assert_close(matrix, matrix.T)


@pytest.mark.parametrize("kind", [None, "mean", "symmetric"])
def test_layers_by_hand(graph, kind):
    torch.manual_seed(0)
    network = NodeNetwork(6, 5, 2, dropout=0.5).eval()
    mixing = mixing_matrix(graph, kind) if kind else None
    mixed = dense_mixing(graph, kind) if kind else torch.eye(len(graph))
    x = graph.features.to_dense()
    hidden = (mixed @ network.first(x)).relu()
    answer = network(graph.features, mixing)
    torch.testing.assert_close(answer.hidden, hidden)
    torch.testing.assert_close(answer.logits, mixed @ network.last(hidden))
    torch.testing.assert_close(network(x, mixing).logits, answer.logits)  # dense features


def test_two_layers_see_two_steps_and_a_perceptron_none():
    path = Graph(
        torch.eye(5).to_sparse().coalesce(), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]),
        torch.tensor([0, 1, 0, 1, 0]),
    )  # fmt: skip
    torch.manual_seed(1)
    network = NodeNetwork(5, 64, 2).eval()
    other = torch.eye(5)
    other[4] = 3.0
    for kind, seen in (("mean", [2, 3, 4]), ("symmetric", [2, 3, 4]), (None, [4])):
        mixing = mixing_matrix(path, kind) if kind else None
        change = network(other, mixing).logits - network(torch.eye(5), mixing).logits
        assert (change.abs().sum(1) > 1e-6).nonzero()[:, 0].tolist() == seen


def test_gradients_reach_all_weights_through_sparse_features(graph):
    network = NodeNetwork(6, 5, 2)
    network(graph.features, mixing_matrix(graph, "mean")).logits.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_dropout_is_for_training_alone(graph):
    network = NodeNetwork(6, 50, 2, dropout=0.5)
    assert not network(graph.features).logits.equal(network(graph.features).logits)
    network.eval()
    assert network(graph.features).logits.equal(network(graph.features).logits)


def test_wrong_arguments(graph):
    with pytest.raises(ValueError, match='kind must be "mean" or "symmetric"; got'):
        mixing_matrix(graph, "sum")
    with pytest.raises(ValueError, match="width must be at least 1"):
        NodeNetwork(6, 0, 2)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\); got 1"):
        NodeNetwork(6, 5, 2, dropout=1)

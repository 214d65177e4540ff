"""Graphs of one's own: edges in any order and direction, nearest neighbours, what is refused."""

import pytest
import torch

from kdnb.data import nearest_graph, own_graph
from kdnb.methods.graph import NodeNetwork, mixing_matrix

EDGES = torch.tensor([[2, 0, 1, 3, 0, 3], [0, 2, 0, 3, 1, 1]])
LABELS = torch.tensor([0, 2, -1, 1])


def test_edges_have_no_direction_and_stand_once():
    graph = own_graph(torch.eye(4), EDGES, LABELS)
    assert graph.edges.T.tolist() == [[0, 1], [0, 2], [1, 3]]
    assert graph.classes == 3 and len(graph) == 4
    part = graph.select(torch.tensor([3, 1]))
    assert part.features.equal(torch.eye(4)[[3, 1]]) and part.edges.tolist() == [[0], [1]]
    small = own_graph(torch.eye(4).to_sparse(), EDGES.int(), LABELS.to(torch.int8))
    assert small.edges.equal(graph.edges) and small.labels.equal(graph.labels)
    assert small.select(torch.tensor([3, 1])).edges.tolist() == [[0], [1]]


def test_a_graph_without_edges_mixes_nothing():
    graph = own_graph(torch.eye(4), torch.empty(2, 0, dtype=torch.int64), LABELS)
    network = NodeNetwork(4, 3, 3).eval()
    mixed = network(graph.features, mixing_matrix(graph, "mean")).logits
    torch.testing.assert_close(mixed, network(graph.features).logits)


@pytest.mark.parametrize("block", [3, 1024])
def test_nearest_neighbours_by_hand(block, monkeypatch):
    monkeypatch.setattr("kdnb.data.own_graphs.BLOCK", block)
    points = torch.randn(20, 2, 3, generator=torch.Generator().manual_seed(0))
    wanted = set()
    for i in range(20):
        others = sorted((float((points[i] - points[j]).norm()), j) for j in range(20) if j != i)
        wanted |= {(min(i, j), max(i, j)) for _, j in others[:4]}
    graph = nearest_graph(points, torch.zeros(20, dtype=torch.int64), 4)
    assert {tuple(edge) for edge in graph.edges.T.tolist()} == wanted
    assert graph.features.equal(points.flatten(1))
    seen = nearest_graph(points, graph.labels, 4, points[:, :, 0])
    assert seen.edges.equal(graph.edges) and seen.features.shape == (20, 2)


def test_points_in_one_place_are_neighbours_and_not_their_own():
    graph = nearest_graph(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64), 1)
    assert (graph.edges[0] < graph.edges[1]).all() and graph.edges.shape[1] >= 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": torch.eye(4).long()}, "features must be floating"),
        ({"features": torch.ones(4)}, r"\(nodes, size\); got torch.float32 of shape \(4,\)"),
        ({"features": torch.full((4, 1), float("nan"))}, "features must be finite"),
        ({"features": torch.eye(5)}, "5 rows of features and 4 labels"),
        ({"labels": LABELS.float()}, "labels must be integers"),
        ({"labels": LABELS - 1}, "-1 is unknown; got -2"),
        ({"edges": EDGES.T}, r"\(2, edges\); got torch.int64 of shape \(6, 2\)"),
        ({"edges": EDGES + 1}, "join nodes 0 to 3; got 1 to 4"),
        ({"edges": EDGES.tolist()}, "got list"),
    ],
)
def test_what_is_no_graph_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        own_graph(**{"features": torch.eye(4), "edges": EDGES, "labels": LABELS} | change)


@pytest.mark.parametrize("count", [0, 4, True])
def test_neighbours_that_are_not_there(count):
    with pytest.raises(ValueError, match="neighbours must lie between 1 and 3"):
        nearest_graph(torch.eye(4), LABELS, count)
    with pytest.raises(ValueError, match=r"\(nodes, ...\); got torch.float32 of shape \(4,\)"):
        nearest_graph(torch.ones(4), LABELS, 2)

"""Graph knowledge distillation: loops, nearest neighbours, powers, samples without edges."""

import math

import pytest
import torch
from draws import draw
from loops import dot, lists

from kdnb.losses import graph_knowledge, similarity_graph


def naive_graph(features, kept=None):
    x = lists(features)
    n = len(x)
    similar = [[
        max(dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)), 0.0)
        if i != j and (kept is None or kept[i][j]) else 0.0
        for j, b in enumerate(x)] for i, a in enumerate(x)]  # fmt: skip
    degree = [sum(row) for row in similar]
    return [
        [
            similar[i][j] / math.sqrt(degree[i] * degree[j]) if similar[i][j] else 0.0
            for j in range(n)
        ]
        for i in range(n)
    ]


def naive_power(graph, power):
    made, n = graph, len(graph)
    for _ in range(power - 1):
        made = [
            [sum(made[i][k] * graph[k][j] for k in range(n)) for j in range(n)] for i in range(n)
        ]
    return made


@pytest.mark.parametrize("power", [1, 2, 3])
def test_against_loops(power):
    s, t = draw(6, 3).relu() + 0.1, draw(6, 4, seed=1)
    ours, theirs = (naive_power(naive_graph(one), power) for one in (s, t))
    expected = sum(
        (a - b) ** 2 for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert graph_knowledge(s, t, power=power).item() == pytest.approx(expected, rel=1e-9)


def test_the_teachers_nearest_are_kept_on_both_sides():
    s, t, k = draw(6, 3).relu() + 0.1, draw(6, 4, seed=1).relu() + 0.1, 2
    similar = torch.nn.functional.cosine_similarity(t[:, None], t[None], dim=2)
    near = [set(row.argsort(descending=True)[1 : k + 1].tolist()) for row in similar]
    kept = [[j in near[i] or i in near[j] for j in range(6)] for i in range(6)]
    ours, theirs = (torch.tensor(naive_graph(one, kept), dtype=torch.float64) for one in (s, t))
    torch.testing.assert_close(graph_knowledge(s, t, k), (ours - theirs).square().sum())
    torch.testing.assert_close(graph_knowledge(s, t, 5), graph_knowledge(s, t))
    torch.testing.assert_close(graph_knowledge(s, t, 99), graph_knowledge(s, t))


def test_a_graph_has_the_largest_eigenvalue_one():
    graph = similarity_graph(draw(7, 4).relu() + 0.1)
    torch.testing.assert_close(graph, graph.T)
    assert torch.linalg.eigvalsh(graph).max().item() == pytest.approx(1, abs=1e-9)


def test_rotations_and_the_scale_of_a_sample_are_not_seen():
    s, t = draw(6, 4).abs(), draw(6, 3, seed=1)
    turned = 3 * s @ torch.linalg.qr(draw(4, 4, seed=2)).Q
    each = draw(6, 1, seed=3).abs() + 0.5
    torch.testing.assert_close(graph_knowledge(turned * each, t / each), graph_knowledge(s, t))


def test_samples_without_edges_have_rows_of_zeros():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], requires_grad=True)
    graph = similarity_graph(features)
    assert graph[2:].eq(0).all() and graph[0, 1] == 1
    (gradient,) = torch.autograd.grad(graph.sum(), features)
    assert gradient.isfinite().all()


def test_wrong_options():
    s = torch.ones(4, 3)
    with pytest.raises(ValueError, match="neighbours must be at least 1"):
        graph_knowledge(s, s, 0)
    with pytest.raises(ValueError, match="power must be at least 1"):
        graph_knowledge(s, s, power=0)
    with pytest.raises(
        ValueError, match=r"kept must be truth values of shape \(4, 4\); got torch.b"
    ):
        similarity_graph(s, torch.ones(4, 3).bool())

"""Local structures: loops, what each kernel sees, nodes without arcs, the narrow range of "rbf"."""

import math

import pytest
import torch
from draws import draw
from loops import dot, lists
from torch.autograd import gradcheck

from kdnb.losses import local_structure, local_structure_preservation

ARCS = torch.tensor([[0, 0, 1, 1, 1, 2, 3, 4, 4], [1, 0, 0, 2, 4, 1, 3, 1, 3]])
OPTIONS = [
    {"kernel": "rbf", "bandwidth": 0.7},
    {"kernel": "laplacian", "bandwidth": 3.0},
    {"kernel": "linear"},
    {"kernel": "polynomial", "degree": 2, "offset": 0.5},
    {"kernel": "euclidean"},
]


def naive_similarity(a, b, kernel, bandwidth=1.0, degree=2, offset=0.0):
    squares = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return {
        "rbf": math.exp(-squares / (2 * bandwidth)),
        "laplacian": math.exp(
            -sum(abs(x - y) for x, y in zip(a, b, strict=True)) / bandwidth
        ),
        "linear": dot(a, b),
        "polynomial": (dot(a, b) + offset) ** degree,
        "euclidean": -squares,
    }[kernel]  # fmt: skip


def naive_structure(features, **options):
    """{node: {its neighbour: share}}."""
    nodes, found = lists(features), {}
    for i, j in ARCS.T.tolist():
        found.setdefault(i, {})[j] = math.exp(naive_similarity(nodes[i], nodes[j], **options))
    return {
        i: {j: value / sum(near.values()) for j, value in near.items()} for i, near in found.items()
    }


def naive_loss(first, second, count):
    return (
        sum(p * math.log(p / second[i][j]) for i, near in first.items() for j, p in near.items())
        / count
    )


@pytest.mark.parametrize("options", OPTIONS, ids=lambda one: one["kernel"])
def test_against_loops(options):
    s, t = draw(5, 3) / 2, draw(5, 4, seed=1) / 2
    ours, theirs = naive_structure(s, **options), naive_structure(t, **options)
    logs = local_structure(s, ARCS, **options)
    expected = [math.log(ours[i][j]) for i, j in ARCS.T.tolist()]
    torch.testing.assert_close(logs, torch.tensor(expected, dtype=torch.float64))
    got = local_structure_preservation(s, t, ARCS, **options)
    assert got.item() == pytest.approx(naive_loss(ours, theirs, 5), rel=1e-9)


def test_the_authors_kernel_and_direction():
    s, t = 50 * draw(5, 3), 50 * draw(5, 4, seed=1)
    kernel = {"kernel": "laplacian", "bandwidth": 100.0}
    expected = naive_loss(naive_structure(t, **kernel), naive_structure(s, **kernel), 5)
    for ignored in ({}, {"kernel": "linear", "bandwidth": 3.0}):
        got = local_structure_preservation(s, t, ARCS, **ignored, variant="authors")
        assert got.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", [*OPTIONS, {}, {"kernel": "laplacian"}], ids=str)
def test_gradients(options):
    s, t = (draw(5, 3) / 2).requires_grad_(), (draw(5, 4, seed=1) / 2).requires_grad_()
    assert gradcheck(lambda a, b: local_structure_preservation(a, b, ARCS, **options), (s, t))


def test_shares_sum_to_one_and_the_order_of_arcs_is_free():
    s, t = draw(5, 3), draw(5, 3, seed=1)
    shares = local_structure(s, ARCS).exp()
    sums = torch.zeros(5, dtype=torch.float64).index_add(0, ARCS[0], shares)
    torch.testing.assert_close(sums, torch.ones(5, dtype=torch.float64))
    order = torch.randperm(ARCS.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        local_structure_preservation(s, t, ARCS[:, order]),
        local_structure_preservation(s, t, ARCS),
    )


def test_distances_do_not_see_motions_nor_by_default_scale():
    s, t = draw(5, 3), draw(5, 4, seed=1)
    moved = s @ torch.linalg.qr(draw(3, 3, seed=2)).Q + draw(1, 3, seed=3)
    for options in ({}, {"kernel": "euclidean"}):
        torch.testing.assert_close(
            local_structure_preservation(moved, t, ARCS, **options),
            local_structure_preservation(s, t, ARCS, **options),
        )
    torch.testing.assert_close(
        local_structure_preservation(7 * s, t / 3, ARCS), local_structure_preservation(s, t, ARCS)
    )


def test_structures_of_bounded_kernels_are_nearly_uniform():
    """No neighbour has more than e times the share of another, however far apart they lie."""
    for options in ({"bandwidth": 1e-3}, {"kernel": "laplacian", "bandwidth": 1e-3}):
        shares = local_structure(100 * draw(5, 3), ARCS, **options)
        for node in range(5):
            own = shares[ARCS[0] == node]
            assert own.max() - own.min() <= 1 + 1e-12
    free = local_structure(100 * draw(5, 3), ARCS, "linear")[ARCS[0] == 1]
    assert free.max() - free.min() > 100


def test_a_node_without_arcs_counts_as_agreeing():
    s, t, arcs = draw(5, 3), draw(5, 3, seed=1), torch.tensor([[0, 0], [1, 2]])
    three = local_structure_preservation(s[:3], t[:3], arcs, bandwidth=1.0)
    five = local_structure_preservation(s.requires_grad_(), t, arcs, bandwidth=1.0)
    torch.testing.assert_close(five, three * 3 / 5)
    (gradient,) = torch.autograd.grad(five, s)
    assert gradient[3:].eq(0).all() and gradient.isfinite().all()


def test_equal_nodes_and_far_ones_stay_finite():
    for features in (torch.zeros(5, 3), torch.ones(5, 3), 1e4 * draw(5, 3).float()):
        for kernel in ("rbf", "laplacian", "linear", "euclidean"):
            student = features.clone().requires_grad_()
            value = local_structure_preservation(student, draw(5, 2).float(), ARCS, kernel)
            (gradient,) = torch.autograd.grad(value, student)
            assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize(
    ("arcs", "words"),
    [
        ([[0], [1]], "arcs must be a tensor of integers; got a list"),
        (torch.zeros(3, 2).long(), r"arcs must have shape \(2, arcs\), at least one; got \(3, 2\)"),
        (torch.zeros(2, 0).long(), r"got \(2, 0\)"),
        (torch.zeros(2, 2), "integers from 0 to 4; got torch.float32"),
        (torch.tensor([[0], [5]]), "from 0 to 4, the nodes' indices; got 0 to 5"),
        (torch.tensor([[-1], [2]]), "got -1 to 2"),
    ],
)  # fmt: skip
def test_wrong_arcs(arcs, words):
    with pytest.raises(ValueError, match=words):
        local_structure_preservation(torch.ones(5, 3), torch.ones(5, 2), arcs)


def test_wrong_options():
    features = torch.ones(5, 3)
    with pytest.raises(ValueError, match='kernel must be "rbf", "linear", "polynomial"'):
        local_structure(features, ARCS, "cosine")
    with pytest.raises(ValueError, match="bandwidth must be a finite number above 0"):
        local_structure(features, ARCS, bandwidth=0.0)
    with pytest.raises(ValueError, match=r"student \(5, 3\) and teacher \(4, 3\)"):
        local_structure_preservation(features, features[:4], ARCS)

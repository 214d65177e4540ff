"""The two graphs of Zhang and Peng: loops, the transport problem, and sketches without bias."""

import numpy as np
import pytest
import torch
from draws import draw
from scipy.optimize import linprog

from kdnb.losses import compact_bilinear, logit_graph, representation_graph


def transport(p, q):
    """The earth mover's distance with cost 1 between any two classes, by linear programming."""
    n = len(p)
    cost = (1 - np.eye(n)).ravel()
    leaves = np.kron(np.eye(n), np.ones(n))
    arrives = np.kron(np.ones(n), np.eye(n))
    return linprog(
        cost, A_eq=np.vstack([leaves, arrives]), b_eq=np.concatenate([p, q]), bounds=(0, None)
    ).fun


def test_the_logits_graph_is_a_transport_problem():
    s, teachers = draw(3, 4), [draw(3, 4, seed=1), draw(3, 4, seed=2)]
    weights = torch.tensor([0.3, 1.2], dtype=torch.float64)
    p, *others = ((one / 2).softmax(1).numpy() for one in (s, *teachers))
    expected = sum(
        float(w) * np.mean([transport(a, b) for a, b in zip(p, q, strict=True)])
        for w, q in zip(weights, others, strict=True)
    )
    got = logit_graph(s, teachers, weights, temperature=2.0)
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_bounds_of_the_logits_graph():
    far = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert logit_graph(far, [far.flip(1)], torch.ones(1)).item() == pytest.approx(1)
    assert logit_graph(far, [far], torch.ones(1)) == 0


def naive_pooling(first, second, size, seed):
    """Each pair of entries adds its product, with both signs, at the sum of both places."""
    stream, drawn = torch.Generator().manual_seed(seed), []
    for one in (first, second):
        places = torch.randint(size, (len(one),), generator=stream).tolist()
        signs = (torch.randint(2, (len(one),), generator=stream) * 2 - 1).tolist()
        drawn.append(list(zip(one.tolist(), places, signs, strict=True)))
    made = [0.0] * size
    for a, at, up in drawn[0]:
        for b, to, down in drawn[1]:
            made[(at + to) % size] += up * down * a * b
    return made


def test_pooling_against_loops():
    x, y = draw(2, 4), draw(2, 3, seed=1)
    got = compact_bilinear(x, y, 5, seed=7)
    expected = [naive_pooling(a, b, 5, 7) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_inner_products_of_sketches_are_unbiased():
    x, y = draw(1, 6), draw(1, 6, seed=1)
    draws = torch.stack([
        (compact_bilinear(x, x, 16, seed) * compact_bilinear(y, y, 16, seed)).sum()
        for seed in range(600)
    ])  # fmt: skip
    expected = (x @ y.T).item() ** 2
    assert abs(draws.mean() - expected) < 4 * draws.std() / len(draws) ** 0.5


def test_the_representation_graph_adds_over_pairs():
    s, teachers = draw(5, 8), [draw(5, 3, seed=1), draw(5, 4, seed=2), draw(5, 2, seed=3)]
    expected = 0.0
    for m, n in ((0, 1), (0, 2), (1, 2)):
        pooled = compact_bilinear(teachers[m], teachers[n], 8, 3)
        expected += sum((a - b).item() ** 2 for a, b in zip(s.mean(0), pooled.mean(0), strict=True))
    assert representation_graph(s, teachers, 3).item() == pytest.approx(expected, rel=1e-9)


def test_wrong_arguments():
    z = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"teachers must be a list of at least 1; got 0"):
        logit_graph(z, [], torch.ones(1))
    with pytest.raises(ValueError, match=r"weights must be \(1,\)"):
        logit_graph(z, [z], torch.ones(2))
    with pytest.raises(ValueError, match="teachers must be a list of at least 2; got 1"):
        representation_graph(z, [z])
    with pytest.raises(ValueError, match=r"first \(3, 4\) and second \(2, 4\)"):
        compact_bilinear(z, z[:2])

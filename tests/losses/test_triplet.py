"""Triplet distillation, against loops."""

import itertools
from collections import Counter

import pytest
import torch
from draws import draw
from loops import square

from kdnb.losses import (
    all_triplets,
    drawn_triplets,
    triplet_distillation,
)


def naive_triplet(student, teacher, triplets, low, high):
    s, t = student.flatten(1).tolist(), teacher.flatten(1).tolist()
    rows = triplets.tolist()
    surer = [max(square(t[a], t[n]) - square(t[a], t[p]), 0) for a, p, n in rows]
    losses = [
        max(square(s[a], s[p]) - square(s[a], s[n]) + (high - low) / max(surer) * d + low, 0)
        for (a, p, n), d in zip(rows, surer, strict=True)
    ]
    return sum(losses) / len(losses)


TRIPLETS = torch.tensor([[0, 1, 2], [3, 0, 4], [2, 4, 1], [1, 2, 0]])


def test_triplets_against_loops():
    s, t = draw(5, 3), draw(5, 4, seed=1)
    got = triplet_distillation(s, t, TRIPLETS, 0.3, 0.9).item()
    assert got == pytest.approx(naive_triplet(s, t, TRIPLETS, 0.3, 0.9), rel=1e-12)


def test_wrong_triplets_and_margins_are_named():
    s = draw(4, 3)
    with pytest.raises(ValueError, match="integers from 0 to 3"):
        triplet_distillation(s, s, torch.tensor([[0, 1, 4]]))
    with pytest.raises(ValueError, match=r"triplets must have shape \(triplets, 3\); got \(0, 3\)"):
        triplet_distillation(s, s, torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="least_margin <= greatest_margin"):
        triplet_distillation(s, s, torch.tensor([[0, 1, 2]]), 0.5, 0.2)
    with pytest.raises(ValueError, match="at least 3 samples in the batch; got 2"):
        all_triplets(2)


def test_all_triplets_come_in_order():
    expected = [
        (query, one, other)
        for query, one, other in itertools.product(range(5), repeat=3)
        if query not in (one, other) and one < other
    ]
    assert list(map(tuple, all_triplets(5).tolist())) == expected
    assert all_triplets(5).dtype == torch.int64


def test_drawn_triplets_are_distinct_and_evenly_drawn():
    drawn = drawn_triplets(4, 24000, torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(itertools.permutations(range(4), 3))
    # 1,000 each, with a standard deviation of 31: the largest of 24 deviations stays below 4 of them.
    assert max(abs(count - 1000) for count in counts.values()) < 125
    again = drawn_triplets(4, 24000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert torch.equal(drawn, drawn_triplets(4, 24000))


def test_wrong_draws_are_named():
    with pytest.raises(ValueError, match="at least 3 samples in the batch; got 2"):
        drawn_triplets(2, 1)
    with pytest.raises(ValueError, match="count must be"):
        drawn_triplets(4, 0)
    with pytest.raises(ValueError, match=r"generator must be a torch.Generator or None; got a int"):
        drawn_triplets(4, 1, generator=3)

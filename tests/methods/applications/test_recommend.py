"""Recommendation: splits by time, the metric by loops, models, and rankings that are learnt."""

import math

import pytest
import torch

from kdnb.methods.applications.bincf import BinaryFactors, distil_codes, packed_bytes, rounded
from kdnb.methods.applications.ranking import distil_ranking
from kdnb.methods.applications.recommend import (
    Factors,
    GraphFactors,
    last_taken,
    learn_ranking,
    ndcg,
)


def tastes(users=60, items=40, seed=0):
    """Users of four tastes take items of their own quarter."""
    stream = torch.Generator().manual_seed(seed)
    alike = (torch.arange(users)[:, None] % 4) == (torch.arange(items)[None] % 4)
    taken = (torch.rand(users, items, generator=stream) < 0.8) & alike
    held = taken & (torch.rand(users, items, generator=stream) < 0.3)
    return taken & ~held, held


SEEN, HELD = tastes()


def quality(scores):
    return ndcg(scores.detach(), HELD, SEEN).mean().item()


def test_the_last_items_of_each_user_are_held_out():
    users = torch.tensor([0] * 7 + [1] * 3)
    items = torch.tensor([3, 1, 4, 0, 5, 2, 6, 0, 1, 2])
    times = torch.tensor([5, 1, 2, 7, 3, 9, 8, 1, 2, 3])
    train, validation, test = last_taken(users, items, times, 2)
    assert train[0].nonzero()[:, 0].tolist() == [1, 4, 5]
    assert validation[0].nonzero()[:, 0].tolist() == [0, 3]
    assert test[0].nonzero()[:, 0].tolist() == [2, 6]
    assert train[1].sum() == 3 and not test[1].any()  # too few to split


def test_ndcg_against_loops():
    stream = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 12, generator=stream)
    seen = torch.rand(6, 12, generator=stream) < 0.3
    relevant = (torch.rand(6, 12, generator=stream) < 0.4) & ~seen
    relevant[2] = False
    expected = []
    for u in range(6):
        if not relevant[u].any():
            continue
        free = [i for i in range(12) if not seen[u, i]]
        order = sorted(free, key=lambda i, u=u: -scores[u, i].item())[:5]
        gain = sum(1 / math.log2(r + 2) for r, i in enumerate(order) if relevant[u, i])
        best = sum(1 / math.log2(r + 2) for r in range(min(5, int(relevant[u].sum()))))
        expected.append(gain / best)
    assert ndcg(scores, relevant, seen, 5).tolist() == pytest.approx(expected)


def test_a_perfect_order_has_1_and_an_item_that_is_seen_counts_nothing():
    assert ndcg(HELD.double(), HELD, SEEN).eq(1).all()
    assert quality(HELD.double() + 5 * SEEN) == 1


def test_models_learn_tastes_and_a_graph_spreads_them():
    torch.manual_seed(0)
    flat, graph = Factors(60, 40, 8), GraphFactors(SEEN, 8, 2)
    random = quality(flat())
    for model in (flat, graph):
        learn_ranking(model, SEEN, epochs=30, batch_size=128, rate=0.02)
        assert quality(model()) > random + 0.3
    torch.testing.assert_close(flat(torch.tensor([3, 5])), flat()[[3, 5]])


def test_a_graph_networks_vectors_by_hand():
    torch.manual_seed(0)
    seen = torch.tensor([[True, False], [True, True]])
    model = GraphFactors(seen, 3, 1)
    e_u, e_i = model.users.weight, model.items.weight
    users, _ = model.vectors()
    # User 0 took item 0 alone, which two users took: the weight is 1 / sqrt(1 * 2).
    torch.testing.assert_close(users[0], (e_u[0] + e_i[0] / 2**0.5) / 2)
    torch.testing.assert_close(users[1], (e_u[1] + e_i[0] / 2 + e_i[1] / 2**0.5) / 2)


def test_the_teachers_first_items_are_learnt():
    torch.manual_seed(0)
    student, goal = Factors(60, 40, 8), torch.randn(60, 40)
    distil_ranking(student, goal, SEEN, teacher_weight=1.0, weight=0.0, epochs=80, batch_size=128, kept=3, rate=0.02)  # fmt: skip
    top = goal.masked_fill(SEEN, -torch.inf).topk(3).indices
    ranks = (student()[:, None] > student().gather(1, top)[:, :, None]).sum(2).double()
    assert ranks.mean() < 8  # 20 by chance


def test_codes_are_bits_that_a_teacher_can_teach():
    torch.manual_seed(0)
    teacher = learn_ranking(GraphFactors(SEEN, 16, 2), SEEN, epochs=30, batch_size=128, rate=0.02)
    student = BinaryFactors(60, 40, 16)
    before = quality(student())
    distil_codes(student, teacher().detach(), SEEN, epochs=30, batch_size=128, rate=0.02, hard=4)
    users, items = student.codes()
    assert set(users.flatten().tolist()) == {-1.0, 1.0} and quality(student()) > before + 0.2
    torch.testing.assert_close(users @ items.T * student.scale / 16, student())
    signs = rounded(teacher)
    assert quality(signs[0] @ signs[1].T) > before
    assert packed_bytes(60, 40, 16, True) * 32 == packed_bytes(60, 40, 16, False)


def test_a_batch_without_a_pair_teaches_nothing():
    """Where users have every item, no random item is a bad example."""
    torch.manual_seed(0)
    model = Factors(3, 2, 4)
    before = model().detach()
    learn_ranking(model, torch.ones(3, 2, dtype=torch.bool), epochs=2, decay=0.0)
    assert model().equal(before)


def test_wrong_numbers():
    goal = torch.randn(60, 40)
    for call, words in (
        (lambda: ndcg(goal, HELD, SEEN, 41), "first"),
        (lambda: distil_ranking(Factors(60, 40, 4), goal, SEEN, teacher_weight=-1, epochs=1), "teacher_weight"),
        (lambda: distil_ranking(Factors(60, 40, 4), goal, SEEN, teacher_weight=1, lists=0, epochs=1), "lists"),
        (lambda: distil_codes(BinaryFactors(60, 40, 4), goal, SEEN, teacher_weight=-1, epochs=1), "teacher_weight"),
        (lambda: distil_codes(BinaryFactors(60, 40, 4), goal, SEEN, hard=0, epochs=1), "hard"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call()

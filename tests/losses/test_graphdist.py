"""Graph distillation between modalities: weighted cosines, the prior and its penalty."""

import math

import pytest
import torch
from draws import draw

from kdnb.losses import graph_prior_penalty, modality_prior, weighted_imitation


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_against_a_loop():
    student, teachers = draw(4, 6), [draw(4, 6, seed=1), draw(4, 6, seed=2)]
    edges, prior = draw(4, 2, seed=3).softmax(1), torch.tensor([0.2, 0.8]).double()
    total = 0.0
    for j, teacher in enumerate(teachers):
        for b in range(4):
            weight = edges[b, j].item() + prior[j].item()
            total += weight * (1 - cosine(student[b].tolist(), teacher[b].tolist())) / 4
    found = weighted_imitation(student, teachers, edges, prior)
    assert found.item() == pytest.approx(total, rel=1e-12)


def test_lengths_do_not_matter_and_the_same_direction_costs_nothing():
    student, teacher = draw(4, 6), draw(4, 6, seed=1)
    edges, prior = torch.ones(4, 1).double(), torch.ones(1).double()
    one = weighted_imitation(student, [teacher], edges, prior)
    torch.testing.assert_close(weighted_imitation(3 * student, [teacher / 7], edges, prior), one)
    assert weighted_imitation(student, [5 * student], edges, prior).item() == pytest.approx(0)
    assert weighted_imitation(student, [-student], edges, prior).item() == pytest.approx(4)


def test_the_graph_is_drawn_to_whom_is_near():
    """Edges are not detached: their gradient is the distance, and teachers get none."""
    student = draw(4, 6).requires_grad_()
    teachers = [student.detach() * 2, draw(4, 6, seed=1).requires_grad_()]
    edges, prior = torch.full((4, 2), 0.5).double().requires_grad_(), torch.ones(2).double() / 2
    loss = weighted_imitation(student, teachers, edges, prior)
    (gradient,) = torch.autograd.grad(loss, edges, retain_graph=True)
    assert gradient[:, 0].abs().max() < 1e-12 and (gradient[:, 1] > 0).all()
    assert torch.autograd.grad(loss, teachers[1], allow_unused=True) == (None,)


def test_the_penalty_looks_at_the_mean_graph():
    edges, prior = draw(5, 3).softmax(1), torch.tensor([0.5, 0.3, 0.2]).double()
    by_hand = sum((edges[:, j].mean().item() - prior[j].item()) ** 2 for j in range(3))
    assert graph_prior_penalty(edges, prior).item() == pytest.approx(by_hand, rel=1e-12)
    assert graph_prior_penalty(edges, edges.mean(0)).item() == pytest.approx(0)


def test_the_prior_is_sharp():
    found = modality_prior(torch.tensor([1.0, 2.0]))
    assert found.tolist() == pytest.approx([1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))])


def test_what_does_not_fit_is_refused():
    s, e, c = torch.zeros(2, 3), torch.ones(2, 1), torch.ones(1)
    with pytest.raises(ValueError, match=r"edges must be \(batch, 2\).*got \(2, 1\)"):
        weighted_imitation(s, [s, s], e, torch.ones(2))
    with pytest.raises(
        ValueError, match=r"\(batch, features\) of one shape; got \(2, 3\) and \(2, 4\)"
    ):
        weighted_imitation(s, [torch.zeros(2, 4)], e, c)
    with pytest.raises(ValueError, match=r"prior must be \(1,\)"):
        weighted_imitation(s, [s], e, torch.ones(2))
    with pytest.raises(ValueError, match="temperature"):
        modality_prior(c, 0.0)

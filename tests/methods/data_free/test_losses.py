"""The terms of data-free methods: naive derivations, limits, gradients, errors."""

import math

import pytest
import torch
from draws import draw
from torch import nn
from torch.autograd import gradcheck

from kdnb.losses import (
    activation,
    competition,
    contrastive_diversity,
    decision_adversarial,
    discrepancy,
    information_entropy,
    one_hot,
    statistics_distance,
    total_variation,
)
from kdnb.methods.data_free import batch_norm_inputs, statistics_term


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def rows(logits):
    return [softmax(row) for row in logits.tolist()]


def test_one_hot_against_loops():
    logits = draw(5, 4, scale=2.0)
    expected = -sum(math.log(max(row)) for row in rows(logits)) / 5
    assert one_hot(logits).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("base", [10.0, 2.0, None])
def test_information_entropy_against_loops(base):
    logits = draw(6, 4, scale=2.0)
    mean = [sum(row[k] for row in rows(logits)) / 6 for k in range(4)]
    expected = sum(p * math.log(p) / math.log(base or math.e) for p in mean)
    assert information_entropy(logits, base).item() == pytest.approx(expected, rel=1e-10)


def test_both_entropies_agree_once_the_weight_is_converted():
    one, two = (draw(6, 4).requires_grad_() for _ in range(2))
    (5 * information_entropy(one, 10.0)).backward()
    (5 / math.log(10) * information_entropy(two, None)).backward()
    torch.testing.assert_close(one.grad, two.grad)
    assert 5 / math.log(10) == pytest.approx(2.171, abs=5e-4)


def test_the_entropy_wants_all_classes_and_is_bounded():
    balanced, single = 50 * torch.eye(4), torch.zeros(4, 4)
    single[:, 2] = 50
    assert information_entropy(balanced, None).item() == pytest.approx(-math.log(4))
    assert information_entropy(single, None).item() == pytest.approx(0, abs=1e-6)
    extreme = torch.tensor([[1e3, -1e3], [1e3, -1e3]], requires_grad=True)
    information_entropy(extreme).backward()
    assert torch.isfinite(extreme.grad).all()


def test_activation_is_the_sum_or_the_mean_over_features():
    maps = draw(3, 2, 4, 5)
    total = sum(abs(value) for value in maps.flatten().tolist())
    assert activation(maps, "paper").item() == pytest.approx(-total / 3, rel=1e-10)
    assert activation(maps).item() == pytest.approx(-total / maps.numel(), rel=1e-10)


def test_discrepancy_against_loops():
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum(abs(a - b) for a, b in pairs) / 12
    assert discrepancy(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_decision_adversarial_counts_only_where_both_decide_alike():
    student = torch.tensor([[2.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    q, p = rows(student)[0], rows(teacher)[0]
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert decision_adversarial(student, teacher).item() == pytest.approx(-divergence / 2)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_competition_is_one_minus_jensen_shannon(temperature):
    student, teacher = draw(4, 3, scale=3.0), draw(4, 3, scale=3.0, seed=1)
    total = 0.0
    for q, p in zip(rows(student / temperature), rows(teacher / temperature), strict=True):
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        for one in (p, q):
            total += sum(a * math.log(a / c) for a, c in zip(one, m, strict=True)) / 2
    found = competition(student, teacher, temperature).item()
    assert found == pytest.approx(1 - total / 4, rel=1e-10)
    opposite = 1e3 * torch.tensor([[1.0, -1.0]])
    assert competition(opposite, -opposite).item() == pytest.approx(1 - math.log(2))


def test_total_variation_against_loops():
    images = draw(2, 1, 3, 4)
    expected = 0.0
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        squares = 0.0
        for b in range(2):
            for y in range(3):
                for x in range(4):
                    if y + dy < 3 and 0 <= x + dx < 4:
                        gap = images[b, 0, y + dy, x + dx] - images[b, 0, y, x]
                        squares += gap.item() ** 2
        expected += math.sqrt(squares)
    assert total_variation(images).item() == pytest.approx(expected, rel=1e-10)


def test_statistics_are_those_of_the_layers_inputs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    for part in (network[0], network[2]):
        part.running_mean.normal_()
        part.running_var.uniform_(0.5, 2)
    images = torch.randn(4, 2, 3, 3)
    with batch_norm_inputs(network) as inputs:
        network(images)
        found = statistics_term(inputs)
    with torch.no_grad():
        inner = network[1](network[0](images))
    expected = 0.0
    for layer, maps in ((network[0], images), (network[2], inner)):
        values = maps.transpose(0, 1).flatten(1)
        mean, variance = values.mean(1), ((values - values.mean(1, True)) ** 2).mean(1)
        expected += ((mean - layer.running_mean) ** 2).sum().sqrt()
        expected += ((variance - layer.running_var) ** 2).sum().sqrt()
    torch.testing.assert_close(found, expected)


def test_gradients_stay_finite_where_norms_are_zero():
    mean = torch.zeros(3, requires_grad=True)
    statistics_distance(mean, mean + 1, torch.zeros(3), torch.ones(3)).backward()
    assert torch.equal(mean.grad, torch.zeros(3))
    flat = torch.ones(2, 1, 4, 4, requires_grad=True)
    total_variation(flat).backward()
    assert torch.equal(flat.grad, torch.zeros_like(flat))


def test_contrast_against_loops():
    local, whole = (nn.functional.normalize(draw(3, 5, seed=s)) for s in (0, 1))
    old = [nn.functional.normalize(draw(2, 5, seed=s)) for s in (2, 3)]
    keys = torch.cat([whole, old[1]])
    losses = []
    for number, query in enumerate(torch.cat([local, old[0]])):
        scores = [math.exp(float(query @ key) / 0.1) for key in keys]
        losses.append(-math.log(scores[number] / sum(scores)))
    expected = sum(losses[:3]) / 3 + sum(losses[3:]) / 2
    assert contrastive_diversity(local, whole, *old).item() == pytest.approx(expected, rel=1e-9)
    alone = contrastive_diversity(local, whole).item()
    empty = contrastive_diversity(local, whole, torch.zeros(0, 5), torch.zeros(0, 5)).item()
    assert alone == empty < expected


def test_equal_images_are_what_the_contrast_forbids():
    same = nn.functional.normalize(torch.ones(4, 3))
    assert contrastive_diversity(same, same).item() == pytest.approx(math.log(4))
    assert contrastive_diversity(torch.eye(4), torch.eye(4)).item() < 1e-3


def test_gradients_by_finite_differences():
    logits, other = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    assert gradcheck(one_hot, (logits,))
    assert gradcheck(information_entropy, (logits,))
    assert gradcheck(activation, (draw(2, 3, 2, 2).requires_grad_(),))
    assert gradcheck(discrepancy, (logits, other))
    assert gradcheck(decision_adversarial, (logits, other))
    assert gradcheck(lambda a, b: competition(a, b, 3.0), (logits, other))
    assert gradcheck(total_variation, (draw(2, 1, 3, 3).requires_grad_(),))
    mean, variance = draw(3).requires_grad_(), draw(3, seed=1).requires_grad_()
    stored = draw(3, seed=2), draw(3, seed=3)
    assert gradcheck(lambda m, v: statistics_distance(m, v, *stored), (mean, variance))
    assert gradcheck(lambda a: contrastive_diversity(a, draw(4, 3, seed=2)), (logits,))


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    for value in (
        one_hot(logits),
        information_entropy(logits),
        activation(logits),
        discrepancy(logits, logits),
        competition(logits, logits),
        total_variation(torch.randn(1, 1, 3, 3, dtype=torch.bfloat16)),
    ):
        assert value.dtype == torch.float32


def test_errors_name_what_was_got():
    with pytest.raises(ValueError, match="must be logits of shape"):
        one_hot(torch.zeros(3))
    with pytest.raises(ValueError, match=r"base must be a number above 1.*got 1"):
        information_entropy(torch.zeros(2, 3), base=1)
    with pytest.raises(ValueError, match='variant must be "paper" or "authors"'):
        activation(torch.zeros(2, 3), "code")
    with pytest.raises(ValueError, match="not empty"):
        activation(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="same shape"):
        discrepancy(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="2x2 pixels or larger"):
        total_variation(torch.zeros(1, 1, 1, 4))
    with pytest.raises(ValueError, match=r"shape \(channels,\)"):
        statistics_distance(torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"views must be \(batch, features\)"):
        contrastive_diversity(torch.zeros(2, 3), torch.zeros(3, 3))
    with (
        pytest.raises(ValueError, match="has no BatchNorm2d with running statistics"),
        batch_norm_inputs(nn.Linear(2, 2)),
    ):
        pass

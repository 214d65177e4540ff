"""Feature losses on maps against loops over plain numbers, in float64."""

import math

import pytest
import torch
from draws import MAPS, draw

from kdnb import losses

AXES = [(c, h, w) for c in range(4) for h in range(5) for w in range(2)]


def flat(sample):
    """Channels as lists of plain numbers."""
    return [[value for row in channel for value in row] for channel in sample.tolist()]


def length(vector):
    return math.sqrt(sum(value * value for value in vector))


def normal(vector):
    size = length(vector)
    return [value / size for value in vector]


def naive_attention(student, teacher, power=2, variant="paper"):
    total, positions = 0.0, len(flat(student[0])[0])
    for pair in zip(student, teacher, strict=True):
        vectors = []
        for sample in pair:
            channels = flat(sample)
            vectors.append(
                normal([sum(abs(c[i]) ** power for c in channels) for i in range(positions)])
            )
        difference = [a - b for a, b in zip(*vectors, strict=True)]
        square = sum(d * d for d in difference)
        total += square / positions if variant == "authors" else math.sqrt(square)
    return total / len(student)


def kernel_value(x, y, kernel, bandwidth):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    if kernel == "gaussian":
        return math.exp(-sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / (2 * bandwidth))
    return dot if kernel == "linear" else dot * dot


def naive_selectivity(student, teacher, kernel, bandwidth=None):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        s, t = ([normal(channel) for channel in flat(sample)] for sample in (s, t))
        sigma = bandwidth or sum(
            sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x in t for y in s
        ) / (len(s) * len(t))
        for left, right, sign in ((t, t, 1), (s, s, 1), (t, s, -2)):
            pairs = [kernel_value(x, y, kernel, sigma) for x in left for y in right]
            total += sign * sum(pairs) / len(pairs)
    return total / len(student)


def naive_factor(student, teacher, norm=1):
    total = 0.0
    for pair in zip(student, teacher, strict=True):
        s, t = (normal([v for channel in flat(sample) for v in channel]) for sample in pair)
        total += sum(abs(a - b) ** norm for a, b in zip(s, t, strict=True)) ** (1 / norm)
    return total / len(student)


def naive_sum(student, teacher, term):
    """The batch mean of a term of every element (student, teacher, channel)."""
    total = 0.0
    for b in range(len(student)):
        for c, h, w in AXES:
            total += term(student[b, c, h, w].item(), teacher[b, c, h, w].item(), c)
    return total / len(student)


@pytest.mark.parametrize("power", [1, 2, 3.5])
@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_attention_transfer_against_loops(power, variant):
    student, teacher = draw(3, 6, 5, 2), draw(3, 4, 5, 2, seed=1)
    expected = naive_attention(student, teacher, power, variant)
    value = losses.attention_transfer(student, teacher, power, variant).item()
    assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bandwidth", [None, 0.3])
@pytest.mark.parametrize("kernel", ["linear", "polynomial", "gaussian"])
def test_neuron_selectivity_against_a_double_loop(kernel, bandwidth):
    student, teacher = draw(2, 6, 5, 2), draw(2, 4, 5, 2, seed=1)
    value = losses.neuron_selectivity(student, teacher, kernel, bandwidth=bandwidth)
    expected = naive_selectivity(student, teacher, kernel, bandwidth)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_polynomial_selectivity_matches_gram_matrices_of_positions():
    """With d = 2, c = 0 the MMD is the distance of mean outer products over the positions."""
    student, teacher = draw(2, 6, 5, 2), draw(2, 4, 5, 2, seed=1)
    grams = []
    for maps in (student, teacher):
        rows = torch.nn.functional.normalize(maps.flatten(2), dim=2)
        grams.append(rows.mT @ rows / rows.shape[1])
    expected = (grams[0] - grams[1]).square().sum(dim=(1, 2)).mean()
    torch.testing.assert_close(losses.neuron_selectivity(student, teacher), expected)


@pytest.mark.parametrize("norm", [1, 2])
def test_factor_transfer_against_loops(norm):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    expected = naive_factor(student, teacher, norm)
    assert losses.factor_transfer(student, teacher, norm).item() == pytest.approx(expected)
    authors = losses.factor_transfer(student, teacher, variant="authors").item()
    assert authors == pytest.approx(naive_factor(student, teacher) / len(AXES))


def test_squared_losses_against_loops():
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    square = naive_sum(student, teacher, lambda s, t, c: (s - t) ** 2)
    for value, expected in (
        (losses.hint(student, teacher), square / 2),
        (losses.hint(student, teacher, "common"), square / len(AXES)),
        (losses.reused_classifier(student, teacher), square),
        (losses.reused_classifier(student, teacher, "authors"), square / len(AXES)),
        (losses.paraphrase_reconstruction(student, teacher), square),
    ):
        assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_activation_boundary_against_loops(margin):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)

    def term(s, t, c):
        return max(0.0, margin - s) ** 2 if t > 0 else max(0.0, margin + s) ** 2

    expected = naive_sum(student, teacher, term)
    value = losses.activation_boundary(student, teacher, margin)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    authors = losses.activation_boundary(student, teacher, margin, "authors")
    assert authors.item() == pytest.approx(expected * 0.003, rel=1e-12)


def test_overhaul_against_loops():
    student, teacher, margin = draw(*MAPS), draw(*MAPS, seed=1), -draw(4, seed=2).abs()

    def term(s, t, c):
        target = max(t, margin[c].item())
        return 0.0 if s <= target <= 0 else (target - s) ** 2

    expected = naive_sum(student, teacher, term)
    value = losses.overhaul(student, teacher, margin).item()
    assert value == pytest.approx(expected, rel=1e-12)


def test_overhaul_margin_is_the_mean_of_the_negative_part():
    weight = torch.tensor([1.0, -2.0, 0.5, 1.0, 0.0, 0.0, 1e-3], dtype=torch.float64)
    bias = torch.tensor([0.0, 1.0, -3.0, 4.0, -0.5, 0.5, 1.0], dtype=torch.float64)
    values = losses.overhaul_margin(weight, bias)
    for i in range(4):
        scale, mean = abs(weight[i].item()), bias[i].item()
        steps = [mean - 12 * scale + k * scale / 2000 for k in range(40000)]
        steps = [x for x in steps if x < 0]
        density = [math.exp(-(((x - mean) / scale) ** 2) / 2) for x in steps]
        expected = sum(x * d for x, d in zip(steps, density, strict=True)) / sum(density)
        assert values[i].item() == pytest.approx(expected, abs=2e-3)
    assert values[4:].tolist() == pytest.approx([-0.5, 0.0, -1e-6], rel=1e-3)
    authors = losses.overhaul_margin(weight, bias, "authors")
    torch.testing.assert_close(authors[:3], values[:3])
    assert authors[3].item() == -3.0
    assert (losses.overhaul_margin(weight.float(), bias.float()) <= 0).all()


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_variational_information_against_loops(variant):
    mean, teacher, raw = draw(*MAPS), draw(*MAPS, seed=1), draw(4, seed=2, scale=3)
    variance = [math.log(1 + math.exp(a)) + 1e-5 for a in raw.tolist()]

    def term(s, t, c):
        return math.log(math.sqrt(variance[c])) + (t - s) ** 2 / (2 * variance[c])

    expected = naive_sum(mean, teacher, term) / (len(AXES) if variant == "authors" else 1)
    value = losses.variational_information(mean, teacher, raw, variant=variant)
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_variational_softplus_does_not_overflow():
    mean, teacher = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    raw = torch.tensor([1e4, -1e4, 500.0], requires_grad=True)
    loss = losses.variational_information(mean, teacher, raw)
    (gradient,) = torch.autograd.grad(loss, raw)
    expected = sum(math.log(v) / 2 + 1 / (2 * v) for v in (1e4, 1e-5, 500.0))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(gradient).all()
    assert gradient[0].item() == pytest.approx(5e-5, rel=1e-3)


def test_class_attention_against_loops():
    student, teacher = draw(2, 3, 6, 4), draw(2, 3, 4, 2, seed=1)

    def pooled(sample, k):
        height, width = sample.shape[1] // 2, sample.shape[2] // 2
        cells = [(i, j) for i in range(2) for j in range(2)]
        return normal(
            [
                sum(
                    sample[k, i * height + a, j * width + b].item()
                    for a in range(height)
                    for b in range(width)
                )
                for i, j in cells
            ]
        )

    total = sum(
        sum((x - y) ** 2 for x, y in zip(pooled(s, k), pooled(t, k), strict=True))
        for s, t in zip(student, teacher, strict=True)
        for k in range(3)
    )
    assert losses.class_attention(student, teacher).item() == pytest.approx(total / 6)
    authors = losses.class_attention(student, teacher, variant="authors").item()
    assert authors == pytest.approx(total / 24)


def test_class_activation_maps_average_to_the_logits():
    maps, classifier = draw(2, 4, 3, 5), draw(6, 4, seed=1)
    logits = losses.class_activation_maps(maps, classifier).mean(dim=(2, 3))
    torch.testing.assert_close(logits, maps.mean(dim=(2, 3)) @ classifier.T)


def test_feature_statistics_against_loops_and_restyling():
    student, teacher = draw(3, 4, 5, 2), draw(3, 4, 3, 3, seed=1)
    total = 0.0
    for pair in zip(student, teacher, strict=True):
        for s, t in zip(*(flat(sample) for sample in pair), strict=True):
            means = [sum(v) / len(v) for v in (s, t)]
            spread = [
                math.sqrt(sum((x - m) ** 2 for x in v) / len(v) + 1e-5)
                for v, m in zip((s, t), means, strict=True)
            ]
            total += (means[0] - means[1]) ** 2 + (spread[0] - spread[1]) ** 2
    value = losses.feature_statistics(student, teacher).item()
    assert value == pytest.approx(total / 3, rel=1e-10)
    restyled = losses.restyle(teacher, student)
    assert losses.feature_statistics(restyled, student).item() < 1e-8
    torch.testing.assert_close(losses.restyle(teacher, teacher), teacher)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_layer_projection_against_loops(temperature):
    student, teacher = draw(3, 2, 4), draw(3, 5, 4, seed=1)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        for layer in s:
            dots = [sum(a * b for a, b in zip(layer, row, strict=True)) for row in t]
            powers = [math.exp(dot / temperature) for dot in dots]
            for k in range(4):
                mixed = sum(p * row[k] for p, row in zip(powers, t, strict=True)) / sum(powers)
                total += (layer[k] - mixed) ** 2 / (3 * 4)
    value = losses.layer_projection(student, teacher, temperature)
    assert value.item() == pytest.approx(total, rel=1e-10)


def test_semantic_calibration_against_loops():
    sizes = [(2, 3, 2), (4, 1, 5)]
    student = [[draw(3, *size, seed=10 * i + j) for j, size in enumerate(sizes)] for i in range(3)]
    teacher = [[draw(3, *size, seed=99 - i + j) for j, size in enumerate(sizes)] for i in range(3)]
    attention = torch.softmax(draw(3, 3, 2), dim=2)
    total = 0.0
    for b in range(3):
        for i in range(3):
            for j in range(2):
                s, t = (m[i][j][b].flatten().tolist() for m in (student, teacher))
                square = sum((x - y) ** 2 for x, y in zip(s, t, strict=True)) / len(s)
                total += attention[b, i, j].item() * square / 3
    loss = losses.semantic_calibration
    assert loss(student, teacher, attention).item() == pytest.approx(total, rel=1e-10)
    assert loss(student, teacher, attention, "authors").item() == pytest.approx(total / 3)
    assert loss(student, student, attention).item() == 0


@pytest.mark.parametrize("size", [(8, 8), (5, 3), (3, 6), (2, 2), (1, 1)])
def test_hierarchical_context_against_loops(size):
    student, teacher = draw(2, 3, *size), draw(2, 3, *size, seed=1)
    difference, (height, width) = student - teacher, size
    total, weight, weights = difference.square().mean().item(), 1.0, 1.0
    for level in (4, 2, 1):
        rows, columns = min(level, height), min(level, width)
        if (rows, columns) == size:
            continue
        weight /= 2
        weights += weight
        for i in range(rows):
            top, bottom = i * height // rows, -(-(i + 1) * height // rows)
            for j in range(columns):
                left, right = j * width // columns, -(-(j + 1) * width // columns)
                cell = difference[:, :, top:bottom, left:right].mean(dim=(2, 3))
                total += weight * cell.square().mean().item() / (rows * columns)
    value = losses.hierarchical_context(student, teacher).item()
    assert value == pytest.approx(total / weights, rel=1e-10)

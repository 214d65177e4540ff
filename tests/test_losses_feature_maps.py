"""Feature losses on maps: loops in float64, gradients, invariances, extreme inputs, errors."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import feature

SHAPE = (3, 4, 5, 2)
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
    value = feature.attention_transfer(student, teacher, power, variant).item()
    assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bandwidth", [None, 0.3])
@pytest.mark.parametrize("kernel", ["linear", "polynomial", "gaussian"])
def test_neuron_selectivity_against_a_double_loop(kernel, bandwidth):
    student, teacher = draw(2, 6, 5, 2), draw(2, 4, 5, 2, seed=1)
    value = feature.neuron_selectivity(student, teacher, kernel, bandwidth=bandwidth)
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
    torch.testing.assert_close(feature.neuron_selectivity(student, teacher), expected)


@pytest.mark.parametrize("norm", [1, 2])
def test_factor_transfer_against_loops(norm):
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    expected = naive_factor(student, teacher, norm)
    assert feature.factor_transfer(student, teacher, norm).item() == pytest.approx(expected)
    authors = feature.factor_transfer(student, teacher, variant="authors").item()
    assert authors == pytest.approx(naive_factor(student, teacher) / len(AXES))


def test_squared_losses_against_loops():
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    square = naive_sum(student, teacher, lambda s, t, c: (s - t) ** 2)
    for value, expected in (
        (feature.hint(student, teacher), square / 2),
        (feature.hint(student, teacher, "common"), square / len(AXES)),
        (feature.reused_classifier(student, teacher), square),
        (feature.reused_classifier(student, teacher, "authors"), square / len(AXES)),
        (feature.paraphrase_reconstruction(student, teacher), square),
    ):
        assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_activation_boundary_against_loops(margin):
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)

    def term(s, t, c):
        return max(0.0, margin - s) ** 2 if t > 0 else max(0.0, margin + s) ** 2

    expected = naive_sum(student, teacher, term)
    value = feature.activation_boundary(student, teacher, margin)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    authors = feature.activation_boundary(student, teacher, margin, "authors")
    assert authors.item() == pytest.approx(expected * 0.003, rel=1e-12)


def test_overhaul_against_loops():
    student, teacher, margin = draw(*SHAPE), draw(*SHAPE, seed=1), -draw(4, seed=2).abs()

    def term(s, t, c):
        target = max(t, margin[c].item())
        return 0.0 if s <= target <= 0 else (target - s) ** 2

    expected = naive_sum(student, teacher, term)
    value = feature.overhaul(student, teacher, margin).item()
    assert value == pytest.approx(expected, rel=1e-12)


def test_overhaul_margin_is_the_mean_of_the_negative_part():
    weight = torch.tensor([1.0, -2.0, 0.5, 1.0, 0.0, 0.0, 1e-3], dtype=torch.float64)
    bias = torch.tensor([0.0, 1.0, -3.0, 4.0, -0.5, 0.5, 1.0], dtype=torch.float64)
    values = feature.overhaul_margin(weight, bias)
    for i in range(4):
        scale, mean = abs(weight[i].item()), bias[i].item()
        steps = [mean - 12 * scale + k * scale / 2000 for k in range(40000)]
        steps = [x for x in steps if x < 0]
        density = [math.exp(-(((x - mean) / scale) ** 2) / 2) for x in steps]
        expected = sum(x * d for x, d in zip(steps, density, strict=True)) / sum(density)
        assert values[i].item() == pytest.approx(expected, abs=2e-3)
    assert values[4:].tolist() == pytest.approx([-0.5, 0.0, -1e-6], rel=1e-3)
    authors = feature.overhaul_margin(weight, bias, "authors")
    torch.testing.assert_close(authors[:3], values[:3])
    assert authors[3].item() == -3.0
    assert (feature.overhaul_margin(weight.float(), bias.float()) <= 0).all()


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_variational_information_against_loops(variant):
    mean, teacher, raw = draw(*SHAPE), draw(*SHAPE, seed=1), draw(4, seed=2, scale=3)
    variance = [math.log(1 + math.exp(a)) + 1e-5 for a in raw.tolist()]

    def term(s, t, c):
        return math.log(math.sqrt(variance[c])) + (t - s) ** 2 / (2 * variance[c])

    expected = naive_sum(mean, teacher, term) / (len(AXES) if variant == "authors" else 1)
    value = feature.variational_information(mean, teacher, raw, variant=variant)
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_variational_softplus_does_not_overflow():
    mean, teacher = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    raw = torch.tensor([1e4, -1e4, 500.0], requires_grad=True)
    loss = feature.variational_information(mean, teacher, raw)
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
    assert feature.class_attention(student, teacher).item() == pytest.approx(total / 6)
    authors = feature.class_attention(student, teacher, variant="authors").item()
    assert authors == pytest.approx(total / 24)


def test_class_activation_maps_average_to_the_logits():
    maps, classifier = draw(2, 4, 3, 5), draw(6, 4, seed=1)
    logits = feature.class_activation_maps(maps, classifier).mean(dim=(2, 3))
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
    value = feature.feature_statistics(student, teacher).item()
    assert value == pytest.approx(total / 3, rel=1e-10)
    restyled = feature.restyle(teacher, student)
    assert feature.feature_statistics(restyled, student).item() < 1e-8
    torch.testing.assert_close(feature.restyle(teacher, teacher), teacher)


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
    value = feature.layer_projection(student, teacher, temperature)
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
    loss = feature.semantic_calibration
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
    value = feature.hierarchical_context(student, teacher).item()
    assert value == pytest.approx(total / weights, rel=1e-10)


MATCHING = {
    "hint": feature.hint,
    "common hint": lambda s, t: feature.hint(s, t, "common"),
    "attention": feature.attention_transfer,
    "authors' attention": lambda s, t: feature.attention_transfer(s, t, variant="authors"),
    "linear": lambda s, t: feature.neuron_selectivity(s, t, "linear"),
    "polynomial": feature.neuron_selectivity,
    "gaussian": lambda s, t: feature.neuron_selectivity(s, t, "gaussian", bandwidth=0.5),
    "factor": feature.factor_transfer,
    "factor, L2": lambda s, t: feature.factor_transfer(s, t, 2),
    "overhaul": lambda s, t: feature.overhaul(s, t, torch.full((4,), -9.0)),
    "classes": feature.class_attention,
    "statistics": feature.feature_statistics,
    "context": feature.hierarchical_context,
    "reused": feature.reused_classifier,
}
OTHERS = {
    "boundary": feature.activation_boundary,
    "variational": lambda s, t: feature.variational_information(s, t, torch.zeros(4)),
    "adaptive gaussian": lambda s, t: feature.neuron_selectivity(s, t, "gaussian"),
    "layers": lambda s, t: feature.layer_projection(s.flatten(2), t.flatten(2)),
}
EVERY = {**MATCHING, **OTHERS}


@pytest.mark.parametrize("name", [name for name in EVERY if name != "adaptive gaussian"])
def test_gradients_by_finite_differences(name):
    student, teacher = draw(2, 4, 3, 2).requires_grad_(), draw(2, 4, 3, 2, seed=1).requires_grad_()
    assert gradcheck(EVERY[name], (student, teacher))


def test_gradients_of_the_variance():
    maps, raw = (draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)), draw(4, seed=2).requires_grad_()
    assert gradcheck(lambda a: feature.variational_information(*maps, a), (raw,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("name", [*MATCHING, "adaptive gaussian"])
def test_matching_student_has_no_loss_and_no_gradient(name, dtype):
    teacher = draw(*SHAPE).to(dtype)
    student = teacher.clone().requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    precise = dtype == torch.float64
    assert loss.item() == pytest.approx(0, abs=1e-12 if precise else 1e-6)
    assert gradient.abs().max() < (1e-12 if precise else 1e-5)


@pytest.mark.parametrize("name", ["attention", "polynomial", "linear"])
def test_channel_order_is_free(name):
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    order = torch.tensor([2, 0, 3, 1])
    moved = EVERY[name](student[:, order], teacher[:, order.flip(0)])
    torch.testing.assert_close(moved, EVERY[name](student, teacher))


@pytest.mark.parametrize("name", ["attention", "polynomial", "gaussian", "factor", "classes"])
def test_scale_of_a_sample_is_free(name):
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    scale = torch.tensor([1e-3, 2.0, 70.0], dtype=torch.float64)[:, None, None, None]
    moved = EVERY[name](scale * student, teacher / scale)
    torch.testing.assert_close(moved, EVERY[name](student, teacher))


@pytest.mark.parametrize("name", ["attention", "polynomial", "factor", "classes", "statistics"])
def test_sizes_meet_by_pooling(name):
    student, teacher = draw(3, 4, 6, 2), draw(3, 4, 3, 4, seed=1)
    value = EVERY[name](student.requires_grad_(), teacher)
    assert torch.isfinite(torch.autograd.grad(value, student)[0]).all()
    if name in ("attention", "polynomial", "factor"):
        small = torch.nn.functional.adaptive_avg_pool2d(student, (3, 2))
        other = torch.nn.functional.adaptive_avg_pool2d(teacher, (3, 2))
        torch.testing.assert_close(EVERY[name](small, other), value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", EVERY)
def test_extreme_maps_and_half_precision(name, dtype):
    scale = 30.0 if name == "layers" else 1e3  # its gradient, cubic in the scale, fills a half
    student = draw(*SHAPE).sign().mul(scale).to(dtype)
    teacher = draw(*SHAPE, seed=1).sign().mul(scale).to(dtype)
    student[0, 0], teacher[1] = 0, 0
    student.requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert loss > 0


@pytest.mark.parametrize("name", ["attention", "polynomial", "linear", "factor", "classes"])
def test_dead_maps_have_bounded_gradients(name):
    teacher, student = draw(*SHAPE).float(), torch.zeros(SHAPE, requires_grad=True)
    (gradient,) = torch.autograd.grad(EVERY[name](student, teacher), student)
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    student, teacher = draw(*SHAPE).float(), draw(*SHAPE, seed=1).float()
    plain = [loss(student, teacher) for loss in EVERY.values()]
    plain.append(feature.class_activation_maps(student, teacher[0, :, :, 0].T))
    with torch.autocast("cpu", dtype):
        cast = [loss(student, teacher) for loss in EVERY.values()]
        cast.append(feature.class_activation_maps(student, teacher[0, :, :, 0].T))
    torch.testing.assert_close(cast, plain)


SAME_SHAPE = ["hint", "overhaul", "context", "reused", "boundary", "variational"]


@pytest.mark.parametrize("name", SAME_SHAPE)
@pytest.mark.parametrize("other", [(3, 5, 5, 2), (3, 4, 2, 5), (2, 4, 5, 2)])
def test_different_shapes_are_named(name, other):
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 2\) and .* \(") as error:
        EVERY[name](torch.zeros(SHAPE), torch.zeros(other))
    assert str(other) in str(error.value)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "layers"])
def test_wrong_maps_are_named(name):
    for shape in ((3, 4), (0, 4, 5, 2), (3, 4, 0, 2)):
        with pytest.raises(ValueError, match="must be feature maps of shape") as error:
            EVERY[name](torch.zeros(shape), torch.zeros(shape))
        assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", ["factor", "classes", "statistics"])
def test_different_channels_are_named(name):
    with pytest.raises(ValueError, match=r"batch size, channels; .* \(3, 4, .* \(3, 5, "):
        EVERY[name](torch.zeros(3, 4, 2, 2), torch.zeros(3, 5, 2, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: feature.hint(a, a, "authors"), "variant must be one of paper, common"),
        (lambda a: feature.attention_transfer(a, a, variant="other"), "variant must be one of"),
        (lambda a: feature.attention_transfer(a, a, 0.5), "power must be at least 1; got 0.5"),
        (lambda a: feature.activation_boundary(a, a, 0.0), "margin must be above 0"),
        (lambda a: feature.factor_transfer(a, a, 3), "norm must be 1 or 2"),
        (lambda a: feature.factor_transfer(a, a, 2, "authors"), "norm must be 1 or 2"),
        (lambda a: feature.class_attention(a, a, 0), "resolution must be at least 1"),
        (lambda a: feature.neuron_selectivity(a, a, "cubic"), "kernel must be linear"),
        (lambda a: feature.neuron_selectivity(a, a, bandwidth=0.0), "bandwidth must be above 0"),
        (lambda a: feature.overhaul(a, a, torch.zeros(3)), r"margin must be \(4,\)"),
        (lambda a: feature.overhaul_margin(torch.ones(2), torch.ones(3)), "vectors of one length"),
        (lambda a: feature.class_activation_maps(a, torch.ones(2, 3)), r"got \(2, 3\)"),
        (lambda a: feature.variational_information(a, a, torch.ones(3)), r"got \(3,\)"),
        (lambda a: feature.layer_projection(a[0], a[0, :2]), r"student_states \(4, 5, 2\)"),
        (lambda a: feature.layer_projection(a[0], a[0], 0.0), "temperature must be"),
        (lambda a: feature.semantic_calibration([[a]], [], a), "got 1 maps for 0 teacher layers"),
        (lambda a: feature.semantic_calibration([[a]], [[a]], a), r"attention must be .* \(3, 1,"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones(SHAPE))

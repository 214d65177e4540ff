"""Learnt widths: costs, a price that closes gates, and which channels are left."""

import pytest
import torch

from kdnb.methods.architecture.design import parameters
from kdnb.methods.nas import (
    ConvNet,
    Layer,
    build,
    channel_costs,
    gates_of,
    narrowed,
    search_widths,
)
from kdnb.training import Recipe

LAYERS = (Layer(6), Layer(8, kernel=1, norm=False), Layer(5))
RECIPE = Recipe(epochs=15, batch_size=16, optimiser="adam", lr=0.02, precision="32")


def gated(seed=0, layers=LAYERS):
    torch.manual_seed(seed)
    return ConvNet(layers, num_classes=3, in_channels=3, gates=True)


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    labels = torch.arange(48) % 3
    images = 0.1 * torch.rand(48, 3, 5, 5)
    images[torch.arange(48), labels] += 1
    return images, labels


def size(layers):
    return parameters(ConvNet(layers, num_classes=3, in_channels=3))


def test_a_channel_costs_what_goes_with_it():
    costs = channel_costs(LAYERS, num_classes=3, in_channels=3)
    for place, cost in enumerate(costs):
        thinner = list(LAYERS)
        layer = LAYERS[place]
        thinner[place] = Layer(layer.channels - 1, layer.kernel, layer.pool, layer.norm)
        assert size(LAYERS) - size(thinner) == cost


def test_a_price_closes_gates_and_none_leaves_them(data):
    teacher = build((Layer(8),), 5, num_classes=3, in_channels=3)
    long, means = RECIPE.model_copy(update={"epochs": 40, "lr": 0.05}), {}
    for penalty in (0.0, 1.0, 20.0):
        network = gated()
        fit = search_widths(network, teacher, data, long, penalty=penalty, soft_weight=0.0)
        assert ("gates" in fit.history) and fit.networks["student"] is network
        means[penalty] = float(torch.cat(gates_of(network)).abs().mean().detach())
    assert means[0.0] > means[1.0] > means[20.0] and means[20.0] < 0.2


def test_the_terms_are_what_they_say_and_the_teacher_stays(data):
    torch.manual_seed(1)
    teacher = build((Layer(8),), 5, num_classes=3, in_channels=3).train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    short = RECIPE.model_copy(update={"epochs": 1})
    fit = search_widths(gated(), teacher, data, short, penalty=0.5)
    assert {"gates", "soft", "hard"} <= set(fit.history.columns)
    assert fit.history.gates[0] == pytest.approx(0.5, abs=0.1)  # gates start at 1
    assert teacher.training and all(v.equal(before[k]) for k, v in teacher.state_dict().items())
    unlabelled = search_widths(gated(), teacher, data[0], short, label_weight=0.0)
    assert "hard" not in unlabelled.history


def test_a_search_is_a_function_of_its_seed(data):
    teacher, short = (
        build((Layer(8),), 5, num_classes=3, in_channels=3),
        RECIPE.model_copy(update={"epochs": 2}),
    )
    made = [gated() for _ in range(3)]
    for one, seed in zip(made, (0, 0, 1), strict=True):
        search_widths(one, teacher, data, short, seed=seed)
    found = [torch.cat(gates_of(one)).detach() for one in made]
    assert found[0].equal(found[1]) and not found[0].equal(found[2])


def test_the_smallest_gates_go_first_and_every_layer_keeps_a_channel():
    network = gated()
    values = [
        torch.tensor([0.9, -0.8, 0.01, 0.02, 0.7, 0.6]),
        torch.full((8,), 0.001),
        torch.full((5,), 1.0),
    ]
    for gate, value in zip(gates_of(network), values, strict=True):
        gate.data.copy_(value)
    assert narrowed(network, size(LAYERS)) == LAYERS
    closed = narrowed(network, size((Layer(6), Layer(1, kernel=1, norm=False), Layer(5))))
    assert [layer.channels for layer in closed] == [6, 1, 5]
    fewer = narrowed(network, size(closed) - 1)
    assert [layer.channels for layer in fewer] == [5, 1, 5] and fewer[1].kernel == 1
    smallest = size(tuple(Layer(1, one.kernel, one.pool, one.norm) for one in LAYERS))
    assert [layer.channels for layer in narrowed(network, smallest)] == [1, 1, 1]
    with pytest.raises(ValueError, match=f"limit={smallest - 1} is below {smallest}"):
        narrowed(network, smallest - 1)


def test_wrong_arguments(data):
    plain = build(LAYERS, 0, num_classes=3, in_channels=3)
    teacher = build((Layer(8),), 5, num_classes=3, in_channels=3)
    with pytest.raises(ValueError, match="this network has no gates"):
        search_widths(plain, teacher, data, RECIPE)
    with pytest.raises(ValueError, match="student and teacher 1 share"):
        network = gated()
        search_widths(network, network, data, RECIPE)
    with pytest.raises(ValueError, match="penalty must be at least 0"):
        search_widths(gated(), teacher, data, RECIPE, penalty=-1.0)
    with pytest.raises(ValueError, match="search_widths has no option 'gamma'"):
        search_widths(gated(), teacher, data, gamma=1.0)


def test_what_does_not_fit_is_refused_before_any_step(data):
    images, labels = data
    teacher, network = build((Layer(8),), 5, num_classes=3, in_channels=3), gated()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for call, words in (
        (lambda: search_widths(torch.nn.Linear(2, 2), teacher, data, RECIPE), "has no gates"),
        (lambda: search_widths(network, build((Layer(8),), 5, in_channels=3), data, RECIPE), "one shape; got"),
        (lambda: search_widths(network, teacher, (images[:, :1], labels), RECIPE), "the student cannot take"),
        (lambda: search_widths(network, teacher, (images, labels + 1), RECIPE), "labels must lie in 0 to 2"),
        (lambda: search_widths(network, teacher, data, RECIPE, soft_weight=0.0, label_weight=0.0), "nothing would be learnt"),
        (lambda: narrowed(network, 0), "limit must be at least 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call()
    assert all(v.equal(before[k]) for k, v in network.state_dict().items())
    gates_of(network)[0].data[1] = float("nan")
    with pytest.raises(
        ValueError, match="weights that are NaN or infinite, in 'stage1.gate.factor'"
    ):
        narrowed(network, 100)


def test_a_gated_network_in_half_precision_stays_in_it(data):
    teacher, network = build((Layer(8),), 5, num_classes=3, in_channels=3), gated().bfloat16()
    fit = search_widths(network, teacher, data, RECIPE.model_copy(update={"epochs": 1}))
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert fit.history.gates.notna().all()

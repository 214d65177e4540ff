"""Students by design, and the table that compares them."""

import copy
from functools import partial

import pandas as pd
import pytest
import torch
from torch import nn

from kdnb import losses, nets
from kdnb.data import Batches, Images
from kdnb.methods.architecture import design
from kdnb.methods.offline import distil
from kdnb.training import Recipe, predict

DATA = {"num_classes": 3, "in_channels": 1, "image_size": 12}


def batches(count=24, **options):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(count) % 3), 8, mean=(0.5,), sd=(0.3,), **options)


def built(spec):
    torch.manual_seed(0)
    options = dict(spec)
    return nets.build(options.pop("name"), **DATA, **options)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mlp", "widths": [40, 40]},
        {"name": "resnet14"},
        {"name": "resnet32x4"},
        {"name": "vgg13", "width": 0.125},
        {"name": "wrn-16-2"},
        {"name": "plain6"},
    ],
)
def test_thinner_and_shallower_students_are_smaller(spec):
    teacher = built(spec)
    images = torch.zeros(2, 1, 12, 12)

    def layers(network):
        return sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules())

    thin, shallow = built(design.thinner(spec)), built(design.shallower(spec))
    assert layers(thin) in (layers(teacher), layers(teacher) - 1)  # WRN-d-1 has a shortcut less
    assert layers(shallow) < layers(teacher)
    for student in (thin, shallow):
        assert design.parameters(student) < 0.85 * design.parameters(teacher)
        assert design.multiply_adds(student, images[0]) < design.multiply_adds(teacher, images[0])
        assert student(images).shape == (2, 3)


def test_designs_are_smaller_each_in_its_own_way():
    spec = {"name": "plain6"}
    image, teacher = torch.zeros(1, 12, 12), built(spec)
    students = {
        "same": built(spec), "thinner": built(design.thinner(spec)),
        "shallower": built(design.shallower(spec)),
        "separable": design.depthwise_separable(teacher),
        "quantised": design.fake_quantised(teacher, bits=4),
    }  # fmt: skip
    costs = {
        name: (design.multiply_adds(network, image), design.stored_bytes(network))
        for name, network in {"teacher": teacher, **students}.items()
    }
    operations, stored = costs.pop("teacher")
    assert costs.pop("same") == (operations, stored)
    quantised = costs.pop("quantised")
    assert quantised[0] == operations and quantised[1] < stored / 4
    assert all(a < operations and b < stored for a, b in costs.values()) and len(costs) == 3


def test_students_without_a_rule_are_refused():
    with pytest.raises(ValueError, match="no thinner 'lenet5'"):
        design.thinner({"name": "lenet5"})
    with pytest.raises(ValueError, match="no shallower 'vgg8'"):
        design.shallower({"name": "vgg8"})
    with pytest.raises(ValueError, match="no shallower 'mlp'"):
        design.shallower({"name": "mlp", "widths": []})
    with pytest.raises(ValueError, match="no shallower 'wrn-10-1'"):
        design.shallower({"name": "wrn-10-1"})
    with pytest.raises(ValueError, match="factor within 0 and 1; got 1"):
        design.thinner({"name": "resnet8"}, 1)


def test_separable_convolutions_cost_what_the_formula_says():
    teacher = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Conv2d(6, 5, 1)
    )
    student = design.depthwise_separable(teacher)
    assert [type(m) for m in student] == [nn.Conv2d, nn.Sequential, nn.Conv2d]
    assert torch.equal(student[0].weight, teacher[0].weight)
    image, pixels = torch.randn(1, 12, 12), 36
    saved = pixels * (9 * 4 * 6 - 9 * 4 - 4 * 6)
    costs = [design.multiply_adds(net, image) for net in (teacher, student)]
    assert costs[0] - costs[1] == saved
    assert student(image[None]).shape == teacher(image[None]).shape
    assert isinstance(teacher[1], nn.Conv2d)


def test_a_separable_resnet_learns():
    student = design.depthwise_separable(built({"name": "resnet8"}))
    recipe = Recipe(epochs=6, batch_size=8, lr=0.05, precision="32")
    history = distil.train(student, batches(), recipe).rows
    assert history[-1]["hard"] < history[0]["hard"]
    with pytest.raises(ValueError, match="no convolution to split"):
        design.depthwise_separable(built({"name": "mlp"}))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantised_weights_lie_on_a_grid_of_each_channel(bits):
    teacher = nn.Sequential(nn.Conv2d(2, 5, 3))
    student = design.fake_quantised(teacher, bits)
    levels = 2 ** (bits - 1) - 1
    for found, wanted in zip(student[0].weight.detach(), teacher[0].weight.detach(), strict=True):
        step = float(wanted.abs().max()) / levels
        whole = found / step
        assert (whole - whole.round()).abs().max() < 1e-3
        assert whole.abs().max() <= levels + 1e-3
        assert (found - wanted).abs().max() <= step / 2 + 1e-6
    assert torch.equal(student[0].bias, teacher[0].bias)
    assert not hasattr(teacher[0], "parametrizations")


def test_gradients_go_straight_through():
    grid = design.FakeQuantised(4)
    weight = torch.randn(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad((grid(weight) * torch.arange(4.0)).sum(), weight)
    assert torch.equal(gradient, torch.arange(4.0).expand(3, 4))
    assert torch.equal(grid(torch.zeros(2, 3)), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="at least 2 bits; got 1"):
        design.FakeQuantised(1)


def test_the_grid_is_fixed_by_the_weights_and_nothing_of_it_is_learnt():
    """What the copy is not: differentiable quantisation learns where the grid's points lie."""
    teacher = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(20, 3))
    student = design.fake_quantised(teacher, 4)
    grids = [part for part in student.modules() if isinstance(part, design.FakeQuantised)]
    assert len(grids) == 2 and not any(list(grid.parameters()) for grid in grids)
    assert design.parameters(student) == design.parameters(teacher)


def test_a_quantised_copy_agrees_and_is_distilled_on_its_grid():
    teacher = built({"name": "mlp", "widths": [32]})
    distil.train(teacher, batches(), Recipe(epochs=5, batch_size=8, lr=0.05, precision="32"))
    fine, coarse = design.fake_quantised(teacher, 8), design.fake_quantised(teacher, 2)
    plain = batches(shuffle=False)
    logits, errors = predict(teacher, plain), []
    for student in (fine, coarse):
        errors.append(float((predict(student, plain) - logits).abs().mean()))
    assert errors[0] < 0.02 * float(logits.abs().mean())
    assert errors[1] > 10 * errors[0]
    soft = partial(losses.soft_targets, temperature=2.0)
    recipe = Recipe(epochs=10, batch_size=8, lr=0.02, precision="32")
    before = soft(predict(coarse, plain), logits)
    distil.distil(coarse, teacher, batches(), recipe, method=soft, label_weight=0)
    assert soft(predict(coarse, plain), logits) < 0.5 * before
    assert all(len(row.unique()) <= 3 for row in coarse.head.weight.detach())


def test_costs_by_hand():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)
    )
    assert design.parameters(network) == 4 * 9 + 4 + 8 + 303
    assert design.multiply_adds(network, torch.zeros(1, 12, 12)) == 4 * 9 * 25 + 300
    assert network.training
    # BatchNorm keeps two statistics of float32 and one int64 counter.
    whole = 4 * (design.parameters(network) + 8) + 8
    assert design.stored_bytes(network) == whole
    quantised = design.fake_quantised(network, 8)
    assert design.stored_bytes(quantised) == whole - 3 * (36 + 300) + 4 * (4 + 3)
    assert design.parameters(quantised) == design.parameters(network)
    assert design.multiply_adds(quantised, torch.zeros(1, 12, 12)) == 1200


def test_latency_is_the_median_after_the_warm_up(monkeypatch):
    clock = iter([0.0, 100.0, 0.0, 50.0, 0.0, 1.0, 0.0, 9.0, 0.0, 2.0])  # start, end, ...
    monkeypatch.setattr(design, "perf_counter", lambda: next(clock))
    network, modes = nn.Linear(2, 2), []
    network.register_forward_hook(lambda m, *_: modes.append(m.training))
    assert design.latency(network, torch.zeros(1, 2), repeats=3, warm_up=2) == 2.0
    assert modes == [False] * 5
    assert network.training


def test_the_pareto_rows_by_loops():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 5, (40, 3), generator=generator).tolist()
    table = pd.DataFrame(values, columns=["cost", "time", "accuracy"])
    found = design.pareto(table, ["cost", "time"], ["accuracy"])
    for row, mine in zip(values, found, strict=True):
        beaten = any(
            o[0] <= row[0] and o[1] <= row[1] and o[2] >= row[2] and o != row for o in values
        )
        assert bool(mine) is not beaten
    assert design.pareto(table.iloc[[0, 0]], ["cost"], ["accuracy"]).all()
    with pytest.raises(ValueError, match="at least one column"):
        design.pareto(table, [], [])


def test_the_table_of_a_familys_students():
    teacher = built({"name": "mlp", "widths": [64]})
    recipe = Recipe(epochs=15, batch_size=8, lr=0.05, precision="32")
    distil.train(teacher, batches(), recipe)
    students = {
        "teacher": teacher,
        "thinner": built({"name": "mlp", "widths": [16]}),
        "quantised": design.fake_quantised(teacher),
        "same": copy.deepcopy(teacher),
    }
    table = design.measure(students, batches(shuffle=False), repeats=3, warm_up=1)
    assert list(table.index) == list(students)
    assert table.loc["teacher", "accuracy"] == 1.0
    assert table.loc["quantised", "accuracy"] == 1.0
    assert (table[["latency_1", "latency_128"]] > 0).all(axis=None)
    assert table.loc["thinner", "multiply_adds"] == 144 * 16 + 16 * 3
    assert table.loc["quantised", "bytes"] < 0.3 * table.loc["teacher", "bytes"]
    assert table["pareto"].tolist() == [True, True, True, True]
    assert table.attrs["threads"] == torch.get_num_threads()


def test_accuracy_counts_images_not_batches():
    class Third(nn.Module):
        def forward(self, images):
            return torch.eye(3)[torch.zeros(len(images)).long()]

    assert design.accuracy(Third(), batches(count=20)) == pytest.approx(7 / 20)

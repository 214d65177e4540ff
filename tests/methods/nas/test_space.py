"""Networks as data: what an architecture builds, what a space holds, what is drawn from it."""

import doctest
import importlib

import pytest
import torch
from torch import nn

import kdnb
from kdnb.methods.architecture.design import parameters
from kdnb.methods.nas import ConvNet, Gate, Layer, Space, build, draw_distinct, spelt
from kdnb.training.layers import layers_of, look

LAYERS = (Layer(4, kernel=5, pool=2), Layer(6, kernel=1, norm=False), Layer(3, pool=2))


def test_an_architecture_is_built_as_it_says():
    network = ConvNet(LAYERS, num_classes=7, in_channels=2)
    expected = (2 * 4 * 25 + 8) + (4 * 6 + 6) + (6 * 3 * 9 + 6) + (3 * 7 + 7)
    assert parameters(network) == expected
    images = torch.randn(5, 2, 9, 12)
    assert network(images).shape == (5, 7)
    assert [stage(torch.randn(1, c, 9, 12)).shape for stage, c in zip(network.stages(), (2, 4, 6), strict=True)] == [
        (1, 4, 5, 6), (1, 6, 9, 12), (1, 3, 5, 6)]  # fmt: skip
    assert spelt(LAYERS) == "4@5x5 pool2 - 6@1x1 plain - 3@3x3 pool2"
    assert isinstance(network.stage1.bn, nn.BatchNorm2d) and not hasattr(network.stage2, "bn")


def test_kdnb_finds_its_layers():
    network = ConvNet(LAYERS, num_classes=7)
    where = layers_of(network)
    assert where.maps == ("stage1", "stage2", "stage3") and where.head == "head"
    view = look(network.eval(), where, torch.randn(4, 1, 8, 8))
    assert view.embedding.shape == (4, 3) and view.logits.shape == (4, 7)
    data = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    teacher = build((Layer(8),), 0, num_classes=3)
    kdnb.distil(build(LAYERS, 1, num_classes=3), teacher, data, method="kd", epochs=1, batch_size=6)


def test_open_gates_change_nothing():
    torch.manual_seed(0)
    gated = ConvNet(LAYERS, gates=True).eval()
    plain = ConvNet(LAYERS).eval()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if "gate" not in k})
    images = torch.randn(3, 1, 8, 8)
    assert gated(images).equal(plain(images))
    gated.stage1.gate.factor.data.zero_()
    assert gated(images)[0].equal(gated(images)[1])  # nothing of the image comes through
    assert Gate(3)(torch.ones(2, 3, 1, 1)).shape == (2, 3, 1, 1)


def test_the_weights_are_a_function_of_the_seed_alone():
    state = torch.random.get_rng_state()
    one, other, third = build(LAYERS, 0), build(LAYERS, 0), build(LAYERS, 1)
    assert torch.random.get_rng_state().equal(state)
    assert one.head.weight.equal(other.head.weight) and not one.head.weight.equal(third.head.weight)


def test_a_space_counts_and_holds_what_can_be_drawn():
    space = Space(depths=(1, 2), channels=(4, 8), kernels=(3,), pools=(1, 2), norms=(True, False))
    every = list(space)
    assert len(space) == len(every) == len(set(every)) == 8 + 64
    generator = torch.Generator().manual_seed(0)
    drawn = [space.draw(generator) for _ in range(600)]
    assert set(drawn) <= set(every)
    assert 0.4 < sum(len(one) == 1 for one in drawn) / 600 < 0.6
    assert {one for one in drawn if len(one) == 1} == set(every[:8])


def test_distinct_draws():
    space = Space(depths=(1,), channels=(4, 8), kernels=(3,), pools=(1, 2))
    assert set(draw_distinct(space.draw, 4, 0)) == set(space)
    assert draw_distinct(space.draw, 3, 1) == draw_distinct(space.draw, 3, 1)
    thin = draw_distinct(space.draw, 2, 0, lambda one: one[0].channels == 4)
    assert {one[0].channels for one in thin} == {4}
    with pytest.raises(ValueError, match="none but the 4 found: 5 are too many"):
        draw_distinct(space.draw, 5, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Layer(0), "channels must be at least 1"),
        (lambda: Layer(4, kernel=2), "kernel must be odd, so that maps keep their size; got 2"),
        (lambda: Layer(4, norm=1), "norm must be True or False"),
        (lambda: ConvNet(()), "at least one layer; got an architecture of none"),
        (lambda: ConvNet((Layer(4),), num_classes=0), "num_classes must be at least 1"),
        (lambda: Space(depths=()), "depths must be a tuple of at least one value"),
        (lambda: Space(kernels=[3]), "kernels must be a tuple"),
        (lambda: Space(kernels=(4,)), "kernel must be odd"),
        (lambda: Space(depths=(0,)), "depths must be at least 1"),
    ],
)  # fmt: skip
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "name",
    ["methods.nas.space", "methods.nas.random_search", "methods.nas.n2n", "methods.nas.width", "runs.functions.nas"],
)  # fmt: skip
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(f"kdnb.{name}"), extraglobs={"torch": torch})
    assert outcome.attempted > 0 and outcome.failed == 0

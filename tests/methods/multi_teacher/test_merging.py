"""Two trained networks on common codebooks."""

import pytest
import torch
from several_teachers import QUICK, digits, mlp, state, teachers, unchanged
from torch import nn

from kdnb.methods import multi_teacher as mt
from kdnb.methods.multi_teacher.merging import joined, pieces


def networks():
    """One of digits, one of garments."""
    return teachers("lenet")[0], teachers("lenet", name="fashion_mnist")[0]


def accuracy(network, data):
    images, labels = data
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


@pytest.mark.parametrize("shape", [(5, 6, 3, 3), (4, 7, 1, 2), (6, 10), (3, 2)])
@pytest.mark.parametrize("length", [1, 3, 8])
def test_pieces_join_again(shape, length):
    weight = torch.randn(shape)
    cut = pieces(weight, length)
    positions = weight[0, 0].numel()
    assert cut.shape == (shape[0] * positions * -(-shape[1] // length), length)
    assert torch.equal(joined(cut, shape), weight)
    first = weight.flatten(2)[0, :length, 0] if weight.ndim > 2 else weight[0, :length]
    assert torch.equal(cut[0, : len(first)], first)  # over the input channels of one position


def test_enough_words_lose_nothing():
    one, other = networks()
    merged = mt.merge(one, other, words=10**5, length=4)
    for network, plain, name in zip(
        merged.networks, (one, other), ("mnist", "fashion_mnist"), strict=True
    ):
        images, _ = digits(name=name)
        with torch.no_grad():
            torch.testing.assert_close(network(images), plain(images), rtol=1e-4, atol=1e-4)


def test_both_networks_read_from_one_codebook():
    one, other = networks()
    before = state(one), state(other)
    merged = mt.merge(one, other, words=16, length=4, seed=1)
    assert len(merged.paths) == 5
    for path in merged.paths:
        layers = [network.get_submodule(path) for network in merged.networks]
        assert layers[0].codebook is layers[1].codebook
        assert len(layers[0].codebook) <= 16
        for layer, network in zip(layers, (one, other), strict=True):
            known = {tuple(word.tolist()) for word in layer.codebook.detach()}
            cut = pieces(layer.weight.detach(), 4)
            spare = -layer.shape[1] % 4
            if not spare:
                assert {tuple(word.tolist()) for word in cut} <= known
            assert layer.weight.shape == network.get_submodule(path).weight.shape
    # A shared parameter is there once.
    books = sum(merged.networks[0].get_submodule(path).codebook.numel() for path in merged.paths)
    biases = sum(layer.bias.numel() for net in (one, other) for layer in net.modules()
                 if isinstance(layer, (nn.Conv2d, nn.Linear)))  # fmt: skip
    assert sum(p.numel() for p in merged.parameters()) == books + biases
    assert unchanged(one, before[0]) and unchanged(other, before[1])


def test_bits():
    one, other = mlp(0, (8,)), mlp(1, (8,))
    merged = mt.merge(one, other, words=4, length=8)
    layers = (784 // 8 * 8, 10)  # pieces of each network
    assert merged.bits() == 2 * 4 * 8 * 32 + 2 * 2 * sum(layers)
    plain = 32 * sum(layer.weight.numel() for net in (one, other) for layer in net.modules()
                     if isinstance(layer, nn.Linear))  # fmt: skip
    assert merged.bits() < plain / 30


def test_calibration_mends_both_tasks():
    one, other = networks()
    data = digits(120), digits(120, "fashion_mnist")
    merged = mt.merge(one, other, words=24, length=4)
    before = [accuracy(net, own) for net, own in zip(merged.networks, data, strict=True)]
    whole = state(one)
    codes = [net.get_submodule(p).codes.clone() for net in merged.networks for p in merged.paths]
    fit = mt.calibrate(merged, (one, other), data, QUICK, epochs=10)
    after = [accuracy(net, own) for net, own in zip(merged.networks, data, strict=True)]
    assert sum(after) > sum(before)
    assert fit.rows[-1]["layers"] < fit.rows[0]["layers"]
    assert {"hard1", "hard2"} <= set(fit.rows[0])
    assert unchanged(one, whole)
    kept = [net.get_submodule(p).codes for net in merged.networks for p in merged.paths]
    assert all(map(torch.equal, codes, kept))
    books = [net.get_submodule("head").codebook for net in merged.networks]
    assert books[0] is books[1]


def test_an_exact_merge_has_no_layer_error():
    one, other = networks()
    merged = mt.merge(one, other, words=10**5, length=4)
    data = digits(60), digits(60, "fashion_mnist")
    fit = mt.calibrate(merged, (one, other), data, QUICK, epochs=1, lr=1e-9)
    assert fit.rows[0]["layers"] < 1e-3


def test_what_does_not_merge():
    with pytest.raises(ValueError, match="of both networks; they have none"):
        mt.merge(nn.ReLU(), mlp())
    with pytest.raises(ValueError, match="'nowhere' is none"):
        mt.merge(mlp(), mlp(1), paths=["nowhere"])

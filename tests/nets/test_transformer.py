"""Encoders of sentences and images: against a derivation by loops, and what they must not see."""

import math

import pytest
import torch

from kdnb.nets.transformer import Block, PatchEncoder, TextEncoder, with_vocabulary

TOKENS = torch.tensor([[5, 3, 7, 0, 0], [2, 9, 4, 8, 0]])


def layer_norm(row, weight, bias, epsilon):
    mean = sum(row) / len(row)
    spread = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + epsilon)
    return [(x - mean) / spread * w + b for x, w, b in zip(row, weight, bias, strict=True)]


def linear(row, layer):
    return [
        sum(x * w for x, w in zip(row, weights, strict=True)) + b
        for weights, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def naive(block, rows):
    """One sequence, a list of rows, through a block."""
    q, k, v = (
        [linear(row, layer) for row in rows] for layer in (block.query, block.key, block.value)
    )
    size = len(rows[0]) // block.heads
    mixed = []
    for i in range(len(rows)):
        out = []
        for h in range(block.heads):
            part = slice(h * size, (h + 1) * size)
            scores = [
                sum(a * b for a, b in zip(q[i][part], key[part], strict=True)) / math.sqrt(size)
                for key in k
            ]
            powers = [math.exp(score) for score in scores]
            for c in range(size):
                out.append(
                    sum(p * value[part][c] for p, value in zip(powers, v, strict=True))
                    / sum(powers)
                )
        mixed.append(linear(out, block.joined))
    found = []
    for row, more in zip(rows, mixed, strict=True):
        first = block.first_norm
        x = layer_norm(
            [a + b for a, b in zip(row, more, strict=True)],
            first.weight.tolist(),
            first.bias.tolist(),
            first.eps,
        )
        wide = [a * (1 + math.erf(a / math.sqrt(2))) / 2 for a in linear(x, block.widened)]
        second = block.second_norm
        added = [a + b for a, b in zip(x, linear(wide, block.narrowed), strict=True)]
        found.append(layer_norm(added, second.weight.tolist(), second.bias.tolist(), second.eps))
    return found


def test_a_block_against_loops():
    torch.manual_seed(0)
    block = Block(6, 2, 5).double().eval()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    there = torch.tensor([[True] * 4, [True, True, True, False]])
    found = block(x, there)
    torch.testing.assert_close(found[0], torch.tensor(naive(block, x[0].tolist())).double())
    short = torch.tensor(naive(block, x[1, :3].tolist())).double()
    torch.testing.assert_close(found[1, :3], short)


def test_padding_is_not_seen():
    torch.manual_seed(0)
    net = TextEncoder(12, layers=2, width=12, heads=3, hidden=8, num_classes=4).eval()
    whole = net(TOKENS)
    torch.testing.assert_close(net(TOKENS[:1, :3]), whole[:1])
    torch.testing.assert_close(net(torch.nn.functional.pad(TOKENS, (0, 6))), whole)
    assert not torch.allclose(net(TOKENS[:, [1, 0, 2, 3, 4]]), whole)  # the order counts


def test_a_sentence_is_the_mean_of_its_tokens():
    torch.manual_seed(0)
    net = TextEncoder(12, layers=1, width=12, heads=3, hidden=8).eval()
    states = []
    net.blocks[-1].register_forward_hook(lambda *x: states.append(x[-1]))
    vector = net(TOKENS)
    torch.testing.assert_close(vector[0], states[0][0, :3].mean(0))
    torch.testing.assert_close(vector[1], states[0][1, :4].mean(0))


def test_fewer_words_say_the_same():
    torch.manual_seed(0)
    net = TextEncoder(12, layers=1, width=12, heads=3, hidden=8).eval()
    used = TOKENS.unique()
    places = torch.zeros(12, dtype=torch.int64)
    places[used] = torch.arange(len(used))
    torch.testing.assert_close(with_vocabulary(net, used)(places[TOKENS]), net(TOKENS))
    with pytest.raises(ValueError, match="the first of the used words must be padding, 0; got 2"):
        with_vocabulary(net, used[1:])


def test_patches_are_the_tokens_of_an_image():
    torch.manual_seed(0)
    net = PatchEncoder(layers=1, width=12, heads=3, hidden=8).eval()
    images, seen = torch.randn(2, 1, 28, 28), []
    net.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    assert net(images).shape == (2, 10)
    assert seen[0].shape == (2, 16, 12)
    changed = images.clone()
    changed[:, :, 7:14, 21:] += 1  # the last patch of the second row
    net(changed)
    moved = (seen[0] - seen[1]).abs().sum(2) > 1e-6
    assert moved.nonzero()[:, 1].tolist() == [7, 7]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="width 10 must be a multiple of the number of heads 4"):
        Block(10, 4, 8)
    with pytest.raises(ValueError, match="patches of 8 pixels must divide"):
        PatchEncoder(patch=8)
    with pytest.raises(ValueError, match="layers must be a whole number above 0"):
        TextEncoder(10, layers=0)

"""Pruning, sharing and low rank, against loops by hand; what they take to store."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import nets
from kdnb.methods import architecture
from kdnb.methods.architecture import compressed_bytes, factorised, kept_weights, pruned, shared


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 7)
    )


def weights(network):
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("keep", [0.05, 0.5, 1.0])
def test_pruning_keeps_the_largest_of_all_layers(keep):
    network = small()
    student = pruned(network, keep)
    every = sorted(float(w) for layer in weights(network) for w in layer.detach().abs().flatten())
    count = max(1, round(keep * len(every)))
    bound = every[-count]
    for before, after in zip(weights(network), weights(student), strict=True):
        for w, v in zip(before.flatten(), after.flatten(), strict=True):
            assert v == (w if abs(w) >= bound else 0)
    assert sum(kept for _, kept, _ in kept_weights(student)) == count


def test_pruned_weights_stay_zero_while_it_learns():
    student = pruned(small(), 0.2)
    zeros = [w == 0 for w in weights(student)]
    optimiser = torch.optim.SGD(student.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        student(torch.randn(4, 2, 4, 4)).square().sum().backward()
        optimiser.step()
    assert all((w[z] == 0).all() for w, z in zip(weights(student), zeros, strict=True))
    assert all((w[~z] != 0).all() for w, z in zip(weights(student), zeros, strict=True))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_sharing_leaves_few_values_and_is_a_local_optimum_of_k_means(bits):
    network = small()
    student = shared(network, bits, rounds=200)
    for before, after in zip(weights(network), weights(student), strict=True):
        values = after.unique()
        assert len(values) <= 2**bits
        for value in values:  # each is the mean of its weights, each weight has the nearest one
            assert torch.allclose(value, before[after == value].mean(), atol=1e-6)
        gap = (before[..., None] - values).abs()
        assert torch.allclose((before - after).abs(), gap.min(-1).values, atol=1e-6)


def test_a_shared_value_learns_the_sum_of_its_gradients():
    student, plain = shared(small(), 2), small()
    with torch.no_grad():
        for mine, theirs in zip(weights(plain), weights(student), strict=True):
            mine.copy_(theirs)
    images = torch.randn(3, 2, 4, 4)
    for network in (student, plain):
        network(images).square().sum().backward()
    for layer, other in zip(
        (m for m in student if hasattr(m, "parametrizations")), weights(plain), strict=True
    ):
        book, gradient = layer.parametrizations.weight, other.grad
        for place in range(book[0].values):
            wanted = gradient[book[0].places == place].sum()
            assert torch.allclose(book.original.grad[place], wanted, rtol=1e-4, atol=1e-4)


def test_factors_are_the_best_of_their_rank():
    network = small()
    student = factorised(network, 0.4)
    for path in (0, 3):
        before, (first, second) = network[path].weight.flatten(1), student[path]
        product = second.weight.flatten(1) @ first.weight.flatten(1)
        rank = first.weight.shape[0]
        rest = torch.linalg.svdvals(before.detach())[rank:]
        assert rank < min(before.shape)
        assert torch.allclose((before - product).norm(), rest.norm(), rtol=1e-4)
    images = torch.randn(2, 2, 4, 4)
    by_hand = F.conv2d(images, (student[0][1].weight.flatten(1) @ student[0][0].weight.flatten(1)).view(5, 2, 3, 3),
                       network[0].bias, padding=1)  # fmt: skip
    assert torch.allclose(student[0](images), by_hand, atol=1e-5)


def test_ranks_are_given_where_they_add_most():
    network = small()
    kept = {}
    for part in (0.05, 0.2, 0.4, 0.8):
        student = factorised(network, part)
        kept[part] = [
            student[path][0].weight.shape[0] if isinstance(student[path], nn.Sequential) else None
            for path in (0, 3)
        ]
        used = sum(w.numel() for w in weights(student))
        least = 5 + 18 + 7 + 80  # rank 1 in both
        assert (
            used <= max(least, part * sum(w.numel() for w in weights(network)))
            or None in kept[part]
        )
    assert kept[0.05] == [1, 1]
    ranks = [[r for r in found if r] for found in kept.values()]
    assert all(a <= b for one, other in zip(ranks, ranks[1:]) for a, b in zip(one, other))  # noqa: RUF007


def test_a_layer_that_a_product_would_not_shrink_stays():
    network = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1))
    assert all(isinstance(layer, nn.Linear | nn.Conv2d) for layer in factorised(network, 0.999))


def test_bytes():
    network = small()
    numbers = sum(p.numel() for p in network.parameters())
    biases = 5 + 7
    assert compressed_bytes(network) == 4 * numbers == architecture.stored_bytes(network)
    kept = round(0.1 * (numbers - biases))
    assert compressed_bytes(pruned(network, 0.1)) == (32 + 16) * kept // 8 + 4 * biases
    bits = 2 * (numbers - biases) + 32 * (biases + 2 * 4)
    assert compressed_bytes(shared(network, 2)) == (bits + 7) // 8
    thin = factorised(network, 0.3)
    assert compressed_bytes(thin) == 4 * sum(p.numel() for p in thin.parameters())


def test_the_network_is_left_as_it_was_and_copies_can_be_copied():
    network = small()
    before = copy.deepcopy(network.state_dict())
    for make in (lambda n: pruned(n, 0.3), lambda n: shared(n, 1), lambda n: factorised(n, 0.3)):
        student = copy.deepcopy(make(network))
        images = torch.randn(2, 2, 4, 4)
        assert torch.equal(student(images), make(network)(images))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(("make", "lr"), [
    (lambda n: pruned(n, 0.2), 0.01), (lambda n: factorised(n, 0.3), 0.01),
    (lambda n: shared(nets.pretrained("lenet5", "mnist"), 1), 0.001),  # a value moves many weights
])  # fmt: skip
def test_a_compressed_copy_learns_by_distil(make, lr):
    few = kdnb.toy("mnist", images=40)
    student = make(nets.build("lenet5_half_dafl"))
    fit = kdnb.distil(
        student,
        few.teacher,
        few.train,
        method="kd",
        epochs=25,
        batch_size=10,
        optimiser="adam",
        lr=lr,
    )
    losses = fit.history["kd"]
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pruned(small(), 0.0), "share of weights that stay"),
    (lambda: shared(small(), 0), "1 to 8 bits"),
    (lambda: factorised(small(), 1.0), "share of the numbers"),
    (lambda: pruned(nn.ReLU(), 0.5), "no Conv2d or Linear"),
    (lambda: shared(nn.ReLU(), 2), "no Conv2d or Linear"),
    (lambda: factorised(nn.ReLU(), 0.5), "no Conv2d or Linear"),
])  # fmt: skip
def test_wrong_wishes(call, message):
    with pytest.raises(ValueError, match=message):
        call()

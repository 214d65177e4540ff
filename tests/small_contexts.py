"""Contexts of a few points in the plane, for the tests of lifelong distillation."""

import copy

import torch
from torch import nn

from kdnb import Recipe
from kdnb.methods.lifelong import Contexts

ONCE = Recipe(
    epochs=1, batch_size=100, optimiser="sgd", lr=0.1, momentum=0.0, schedule="constant",
    precision="32",
)  # fmt: skip
SOME = Recipe(
    epochs=30, batch_size=20, optimiser="adam", lr=0.02, schedule="constant", precision="32"
)


def points(labels, seed=0, noise=0.1):
    """(N, 5) inputs near a corner for each label."""
    corners = 2 * torch.randn(8, 5, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    return corners[labels] + noise * torch.randn(len(labels), 5, generator=generator)


def contexts(scenario="task", sizes=(2, 2, 2), each=15):
    """Tensors (inputs, labels); in the scenario domain labels are places in their context."""
    parts = ([], [])
    for number, size in enumerate(sizes):
        start = sum(sizes[:number])
        labels = torch.arange(start, start + size).repeat(each)
        columns = labels - start if scenario == "domain" else labels
        for found, seed in zip(parts, (number, 10 + number), strict=True):
            found.append((points(labels, seed), columns))
    return Contexts(*parts, sizes, scenario)


def network(columns=6, seed=0, hidden=16):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, columns))


def weights(made):
    return torch.cat([one.detach().flatten() for one in made.parameters()]).clone()


def stepped(made, loss, lr=0.1):
    """The weights after one step of plain gradient descent."""
    gradients = torch.autograd.grad(loss, list(made.parameters()), allow_unused=True)
    pairs = zip(made.parameters(), gradients, strict=True)
    return torch.cat([(p if g is None else p - lr * g).detach().flatten() for p, g in pairs])


def at(made, vector):
    """A copy of the network with these weights."""
    found = copy.deepcopy(made)
    nn.utils.vector_to_parameters(vector, found.parameters())
    return found


def after_first(data, made):
    """A copy of the network after one step of `ONCE` on the labels of the first context."""
    inputs, labels = data.train[0]
    seen = data.seen(0)
    loss = nn.functional.cross_entropy(made(inputs)[:, seen], labels)
    return at(made, stepped(made, loss))

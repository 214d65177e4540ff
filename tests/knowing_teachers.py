"""Digits, and small convolutional teachers of some of them or of questions about them."""

import functools

import torch
from torch import nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Images
from kdnb.methods.multi_teacher.tasks import TaskNet, task_loss
from kdnb.methods.offline.distil import train

HALVES = [[0, 1, 2], [3, 4, 5]]
RECIPE = {"epochs": 10, "batch_size": 32, "lr": 0.01, "optimiser": "adam"}


class Small(nn.Module):
    """Two blocks of a convolution, an embedding and a head; a chain of its children."""

    def __init__(self, classes, width=4):
        super().__init__()
        self.stage1 = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stage2 = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.embedding = nn.Sequential(nn.Linear(32 * width, 32), nn.ReLU())
        self.head = nn.Linear(32, classes)

    def forward(self, images):
        return self.head(self.embedding(self.pool(self.stage2(self.stage1(images)))))


def small(classes, seed=0, width=4):
    torch.manual_seed(seed)
    return Small(classes, width)


@functools.cache
def digits():
    """Images of 0 to 5 for the teachers, others for the student, and some held out."""
    whole = datasets.load("mnist").train.select(slice(0, 4000))
    some = whole.select(whole.labels < 6)
    return tuple(some.select(slice(start, start + 512)) for start in (0, 512, 1024))


@functools.cache
def halves(others):
    """Two trained teachers of three digits each; with `others`, of "none of mine" too."""
    found = []
    for number, own in enumerate(HALVES):
        images = digits()[0]
        places = torch.full((10,), len(own))
        places[torch.tensor(own)] = torch.arange(len(own))
        labels = places[images.labels]
        kept = torch.ones_like(labels, dtype=torch.bool) if others else labels < len(own)
        mine = Images(images.images[kept], labels[kept], images.card)
        net = small(len(own) + others, seed=number, width=4 + 2 * number)
        train(net, mine, seed=number, **RECIPE)
        found.append(net)
    return found


QUESTIONS = {
    "odd": lambda labels: labels % 2,
    "large": lambda labels: (labels >= 3).long(),
    "digit": lambda labels: labels,
}
ANSWERS = {"odd": 2, "large": 2, "digit": 6}


def answers(images, tasks):
    return torch.stack([QUESTIONS[task](images.labels) for task in tasks], 1)


def task_net(tasks, seed=0, width=4):
    return TaskNet(small(1, seed, width), {task: ANSWERS[task] for task in tasks})


@functools.cache
def task_teacher(tasks, seed=0, width=4):
    """A trained teacher of several questions."""
    net, images = task_net(tasks, seed, width), digits()[0]
    torch.manual_seed(seed)
    data = images.tensors()[0], answers(images, tasks)
    train(net, data, loss=task_loss(net), seed=seed, **RECIPE)
    return net


def right(net, images, tasks=None):
    """The share of right answers: of a classifier, or to each question."""
    with torch.no_grad():
        said = net.eval()(images.tensors()[0])
    if tasks is None:
        return (said.argmax(1) == images.labels).double().mean().item()
    wanted = answers(images, tasks)
    parts = net.parts(said)
    return {
        task: (parts[task].argmax(1) == wanted[:, place]).double().mean().item()
        for place, task in enumerate(tasks)
    }


def frozen_state(nets):
    return [{key: value.clone() for key, value in net.state_dict().items()} for net in nets]


def assert_unmoved(nets, before):
    for net, kept in zip(nets, before, strict=True):
        for key, value in net.state_dict().items():
            assert torch.equal(value, kept[key]), key
        assert all(p.requires_grad for p in net.parameters())


def mean_square(one, other):
    return F.mse_loss(one, other).item()

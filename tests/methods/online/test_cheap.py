"""Cheap convolutions beside their originals."""

import torch
from branched_networks import QUICK, STEP, example, large, resnets
from small_networks import assert_same, state
from torch import nn
from torch.nn import functional as F

from kdnb.losses import soft_targets
from kdnb.methods import online


def test_cheap_convolutions_are_cheap_and_fit():
    dense = resnets(1)[0]
    cheap = online.cheap_convolutions(dense)
    assert cheap.stage2[0].conv1[0].groups == 16
    assert cheap.stage2[0].conv1[0].stride == (2, 2)
    assert isinstance(cheap.stem.conv, nn.Conv2d)  # on the image itself
    assert cheap(example()).shape == (8, 3)
    convolution = sum(p.numel() for p in dense.stage3[0].conv2.parameters())
    assert convolution == 64 * 64 * 9
    assert sum(p.numel() for p in cheap.stage3[0].conv2.parameters()) == 64 * 9 + 64 * 64
    grouped = online.cheap_convolutions(dense, groups=4)
    assert sum(p.numel() for p in grouped.stage3[0].conv2[0].parameters()) == 64 * 16 * 9
    assert isinstance(dense.stage2[0].conv1, nn.Conv2d)  # the original stays


def test_cheap_students_make_their_teacher():
    students = [online.cheap_convolutions(network) for network in resnets(2)]
    branches = online.Branches.split(students, "stem", example())
    teacher = online.ConcatenatedTeacher([64, 64], 3)
    said = branches.train()(example())
    maps = torch.cat(said.maps, 1)
    expected = teacher.head(F.relu(F.batch_norm(maps, None, None, training=True)).mean((2, 3)))
    torch.testing.assert_close(teacher(said.maps), expected, rtol=1e-4, atol=1e-5)
    history = online.cheap_online(branches, teacher, large(), QUICK)
    assert set(history[0]) >= {"teacher", "students", "soft"}
    assert history[0]["soft"] > 0


def test_cheap_students_follow_their_teacher_not_it_them():
    ends = []
    for weight in (0.0, 2.0):
        branches = online.Branches.split(resnets(2), "stem", example())
        torch.manual_seed(1)
        teacher = online.ConcatenatedTeacher([64, 64], 3)
        online.cheap_online(branches, teacher, large(8), STEP, weight=weight)
        ends.append((branches, teacher))
    assert_same(state(ends[0][1]), state(ends[1][1]))
    branches = online.Branches.split(resnets(2), "stem", example())
    torch.manual_seed(1)
    teacher = online.ConcatenatedTeacher([64, 64], 3)
    said = branches(next(iter(large(8))).images)
    taught = teacher(said.maps).detach()
    head = branches.heads[1][-1].weight
    (gradient,) = torch.autograd.grad(soft_targets(said.logits[:, 1], taught, 3.0), head)
    moved = ends[1][0].heads[1][-1].weight - ends[0][0].heads[1][-1].weight
    torch.testing.assert_close(moved, -0.1 * 2 * gradient, rtol=1e-3, atol=1e-6)

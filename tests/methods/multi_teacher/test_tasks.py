"""Networks of several tasks: their heads, their loss, their layers."""

import pytest
import torch
from knowing_teachers import small, task_net
from torch import nn
from torch.nn import functional as F

from kdnb import nets
from kdnb.methods.multi_teacher.experts import Experts, to_one_size
from kdnb.methods.multi_teacher.tasks import TaskNet, task_loss
from kdnb.training.layers import look


def test_every_task_has_a_head_on_one_trunk():
    net, images = task_net(("odd", "digit")).eval(), torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        said, features = net(images), net.trunk(images)
        parts = net.parts(said)
    assert said.shape == (3, 8) and features.shape == (3, 32)
    assert {name: part.shape[1] for name, part in parts.items()} == {"odd": 2, "digit": 6}
    for name, part in parts.items():
        torch.testing.assert_close(part, net.heads[name](features))


def test_its_loss_is_the_sum_of_the_tasks():
    net = task_net(("odd", "digit"))
    said, labels = torch.randn(4, 8), torch.tensor([[0, 5], [1, 3], [1, 0], [0, 2]])
    expected = F.cross_entropy(said[:, :2], labels[:, 0])
    expected = expected + F.cross_entropy(said[:, 2:], labels[:, 1])
    torch.testing.assert_close(task_loss(net)(said, labels), expected)


@pytest.mark.parametrize("name", ["lenet5", "tiny", "resnet8"])
def test_its_layers_are_its_trunks(name):
    net = TaskNet(nets.build(name, num_classes=10, in_channels=1, image_size=28), {"a": 2, "b": 3})
    view = look(net, net.layers(), torch.randn(2, 1, 28, 28))
    assert len(view.maps) >= 2 and all(maps.ndim == 4 for maps in view.maps)
    torch.testing.assert_close(net.heads["b"](view.embedding), net.parts(view.logits)["b"])


def test_what_has_no_head_or_no_task_is_refused():
    with pytest.raises(TypeError, match="has no linear layer `head`"):
        TaskNet(nn.Sequential(nn.Flatten()), {"a": 2})
    with pytest.raises(ValueError, match="at least one task"):
        TaskNet(small(2), {})


def test_experts_stand_side_by_side():
    members, images = [small(2), small(3, 1)], torch.randn(4, 1, 28, 28)
    both = Experts(members).eval()
    with torch.no_grad():
        torch.testing.assert_close(both(images), torch.cat([one(images) for one in members], 1))


def test_maps_are_pooled_to_the_smallest():
    maps = [torch.randn(2, 3, 8, 4), torch.randn(2, 5, 4, 6)]
    assert [one.shape[1:] for one in to_one_size(maps)] == [(3, 4, 4), (5, 4, 4)]
    assert to_one_size(maps[:1])[0] is maps[0]

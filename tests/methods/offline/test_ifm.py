"""IFM through an auxiliary teacher: what is trained on what."""

import torch

from kdnb import nets
from kdnb.methods.offline.distil import distil
from kdnb.methods.offline.ifm import through_auxiliary
from kdnb.training import Recipe

RECIPE = Recipe(epochs=2, batch_size=8, lr=0.01, precision="32")


def resnet(seed, width, depth=8):
    torch.manual_seed(seed)
    return nets.build(f"resnet{depth}", num_classes=3, in_channels=3, image_size=8, width=width)


def test_the_student_follows_the_auxiliary_which_follows_the_teacher():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 3
    teacher, auxiliary, student = resnet(0, 0.5, 14), resnet(1, 0.5), resnet(2, 0.25)
    kept = {key: value.clone() for key, value in teacher.state_dict().items()}
    fit = through_auxiliary(student, auxiliary, teacher, data, RECIPE, weight=0.1)
    assert {"ifm", "hard"} <= set(fit.history) and len(fit.history) == 2
    assert fit.networks["auxiliary"] is auxiliary and fit.networks["student"] is student
    assert all(torch.equal(kept[key], value) for key, value in teacher.state_dict().items())
    other, alone = resnet(1, 0.5), resnet(2, 0.25)
    options = {"weight": 1.0, "label_weight": 0.0}
    distil(other, teacher, data, RECIPE, method="pkt_hybrid", **options)
    distil(alone, other, data, RECIPE, method="ifm", weight=0.1)
    for one, two in ((auxiliary, other), (student, alone)):
        for key, value in one.state_dict().items():
            torch.testing.assert_close(value, two.state_dict()[key])

"""Small networks with exits, and pictures for them."""

import torch

from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.methods import self_distillation as own
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.02, precision="32")


def pictures(count=24, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 8, mean=(0.5,), sd=(0.3,), **options)


def resnet(seed=0):
    torch.manual_seed(seed)
    return nets.build("resnet8", num_classes=3, in_channels=1, image_size=8)


def exits(seed=0):
    network = resnet(seed)
    return own.MultiExit(network, ["stage1", "stage2"], "stage3", torch.zeros(2, 1, 8, 8))

"""Networks of five foreign libraries' classes, and pictures for them."""

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from kdnb import nets

QUICK = {"epochs": 2, "batch_size": 4, "lr": 0.01, "precision": "32"}


def pictures(count=8, size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % 3


def resnet(seed=0, size=32):
    torch.manual_seed(seed)
    options = {"num_classes": 3, "in_channels": 3, "image_size": size, "width": 0.25}
    return nets.build("resnet8", **options)


class ModelOutput(dict):
    """As transformers answer: a dict whose entries are attributes, too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class Transformers(nn.Module):
    """A classifier with a config, tied weights and an answer that is an object."""

    def __init__(self):
        super().__init__()
        self.config = {"hidden": 6}
        self.patches = nn.Conv2d(3, 6, 16, 16)
        self.up, self.down = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.down.weight = self.up.weight
        self.classifier = nn.Linear(6, 3)

    def forward(self, pixel_values, return_dict=True):
        states = self.patches(pixel_values).flatten(2).transpose(1, 2)
        states = self.down(torch.relu(self.up(states)))
        logits = self.classifier(states.mean(1))
        return ModelOutput(loss=None, logits=logits, hidden_states=(states,))


class Lightning(nn.Module):
    """A module with its own training step and optimisers, of which kdnb needs nothing."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
        self.head = nn.Linear(4 * 900, 3)

    def forward(self, x):
        return self.head(self.model(x))

    def training_step(self, batch, batch_idx):
        raise AssertionError("kdnb has its own")

    def configure_optimizers(self):
        raise AssertionError("kdnb has its own")


class Functional(nn.Module):
    """Parameters and functions, no layers."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(0.1 * torch.randn(4, 3, 3, 3))
        self.weight = nn.Parameter(0.1 * torch.randn(3, 4 * 900))

    def forward(self, x):
        maps = F.relu(F.conv2d(x, self.kernel))
        return F.linear(maps.view(len(x), -1), self.weight)


def torchvision_resnet():
    return torchvision.models.resnet18(num_classes=3)


def timm_vit():
    size = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, **size)


LIBRARIES = {
    "torchvision": torchvision_resnet,
    "timm": timm_vit,
    "transformers": Transformers,
    "lightning": Lightning,
    "functional": Functional,
}


def made(kind, seed=0):
    torch.manual_seed(seed)
    return LIBRARIES[kind]()

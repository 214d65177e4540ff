"""Layers of networks of torchvision, timm and strangers: found, read as maps, matched, refused."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

import kdnb
from kdnb import nets
from kdnb.methods import METHODS
from kdnb.methods.wiring import Setting, pairs_of
from kdnb.training.layers import Layers, layers_of, look, matched

# name, image size, (channels, height) of every stage, width of what the classifier reads
TORCHVISION = [
    ("resnet18", 64, [(64, 16), (128, 8), (256, 4), (512, 2)], 512),
    ("wide_resnet50_2", 32, [(256, 8), (512, 4), (1024, 2), (2048, 1)], 2048),
    ("resnext50_32x4d", 32, [(256, 8), (512, 4), (1024, 2), (2048, 1)], 2048),
    ("vgg11_bn", 32, [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)], 4096),
    ("mobilenet_v2", 64, [(16, 32), (24, 16), (32, 8), (96, 4), (1280, 2)], 1280),
    ("mobilenet_v3_small", 64, [(16, 32), (16, 16), (24, 8), (48, 4), (576, 2)], 1024),
    ("efficientnet_b0", 64, [(16, 32), (24, 16), (40, 8), (112, 4), (1280, 2)], 1280),
    ("convnext_tiny", 64, [(96, 16), (192, 8), (384, 4), (768, 2)], 768),
    ("densenet121", 64, [(256, 16), (512, 8), (1024, 4), (1024, 2)], 1024),
    ("shufflenet_v2_x0_5", 64, [(48, 8), (96, 4), (192, 2), (1024, 2)], 1024),
    ("regnet_y_400mf", 64, [(48, 16), (104, 8), (208, 4), (440, 2)], 440),
    ("vit_b_16", 224, [(768, 14)] * 4, 768),
    ("swin_t", 64, [(96, 16), (192, 8), (384, 4), (768, 2)], 768),
]
TIMM = [
    ("resnet18", 64, [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2)], 512),
    ("nf_resnet26", 64, [(64, 32), (256, 16), (512, 8), (1024, 4), (2048, 2)], 2048),
    ("resnetv2_50", 64, [(64, 32), (256, 16), (512, 8), (1024, 4), (2048, 2)], 2048),
    ("regnety_002", 64, [(32, 32), (24, 16), (56, 8), (152, 4), (368, 2)], 368),
    ("mobilenetv3_small_050", 64, [(16, 32), (8, 16), (16, 8), (24, 4), (288, 2)], 1024),
    ("convnext_atto", 64, [(40, 16), (80, 8), (160, 4), (320, 2)], 320),
    ("vit_tiny_patch16_224", 224, [(192, 14)] * 4, 192),
    ("swin_tiny_patch4_window7_224", 224, [(96, 56), (192, 28), (384, 14), (768, 7)], 768),
]  # fmt: skip


def made(library, name):
    torch.manual_seed(0)
    if library == "torchvision":
        return getattr(torchvision.models, name)(weights=None, num_classes=10)
    return timm.create_model(name, num_classes=10)


@pytest.mark.parametrize(
    ("library", "name", "size", "stages", "width"),
    [("torchvision", *row) for row in TORCHVISION] + [("timm", *row) for row in TIMM],
)
def test_layers_of_the_libraries(library, name, size, stages, width):
    network = made(library, name)
    layers = layers_of(network)
    view = look(network, layers, torch.randn(2, 3, size, size))
    assert [(maps.shape[1], *maps.shape[2:]) for maps in view.maps] == [
        (channels, side, side) for channels, side in stages
    ]
    assert view.embedding.shape == (2, width)
    assert view.classifier.shape == (10, width)
    head = network.get_submodule(layers.head)
    given = view.embedding[..., None, None] if isinstance(head, nn.Conv2d) else view.embedding
    torch.testing.assert_close(head(given).flatten(1), view.logits)
    for path, before, maps in zip(layers.before, view.before, view.maps, strict=True):
        assert torch.equal(torch.relu(before) if path.endswith(":input") else before, maps), path
    closed = {"resnet18", "wide_resnet50_2", "resnext50_32x4d", "vgg11_bn", "regnet_y_400mf"}
    assert all(path.endswith(":input") for path in layers.before) == (name in closed)


def test_channels_last_and_tokens_keep_their_places():
    grid = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    expected = Layers(("m",)).as_maps("m", grid)
    assert expected is grid
    last = Layers(("m",), channels_last=True)
    assert torch.equal(last.as_maps("m", grid.movedim(1, -1)), expected)
    tokens = torch.cat([torch.full((2, 1, 3), -1), grid.flatten(2).transpose(1, 2)], 1)
    found = Layers(("m",), prefix_tokens=1, grid=(4, 5)).as_maps("m", tokens)
    assert torch.equal(found, expected)
    assert Layers(("m",)).as_maps("m", torch.zeros(2, 7)).shape == (2, 7, 1, 1)


@pytest.mark.parametrize(
    ("layers", "shape", "said"),
    [(Layers(("m",)), (2, 7, 7, 96), r"'m' gives \(2, 7, 7, 96\).*say Layers\(.*channels_last"),
     (Layers(("m",)), (2, 50, 96), r"'m' gives \(2, 50, 96\), not maps.*prefix_tokens=0"),
     (Layers(("m",), prefix_tokens=0), (2, 50, 96), "50 tokens, which are no square"),
     (Layers(("m",)), (2, 3, 4, 4, 4), "not maps")],
)  # fmt: skip
def test_what_is_no_map_is_refused(layers, shape, said):
    with pytest.raises(ValueError, match=said) as error:
        layers.as_maps("m", torch.zeros(shape))
    assert str(error.value).count(". ") == 0  # one sentence


def test_an_embedding_that_is_none_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    view = look(net, Layers(("0",), embedding="0"), torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"'0' gives \(2, 4, 6, 6\), not \(batch, features\)"):
        _ = view.embedding
    with pytest.raises(ValueError, match="nobody said what the classifier reads"):
        _ = look(net, Layers(("0",)), torch.randn(2, 3, 8, 8)).embedding
    assert look(net, Layers(("0",), head="2"), torch.randn(2, 3, 8, 8)).embedding.shape == (2, 144)
    with pytest.raises(ValueError, match=r"has no module '9'"):
        look(net, Layers(("0",), head="9"), torch.randn(2, 3, 8, 8))
    with pytest.raises(TypeError, match="a tuple of module paths"):
        Layers("stage1")
    with pytest.raises(ValueError, match="a path of Layers is empty"):
        Layers(("",))


def test_what_enters_a_relu_in_place_is_what_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip
    images = torch.randn(2, 3, 8, 8)
    view = look(net, Layers(("1",), ("1:input",), head="4"), images)
    torch.testing.assert_close(view.before[0], net[0](images))
    assert not net[1]._forward_pre_hooks


def test_stages_are_matched_from_the_end():
    small = nets.build("resnet8", in_channels=3, image_size=32)  # 32, 16, 8 pixels
    large = made("timm", "resnet18")  # 16, 8, 4, 2, 1 pixels
    images = torch.randn(2, 3, 32, 32)
    found = layers_of(small), layers_of(large)
    seen = look(small, found[0], images), look(large, found[1], images)
    ours, theirs = matched(*found, *seen)
    assert ours == layers_of(small)
    assert theirs.maps == ("layer2", "layer3", "layer4")
    assert theirs.before == ("layer2.1.act2:input", "layer3.1.act2:input", "layer4.1.act2:input")
    assert matched(*reversed(found), *reversed(seen)) == (theirs, ours)
    views = look(small, ours, images), look(large, theirs, images)
    assert len(pairs_of(*views)) == 3
    for name in ("fitnets", "at", "ofd", "crd"):
        term = METHODS[name].build(*views, Setting(20, 2))
        batch = type("Batch", (), {"labels": torch.tensor([0, 1]), "index": torch.arange(2)})()
        assert torch.isfinite(term(*views, batch))


def test_equal_resolutions_take_the_deeper_layers():
    class Shown:
        def __init__(self, *sizes):
            self.maps = [torch.zeros(1, 2, size, size) for size in sizes]

    few, many = Layers(("a", "b")), Layers(("c", "d", "e", "f"))
    assert matched(few, many, Shown(8, 4), Shown(8, 8, 4, 4))[1].maps == ("d", "f")
    assert matched(few, many, Shown(4, 4), Shown(4, 4, 4, 4))[1].maps == ("e", "f")


def test_an_unknown_network_is_told_what_to_do():
    said = r"Sequential has no stages.*Layers\(maps=\(.*head=.*module_paths\(network\)"
    with pytest.raises(ValueError, match=said):
        layers_of(nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(ValueError, match=r"has no module 'layer9' \(nearest: layer"):
        layers_of(made("torchvision", "resnet18"), ["layer9"])


class Checkpointed(nn.Module):
    """Two blocks, whose activations are computed again in the backward pass."""

    def __init__(self, width, reentrant=None):
        super().__init__()
        torch.manual_seed(width)
        self.reentrant, self.stem = reentrant, nn.Conv2d(3, width, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3), nn.ReLU()) for _ in range(2)
        )
        self.head = nn.Sequential(nn.Linear(width, 3))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x) if self.reentrant is None else self.again(block, x)
        x = x.mean((2, 3))
        return self.head(x) if self.reentrant is None else self.again(self.head, x)

    def again(self, part, x):
        return checkpoint(part, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize(
    ("layers", "method", "inside"),
    [
        (Layers(("blocks.0", "blocks.1"), head="head.0"), "at", False),
        (Layers(("blocks.0.0", "blocks.1.0"), head="head.0"), "at", True),
        (Layers(("blocks.1",), head="head.0"), "rkd", False),
    ],
)
def test_a_layer_without_its_gradient_is_refused(reentrant, layers, method, inside):
    data = torch.randn(8, 3, 8, 8), torch.arange(8) % 3

    def trained(kind):
        student = Checkpointed(4, kind)
        kdnb.distil(
            student, Checkpointed(6, kind), data, method=method, weight=1.0, layers=(layers, layers),
            epochs=2, batch_size=4, lr=0.05, precision="32",
        )  # fmt: skip
        return student.state_dict()

    if reentrant and inside:
        with pytest.raises(
            RuntimeError, match="checkpointing with use_reentrant=True, where it has"
        ):
            trained(reentrant)
        return
    plain = trained(None)
    assert all(torch.allclose(one, plain[key]) for key, one in trained(reentrant).items())

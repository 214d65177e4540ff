"""Files of a trained network: each answers as the network does, and one that does not is not kept."""

import copy
import sys

import pytest
import torch
from torch import nn

import kdnb
from kdnb import nets
from kdnb.training import exporting
from kdnb.training.exporting import ExportError, export

HERE = [one for one in exporting.MAKERS if one != "onnx"]


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    net(torch.randn(9, 1, 6, 6))  # moves the running statistics
    return net


def example(count=16):
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    net = network().train()
    return folder, net, export(net, example(), folder, formats=HERE, name="mine")


def test_every_format_is_written_and_said(made):
    folder, _, frame = made
    assert list(frame.index) == HERE
    assert {path.name for path in folder.iterdir()} == set(frame.file)
    assert set(frame.file) == {"mine.safetensors", "mine.pt2", "mine.ts", "mine.int8.ts"}
    for row in frame.itertuples():
        assert (folder / row.file).stat().st_size == pytest.approx(1000 * row.kB)
    exact = frame.drop(index="int8")
    assert (exact.difference < 1e-4).all() and (exact.agreement == 1).all()
    assert 0 < frame.difference["int8"] < 0.5 and frame.agreement["int8"] >= 0.75
    assert (frame.batches == "any").all() and (frame.note == "").all()


def test_the_files_answer_without_kdnb(made):
    folder, net, _ = made
    inputs = torch.randn(5, 1, 6, 6)
    wanted = copy.deepcopy(net).eval()(inputs)
    assert torch.allclose(torch.jit.load(folder / "mine.ts")(inputs), wanted, atol=1e-5)
    program = torch.export.load(folder / "mine.pt2").module()
    assert torch.allclose(program(inputs), wanted, atol=1e-5)
    other = network(1).eval()
    assert not torch.allclose(other(inputs), wanted, atol=1e-2)
    assert torch.equal(nets.load_weights(other, folder / "mine.safetensors")(inputs), wanted)
    small = torch.jit.load(folder / "mine.int8.ts")
    assert float((small(inputs) - wanted).abs().max()) < 1
    assert "quantize" in str(small.graph)


def test_the_network_is_left_as_it_is(tmp_path):
    net = network().train()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    export(net, example(), tmp_path, formats=["state_dict", "torchscript", "int8"])
    assert net.training and not net[1].training and all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(one, before[name]) for name, one in net.state_dict().items())


class Pair(nn.Module):
    """Two inputs; logits in a dict; two weights that are one."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.head = nn.Linear(8, 2)

    def forward(self, a, b):
        return {"logits": self.head(torch.cat([self.one(a), self.other(b)], 1)), "more": a}


def test_several_inputs_a_dict_and_shared_weights(tmp_path):
    torch.manual_seed(0)
    frame = export(Pair(), (torch.randn(6, 4), torch.randn(6, 4)), tmp_path, formats=HERE[:3])
    assert (frame.difference < 1e-5).all() and (frame.batches == "any").all()


def test_one_logit_and_dense_logits(tmp_path):
    torch.manual_seed(0)
    for net, inputs in (
        (nn.Sequential(nn.Linear(4, 1)), torch.randn(6, 4)),
        (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), torch.randn(6, 4)),
        (nn.Conv2d(1, 3, 1), torch.randn(6, 1, 4, 4)),
    ):
        frame = export(net, inputs, tmp_path, formats=HERE[:3])
        assert (frame.agreement == 1).all()


def normalised():
    made = network()
    made[0] = nn.utils.weight_norm(made[0])
    made(example())  # it keeps a weight with a gradient
    return made


@pytest.mark.parametrize(
    "made", [lambda: torch.jit.script(network()), normalised, lambda: nn.DataParallel(network())]
)
def test_what_others_make_of_a_network(tmp_path, made):
    frame = export(made(), example(), tmp_path, formats=["state_dict", "torchscript"])
    assert (frame.difference < 1e-4).all()


def test_half_precision(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3)).bfloat16()
    frame = export(net, torch.randn(6, 4), tmp_path, formats=HERE[:3])
    assert (frame.difference < 0.1).all()


@pytest.mark.parametrize("name", ["lenet5_half_dafl", "resnet8", "timm:resnet10t"])
def test_networks_of_libraries(tmp_path, name):
    torch.manual_seed(0)
    net = nets.build(name, num_classes=4, in_channels=3, image_size=32)
    frame = export(net, torch.randn(8, 3, 32, 32), tmp_path, formats=["state_dict", "torch_export"])
    assert (frame.difference < 1e-3).all() and (frame.batches == "any").all()


@pytest.mark.parametrize("name", ["lenet5_half_dafl", "tiny", "resnet8", "vgg8", "mlp"])
def test_networks_of_kdnb_compute_in_int8(tmp_path, name):
    torch.manual_seed(0)
    net = nets.build(name, num_classes=4, in_channels=1, image_size=28).train()
    images = torch.randn(32, 1, 28, 28)
    net(images)
    frame = export(net, images, tmp_path, formats=["int8"])
    assert frame.agreement["int8"] > 0.6 and frame.batches["int8"] == "any"


def test_a_graph_does_not_hold_the_example(tmp_path):
    small, large = (
        export(network(), example(count), tmp_path / str(count), formats=["torch_export"])
        for count in (8, 2000)
    )
    assert large.kB["torch_export"] < 1.5 * small.kB["torch_export"]


def test_what_cannot_be_made_is_a_note_or_an_error(tmp_path):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(x) if x.sum() > 0 else -self.head(x)

    frame = export(Branching(), torch.ones(4, 4), tmp_path)
    assert frame.file["state_dict"] and not frame.file["torch_export"] and not frame.file["int8"]
    assert frame.note["int8"].startswith("not possible: ") and "\n" not in frame.note["int8"]
    with pytest.raises(ExportError, match="^torch_export cannot be made of this network: "):
        export(Branching(), torch.ones(4, 4), tmp_path / "none", formats=["torch_export"])
    assert list((tmp_path / "none").iterdir()) == []


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x) + torch.rand(len(x), 2)


def test_what_answers_otherwise_is_not_kept(tmp_path):
    with pytest.raises(ExportError, match="read back of torchscript answers otherwise.*not kept"):
        export(Random(), torch.randn(4, 4), tmp_path, formats=["torchscript"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_lost_weights_is_not_kept(tmp_path, monkeypatch):
    """The network that is read into is emptied first."""
    monkeypatch.setattr("safetensors.torch.load_model", lambda network, path: None)
    with pytest.raises(ExportError, match="read back of state_dict answers otherwise"):
        export(network(), example(), tmp_path, formats=["state_dict"])


def test_onnx_where_its_packages_are(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    frame = export(network(), example(), tmp_path, formats=None)
    assert frame.note["onnx"] == "needs onnx and onnxscript" and frame.file["onnx"] == ""
    with pytest.raises(ExportError, match="onnx cannot be made .*needs onnx and onnxscript"):
        export(network(), example(), tmp_path, formats=["onnx"])
    monkeypatch.undo()
    if not all(map(exporting.find_spec, exporting.NEEDS["onnx"])):
        pytest.skip("onnx and onnxscript are not installed")
    frame = export(network(), example(), tmp_path, formats=["onnx"])
    assert frame.difference["onnx"] < 1e-4 and frame.batches["onnx"] == "any"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formats": ["onx"]}, r"there is no format 'onx' \(nearest: onnx\)"),
        ({"name": "a/b"}, "name is a file name"),
        ({"name": ""}, "name is a file name"),
        ({"example": torch.zeros(1, 1, 6, 6)}, "a batch of two or more inputs"),
        ({"example": {"a": torch.zeros(3)}}, "a batch of two or more inputs"),
        (
            {"example": torch.zeros(3, 1, 5, 5)},
            r"cannot take these inputs \(float32 \(3, 1, 5, 5\)\)",
        ),
        ({"example": (example(), torch.zeros(16))}, "example is inputs alone"),
        ({"example": example() / 0}, "answers the example with NaN"),
        (
            {"network": nn.Sequential(nn.Flatten(), nn.LazyLinear(3))},
            "lazy modules without weights",
        ),
        ({"network": torch.relu}, "must be a torch module|is a torch module"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, options, words):
    given = {"network": network(), "example": example(), "folder": tmp_path / "f"} | options
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        kdnb.export(**given)
    assert "\n" not in str(caught.value) and not (tmp_path / "f").exists()


def test_a_folder_that_cannot_be_is_told_first(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="a file stands where a folder is needed"):
        export(network(), example(), tmp_path / "file")


def test_weights_of_another_network_or_form_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    export(network(), example(), tmp_path, formats=["state_dict"], name="w")
    with pytest.raises(nets.CheckpointError, match="holds the weights of another network"):
        nets.load_weights(nn.Linear(2, 2), path)
    path.write_bytes(b"\x80\x02 pickled")
    with pytest.raises(
        nets.CheckpointError, match="is no .safetensors file.*safetensors.torch.save"
    ):
        nets.load_weights(network(), path)
    with pytest.raises(nets.CheckpointError, match="there is no file"):
        nets.load_weights(network(), tmp_path / "none.safetensors")
    assert "kdnb" in sys.modules

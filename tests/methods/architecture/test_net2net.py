"""Net2Net: wider and deeper networks of the same function; pruning, its contrary."""

import copy

import pytest
import torch
from torch import nn

from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.methods.architecture import deepen, prune, widen
from kdnb.methods.offline import distil
from kdnb.training import Recipe

OPTIONS = {"mlp": {"widths": [30, 20], "dropout_hidden": 0.5}, "vgg8": {"width": 0.125},
           "vgg13": {"width": 0.125}, "resnet8": {"width": 0.5}}  # fmt: skip


def images(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 28, 28, generator=generator, dtype=torch.float64)


def built(name):
    """A float64 network whose normalisations have seen data and have scales of their own."""
    torch.manual_seed(0)
    network = nets.build(name, **OPTIONS.get(name, {})).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    for seed in range(3):
        network(images(8, seed))
    return network.eval()


class Doubled(nn.Module):
    """Uses a layer's output behind the modules' back."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(784, 4), nn.Linear(4, 2)

    def forward(self, given):
        hidden = self.first(given.flatten(1))
        return self.second(hidden) + hidden.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("name", "layer", "units"),
    [
        ("mlp", "hidden.0.linear", 47),
        ("mlp", "hidden.1.linear", 90),
        ("vgg8", "stage1.conv1", 13),
        ("vgg8", "stage5.conv1", 128),
        ("vgg13", "stage3.conv2", 33),
        ("lenet5", "stage2.conv", 21),
        ("lenet5", "stage3.conv", 130),
        ("lenet5", "hidden.linear", 100),
        ("resnet8", "stage2.0.conv1", 40),
        ("wrn-10-1", "stage1.0.conv1", 17),
    ],
)
def test_a_wider_network_has_the_same_function(name, layer, units):
    teacher = built(name)
    before = copy.deepcopy(teacher.state_dict())
    student = widen(teacher, layer, units, images(2))
    assert student.get_submodule(layer).weight.shape[0] == units
    assert (student(images(6, 9)) - teacher(images(6, 9))).abs().max() < 1e-6
    assert sum(p.numel() for p in student.parameters()) > sum(
        p.numel() for p in teacher.parameters()
    )
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert not student.training


def test_flattened_maps_are_widened_channel_by_channel():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 3)]
    network = nn.Sequential(*layers).double()
    student = widen(network, "0", 9, images(2))
    assert student[3].in_features == 9 * 26 * 26
    assert (student(images()) - network(images())).abs().max() < 1e-9


def test_the_weights_of_a_wider_layer_by_hand():
    torch.manual_seed(0)
    first, second = nn.Linear(4, 3).double(), nn.Linear(3, 2).double()
    network = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)
    given = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    student = widen(network, "1", 8, given, seed=1)
    origin = []
    for unit in range(8):
        same = (student[1].weight[unit] == first.weight).all(1).nonzero()
        assert len(same) == 1
        origin.append(int(same))
    assert origin[:3] == [0, 1, 2]
    for unit in range(8):
        assert student[1].bias[unit] == first.bias[origin[unit]]
        expected = second.weight[:, origin[unit]] / origin.count(origin[unit])
        torch.testing.assert_close(student[3].weight[:, unit], expected)
    assert torch.equal(student[3].bias, second.bias)
    assert not torch.equal(widen(network, "1", 8, given, seed=2)[1].weight, student[1].weight)


def test_noise_tells_the_copies_apart():
    network = built("mlp")
    exact = widen(network, "hidden.0.linear", 60, images(2))
    noisy = widen(network, "hidden.0.linear", 60, images(2), noise=0.01)
    old, new = (student.hidden[0].linear.weight for student in (exact, noisy))
    assert torch.equal(old[:30], new[:30])
    assert not (old[30:] == new[30:]).any()
    difference = (old[30:] - new[30:]).std() / network.hidden[0].linear.weight.std()
    assert 0.008 < difference < 0.012
    gap = (noisy(images()) - network(images())).abs().max()
    assert 1e-6 < gap < 0.5


def test_grown_twice_and_then_trained():
    network = built("vgg8")
    student = deepen(widen(network, "stage2.conv1", 24, images(2)), "stage2.relu1", images(8))
    student = widen(student, "stage2.relu1.conv", 30, images(2))
    assert (student(images(4, 7)) - network(images(4, 7))).abs().max() < 1e-6
    pictures = torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8)
    batches = Batches(Images(pictures, torch.arange(16) % 10), 8, mean=(0.5,), sd=(0.3,))
    recipe = Recipe(epochs=2, batch_size=8, lr=0.01, precision="32")
    history = distil.train(student.float(), batches, recipe).rows
    assert history[1]["hard"] < history[0]["hard"]


@pytest.mark.parametrize(
    ("name", "relu"),
    [
        ("mlp", "hidden.0.relu"),
        ("vgg8", "stage1.relu1"),
        ("lenet5", "hidden.relu"),
        ("resnet8", "stage1.0.relu1"),
        ("resnet8", "stage2.0.relu2"),
        ("wrn-10-1", "final.relu"),
    ],
)
def test_a_deeper_network_has_the_same_function(name, relu):
    teacher = built(name)
    student = deepen(teacher, relu, images(8))
    assert (student(images(6, 9)) - teacher(images(6, 9))).abs().max() < 1e-6
    added = [m for m in student.get_submodule(relu) if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(added) == 1
    assert len(list(student.modules())) > len(list(teacher.modules()))
    added[0].weight.requires_grad_()
    student(images()).sum().backward()
    assert added[0].weight.grad.abs().sum() > 0


def test_the_new_normalisation_undoes_the_statistics_in_training_too():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 3)]
    network = nn.Sequential(*layers).double()
    student = deepen(network, "1", images(8)).train()
    assert (student(images(8)) - network(images(8))).abs().max() < 1e-6


@pytest.mark.parametrize("layer", ["stage1.0.conv2", "stem.conv"])
def test_what_is_added_to_a_shortcut_cannot_grow_alone(layer):
    with pytest.raises(ValueError, match="width cannot change alone"):
        widen(built("resnet8"), layer, 40, images(2))


def test_wrong_growth_is_refused():
    network = built("mlp")
    with pytest.raises(ValueError, match="has 30 units; a wider one needs as many or more: 29"):
        widen(network, "hidden.0.linear", 29, images(2))
    with pytest.raises(ValueError, match="has no module 'hidden.7'"):
        widen(network, "hidden.7", 29, images(2))
    with pytest.raises(ValueError, match="must be a Linear or an ungrouped Conv2d"):
        widen(network, "hidden.0.relu", 29, images(2))
    with pytest.raises(ValueError, match="width cannot change alone"):
        widen(network, "head", 20, images(2))
    with pytest.raises(TypeError, match="behind a ReLU; hidden.0.linear is Linear"):
        deepen(network, "hidden.0.linear", images(2))


def test_a_hidden_reader_is_found_out():
    with pytest.raises(ValueError, match="would change the function"):
        widen(Doubled().double(), "first", 9, images(2))


def test_pruning_keeps_the_largest_filters():
    teacher = built("vgg8")
    with torch.no_grad():
        for unit in (1, 4, 5):
            teacher.stage1.conv1.weight[unit] *= 1e-3
    student, kept = prune(teacher, "stage1.conv1", 5, images(2))
    assert kept.tolist() == [0, 2, 3, 6, 7]
    assert torch.equal(student.stage1.conv1.weight, teacher.stage1.conv1.weight[kept])
    assert torch.equal(student.stage1.bn1.running_var, teacher.stage1.bn1.running_var[kept])
    assert torch.equal(student.stage2.conv1.weight, teacher.stage2.conv1.weight[:, kept])
    with pytest.raises(ValueError, match="between 1 and 8 can stay: 9"):
        prune(teacher, "stage1.conv1", 9, images(2))


def test_pruning_dead_units_changes_nothing():
    teacher = built("mlp")
    dead = [2, 11, 19]
    with torch.no_grad():
        teacher.hidden[1].linear.weight[dead] = 0
        teacher.hidden[1].linear.bias[dead] = 0
    student, kept = prune(teacher, "hidden.1.linear", 17, images(2))
    assert sorted({*range(20)} - {*kept.tolist()}) == dead
    torch.testing.assert_close(student(images()), teacher(images()))

"""Few-sample distillation: the least squares, exact absorption, exact folding, a mended student."""

import copy

import pytest
import torch
from draws import draw
from torch import nn
from torch.nn import functional as F

from kdnb import nets
from kdnb.methods.architecture.net2net import prune
from kdnb.methods.offline.fskd import absorb, align, fold, match_blocks


def net(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2, bias=False)]
    layers += [nn.ReLU(), nn.Conv2d(6, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 9, 3)]
    return nn.Sequential(*layers).double()


def test_alignment_is_the_least_squares_solution():
    student, teacher = draw(4, 3, 5, 5), draw(4, 2, 5, 5, seed=1)
    found = align(student, teacher)
    source, target = (m.permute(0, 2, 3, 1).reshape(100, -1) for m in (student, teacher))
    expected = torch.linalg.solve(source.T @ source, source.T @ target).T  # normal equations
    torch.testing.assert_close(found, expected)
    best = (source @ found.T - target).square().sum()
    for seed in range(5):
        other = found + 1e-2 * draw(2, 3, seed=seed)
        assert (source @ other.T - target).square().sum() > best


def test_a_linear_map_is_found_again_also_with_dead_channels():
    student, matrix = draw(3, 4, 6, 6), draw(4, 4, seed=2)
    student[:, 2] = 0
    teacher = torch.einsum("oc,bchw->bohw", matrix, student)
    found = align(student, teacher)
    torch.testing.assert_close(torch.einsum("oc,bchw->bohw", found, student), teacher)
    assert found[:, 2].abs().max() < 1e-12


@pytest.mark.parametrize("bias", [True, False])
def test_absorption_is_exact(bias):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=bias).double()
    matrix, images = draw(5, 5), draw(2, 3, 8, 8, seed=1)
    expected = F.conv2d(convolution(images), matrix[:, :, None, None])
    shape = convolution.weight.shape
    absorb(convolution, matrix)
    torch.testing.assert_close(convolution(images), expected, rtol=0, atol=1e-12)
    assert convolution.weight.shape == shape
    assert (convolution.bias is None) is not bias


@pytest.mark.parametrize("bias", [True, False])
def test_folding_is_exact(bias):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 5, 3, bias=bias), nn.BatchNorm2d(5), nn.ReLU()).double()
    for _ in range(5):
        plain(3 * torch.randn(8, 3, 6, 6, dtype=torch.float64) + 1)
    with torch.no_grad():
        plain[1].weight.uniform_(0.5, 2)
        plain[1].bias.normal_()
    plain.eval()
    folded, images = copy.deepcopy(plain), draw(2, 3, 6, 6)
    fold(folded, "0", "1")
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(folded(images), plain(images), rtol=0, atol=1e-12)
    with pytest.raises(TypeError, match="'2' and '1' are ReLU and Identity"):
        fold(folded, "2", "1")


def test_a_student_that_lost_only_a_mixing_gets_it_all_back():
    """Channels mixed by invertible matrices: one sweep restores the teacher's function exactly."""
    teacher, images = net(), draw(6, 2, 8, 8)
    student = copy.deepcopy(teacher)
    for path, seed in (("0", 3), ("2", 4), ("4", 5)):
        outputs = student.get_submodule(path).out_channels
        absorb(student.get_submodule(path), draw(outputs, outputs, seed=seed))
    assert not torch.allclose(student(images), teacher(images), atol=0.05)
    before = copy.deepcopy(teacher.state_dict())
    errors = match_blocks(student, teacher, images, ["0", "2", "4"])
    assert all(after < 1e-18 < found for found, after in errors)
    torch.testing.assert_close(student(images), teacher(images), rtol=0, atol=1e-9)
    new = draw(4, 2, 8, 8, seed=9)
    torch.testing.assert_close(student(new), teacher(new), rtol=0, atol=1e-9)
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


def test_a_pruned_student_is_mended():
    teacher, images = net(), draw(40, 2, 1, 1, scale=2.0).expand(40, 2, 8, 8)  # few degrees
    student, kept = prune(teacher, "0", 5, images[:1])
    student, kept_too = prune(student, "2", 4, images[:1])
    broken = copy.deepcopy(student)
    size = sum(parameter.numel() for parameter in student.parameters())
    channels = {"0": kept, "2": kept_too}
    errors = match_blocks(student, teacher, images[:20], ["0", "2", "4"], channels)
    assert errors[0][0] < 1e-20  # the first block only lost channels: nothing to mend
    assert all(after <= found + 1e-12 for found, after in errors)
    assert errors[1][1] < 0.9 * errors[1][0]
    assert sum(parameter.numel() for parameter in student.parameters()) == size
    new = images[20:]
    distance = [(m(new) - teacher(new)).square().mean() for m in (broken, student)]
    assert distance[1] < 0.7 * distance[0]


def test_a_pruned_vgg_with_its_normalisations_folded():
    torch.manual_seed(0)
    teacher = nets.build("vgg8", width=0.125, in_channels=3, image_size=16).eval()
    images = torch.randn(16, 3, 16, 16)
    student, kept = prune(teacher, "stage2.conv1", 10, images[:1])
    for stage in range(1, 6):
        fold(student, f"stage{stage}.conv1", f"stage{stage}.bn1")
    blocks = {f"stage{i}.conv1": f"stage{i}.bn1" for i in range(1, 6)}
    student.train()
    errors = match_blocks(student, teacher, images, blocks, {"stage2.conv1": kept})
    assert student.training
    assert not teacher.training
    assert errors[2][1] < 0.5 * errors[2][0]


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"must be \(5, 5\) to be absorbed .* got \(4, 5\)"):
        absorb(nn.Conv2d(3, 5, 3), torch.zeros(4, 5))
    with pytest.raises(ValueError, match="same batch size, height, width"):
        align(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 5, 4))
    with pytest.raises(ValueError, match="no module '9'"):
        match_blocks(net(), net(), draw(2, 2, 8, 8), ["9"])


def test_a_pruned_lenet_is_mended_block_by_block():
    torch.manual_seed(0)
    teacher = nets.build("lenet5").eval()
    images = torch.randn(40, 1, 28, 28)
    student, kept = teacher, {}
    for path, channels in {"stage1.conv": 3, "stage2.conv": 8}.items():
        student, kept[path] = prune(student, path, channels, images[:1])
    old = {key: value.clone() for key, value in student.state_dict().items()}
    (first, _), (before, after) = match_blocks(
        student, teacher, images, ["stage1.conv", "stage2.conv"], kept
    )
    assert first < 1e-9  # the first block only lost channels
    assert after < 0.8 * before
    changed = {
        key for key, value in student.state_dict().items() if not torch.equal(value, old[key])
    }
    assert {key.split(".")[0] for key in changed} <= {"stage1", "stage2"}
    assert "stage2.conv.weight" in changed

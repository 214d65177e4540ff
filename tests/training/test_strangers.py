"""Networks of strangers: five foreign libraries' classes, and what is peculiar to some of them."""

import contextlib
import copy

import pytest
import safetensors.torch
import torch
from strangers import LIBRARIES, QUICK, Functional, made, pictures, resnet
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb.training.layers import Layers, look


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_class_of_a_foreign_library_trains_resumes_and_saves(kind, tmp_path):
    teacher = resnet(1)

    def run(file, stop_in=99):
        """Train, or be interrupted in an epoch; the student, and how many epochs were trained."""
        student, seen = made(kind), []

        def watch(_):
            seen.append(1)
            if len(seen) == stop_in:
                raise InterruptedError

        options = {"checkpoint": tmp_path / file, "evaluate": watch, **QUICK}
        with contextlib.suppress(InterruptedError):
            kdnb.distil(student, teacher, pictures(), **options)
        return student, len(seen)

    whole, _ = run("whole")
    before = made(kind)
    moved = [
        not torch.equal(a, b) for a, b in zip(before.parameters(), whole.parameters(), strict=True)
    ]
    assert any(moved)
    run("cut", stop_in=2)
    for file, epochs in (("whole", 0), ("cut", 1)):  # finished; interrupted in its second epoch
        torch.rand(7)
        again, trained = run(file)
        assert trained == epochs
        for key, value in whole.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), (file, key)
    safetensors.torch.save_model(whole, str(tmp_path / "student.safetensors"))
    fresh = made(kind, seed=5)
    safetensors.torch.load_model(fresh, str(tmp_path / "student.safetensors"))
    assert kdnb.evaluate(fresh, pictures()).equals(kdnb.evaluate(whole, pictures()))
    # and as a teacher, a peer, and in one's own loop
    kdnb.distil(resnet(), whole, pictures(), **QUICK)
    kdnb.mutual([made(kind), resnet()], pictures(), **{**QUICK, "epochs": 1})
    assert kdnb.Criterion("kd", made(kind), whole, pictures())(*pictures()).requires_grad


def test_tied_weights_stay_tied_in_a_resumed_run(tmp_path):
    file = tmp_path / "c"
    one, two = made("transformers"), made("transformers")
    kdnb.train(one, pictures(), checkpoint=file, **QUICK)
    kdnb.train(two, pictures(), checkpoint=file, **QUICK)
    assert torch.equal(one.up.weight, two.up.weight) and two.down.weight is two.up.weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_in_another_precision_compute_in_it_and_stay_in_it(dtype):
    student = resnet(0).to(dtype)
    exact = kdnb.distil(resnet(0), resnet(1), pictures(), **QUICK).history
    fit = kdnb.distil(student, resnet(1), pictures(), **QUICK).history
    tolerance = 1e-5 if dtype == torch.float64 else 3e-2
    assert fit.hard[0] == pytest.approx(exact.hard[0], rel=tolerance)
    assert {p.dtype for p in student.parameters()} == {dtype}
    kdnb.mutual([resnet(0).to(dtype), resnet(1)], pictures(), **QUICK)
    kdnb.distil(resnet(0), resnet(1).to(dtype), pictures(), method="at", **QUICK)
    assert kdnb.evaluate(student, pictures())["images"] == 8
    with pytest.raises(ValueError, match="precision='bf16' is autocast, for networks in float32"):
        kdnb.train(student, pictures(), epochs=1, precision="bf16")
    if dtype == torch.float16:
        with pytest.raises(ValueError, match="epsilon=1e-08 is 0 in float16"):
            kdnb.train(student, pictures(), epochs=1)


def test_a_network_that_was_compiled_before_kdnb_came_in():
    compile_ = getattr(torch.compile, "__wrapped__", torch.compile)  # as before Fabric's import
    linear = [nn.Linear(4, 3) for _ in range(4)]
    teacher, data = nn.Linear(4, 3), (torch.randn(12, 4), torch.arange(12) % 3)
    for network in linear[1:]:
        network.load_state_dict(linear[0].state_dict())
    whole = [compile_(network, backend="eager") for network in linear[1:]]
    kdnb.distil(linear[0], teacher, data, **QUICK)
    fit = kdnb.distil(whole[0], compile_(teacher, backend="eager"), data, **QUICK)
    assert fit.networks["student"] is whole[0]
    torch.testing.assert_close(linear[1].weight, linear[0].weight)
    kdnb.mutual(whole[1:], data, **QUICK)
    kdnb.evaluate(whole[0], data)
    assert kdnb.Criterion("kd", whole[0], teacher, data)(*data).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda net, data: kdnb.born_again(net, data),
            "make builds a new network at every call, .* Li",
        ),
        (lambda net, data: kdnb.born_again("lenet5", data), "at every call.*got 'lenet5'"),
        (
            lambda net, data: kdnb.born_again(lambda: 3, data),
            "what make returns must be a torch mod",
        ),
        (lambda net, data: kdnb.evaluate("lenet5", data), "string 'lenet5': build it by kdnb.nets"),
        (lambda net, data: kdnb.distil("lenet5", net, data), "student must .* kdnb.nets.build"),
        (lambda net, data: kdnb.train(nn.Linear, data), "the class Linear: give an object"),
        (lambda net, data: kdnb.mutual(net, data), "two networks or more: give a list .* a Linear"),
        (lambda net, data: kdnb.mutual([net, "a"], data), "network 'peer1' must be a torch module"),
    ],
)
def test_what_is_no_network_is_refused_in_one_sentence(call, message):
    data = torch.zeros(6, 4), torch.arange(6) % 3
    with pytest.raises(TypeError, match=message):
        call(nn.Linear(4, 3), data)


def test_probabilities_in_place_of_logits_are_said(monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    data = torch.randn(6, 4), torch.arange(6) % 3
    soft = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))
    kdnb.distil(soft, nn.Linear(4, 3), data, epochs=1)
    said = capsys.readouterr().err
    assert "the student answers with probabilities" in said and "teacher answers" not in said


class OnlyTrainingViews(nn.Module):
    """Flattens by `view` in train mode alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head = nn.Conv2d(3, 4, 3), nn.Linear(3600, 3)

    def forward(self, x):
        maps = torch.relu(self.convolution(x))
        return self.head(maps.view(len(x), -1) if self.training else maps.flatten(1))


def test_a_student_that_flattens_by_view_trains_in_bf16():
    for make in (OnlyTrainingViews, Functional):
        student = make()
        kdnb.distil(student, resnet(1), pictures(), **{**QUICK, "precision": "bf16"})
        assert all(p.is_contiguous() for p in student.parameters())


def test_what_student_and_teacher_may_share():
    relu, dropout, norm = nn.ReLU(), nn.Dropout(), nn.BatchNorm2d(3, affine=False)

    def pair(part):
        return [nn.Sequential(part, nn.Flatten(), nn.Linear(3072, 3)) for _ in range(2)]

    kdnb.distil(*pair(relu), pictures(), **QUICK)
    with pytest.raises(ValueError, match="share the module '0'"):
        kdnb.distil(*pair(dropout), pictures(), **QUICK)
    with pytest.raises(ValueError, match="share buffers"):
        kdnb.distil(*pair(norm), pictures(), **QUICK)
    with pytest.raises(ValueError, match="'peer0' and 'peer1' share the module"):
        kdnb.mutual(pair(dropout), pictures(), **QUICK)
    frozen = resnet().requires_grad_(False)
    with pytest.raises(ValueError, match="the student has nothing to learn"):
        kdnb.distil(frozen, resnet(1), pictures(), **QUICK)


def test_a_frozen_student_may_stand_beside_an_adapter_that_learns():
    frozen = resnet().requires_grad_(False)
    before = [value.clone() for value in frozen.parameters()]
    fit = kdnb.distil(
        frozen, resnet(1), pictures(), method="fitnets", weight=1.0, label_weight=0.0, **QUICK
    )
    assert all(map(torch.equal, before, frozen.parameters()))
    assert any(p.requires_grad for p in fit.learnt.parameters())


def test_what_a_network_remembers_while_it_is_measured_can_be_trained():
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.scale = resnet(), None

        def forward(self, x):
            if self.scale is None:
                self.scale = torch.full((1,), 2.0)
            return self.inner(x) * self.scale

    network = Remembering()
    kdnb.evaluate(network, pictures())
    before = [weight.detach().clone() for weight in network.parameters()]
    kdnb.train(network, pictures(), **QUICK)
    assert not network.scale.is_inference()
    assert not any(map(torch.equal, before, network.parameters()))


def test_an_interrupt_in_the_forward_puts_everything_back():
    class Interrupted(nn.Module):
        def __init__(self, after):
            super().__init__()
            self.inner, self.left = resnet(), after

        def forward(self, x):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self.inner(x)

    def state(network):
        return (
            [part.training for part in network.modules()],
            [(p.requires_grad, p.stride(), p.dtype, p.device) for p in network.parameters()],
            [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()],
        )

    for after in (0, 2):
        for run in (
            lambda one, two: kdnb.train(one, pictures(), **QUICK),
            lambda one, two: kdnb.distil(one, two, pictures(), **QUICK),
            lambda one, two: kdnb.distil(two, one, pictures(), method="kd", **QUICK),
            lambda one, two: kdnb.mutual([one, two], pictures(), **QUICK),
        ):
            one, two = Interrupted(after), resnet(1)
            one.inner.stage1.eval()
            two.stage2.eval()
            next(two.parameters()).requires_grad_(False)
            before = state(one), state(two)
            with pytest.raises(KeyboardInterrupt):
                run(one, two)
            assert (state(one), state(two)) == before


# --- layouts of features --------------------------------------------------------------------------


class Last(nn.Module):
    """Maps (batch, height, width, channels) out of a linear layer and a normalisation."""

    def __init__(self, height, width, channels):
        super().__init__()
        torch.manual_seed(0)
        self.size = height, width
        self.embed, self.norm = nn.Linear(3, channels), nn.LayerNorm(channels)
        self.mixed, self.head = nn.Identity(), nn.Linear(channels, 3)

    def forward(self, x):
        maps = F.adaptive_avg_pool2d(x, self.size).permute(0, 2, 3, 1)
        return self.head(self.mixed(self.norm(self.embed(maps))).mean((1, 2)))


@pytest.mark.parametrize("size", [(6, 6, 10), (6, 6, 4), (7, 14, 5), (6, 6, 6), (6, 4, 6)])
def test_channels_last_is_read_right_or_refused(size):
    network, (images, _) = Last(*size), pictures(2)
    with pytest.raises(ValueError, match=r"looks like \(batch, height, width, channels\)"):
        _ = look(network, Layers(("norm",), head="head"), images).maps
    view = look(network, Layers(("norm",), head="head", channels_last=True), images)
    height, width, channels = size
    assert view.maps[0].shape == (2, channels, height, width)
    if height == width != channels:  # a layer of unknown kind: the square tells
        with pytest.raises(ValueError, match=r"looks like \(batch, height, width, channels\)"):
            _ = look(network, Layers(("mixed",), head="head"), images).maps


def test_channels_first_that_is_called_last_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Flatten(), nn.Linear(2048, 3))
    with pytest.raises(ValueError, match=r"looks like \(batch, channels, height, width\)"):
        _ = look(network, Layers(("0",), head="2", channels_last=True), pictures(2)[0]).maps
    oblong = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d((8, 12)), nn.Flatten(),
                           nn.Linear(768, 3))  # fmt: skip
    assert look(oblong, Layers(("1",)), pictures(2)[0]).maps[0].shape == (2, 8, 8, 12)


def test_tokens_that_come_before_the_batch_are_refused():
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.head = nn.Identity(), nn.Linear(3, 3)

        def forward(self, x):
            tokens = self.block(F.adaptive_avg_pool2d(x, 4).flatten(2).permute(2, 0, 1))
            return self.head(tokens.mean(0))

    layers = Layers(("block",), head="head", prefix_tokens=0)
    with pytest.raises(
        ValueError, match=r"gives \(16, 2, 3\) for 2 samples, which must come first"
    ):
        _ = look(Sequence(), layers, pictures(2)[0]).maps


class Tokens(nn.Module):
    """Tokens of 3 channels, (tokens, batch, channels) inside unless `first`; logits as `answer` says."""

    def __init__(self, side, first=False, dense=False):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.head = nn.Identity(), nn.Linear(3, 3)
        self.side, self.first, self.dense = side, first, dense

    def forward(self, x):
        tokens = F.adaptive_avg_pool2d(x, self.side).flatten(2).permute(2, 0, 1)
        tokens = self.block(tokens.transpose(0, 1) if self.first else tokens)
        return self.head(tokens if self.dense else tokens.mean(1 if self.first else 0))


@pytest.mark.parametrize("call", ["distil", "criterion"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("side", [2, 4])
def test_as_many_tokens_as_samples_are_not_mistaken(call, first, side):
    """Whether (B, B, C) is samples first can be seen only in a batch of another length."""
    layers = (Layers(("block",), head="head", prefix_tokens=0),) * 2
    student, teacher, (images, labels) = Tokens(side, first), Tokens(side, first), pictures(16)

    def run():
        if call == "criterion":
            return kdnb.Criterion("at", student, teacher, (images, labels), layers=layers)
        return kdnb.distil(student, teacher, (images, labels), method="at", layers=layers,
                           **{**QUICK, "batch_size": 16})  # fmt: skip

    if first:
        run()
        return
    with pytest.raises(ValueError) as error:
        run()
    said = str(error.value)
    if side == 4:
        assert "'block' gives (16, 16, 3) for 16 samples and (16, 15, 3) for one fewer" in said
    else:
        assert "'block' gives (4, 16, 3) for 16 samples, which must come first" in said


def test_answers_for_tokens_that_come_before_the_samples_are_refused():
    images, _ = pictures(16)
    data = images, torch.arange(256).view(16, 16) % 3
    with pytest.raises(
        ValueError, match=r"the teacher gives \(16, 16, 3\) .* transpose its answer"
    ):
        kdnb.distil(
            Tokens(4, True, True), Tokens(4, False, True), data, **{**QUICK, "batch_size": 16}
        )
    kdnb.distil(Tokens(4, True, True), Tokens(4, True, True), data, **{**QUICK, "batch_size": 16})


def test_a_copy_of_everything_is_independent():
    student = made("transformers")
    twin = copy.deepcopy(student)
    kdnb.distil(student, twin, pictures(), **QUICK)
    assert not torch.equal(student.up.weight, twin.up.weight)

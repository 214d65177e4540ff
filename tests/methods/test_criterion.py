"""The criterion for one's own loop: the same numbers as distil, and the user's modules untouched."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import kdnb
from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.losses import soft_targets
from kdnb.methods import METHODS
from kdnb.training import Recipe

RECIPE = Recipe(epochs=2, batch_size=12, lr=0.01, momentum=0.9, precision="32", schedule="constant")


def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(24) % 3), 12, mean=(0.5,) * 3, sd=(0.3,) * 3)


def resnet(seed, width):
    torch.manual_seed(seed)
    return nets.build("resnet8", num_classes=3, in_channels=3, image_size=16, width=width)


def state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def loop(method, weight=None, **options):
    """A plain loop with the criterion, step by step what `distil` does."""
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    data = batches()
    first = next(iter(data.epoch(0)))
    criterion = kdnb.Criterion(
        method, student, teacher, (first.images, first.labels), weight=weight, images=24, **options
    )
    if criterion.unprepared:
        criterion.prepare(data, batch_size=12)
    learnt = [p for p in criterion.parameters() if p.requires_grad]
    optimisers = [
        torch.optim.SGD(group, lr=0.01, momentum=0.9)
        for group in (list(student.parameters()), learnt)
        if group
    ]
    terms = []
    for epoch in range(2):
        criterion.begin(epoch, 2)
        student.train()
        for batch in data.epoch(epoch):
            loss = criterion(batch.images, batch.labels, batch.index)
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
            terms.append(criterion.terms)
    return student, terms, criterion


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].alone is False])
def test_a_plain_loop_with_the_criterion_is_distil(method):
    weight = 0.01
    student, terms, _ = loop(method, weight)
    other, teacher = resnet(1, 0.25), resnet(0, 0.5)
    fit = kdnb.distil(other, teacher, batches(), RECIPE, method=method, weight=weight)
    last = fit.history.iloc[-1]
    for name in (method, "hard"):
        mine = sum(float(step[name]) for step in terms[2:]) / 2
        assert mine == pytest.approx(last[name], rel=2e-3, abs=1e-6)
    for key, value in state(student).items():
        torch.testing.assert_close(value, state(other)[key], rtol=1e-2, atol=2e-4)


def test_two_methods_and_ones_own_loss():
    _, terms, criterion = loop(
        ["kd", "at"], {"kd": 2.0, "at": 1.0}, temperature=3.0, label_weight=0.5
    )
    assert set(terms[0]) == {"kd", "at", "hard"}
    assert not list(criterion.parameters())

    def own(student_logits, teacher_logits):
        return soft_targets(student_logits, teacher_logits, 3.0)

    _, again, _ = loop(own, 2.0, label_weight=0.5)
    _, alone, _ = loop("kd", 2.0, temperature=3.0, label_weight=0.5)
    for one, other in zip(again, alone, strict=True):
        torch.testing.assert_close(one["own"], other["kd"])


def test_its_parameters_and_state_are_what_is_learnt_alone():
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    criterion = kdnb.Criterion("fitnets", student, teacher, torch.zeros(4, 3, 16, 16))
    kept = {id(p) for net in (student, teacher) for p in net.parameters()}
    assert [tuple(p.shape) for p in criterion.parameters()] == [(16, 8, 1, 1), (16,)]
    assert not kept & {id(p) for p in criterion.parameters()}
    assert all(key.startswith("learnt.fitnets.") for key in criterion.state_dict())
    assert "fitnets 100, hard 1" in repr(criterion)


@pytest.mark.parametrize("method", ["kd", "at", "ofd"])
def test_the_networks_are_left_as_they_were(method):
    student, teacher = resnet(1, 0.25), resnet(0, 0.5).train()
    student.stage1.eval()
    before = [state(student), state(teacher)]
    modes = [[part.training for part in net.modules()] for net in (student, teacher)]
    criterion = kdnb.Criterion(method, student, teacher, torch.randn(4, 3, 16, 16))
    for net, kept, mode in zip((student, teacher), before, modes, strict=True):
        assert [part.training for part in net.modules()] == mode
        assert all(torch.equal(kept[key], value) for key, value in net.state_dict().items())
    loss = criterion(torch.randn(4, 3, 16, 16), torch.arange(4) % 3)
    loss.backward()
    assert [part.training for part in teacher.modules()] == modes[1]
    assert all(torch.equal(before[1][key], v) for key, v in teacher.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())
    for net in (student, teacher):
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())


def test_a_copy_can_be_saved_and_goes_on():
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    images, labels = torch.randn(6, 3, 16, 16), torch.arange(6) % 3
    make = partial(kdnb.Criterion, "crd", student.eval(), teacher, images, images=24)
    one, two = make(seed=1), make(seed=2)
    one(images, labels)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    torch.testing.assert_close(one(images, labels), two(images, labels))


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
@pytest.mark.parametrize("method", METHODS)
def test_it_is_copied_and_pickled_with_its_student(method, again):
    images, labels = torch.randn(12, 3, 16, 16), torch.arange(12) % 3
    pair = resnet(1, 0.25).eval(), resnet(0, 0.5)
    criterion = kdnb.Criterion(method, *pair, (images, labels), weight=1.0, images=24)
    criterion.unprepared.clear()
    criterion(images, labels, torch.arange(12))
    student, other = again((pair[0], criterion))
    assert other.networks[0] is student is not pair[0]
    loss, expected = (one(images, labels, torch.arange(12)) for one in (other, criterion))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert any(p.grad is not None for p in (*student.parameters(), *other.parameters()))
    assert all(p.grad is None for p in pair[0].parameters())


def test_weights_that_change():
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    criterion = kdnb.Criterion("kd", student, teacher, torch.zeros(2, 3, 16, 16), weight=(4.0, 1.0))
    seen = []
    for epoch in range(4):
        criterion.begin(epoch, 4)
        seen.append(criterion.weights["kd"])
    assert seen == [4.0, 3.0, 2.0, 1.0]


def test_what_is_refused():
    student, teacher, images = resnet(1, 0.25), resnet(0, 0.5), torch.zeros(4, 3, 16, 16)
    make = partial(kdnb.Criterion, student=student, teacher=teacher, example=images)
    with pytest.raises(ValueError, match="Criterion takes no epochs"):
        make("kd", epochs=3)
    with pytest.raises(ValueError, match=r"no option 'temprature' \(nearest: temperature"):
        make("kd", temprature=3)
    with pytest.raises(ValueError, match="CRD cannot take .* how many images"):
        make("crd")
    with pytest.raises(ValueError, match=r"ft has a first stage: call criterion\.prepare"):
        make("ft")(images)
    with pytest.raises(ValueError, match="the cross-entropy reads labels"):
        make("kd")(images)
    with pytest.raises(ValueError, match="DarkRank cannot take .* at least 5 samples"):
        make("darkrank", weight=1.0)
    assert float(make("kd", label_weight=0)(images).detach()) > 0


def test_networks_that_answer_otherwise():
    class Dict(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            return {"logits": self.inner(images)}

    images = torch.randn(4, 3, 16, 16)
    plain = kdnb.Criterion("kd", resnet(1, 0.25), resnet(0, 0.5), images)
    wrapped = kdnb.Criterion("kd", Dict(resnet(1, 0.25)), Dict(resnet(0, 0.5)), images)
    labels = torch.arange(4) % 3
    torch.testing.assert_close(wrapped(images, labels), plain(images, labels))


def test_several_teachers_are_averaged_at_the_methods_temperature():
    student, teachers = resnet(1, 0.25).eval(), [resnet(0, 0.5).eval(), resnet(2, 0.5).eval()]
    images = torch.randn(4, 3, 16, 16)
    criterion = kdnb.Criterion("kd", student, teachers, images, temperature=3.0, label_weight=0)
    answer = 3 * torch.stack([(t(images) / 3).softmax(1) for t in teachers]).mean(0).log()
    torch.testing.assert_close(criterion(images), soft_targets(student(images), answer, 3.0))


def test_logits_in_place_of_inputs_are_told():
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    criterion = kdnb.Criterion("kd", student, teacher, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="runs both networks itself: give it inputs, not logits"):
        criterion(student(torch.zeros(2, 4)), torch.tensor([0, 1]))


def test_weights_that_wait_for_begin_say_so_once(monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    data = torch.randn(6, 4), torch.arange(6) % 3
    pair = nn.Linear(4, 3), nn.Linear(4, 3)
    waiting, begun = (kdnb.Criterion("kd", *pair, data, weight=(0.0, 1.0)) for _ in range(2))
    begun.begin(1, 2)
    assert waiting(*data) < begun(*data) and waiting.terms["kd"] == 0
    waiting(*data)
    assert capsys.readouterr().err.count("moves with criterion.begin(epoch, epochs)") == 1

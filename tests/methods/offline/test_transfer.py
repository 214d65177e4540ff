"""Any method of section 2 between any two networks: views, adapters, stages, what is left alone."""

import pytest
import torch
from torch import nn

from kdnb import losses, nets
from kdnb.data import Batches, Images
from kdnb.methods.catalogue import METHODS, Method
from kdnb.methods.offline import distil
from kdnb.methods.offline.distil import Answering, first_value
from kdnb.methods.wiring import Setting
from kdnb.training import Recipe, teacher_cache
from kdnb.training.layers import Layers, layers_of, look
from kdnb.training.teacher import Recorded

QUICK = Recipe(epochs=1, batch_size=12, lr=0.01, precision="32")


def pictures(count=24):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 12, mean=(0.5,) * 3, sd=(0.3,) * 3, **options)


def resnet(seed, width):
    torch.manual_seed(seed)
    return nets.build("resnet8", num_classes=3, in_channels=3, image_size=16, width=width)


def state(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(one, two):
    return all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_a_student_of_another_width(name):
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    before, kept = state(student), state(teacher)
    hard = 0.0 if METHODS[name].alone else 1.0
    decaying = QUICK.model_copy(update={"weight_decay": 0.1})  # moves whatever has a gradient
    fit = distil.distil(
        student, teacher, batches(), decaying, method=name, weight=1e-3, label_weight=hard
    )
    assert ("hard" in fit.history) == bool(hard)
    assert not same(before, state(student))
    assert same(kept, state(teacher))
    built = _fresh(name, resnet(1, 0.25), resnet(0, 0.5))
    for key, parameter in (
        fit.learnt.named_parameters() if fit.learnt else ()
    ):  # what it learns joined the optimiser
        moved = not torch.equal(parameter, built[key])
        first_stage = "paraphraser" in key or "attention" in key
        assert moved == parameter.requires_grad or first_stage, key


@pytest.mark.parametrize("name", METHODS)
def test_what_is_remembered_of_views_changes_no_method(name, monkeypatch, tmp_path):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    flipping = QUICK.model_copy(update={"flip": True, "epochs": 2})
    ends, asked = [], []
    for largest in (1 << 30, 1 << 30, 0):  # with a table, with the same, and without
        monkeypatch.setattr(teacher_cache, "LARGEST", largest)
        student, teacher, count = resnet(1, 0.25), resnet(0, 0.5), []
        teacher.register_forward_hook(lambda _, x, y, count=count: count.append(len(x[0])))
        hard = 0.0 if METHODS[name].alone else 1.0
        distil.distil(student, teacher, batches(flip=True), flipping, method=name, weight=1e-3,
                 label_weight=hard)  # fmt: skip
        ends.append(state(student))
        asked.append(sum(count))
    assert same(ends[0], ends[2]) and same(ends[1], ends[2])
    tables = list((tmp_path / "teachers").glob("*"))
    assert bool(tables) == (asked[1] < asked[2])
    if METHODS[name].section == "2.1":
        assert tables


def _fresh(name, student, teacher):
    first = next(iter(batches().epoch(0))).images
    views = [look(network, layers_of(network), first) for network in (student, teacher)]
    torch.manual_seed(0)
    return dict(METHODS[name].build(*views, Setting(24, 12)).named_parameters())


def test_without_weight_it_is_training_on_labels():
    taught, alone = resnet(1, 0.25), resnet(1, 0.25)
    distil.distil(taught, resnet(0, 0.5), batches(), QUICK, method="kd", weight=0.0)
    distil.train(alone, batches(), QUICK)
    assert same(state(taught), state(alone))


def test_soft_targets_here_and_in_distil_are_one():
    here, there = resnet(1, 0.25), resnet(1, 0.25)
    teacher = resnet(0, 0.5)
    distil.distil(here, teacher, batches(), QUICK, method="kd", weight=2.0, label_weight=0.5)
    distil.distil(
        there, teacher, batches(), QUICK, method=lambda z, v: losses.soft_targets(z, v, 4.0),
        weight=2.0, label_weight=0.5,
    )  # fmt: skip
    for key, value in state(here).items():
        torch.testing.assert_close(value, state(there)[key], rtol=1e-4, atol=1e-6)


def test_recorded_views_are_what_the_network_shows():
    network = resnet(0, 0.5)
    layers = layers_of(network)
    recorded = Recorded(network, layers, batches(), half=False)
    for batch in batches(seed=5).epoch(1):
        shown, kept = look(network, layers, batch.images), recorded(batch.index)
        pairs = [(shown.logits, kept.logits), (shown.embedding, kept.embedding)]
        pairs += [*zip(shown.maps, kept.maps, strict=True)]
        pairs += [*zip(shown.before, kept.before, strict=True)]
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_views_of_changing_images_are_not_recorded():
    with pytest.raises(ValueError, match="views cannot be stored"):
        Recorded(resnet(0, 0.5), layers_of(resnet(0, 0.5)), batches(flip=True), half=False)


def test_the_teacher_sees_what_the_student_sees():
    seen = {"student": [], "teacher": []}
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].clone()))
    changing = batches(crop_padding=2, flip=True)
    distil.distil(student, teacher, changing, QUICK, method="at", weight=1.0)
    assert len(seen["student"]) == len(seen["teacher"]) == 3  # two steps, and one to see the shapes
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))


def test_the_paraphraser_is_trained_first_and_then_kept():
    one = distil.distil(
        resnet(1, 0.25), resnet(0, 0.5), batches(), QUICK, method="ft", weight=1.0
    ).learnt
    longer = QUICK.model_copy(update={"epochs": 3})
    two = distil.distil(
        resnet(1, 0.25), resnet(0, 0.5), batches(), longer, method="ft", weight=1.0
    ).learnt
    fresh = _fresh("ft", resnet(1, 0.25), resnet(0, 0.5))
    key = "paraphraser.encoder.0.weight"
    assert not torch.equal(dict(one.named_parameters())[key], fresh[key])
    assert same(state(one.paraphraser), state(two.paraphraser))
    assert not same(state(one.translator), state(two.translator))


def test_the_reused_classifier_answers_with_the_teachers_head():
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    fit = distil.distil(
        student, teacher, batches(), QUICK, method="simkd", weight=1.0, label_weight=0.0
    )
    knowledge = fit.learnt
    deployed = Answering(student, knowledge, teacher.head).eval()
    images = next(iter(batches())).images
    maps = knowledge.projector.layers(look(student, layers_of(student), images).maps[-1])
    expected = maps.mean((2, 3)) @ teacher.head.weight.T + teacher.head.bias
    torch.testing.assert_close(deployed(images), expected)


def test_layers_of_the_networks():
    assert layers_of(resnet(0, 1.0)) == Layers(
        ("stage1", "stage2", "stage3"),
        tuple(f"stage{i}.0.preactivation" for i in (1, 2, 3)), "pool", "head",
    )  # fmt: skip
    vgg = nets.build("vgg8", in_channels=3, image_size=32)
    assert layers_of(vgg, ["stage1.relu1", "stage5"]).before == ("stage1.bn1", "stage5.bn1")
    tiny = layers_of(nets.build("tiny", in_channels=3, image_size=32))
    assert (tiny.before[0], tiny.embedding) == ("stage1.bn", "embedding")
    assert layers_of(nets.build("fitnet_mnist"), ["layers.3"]).maps == ("layers.3",)
    mlp = layers_of(nets.build("mlp", widths=(5, 4)))
    assert mlp == Layers(
        ("hidden.0", "hidden.1"), ("hidden.0.linear", "hidden.1.linear"), "hidden", "head"
    )


def test_the_layers_of_a_wrn_meet_their_relus_in_the_next_block():
    network = nets.build("wrn-10-1", in_channels=3, image_size=8).eval()
    layers = layers_of(network)
    assert layers.maps == ("stage1", "stage2", "final.relu")
    view = look(network, layers, torch.randn(2, 3, 8, 8))
    assert view.norms == [network.stage2[0].bn1, network.stage3[0].bn1, network.final.bn]
    torch.testing.assert_close(view.maps[2], view.before[2].relu())
    torch.testing.assert_close(view.maps[2].mean((2, 3)), view.embedding)
    torch.testing.assert_close(network.stage2[0].bn1(view.maps[0]), view.before[0])
    assert layers_of(network, ["stage1.0"]).before == ("stage1.0",)


def test_a_strangers_networks_with_named_layers():
    torch.manual_seed(0)
    mine = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    with pytest.raises(
        ValueError, match=r"Sequential has no stages.*kdnb\.training\.layers\.Layers\(maps="
    ):
        layers_of(mine)
    ours, teacher = Layers(("1",), ("0",), "3", "4"), resnet(0, 0.5)
    theirs = layers_of(teacher, ["stage3"])
    history = distil.distil(
        mine, teacher, batches(), QUICK.model_copy(update={"epochs": 4}), method="fitnets", weight=1.0,
        layers=(ours, theirs),
    ).history  # fmt: skip
    assert history.fitnets.iloc[-1] < history.fitnets.iloc[0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"there is no method 'atention' \(nearest: at\b"):
        distil.distil(
            resnet(1, 0.25), resnet(0, 0.5), batches(), QUICK, method="atention", weight=1.0
        )
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    layers = layers_of(student, ["stage1"]), layers_of(teacher)
    with pytest.raises(ValueError, match="got 1 of the student and 3 of the teacher"):
        distil.distil(
            student, teacher, batches(), QUICK, method="fitnets", weight=1.0, layers=layers
        )
    wide = nets.build("tiny", num_classes=3, in_channels=3, image_size=32)
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    large = Batches(Images(images, torch.arange(6) % 3), 6, mean=(0.5,) * 3, sd=(0.3,) * 3)
    refused = r"CAT-KD cannot take .*it reads 64 features, and that mean has 32\."
    refused += r" The student shows stage1 \(6, 8, 15, 15\)"
    with pytest.raises(ValueError, match=refused + r".*teacher stage1 \(6, 8, 32, 32\)"):
        distil.distil(wide, teacher, large, QUICK, method="catkd", weight=1.0)
    with pytest.raises(ValueError, match="has no module 'stage9'"):
        layers_of(student, ["stage9"])


def test_a_method_of_ones_own():
    class Norms(nn.Module):
        def forward(self, student, teacher, batch):
            return (student.logits.norm(dim=1) - teacher.logits.norm(dim=1)).square().mean()

    own = Method("2.1", "mine", "Norms", lambda student, teacher, setting: Norms())
    network, teacher = resnet(1, 0.25), resnet(0, 0.5)
    value = first_value(own, network, teacher, batches(), (layers_of(network), layers_of(teacher)))
    assert value > 0
    history = distil.distil(network, teacher, batches(), QUICK, method=own, weight=1.0).history
    assert history.knowledge[0] > 0

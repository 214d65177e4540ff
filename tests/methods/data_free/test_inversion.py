"""DeepInversion, CMI and fast synthesis on a teacher with batch normalisation."""

import data_free_workshop as workshop
import pytest
import torch
from torch.nn import functional as F

from kdnb.methods.data_free import (
    FeatureMemory,
    Generator,
    Head,
    NoiseBatches,
    batch_norm_inputs,
    contrastive_inversion,
    deep_inversion,
    fast_synthesis,
    feature_count,
    instance_features,
    random_view,
    statistics_term,
)
from kdnb.runs.functions.banks import inversion_trial

LABELS = torch.arange(12) % 3


def teacher():
    """A network whose running statistics are those of some data."""
    network = workshop.small_net(1, norm=True).train()
    with torch.no_grad():
        for seed in range(30):
            generator = torch.Generator().manual_seed(seed)
            network(2 + 0.5 * torch.randn(16, 1, 8, 8, generator=generator))
    return network.eval()


def small():
    torch.manual_seed(0)
    return Generator(width=4, image_size=8, latent=5)


def gap(network, images):
    with torch.no_grad(), batch_norm_inputs(network) as inputs:
        network(images)
        return float(statistics_term(inputs))


def test_inversion_finds_classes_and_statistics():
    network = teacher()
    start = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"iterations": 60, "lr": 0.1, "jitter": 0}
    images = deep_inversion(network, LABELS, (1, 8, 8), **options)
    assert gap(network, images) < 0.3 * gap(network, start)
    classes = deep_inversion(network, LABELS, (1, 8, 8), weights={"class": 1.0}, **options)
    assert (network(classes).argmax(1) == LABELS).all()
    assert gap(network, images) < gap(network, classes)


def test_variation_makes_images_smooth():
    def roughness(weight):
        images = deep_inversion(
            teacher(), LABELS, (1, 8, 8), weights={"class": 1.0, "variation": weight},
            iterations=30, lr=0.1,
        )  # fmt: skip
        return float((images[..., 1:] - images[..., :-1]).square().mean())

    assert roughness(0.5) < 0.3 * roughness(0.0)


def test_competition_drives_the_student_away():
    network, student = teacher(), workshop.small_net(2)

    def agreement(weight):
        images = deep_inversion(
            network, LABELS, (1, 8, 8), student=student, iterations=40, lr=0.1, temperature=1.0,
            weights={"class": 1.0, "compete": weight},
        )  # fmt: skip
        with torch.no_grad():
            return float((F.softmax(student(images), 1) * F.softmax(network(images), 1)).sum())

    assert agreement(10.0) < agreement(0.0)


def test_the_networks_are_left_as_they_were():
    network = teacher()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    deep_inversion(network, LABELS, (1, 8, 8), iterations=2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not network[1]._forward_pre_hooks


def test_inversion_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="no BatchNorm2d with running statistics to invert"):
        deep_inversion(workshop.small_net(0), LABELS, (1, 8, 8), iterations=1)
    with pytest.raises(ValueError, match="the competition needs a student"):
        deep_inversion(teacher(), LABELS, (1, 8, 8), weights={"compete": 1.0})
    with pytest.raises(ValueError, match="there is no term 'style'"):
        deep_inversion(teacher(), LABELS, (1, 8, 8), weights={"style": 1.0})


def test_the_memory_keeps_the_last_and_draws_pairs():
    memory = FeatureMemory(3, 2)
    assert len(memory) == len(memory.draw(5)[0]) == 0
    rows = torch.arange(8.0).view(4, 2)
    memory.add(rows[:2], rows[:2] + 100)
    memory.add(rows[2:], rows[2:] + 100)
    local, whole = memory.draw(5)
    assert len(memory) == 3
    assert sorted(local.tolist()) == rows[1:].tolist()
    assert torch.equal(local + 100, whole)
    with pytest.raises(ValueError, match="at least 1; got 0 and 2"):
        FeatureMemory(0, 2)


def test_views_are_parts_of_the_image_with_a_way_back():
    torch.manual_seed(0)
    images = torch.randn(6, 1, 8, 8, requires_grad=True)
    same = random_view(images)
    for view, image in zip(same, images, strict=True):
        candidates = torch.stack([image, image.flip(-1)])
        assert (candidates - view).abs().amax((1, 2, 3)).min() < 1e-4
    constant = random_view(torch.ones(4, 1, 8, 8), scale=(0.25, 0.9))
    torch.testing.assert_close(constant[..., 2:-2, 2:-2], torch.ones(4, 1, 4, 4))
    moved = random_view(torch.ones(4, 1, 8, 8), shift=0.25)
    assert (moved == 0).any()
    random_view(images, scale=(0.25, 1.0)).sum().backward()
    assert images.grad.abs().sum() > 0


def test_features_are_the_means_of_what_enters_each_normalisation():
    network = teacher()
    images = torch.randn(5, 1, 8, 8)
    with batch_norm_inputs(network) as inputs:
        network(images)
        found = instance_features(inputs)
    torch.testing.assert_close(found, network[0](images).mean((2, 3)))
    assert feature_count(network) == 4


def test_cmi_makes_a_batch_and_remembers_it():
    network, generator = teacher(), small()
    features = feature_count(network)
    torch.manual_seed(0)
    memory, head = FeatureMemory(100, features), Head(features, 8)
    before = [p.clone() for p in head.parameters()]
    made = [
        contrastive_inversion(
            network, generator, LABELS, memory, head, iterations=8, lr=0.01, seed=seed
        )
        for seed in (0, 1)
    ]
    assert len(memory) == 24
    assert made[0].shape == (12, 1, 8, 8)
    assert not torch.equal(*made)
    assert any(not torch.equal(a, b) for a, b in zip(before, head.parameters(), strict=True))
    with pytest.raises(ValueError, match="the adversarial term needs a student"):
        contrastive_inversion(network, generator, LABELS, memory, head, weights={"adversarial": 1})


def test_the_contrast_is_what_makes_a_batch_diverse():
    def spread(weight):
        torch.manual_seed(0)
        network, head = teacher(), Head(4, 8)
        images = contrastive_inversion(
            network, small(), torch.zeros(12, dtype=torch.int64), FeatureMemory(10, 4), head,
            weights={"class": 1.0, "contrast": weight}, iterations=60, lr=0.01,
        )  # fmt: skip
        with torch.no_grad():
            means = network[0](images).mean((2, 3))
        return float(means.var(0).sum() / means.square().sum(1).mean())

    assert spread(3.0) > 1.2 * spread(0.0)


@pytest.mark.parametrize("meta", ["fomaml", "reptile"])
def test_fast_synthesis_follows_its_adapted_copies(meta):
    """The generator's direction is rebuilt by adapting a copy with a plain Adam."""
    network, generator, twin = teacher(), small(), small().train()
    images = fast_synthesis(network, generator, classes=3, batches=1, batch_size=6, inner_steps=2,
                            lr=1e-3, noise_lr=1e-2, meta=meta, weights={"statistics": 1.0})  # fmt: skip
    assert images.shape == (6, 1, 8, 8)
    fast = small().train()
    noise = next(iter(NoiseBatches(1, 6, (5,)))).images.clone().requires_grad_()
    optimiser = torch.optim.Adam([{"params": fast.parameters()}, {"params": [noise], "lr": 1e-2}],
                                 lr=1e-3)  # fmt: skip
    total = [torch.zeros_like(p) for p in fast.parameters()]
    for _ in range(2):
        with batch_norm_inputs(network) as inputs:
            network(fast(noise))
            loss = statistics_term(inputs)
        optimiser.zero_grad()
        loss.backward()
        for sum_, p in zip(total, fast.parameters(), strict=True):
            sum_ += p.grad
        optimiser.step()
    for moved, start, end, slope in zip(
        generator.parameters(), twin.parameters(), fast.parameters(), total, strict=True
    ):
        direction = slope if meta == "fomaml" else start - end
        clear = slope.abs() > 1e-4  # a bias in front of a normalisation has only rounding errors
        step = (moved - start)[clear]  # Adam's first has the size of its rate, 2 * lr
        torch.testing.assert_close(step, -2e-3 * direction[clear].sign(), rtol=0.05, atol=1e-5)


def test_fast_synthesis_uses_the_student_once_there_is_one():
    options = {"classes": 3, "batches": 2, "batch_size": 4, "inner_steps": 1}
    images = fast_synthesis(teacher(), small(), student=workshop.small_net(2), **options)
    assert images.shape == (8, 1, 8, 8)
    with pytest.raises(ValueError, match="meta must be one of fomaml, reptile"):
        fast_synthesis(teacher(), small(), meta="maml", **options)
    with pytest.raises(ValueError, match="there is no term 'style'"):
        fast_synthesis(teacher(), small(), weights={"style": 1.0}, **options)


def test_the_trial_never_touches_the_training_set(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    options = {
        "data": {"name": "mnist"},
        "teacher": workshop.teacher_trial(source, name="resnet8"),
        "batch_size": 10,
        "image_size": 28,
        "iterations": 2,
    }
    made = inversion_trial(workshop.context(tmp_path), 0, images=10, **options)
    assert made.tensors["bank.images"].shape == (10, 1, 28, 28)
    adaptive = inversion_trial(
        workshop.context(tmp_path), 0, images=10, student=workshop.teacher_trial(source),
        weights={"class": 1.0, "compete": 1.0}, **options,
    )  # fmt: skip
    assert adaptive.metrics["images"] == 10
    with pytest.raises(ValueError, match="multiple of batch_size; got 15, 10"):
        inversion_trial(workshop.context(tmp_path), 0, images=15, **options)

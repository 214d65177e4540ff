"""TGSA: what is compared, what a grade adds up, and how a guided search grows networks."""

import pytest
import torch
from torch import nn

from kdnb.losses import representation_similarity
from kdnb.methods.nas import (
    Layer,
    build,
    early_grade,
    guided_search,
    representations,
    teacher_guidance,
)
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe, evaluate
from kdnb.training.layers import Layers

CHOICES = [Layer(2), Layer(4), Layer(8, kernel=1)]
RECIPE = Recipe(epochs=2, batch_size=12, optimiser="adam", lr=0.01, precision="32")


OWN = (Layer(4), Layer(6))


def network(seed=0, architecture=OWN):
    return build(architecture, seed, num_classes=3, in_channels=3)


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    labels = torch.arange(48) % 3
    images = torch.rand(48, 3, 5, 5)
    images[torch.arange(48), labels] += 0.5
    return images, labels


def test_representations_are_the_networks_own_and_leave_it_alone(data):
    made = network()
    made.stage1.train(), made.stage2.eval()
    running = made.stage1.bn.running_mean.clone()
    seen = representations(made, data[0])
    assert made.training and made.stage1.training and not made.stage2.training
    assert made.stage1.bn.running_mean.equal(running)
    made.eval()
    torch.testing.assert_close(seen["logits"][0], made(data[0]))
    assert [one.shape[1] for one in seen["layers"]] == [4, 6] and seen["embedding"][0].shape == (
        48,
        6,
    )
    assert not seen["logits"][0].requires_grad


def test_guidance_of_each_kind(data):
    ours, theirs = (representations(network(seed), data[0]) for seed in (0, 1))
    for where in ("embedding", "logits"):
        expected = representation_similarity(ours[where][0], theirs[where][0])
        assert teacher_guidance(ours, theirs, where) == pytest.approx(float(expected))
    best = [
        max(float(representation_similarity(s, t)) for s in ours["layers"])
        for t in theirs["layers"]
    ]
    assert teacher_guidance(ours, theirs, "layers") == pytest.approx(sum(best) / 2)
    assert teacher_guidance(ours, ours, "layers") == pytest.approx(1, abs=1e-5)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    shuffled = {name: [one[order] for one in shown] for name, shown in ours.items()}
    assert abs(teacher_guidance(ours, shuffled)) < 0.3
    with pytest.raises(ValueError, match='where must be "embedding", "logits" or "layers"'):
        teacher_guidance(ours, theirs, "all")


def test_a_grade_is_early_accuracy_plus_guidance(data):
    teacher = network(5, (Layer(6),))
    grades = [
        early_grade(lambda a: network(7, a), guide, data, data, data[0][:20], RECIPE, weight=weight, seed=2)
        for guide, weight in ((teacher, 0.5), (teacher, 0.0), (None, 1.0))
    ]  # fmt: skip
    candidate = (Layer(4),)
    found = [grade(candidate) for grade in grades]
    made = network(7, candidate)
    train(made, data, RECIPE, seed=2)
    accuracy = float(evaluate(made, data).accuracy)
    guided = teacher_guidance(*(representations(one, data[0][:20]) for one in (made, teacher)))
    assert found == pytest.approx([accuracy + 0.5 * guided, accuracy, accuracy])
    with pytest.raises(ValueError, match="weight must be at least 0"):
        early_grade(network, teacher, data, data, data[0], RECIPE, weight=-1.0)


def test_training_makes_networks_more_alike(data):
    """What the method rests on: two networks of different shape find more in common as they learn."""
    teacher, pupil = network(1, (Layer(12), Layer(8))), network(2, (Layer(8, kernel=1),))
    before = teacher_guidance(representations(pupil, data[0]), representations(teacher, data[0]))
    long = RECIPE.model_copy(update={"epochs": 25})
    for one in (teacher, pupil):
        train(one, data, long)
    after = teacher_guidance(representations(pupil, data[0]), representations(teacher, data[0]))
    assert after > before + 0.1 and after > 0.5


def test_a_guided_search_grows_the_best():
    asked = []

    def grade(architecture):
        asked.append(architecture)
        return sum(layer.channels for layer in architecture)

    found = guided_search(CHOICES, grade, steps=3, beam=2)
    assert len(found.choices) == 3 * (1 + 2 + 2) and found.choices == asked
    assert found.best == (CHOICES[2],) * 3 and found.best_score == 24
    second = found.choices[3:9]
    assert {one[:1] for one in second} == {(CHOICES[2],), (CHOICES[1],)}


def test_a_budget_ends_a_guided_search():
    found = guided_search(CHOICES, lambda a: len(a), steps=4, beam=1, budget=5)
    assert len(found.choices) == 5 and max(map(len, found.choices)) == 2
    with pytest.raises(ValueError, match="choices must hold at least one layer"):
        guided_search([], len, steps=1, beam=1)
    with pytest.raises(ValueError, match="beam must be at least 1"):
        guided_search(CHOICES, len, steps=1, beam=0)


def test_a_network_of_unknown_layers_is_refused():
    with pytest.raises(ValueError, match="has no stages"):
        representations(nn.Sequential(nn.Flatten(), nn.Linear(75, 3)), torch.rand(4, 3, 5, 5))


def test_too_few_probes_are_refused_before_any_candidate_is_trained(data):
    teacher, built = build((Layer(4),), 0, num_classes=3, in_channels=3), []
    with pytest.raises(ValueError, match="at least 3 samples"):
        early_grade(built.append, teacher, data, data, data[0][:2], RECIPE)
    assert not built
    with pytest.raises(ValueError, match="budget must be at least 1"):
        guided_search([Layer(2)], lambda one: 1.0, steps=1, beam=1, budget=0)


def test_networks_of_others_are_compared_too(data):
    images = data[0]
    own = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(5, 3),
    )  # fmt: skip
    found = representations(own, images, Layers(maps=("0",), head="4"))
    assert found["embedding"][0].equal(own[:4](images).detach())
    dead = build((Layer(4),), 1, num_classes=3, in_channels=3)
    for parameter in dead.parameters():
        parameter.data.zero_()  # every image gives the same features
    for other in (dead, build((Layer(5),), 1, num_classes=3, in_channels=3).bfloat16()):
        value = teacher_guidance(representations(other, images), found)
        assert -1 <= value <= 1
    assert teacher_guidance(representations(dead, images), found) == 0

"""N2N: what both actions do, what policies compute, and that they find what is worth most."""

import math
from itertools import product

import pytest
import torch

from kdnb import nets
from kdnb.methods.architecture.design import parameters
from kdnb.methods.nas import (
    Layer,
    RemovalPolicy,
    ShrinkagePolicy,
    build,
    compress,
    described,
    expected_best,
    reinforce,
    removed,
    reward_of,
    shrunk,
)
from kdnb.methods.offline.distil import distil, train
from kdnb.training import Recipe, evaluate

TEACHER = (Layer(8, pool=2), Layer(8), Layer(16, pool=2), Layer(16), Layer(16))


def drawn(policy, count, seed=0, architecture=TEACHER):
    return policy(described(architecture), count, torch.Generator().manual_seed(seed))


def test_layers_go_and_their_pooling_stays():
    for keep in product((0, 1), repeat=5):
        left = removed(TEACHER, keep)
        assert len(left) == sum(keep)
        if left:
            assert math.prod(layer.pool for layer in left) == 4
            assert [layer.channels for layer in left] == [
                layer.channels for stays, layer in zip(keep, TEACHER, strict=True) if stays]  # fmt: skip
    assert removed(TEACHER, (1,) * 5) == TEACHER
    assert [layer.pool for layer in removed(TEACHER, (0, 1, 0, 1, 1))] == [4, 1, 1]


def test_layers_shrink():
    assert [layer.channels for layer in shrunk(TEACHER, (1, 0.5, 0.25, 0.01, 0.1))] == [
        8,
        4,
        4,
        1,
        2,
    ]
    assert shrunk(TEACHER, (1.0,) * 5) == TEACHER


@pytest.mark.parametrize(("make", "options"), [(RemovalPolicy, 2), (lambda: ShrinkagePolicy(3), 3)])
def test_probabilities_of_all_choices_sum_to_one(make, options):
    """And a drawn choice has the logarithm that it is given: of three layers, all choices by sampling."""
    torch.manual_seed(0)
    choices, logs = drawn(make(), 4000, architecture=TEACHER[:3])
    assert choices.shape == (4000, 3) and logs.shape == (4000,)
    known = {tuple(c): log for c, log in zip(choices.tolist(), logs.exp().tolist(), strict=True)}
    assert len(known) == options**3
    assert sum(known.values()) == pytest.approx(1, abs=1e-4)
    shares = {c: choices.eq(torch.tensor(c)).all(1).float().mean().item() for c in known}
    assert all(abs(shares[c] - p) < 0.04 for c, p in known.items())


def test_a_removal_policy_sees_layers_on_both_sides():
    torch.manual_seed(0)
    policy = RemovalPolicy()
    layers = described(TEACHER).requires_grad_()
    middle = policy.decide(policy.lstm(layers)[0])[2, 0]
    (gradient,) = torch.autograd.grad(middle, layers)
    assert gradient.abs().sum(1).gt(0).all()


def test_a_shrinkage_policy_sees_its_last_decision():
    torch.manual_seed(0)
    choices, logs = drawn(ShrinkagePolicy(2), 4000, architecture=TEACHER[:2])
    first = [logs[(choices == torch.tensor(pair)).all(1)][0] for pair in ([0, 0], [1, 0])]
    marginal = [logs[choices[:, 0] == n].unique().exp().sum().log() for n in (0, 1)]
    behind = [one - whole for one, whole in zip(first, marginal, strict=True)]
    assert abs(behind[0] - behind[1]) > 1e-3  # the second layer's odds depend on the first


def test_reinforce_finds_in_few_networks_what_random_search_does_not():
    """Where one rule serves all layers, keep them: 1 of 1,024 choices is the best."""
    layers = (Layer(8),) * 10
    every = [sum(keep) / 10 for keep in product((0, 1), repeat=10)]
    for seed in range(2):
        torch.manual_seed(seed)
        log = reinforce(
            RemovalPolicy(), described(layers), lambda keep: sum(keep) / 10, 60, rounds=30, lr=0.02,
            seed=seed,
        )  # fmt: skip
        assert len(log.choices) <= 60 and len(set(log.choices)) == len(log.choices)
        assert log.best_score == 1 > expected_best(every, 60) + 0.1


def test_with_shared_rewards_a_policy_learns_less():
    kept = {}
    for variant in ("paper", "authors"):
        shares = []
        for seed in range(4):
            torch.manual_seed(seed)
            policy = RemovalPolicy()
            reinforce(
                policy, described(TEACHER), lambda keep: float(sum(keep)), 32, rounds=8, lr=0.02,
                variant=variant, seed=seed,
            )  # fmt: skip
            shares.append(drawn(policy, 200)[0].float().mean())
        kept[variant] = float(torch.stack(shares).mean())
    assert kept["paper"] > 0.9 and kept["paper"] > kept["authors"] + 0.02


def test_a_search_is_a_function_of_its_seed_and_leaves_the_random_state():
    state = torch.random.get_rng_state()
    runs = [
        compress(TEACHER, lambda a: -float(sum(l.channels for l in a)) if a else -99.0,
                 removal_budget=6, shrinkage_budget=6, rounds=10, seed=seed)
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert torch.random.get_rng_state().equal(state)
    assert runs[0] == runs[1] and runs[0].removal.choices != runs[2].removal.choices
    assert runs[0].reward == max(runs[0].removal.best_score, runs[0].shrinkage.best_score)
    assert runs[0].reward == -float(sum(layer.channels for layer in runs[0].architecture))


@pytest.fixture(scope="module")
def taught():
    """A teacher of one layer and images whose class is where they are bright."""
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    images = 0.1 * torch.rand(60, 3, 4, 4)
    images[torch.arange(60), labels] += 1
    teacher = build((Layer(8), Layer(6)), 0, num_classes=3, in_channels=3)
    recipe = Recipe(epochs=6, batch_size=12, optimiser="adam", lr=0.02, precision="32")
    train(teacher, (images, labels), recipe)
    return teacher, (images, labels), recipe


def test_the_reward_is_of_a_distilled_student(taught):
    teacher, data, recipe = taught
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    reward = reward_of(teacher, data, data, recipe, seed=3)
    student = build((Layer(4),), 3, num_classes=3, in_channels=3)
    distil(student, teacher, data, recipe, method="logit_regression", weight=1.0, seed=3)
    c = 1 - parameters(student) / parameters(teacher)
    expected = c * (2 - c) * evaluate(student, data).accuracy / evaluate(teacher, data).accuracy
    assert reward((Layer(4),)) == pytest.approx(expected, rel=1e-5)
    assert reward(()) == -1
    assert all(v.equal(before[k]) for k, v in teacher.state_dict().items())


def test_wrong_arguments():
    with pytest.raises(ValueError, match="keep must hold 1 or 0 for each of 5 layers"):
        removed(TEACHER, (1, 0))
    with pytest.raises(ValueError, match="keep must hold 1 or 0"):
        removed(TEACHER, (1, 0, 2, 1, 1))
    with pytest.raises(ValueError, match="one for each of 5 layers; got 1"):
        shrunk(TEACHER, (0.5,))
    with pytest.raises(ValueError, match=r"ratios must lie in \(0, 1\]; got 0"):
        shrunk(TEACHER, (0, 1, 1, 1, 1))
    with pytest.raises(ValueError, match="budget must be at least 1"):
        reinforce(RemovalPolicy(), described(TEACHER), float, 0)
    with pytest.raises(ValueError, match="at least one ratio; got none"):
        compress(TEACHER, len, removal_budget=1, shrinkage_budget=1, ratios=())


def test_any_classifier_of_images_can_be_the_teacher(taught):
    _, data, recipe = taught
    teachers = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3)),
        nets.build("timm:resnet10t", num_classes=3, in_channels=3, image_size=32),
    )
    for teacher in teachers:
        torch.manual_seed(0)
        reward = reward_of(teacher, data, data, recipe)
        student = build((Layer(4),), 0, num_classes=3, in_channels=3)
        distil(student, teacher, data, recipe, method="logit_regression", weight=1.0)
        c = 1 - parameters(student) / parameters(teacher)
        kept = evaluate(student, data).accuracy / evaluate(teacher, data).accuracy
        assert reward((Layer(4),)) == pytest.approx(c * (2 - c) * kept, rel=1e-5)


def test_a_search_that_cannot_be_is_refused_before_any_student_is_trained(taught):
    _, (images, labels), recipe = taught
    data, trained = (images, labels), []
    for options, words in (
        ({"removal_budget": 2, "shrinkage_budget": 0}, "shrinkage_budget must be at least 1"),
        ({"removal_budget": 0, "shrinkage_budget": 2}, "removal_budget must be at least 1"),
        ({"removal_budget": 2, "shrinkage_budget": 2, "ratios": (1.0, 0.0)}, "ratios must lie"),
        ({"removal_budget": 2, "shrinkage_budget": 2, "shrinkage_lr": 0.0}, "shrinkage_lr must"),
    ):
        with pytest.raises(ValueError, match=words):
            compress(TEACHER, lambda one: trained.append(one) or 1.0, **options)
    with pytest.raises(ValueError, match="at least one layer; got none"):
        compress((), len, removal_budget=1, shrinkage_budget=1)
    assert not trained
    grey = build((Layer(2),), 0, num_classes=3)
    with pytest.raises(ValueError, match="the teacher cannot take these inputs"):
        reward_of(grey, data, data, recipe)
    with pytest.raises(ValueError, match="data must be images"):
        flat = images.flatten(1)
        reward_of(torch.nn.Linear(flat.shape[1], 3), (flat, labels), (flat, labels), recipe)
    wrong = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(images[0].numel(), 3))
    torch.nn.init.zeros_(wrong[1].weight)
    wrong[1].bias.data = torch.tensor([0.0, 0.0, 9.0])  # always the third class
    few = images[labels < 2], labels[labels < 2]
    with pytest.raises(ValueError, match="is no measure of students"):
        reward_of(wrong, data, few, recipe)

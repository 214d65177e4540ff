"""The section's methods side by side, as chapter 5-1 calls them: one student, one teacher, critics."""

import copy

import pytest
import torch

from kdnb import losses, nets
from kdnb.data import Batches, Images
from kdnb.methods import adversarial, online
from kdnb.methods.adversarial import Critic
from kdnb.training import Recipe

RECIPE = Recipe(epochs=1, batch_size=16, optimiser="adam", lr=2e-3, precision="32")
LEVELS = {"stage1": (3, 6), "stage2": (8, 16), "hidden": (84, 84)}  # student's, teacher's channels


def batches():
    pixels = torch.randint(
        0, 256, (32, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return Batches(Images(pixels, torch.arange(32) % 10), 16, mean=(0.5,), sd=(0.3,))


def build(name, seed, **options):
    torch.manual_seed(seed)
    return nets.build(name, **options)


def soft(z, v):
    return losses.soft_targets(z, v, 4.0)


def generated(student, teacher, weight):
    generator = adversarial.ImageGenerator(latent=4, width=4)
    adversarial.distil_with_generated(
        student, teacher, generator, batches(), RECIPE, loss=soft, generated_share=weight / 2
    )


def conditional(student, teacher, weight):
    adversarial.conditional_adversarial(
        student, teacher, adversarial.ConditionalCritic(10), batches(), RECIPE,
        critic_recipe=RECIPE, adversarial_weight=weight,
    )  # fmt: skip


def features(student, teacher, weight):
    adversarial.adversarial_features(
        student, teacher, {"hidden": Critic(84)}, batches(), RECIPE, loss=soft,
        paths={"hidden": ("hidden", "hidden")}, critic_recipe=RECIPE, adversarial_weight=weight,
    )  # fmt: skip


def levels(student, teacher, weight):
    adversarial.adversarial_features(
        student, teacher, {name: Critic(wide) for name, (_, wide) in LEVELS.items()}, batches(),
        RECIPE, paths={name: (name, name) for name in LEVELS}, loss=soft, hint_weight=1.0,
        transfers={name: online.Transfer(*LEVELS[name]) for name in ("stage1", "stage2")},
        critic_recipe=RECIPE, adversarial_weight=weight,
    )  # fmt: skip


def compression(student, teacher, weight):
    adversarial.adversarial_compression(
        student, teacher, Critic(84), batches(), RECIPE, path=("hidden", "hidden"),
        critic_recipe=RECIPE, adversarial_weight=weight,
    )  # fmt: skip


def meal(student, teacher, weight):
    other = build("mlp", 5, widths=[40])
    adversarial.meal(
        student, [teacher, other], {"hidden": Critic(8), "logits": Critic(10)}, batches(), RECIPE,
        paths={"hidden": ("hidden", ["hidden", "hidden"])}, sizes={"hidden": 8},
        critic_recipe=RECIPE, adversarial_weight=weight,
    )  # fmt: skip


METHODS = [generated, conditional, features, levels, compression, meal]


def flat(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.fixture(scope="module")
def ends():
    """(method, weight of the adversary) -> the student's weights; the student before."""
    teacher, student = build("lenet5", 1), build("lenet5_half_zskd", 2)
    found = {}
    for method in METHODS:
        for weight in (1.0, 0.0):
            taught = copy.deepcopy(student)
            torch.manual_seed(3)
            method(taught, teacher, weight)
            found[method.__name__, weight] = flat(taught)
    return found, flat(student)


def test_students_start_alike_and_no_two_methods_end_alike(ends):
    found, start = ends
    weights = list(found.values())
    for place, one in enumerate(weights):
        assert torch.isfinite(one).all()
        assert not torch.equal(one, start)
        assert not any(torch.equal(one, other) for other in weights[:place])


def test_the_teacher_stays():
    teacher = build("lenet5", 1)
    before = flat(teacher)
    for method in METHODS:
        method(build("lenet5_half_zskd", 2), teacher, 1.0)
    assert torch.equal(flat(teacher), before)

"""MEAL: the alignment, the drawn teacher, who pulls where."""

import copy

import pytest
import torch
from torch import nn

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.losses import fooling_loss, judging_loss
from kdnb.methods.adversarial import Critic, aligned, meal
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")

QUICK = Recipe(epochs=6, batch_size=4, lr=0.02, precision="32")

SIZES = {"early": 6}


def batches(size=4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), size, mean=(0.5,), sd=(0.3,))


def convolutional(seed, width=4, stride=1):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, stride=stride), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


def critics():
    torch.manual_seed(7)
    return {"early": Critic(6, widths=(5,)), "logits": Critic(3, widths=(5,))}


def paths(count):
    return {"early": ("1", ["1"] * count)}


def run(student, teachers, judges, data, recipe, **options):
    options = {"paths": paths(len(teachers)), "sizes": SIZES, **options}
    return meal(student, teachers, judges, data, recipe, critic_recipe=recipe, **options)


@pytest.mark.parametrize("size", [1, 4, 7, 60])
def test_alignment_as_published(size):
    """Pool each channel to so many positions, then average the channels."""
    torch.manual_seed(0)
    maps = torch.randn(3, 5, 4, 6)
    expected = torch.stack(
        [
            torch.stack(
                [nn.functional.adaptive_avg_pool1d(row.flatten()[None], size)[0] for row in image]
            ).mean(0)
            for image in maps
        ]
    )
    torch.testing.assert_close(aligned(maps, size), expected)
    assert aligned(torch.randn(2, 9), size).shape == (2, size)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        aligned(torch.zeros(2, 3, 4), size)


def test_one_teacher_is_drawn_for_every_batch():
    asked = {0: 0, 1: 0, 2: 0}
    teachers = [convolutional(i, width) for i, width in ((1, 4), (2, 5), (3, 6))]
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teachers]
    for i, teacher in enumerate(teachers):
        teacher.register_forward_hook(lambda *_, i=i: asked.update({i: asked[i] + 1}))
    history = run(convolutional(0), teachers, critics(), batches(), QUICK, seed=3)
    assert sum(asked.values()) == 60  # one for each step
    assert all(count >= 10 for count in asked.values())  # 20 expected, sd 3.7
    assert {"similarity", "fooling", "judging"} <= set(history[0])
    for teacher, state in zip(teachers, before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in teacher.state_dict().items())


def test_the_steps_by_hand():
    """Both teachers are the same, so it does not matter which was drawn."""
    student, teacher, judges = convolutional(0), convolutional(1, 5, stride=2), critics()
    s, c = copy.deepcopy(student), copy.deepcopy(judges)
    run(
        student, [teacher, copy.deepcopy(teacher)], judges, batches(40), STEP,
        similarity_weights={"early": 0.1, "logits": 0.6}, adversarial_weight=0.3,
    )  # fmt: skip
    images = next(iter(batches(40))).images
    z, v = s(images), teacher(images).detach()
    own, other = aligned(s[:2](images), 6), aligned(teacher[:2](images), 6).detach()
    loss = 0.1 * losses.soft_targets(own, other, 1.0) + 0.6 * losses.soft_targets(z, v, 1.0)
    fooled = fooling_loss(c["early"](own)) + fooling_loss(c["logits"](z))
    gradients = torch.autograd.grad(loss + 0.3 * fooled, list(s.parameters()))
    for new, old, gradient in zip(student.parameters(), s.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    for name, real, fake in (("early", other, own), ("logits", v, z)):
        loss = judging_loss(c[name](real), c[name](fake.detach()))
        gradients = torch.autograd.grad(loss, list(c[name].parameters()))
        moved = zip(judges[name].parameters(), c[name].parameters(), gradients, strict=True)
        for new, old, gradient in moved:
            torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_student_and_critics_are_adversaries():
    """Where the critics stand still, the student's scores rise; the released code lets them fall."""
    judges, student = critics(), convolutional(0)
    images = next(iter(batches(40))).images

    def score():
        with torch.no_grad():
            return float(judges["logits"](student(images)).mean())

    before = score()
    short = QUICK.model_copy(update={"epochs": 2})
    frozen = short.model_copy(update={"lr": 1e-12})
    meal(
        student, [convolutional(1), convolutional(2)], judges, batches(), short,
        critic_recipe=frozen, paths=paths(2), sizes=SIZES,
        similarity_weights={"early": 0.0, "logits": 0.0},
    )  # fmt: skip
    assert score() > before


def test_names_must_agree():
    teachers = [convolutional(1), convolutional(2)]
    with pytest.raises(ValueError, match="2 teachers or more.*got 1 teachers"):
        run(convolutional(0), teachers[:1], critics(), batches(), QUICK)
    with pytest.raises(ValueError, match="one path in each"):
        run(convolutional(0), teachers, critics(), batches(), QUICK, paths=paths(3))
    with pytest.raises(ValueError, match=r"need the names \['early', 'logits'\]"):
        run(convolutional(0), teachers, {"early": Critic(6)}, batches(), QUICK)
    with pytest.raises(ValueError, match=r"sizes \['early'\]"):
        run(convolutional(0), teachers, critics(), batches(), QUICK, sizes={})

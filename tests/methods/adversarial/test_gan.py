"""A GAN and its distillation: every step by hand."""

import copy

import pytest
import torch
from small_gans import QUICK, Constant, batches, generator_of

from kdnb.losses import fooling_loss, judging_loss
from kdnb.methods.adversarial import (
    ImageCritic,
    ImageGenerator,
    distil_gan,
    draw_images,
    train_gan,
)
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")

STILL = STEP.model_copy(update={"lr": 1e-12})


def critic_of(seed=9):
    torch.manual_seed(seed)
    return ImageCritic(image_size=8, width=3)


def assert_step(moved, before, loss):
    gradients = torch.autograd.grad(loss, list(before.parameters()), retain_graph=True)
    for new, old, gradient in zip(moved.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_generator_and_critic():
    generator = ImageGenerator(latent=3, channels=2, image_size=12, width=4, bounds=(-0.4, 2.8))
    with torch.no_grad():
        generator.last.weight.mul_(1e3)
    images = generator(torch.randn(5, 3))
    assert images.shape == (5, 2, 12, 12)
    assert images.min() >= -0.4
    assert images.max() <= 2.8
    assert images.max() - images.min() > 3
    assert ImageCritic(channels=2, image_size=12, width=3)(images).shape == (5,)
    with pytest.raises(ValueError, match="multiple of 4.*got 10"):
        ImageGenerator(image_size=10)
    with pytest.raises(ValueError, match="bounds must rise"):
        ImageGenerator(bounds=(1.0, 0.0))
    with pytest.raises(ValueError, match="multiple of 4"):
        ImageCritic(image_size=10)


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares"])
def test_the_steps_of_a_gan_by_hand(kind):
    """The critic first; the generator then against the critic that has moved."""
    generator, critic = Constant(0.2), critic_of()
    g, c = copy.deepcopy(generator), copy.deepcopy(critic)
    train_gan(generator, critic, batches(40), STEP, kind=kind)
    images, noise = next(iter(batches(40))).images, torch.zeros(40, 2)
    assert_step(critic, c, judging_loss(c(images), c(g(noise).detach()), kind))
    assert_step(generator, g, fooling_loss(critic(g(noise)), kind))


def test_a_student_generator_learns_its_teachers_images():
    teacher, student = generator_of(1, width=6), generator_of(2)
    with torch.no_grad():
        teacher.last.weight.mul_(5)
    state = copy.deepcopy(teacher.state_dict())

    def apart():
        a, b = (draw_images(net, 64, seed=5) for net in (teacher, student))
        return float((a - b).square().mean())

    before = apart()
    recipe = Recipe(epochs=15, batch_size=8, lr=0.02, optimiser="adam", precision="32")
    history = distil_gan(student, teacher, batches(), recipe)
    assert apart() < 0.5 * before
    assert history[-1]["pixels"] < 0.5 * history[0]["pixels"]
    assert all(torch.equal(value, state[key]) for key, value in teacher.state_dict().items())


def test_without_a_critic_no_image_is_read():
    students = [generator_of(2), generator_of(2)]
    for seed, student in enumerate(students):
        history = distil_gan(student, generator_of(1), batches(seed=seed), QUICK)
    assert torch.equal(students[0].last.weight, students[1].last.weight)
    assert set(history[0]) == {"epoch", "lr", "seconds", "pixels"}


def test_the_joint_loss_by_hand():
    student, teacher, critic = Constant(0.2), Constant(0.5), critic_of()
    s, c = copy.deepcopy(student), copy.deepcopy(critic)
    distil_gan(
        student, teacher, batches(40), STEP, critic=critic, critic_recipe=STILL,
        pixel_weight=3.0, adversarial_weight=0.4,
    )  # fmt: skip
    made = s(torch.zeros(40, 2))
    assert_step(student, s, 3 * (made - 0.5).square().mean() + 0.4 * fooling_loss(c(made)))


def test_generators_must_take_the_same_noise():
    with pytest.raises(ValueError, match="latent is 3 and 2"):
        distil_gan(generator_of(0), Constant(0.0), batches(), QUICK)


def test_images_are_drawn_in_eval_mode():
    generator = generator_of(0)
    state = copy.deepcopy(generator.state_dict())
    images = draw_images(generator, 7, seed=1)
    assert images.shape == (7, 1, 8, 8)
    assert generator.training
    assert all(torch.equal(value, state[key]) for key, value in generator.state_dict().items())
    assert torch.equal(draw_images(generator, 7, seed=1), images)
    noise = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(generator.eval()(noise).detach(), images)
    assert not torch.equal(draw_images(generator, 7, seed=2), images)

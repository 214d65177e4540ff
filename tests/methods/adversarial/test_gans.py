"""A GAN and its distillation, the Fréchet distance, and generated images beside real ones."""

import copy
import math

import numpy as np
import pytest
import torch
from draws import draw
from scipy.linalg import sqrtm
from torch import nn

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.losses import fooling_loss, judging_loss
from kdnb.methods.adversarial import (
    ImageCritic,
    ImageGenerator,
    classifier_frechet,
    distil_gan,
    distil_with_generated,
    draw_images,
    embedded,
    frechet_distance,
    mixed,
    train_gan,
)
from kdnb.methods.offline import distil
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")
STILL = STEP.model_copy(update={"lr": 1e-12})
QUICK = Recipe(epochs=2, batch_size=8, lr=0.02, precision="32")


def batches(size=8, seed=0, labels=None):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 3 if labels is None else labels
    return Batches(Images(images, labels), size, mean=(0.5,), sd=(0.3,))


def generator_of(seed, width=4):
    torch.manual_seed(seed)
    return ImageGenerator(latent=3, image_size=8, width=width)


def critic_of(seed=9):
    torch.manual_seed(seed)
    return ImageCritic(image_size=8, width=3)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


class Constant(nn.Module):
    """A generator without noise: the same image again and again, so that a step can be redone."""

    latent = 2

    def __init__(self, value):
        super().__init__()
        self.image = nn.Parameter(torch.full((1, 8, 8), value))

    def forward(self, noise):
        return self.image.expand(len(noise), -1, -1, -1)


def assert_step(moved, before, loss):
    gradients = torch.autograd.grad(loss, list(before.parameters()), retain_graph=True)
    for new, old, gradient in zip(moved.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


# --- GANs ----------------------------------------------------------------------------------------


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


# --- the Fréchet distance ------------------------------------------------------------------------


def covariance(seed, rank=5):
    root = draw(5, rank, seed=seed)
    return root @ root.T


def test_diagonal_covariances():
    a, b = draw(6).square(), draw(6, seed=1).square()
    mean, mean2 = draw(6, seed=2), draw(6, seed=3)
    expected = sum((mean - mean2).square()) + sum((a.sqrt() - b.sqrt()).square())
    found = frechet_distance(mean, a.diag(), mean2, b.diag())
    assert found == pytest.approx(float(expected), rel=1e-10)


def test_full_covariances_against_the_plain_root():
    a, b, zero = covariance(0), covariance(1), torch.zeros(5)
    root = torch.as_tensor(sqrtm((a @ b).numpy()).real)
    expected = float((a + b - 2 * root).trace())
    assert frechet_distance(zero, a, zero, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(zero, b, zero, a) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(zero, a, zero, a) == pytest.approx(0, abs=1e-6)


def test_singular_covariances():
    """Of rank 1 the closed form is |a|^2 + |b|^2 - 2 |a . b|; where orthogonal, nothing is shared."""
    a, b, zero = draw(5), draw(5, seed=1), torch.zeros(5)
    expected = float(a @ a + b @ b - 2 * (a @ b).abs())
    found = frechet_distance(zero, torch.outer(a, a), zero, torch.outer(b, b))
    assert found == pytest.approx(expected, rel=1e-5)
    nothing = torch.zeros(5, 5)
    assert frechet_distance(zero, covariance(0, 2), zero, nothing) == pytest.approx(
        float(covariance(0, 2).trace())
    )


def test_wrong_moments_are_refused():
    zero, one = torch.zeros(3), torch.eye(3)
    with pytest.raises(ValueError, match=r"mean2 must have shape \(3,\); got \(2,\)"):
        frechet_distance(zero, one, zero[:2], one)
    with pytest.raises(ValueError, match=r"covariance2 must have shape \(3, 3\)"):
        frechet_distance(zero, one, zero, one[:2])
    with pytest.raises(ValueError, match="covariance must be symmetric"):
        frechet_distance(zero, one.roll(1, 0), zero, one)


def test_distance_of_images():
    torch.manual_seed(0)
    classifier = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )
    images = draw(600, 1, 8, 8).float()
    rows = embedded(classifier, images, "1")
    assert classifier.training
    expected = classifier[:2](images).mean((2, 3)).detach()
    torch.testing.assert_close(rows, expected.double(), rtol=1e-4, atol=1e-5)
    # Logits are Gaussian moments too: by numpy's formulas.
    logits = embedded(classifier, images, "4").numpy()
    other = embedded(classifier, images + 0.5, "4").numpy()
    a, b = np.cov(logits.T), np.cov(other.T)
    by_hand = ((logits.mean(0) - other.mean(0)) ** 2).sum()
    by_hand += np.trace(a + b - 2 * sqrtm(a @ b).real)
    found = classifier_frechet(classifier, images, images + 0.5, path="4")
    assert found == pytest.approx(float(by_hand), rel=1e-4)
    distances = [
        classifier_frechet(classifier, images, images + shift, path="1") for shift in (0, 0.2, 0.8)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[0] < distances[1] < distances[2]
    with pytest.raises(ValueError, match="2 images at least; got 1"):
        classifier_frechet(classifier, images[:1], images, path="1")


# --- generated images in the transfer set --------------------------------------------------------


def soft(z, v):
    return losses.soft_targets(z, v, 2.0)


def mix(student, teacher, generator, data, recipe=QUICK, **options):
    return distil_with_generated(student, teacher, generator, data, recipe, loss=soft, **options)


def test_mixing():
    real, made = draw(4, 1, 2, 2), draw(4, 1, 2, 2, seed=1)
    found = mixed(real, made, torch.tensor([True, False, False, True]))
    assert torch.equal(found, torch.stack([made[0], real[1], real[2], made[3]]))
    with pytest.raises(ValueError, match=r"\(4, 1, 2, 1\)"):
        mixed(real, made[..., :1], torch.zeros(4, dtype=torch.bool))


def test_so_many_are_replaced():
    """A generator of one value, which no pixel of the data has: count what the student is shown."""
    seen = []
    student = linear(0)
    student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    teacher = linear(1)
    teacher_saw = []
    teacher.register_forward_pre_hook(lambda _, i: teacher_saw.append(i[0].flatten(1)))
    recipe = QUICK.model_copy(update={"epochs": 8})
    mix(student, teacher, Constant(7.0), batches(), recipe, generated_share=0.3)
    rows = torch.cat(seen)
    made = (rows == 7).all(1)
    assert len(rows) == 320
    assert ((rows == 7).any(1) == made).all()
    assert float(made.float().mean()) == pytest.approx(0.3, abs=0.08)
    assert torch.equal(torch.cat(teacher_saw), rows)


def test_nothing_generated_is_plain_distillation():
    class Changing(Batches):  # the teacher is asked in every step, as here
        augmented = True

    data = batches()
    changing = Changing(data.images, 8, mean=(0.5,), sd=(0.3,))
    one, two, teacher = linear(0), linear(0), linear(1)
    distil.distil(one, teacher, changing, QUICK, method=soft, label_weight=0.3)
    mix(two, teacher, Constant(7.0), data, generated_share=0.0, hard_weight=0.3)
    torch.testing.assert_close(one[1].weight, two[1].weight)


def test_a_generated_image_has_no_label():
    """All generated: the cross-entropy is 0, and neither labels nor real images matter."""
    ends = []
    for seed in (0, 1):
        student, teacher, generator = linear(0), linear(1), generator_of(3)
        states = [copy.deepcopy(net.state_dict()) for net in (teacher, generator)]
        labels = torch.full((40,), seed)
        history = mix(
            student, teacher, generator, batches(seed=seed, labels=labels),
            generated_share=1.0, hard_weight=1.0,
        )  # fmt: skip
        assert history[-1]["hard"] == 0
        assert math.isfinite(history[-1]["soft"])
        ends.append(student[1].weight)
        for net, state in zip((teacher, generator), states, strict=True):
            assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert torch.equal(*ends)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; got 2"):
        mix(linear(0), linear(1), generator_of(3), batches(), generated_share=2)

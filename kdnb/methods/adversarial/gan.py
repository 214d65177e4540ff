"""Distilling a GAN itself: a small generator taught by a large one (Aguinaldo et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import fooling_loss, judging_loss
from kdnb.losses.gan import Kind
from kdnb.methods.data_free.generators import EnlargedConvolution
from kdnb.methods.online.common import running_statistics_kept
from kdnb.nets._shared import check_counts
from kdnb.training import Recipe, Update, fit
from kdnb.training.borrowed import evaluating
from kdnb.training.inputs import batches_for


class ImageGenerator(nn.Module):
    """Noise -> linear layer -> two upsampling convolutions -> image within the pixels' bounds.

    Args:
        latent: numbers in a noise vector.
        channels, image_size: channels and side of the images; the size must be a multiple of 4.
        width: channels of the last maps; the earlier maps have twice as many.
        bounds: smallest and largest value of a normalised pixel, (0 - mean) / sd and
            (1 - mean) / sd of the data.

    Raises:
        ValueError: for sizes that it cannot make, or bounds in the wrong order.

    >>> ImageGenerator(latent=8, width=4)(torch.randn(2, 8)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        *,
        latent: int = 32,
        channels: int = 1,
        image_size: int = 28,
        width: int = 32,
        bounds: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        check_counts(latent=latent, channels=channels, image_size=image_size, width=width)
        if image_size % 4 or not bounds[0] < bounds[1]:
            raise ValueError(
                f"image_size must be a multiple of 4 and bounds must rise; got {image_size} and "
                f"{bounds}."
            )
        self.latent, self.bounds = latent, bounds
        self.shape = (2 * width, image_size // 4, image_size // 4)
        self.stem = nn.Linear(latent, 2 * width * (image_size // 4) ** 2)
        self.norm = nn.BatchNorm2d(2 * width)
        self.inner = EnlargedConvolution(2 * width, width, image_size // 2)
        self.inner_norm = nn.BatchNorm2d(width)
        self.last = EnlargedConvolution(width, channels, image_size)

    def forward(self, noise: Tensor) -> Tensor:
        """Make images (batch, channels, image_size, image_size) from noise (batch, latent)."""
        maps = self.norm(self.stem(noise).view(-1, *self.shape)).relu()
        maps = self.inner_norm(self.inner(maps)).relu()
        low, high = self.bounds
        return low + (high - low) * self.last(maps).sigmoid()


class ImageCritic(nn.Module):
    """Scores (batch,) of images: two strided convolutions with leaky ReLU, and a linear layer.

    Args:
        channels, image_size: channels and side of the images; the size must be a multiple of 4.
        width: channels of the first convolution; the second has twice as many.
    """

    def __init__(self, *, channels: int = 1, image_size: int = 28, width: int = 32) -> None:
        super().__init__()
        check_counts(channels=channels, image_size=image_size, width=width)
        if image_size % 4:
            raise ValueError(f"image_size must be a multiple of 4; got {image_size}.")
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * width * (image_size // 4) ** 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (batch,) without a sigmoid."""
        return self.head(self.layers(images))[:, 0]


def train_gan(
    generator: nn.Module,
    critic: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    critic_recipe: Recipe | None = None,
    kind: Kind = "non_saturating",
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    """Train a GAN on images (Goodfellow et al. 2014): the teacher of `distil_gan`, or its baseline.

    Args:
        generator: noise (batch, latent) -> images, with an attribute `latent`; trained in place.
        critic: images -> scores (batch,); trained in place.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label); labels are not
            used.
        critic_recipe: for the discriminator's update; the run's own if None.
        options: passed to `training.fit`.

    Returns:
        The history: `judging` and `fooling`.
    """
    batches = batches_for(examples, recipe, seed)

    def fool(networks, batch: Batch) -> dict[str, Tensor]:
        made = networks["generator"](_noise(batch, generator.latent))
        return {"fooling": fooling_loss(networks["critic"](made), kind)}

    judge = _judge("generator", generator.latent, kind)
    updates = [Update(("critic",), judge, recipe=critic_recipe), Update(("generator",), fool)]
    networks = {"generator": generator, "critic": critic}
    return fit(networks, batches, updates, recipe, seed=seed, **options)


def distil_gan(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    critic: nn.Module | None = None,
    critic_recipe: Recipe | None = None,
    pixel_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    kind: Kind = "non_saturating",
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Compress a generator by distillation (Aguinaldo et al. 2019).

    .. math:: L = w_p\, E_z \lVert G_s(z) - G_t(z) \rVert^2 / n + w_a\, L_{GAN}(G_s)

    Both generators get the same noise. Unlike in a GAN, the target image for each noise vector is
    known, so the loss is a regression. Pixels alone give blurred images; a discriminator that
    separates the student's images from the data sharpens them (the paper's joint loss).

    Args:
        student, teacher: noise (batch, latent) -> images, with equal attributes `latent`. The
            student is trained in place; the teacher is frozen.
        examples: for the batch sizes and, with a critic, for the real images.
        critic: images -> scores (batch,); None for pixels alone, which reads no images.
        pixel_weight, adversarial_weight: weights of the two terms.
        options: passed to `training.fit`.

    Returns:
        The history: `pixels`, and with a critic `judging` and `fooling`.

    Raises:
        ValueError: if the two generators take noise of different length.

    Departures: the pixel loss and the joint loss are confirmed. The paper's GANs are Wasserstein
    DCGANs, and the weights of its joint loss are not confirmed. The paper evaluates by the
    Inception score; we use `frechet_distance`.
    """
    if student.latent != teacher.latent:
        raise ValueError(
            "student and teacher must take the same noise; their latent is "
            f"{student.latent} and {teacher.latent}."
        )
    batches = batches_for(examples, recipe, seed)

    def imitate(networks, batch: Batch) -> dict[str, Tensor]:
        noise = _noise(batch, student.latent)
        with torch.no_grad():
            taught = networks["teacher"](noise)
        made = networks["student"](noise).float()
        parts = {"pixels": pixel_weight * F.mse_loss(made, taught)}
        if critic is not None:
            parts["fooling"] = adversarial_weight * fooling_loss(networks["critic"](made), kind)
        return parts

    updates = [Update(("student",), imitate)]
    networks = {"student": student, "teacher": teacher}
    if critic is not None:
        networks["critic"] = critic
        judge = _judge("student", student.latent, kind)
        updates = [Update(("critic",), judge, recipe=critic_recipe), *updates]
    return fit(networks, batches, updates, recipe, seed=seed, **options)


def _noise(batch: Batch, latent: int) -> Tensor:
    return torch.randn(len(batch.images), latent, device=batch.images.device)


def _judge(name: str, latent: int, kind: Kind):
    """The discriminator's update: real images against those of the network called `name`."""

    def judge(networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad(), running_statistics_kept(networks[name]):
            made = networks[name](_noise(batch, latent))
        critic = networks["critic"]
        return {"judging": judging_loss(critic(batch.images), critic(made), kind)}

    return judge


def draw_images(generator: nn.Module, count: int, *, seed: int = 0) -> Tensor:
    """Images of a generator in eval mode, (count, channels, height, width) float32 on the CPU.

    Args:
        generator: noise (batch, latent) -> images, with an attribute `latent`; its mode is
            restored.
        count: how many, at least 1.
        seed: for the noise, the same for every generator of the same `latent`.
    """
    check_counts(count=count)
    noise = torch.randn(count, generator.latent, generator=torch.Generator().manual_seed(seed))
    return torch.cat(list(applied(generator, noise)))


def applied(network: nn.Module, inputs: Tensor) -> Iterator[Tensor]:
    """A network's outputs, 500 inputs at a time, in eval mode and without gradients."""
    device = next(network.parameters()).device
    with evaluating(network):
        for part in inputs.split(500):
            with torch.no_grad():
                made = network(part.to(device))
            yield made.float().cpu()

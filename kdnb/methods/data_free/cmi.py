"""CMI (Fang et al. 2021): inversion in which every new image differs from all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import contrastive_diversity, decision_adversarial
from kdnb.losses.checks import at_least_float32
from kdnb.methods.data_free.deepinversion import batch_norm_inputs, statistics_term
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.synthesis import NoiseBatches, Pixels
from kdnb.training import Networks, Recipe, Update, fit
from kdnb.training.devices import default_device

WEIGHTS = {"class": 1.0, "statistics": 1.0, "adversarial": 0.0, "contrast": 0.8}


class FeatureMemory:
    """CMI's memory bank: features of the local and whole views of earlier images.

    Args:
        size: the number of images to remember; the oldest are overwritten.
        features: numbers in a view's features.
    """

    def __init__(self, size: int, features: int) -> None:
        if min(size, features) < 1:
            raise ValueError(f"size and features must be at least 1; got {size} and {features}.")
        self.rows = torch.zeros(size, 2, features)
        self.filled = self.place = 0

    def __len__(self) -> int:
        return self.filled

    def add(self, local: Tensor, whole: Tensor) -> None:
        """Remember two views, (images, features) each; at most the last `size` are kept."""
        rows = torch.stack([local, whole], 1).detach().cpu().float()[-len(self.rows) :]
        where = (self.place + torch.arange(len(rows))) % len(self.rows)
        self.rows[where] = rows
        self.place = (self.place + len(rows)) % len(self.rows)
        self.filled = min(len(self.rows), self.filled + len(rows))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The views of up to `count` remembered images, drawn by torch's random state."""
        rows = self.rows[torch.randperm(self.filled)[:count]]
        return rows[:, 0], rows[:, 1]


class Head(nn.Module):
    """The learnt projection in which images are compared: features -> (batch, 128), unit length.

    Args:
        features: of a view.
        outputs: number of features of the space.
    """

    def __init__(self, features: int, outputs: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, outputs)
        )
        self._adam: torch.optim.Adam | None = None

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.layers(features).float(), dim=1)

    def adam(self, lr: float, *, anew: bool = False) -> torch.optim.Adam:
        """Its optimiser, which persists from batch to batch unless `anew` is set."""
        if anew or self._adam is None:
            self._adam = torch.optim.Adam(self.parameters(), lr=lr)
        for group in self._adam.param_groups:
            group["lr"] = lr
        return self._adam


class _Adam(Recipe):
    """Adam at a constant rate with a given first momentum, which a recipe cannot set."""

    beta: float

    def optimiser_for(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, betas=(self.beta, 0.999))


def feature_count(teacher: nn.Module) -> int:
    """The number of features of a view: all channels that enter a batch normalisation."""
    return sum(part.num_features for part in teacher.modules() if isinstance(part, nn.BatchNorm2d))


def instance_features(inputs: list[tuple[nn.BatchNorm2d, Tensor]]) -> Tensor:
    """The inputs of each batch normalisation, averaged over positions: (batch, features)."""
    return torch.cat([at_least_float32(maps).mean((2, 3)) for _, maps in inputs], 1)


def random_view(
    images: Tensor, *, scale: tuple[float, float] = (1.0, 1.0), shift: float = 0.0
) -> Tensor:
    """A random crop of each image, enlarged to full size and mirrored half of the time.

    Gradients flow back to the pixels. Draws from torch's random state.

    Args:
        images: (batch, channels, height, width).
        scale: the part's share of the area, uniform between these two.
        shift: if the crop is the whole image, it is shifted by up to this share of the side, with
            zeros at the border.
    """
    count, device = len(images), images.device
    low, high = scale
    side = (low + (high - low) * torch.rand(count)).sqrt()
    free = torch.maximum(1 - side, torch.full_like(side, 2 * shift))
    offset = (2 * torch.rand(count, 2) - 1) * free[:, None]
    mirror = 1 - 2 * (torch.rand(count) < 0.5).float()
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = side * mirror, side, offset
    grid = F.affine_grid(matrix.to(device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def contrastive_inversion(
    teacher: nn.Module,
    generator: Generator,
    labels: Tensor,
    memory: FeatureMemory,
    head: Head,
    *,
    student: nn.Module | None = None,
    weights: Mapping[str, float] = WEIGHTS,
    temperature: float = 0.1,
    negatives: int = 4096,
    iterations: int = 500,
    lr: float = 1e-3,
    momentum: float = 0.5,
    head_anew: bool = False,
    precision: str = "32",
    seed: int = 0,
) -> Tensor:
    r"""Make one batch of images that differ from each other and from those remembered (Fang 2021).

    .. math:: \min_{z, G, h}\; w_c H(e_y, T(x)) + w_f R_{feature} + w_a L_{adv} + w_{cr} L_{cr},
        \quad x = G(z)

    The generator is reinitialised for every batch: it only serves as an image prior. The new images
    are added to the memory.

    Args:
        teacher: frozen, with batch normalisation.
        generator: its weights are drawn again, then trained.
        labels: (images,), as many as the batch holds.
        memory, head: for `feature_count(teacher)` features; the memory grows, and the head is
            trained across batches by its own Adam.
        student: of the adversarial term.
        weights: weights of `class`, `statistics`, `adversarial` and `contrast`.
        temperature, negatives: of the contrast; at most `negatives` remembered images are used.
        iterations, lr: of both Adams.
        momentum: first momentum of Adam for generator and noise, which restarts with every batch.
        head_anew: reset the head's Adam for every batch.

    Returns:
        The images of the lowest loss, (images, channels, height, width) float32 on the CPU.

    Raises:
        ValueError: for an unknown term, or an adversarial one without a student.

    Loop, terms and optimisers follow the authors' code (`datafree/synthesis/contrastive.py`, read
    in November 2026): the head's Adam has the default first momentum of 0.9.
    """
    if unknown := set(weights) - set(WEIGHTS):
        raise ValueError(f"CMI has no term {min(unknown)!r}; it has {', '.join(WEIGHTS)}.")
    weight = {name: value for name, value in weights.items() if value}
    if "adversarial" in weight and student is None:
        raise ValueError("the adversarial term needs a student.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start_anew(generator)
        noise = Pixels(torch.randn(len(labels), generator.latent))
    best: dict[str, Tensor] = {}
    head.to(default_device())
    adam = head.adam(lr, anew=head_anew)
    with batch_norm_inputs(teacher) as inputs:

        def losses(running: Networks, batch: Batch) -> dict[str, Tensor]:
            images = running["generator"](running["noise"]())
            size = images.shape[-1]
            logits = running["teacher"](random_view(images, shift=4 / size))
            parts = {"class": F.cross_entropy(logits, labels.to(logits.device))}
            parts["statistics"] = statistics_term(inputs)
            whole = instance_features(inputs)
            running["teacher"](random_view(images, scale=(0.25, 1.0)))
            local = instance_features(inputs)
            if "contrast" in weight:
                views = local, whole, *(old.to(local.device) for old in memory.draw(negatives))
                placed = head(torch.cat(views)).split([len(view) for view in views])
                parts["contrast"] = contrastive_diversity(*placed, temperature=temperature)
            if "adversarial" in weight:
                answer = running["student"](images)
                parts["adversarial"] = decision_adversarial(answer, running["teacher"](images))
            parts = {name: value * parts[name] for name, value in weight.items()}
            total = sum(parts.values()).detach()
            if not best or total < best["total"]:
                best.update(
                    total=total, images=images.detach(), local=local.detach(), whole=whole.detach()
                )
            return parts

        def move_head() -> None:
            adam.step()
            adam.zero_grad()

        networks = {"generator": generator, "noise": noise, "teacher": teacher}
        if student is not None:
            networks["student"] = student
        recipe = _Adam(epochs=1, batch_size=1, optimiser="adam", lr=lr, schedule="constant",
                       precision=precision, beta=momentum)  # fmt: skip
        update = Update(("generator", "noise"), losses, after=move_head)
        fit(networks, NoiseBatches(iterations, 1, (1,)), update, recipe, seed=seed)
    memory.add(best["local"], best["whole"])
    return best["images"].float().cpu()


@torch.no_grad()
def start_anew(generator: nn.Module) -> None:
    """Reinitialise weights: normal with sd 0.02, around 1 for batch normalisations, biases 0."""
    for part in generator.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.weight.normal_(0, 0.02)
            part.bias.zero_()
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            if part.affine:
                part.weight.normal_(1, 0.02)
                part.bias.zero_()

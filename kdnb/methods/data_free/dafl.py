"""DAFL (Chen et al. 2019): a generator trained by the teacher, and a student that learns from both.

The teacher acts as a fixed discriminator. From every batch of noise, the generator makes images on
which the teacher is confident, that cover all classes and that activate its filters; the student
imitates the teacher on them. No real image is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses import activation, information_entropy, one_hot
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.synthesis import play
from kdnb.nets import constrain
from kdnb.nets import features as features_of
from kdnb.training import Networks, Recipe, Update

# Of the authors' MNIST run; the entropy's belongs to logarithms to base 10.
WEIGHTS = {"one_hot": 1.0, "entropy": 5.0, "activation": 0.1}


def dafl(
    student: nn.Module,
    teacher: nn.Module,
    generator: Generator,
    recipe: Recipe,
    *,
    generator_recipe: Recipe,
    steps: int = 120,
    weights: Mapping[str, float] = WEIGHTS,
    base: float | None = 10.0,
    features: str = "stage3",
    detector: CollapseDetector | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Distil without data (Chen et al. 2019).

    .. math:: \min_G\; w_{oh} L_{oh} + w_{ie} L_{ie} + w_a L_a, \qquad
        \min_S\; \frac1n \sum_i \mathrm{KL}\big(T(G(z_i)) \Vert S(G(z_i))\big)

    Both losses share one forward pass of generator and teacher. The student learns from the images
    made before the generator's step, and gives the generator no gradient. One epoch is `steps`
    batches of `recipe.batch_size` noise vectors.

    Args:
        student, generator: trained in place.
        teacher: frozen, in eval mode.
        recipe: for the student and of the run's length, batch size and precision. The authors'
            MNIST run is 200 epochs of 120 steps, batch 512, Adam at 2e-3.
        generator_recipe: for the generator; the authors' is Adam at 0.2 on MNIST.
        weights: weights of the terms `one_hot`, `entropy` and `activation`; one that is 0 or absent
            is left out.
        base: of the entropy's logarithm; None for e.
        features: the teacher's module whose output enters the activation term: the last before its
            linear layers.
        detector: sees every batch; its measures join the history after every epoch.
        seed: for the noise.
        options: passed to `training.fit`.

    Returns:
        The history: `one_hot`, `entropy`, `activation` (weighted), `soft`, and what the detector
        and `evaluate` gave.

    Raises:
        ValueError: for an unknown term, or if no term trains the generator.

    Departures: equations and losses follow the authors' code, which averages the activations over
    features and takes the divergence where the paper writes the cross-entropy (the same gradient).
    Their code keeps the student that was best on the test set; here it is the last one.
    """
    if unknown := set(weights) - set(WEIGHTS):
        raise ValueError(f"DAFL has no term {min(unknown)!r}; it has {', '.join(WEIGHTS)}.")
    weight = {name: value for name, value in weights.items() if value}
    if not weight:
        raise ValueError("no term moves the generator: give one of its weights a value.")
    made: dict[str, Tensor] = {}

    with features_of(teacher, [features]) as maps:

        def synthesis(running: Networks, batch: Batch) -> dict[str, Tensor]:
            images = running["generator"](batch.images)
            logits = running["teacher"](images)
            terms = {
                "one_hot": lambda: one_hot(logits),
                "entropy": lambda: information_entropy(logits, base),
                "activation": lambda: activation(maps[features]),
            }
            made["images"], made["logits"] = images.detach(), logits.detach()
            if detector:
                detector.see(made["images"], made["logits"])
            return {name: value * terms[name]() for name, value in weight.items()}

        def imitation(running: Networks, batch: Batch) -> dict[str, Tensor]:
            logits = running["student"](made["images"])
            return {"soft": losses.soft_targets(logits, made["logits"], temperature=1.0)}

        updates = [
            Update(("generator",), synthesis, recipe=generator_recipe),
            Update(("student",), imitation, after=lambda: constrain(student)),
        ]
        return play(
            student, teacher, generator, updates, recipe, steps=steps, detector=detector,
            seed=seed, **options,
        )  # fmt: skip

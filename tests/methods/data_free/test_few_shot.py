"""Kimura's pseudo examples and mixtures."""

import data_free_workshop as workshop
import torch
from labelled_pictures import ADAM, batches

from kdnb import losses
from kdnb.methods.data_free import (
    mixed_examples,
    pixel_bounds,
    pseudo_examples,
)


def test_pseudo_examples_climb_where_the_student_descends():
    teacher, student = workshop.small_net(1), workshop.small_net(2)
    teacher[-1].weight.data *= 8  # as sure of itself as a trained one
    start = mixed_examples(next(iter(batches())).images, 6)
    options = {"start": start, "pseudo_recipe": ADAM, "bounds": pixel_bounds([0.5], [0.3])}
    still = ADAM.model_copy(update={"lr": 1e-9})
    moved, _ = pseudo_examples(student, teacher, batches(), still, **options)

    def gap(images):
        with torch.no_grad():
            return float(losses.soft_targets(workshop.small_net(2)(images), teacher(images), 1.0))

    assert gap(moved) > gap(start)
    assert moved.abs().max() <= 0.5 / 0.3 + 1e-6
    learner = workshop.small_net(2)
    recipe = ADAM.model_copy(update={"epochs": 8})
    _, history = pseudo_examples(learner, teacher, batches(), recipe, hard_weight=0.1, **options)
    assert history[-1]["soft"] < history[0]["soft"]
    assert set(history[0]) >= {"adversarial", "pseudo", "soft", "hard"}


def test_mixtures_lie_between_two_images():
    images = torch.tensor([[0.0], [1.0]])
    mixed = mixed_examples(images, 200)
    assert mixed.shape == (200, 1)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert ((mixed > 0.2) & (mixed < 0.8)).any()

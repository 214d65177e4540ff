"""Lifelong GAN: its terms by hand, what is asked of whom, and what a judge reads."""

import pytest
import torch
from torch import nn

from kdnb import Recipe
from kdnb.methods import lifelong
from kdnb.methods.lifelong import CodeEncoder, Contexts, LabelCritic, LabelGenerator
from kdnb.methods.lifelong.lifelong_gan import _Game, shown_rightly

RECIPE = Recipe(
    epochs=2, batch_size=10, optimiser="adam", lr=1e-3, schedule="constant", precision="32"
)
WEIGHTS = {"image": 10.0, "normal": 0.01, "code": 0.5, "kept": 3.0}


def strokes(labels, seed=0):
    """(N, 1, 4, 4) images that show their label: a bright row or column."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.rand(len(labels), 1, 4, 4, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, label] = 1
    return images


def contexts():
    parts = []
    for start in (0, 2):
        labels = torch.arange(start, start + 2).repeat(20)
        parts.append((strokes(labels, start), labels))
    return Contexts(parts, parts, (2, 2), "class")


def networks(seed=0):
    torch.manual_seed(seed)
    size = {"image_size": 4, "hidden": 24}
    made = LabelGenerator(4, latent=3, bounds=(0.0, 1.0), **size)
    return made, CodeEncoder(latent=3, **size), LabelCritic(4, **size)


class Judge(nn.Module):
    """Reads the brightest row."""

    def forward(self, images):
        return images.sum((1, 3))


def test_what_is_kept_by_hand():
    generator, encoder, critic = networks()
    old_generator, old_encoder, _ = networks(1)
    data = contexts()
    game = _Game(generator, encoder, data, 1, WEIGHTS, "least_squares")
    images = data.train[1][0][:7]
    torch.manual_seed(5)
    labels, noise = torch.randint(2, (7,)), torch.randn(7, 3)
    mean, old_mean = encoder(images)[0], old_encoder(images)[0]
    expected = (mean - old_mean).abs().mean()
    expected = expected + (generator(labels, mean) - old_generator(labels, old_mean)).abs().mean()
    expected = expected + (generator(labels, noise) - old_generator(labels, noise)).abs().mean()
    torch.manual_seed(5)
    given = {"generator": generator, "encoder": encoder, "critic": critic,
             "old_generator": old_generator, "old_encoder": old_encoder}  # fmt: skip
    found = game.kept(given, images, mean)
    torch.testing.assert_close(found, expected)
    slopes = torch.autograd.grad(found, list(old_generator.parameters()), allow_unused=True)
    assert all(one is None for one in slopes)
    assert (
        game.known == 2 and _Game(generator, encoder, data, 0, WEIGHTS, "least_squares").known == 0
    )


def test_the_encoder_does_not_learn_from_the_codes_of_made_images():
    from types import SimpleNamespace

    generator, encoder, critic = networks()
    weights = {**WEIGHTS, "image": 0.0, "normal": 0.0}
    game = _Game(generator, encoder, contexts(), 0, weights, "least_squares")
    inputs, labels = contexts().train[0]
    batch = SimpleNamespace(images=inputs, labels=labels)
    found = game.made({"generator": generator, "encoder": encoder, "critic": critic}, batch)
    slopes = torch.autograd.grad(
        found["code"], [*encoder.parameters()], allow_unused=True, retain_graph=True
    )
    assert all(one is None for one in slopes)
    assert any(
        g.abs().sum() > 0 for g in torch.autograd.grad(found["code"], list(generator.parameters()))
    )
    assert set(found) == {"fooling", "image", "normal", "code"}


def test_distillation_keeps_pictures_that_fine_tuning_loses():
    """The mean absolute change of old labels' pictures while new labels are learnt."""
    changes = {}
    for weight in (0.0, 20.0):
        generator, encoder, critic = networks()
        before = {}
        data = contexts()
        first = Contexts(data.train[:1], data.test[:1], (2,), "class")
        lifelong.lifelong_gan(generator, encoder, critic, first, RECIPE, epochs=40)
        labels = torch.tensor([0, 1] * 20)
        before = lifelong.pictures(generator, labels, 3)
        real = lifelong.lifelong_gan
        real(generator, encoder, critic, Contexts([data.train[0], data.train[1]], data.test, (2, 2), "class"),
             RECIPE, epochs=40, weight=weight)  # fmt: skip
        changes[weight] = (lifelong.pictures(generator, labels, 3) - before).abs().mean()
    assert changes[20.0] < changes[0.0]


def test_a_judge_reads_every_label_of_the_contexts_so_far():
    data = contexts()

    class Perfect(nn.Module):
        latent = 3

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, labels, codes):
            return strokes(labels)

    found = shown_rightly(Perfect(), Judge(), data, 0, 5, 0)
    assert found[0] == 100 and found[1].isnan()
    renamed = Contexts(data.train, data.test, (2, 2), "class", [[0, 1], [3, 2]])
    found = shown_rightly(Perfect(), Judge(), renamed, 1, 5, 0)
    assert found.tolist() == [100, 0]  # the judge names classes, not columns


def test_history_matrix_and_networks():
    data = contexts()
    made = networks()
    fit = lifelong.lifelong_gan(*made, data, RECIPE, judge=Judge(), judged=4)
    assert list(fit.networks.values()) == list(made)
    assert fit.accuracy.shape == (2, 2) and fit.accuracy[0, 1].isnan()
    assert fit.history.kept.notna().sum() == 2 and len(fit.history) == 4
    again = lifelong.lifelong_gan(*networks(), data, RECIPE, judge=Judge(), judged=4)
    drop = ["seconds"]
    assert again.history.drop(columns=drop).equals(fit.history.drop(columns=drop))
    assert lifelong.lifelong_gan(*networks(), data, RECIPE).accuracy is None


def test_wrong_options():
    data = contexts()
    for wrong, words in (
        ({"weight": -1.0}, "weight must"), ({"kind": "wasserstein"}, "kind must"),
        ({"judged": 0}, "judged must"), ({"epoch": 3}, "lifelong_gan has no option"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            lifelong.lifelong_gan(*networks(), data, RECIPE, **wrong)
    task = Contexts(data.train, data.test, (2, 2), "task")
    with pytest.raises(ValueError, match='takes contexts of "class"; got "task"'):
        lifelong.lifelong_gan(*networks(), task, RECIPE)


def test_networks_that_have_learnt_already_go_on_without_the_old_data():
    data, made = contexts(), networks()
    first = Contexts(data.train[:1], data.test[:1], (2,), "class")
    lifelong.lifelong_gan(*made, first, RECIPE)
    later = Contexts([None, data.train[1]], data.test, (2, 2), "class")
    fit = lifelong.lifelong_gan(*made, later, RECIPE, known=1, judge=Judge(), judged=4)
    whole = networks()
    lifelong.lifelong_gan(*whole, data, RECIPE)
    labels = torch.arange(4)
    assert lifelong.pictures(made[0], labels).equal(lifelong.pictures(whole[0], labels))
    assert fit.accuracy[0].isnan().all() and fit.history.kept.notna().all()


class Alone(nn.Module):
    """An encoder of one output."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, images):
        return self.layer(images.flatten(1))


def nameless():
    made = networks()[0]
    made.latent = None
    return made


def test_networks_that_do_not_fit_together_are_refused_before_any_training():
    made, read, judge = networks()
    sizes = {"image_size": 4, "hidden": 8}
    for parts, words in (
        ((nameless(), read, judge), "the generator needs an attribute `latent`"),
        ((made, Alone(), judge), r"mean and log-variance, each \(10, 3\)"),
        ((made, CodeEncoder(latent=5, **sizes), judge), r"each \(10, 3\) for 10 images"),
        ((LabelGenerator(4, latent=3, image_size=5, hidden=8), read, judge),
         r"images like the data's, \(10, 1, 4, 4\); it makes \(10, 1, 5, 5\)"),
        ((LabelGenerator(4, latent=3, channels=3, **sizes), read, judge), r"it makes \(10, 3, 4, 4\)"),
        ((LabelGenerator(2, latent=3, **sizes), read, judge), "data of context 2: the generator cannot take"),
        ((made, read, LabelCritic(4, image_size=5, hidden=8)), "the critic cannot take"),
    ):  # fmt: skip
        before = made.layers[0].weight.clone()
        with pytest.raises(ValueError, match=words):
            lifelong.lifelong_gan(*parts, contexts(), RECIPE)
        assert made.layers[0].weight.equal(before)
    data = contexts()
    named = Contexts(data.train, data.test, (2, 2), "class", names=(("a", "b"), ("c", "d")))
    with pytest.raises(ValueError, match="names must be its numbers of classes"):
        lifelong.lifelong_gan(*networks(), named, RECIPE, judge=Judge())
    strange = Contexts([data.train[0], data.train[0]], data.test, (2, 2), "class")
    with pytest.raises(ValueError, match="context 2: labels must be this context's own columns"):
        lifelong.lifelong_gan(*networks(), strange, RECIPE)

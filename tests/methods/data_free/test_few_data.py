"""Lopes' statistics, Kimura's pseudo examples, dataset distillation, ensembles over views."""

import math

import data_free_workshop as workshop
import pytest
import torch
from draws import draw
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.data_free import (
    DistilledData,
    distil_dataset,
    ensembled,
    mixed_examples,
    omni_supervised,
    pixel_bounds,
    pseudo_examples,
    reconstruct,
    record,
    sample_activations,
    self_labelled,
    shifts,
    spectral_basis,
    spectral_loss,
    trained_on,
    unroll,
)
from kdnb.runs.functions.banks import dataset_distillation_trial
from kdnb.training import Recipe

ADAM = Recipe(epochs=2, batch_size=8, lr=0.01, optimiser="adam", schedule="constant",
              precision="32")  # fmt: skip


def pictures(count=24):
    """Three classes of stripes under a little noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    waves = (torch.arange(8) * (1 + labels[:, None])).mul(0.8).sin()
    images = 128 + 80 * waves[:, None, None, :] + 10 * torch.randn(
        count, 1, 8, 8, generator=generator)  # fmt: skip
    return Images(images.clamp(0, 255).to(torch.uint8), labels)


def batches(size=8, **options):
    return Batches(pictures(), size, mean=(0.5,), sd=(0.3,), **options)


def test_records_are_means_and_covariances_of_each_class():
    network = workshop.small_net(1).eval()
    kept = record(network, batches(7), ["3"], 3)["3"]
    whole = next(iter(batches(24, shuffle=False)))
    with torch.no_grad():
        units = network[:4](whole.images).double()
    for label in range(3):
        here = units[whole.labels == label]
        torch.testing.assert_close(kept.mean[label], here.mean(0), rtol=1e-4, atol=1e-6)
        expected = torch.cov(here.T, correction=0)
        torch.testing.assert_close(kept.covariance[label], expected, rtol=1e-4, atol=1e-6)
    assert kept.counts.tolist() == [8, 8, 8]
    with pytest.raises(ValueError, match=r"classes without an image: \[3\]"):
        record(network, batches(), ["3"], 4)


def test_samples_have_the_recorded_moments():
    kept = record(workshop.small_net(1), batches(), ["3"], 3)["3"]
    drawn = sample_activations(kept, 4000).view(3, 4000, -1).double()
    sd = kept.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert ((drawn.mean(1) - kept.mean).abs() < 0.1 * sd + 1e-3).all()
    spread = kept.covariance.abs().amax()
    for label in range(3):
        assert (torch.cov(drawn[label].T) - kept.covariance[label]).abs().max() < 0.15 * spread


def test_the_spectral_loss_is_the_share_outside_the_basis():
    basis = torch.eye(4, dtype=torch.float64)[:, :2].expand(3, 4, 2)
    inside = torch.tensor([1.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    outside = torch.tensor([0.0, 0.0, 3.0, 0.0], dtype=torch.float64)
    mixed = torch.tensor([1.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    found = spectral_loss(torch.stack([inside, outside, mixed]), basis)
    assert found.item() == pytest.approx((0 + 1 + 4 / 5) / 3)
    units = draw(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: spectral_loss(a, basis), (units,))
    kept = record(workshop.small_net(1), batches(), ["3"], 3)["3"]
    directions = spectral_basis(kept, 0.25)
    assert directions.shape == (3, 16, 4)
    gram = directions.mT @ directions
    torch.testing.assert_close(gram, torch.eye(4).expand(3, 4, 4), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\]"):
        spectral_basis(kept, 0.0)


def test_reconstructions_have_the_recorded_activations():
    network = workshop.small_net(1).eval()
    kept = record(network, batches(), ["3"], 3)["3"]
    targets = sample_activations(kept, 2)

    def gap(images):
        with torch.no_grad():
            return float((network[:4](images) - targets).square().mean())

    options = {"iterations": 80, "lr": 0.1, "batch_size": 4}
    images = reconstruct(network, {"3": targets}, (1, 8, 8), **options)
    assert images.shape == (6, 1, 8, 8)
    assert gap(images) < 0.05 * gap(torch.randn(6, 1, 8, 8))
    bases = spectral_basis(kept, 0.2).repeat_interleave(2, 0)
    made = reconstruct(network, {"3": bases}, (1, 8, 8), spectral=True, **options)
    with torch.no_grad():
        assert spectral_loss(network[:4](made), bases) < 0.1
    with pytest.raises(ValueError, match="every layer needs as many targets"):
        reconstruct(network, {"3": targets, "2": targets[:1]}, (1, 8, 8))


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


def test_unrolled_steps_are_gradient_descent():
    network, images, labels = workshop.small_net(0), torch.randn(2, 3, 1, 8, 8), torch.arange(3)
    rates = torch.tensor([0.1, 0.2, 0.3, 0.4])
    plain = workshop.small_net(0)
    for number, rate in enumerate(rates.tolist()):
        plain.zero_grad()
        F.cross_entropy(plain(images[number % 2]), labels).backward()
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter -= rate * parameter.grad
    start = dict(network.named_parameters())
    for differentiable in (True, False):
        ends = unroll(network, start, images, labels, rates, differentiable=differentiable)
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(ends[name], parameter, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="3 rates do not go through 2 steps evenly"):
        unroll(network, start, images, labels, rates[:3])


def test_gradients_through_the_training_by_finite_differences():
    network = nn.Linear(2, 2, bias=False).double()
    labels = torch.tensor([0, 1])

    def final(images, rates):
        start = {"weight": torch.ones(2, 2, dtype=torch.float64, requires_grad=True)}
        end = unroll(network, start, images, labels, rates)["weight"]
        return F.cross_entropy(draw(3, 2, seed=5) @ end.T, torch.tensor([0, 1, 1]))

    images = draw(1, 2, 2).requires_grad_()
    rates = torch.tensor([0.5, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(final, (images, rates))


def test_a_linear_model_needs_as_many_images_as_features_for_any_initialisation():
    r"""One step on orthogonal images with x^T x = (M / eta) I lands on the optimum from anywhere.

    Wang et al. 2018, section 3.3: the step is theta - eta/M x^T (x theta - t), so it forgets
    theta only when eta/M x^T x is the identity, which takes M >= D images.
    """
    features, rate = 4, 0.25
    optimum = draw(features, 1, seed=1)

    def landed(count, seed):
        directions = torch.linalg.qr(draw(features, features, seed=2))[0][:count]
        images = math.sqrt(count / rate) * directions
        start = {"weight": draw(1, features, seed=seed).requires_grad_()}
        return unroll(
            nn.Linear(features, 1, bias=False).double(), start, images[None], images @ optimum,
            torch.tensor([rate], dtype=torch.float64),
            loss=lambda out, wanted: (out - wanted).square().mean() / 2,
        )["weight"].T  # fmt: skip

    for seed in (3, 4):
        torch.testing.assert_close(landed(4, seed), optimum)
        assert (landed(3, seed) - optimum).norm() > 1e-3
    assert (landed(3, 3) - landed(3, 4)).norm() > 1e-3


def test_distilled_images_train_the_network_they_know():
    torch.manual_seed(5)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    before = [parameter.clone() for parameter in network.parameters()]
    distilled = DistilledData(1, torch.arange(3), (1, 8, 8), epochs=3, lr=0.1)
    recipe = ADAM.model_copy(update={"epochs": 40, "lr": 0.1})
    history = distil_dataset(distilled, network, batches(24), recipe)
    assert history[-1]["real"] < 0.5 * history[0]["real"]
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    whole = next(iter(batches(24)))
    made = trained_on(distilled, network)
    assert (made(whole.images).argmax(1) == whole.labels).float().mean() > 0.9
    _, rates = distilled()
    assert rates.shape == (3,)
    assert (rates > 0).all()


def test_random_initialisations_are_drawn_anew_in_every_step():
    drawn = []

    def another():
        drawn.append(int(torch.randint(2**31, ())))
        return workshop.small_net(drawn[-1])

    distilled = DistilledData(2, torch.arange(3), (1, 8, 8), epochs=1)
    distil_dataset(distilled, another, batches(12), ADAM, networks_a_step=2)
    assert len(drawn) == len(set(drawn)) == 2 * 2 * 2
    with pytest.raises(ValueError, match="networks_a_step must be at least 1"):
        distil_dataset(distilled, another, batches(), ADAM, networks_a_step=0)
    with pytest.raises(ValueError, match="lr above 0"):
        DistilledData(1, torch.arange(3), (1, 8, 8), lr=0.0)
    torch.testing.assert_close(
        DistilledData(1, torch.arange(2), (2,), lr=0.02)()[1], torch.full((3,), 0.02)
    )


@pytest.mark.parametrize("fixed", [True, False])
def test_the_trial_judges_known_and_fresh_networks(monkeypatch, tmp_path, fixed):
    source = workshop.guarded_mnist(monkeypatch)
    object.__setattr__(source, "train", source.test)
    object.__setattr__(source, "train_all", source.test)
    outcome = dataset_distillation_trial(
        workshop.context(tmp_path), 0, data={"name": "mnist", "split": "train_all"},
        network={"name": "lenet5"}, recipe={"epochs": 1, "batch_size": 20, "lr": 0.01},
        fixed=fixed, epochs=1, judged_on=2,
    )  # fmt: skip
    assert outcome.metrics["distilled_images"] == 10
    assert outcome.tensors["distilled.images"].shape == (1, 10, 1, 28, 28)
    assert 0 <= outcome.metrics["fresh_test_errors"] <= 20


def test_views_shift_by_whole_pixels():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    same, up, down, left, right = (view(image) for view in shifts(1))
    assert torch.equal(same, image)
    assert torch.equal(up[..., :2, :], image[..., 1:, :])
    assert torch.equal(down[..., 1:, :], image[..., :2, :])
    assert torch.equal(left[..., :2], image[..., 1:])
    assert torch.equal(right[..., 1:], image[..., :2])
    assert torch.equal(up[..., 2, :], image[..., 2, :])
    with pytest.raises(ValueError, match="1 pixel or more"):
        shifts(0)


def test_the_ensemble_is_the_mean_probability_over_views():
    network, images = workshop.small_net(0, norm=True), torch.randn(4, 1, 8, 8)
    views = [lambda x: x, lambda x: x.flip(-1)]
    found = ensembled(network, images, views)
    assert network.training
    network.eval()
    with torch.no_grad():
        expected = (network(images).softmax(1) + network(images.flip(-1)).softmax(1)) / 2
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="at least one view"):
        ensembled(network, images, [])


def test_unlabelled_images_get_the_ensembles_labels():
    network, views = workshop.small_net(0).eval(), shifts(1)
    plain = batches(shuffle=False)
    made = self_labelled(network, plain, views)
    whole = next(iter(batches(24, shuffle=False))).images
    answers = ensembled(network, whole, views)
    assert torch.equal(made.labels, answers.argmax(1))
    highest = answers.amax(1).sort().values
    threshold = float(highest[11] + highest[12]) / 2  # between two images, whatever the rounding
    sure = self_labelled(network, plain, views, confidence=threshold)
    assert len(sure) == 12
    with pytest.raises(ValueError, match="shuffle=False"):
        self_labelled(network, batches(), views)
    seen = workshop.Recorder(workshop.small_net(3))
    recipe = ADAM.model_copy(update={"epochs": 1})
    omni_supervised(seen, pictures(9), sure, recipe, mean=(0.5,), sd=(0.3,))
    assert sum(len(images) for images in seen.seen) == 9 + len(sure)

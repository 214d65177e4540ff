"""Dataset distillation: unrolled steps, their gradients, known and fresh networks."""

import math

import data_free_workshop as workshop
import pytest
import torch
from draws import draw
from labelled_pictures import ADAM, batches
from torch import nn
from torch.nn import functional as F

from kdnb.methods.data_free import (
    DistilledData,
    distil_dataset,
    trained_on,
    unroll,
)
from kdnb.runs.functions.banks import dataset_distillation_trial


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

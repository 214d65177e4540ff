"""Lopes' statistics: records, samples, reconstructions."""

import data_free_workshop as workshop
import pytest
import torch
from draws import draw
from labelled_pictures import batches

from kdnb.methods.data_free import (
    principal_directions,
    reconstruct,
    record,
    sample_activations,
    share_outside,
)


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


def test_the_share_outside_is_the_share_outside_the_basis():
    basis = torch.eye(4, dtype=torch.float64)[:, :2].expand(3, 4, 2)
    inside = torch.tensor([1.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    outside = torch.tensor([0.0, 0.0, 3.0, 0.0], dtype=torch.float64)
    mixed = torch.tensor([1.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    found = share_outside(torch.stack([inside, outside, mixed]), basis)
    assert found.item() == pytest.approx((0 + 1 + 4 / 5) / 3)
    units = draw(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: share_outside(a, basis), (units,))
    kept = record(workshop.small_net(1), batches(), ["3"], 3)["3"]
    directions = principal_directions(kept, 0.25)
    assert directions.shape == (3, 16, 4)
    gram = directions.mT @ directions
    torch.testing.assert_close(gram, torch.eye(4).expand(3, 4, 4), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\]"):
        principal_directions(kept, 0.0)


def test_no_directions_hold_more_of_a_class_than_the_principal_ones():
    """What they are: leading eigenvectors of the second moment, and no graph's."""
    network = workshop.small_net(1).eval()
    kept = record(network, batches(), ["3"], 3)["3"]
    whole = next(iter(batches(24, shuffle=False)))
    with torch.no_grad():
        units = network[:4](whole.images)
    found = principal_directions(kept, 3 / 16)
    for label in range(3):
        here = units[whole.labels == label]
        best = torch.linalg.svd(here, full_matrices=False).Vh[:3].T
        held = [(here @ basis).square().sum() for basis in (found[label], best)]
        torch.testing.assert_close(*held, rtol=1e-4, atol=0)


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
    bases = principal_directions(kept, 0.2).repeat_interleave(2, 0)
    made = reconstruct(network, {"3": bases}, (1, 8, 8), directions=True, **options)
    with torch.no_grad():
        assert share_outside(network[:4](made), bases) < 0.1
    with pytest.raises(ValueError, match="every layer needs as many targets"):
        reconstruct(network, {"3": targets, "2": targets[:1]}, (1, 8, 8))

"""Temporal ensembling: the mean of former answers."""

import draws
import pytest
import torch
from killed_runs import QUICK, STEP, Killed, killed_after
from small_networks import assert_same, batches, linear, pictures, state

from kdnb.data import Batches, Images
from kdnb.methods import online
from kdnb.methods.offline.distil import train


def test_targets_are_the_corrected_average_of_the_epochs():
    ensemble = online.TemporalEnsemble(linear(), 40, 3)
    said = []

    def evaluate(networks):
        said.append(ensemble.latest.clone())
        return {}

    online.temporal_ensembling(ensemble, batches(), QUICK, ramp_up=0, evaluate=evaluate)
    z = [0.6 * 0.4 * said[0] + 0.4 * said[1], 0.4 * said[0]]  # after epoch 2 and 1
    torch.testing.assert_close(ensemble.target, z[0] / (1 - 0.6**2))  # that epoch 3 aimed at
    assert (said[0].sum(1) - 1).abs().max() < 1e-5
    first = online.TemporalEnsemble(linear(), 4, 3)
    first.latest.copy_(draws.draw(4, 3).softmax(1))
    first.fold(1)
    torch.testing.assert_close(first.target, first.latest)  # one epoch: no shrinking towards 0


def test_the_first_epoch_knows_labels_alone():
    ensemble, alone = online.TemporalEnsemble(linear(), 40, 3), linear()
    history = online.temporal_ensembling(ensemble, batches(), STEP, weight=9.0, ramp_up=0)
    train(alone, batches(), STEP)
    torch.testing.assert_close(ensemble.network[1].weight, alone[1].weight)
    assert history[0]["consistency"] == 0


def test_unlabelled_images_teach_too():
    labels = pictures().labels.clone()
    labels[10:] = -1
    some = Batches(Images(pictures().images, labels), 8, mean=(0.5,), sd=(0.3,))
    ensemble = online.TemporalEnsemble(linear(), 40, 3)
    history = online.temporal_ensembling(ensemble, some, QUICK, ramp_up=0)
    assert history[1]["consistency"] > 0
    assert history[0]["hard"] < 0.5 * torch.tensor(3.0).log()


def test_temporal_ensembling_resumes_bit_for_bit(tmp_path):
    whole = online.TemporalEnsemble(linear(), 40, 3)
    online.temporal_ensembling(whole, batches(), QUICK, ramp_up=2)
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        online.temporal_ensembling(
            online.TemporalEnsemble(linear(), 40, 3), batches(), QUICK, ramp_up=2,
            checkpoint=file, evaluate=killed_after(2),
        )  # fmt: skip
    resumed = online.TemporalEnsemble(linear(), 40, 3)
    online.temporal_ensembling(resumed, batches(), QUICK, ramp_up=2, checkpoint=file)
    assert_same(state(whole), state(resumed))


def test_temporal_ensembling_needs_to_know_the_images():
    loader = [(batch.images, batch.labels) for batch in batches()]
    with pytest.raises(ValueError, match="needs `Batches`"):
        online.temporal_ensembling(online.TemporalEnsemble(linear(), 40, 3), loader, QUICK)
    with pytest.raises(ValueError, match="momentum must lie"):
        online.TemporalEnsemble(linear(), 40, 3, momentum=1.0)

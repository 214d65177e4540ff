"""SLA: rotations, and what is taught."""

import pytest
import torch
from other_views import QUICK, batches, small
from torch.nn import functional as F

from kdnb.methods import self_distillation as own


def test_rotations():
    images = torch.arange(8.0).view(2, 1, 2, 2)
    views = own.rotations(images)
    assert views.shape == (4, 2, 1, 2, 2)
    assert views[1, 0, 0].tolist() == [[1.0, 3.0], [0.0, 2.0]]
    assert torch.equal(views[2], images.flip(2, 3))
    with pytest.raises(ValueError, match=r"square, .* got \(1, 1, 2, 3\)"):
        own.rotations(torch.zeros(1, 1, 2, 3))


def test_sla_leaves_the_network_alone_to_answer():
    network = small()
    classifier = own.JointClassifier(network)
    images = torch.randn(3, 1, 6, 6)
    logits, joint = classifier(images)
    assert joint.shape == (3, 3, 4)
    assert torch.equal(logits, network(images))
    torch.testing.assert_close(joint.flatten(1), classifier.joint(network.pool(images)))
    history = own.augmentation_distil(classifier, batches(), QUICK)
    assert {"joint", "soft", "hard"} <= set(history[0])
    with pytest.raises(TypeError, match="'pool' must be a linear layer"):
        own.JointClassifier(network, head="pool")


def test_the_aggregate_is_not_taught():
    """Where only the soft term trains, the joint classifier stays."""
    classifier = own.JointClassifier(small())
    before = classifier.joint.weight.detach().clone()
    logits, joint = classifier(own.rotations(torch.randn(2, 1, 6, 6)).flatten(0, 1))
    teacher = own.aggregated(joint.unflatten(0, (4, 2))).detach()
    loss = F.kl_div(logits[:2].log_softmax(1), teacher.softmax(1), reduction="batchmean")
    loss.backward()
    assert classifier.joint.weight.grad is None
    assert torch.equal(before, classifier.joint.weight)
    plan = QUICK.model_copy(update={"epochs": 12})
    history = own.augmentation_distil(classifier, batches(), plan)
    assert history[-1]["hard"] < history[0]["hard"]

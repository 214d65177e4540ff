"""CTSL-MKT: the earlier self and its weights."""

import pytest
import torch
from cohorts import QUICK
from small_networks import assert_same, batches, linear, state

from kdnb.methods import online


def test_the_earlier_self_is_the_last_epochs():
    student, other = online.Remembering(linear(0)), online.Remembering(linear(1))
    ends = []

    def evaluate(networks):
        ends.append(state(student.network))
        return {}

    history = online.multiple_knowledge(
        {"a": student, "b": other}, batches(), QUICK, evaluate=evaluate
    )
    assert_same(state(student.earlier), ends[0])  # epoch 2 learnt from the end of epoch 1
    assert history[0]["a.self"] == 0
    assert history[1]["a.self"] > 0
    assert history[0]["a.relations"] > 0
    assert student.earlier[1].weight.grad is None


def test_its_weights_take_the_terms_away():
    networks = {"a": online.Remembering(linear(0)), "b": online.Remembering(linear(1))}
    nothing = {"self_weight": 0.0, "distance_weight": 0.0, "angle_weight": 0.0}
    online.multiple_knowledge(networks, batches(), QUICK, temperature=1.0, **nothing)
    mutual = {"a": linear(0), "b": linear(1)}
    online.mutual(mutual, batches(), QUICK, order="simultaneous")
    for name, network in mutual.items():
        torch.testing.assert_close(networks[name].network[1].weight, network[1].weight)
    with pytest.raises(ValueError, match="2 networks or more"):
        online.multiple_knowledge({"a": networks["a"]}, batches(), QUICK)

"""Acoustic models: what a frame's answer may depend on, and that they are left as they were."""

import pytest
import torch
from spoken_sequences import FEATURES, bumps

from kdnb.methods.applications.acoustic import (
    RecurrentModel,
    WindowModel,
    frame_logits,
    teachers_logits,
)


def models():
    torch.manual_seed(0)
    return {
        "both directions": RecurrentModel(FEATURES, 4, 5),
        "one direction": RecurrentModel(FEATURES, 4, 5, layers=2, bidirectional=False),
        "window": WindowModel(FEATURES, 4, (6, 5), before=2, behind=1),
    }


def seen(model, frame, frames=9):
    """The frames on which the answer to one depends."""
    inputs = torch.randn(1, frames, FEATURES, requires_grad=True)
    model(inputs, torch.tensor([frames]))[0, frame].sum().backward()
    return inputs.grad[0].abs().sum(1).nonzero().flatten().tolist()


def test_what_an_answer_sees():
    made = models()
    assert seen(made["both directions"], 4) == list(range(9))
    assert seen(made["one direction"], 4) == [0, 1, 2, 3, 4]
    assert seen(made["window"], 4) == [2, 3, 4, 5]
    assert seen(made["window"], 0) == [0, 1]


@pytest.mark.parametrize("name", models())
def test_what_stands_behind_the_end_is_not_seen(name):
    model = models()[name]
    frames, lengths = torch.randn(2, 7, FEATURES), torch.tensor([4, 7])
    other = frames.clone()
    other[0, 4:] = 9.0
    ours, theirs = model(frames, lengths), model(other, lengths)
    torch.testing.assert_close(ours[0, :4], theirs[0, :4])
    alone = model(frames[:1, :4], lengths[:1])
    torch.testing.assert_close(ours[0, :4], alone[0])
    assert ours.shape == (2, 7, 4)


def test_a_window_is_a_layer_of_the_frames_in_it():
    model = WindowModel(FEATURES, 4, (), before=1, behind=1)
    frames = torch.randn(1, 5, FEATURES)
    padded = torch.nn.functional.pad(frames[0], (0, 0, 1, 1))
    weight, bias = model.layers[0].weight, model.layers[0].bias
    for n in range(5):
        expected = (weight * padded[n : n + 3].T).sum((1, 2)) + bias
        torch.testing.assert_close(model(frames, torch.tensor([5]))[0, n], expected)


def test_many_are_asked_in_parts_in_eval_mode():
    data, model = bumps(), models()["both directions"]
    model.train()
    asked = frame_logits(model, data.inputs, 5)
    torch.testing.assert_close(asked, frame_logits(model, data.inputs))
    assert model.training and not asked.requires_grad


def test_logits_stand_for_a_teacher():
    data, model = bumps(), models()["window"]
    asked = frame_logits(model, data.inputs)
    assert torch.equal(teachers_logits(model, data.inputs), asked)
    assert torch.equal(teachers_logits(asked, data.inputs), asked)
    with pytest.raises(ValueError, match="teacher's logits"):
        teachers_logits(asked[1:], data.inputs)

"""The recurrent language model: causal, and the same step by step."""

import torch

from kdnb.nets.language import RecurrentLM


def test_it_reads_from_left_to_right_and_step_by_step():
    torch.manual_seed(0)
    model = RecurrentLM(11, 8, layers=2)
    tokens = torch.randint(1, 11, (3, 6))
    whole = model(tokens)
    assert whole.shape == (3, 6, 11)
    other = tokens.clone()
    other[:, 4:] = 1
    torch.testing.assert_close(model(other)[:, :4], whole[:, :4])
    logits, state = model.step(tokens[:, :3])
    torch.testing.assert_close(logits, whole[:, 2])
    for place in range(3, 6):
        logits, state = model.step(tokens[:, place : place + 1], state)
        torch.testing.assert_close(logits, whole[:, place])

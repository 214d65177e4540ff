"""Multi-exit distillation: the temperature that rises."""

import pytest
import torch
from exit_networks import QUICK, batches, exits

from kdnb.methods import self_distillation as own


def test_the_temperature_rises_while_the_teacher_is_too_sure():
    sharp, flat = torch.tensor([[9.0, 0.0, 0.0]]), torch.zeros(1, 3)
    one = torch.tensor(2.0)
    assert own.annealed_temperature(one, sharp).item() == pytest.approx(2.1)
    assert own.annealed_temperature(one, flat).item() == 2.0
    # At the temperature where the confidence falls to one half it stops.
    temperature = torch.tensor(1.0)
    for _ in range(500):
        temperature = own.annealed_temperature(temperature, sharp)
    assert 0.45 < (sharp / temperature).softmax(1).max() <= 0.5


def test_multi_exit_distillation_anneals_and_resumes(tmp_path):
    class Killed(Exception):
        pass

    def die(networks):
        if (tmp_path / "state").exists():
            raise Killed
        return {}

    plan = QUICK.model_copy(update={"epochs": 4, "lr": 0.1})
    straight, broken = exits(), exits()
    history = own.multi_exit_distil(straight, batches(), plan, confidence=0.34)
    assert straight.temperature > 1
    with pytest.raises(Killed):
        own.multi_exit_distil(
            broken, batches(), plan, confidence=0.34, checkpoint=tmp_path / "state", evaluate=die
        )
    resumed = exits()
    own.multi_exit_distil(resumed, batches(), plan, confidence=0.34, checkpoint=tmp_path / "state")
    assert torch.equal(resumed.temperature, straight.temperature)
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    assert {"hard", "soft"} <= set(history[0])
    constant = exits()
    own.multi_exit_distil(constant, batches(), QUICK, temperature=4.0)
    assert constant.temperature == 1
    with pytest.raises(ValueError, match="temperature must be"):
        own.multi_exit_distil(constant, batches(), QUICK, temperature=0.0)

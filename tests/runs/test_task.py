"""What a description can name: losses of ours, and nothing else."""

import pytest

from kdnb.runs.task import loss_of


def test_a_description_names_losses_alone():
    loss = loss_of({"name": "soft_targets", "temperature": 4.0})
    assert loss.keywords == {"temperature": 4.0}
    for name in ("torch", "__builtins__", "checks", "os.system", "soft_target"):
        with pytest.raises(ValueError, match=f"there is no loss '{name}'"):
            loss_of({"name": name})

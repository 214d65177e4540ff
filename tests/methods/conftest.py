"""What tests of several methods share."""

import pytest
import torch


@pytest.fixture
def no_step(monkeypatch):
    """The default optimisers take no step, and none may be asked of them."""
    steps = []
    for kind in (torch.optim.Adam, torch.optim.SGD):
        monkeypatch.setattr(kind, "step", lambda *_, **__: steps.append(1))
    yield
    assert not steps

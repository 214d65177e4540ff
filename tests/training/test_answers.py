"""Several teachers as one, whatever the shape of their logits."""

from functools import partial

import pytest
import torch
from torch import nn

import kdnb
from kdnb.training.answers import Ensemble


class Says(nn.Module):
    """A teacher that answers the same to everything."""

    def __init__(self, logits):
        super().__init__()
        self.answer = nn.Parameter(logits)

    def forward(self, inputs):
        return self.answer


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5), (4, 6, 3)])
def test_the_softmax_of_an_ensemble_is_the_mean_of_its_members(shape):
    torch.manual_seed(0)
    one, other = torch.randn(shape), torch.randn(shape)
    axis = 1 if len(shape) == 4 else -1
    found = Ensemble([Says(one), Says(other)], temperature=2.0)(None)
    assert found.shape == shape
    mean = ((one / 2).softmax(axis) + (other / 2).softmax(axis)) / 2
    torch.testing.assert_close((found / 2).softmax(axis), mean)


def test_one_logit_each_gives_the_mean_of_their_probabilities():
    one, other = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.0], [3.0]])
    found = Ensemble([Says(one), Says(other)])(None)
    torch.testing.assert_close(found.sigmoid(), (one.sigmoid() + other.sigmoid()) / 2)


def test_dense_teachers_teach_together():
    def maps(seed):
        torch.manual_seed(seed)
        return nn.Conv2d(2, 3, 1)

    data = torch.randn(8, 2, 4, 4), torch.randint(3, (8, 4, 4))
    fit = kdnb.distil(maps(0), [maps(1), maps(2)], data, epochs=1, batch_size=4, lr=0.1)
    assert fit.history.kd.iloc[0] > 0


def normed():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


GLOBAL = normed()


def by_global(inputs):
    return GLOBAL(inputs)


class Owner:
    """Somebody's experiment: only the network that is asked counts."""

    def __init__(self, network):
        self.network, self.student = network, normed()

    def ask(self, inputs):
        return self.network(inputs)

    __call__ = ask


@pytest.mark.parametrize(
    "made",
    [
        lambda network: lambda inputs: network(inputs),
        lambda network: network.forward,
        lambda network: partial(lambda asked, inputs: asked(inputs), network),
        lambda network: partial(network),
        lambda network: Owner(network).ask,
        Owner,
        lambda network: by_global,
        lambda network: lambda inputs: by_global(inputs),
    ],
)
@pytest.mark.parametrize("verb", ["distil", "criterion", "evaluate"])
def test_a_function_that_asks_a_network_in_train_mode_is_refused(made, verb):
    """As libraries make them; its batch norm would answer by the batch, and move."""
    data, network = (torch.randn(12, 6), torch.arange(12) % 3), normed()
    calls = {
        "distil": lambda: kdnb.distil(nn.Linear(6, 3), made(network), data, epochs=1, lr=0.1),
        "criterion": lambda: kdnb.Criterion("kd", nn.Linear(6, 3), made(network), data),
        "evaluate": lambda: kdnb.evaluate(nn.Linear(6, 3), data, teacher=made(network)),
    }
    with pytest.raises(ValueError, match="in train mode, in which its BatchNorm1d makes"):
        calls[verb]()
    try:
        GLOBAL.eval()
        network.eval()
        calls[verb]()
    finally:
        GLOBAL.train()

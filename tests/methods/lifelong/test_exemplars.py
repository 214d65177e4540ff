"""The memory: its size, how it is shared out, and herding against every possible choice."""

import pytest
import torch
from small_contexts import ONCE, contexts, network, weights
from torch.nn import functional as F

from kdnb.methods import lifelong
from kdnb.methods.lifelong import Exemplars, herding
from kdnb.methods.lifelong.exemplars import at_random


def rows(count, seed=0):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_herding_against_brute_force():
    """Each next sample is the best of all that are left, by the formula as it is written."""
    features = rows(8)
    unit = F.normalize(features.double(), dim=1)
    taken = []
    for k in range(1, 9):
        left = [i for i in range(8) if i not in taken]
        gaps = [
            (unit.mean(0) - (unit[i] + sum(unit[j] for j in taken)) / k).norm().item() for i in left
        ]
        taken.append(left[gaps.index(min(gaps))])
    assert herding(features, 8).tolist() == taken
    assert herding(features, 3).tolist() == taken[:3]
    assert herding(5 * features, 8).tolist() == taken  # lengths do not matter


def test_herded_means_are_closer_than_random_ones():
    features = F.normalize(rows(200), dim=1)
    mean = features.mean(0)
    herded = (features[herding(features, 10)].mean(0) - mean).norm()
    others = [(features[at_random(seed)(features, 10)].mean(0) - mean).norm() for seed in range(20)]
    assert herded < min(others)


def test_herding_takes_nobody_twice_and_nothing_from_nobody():
    same = torch.ones(5, 3)
    assert sorted(herding(same, 5).tolist()) == [0, 1, 2, 3, 4]
    assert herding(same, 0).tolist() == []
    assert herding(torch.zeros(3, 2), 2).tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"count must lie in \[0, 5\]"):
        herding(same, 6)
    with pytest.raises(ValueError, match="features must be"):
        herding(torch.zeros(0, 3), 0)


def test_the_memory_is_shared_out_evenly_and_cut_from_the_end():
    stored = Exemplars(12)
    assert stored.all()[0].shape == (0,)
    first = rows(20)
    stored.add(0, first, torch.arange(20) % 2, lambda own, count: torch.arange(count))
    assert len(stored) == 12 and {len(kept) for kept in stored.groups.values()} == {6}
    before = {key: kept.clone() for key, kept in stored.groups.items()}
    stored.add(1, rows(8, 1), torch.tensor([2, 3] * 4), lambda own, count: torch.arange(count))
    assert {len(kept) for kept in stored.groups.values()} == {3} and len(stored) == 12
    for key, kept in before.items():
        assert stored.groups[key].equal(kept[:3])
    inputs, labels = stored.all()
    assert labels.bincount().tolist() == [3, 3, 3, 3]
    assert inputs[:3].equal(first[::2][:3])


def test_contexts_with_the_same_labels_are_kept_apart():
    stored = Exemplars(8)
    for context in range(2):
        stored.add(context, rows(6, context), torch.arange(6) % 2, at_random(0))
    assert stored.all()[1].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_few_examples_and_a_small_memory():
    stored = Exemplars(100)
    stored.add(0, rows(3), torch.tensor([0, 0, 1]), at_random(0))
    assert len(stored) == 3
    both, labels = stored.beside(rows(2, 5), torch.tensor([2, 2]))
    assert len(both) == 5 and labels.tolist() == [2, 2, 0, 0, 1]
    with pytest.raises(ValueError, match="a memory of 2 is smaller than the number of classes"):
        Exemplars(2).add(0, rows(3), torch.arange(3), at_random(0))
    with pytest.raises(ValueError, match="memory must be at least 1"):
        Exemplars(0)


@pytest.mark.parametrize("verb", ["replay", "icarl", "global_distillation"])
def test_a_memory_for_fewer_images_than_classes_is_refused_before_any_training(verb):
    made, data = network(), contexts("class")
    before = weights(made)
    more = (torch.randn(40, 5),) if verb == "global_distillation" else ()
    with pytest.raises(ValueError, match="a memory of 5 is smaller than the number of classes that it must hold, 6"):  # fmt: skip
        getattr(lifelong, verb)(made, data, *more, ONCE, memory=5)
    assert weights(made).equal(before)


@pytest.mark.parametrize("verb", ["replay", "icarl", "ewc"])
def test_inputs_in_several_parts_are_refused_before_any_training(verb):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(5, 6)

        def forward(self, one, other):
            return self.head(one + other)

    data = contexts("class")
    pairs = [((x, x), y) for x, y in data.train]
    made = Two()
    before = weights(made)
    options = {"strength": 1.0} if verb == "ewc" else {"memory": 12}
    with pytest.raises(TypeError, match="inputs that are one tensor"):
        getattr(lifelong, verb)(made, lifelong.Contexts(pairs, pairs, data.sizes, "class"), ONCE, **options)  # fmt: skip
    assert weights(made).equal(before)

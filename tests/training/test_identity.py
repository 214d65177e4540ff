"""By what a run is known again: whatever a loss of the user's rests on is part of it."""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import kdnb
from kdnb.training.identity import of_data, of_function

WEIGHT = 1.0
ROOT = Path(kdnb.__file__).parents[1]
SETTINGS: dict[str, Any] = {"weights": [1.0]}


def helper(student, teacher):
    return (student - teacher).square().mean()


def by_global(student, teacher):
    return WEIGHT * helper(student, teacher)


def by_settings(student, teacher):
    return by_settings_of(SETTINGS) * helper(student, teacher)


def by_settings_of(settings):
    return settings["weights"][0] if isinstance(settings, Mapping) else SETTINGS


class Weighted:
    """A loss that is an object."""

    def __init__(self, weight):
        self.weight, self.itself = weight, self

    def __call__(self, student, teacher):
        return self.weight * helper(student, teacher)

    def bound(self, student, teacher):
        return self(student, teacher)


def closed_over(weight):
    return lambda student, teacher: weight * helper(student, teacher)


def around(loss):
    return lambda student, teacher: loss(student, teacher)


def by_default(weight):
    def loss(student, teacher, weight=weight):
        return weight * helper(student, teacher)

    return loss


def by_keyword(weight):
    def loss(student, teacher, *, weight=weight):
        return weight * helper(student, teacher)

    return loss


def through_a_layer(weight):
    layer = nn.Linear(3, 3)
    nn.init.constant_(layer.weight, weight)
    nn.init.zeros_(layer.bias)
    return lambda student, teacher: helper(layer(student), teacher)


@dataclass
class Settings:
    weight: Any
    inner: Any = None


@dataclass(slots=True)
class Slotted:
    weight: Any


class Pair(NamedTuple):
    first: Any
    second: Any


class Held(nn.Module):
    """A loss that is a module, with a setting that is no parameter and that it does not print."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, student, teacher):
        return self.weight * helper(student, teacher)


def deep(weight, depth=8):
    """An object that holds an object that holds ... a weight; and each the one that holds it."""
    outer = Settings(weight)
    for _ in range(depth):
        outer.outer = inner = Settings(None, outer)
        outer = inner
    return outer


def with_attribute(weight):
    def loss(student, teacher):
        return loss.weight * helper(student, teacher)

    loss.weight = weight
    return loss


def self_holding(weight):
    held = [weight]
    held.append({"itself": held})
    return held


def of_weight(*values):
    """One of several values for a weight of 1 and of 2."""
    return lambda weight: closed_over(values[int(weight) - 1])


def graph_of(module):
    return torch.export.export(module, (torch.ones(1), torch.zeros(1))).module()


LOSSES = {
    "object": Weighted,
    "module": Held,
    "module in a list": lambda weight: closed_over([Held(weight)]),
    "object in a list": lambda weight: closed_over([Weighted(weight)]),
    "function in a dict": lambda weight: closed_over({"a": by_default(weight)}),
    "set": lambda weight: closed_over({"a", "b", weight}),
    "dataclass": lambda weight: closed_over(Settings(weight)),
    "dataclass with slots": lambda weight: closed_over(Slotted(weight)),
    "named tuple": lambda weight: closed_over(Pair(1, weight)),
    "array": lambda weight: closed_over(np.array([weight])),
    "array of objects": lambda weight: closed_over(np.array([{"a": weight}, None])),
    "number of numpy": lambda weight: closed_over(np.float32(weight)),
    "bytes": of_weight(b"a", b"b"),
    "class": of_weight(Weighted, Held),
    "function in C": of_weight(torch.exp, torch.tanh),
    "method in C": lambda weight: closed_over({"a": weight}.get),
    "range": lambda weight: closed_over(range(int(weight))),
    "queue": lambda weight: closed_over(deque([weight])),
    "path": of_weight(Path("a"), Path("b")),
    "sparse tensor": lambda weight: closed_over(torch.tensor([0.0, weight]).to_sparse()),
    "graph of torch.export": lambda weight: closed_over(graph_of(Held(weight))),
    "deep in objects": lambda weight: closed_over(deep(weight)),
    "what holds itself": lambda weight: closed_over(self_holding(weight)),
    "attribute": with_attribute,
    "bound method": lambda weight: Weighted(weight).bound,
    "partial": lambda weight: partial(lambda s, t, weight: weight * helper(s, t), weight=weight),
    "partial of an object": lambda weight: partial(lambda s, t, o: o(s, t), o=Weighted(weight)),
    "closure": closed_over,
    "closure over an object": lambda weight: around(Weighted(weight)),
    "closure over a tensor": lambda weight: closed_over(torch.tensor(weight)),
    "closure over a list": lambda weight: closed_over([weight]),
    "default": by_default,
    "keyword": by_keyword,
    "layer": through_a_layer,
}


@pytest.mark.parametrize("kind", LOSSES)
def test_two_losses_are_told_apart_by_all_they_rest_on(kind):
    make = LOSSES[kind]
    assert of_function(make(1.0)) == of_function(make(1.0))
    assert of_function(make(1.0)) != of_function(make(2.0))


def test_globals_and_functions_of_its_own_module_count(monkeypatch):
    first = of_function(by_global)
    with monkeypatch.context() as changed:
        changed.setitem(globals(), "WEIGHT", 2.0)
        assert of_function(by_global) != first
    with monkeypatch.context() as changed:
        changed.setitem(globals(), "helper", closed_over(2.0))
        assert of_function(by_global) != first
    assert of_function(by_global) == first


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": [2.0]},
        {"weights": (1.0,)},
        {"weights": [1.0], "more": None},
        [1.0],
        torch.ones(1),
        np.ones(1),
        Settings([1.0]),
        partial(helper, 1),
        nn.Linear(1, 1),
    ],
    ids=lambda changed: type(changed).__name__,
)
def test_every_global_that_it_reads_counts(monkeypatch, changed):
    """Also through a function of its module, and whatever it is; not a module or its functions."""
    first = of_function(by_settings)
    monkeypatch.setitem(globals(), "SETTINGS", changed)
    assert of_function(by_settings) != first


def test_what_a_process_has_of_its_own_does_not_count():
    """Locks, sources of random numbers, what a property has kept, compiled code."""

    class Loss:
        def __init__(self):
            self.lock, self.drawn = threading.Lock(), np.random.default_rng()
            self.generator = torch.Generator()
            self.generator.seed()

        @cached_property
        def kept(self):
            return 1

        def __call__(self, student, teacher):
            return helper(student, teacher)

    loss = Loss()
    first = of_function(loss)
    assert loss.kept == 1 and of_function(loss) == first == of_function(Loss())
    assert of_function(torch.compile(by_global)) == of_function(by_global)
    assert of_function(torch.compile(Held(1.0))) == of_function(Held(1.0))


def test_the_code_of_an_object_that_is_called_counts():
    def loss(code):
        return type("Loss", (), {"__call__": code, "__module__": __name__})()

    def module(code):
        return type("Module", (nn.Module,), {"forward": code, "__module__": __name__})()

    for made in (loss, module):
        first, second = (made(lambda self, s, t: s), made(lambda self, s, t: t))
        assert of_function(first) != of_function(second)


def test_every_callable_has_one():
    for function in (len, torch.dist, nn.functional.mse_loss, Weighted, nn.MSELoss()):
        assert of_function(function) == of_function(function)


class Pictures:
    """A data set of one's own; `held` is what it has of them."""

    def __init__(self, held):
        self.held, self.order, self.seen = held, [], 0

    def __len__(self):
        return 2

    def __getitem__(self, place):
        return self.held[place], 0


class Named:
    """A data set in the manner of torchvision's."""

    def __init__(self, data, targets):
        self.data, self.targets = data, targets


DATA = {
    "list": lambda number: [number, [number]],
    "list that holds itself": self_holding,
    "set": lambda number: {"a", number},
    "array": lambda number: np.array([number]),
    "dataclass": Settings,
    "dataclass with slots": Slotted,
    "named tuple": lambda number: Pair(torch.tensor(number), torch.tensor(0)),
    "loader": lambda number: DataLoader(TensorDataset(torch.tensor([number]))),
    "deep": lambda number: deep(number),
    "a tensor of one's own": lambda number: Pictures(torch.tensor([number, 0])),
    "an array of one's own": lambda number: Pictures(np.array([number, 0])),
    "targets": lambda number: Named(np.zeros((1, 2, 2, 3)), [number]),
    "data": lambda number: Named(np.full((1, 2, 2, 3), number), [0]),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_are_told_apart_by_all_they_hold(kind):
    make = DATA[kind]
    assert of_data(make(1.0)) == of_data(make(1.0))
    assert of_data(make(1.0)) != of_data(make(2.0))


def test_what_a_data_set_counts_meanwhile_is_not_its_data():
    pictures = Pictures(torch.zeros(2))
    first = of_data(pictures)
    pictures.seen, pictures.order = 7, [1, 0]
    assert of_data(pictures) == first


def test_a_loader_of_a_stream_has_no_length_and_an_identity():
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(3), 0

    assert of_data(DataLoader(Stream())) == of_data(DataLoader(Stream()))


def test_long_chains_and_wide_webs_end():
    """Python's recursion ends at 1,000 values; twice as many paths with every layer never would."""
    chain, web = [1.0], [1.0]
    for _ in range(5000):
        chain = [chain]
    for _ in range(60):
        web = [web, web]
    for held in (chain, web):
        assert of_data(held) and of_function(closed_over(held))


OLDER = {
    "loader": "b51933e9728d9b65",
    "subset": "1f88fb241bcb2ec9",
    "plain": "67a5e8a752b32aae",
}


def test_digests_of_older_checkpoints_stay_as_they_were():
    """Written down before the walk took more kinds of values than these."""
    data = TensorDataset(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1]))
    found = {
        "loader": of_data(DataLoader(data, batch_size=2)),
        "subset": of_data(torch.utils.data.Subset(data, [2, 0])),
        "plain": of_data({"a": [1, 2.5, None, "x"], "b": (True, torch.ones(2))}),
    }
    assert found == OLDER


ELSEWHERE = """
from test_identity import DATA, LOSSES, by_settings, of_data, of_function
print({kind: of_function(make(1.0)) for kind, make in LOSSES.items()})
print({kind: of_data(make(1.0)) for kind, make in DATA.items()}, of_function(by_settings))
"""


def test_digests_are_the_same_in_every_process():
    """Strings hash otherwise in each, and so sets have another order."""
    folders = ROOT, ROOT / "tests", Path(__file__).parent
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    found = {
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE], env=surroundings | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1 and "object" in found.pop()


@pytest.mark.parametrize("kind", ["object", "bound method", "default"])
def test_a_finished_run_is_not_another_losss_result(kind, tmp_path):
    """The second call trained nothing and returned the first one's history."""
    torch.manual_seed(0)
    data, teacher = (torch.randn(8, 4), torch.arange(8) % 3), nn.Linear(4, 3)

    def run(weight):
        torch.manual_seed(1)
        loss, file = LOSSES[kind](weight), tmp_path / "c"
        return kdnb.distil(nn.Linear(4, 3), teacher, data, method=loss, epochs=1, checkpoint=file)

    first = run(1.0)
    assert run(1.0).history.equals(first.history)
    with pytest.raises(ValueError, match="belongs to another run .*method differ"):
        run(2.0)

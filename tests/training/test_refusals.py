"""What no verb can take is refused in one sentence, before a weight has moved."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import kdnb
from kdnb import nets
from kdnb.methods import METHODS

QUICK = {"epochs": 2, "batch_size": 4, "lr": 0.05, "precision": "32"}


def linear(seed=0, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes))


def images(count=12):
    return torch.randn(count, 1, 3, 4, generator=torch.Generator().manual_seed(0))


def labels(count=12):
    return torch.arange(count) % 3


def pairs():
    return images(), labels()


class Changed(nn.Module):
    """A network of which something else is made."""

    def __init__(self, inner, change):
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, inputs):
        return self.change(self.inner, inputs)


class Items(Dataset):
    def __init__(self, get):
        self.get = get

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return self.get(index)


class Fewer:
    """Batches of which later epochs have none."""

    def __init__(self):
        self.times = 0

    def __len__(self):
        return 2

    def __iter__(self):
        self.times += 1
        return iter([pairs()] * 2 if self.times < 4 else [])


def made(where):
    with where:
        return linear(1)


def spoilt(network):
    with torch.no_grad():
        network[1].weight[0, 0] = math.nan
    return network


def unwatched(inner, inputs):
    with torch.no_grad():
        return inner(inputs)


def nothing():
    return {}


def picture():
    from PIL import Image

    return Image.new("L", (4, 3))


def high():
    wrong = labels()
    wrong[-1] = 3
    return wrong


REFUSED = {
    "meta student": ({"student": lambda: made(torch.device("meta"))}, "student has weights on the meta"),
    "meta teacher": ({"teacher": lambda: made(torch.device("meta"))}, "teacher has weights on the meta"),
    "inference student": (
        {"student": lambda: made(torch.inference_mode())}, "student was made under torch.inference"),
    "inference teacher": (
        {"teacher": lambda: made(torch.inference_mode())}, "teacher was made under torch.inference"),
    "complex answer": (
        {"teacher": lambda: Changed(linear(1), lambda n, x: torch.complex(n(x), n(x)))},
        "logits of torch.complex64"),
    "answer of classes": (
        {"teacher": lambda: Changed(linear(1), lambda n, x: n(x).long())}, "logits of torch.int64"),
    "teacher in place": (
        {"teacher": lambda: Changed(linear(1), lambda n, x: n(x.mul_(2)))},
        "the teacher changes its inputs in place"),
    "student in place": (
        {"student": lambda: nn.Sequential(nn.ReLU(inplace=True), linear())},
        "the student changes its inputs in place"),
    "detached": (
        {"student": lambda: Changed(linear(), lambda n, x: n(x).detach())}, "detaches its answer"),
    "under no_grad": ({"student": lambda: Changed(linear(), unwatched)}, "under torch.no_grad"),
    "graph of torch.export": (
        {"teacher": lambda: torch.export.export(linear(1), (images(),)).module()},
        "teacher is a graph of torch.export, which has no eval mode"),
    "teacher of NaN": (
        {"teacher": lambda: spoilt(linear(1))}, "the teacher has weights that are NaN or infinite, in '1.weight'"),
    "answer of NaN": (
        {"teacher": lambda: Changed(linear(1), lambda n, x: n(x).log() - 5)}, "the teacher answers with NaN"),
    "loss of NaN": (
        {"method": lambda z, v: (z - v).mean() * math.nan}, "must return a number; got nan for finite answers"),
    "an option that cannot learn": (
        {"temperature": nn.Parameter(torch.tensor(2.0))}, "temperature of the method kd would not be learnt"),
    "no weight": ({"weight": 0, "label_weight": 0}, "nothing would be learnt: weight and label_weight"),
    "seed none": ({"seed": None}, r"seed must be a whole number .*; got None"),
    "seed half": ({"seed": 1.5}, r"seed must be a whole number .*; got 1\.5"),
    "seed large": ({"seed": 2**70}, "seed must be a whole number"),
    "seed true": ({"seed": True}, "seed must be a whole number .*; got True"),
    "output of one": ({"output": (None,)}, r"or a pair .*; got a tuple of 1"),
    "index none": ({"ignore_index": None}, "ignore_index must be a whole number; got None"),
    "index half": ({"ignore_index": 1.5}, r"ignore_index must be a whole number; got 1\.5"),
    "fabric": ({"fabric": "gpu"}, "a launched lightning_fabric.Fabric, or None; got 'gpu'"),
    "recorded": ({"recorded": 5}, "a kdnb.training.teacher.Recorded; got 5"),
    "log_dir a number": ({"log_dir": 5}, "log_dir is the path of a folder; got 5"),
    "log_dir a file": ({"log_dir": __file__}, "a file stands where a folder is needed"),
    "log_dir nowhere": ({"log_dir": "/proc/none"}, "cannot be written: there is no such folder"),
    "checkpoint null": ({"checkpoint": "a\0b"}, "no file is called 'a.x00b'"),
    "checkpoint long": ({"checkpoint": "x" * 300}, "no file is called .*too long"),
    "evaluate a number": ({"evaluate": 5}, "the int given cannot: give a DataLoader"),
    "evaluate without labels": ({"evaluate": images()}, "labels are read, and this data has none"),
    "evaluate of none": ({"evaluate": nothing}, "evaluate is a function of one argument"),
    "evaluate of two": ({"evaluate": lambda a, b: {}}, "evaluate is a function of one argument"),
    "pictures": ({"data": Items(lambda i: (picture(), 0))}, "make no batch: .*PIL.Image"),
    "ragged": (
        {"data": Items(lambda i: (torch.zeros(3, 4 + i % 2), 0))},
        r"make no batch: stack expects .*\. Convert them"),
    "a label too high": ({"data": (images(), high())}, "labels must lie in 0 to 2 .*; got 0 to 3"),
}  # fmt: skip


def state(network):
    meta = any(value.is_meta for value in network.parameters())
    return {} if meta else copy.deepcopy(dict(network.state_dict()))


@pytest.mark.parametrize("name", REFUSED)
def test_distil_refuses_before_a_weight_moves(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, words = REFUSED[name]
    options = {"data": pairs(), **options}
    student, teacher = (
        options.pop(key, partial)() for key, partial in (("student", linear), ("teacher", other))
    )
    before = state(student)
    with pytest.raises((ValueError, TypeError, OSError), match=words) as error:
        kdnb.distil(student, teacher, options.pop("data"), **{**QUICK, **options})
    assert "\n" not in str(error.value) and str(error.value).endswith((".", ".)"))
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items()
               if before)  # fmt: skip
    assert not list(tmp_path.iterdir())


def other():
    return linear(1)


OTHERS = {
    "train": lambda **more: kdnb.train(linear(), more.pop("data", pairs()), **QUICK, **more),
    "mutual": lambda **more: kdnb.mutual(
        [linear(), linear(1)], more.pop("data", pairs()), **QUICK, **more
    ),
    "born_again": lambda **more: kdnb.born_again(
        linear, more.pop("data", pairs()), generations=1, **QUICK, **more
    ),
    "criterion": lambda **more: kdnb.Criterion("kd", linear(), linear(1), pairs(), **more),
}
SHARED = ["seed half", "index half", "evaluate of none", "a label too high", "log_dir a file"]


@pytest.mark.parametrize("verb", OTHERS)
@pytest.mark.parametrize("name", SHARED)
def test_every_verb_refuses_it(name, verb):
    options, words = REFUSED[name]
    if verb == "criterion" and not {"seed", "ignore_index"} & set(options):
        pytest.skip("a criterion has no such option")
    if verb == "born_again" and "log_dir" in options:
        pytest.skip("it has no log_dir")
    with pytest.raises((ValueError, TypeError, OSError), match=words):
        OTHERS[verb](**options)


def test_weights_that_are_no_numbers_are_named():
    words = "has weights that are NaN or infinite, in '1.weight': load"
    for call in (
        lambda: kdnb.train(spoilt(linear()), pairs(), **QUICK),
        lambda: kdnb.distil(spoilt(linear()), linear(1), pairs(), **QUICK),
        lambda: kdnb.mutual([linear(), spoilt(linear(1))], pairs(), **QUICK),
        lambda: kdnb.Criterion("kd", linear(), spoilt(linear(1)), pairs()),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    weight = torch.tensor([1.0, math.inf, 1.0])
    with pytest.raises(ValueError, match="loss must return a number; got nan"):
        kdnb.train(linear(), pairs(), loss=nn.CrossEntropyLoss(weight), **QUICK)


def test_a_network_that_is_no_module_makes_no_criterion():
    with pytest.raises(TypeError, match="student must be a torch module; got the string"):
        kdnb.Criterion("kd", "resnet20", linear(1), pairs())
    with pytest.raises(ValueError, match="teacher has weights on the meta device"):
        kdnb.Criterion("kd", linear(), made(torch.device("meta")), pairs())


def test_data_that_dries_up_is_told():
    with pytest.raises(ValueError, match=r"this data gives no batch in epoch \d"):
        kdnb.train(linear(), Fewer(), epochs=5, lr=0.05)


def test_labels_of_a_loader_are_refused_where_they_come():
    data = DataLoader(TensorDataset(images(), high()), 4)
    with pytest.raises(ValueError, match="labels must lie in 0 to 2"):
        kdnb.train(linear(), data, epochs=1, lr=0.05)


def test_a_scripted_teacher_answers_and_shows_no_layers():
    torch.manual_seed(0)
    size = {"num_classes": 3, "in_channels": 3, "image_size": 8, "width": 0.25}
    teacher = torch.jit.script(nets.build("resnet8", **size))
    data = torch.randn(8, 3, 8, 8), labels(8)
    fit = kdnb.distil(nets.build("resnet8", **size), teacher, data, **QUICK)
    assert math.isfinite(fit.history.kd.iloc[-1])
    for name in ("fitnets", "crd"):
        with pytest.raises(ValueError, match=f"{METHODS[name].title} .*a network of torch.jit"):
            kdnb.distil(
                nets.build("resnet8", **size), teacher, data, method=name, weight=1.0, **QUICK
            )


def test_a_frozen_script_and_a_function_of_a_graph_teach():
    batch = {0: torch.export.Dim.AUTO}
    graph = torch.export.export(linear(1), (images(),), dynamic_shapes=(batch,)).module()
    kinds = (torch.jit.freeze(torch.jit.script(linear(1).eval())), lambda x: graph(x), linear(1))
    frozen, function, plain = (
        kdnb.distil(linear(), teacher, pairs(), **QUICK).history.kd for teacher in kinds
    )
    assert list(frozen) == list(function) == list(plain)
    with pytest.raises(ValueError, match="student is a graph of torch.export"):
        kdnb.distil(graph, linear(1), pairs(), **QUICK)
    assert kdnb.evaluate(kinds[0], pairs())["images"] == 12


def test_what_is_unusual_works():
    def lazy():
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))

    fit = kdnb.distil(lazy(), linear(1), pairs(), **QUICK)
    assert math.isfinite(fit.history.kd.iloc[-1])
    fit = kdnb.born_again(lazy, pairs(), generations=1, **QUICK)
    assert math.isfinite(fit.history.soft.iloc[-1])
    with torch.inference_mode():
        network, data = linear(), (images() * 1, labels() * 1)
    assert kdnb.evaluate(network, data)["images"] == 12
    kdnb.distil(linear(), linear(1), data, **QUICK)
    parametrised = linear()
    nn.utils.parametrizations.spectral_norm(parametrised[1])
    kdnb.distil(parametrised, torch.jit.trace(linear(1), images()), pairs(), **QUICK)


class Table(list):
    """What pandas and polars have in common."""

    def to_numpy(self):
        return self


NO_BATCHES = {
    "plain numbers": lambda: (images().flatten(1).tolist(), labels().tolist()),
    "plain numbers in a list": lambda: [[[0.5] * 12, 1]] * 12,
    "text in a list": lambda: ["a.png", "b.png"],
    "holds a Table, a table": lambda: Table([1.0]),
    "Table, a table": lambda: (Table([1.0]), labels()),
    "a set, which has no order": lambda: {1, 2},
    "single samples": lambda: [*zip(images(), labels().tolist(), strict=True)],
}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("said", NO_BATCHES)
def test_what_only_looks_like_batches_is_named(said, batch_size):
    """Also where a batch size is given, which must not be blamed."""
    given = {} if batch_size is None else {"batch_size": batch_size}
    with pytest.raises(TypeError, match=said):
        kdnb.distil(linear(), linear(1), NO_BATCHES[said](), epochs=1, **given)


class Drops(nn.Module):
    """A network that draws random numbers of the run's seed."""

    def __init__(self):
        super().__init__()
        self.head = linear()

    def forward(self, inputs):
        return self.head(nn.functional.dropout(inputs, 0.5, self.training))


@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_whole_numbers_of_numpy_are_whole_numbers(kind, tmp_path):
    def run(number, file):
        options = {"seed": number(2), "ignore_index": number(-100), "checkpoint": tmp_path / file}
        fit = kdnb.distil(Drops(), linear(1), pairs(), temperature=number(2), **options, **QUICK)
        options["weight"] = number(2)
        fits = kdnb.mutual(
            [Drops(), linear(1)], pairs(), **{**options, "checkpoint": None}, **QUICK
        )
        return fit.history.drop(columns="seconds"), fits.history.drop(columns="seconds")

    for ours, theirs in zip(run(kind, "numpy"), run(int, "python"), strict=True):
        assert ours.equals(theirs)
    run(int, "numpy")  # the same run goes on from the file

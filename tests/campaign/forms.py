"""A grammar of users' networks and data: what a form is, how it is drawn, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)  # fmt: skip

K, SIDE, TOKENS, WORDS = 3, 4, 5, 11
NETWORKS = ("flat", "view", "reshape", "tied", "norm", "frozen_norm", "dropout", "dense", "tokens",
            "one_logit", "half", "stages")  # fmt: skip
ANSWERS = ("tensor", "tuple", "list", "dict", "object", "nested", "scores", "number")
INPUTS = ("tensor", "tuple", "dict")
TARGETS = ("classes", "column", "one_hot", "soft", "ignored", "none", "real", "too_high", "mixed")
LOADERS = ("tensors", "dataset", "loader", "sampler", "generator", "batch_sampler", "replacement",
           "list", "drop_last", "no_length", "once", "unseeded")  # fmt: skip
TEACHERS = ("other", "same_kind", "function", "several", "itself", "shared")
METHODS = (
    "kd",
    "kd",
    "kd",
    "own",
    "dkd",
    "nkd",
    "dist",
    "ttm",
    "rkd",
    "crd",
    "at",
    "fitnets",
    "sp",
)


@dataclass(frozen=True)
class Form:
    """Everything about one user's call."""

    verb: str
    network: str
    answer: str
    inputs: str
    targets: str
    loader: str
    count: int
    teacher: str
    method: str
    training: bool
    interrupted: bool
    seed: int

    @property
    def must_work(self) -> bool:
        """Whether no sentence excuses it: what the documentation says is taken."""
        fits = {"classes", "soft"}
        if self.network != "one_logit":
            fits.add("ignored")
        if self.network not in ("one_logit", "dense", "tokens"):
            fits |= {"one_hot", "column"}
        return (
            self.answer not in ("scores", "number")
            and self.targets in fits
            and self.loader not in ("no_length", "once")
            and not (self.loader == "unseeded" and self.interrupted)
            and self.network != "half"
            and (self.verb == "train" or self.method in ("kd", "own"))
            and (self.verb == "train" or self.teacher in ("other", "same_kind", "several"))
            # A batch of one cannot be normalised while training: it may be refused.
            and not (self.network in ("norm", "stages") and self.count % 4 == 1)
        )  # fmt: skip


def forms() -> st.SearchStrategy[Form]:
    # What is plain comes first in every tuple, and is what a failing form is reduced to.
    often = lambda first, others: st.one_of(st.just(first), st.sampled_from(others))
    return st.builds(
        Form, verb=st.sampled_from(("train", "distil")), network=st.sampled_from(NETWORKS),
        answer=often("tensor", ANSWERS), inputs=often("tensor", INPUTS),
        targets=often("classes", TARGETS), loader=st.sampled_from(LOADERS),
        count=st.sampled_from((16, 14, 13, 9, 4)), teacher=often("other", TEACHERS),
        method=st.sampled_from(METHODS), training=st.booleans(), interrupted=st.booleans(),
        seed=st.integers(0, 5),
    )  # fmt: skip


class Net(nn.Module):
    """A small network that reads and answers as the form says."""

    def __init__(self, form: Form, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.kind, self.form = form.network, form
        size = 2 * SIDE * SIDE
        if self.kind == "tokens":
            self.words = nn.Embedding(WORDS, width)
            self.body = nn.Sequential(nn.Linear(width, width), nn.Tanh())
            self.head = nn.Linear(width, K)
        elif self.kind == "dense":
            self.body = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.ReLU())
            self.head = nn.Conv2d(width, K, 1)
        elif self.kind in ("view", "reshape", "stages"):
            norm = [nn.BatchNorm2d(width)] if self.kind == "stages" else []
            self.body = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), *norm, nn.ReLU())
            self.head = nn.Linear(width * SIDE * SIDE, K)
        else:
            more = {"norm": nn.BatchNorm1d(width), "frozen_norm": nn.BatchNorm1d(width),
                    "dropout": nn.Dropout(0.3)}.get(self.kind, nn.Identity())  # fmt: skip
            self.body = nn.Sequential(nn.Linear(size, width), more, nn.ReLU())
            self.head = nn.Linear(width, 1 if self.kind == "one_logit" else K)
        if self.kind == "tied":
            self.again = nn.Linear(size, width)
            self.again.weight = self.body[0].weight
        self.train(form.training)
        if self.kind == "frozen_norm":
            self.body[1].eval()
            for parameter in self.body[1].parameters():
                parameter.requires_grad_(False)
        if self.kind == "half":
            self.bfloat16()

    def forward(self, x: Any = None, other: Any = None, **named: Any) -> Any:
        if isinstance(x, (tuple, list)):
            x, other = x
        if isinstance(x, dict):
            x, other = x["x"], x["other"]
        z = self.logits(x)
        if other is not None:
            z = z + 0 * other.sum()
        return self._answer(z)

    def logits(self, x: Tensor) -> Tensor:
        if self.kind == "tokens":
            return self.head(self.body(self.words(x)))
        if self.kind == "dense":
            return self.head(self.body(x))
        if self.kind in ("view", "reshape", "stages"):
            maps = self.body(x)
            flat = maps.view(len(x), -1) if self.kind == "view" else maps.reshape(len(x), -1)
            return self.head(flat)
        h = self.body(x.reshape(len(x), -1))
        if self.kind == "tied":
            h = h + self.again(x.reshape(len(x), -1))
        return self.head(h)

    def _answer(self, z: Tensor) -> Any:
        return {
            "tensor": lambda: z, "tuple": lambda: (z, z.mean()), "list": lambda: [z],
            "dict": lambda: {"logits": z, "hidden": z.mean()}, "scores": lambda: {"scores": z},
            "object": lambda: SimpleNamespace(logits=z), "nested": lambda: ((z, z), None),
            "number": lambda: 1.0,
        }[self.form.answer]()  # fmt: skip


def inputs_of(form: Form) -> Tensor:
    stream = torch.Generator().manual_seed(form.seed)
    if form.network == "tokens":
        return torch.randint(WORDS, (form.count, TOKENS), generator=stream)
    x = torch.randn(form.count, 2, SIDE, SIDE, generator=stream)
    return x.bfloat16() if form.network == "half" else x


def targets_of(form: Form) -> Tensor | None:
    stream = torch.Generator().manual_seed(form.seed + 1)
    places = {"dense": (SIDE, SIDE), "tokens": (TOKENS,)}.get(form.network, ())
    classes = 2 if form.network == "one_logit" else K
    y = torch.randint(classes, (form.count, *places), generator=stream)
    axis = 1 if form.network == "dense" else -1
    if form.targets == "column":
        return y.unsqueeze(-1)
    if form.targets == "one_hot":
        return F.one_hot(y, classes).movedim(-1, axis)
    if form.targets == "soft":
        if form.network == "one_logit":
            return torch.rand(form.count, generator=stream)
        return torch.rand((*y.shape, K), generator=stream).softmax(-1).movedim(-1, axis)
    if form.targets == "ignored":
        y[..., : max(1, y.shape[-1] // 3)] = -100
        return y
    if form.targets == "real":
        return torch.randn(form.count, generator=stream)
    return {"none": None, "too_high": y + classes}.get(form.targets, y)


class Examples(Dataset):
    def __init__(self, form: Form) -> None:
        self.x, self.y, self.form = inputs_of(form), targets_of(form), form

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        x, y = self.x[index], None if self.y is None else self.y[index]
        if self.form.inputs != "tensor":
            other = torch.ones(2)
            x = (x, other) if self.form.inputs == "tuple" else {"x": x, "other": other}
        if self.form.targets == "mixed":
            return x, (y, y.flip(0) if y.ndim else y, 0.3)
        return x if y is None else (x, y)


class Unseeded(Examples):
    """Noise from a generator that nobody can find."""

    def __getitem__(self, index: int) -> Any:
        import secrets

        x, *rest = super().__getitem__(index)
        noisy = isinstance(x, Tensor) and x.is_floating_point()
        return (x + secrets.randbelow(1000) / 1000 if noisy else x), *rest


class Stream(IterableDataset):
    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __iter__(self):
        return (self.examples[i] for i in range(len(self.examples)))


def data_of(form: Form) -> Any:
    """The same data again whenever it is called, as a user gives it."""
    examples = Examples(form)
    batches = lambda **more: DataLoader(examples, **{"batch_size": 4, **more})
    if form.loader == "tensors" and form.inputs == "tensor" and form.targets != "mixed":
        return examples.x if examples.y is None else (examples.x, examples.y)
    if form.loader == "unseeded" and form.targets != "none":
        return DataLoader(Unseeded(form), 4)
    made = {
        "loader": lambda: batches(),
        "sampler": lambda: batches(sampler=SubsetRandomSampler(range(form.count - 3))),
        "generator": lambda: batches(shuffle=True, generator=torch.Generator()),
        "replacement": lambda: batches(sampler=RandomSampler(examples, True, form.count + 3)),
        "batch_sampler": lambda: DataLoader(
            examples, batch_sampler=BatchSampler(RandomSampler(examples), 3, True)
        ),
        "list": lambda: list(batches()),
        "drop_last": lambda: batches(drop_last=True),
        "no_length": lambda: DataLoader(Stream(examples), 4),
        "once": lambda: iter(batches()),
    }
    plain = TensorDataset(examples.x, examples.y) if _simple(form, examples) else examples
    return made.get(form.loader, lambda: plain)()


def _simple(form: Form, examples: Examples) -> bool:
    return form.inputs == "tensor" and form.targets not in ("none", "mixed")


def naive_loss(net: Net, form: Form) -> float | None:
    """The cross-entropy of all examples by torch alone, where their mean is that of the batches."""
    whole = form.loader in ("tensors", "dataset", "loader", "generator", "list")
    if form.network not in ("flat", "view", "reshape", "tied", "dense", "tokens", "one_logit"):
        return None
    if not whole or form.targets not in ("classes", "column", "soft"):
        return None
    with torch.no_grad():
        z, y = net.logits(inputs_of(form)), targets_of(form)
        if form.network == "one_logit":
            return float(F.binary_cross_entropy_with_logits(z[:, 0], y.reshape(-1).float()))
        z = z if form.network == "dense" else z.movedim(-1, 1)
        y = y.squeeze(-1) if form.targets == "column" else y
        if form.targets == "soft" and form.network != "dense":
            y = y.movedim(-1, 1)
        return float(F.cross_entropy(z, y))

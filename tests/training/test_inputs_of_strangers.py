"""The contract of a batch: inputs of any form, in every verb, with right values."""

import pytest
import torch
from strange_data import ONE, QUICK, N, draw, images, labels, linear
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import kdnb
from kdnb.losses import soft_targets


class TwoTowers(nn.Module):
    """Two modalities."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.image, self.text, self.head = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, image, text):
        return self.head(torch.relu(self.image(image) + self.text(text)))


class Answer:
    def __init__(self, logits):
        self.logits = logits


class Text(nn.Module):
    """Token ids with a mask, answered by an object, as transformers have it."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = (self.embedding(input_ids) * mask[..., None]).sum(1)
        return Answer(self.head(states / mask.sum(1, keepdim=True)))


class WholeDict(Text):
    def forward(self, batch):
        return super().forward(batch["input_ids"], batch["attention_mask"])


def ids():
    return torch.randint(20, (N, 5), generator=torch.Generator().manual_seed(0))


def mask():
    found = torch.ones(N, 5, dtype=torch.long)
    found[::2, 3:] = 0
    return found


class Items(Dataset):
    """Items whose inputs are a tuple, or one dict together with the label."""

    def __init__(self, form):
        self.form = form

    def __len__(self):
        return N

    def __getitem__(self, i):
        if self.form == "tuple":
            return (draw(N, 4)[i], draw(N, 3, seed=1)[i]), int(labels()[i])
        return {"input_ids": ids()[i], "attention_mask": mask()[i], "labels": int(labels()[i])}


WORDS = {"input_ids": ids(), "attention_mask": mask()}
INPUTS = {
    "tuple": (TwoTowers, ((draw(N, 4), draw(N, 3, seed=1)), labels())),
    "dict": (Text, (WORDS, labels())),
    "whole dict": (WholeDict, (WORDS, labels())),
    "dict with labels": (Text, {**WORDS, "labels": labels()}),
    "token ids": (Text, (ids(), labels())),
    "items of tuples": (TwoTowers, Items("tuple")),
    "items of dicts": (Text, Items("dict")),
}


def logits_by_hand(make, kind, seed):
    network = make(seed)
    if kind in ("tuple", "items of tuples"):
        return network(draw(N, 4), draw(N, 3, seed=1))
    if kind == "token ids":
        return network(ids()).logits
    return (network(WORDS) if make is WholeDict else network(**WORDS)).logits


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_of_any_form_in_every_verb(kind):
    make, data = INPUTS[kind]
    with torch.no_grad():
        ours, theirs = (logits_by_hand(make, kind, seed) for seed in (0, 1))
    hard = F.cross_entropy(ours, labels()).item()
    assert kdnb.train(make(0), data, **ONE).history.hard[0] == pytest.approx(hard, rel=1e-5)
    fit = kdnb.distil(make(0), make(1), data, **ONE)
    assert fit.history.hard[0] == pytest.approx(hard, rel=1e-5)
    assert fit.history.kd[0] == pytest.approx(soft_targets(ours, theirs, 4.0).item(), rel=1e-4)
    fit = kdnb.mutual([make(0), make(1)], data, order="simultaneous", **ONE)
    soft = soft_targets(ours, theirs, 1.0).item()
    assert fit.history["peer0.soft"][0] == pytest.approx(soft, rel=1e-4)
    fit = kdnb.born_again(lambda: make(0), data, generations=1, **ONE)
    assert len(fit.history) == 2
    measured = kdnb.evaluate(make(0), data, teacher=make(1))
    assert measured["errors"] == (ours.argmax(1) != labels()).sum()
    assert measured["agreement"] == pytest.approx(
        (ours.argmax(1) == theirs.argmax(1)).float().mean()
    )
    if isinstance(data, tuple):
        criterion = kdnb.Criterion("kd", make(0), make(1), data)
        loss = criterion(*data).item()
        assert loss == pytest.approx(hard + soft_targets(ours, theirs, 4.0).item(), rel=1e-5)


def test_a_function_of_several_inputs_teaches():
    make, data = INPUTS["tuple"]
    teacher = make(1)
    expected = kdnb.distil(make(0), teacher, data, **ONE).history.kd[0]
    fit = kdnb.distil(make(0), lambda image, text: teacher(image, text), data, **ONE)
    assert fit.history.kd[0] == pytest.approx(expected)
    fit = kdnb.distil(make(0), [make(1), make(1)], data, **ONE)
    assert fit.history.kd[0] == pytest.approx(expected, rel=1e-4)


def test_inputs_that_a_network_cannot_take_are_refused_in_one_sentence():
    for run in (
        lambda: kdnb.train(nn.Linear(99, 3), (images(), labels()), **QUICK),
        lambda: kdnb.distil(linear(), nn.Linear(99, 3), (images(), labels()), **QUICK),
        lambda: kdnb.mutual([linear(), nn.Linear(99, 3)], (images(), labels()), **QUICK),
    ):
        with pytest.raises(ValueError, match=r"cannot take these inputs \(float32 \(8, 1, 3, 4\)"):
            run()

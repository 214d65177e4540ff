"""The contract of a batch: inputs, labels and answers of any form, in every verb, with right values."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import kdnb
from kdnb import nets
from kdnb.data.loaders import LoaderBatches
from kdnb.losses import soft_targets

QUICK = {"epochs": 1, "batch_size": 8, "lr": 0.05, "precision": "32"}
ONE = {**QUICK, "batch_size": 24, "momentum": 0.0}  # one batch: its terms are those of the start
N = 24


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(seed=0, classes=3, size=12):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, classes))


def images():
    return draw(N, 1, 3, 4)


def labels(classes=3):
    return torch.arange(N) % classes


# --- inputs ---------------------------------------------------------------------------------------


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


# --- labels ---------------------------------------------------------------------------------------


def peers_hard(data, networks=None, **options):
    networks = networks or [linear(0), linear(1)]
    return kdnb.mutual(networks, data, **{**ONE, **options}).history["peer0.hard"][0]


def test_soft_labels_in_every_verb():
    truth = draw(N, 3).softmax(1)
    expected = F.cross_entropy(linear()(images()), truth).item()
    data = (images(), truth)
    assert kdnb.train(linear(), data, **ONE).history.hard[0] == pytest.approx(expected)
    assert peers_hard(data) == pytest.approx(expected)
    assert len(kdnb.born_again(linear, data, generations=1, label_weight=1.0, **ONE).history) == 2


@pytest.mark.parametrize("form", ["triple", "four parts", "a share each"])
def test_pairs_of_mixup_weigh_two_cross_entropies(form):
    one, two = labels(), labels().flip(0)
    share = torch.rand(N, generator=torch.Generator().manual_seed(0))
    share = share if form == "a share each" else torch.full((N,), 0.3)
    given = share if form == "a share each" else 0.3
    item = (images(), one, two, given) if form == "four parts" else (images(), (one, two, given))
    data, plain = [item], {"epochs": 1, "lr": 0.05, "momentum": 0.0, "precision": "32"}
    each = [F.cross_entropy(linear()(images()), y, reduction="none") for y in (one, two)]
    expected = (share * each[0] + (1 - share) * each[1]).mean().item()
    assert kdnb.train(linear(), data, **plain).history.hard[0] == pytest.approx(expected)
    fit = kdnb.distil(linear(), linear(1), data, **plain)
    assert fit.history.hard[0] == pytest.approx(expected)
    peers = kdnb.mutual([linear(), linear(1)], data, **plain)
    assert peers.history["peer0.hard"][0] == pytest.approx(expected)
    assert kdnb.evaluate(linear(), data)["images"] == N
    with pytest.raises(ValueError, match="DKD reads numbers of classes.*gives mixed labels"):
        kdnb.distil(linear(), linear(1), data, method="dkd", **plain)


def test_real_values_take_a_loss():
    truth = draw(N, 1, seed=2)
    expected = F.mse_loss(linear(0, 1)(images()), truth).item()
    fit = kdnb.train(linear(0, 1), (images(), truth), loss=F.mse_loss, **ONE)
    assert fit.history.loss[0] == pytest.approx(expected)

    def both(student, teacher, labels):
        return F.mse_loss(student, teacher) + F.mse_loss(student, labels)

    fit = kdnb.distil(
        linear(0, 1), linear(1, 1), (images(), truth), method=both, label_weight=0, **ONE
    )
    assert fit.history.both[0] > expected
    for verb in (kdnb.train, lambda n, d, **o: kdnb.mutual([n, linear(1)], d, **o)):
        with pytest.raises(ValueError, match=r"For real values give train a loss"):
            verb(linear(), (images(), draw(N)), **QUICK)
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(24,\): take its mean"):
        kdnb.train(linear(), (images(), labels()), loss=lambda z, y: z.sum(1), **ONE)


def test_samples_without_a_label_count_for_the_teacher_alone():
    some = labels().clone()
    some[::2] = -100
    logits, taught = linear()(images()), linear(1)(images())
    fit = kdnb.distil(linear(), linear(1), (images(), some), **ONE)
    assert fit.history.hard[0] == pytest.approx(F.cross_entropy(logits, some).item())
    assert fit.history.kd[0] == pytest.approx(soft_targets(logits, taught, 4.0).item(), rel=1e-5)


def test_dense_and_binary_answers_in_every_verb():
    def dense(seed):
        torch.manual_seed(seed)
        return nn.Conv2d(1, 3, 1)

    truth = torch.arange(N * 12).view(N, 3, 4) % 3
    truth[:, 0] = 255
    kept = truth != 255
    ours, theirs = (dense(seed)(images()).movedim(1, -1)[kept] for seed in (0, 1))
    hard, soft = F.cross_entropy(ours, truth[kept]).item(), soft_targets(ours, theirs, 1.0).item()
    data, options = (images(), truth), {**ONE, "ignore_index": 255}
    fit = kdnb.mutual([dense(0), dense(1)], data, order="simultaneous", **options)
    assert fit.history["peer0.hard"][0] == pytest.approx(hard, rel=1e-5)
    assert fit.history["peer0.soft"][0] == pytest.approx(soft, rel=1e-5)
    fit = kdnb.distil(
        dense(0), dense(1), data, method=lambda z, v: soft_targets(z, v, 1.0), **options
    )
    assert fit.history.soft[0] == pytest.approx(soft, rel=1e-5)
    for targets in ("soft", "cwtm", "dkpp"):
        kdnb.born_again(lambda: dense(0), data, generations=1, targets=targets, **options)
    nothing = (images(), torch.full_like(truth, 255))
    assert kdnb.distil(dense(0), dense(1), nothing, **options).history.kd[0] == 0
    # one logit: two peers, and one that answers with two logits
    ours, theirs = linear(0, 1)(images()), linear(1, 1)(images())
    truth, pairs = labels(2), [F.pad(z, (1, 0)) for z in (ours, theirs)]
    fit = kdnb.mutual([linear(0, 1), linear(1, 1)], (images(), truth), order="simultaneous", **ONE)
    expected = F.binary_cross_entropy_with_logits(ours[:, 0], truth.float()).item()
    assert fit.history["peer0.hard"][0] == pytest.approx(expected, rel=1e-5)
    expected = soft_targets(*pairs, 1.0).item()
    assert fit.history["peer0.soft"][0] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="peers must answer for the same places and classes"):
        kdnb.mutual([linear(0, 3), linear(1, 4)], (images(), labels()), **QUICK)


class Masked(nn.Module):
    """A class that is excluded by minus infinity, or left out."""

    def __init__(self, seed, left_out=False):
        super().__init__()
        self.network, self.left_out = linear(seed, 4), left_out

    def forward(self, inputs):
        logits = self.network(inputs)
        if self.left_out:
            return logits[:, :3]
        return logits.masked_fill(torch.arange(4) == 3, -math.inf)


@pytest.mark.parametrize("method", ["kd", "dkd", "nkd", "dist", "lskd", "mlkd", "ttm", "ctkd"])
def test_a_masked_class_is_as_good_as_none(method):
    found = [
        kdnb.distil(
            Masked(0, out), Masked(1, out), (images(), labels()), method=method, weight=1.0, **ONE
        )
        for out in (False, True)
    ]
    one, two = (fit.history.iloc[0] for fit in found)
    assert one[method] == pytest.approx(two[method], rel=1e-4, abs=1e-7)
    assert one.hard == pytest.approx(two.hard, rel=1e-5)


def test_masks_of_one_network_or_of_some_samples():
    class Some(Masked):
        def forward(self, inputs):
            away = torch.arange(4)[None] == (inputs.flatten(1)[:, :1] > 0).long()
            return self.network(inputs).masked_fill(away, -math.inf)

    logits, taught = Some(0)(images()), Some(1)(images())
    each = [
        soft_targets(z[torch.isfinite(z)][None], v[torch.isfinite(v)][None], 4.0)
        for z, v in zip(logits, taught, strict=True)
    ]
    fit = kdnb.distil(Some(0), Some(1), images(), label_weight=0, **ONE)
    assert fit.history.kd[0] == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match="where both networks mask the same ones"):
        kdnb.distil(Some(0), Some(1), images(), method="ttm", weight=1.0, label_weight=0, **ONE)
    with pytest.raises(ValueError, match="the student excludes classes .* teacher allows"):
        kdnb.distil(Masked(0), linear(1, 4), (images(), labels()), **ONE)
    fit = kdnb.distil(linear(0, 4), Masked(1), (images(), labels()), **ONE)
    p = Masked(1)(images()).div(4).softmax(1)
    q = linear(0, 4)(images()).div(4).log_softmax(1)
    expected = 16 * (torch.special.xlogy(p, p) - p * q).sum(1).mean()
    assert fit.history.kd[0] == pytest.approx(expected.item(), rel=1e-4)
    peers = kdnb.mutual([Masked(0), Masked(1)], (images(), labels()), **ONE)
    assert math.isfinite(peers.history["peer0.soft"][0])


# --- batches --------------------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.head = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, inputs):
        return self.head(self.norm(self.first(inputs.flatten(1))))


def test_a_last_batch_of_one_is_left_out_where_batch_norm_cannot_take_it():
    data, options = (images()[:17], labels()[:17]), {"epochs": 1, "lr": 0.05, "precision": "32"}
    options |= {"seed": 3, "schedule": "constant"}
    batches = list(kdnb.data.as_batches(data, 8, seed=3).epoch(0))
    assert [batch.size for batch in batches] == [8, 8, 1]
    found, expected = Normed(), Normed()
    kdnb.train(found, data, batch_size=8, **options)
    kdnb.train(expected, batches[:2], **options)
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key
    kdnb.distil(Normed(0), Normed(1), data, **QUICK)
    kdnb.mutual([Normed(0), Normed(1)], data, **QUICK)
    kdnb.born_again(Normed, data, generations=1, **QUICK)
    kept = kdnb.distil(linear(0), linear(1), data, **QUICK)  # without a batch norm it counts
    assert math.isfinite(kept.history.kd[0])
    frozen = Normed().train()
    frozen.norm.eval()
    kdnb.train(frozen, data, **{**QUICK, "batch_size": 1})
    with pytest.raises(ValueError, match="every batch has one sample, and batch norm"):
        kdnb.train(Normed(), data, **{**QUICK, "batch_size": 1})


def test_data_without_a_batch_is_refused():
    few = TensorDataset(images()[:4], labels()[:4])
    with pytest.raises(ValueError, match="gives no batch"):
        kdnb.train(linear(), DataLoader(few, 8, drop_last=True), epochs=1)
    with pytest.raises(ValueError, match="is empty"):
        kdnb.train(linear(), TensorDataset(images()[:0], labels()[:0]), epochs=1)


@pytest.mark.parametrize("method", ["triplet", "crd"])
def test_what_a_method_needs_of_classes_is_checked_first(method):
    def resnet(seed):
        torch.manual_seed(seed)
        size = {"num_classes": 3, "in_channels": 3, "image_size": 16, "width": 0.25}
        return nets.build("resnet8", **size)

    data = draw(8, 3, 16, 16), torch.zeros(8, dtype=torch.long)
    with pytest.raises(ValueError, match="needs 2 classes in a batch; the first one has 1"):
        kdnb.distil(resnet(0), resnet(1), data, method=method, weight=1.0, **QUICK)


class Own(Sampler):
    """A sampler with a random state of its own."""

    def __init__(self):
        self.random = np.random.RandomState(0)

    def __len__(self):
        return N

    def __iter__(self):
        return iter(self.random.permutation(N).tolist())


class Noisy(Dataset):
    """Draws from a generator of its own, and from all others."""

    def __init__(self):
        self.own = np.random.default_rng(1)

    def __len__(self):
        return N

    def __getitem__(self, i):
        noise = self.own.normal() + float(torch.rand(())) + np.random.rand() + random.random()
        return images()[i] + noise, int(labels()[i])


class Listed:
    """A batch sampler over a part."""

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([[0, 1, 2], [3, 4, 5, 6]])


class Counting:
    """Other batches each time that they are read."""

    def __init__(self):
        self.times = 0

    def __len__(self):
        return 1

    def __iter__(self):
        self.times += 1
        yield images() + self.times, labels()


def generator():
    return torch.Generator().manual_seed(3)


PAIRS = TensorDataset(images(), labels())
LOADERS = {
    "shuffled": lambda: DataLoader(PAIRS, 8, shuffle=True),
    "generator": lambda: DataLoader(PAIRS, 8, shuffle=True, generator=generator()),
    "sampler": lambda: DataLoader(PAIRS, 8, sampler=RandomSampler(PAIRS, generator=generator())),
    "weighted": lambda: DataLoader(
        PAIRS, 8, sampler=WeightedRandomSampler([1.0] * N, 99, generator=generator())
    ),
    "part": lambda: DataLoader(PAIRS, 8, sampler=SubsetRandomSampler(range(10))),
    "own sampler": lambda: DataLoader(PAIRS, 8, sampler=Own()),
    "listed": lambda: DataLoader(PAIRS, batch_sampler=Listed()),
    "noisy": lambda: DataLoader(Noisy(), 8, shuffle=True),
    "persistent workers": lambda: DataLoader(
        Noisy(), 8, shuffle=True, num_workers=1, persistent_workers=True, generator=generator()
    ),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_resumed_run_equals_the_uninterrupted_one(kind, tmp_path):
    def run(file, stop_after=99):
        student, epochs = linear(), []

        def stop(_):
            epochs.append(1)
            if len(epochs) == stop_after:
                raise InterruptedError

        options = {"epochs": 3, "lr": 0.05, "precision": "32", "checkpoint": tmp_path / file}
        try:
            kdnb.distil(student, linear(1), LOADERS[kind](), evaluate=stop, **options)
        except InterruptedError:
            torch.rand(5)  # whoever comes next has another random state
        return student[1].weight.detach()

    whole = run("whole")
    run("cut", stop_after=2)
    assert torch.equal(run("cut"), whole)


def test_batches_that_cannot_be_drawn_again_take_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="these batches differ each time an epoch is drawn"):
        kdnb.train(linear(), Counting(), epochs=1, checkpoint=tmp_path / "c")
    kdnb.train(linear(), Counting(), epochs=1)


def test_samples_are_counted_as_the_sampler_gives_them():
    counts = {kind: LoaderBatches(LOADERS[kind]()).examples for kind in LOADERS}
    assert counts["part"] == 10 and counts["listed"] == 7
    assert counts["weighted"] == N  # drawn with replacement: no more different ones than there are
    assert counts["shuffled"] == counts["own sampler"] == N


def test_the_callers_random_state_stays():
    student, teacher = linear(0), linear(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    kdnb.distil(student, teacher, LOADERS["shuffled"](), epochs=1, lr=0.05)
    kdnb.train(student, LOADERS["noisy"](), epochs=1, lr=0.05)
    assert torch.equal(torch.rand(3), expected)

"""Born-again networks: generations, ensembles, trials."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Batches, ImageData, Images
from kdnb.losses import soft_targets
from kdnb.methods import self_distillation as own
from kdnb.methods.offline import distil
from kdnb.runs import task, trials
from kdnb.runs.functions.self_distillation import ensemble_of, generation_of
from kdnb.runs.task import built, data_spec
from kdnb.runs.trials import Trial
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")


def pictures(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 8, mean=(0.5,), sd=(0.3,), **options)


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def linear(seed):
    torch.manual_seed(seed)
    return make()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    source = datasets.load("mnist")
    small = {
        part: getattr(source, part).select(slice(0, 60)) for part in ("train", "validation", "test")
    }
    fields = {name: getattr(source, name) for name in ImageData.__dataclass_fields__}
    monkeypatch.setattr(datasets, "load", lambda name: ImageData(**{**fields, **small}))
    return {
        "data": data_spec("mnist", limit=60),
        "network": {"name": "mlp", "widths": [8]},
        "recipe": {"epochs": 1, "batch_size": 20, "lr": 0.05, "precision": "32"},
    }


def chain(shared, generations, seed=3, **more):
    trial = Trial("supervised", shared, seed)
    line = [trial]
    for _ in range(generations):
        function = "born_again"
        trial = Trial(function, {**shared, "teacher": trial, **more}, seed)
        line.append(trial)
    return line


def test_a_generation_is_distillation_at_temperature_1():
    one, two, teacher = linear(0), linear(0), linear(1)
    own.next_generation(one, teacher, batches(), QUICK, hard_weight=0.3)
    loss = partial(soft_targets, temperature=1.0)
    distil.distil(two, teacher, batches(), QUICK, method=loss, label_weight=0.3)
    assert torch.equal(one[1].weight, two[1].weight)


@pytest.mark.parametrize("targets", ["soft", "cwtm", "dkpp"])
def test_stored_answers_equal_asked_ones(targets):
    stored, asked, teacher = linear(0), linear(0), linear(1)
    own.next_generation(stored, teacher, batches(), QUICK, targets=targets)

    class Changing(Batches):
        augmented = True

    changing = Changing(pictures(), 8, mean=(0.5,), sd=(0.3,))
    own.next_generation(asked, teacher, changing, QUICK, targets=targets)
    torch.testing.assert_close(stored[1].weight, asked[1].weight, rtol=1e-5, atol=1e-6)


def test_targets_differ_and_others_are_refused():
    weights = []
    for targets in ("soft", "cwtm", "dkpp"):
        student = linear(0)
        own.next_generation(student, linear(1), batches(), QUICK, targets=targets)
        weights.append(student[1].weight)
    assert not torch.allclose(weights[0], weights[1], atol=1e-4)
    assert not torch.allclose(weights[0], weights[2], atol=1e-4)
    with pytest.raises(ValueError, match="targets must be one of soft, cwtm, dkpp; got 'hard'"):
        own.next_generation(linear(0), linear(1), batches(), QUICK, targets="hard")


def test_a_temperature_softens_the_confidence_of_cwtm():
    """Weights out of logits / 4: as if the teacher's logits were a quarter."""
    softened, quarter = linear(0), linear(0)
    teacher, same = linear(1), linear(1)
    with torch.no_grad():
        for weights in same.parameters():
            weights /= 4
    own.next_generation(softened, teacher, batches(), QUICK, targets="cwtm", temperature=4.0)
    own.next_generation(quarter, same, batches(), QUICK, targets="cwtm")
    torch.testing.assert_close(softened[1].weight, quarter[1].weight, rtol=1e-5, atol=1e-6)
    plain = linear(0)
    own.next_generation(plain, teacher, batches(), QUICK, targets="cwtm")
    assert not torch.allclose(softened[1].weight, plain[1].weight, atol=1e-4)


def test_generations_start_afresh_and_are_reproducible(tmp_path):
    starts = []

    def watched():
        network = make()
        starts.append(network[1].weight.detach().clone())
        return network

    torch.manual_seed(0)
    before = torch.get_rng_state()
    line = own.born_again(watched, batches(), QUICK, generations=2, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(line.networks) == ["generation0", "generation1", "generation2"]
    assert len(starts) == 3
    assert all(not torch.equal(starts[i], starts[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    told = line.history.groupby("generation")[["hard", "soft"]].count() > 0
    assert told.hard.tolist() == [True, False, False]
    assert told.soft.tolist() == [False, True, True]
    again = own.born_again(
        make, batches(), QUICK, generations=2, seed=5, checkpoint=tmp_path / "state"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.0", "state.1", "state.2"]
    resumed = own.born_again(
        make, batches(), QUICK, generations=2, seed=5, checkpoint=tmp_path / "state"
    )
    for name, network in line.networks.items():
        assert torch.equal(network[1].weight, again.networks[name][1].weight)
        assert torch.equal(network[1].weight, resumed.networks[name][1].weight)
    with pytest.raises(ValueError, match="make must build a new network at every call"):
        same = make()
        own.born_again(lambda: same, batches(), QUICK, generations=1)
    with pytest.raises(ValueError, match="generations must be at least 0"):
        own.born_again(make, batches(), QUICK, generations=-1)


def test_without_hard_weight_only_generation_0_reads_labels():
    line = own.born_again(make, batches(), QUICK, generations=1, seed=2).networks
    wrong = Images(pictures().images, torch.zeros(40, dtype=torch.int64))
    unread = Batches(wrong, 8, mean=(0.5,), sd=(0.3,))
    student = linear(own.fresh_seed(2, 1))
    own.next_generation(student, line["generation0"], unread, QUICK, seed=own.fresh_seed(2, 1))
    assert torch.equal(student[1].weight, line["generation1"][1].weight)


def test_a_chain_of_trials(tiny, monkeypatch):
    seeds = []
    plain = task.built

    def watched(network, source, seed):
        seeds.append(seed)
        return plain(network, source, seed)

    monkeypatch.setattr(task, "built", watched)
    results = [trials.run(trial) for trial in chain(tiny, 2, targets="dkpp")]
    assert [generation_of(result) for result in results] == [0, 1, 2]
    assert [result.metrics.get("generation") for result in results] == [None, 1.0, 2.0]
    # 0 is what `network_of` builds before it loads the teacher's weights
    assert {own.fresh_seed(3, k) for k in (0, 1, 2)} <= set(seeds)

    labels = datasets.load("mnist").test.labels
    measured = ensemble_of(results)
    logits = [result.tensors()["logits.test"] for result in results]
    mean = sum(member.double().softmax(1) for member in logits) / 3
    assert measured["members"] == 3
    assert measured["test_errors"] == float((mean.argmax(1) != labels).sum())
    assert measured["test_cross_entropy"] == pytest.approx(
        float(F.nll_loss(mean.log(), labels)), rel=1e-9
    )
    each = [result.metrics["test_errors"] for result in results]
    assert measured["mean_member_errors"] == pytest.approx(sum(each) / 3)
    with pytest.raises(ValueError, match="trials of one data set; got \\[\\]"):
        ensemble_of([])


def test_an_independent_network_starts_from_a_generations_weights(tiny):
    source = datasets.load("mnist")
    one = built(tiny["network"], source, own.fresh_seed(3, 1))
    control = Trial("supervised", tiny, own.fresh_seed(3, 1))
    two = built(tiny["network"], source, control.seed)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)

"""Chapter 5-6's live runs: every method makes its bank, and those without data touch none."""

from types import SimpleNamespace

import data_free_workshop as workshop
import pytest
import torch

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.methods.data_free import Bank, ensembled, shifts
from kdnb.reproductions import chen2019dafl as dafl
from kdnb.runs import registry, trials
from kdnb.runs.functions.data_free import toy_trial
from kdnb.runs.task import network_of
from kdnb.runs.trials import Trial
from kdnb.training.inputs import in_order
from kdnb.workbook.chapters import chen2019dafl_beliefs as beliefs
from kdnb.workbook.chapters import chen2019dafl_isolation as isolation
from kdnb.workbook.chapters import chen2019dafl_live as live

P = dafl.Parameters(test_images=100)
SEES_DATA = {"Lopes, top layer", "Lopes, all layers", "Lopes, spectral"}
MADE = live.makers(P, images=10, steps=4)


@pytest.fixture
def source(monkeypatch):
    """Forty random images to train on, twenty to test on, under MNIST's name."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    found = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=drawn(40), train=drawn(40),
        validation=drawn(8), test=drawn(20), classes=tuple("0123456789"), mean=(0.1307,),
        sd=(0.3081,),
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda name, **_: found)
    return found


def ran(trial, source, folder, **more):
    """A trial's outcome, its teacher and student untrained, its data the small set's."""
    stand_ins = {
        key: workshop.teacher_trial(source, **value.arguments["network"])
        for key, value in trial.arguments.items()
        if isinstance(value, Trial)
    }
    arguments = {
        **trial.arguments,
        **stand_ins,
        "data": {**trial.arguments["data"], "evaluated": 20},
    }
    function = registry.function_of(trial.function)
    return function(workshop.context(folder), 0, **{**arguments, **more})


@pytest.mark.parametrize("name", sorted(MADE))
def test_every_maker_makes_a_bank(name, source, tmp_path):
    outcome = ran(MADE[name], source, tmp_path)
    images, logits = outcome.tensors["bank.images"], outcome.tensors["bank.logits"]
    assert images.shape[1:] == (1, 28, 28) and len(images) == len(logits) >= 10
    assert images.isfinite().all() and images.flatten(1).var(1).min() > 0
    assert outcome.metrics["images"] == len(images)


@pytest.mark.parametrize("name", sorted(set(MADE) - SEES_DATA))
def test_makers_without_data_touch_no_training_image(name, monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    assert len(ran(MADE[name], source, tmp_path).tensors["bank.images"]) >= 10


@pytest.mark.parametrize("name", sorted(SEES_DATA))
def test_the_guard_catches_the_makers_of_records(name, monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    with pytest.raises(AssertionError, match=r"touched|counted|read"):
        ran(MADE[name], source, tmp_path)


def test_records_hold_the_numbers_they_should(source, tmp_path):
    stored = {name: ran(MADE[name], source, tmp_path).metrics["stored"] for name in SEES_DATA}
    layers = 16 * 5 * 5 + 120 + 84
    assert stored == {
        "Lopes, top layer": 10 * (84 + 84 * 84),
        "Lopes, all layers": 10 * layers,
        "Lopes, spectral": 10 * 120 * 6,
    }
    with pytest.raises(ValueError, match="way must be one of top, all, spectral; got 'half'"):
        ran(MADE["Lopes, all layers"], source, tmp_path, way="half")


def test_banks_share_their_teachers_and_students_their_banks_teacher():
    known = {key: trial.digest for key, trial in live.teachers(P).items()}
    for name, trial in MADE.items():
        normed = name in ("CMI", "Fast") or "nversion" in name
        assert trial.arguments["teacher"].digest == known["normed" if normed else "teacher"]
        student = live.taught_by(trial, P)
        assert student.arguments["teacher"].digest == trial.arguments["teacher"].digest
        assert student.arguments["bank"].digest == trial.digest
    adaptive = MADE["adaptive DeepInversion"].arguments
    assert adaptive["student"].arguments["bank"].digest == MADE["DeepInversion"].digest
    assert adaptive["weights"]["compete"] == live.COMPETE


def test_logarithms_differ_in_the_logarithm_and_its_weight_alone():
    runs = [dict(trial.arguments) for trial in live.logarithms(P).values()]
    weights = [(run.pop("entropy", "released"), run.pop("weights")["entropy"]) for run in runs]
    assert [name for name, _ in weights] == ["released", "natural", "natural"]
    assert [value for _, value in weights] == pytest.approx([5, 5 / 2.302585, 5])
    digests = {trials.Trial("a:b", run, 0).digest for run in runs}
    assert len(digests) == 1 and runs[0]["precision"] == "32"


def test_pseudo_examples_leave_their_start(source, tmp_path):
    trial = live.with_data(P, images=20, steps=10)["pseudo-examples"]
    outcome = ran(trial, source, tmp_path)
    start, end = outcome.tensors["start"], outcome.tensors["bank.images"]
    assert start.shape == end.shape == (20, 1, 28, 28)
    assert not torch.equal(start, end)
    assert len(outcome.series["test_errors"]) == 2


def test_labels_of_the_ensemble_are_counted_against_the_truth(source, tmp_path):
    trial = live.with_data(P)["data distillation"]
    outcome = ran(trial, source, tmp_path, labelled=10, confidence=0.1)
    found, others = outcome.metrics, source.train_all.select(slice(10, None))
    data = {**trial.arguments["data"], "evaluated": 20}
    assert data["limit"] == 900
    master = network_of(workshop.teacher_trial(source), source)
    shown = next(in_order(others, source, torch.device("cpu")).epoch(0)).images
    answers = ensembled(master, shown, shifts(1))
    wrong = 100 * float((answers.argmax(1) != others.labels).float().mean())
    assert found["wrong_by_all_views"] == pytest.approx(wrong)
    assert found["kept"] == float((answers.amax(1) >= 0.1).sum())
    torch.testing.assert_close(outcome.tensors["bank.logits"].softmax(1), answers)


def test_the_plane_is_learnt_without_its_points(tmp_path):
    outcome = toy_trial(workshop.context(tmp_path), 0, rounds=4)
    held = outcome.tensors
    before = (held["before"] - held["teacher"]).abs().mean()
    assert outcome.metrics["mean_gap"] < 0.7 * before
    assert held["pseudo"].shape == (50, 2) and held["pseudo"].abs().max() <= 3
    right = (held["teacher"] > 0.5).float().mean()
    assert 0.2 < right < 0.8


def test_walks_start_where_all_are_right_and_a_copy_walks_the_same(source):
    teacher, other = workshop.teacher_trial(source), workshop.teacher_trial(source)
    other.held["network.head.weight"] = 3 * other.held["network.head.weight"]
    said = [network_of(one, source) for one in (teacher, other)]
    shown = next(in_order(source.test, source, torch.device("cpu")).epoch(0)).images
    with torch.no_grad():
        answer = said[0](shown).argmax(1)
        both = int((said[1](shown).argmax(1) == answer).sum())
    object.__setattr__(source.test, "labels", answer)  # the teacher is right by definition
    curves = beliefs.walks(teacher, {"copy": teacher, "other": other}, source, steps=3)
    ours, theirs = curves["copy"]
    assert ours.shape == (min(6, both), 9, 3) and both > 0
    torch.testing.assert_close(ours, theirs)
    assert (curves["other"][0] - curves["other"][1]).abs().max() > 1e-3


def test_an_untouchable_set_raises_and_the_real_one_comes_back(source, monkeypatch):
    for touch in (len, lambda no: no.images, lambda no: no[0], lambda no: no.labels):
        with pytest.raises(isolation.TouchedTrainingData):
            touch(isolation.Untouchable())
    silent = dafl.arms(P.model_copy(update={"iterations": 1, "every": 1, "width": 2}))
    teacher = workshop.teacher_trial(source)
    monkeypatch.setattr(isolation.trials, "run", lambda trial: teacher)
    with isolation.untouchable_training_set():
        with pytest.raises(isolation.TouchedTrainingData):
            isolation.anew(silent["student"](0))
        outcome = isolation.anew(silent["dafl"](0))
    assert outcome.metrics["test_images"] == 20
    assert datasets.load("mnist") is source


def test_a_bank_teaches_another_student(source, monkeypatch):
    monkeypatch.setattr(isolation, "BANK", {**live.BANK, "epochs": 1})
    bank = Bank(torch.randn(10, 1, 28, 28), torch.randn(10, 10))
    found = isolation.learn_from(
        bank, workshop.teacher_trial(source), source, {"name": "lenet5_half_zskd"}, evaluated=8
    )
    assert found in [100 * right / 8 for right in range(9)]


def test_the_shelf_holds_a_bank_and_an_accuracy_of_every_method(source, monkeypatch):
    bank = {"bank.images": torch.randn(4, 1, 28, 28), "bank.logits": torch.randn(4, 10)}
    distilled = {"distilled.images": torch.randn(1, 10, 1, 28, 28)}

    def result(trial):
        held = {"distilled_images": distilled, "supervised": {}, "distilled": {},
                "bank_taught": {}, "belief_matching_toy": {}}.get(trial.function, bank)  # fmt: skip
        both = {"fixed_test_errors": 25.0, "fresh_test_errors": 50.0}
        return SimpleNamespace(
            digest=trial.digest, metrics=both if held is distilled else {"test_errors": 25.0},
            tensors=lambda: held, description={"arguments": trial.arguments},
        )  # fmt: skip

    monkeypatch.setattr(
        live.trials, "run_all", lambda named: {name: result(one) for name, one in named.items()}
    )
    monkeypatch.setattr(
        live, "network_of", lambda _: network_of(workshop.teacher_trial(source), source)
    )
    shelf = live.run(P)
    assert set(shelf.banks) == {
        "DAFL", *live.terms(P), *MADE, "ZSKT", "DFAD", "pseudo-examples", "data distillation",
        "dataset distillation, fixed", "dataset distillation, random",
    }  # fmt: skip
    assert set(shelf.banks) <= set(shelf.accuracy)
    assert shelf.accuracy["DAFL"] == shelf.accuracy["ZSKD"] == 75.0
    known, fresh = (shelf.accuracy[f"dataset distillation, {of}"] for of in ("fixed", "random"))
    assert (known, fresh) == (75.0, 50.0)
    assert len(shelf.banks["dataset distillation, fixed"]) == 10
    assert set(live.logarithms(P)) <= set(shelf.results)

"""Generalised distillation's arms: what a seed's students share, what alone differs, what is measured."""

from types import SimpleNamespace

import pytest
import torch

from kdnb import data as datasets
from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.methods.cross_modal import mixed_targets
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import lopezpaz2016generalised as paper
from kdnb.reproductions import reproduce
from kdnb.runs.functions import privileged
from kdnb.runs.functions.privileged import digits_trial, planned_students, synthetic_trial

ARMS = paper.arms(paper.PROFILES["laptop"])
TINY = paper.Parameters(
    repeats=1, synthetic_test=100, synthetic_epochs=2, test_images=100, epochs=1, long_epochs=1,
    small_epochs=1, seeds=1, arms=[],
)  # fmt: skip


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Digits of two grey levels for each class in place of MNIST, 2,000 to learn from."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        labels = torch.arange(count) % 10
        images = torch.randint(0, 60, (count, 1, 28, 28), generator=generator)
        images += 15 * labels[:, None, None, None]
        return Images(images.to(torch.uint8), labels)

    train = drawn(2000)
    source = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=train, train=train,
        validation=drawn(20), test=drawn(100), classes=tuple("0123456789"), mean=(0.5,), sd=(0.25,),
    )  # fmt: skip
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(datasets, "load", lambda name: source)
    return source


def asked(arm):
    return {one["name"]: one for one in ARMS[arm](0).arguments["students"]}


def test_the_papers_recipe_is_the_codes():
    recipe = ARMS["n300"](0).arguments["recipe"]
    assert recipe == {"epochs": 50, "batch_size": 128, "optimiser": "rmsprop", "lr": 1e-3}
    assert [ARMS[name](0).arguments["samples"] for name in ("n300", "n500", "n2000")] == [
        300,
        500,
        2000,
    ]
    assert [asked("n300")[f"t{t}"]["temperature"] for t in paper.TEMPERATURES] == [
        1,
        2,
        5,
        10,
        20,
        50,
    ]
    assert asked("n300")["t10"]["shares"] == [k / 10 for k in range(1, 11)]
    assert asked("n300")["t10"].get("variant", "authors") == "authors"


def test_clean_and_noisy_pictures_differ_in_samples_and_labels_alone():
    clean, noisy = (dict(ARMS[name](0).arguments) for name in ("clean", "noisy"))
    assert noisy.pop("random_labels") == 0.4
    assert (clean.pop("samples"), noisy.pop("samples")) == (300, 500)
    assert clean == noisy


def test_every_condition_of_the_claims_is_measured(few):
    record = reproduce(paper.REPRODUCTION, TINY, profile="custom")
    for claim in claims_of("lopezpaz2016generalised"):
        named = [*claim.quantities(), *(premise.quantity for premise in claim.premises)]
        for quantity in named:
            for arm, metric in parse(quantity)[1]:
                assert (metric or claim.metric) in record.arms[arm][0].metrics, arm
    assert set(record.arms) == paper.conditions(TINY)
    assert set(record.data) == {"mnist"}  # synthetic trials have none
    assert "lopezpaz2016generalised" in papers.bibliography().entries


def test_part_one_alone_has_no_data_set(few):
    record = reproduce(paper.REPRODUCTION, TINY, profile="custom", arms=["clean_labels"])
    assert record.data == {}
    assert set(record.arms) == {
        f"clean_labels_{name}"
        for name in ("teacher", "regular", "distilled", "exact_teacher", "exact_regular",
                     "exact_distilled")
    }  # fmt: skip


def test_synthetic_students_learn_what_the_paper_says():
    found = synthetic_trial(
        None,
        0,
        problem="relevant_features",
        repeats=3,
        train=200,
        test=1000,
        epochs=1000,
        ridge=1e-3,
    ).metrics
    assert found["teacher"] > 95 and found["distilled"] > found["regular"] + 4
    assert found["exact_distilled"] > found["exact_regular"]


def a_trial(seed=0, students=None, **more):
    arguments = {
        "data": {"name": "mnist", "split": "train"}, "side": 7, "samples": 60,
        "students": students or [{"name": "labels", "shares": [0.0]}],
        "recipe": {"epochs": 3, "batch_size": 20, "optimiser": "adam", "lr": 0.01}, **more,
    }  # fmt: skip
    return digits_trial(None, seed, **arguments).metrics


def test_students_of_one_name_are_averaged_and_do_not_move_others(few):
    labels = {"name": "labels", "shares": [0.0]}
    both = {"name": "soft", "shares": [0.5, 1.0], "temperature": 2.0}
    found = a_trial(students=[labels, both])
    apart = [a_trial(students=[{**both, "shares": [share]}])["soft_test"] for share in (0.5, 1.0)]
    assert found["soft_test"] == pytest.approx(sum(apart) / 2, abs=1e-3)
    assert found["labels_test"] == pytest.approx(a_trial()["labels_test"], abs=1e-3)
    assert {"teacher_test", "teacher_train", "own_view_test"} < set(found)


def test_a_seed_draws_its_own_images_and_half_of_the_labels(few, monkeypatch):
    seen = []

    def fit_stack(stack, inputs, targets, **options):
        seen.append((inputs, targets))
        return stack

    monkeypatch.setattr(privileged, "fit_stack", fit_stack)
    a_trial(0, random_labels=0.5)
    a_trial(0)
    a_trial(1)
    (whole, teacher), (shrunk, own), (_, pupils) = seen[:3]
    assert whole.shape == (60, 784) and shrunk.shape == (60, 49)
    torch.testing.assert_close(
        shrunk, torch.nn.functional.avg_pool2d(whole.view(60, 1, 28, 28), 4).flatten(1)
    )
    assert teacher.equal(own) and teacher.equal(pupils)  # the same wrong labels for all
    clean, other = seen[3], seen[6]
    assert clean[0].equal(whole) and not other[0].equal(whole)
    changed = (clean[1] != teacher).any(-1).float().mean()
    assert 0.25 < changed < 0.65  # a tenth of the labels that are drawn anew stay


def test_a_side_that_does_not_divide_is_refused(few):
    with pytest.raises(ValueError, match="a side of 5 does not divide images of 28 pixels"):
        a_trial(side=5)


def plan(**asked):
    logits = torch.randn(30, 10, generator=torch.Generator().manual_seed(0)) * 5
    labels = torch.arange(30) % 10
    answers = {"whole": logits, "shrunk": logits + 1.0 * torch.eye(30, 10)}
    return planned_students(answers, labels, 0, name="x", **asked), logits, labels


def test_what_students_learn_from():
    made, logits, labels = plan(shares=[0.0, 0.5], temperature=10.0)
    assert made[0].targets.equal(torch.eye(10)[labels])
    torch.testing.assert_close(made[1].targets, mixed_targets(logits, labels, 0.5, 10.0, "authors"))
    assert torch.allclose(
        plan(shares=[0.5], temperature=10.0, variant="paper")[0][0].targets.sum(1), torch.ones(30)
    )
    assert not plan(shares=[1.0], teacher="shrunk")[0][0].targets.equal(
        plan(shares=[1.0])[0][0].targets
    )
    assert plan(shares=[1.0], temperature=4.0, tempered=True)[0][0].temperature == 4.0
    assert made[1].temperature == 1.0


@pytest.mark.parametrize("control", ["smoothed", "class_means", "shuffled"])
def test_controls_weigh_as_much_as_the_teachers_answers(control):
    own = plan(shares=[1.0], temperature=3.0)[0][0].targets
    made = plan(shares=[1.0], temperature=3.0, control=control)[0][0].targets
    torch.testing.assert_close(made.sum(1), own.sum(1))
    assert not made.equal(own)


def test_controls_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"have the share 1; got \[0.5\]"):
        plan(shares=[0.5], control="smoothed")
    with pytest.raises(ValueError, match="have the share 1"):
        plan(shares=[0.5], tempered=True)
    with pytest.raises(
        ValueError, match="control must be one of smoothed, class_means, shuffled; got 'x'"
    ):
        plan(shares=[1.0], control="x")


def test_measures_have_the_names_of_their_trial():
    result = SimpleNamespace(metrics={"t10_test": 60.0, "t10_train": 70.0, "own_view_test": 50.0})
    assert paper.measure("n300", result) == {
        "n300_t10.accuracy": 60.0, "n300_t10.train_accuracy": 70.0, "n300_own_view.accuracy": 50.0,
    }  # fmt: skip
    synthetic = SimpleNamespace(metrics={"teacher": 96.0})
    assert paper.measure("clean_labels", synthetic) == {"clean_labels_teacher.accuracy": 96.0}

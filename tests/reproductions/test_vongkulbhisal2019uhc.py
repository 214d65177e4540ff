"""UHC's arms: what they share, who knows which classes, and what a trial measures on few images."""

import pytest
import torch

from kdnb import data as datasets
from kdnb.losses import connected_classes
from kdnb.papers import claims_of
from kdnb.papers.quantities import parse
from kdnb.reproductions import vongkulbhisal2019uhc as uhc
from kdnb.runs import trials
from kdnb.runs.functions.uhc import own_errors, renumbered
from kdnb.runs.task import data_spec
from kdnb.training.inputs import examples_of

ARMS = uhc.arms(uhc.PROFILES["laptop"])


def taught():
    for prefix, (dataset, sets, targets) in uhc.CONDITIONS.items():
        for target in targets:
            yield prefix + target, dataset, sets, target


def test_students_differ_in_their_target_alone():
    for name, dataset, sets, target in taught():
        trial, twin = ARMS[name](3), ARMS["labels" if dataset != "mnist" else "mnist_labels"](3)
        for shared in ("data", "network", "recipe"):
            assert trial.arguments[shared] == twin.arguments[shared], name
        assert trial.seed == twin.seed == 3
        assert trial.arguments["data"]["name"] == dataset
        assert trial.arguments["estimate"] == uhc.TARGETS[target]
        known = [one.arguments["data"]["only"] for one in trial.arguments["classifiers"]]
        assert known == uhc.SETS[sets]
    assert ARMS["ce"](0).parents() == ARMS["naive"](0).parents() != ARMS["ce"](1).parents()


def test_the_sets_that_should_hang_together_do():
    for sets, parts in (("overlap", 1), ("many", 1), ("disjoint", 2)):
        assert len(connected_classes(uhc.SETS[sets], 10)) == parts
    assert min(sum(label in own for own in uhc.SETS["many"]) for label in range(10)) == 2


def test_classifiers_differ_and_see_their_own_private_images():
    classifiers = ARMS["many_bp"](2).arguments["classifiers"]
    assert len({one.seed for one in classifiers}) == len(classifiers)
    assert {one.arguments["network"]["widths"][0] for one in classifiers} == set(uhc.WIDTHS)
    source = datasets.load("fashion_mnist")
    transfer = examples_of(source, ARMS["ce"](0).arguments["data"])
    central = examples_of(source, ARMS["central"](0).arguments["data"])
    assert len(transfer) == 5000 and len(central) == 10000
    assert torch.equal(source.train.images[:10000], central.images)
    assert torch.equal(source.train.images[10000:15000], transfer.images)
    mine = examples_of(source, classifiers[0].arguments["data"])
    assert set(mine.labels.tolist()) == {0, 1, 2, 3}
    assert len(mine) == int((central.labels < 4).sum())


def test_images_may_be_skipped():
    source = datasets.load("mnist")
    some = examples_of(source, data_spec("mnist", skip=7, limit=5))
    assert torch.equal(some.images, source.train_all.images[7:12])
    assert "skip" not in data_spec("mnist", limit=5)


def test_labels_are_places_and_own_errors_are_of_own_classes():
    some = datasets.load("mnist").train.select(slice(0, 200))
    mine = some.select((some.labels == 7) | (some.labels == 2))
    assert torch.equal(renumbered(mine, [7, 2]).labels, (mine.labels == 2).long())
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    assert own_errors(logits, torch.tensor([7, 7, 2, 5]), [7, 2]) == (2, 3)


def test_every_claim_is_about_arms_and_metrics_that_there_are():
    metrics = {"accuracy", "test_errors", "train_error"}
    more = {"least_own_accuracy", "best_single_accuracy", "connected", "target_accuracy"}
    for claim in claims_of("vongkulbhisal2019uhc"):
        for quantity in (*claim.quantities(), *(p.quantity for p in claim.premises)):
            for arm, metric in parse(quantity)[1]:
                assert arm in ARMS, quantity
                own = metrics if arm.endswith(("labels", "central")) else metrics | more
                assert (metric or claim.metric) in own, quantity


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Every arm on few images."""
    parameters = uhc.Parameters(
        private_images=300, transfer_images=128, test_images=100, classifier_epochs=1, epochs=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDNB_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("KDNB_JOBS", "1")
        made = uhc.arms(parameters)
        found = {name: trials.run(arm(0)) for name, arm in made.items()}
        found["classifiers"] = [trials.run(one) for one in made["known"](0).parents()]
        yield found


def test_what_is_measured(small):
    for name in ARMS:
        found = uhc.measure(name, small[name])
        assert all(isinstance(value, float) for value in found.values())
        assert found["accuracy"] == pytest.approx(100 - found["test_errors"])
        assert 0 <= found["train_error"] <= 100
        if name.endswith(("labels", "central")):
            assert "connected" not in found
            continue
        assert found["connected"] == (0 if name.startswith("disjoint") else 1)
        assert ("target_accuracy" in found) == (not name.endswith("bp"))
        assert 0 <= found["best_single_accuracy"] <= 100
        assert 0 <= found["least_own_accuracy"] <= 100


def test_the_target_of_a_trial_is_that_of_its_classifiers(small):
    test = datasets.load("fashion_mnist").test.select(slice(100))
    mass = torch.zeros(100, 10)
    for one in small["classifiers"]:
        only = one.description["arguments"]["data"]["only"]
        mass[:, only] += one.tensors()["logits.test"].softmax(1)
    known = torch.tensor([sum(label in own for own in uhc.SETS["overlap"]) for label in range(10)])
    errors = ((mass / known).argmax(1) != test.labels).sum().item()
    assert small["known"].metrics["estimate_test_errors"] == errors
    naive = (mass.argmax(1) != test.labels).sum().item()
    assert small["naive"].metrics["estimate_test_errors"] == naive

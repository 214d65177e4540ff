"""Retrieval by embeddings: its measure against a naive one, its trial, and what rests on what."""

from fractions import Fraction

import pytest
import torch
from data_workshop import Workshop, write

from kdnb import data, papers
from kdnb.papers.quantities import parse
from kdnb.reproductions import passalis2018pkt as pkt
from kdnb.runs import trials
from kdnb.runs.task import built, network_of
from kdnb.runs.trials import Trial
from kdnb.training.inputs import logits_on

QUICK = pkt.Parameters()


def naive(queries, database, query_labels, labels):
    """The two precisions in exact fractions, one query, one level and one rank at a time."""
    total, first = Fraction(0), Fraction(0)
    for query, wanted in zip(queries.double(), query_labels.tolist(), strict=True):
        cosines = [float(query @ x / query.norm() / x.norm()) for x in database.double()]
        ranking = sorted(range(len(cosines)), key=lambda i: -cosines[i])
        right = [int(labels[i]) == wanted for i in ranking]
        precision = [Fraction(sum(right[: k + 1]), k + 1) for k in range(len(right))]
        recall = [Fraction(sum(right[: k + 1]), sum(right)) for k in range(len(right))]
        for level in (Fraction(j, 10) for j in range(11)):
            gaps = [abs(value - level) for value in recall]
            total += max(precision[gaps.index(min(gaps)) :]) / 11
        first += precision[min(10, len(right)) - 1]
    return float(total / len(queries)), float(first / len(queries))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [12, 36, 64])  # of each class an even number: no recall is tied
def test_against_a_naive_loop(count):
    labels = torch.arange(count) % 2
    queries, database = draw(7, 5), draw(count, 5, seed=1)
    database[:, 0] += labels  # a little better than chance
    asked = torch.arange(7) % 2
    found = pkt.mean_average_precision(queries, database, asked, labels)
    assert found == pytest.approx(naive(queries, database, asked, labels), abs=1e-6)


def test_more_queries_than_fit_one_block():
    queries, database = draw(230, 4), draw(20, 4, seed=1)
    asked, labels = torch.arange(230) % 2, torch.arange(20) % 2
    found = pkt.mean_average_precision(queries, database, asked, labels)
    assert found == pytest.approx(naive(queries, database, asked, labels), abs=1e-6)


def one_query(right):
    """A database in which the images stand in the given order, from near to far."""
    angles = torch.linspace(0.1, 1.4, len(right))
    database = torch.stack([angles.cos(), angles.sin()], 1)
    labels = torch.tensor([int(value) for value in right])
    return torch.tensor([[1.0, 0.0]]), database, torch.tensor([1]), labels


def test_values_by_hand():
    perfect = [True] * 10 + [False] * 10
    assert pkt.mean_average_precision(*one_query(perfect)) == pytest.approx((1, 1))
    assert pkt.mean_average_precision(*one_query(perfect[::-1]))[1] == 0
    # Precisions at the right ones: 1, 2/3, 3/5, 4/7; interpolated they are the same. Recalls are
    # quarters: level 0 meets 1/4, 0.1 to 0.3 too, 0.4 to 0.6 meet 1/2, 0.7 and 0.8 3/4.
    mixed = [True, False, True, False, True, False, True]
    expected = (4 * 1 + 3 * 2 / 3 + 2 * 3 / 5 + 2 * 4 / 7) / 11
    assert pkt.mean_average_precision(*one_query(mixed)) == pytest.approx((expected, 4 / 7))


def test_of_two_recalls_as_near_the_lower_counts():
    # Fifths of recall: 0.1, 0.3, 0.5, 0.7 and 0.9 lie in the middle of two. Interpolated
    # precisions: 1 at 1/5 and 2/5, 3/4 at 3/5, and 5/7 at 4/5, where 4/6 is lifted, and at 1.
    right = [True, True, False, True, False, True, True]
    expected = (6 * 1 + 2 * 3 / 4 + 3 * 5 / 7) / 11
    assert pkt.mean_average_precision(*one_query(right))[0] == pytest.approx(expected)


def test_images_with_one_embedding_share_their_ranks_in_any_order():
    directions = draw(6, 3)
    kind = torch.arange(24) % 6
    labels = kind % 2  # images of one direction are of one class
    queries, asked = draw(5, 3, seed=2), torch.tensor([0, 1, 0, 1, 1])
    found = pkt.mean_average_precision(queries, directions[kind], asked, labels)
    assert found == pytest.approx(naive(queries, directions[kind], asked, labels), abs=1e-6)
    for order in (torch.arange(23, -1, -1), torch.randperm(24)):
        moved = pkt.mean_average_precision(queries, directions[kind][order], asked, labels[order])
        assert moved == pytest.approx(found)


def test_only_directions_matter():
    queries, database, labels = draw(4, 5), draw(40, 5, seed=1), torch.arange(40) % 4
    found = pkt.mean_average_precision(queries, database, labels[:4], labels)
    lengths = torch.rand(40, 1) + 0.1
    again = pkt.mean_average_precision(7 * queries, lengths * database, labels[:4], labels)
    assert again == pytest.approx(found)


# --- arms ----------------------------------------------------------------------------------------


def test_the_quick_profile_runs_some_of_the_arms():
    assert set(QUICK.arms) < set(pkt.arms(QUICK))


DATASETS = {"": "cifar10", "second_data_": "mnist"}
SHARED = ("continued", "kd", "hint", "pkt", "untrained_pkt")
MOVED = {"": (*SHARED, "hint_random", "untrained_hint"), "second_data_": SHARED}


def test_the_claims_speak_of_these_arms():
    known = set(pkt.arms(QUICK))
    for claim in papers.claims_of("passalis2018pkt"):
        for criterion in claim.criteria:
            assert {arm for arm, _ in parse(criterion.quantity)[1]} <= known


@pytest.mark.parametrize("prefix", DATASETS)
@pytest.mark.parametrize("profile", pkt.PROFILES)
def test_every_transfer_starts_from_the_student_of_its_seed(profile, prefix):
    arms = pkt.arms(pkt.PROFILES[profile])
    searched = {
        name.removeprefix(prefix): (arm(0), arm(1))
        for name, arm in arms.items()
        if name.startswith("second_data_") == bool(prefix)
    }
    assert set(searched) == {"teacher", "student", *MOVED[prefix]}
    for trials_of in searched.values():
        for trial, students in zip(trials_of, searched["student"], strict=True):
            assert trial.function == "retrieved"
            assert trial.arguments["data"] == students.arguments["data"]
            assert trial.arguments["data"]["name"] == DATASETS[prefix]
    trained = {n: [t.arguments["trained"] for t in pair] for n, pair in searched.items()}
    assert trained["teacher"][0] == trained["teacher"][1]  # one for all seeds
    assert trained["student"][0] != trained["student"][1]
    recipes = []
    for name in MOVED[prefix]:
        for seed in (0, 1):
            arguments = trained[name][seed].arguments
            assert arguments["start"] == trained["student"][seed]
            teacher = arguments.get("teacher", trained["teacher"][0])
            assert (teacher == trained["teacher"][0]) != name.startswith("untrained")
            assert arguments["data"] == searched["student"][seed].arguments["data"]
        recipes.append(trained[name][0].arguments["recipe"])
    assert all(recipe == recipes[0] for recipe in recipes)  # as long, as gently


@pytest.mark.parametrize("method", ["hint", "pkt"])
def test_the_control_differs_in_its_teacher_alone(method):
    arms = pkt.arms(QUICK)
    own, control = (arms[name](3).arguments["trained"] for name in (method, f"untrained_{method}"))
    assert control.arguments | {"teacher": None} == own.arguments | {"teacher": None}
    teachers = [trial.arguments["teacher"] for trial in (own, control)]
    assert [teacher.function for teacher in teachers] == ["shipped", "untrained"]
    assert teachers[0].arguments["network"] == teachers[1].arguments["network"]
    other = arms[f"untrained_{method}"](4).arguments["trained"]
    assert control.arguments["teacher"] != other.arguments["teacher"]


def test_each_seed_has_images_of_its_own_and_none_is_held_out():
    laptop = pkt.PROFILES["laptop"]
    size = laptop.train_images
    places = [pkt.students_data(laptop, "cifar10", seed).get("skip", 0) for seed in range(41)]
    assert places == [*range(0, 40000, size), 0]
    assert pkt.students_data(pkt.PROFILES["full"], "cifar10", 7).get("skip", 0) == 0


def test_taught_embeddings_never_see_a_label():
    arms = pkt.arms(QUICK)
    for name in ("hint_random", "hint", "pkt", "untrained_hint", "second_data_pkt"):
        assert arms[name](0).arguments["trained"].arguments["hard_weight"] == 0
    assert arms["kd"](0).arguments["trained"].arguments.get("hard_weight", 0) == 0


# --- the trial -----------------------------------------------------------------------------------


@pytest.fixture
def colour(tmp_path, monkeypatch):
    """The workshop's coloured images under the name `colour`, and a folder for trials."""
    shop = Workshop(tmp_path)
    write(shop.own / "colour-bin", shop.bins)
    card = shop.card("colour")
    monkeypatch.setenv("KDNB_DATA_DIRS", str(shop.own))
    monkeypatch.setenv("KDNB_CACHE", str(shop.cache))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("kdnb.data.sources.card", lambda name: card)
    return data.load("colour", offline=True)


def test_the_trial_searches_what_it_says(colour):
    spec = {"name": "colour", "split": "train_all", "limit": 20, "evaluated": 6}
    recipe = {"epochs": 1, "batch_size": 8, "lr": 0.01, "precision": "32"}
    arguments = {"data": spec, "network": {"name": "resnet8", "width": 0.25}, "recipe": recipe}
    trained = Trial("supervised", arguments, 0)
    search = {"data": spec, "trained": trained, "queries": 4}
    result = trials.run(Trial("retrieved", search, 0))
    network = network_of(trials.finished(trained))
    asked, database = colour.test.select(slice(4)), colour.train_all.select(slice(20))
    found = [pkt.embeddings(network, images, colour) for images in (asked, database)]
    assert [len(rows) for rows in found] == [4, 20]
    precision, first = naive(*found, asked.labels, database.labels)
    assert result.metrics["map"] == pytest.approx(
        100 * precision, abs=0.5
    )  # ties of recall: 7 of 20
    assert result.metrics["top_10"] == pytest.approx(100 * first, abs=1e-3)
    errors = trials.finished(trained).metrics["test_errors"]
    assert result.metrics["accuracy"] == pytest.approx(100 * (1 - errors / 6))  # of six looked at
    own = trials.finished(trained).metrics
    for name in ("train_errors", "train_images"):
        assert result.metrics[name] == own[name]
    assert pkt.measure("student", result) == result.metrics


def test_embeddings_are_what_the_classifier_reads(colour):
    network = built({"name": "resnet8", "width": 0.25}, colour, seed=0).eval()
    found = pkt.embeddings(network, colour.test, colour)
    expected = logits_on(network, colour.test, colour)
    torch.testing.assert_close(network.head(found), expected, rtol=1e-4, atol=1e-5)
    assert found.dtype == torch.float32 and not found.requires_grad

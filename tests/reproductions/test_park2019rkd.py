"""RKD's arms: what a seed shares, what the record looks at, and what its claims are judged by."""

from types import SimpleNamespace

from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import park2019rkd as paper

ARMS = paper.arms(paper.LAPTOP)


def test_the_record_has_ten_seeds_of_other_classes_and_searches_test_images():
    asked = ARMS["relations"](0).arguments
    assert paper.LAPTOP.seeds >= 10 and asked["scored"] == "test"
    assert asked["data"]["split"] == "train" and asked["more_data"]["name"] == "fashion_mnist"
    assert len({ARMS["relations"](seed).digest for seed in range(3)}) == 3


def test_all_students_of_a_seed_have_one_teacher_and_one_recipe():
    names = ("distances", "relations", "normalised", "hint", "logits", "shuffled")
    teachers = {ARMS[name](4).arguments["teacher"].digest for name in names}
    assert teachers == {paper.teacher(paper.LAPTOP, 4).digest}
    recipes = [
        ARMS[name](4).arguments["recipe"] for name in (*names, "triplet", "again", "untrained")
    ]
    assert all(one == recipes[0] for one in recipes)
    assert ARMS["shorter"](4).arguments["recipe"]["epochs"] * 3 == recipes[0]["epochs"]


def test_claims_are_about_arms_and_premises_about_controls():
    known = set(ARMS) | paper.CONDITIONS
    claims = claims_of("park2019rkd")
    for claim in claims:
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            assert {arm for arm, _ in parse(quantity)[1]} <= known
        for premise in claim.premises:
            assert {arm for arm, _ in parse(premise.quantity)[1]} <= {"teacher", "triplet"}
    assert sum(not claim.ours for claim in claims) == 4


def test_what_needs_no_network_is_measured_once_a_seed():
    metrics = {
        "recall": 50.0,
        "pixels": 90.0,
        "principal": 40.0,
        "seen": 60.0,
        "train": 99.0,
        "loss": 0.1,
    }
    found = paper.measure("triplet", SimpleNamespace(metrics=metrics))
    assert (
        found["pixels.recall"] == 90 and found["principal.recall"] == 40 and "pixels" not in found
    )
    assert set(paper.measure("hint", SimpleNamespace(metrics=metrics))) == {
        "recall",
        "seen",
        "train",
        "loss",
    }

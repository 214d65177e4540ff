"""The control: budgets, what costs nothing, and the exact value of random search."""

import math
from itertools import combinations

import pytest
import torch

from kdnb.methods.nas import Grading, Search, expected_best, random_search


def die(sides):
    return lambda generator: int(torch.randint(sides, (1,), generator=generator))


def test_a_budget_counts_choices_and_repeats_are_free():
    asked = []

    def grade(choice):
        asked.append(choice)
        return float(choice)

    grading = Grading(grade, 2)
    assert [grading(c) for c in (3, 1, 3, 1)] == [3.0, 1.0, 3.0, 1.0]
    assert asked == [3, 1] and grading.spent
    assert grading(7) is None and grading(3) == 3.0 and asked == [3, 1]
    log = grading.log
    assert (log.choices, log.scores, log.best, log.best_score) == ([3, 1], [3.0, 1.0], 3, 3.0)


def test_the_best_so_far():
    log = Search(list("abcd"), [0.2, 0.5, 0.1, 0.5])
    assert log.best_so_far == [0.2, 0.5, 0.5, 0.5] and log.best == "b"


def test_random_search_is_a_function_of_its_seed_and_stops():
    one, same, other = (random_search(die(50), float, 10, seed=s) for s in (0, 0, 1))
    assert one == same and one.choices != other.choices
    assert len(set(one.choices)) == 10
    assert sorted(random_search(die(4), float, 9).choices) == [0, 1, 2, 3]  # there are no more


def test_the_expected_best_against_all_sets():
    scores = [0.3, -1.0, 0.9, 0.3, 0.5]
    for budget in range(1, 6):
        best = [max(chosen) for chosen in combinations(scores, budget)]
        assert expected_best(scores, budget) == pytest.approx(sum(best) / len(best))


def test_the_expected_best_is_what_random_search_finds_on_average():
    scores = torch.randn(20, generator=torch.Generator().manual_seed(0)).tolist()
    found = [random_search(die(20), scores.__getitem__, 5, seed=s).best_score for s in range(400)]
    spread = torch.tensor(found).std().item() / math.sqrt(400)
    assert abs(sum(found) / 400 - expected_best(scores, 5)) < 4 * spread


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"budget must lie in \[1, 3\]"):
        expected_best([1.0, 2.0, 3.0], 4)
    with pytest.raises(ValueError, match="budget must be at least 1"):
        random_search(die(3), float, 0)
    with pytest.raises(ArithmeticError, match="the grade of 1 is no number"):
        Grading(lambda c: math.nan, 3)(1)

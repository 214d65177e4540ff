"""Random search (Li and Talwalkar 2019): the control of every other search, at an equal budget.

A budget counts the choices that are graded, which is the networks that are trained. A choice that
comes again is not trained again and costs nothing, in no search.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import comb, isnan
from typing import Any

import torch

from kdnb.losses.checks import check_number

Grade = Callable[[Any], float]  # a choice -> what it is worth: the larger, the better


@dataclass
class Search:
    """What a search has graded, in order.

    Attributes:
        choices: no one twice.
        scores: their grades.
    """

    choices: list[Any] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def best(self) -> Any:
        """The choice of the highest grade, the first of equals."""
        return self.choices[max(range(len(self.scores)), key=self.scores.__getitem__)]

    @property
    def best_score(self) -> float:
        """The highest grade."""
        return max(self.scores)

    @property
    def best_so_far(self) -> list[float]:
        """The highest grade after each network that was trained."""
        return list(accumulate(self.scores, max))


class Grading:
    """Grades each choice once, keeps a log, and knows how much of the budget is left.

    Args:
        grade: trains a network and says what it is worth.
        budget: how many choices may be graded.
    """

    def __init__(self, grade: Grade, budget: int) -> None:
        check_number(least=1, whole=True, budget=budget)
        self.grade, self.budget = grade, budget
        self.log = Search()
        self._known: dict[Hashable, float] = {}

    @property
    def spent(self) -> bool:
        """Whether nothing new may be graded any more."""
        return len(self._known) >= self.budget

    def __call__(self, choice: Hashable) -> float | None:
        """The grade of a choice; None of a new one when the budget is spent."""
        if choice not in self._known:
            if self.spent:
                return None
            score = float(self.grade(choice))
            if isnan(score):
                raise ArithmeticError(f"the grade of {choice} is no number.")
            self._known[choice] = score
            self.log.choices.append(choice)
            self.log.scores.append(score)
        return self._known[choice]


def random_search(
    draw: Callable[[torch.Generator], Hashable], grade: Grade, budget: int, *, seed: int = 0
) -> Search:
    """Grade random choices and keep the best.

    Args:
        draw: a random choice, of a generator; such as `Space.draw`.
        grade: what a choice is worth.
        budget: how many different ones are graded; fewer when 1,000 draws in a row bring none that
            is new.
        seed: for the draws.

    >>> found = random_search(lambda g: int(torch.randint(9, (1,), generator=g)), lambda n: -n, 9)
    >>> found.best, sorted(found.choices) == list(range(9))
    (0, True)
    """
    grading, generator = Grading(grade, budget), torch.Generator().manual_seed(seed)
    vain = 0
    while not grading.spent and vain < 1000:
        before = len(grading.log.choices)
        grading(draw(generator))
        vain = 0 if len(grading.log.choices) > before else vain + 1
    return grading.log


def expected_best(scores: Sequence[float], budget: int) -> float:
    r"""The mean best grade of random search, exactly, where the grades of a whole space are known.

    .. math:: \mathrm E[\max] = \sum_{k=n}^N s_{(k)} \binom{k-1}{n-1} \Big/ \binom Nn

    over all sets of n among N different choices with the rising grades :math:`s_{(k)}`: no draw is
    made, so that a comparison with random search has no noise of its own.

    Args:
        scores: of all N choices, each equally likely.
        budget: n, from 1 to N.

    Raises:
        ValueError: for another budget.

    >>> expected_best([1.0, 2.0, 3.0], 1), expected_best([1.0, 2.0, 3.0], 3)
    (2.0, 3.0)
    """
    check_number(least=1, most=len(scores), whole=True, budget=budget)
    ordered, ways = sorted(scores), comb(len(scores), budget)
    return sum(score * (comb(k - 1, budget - 1) / ways) for k, score in enumerate(ordered, start=1))

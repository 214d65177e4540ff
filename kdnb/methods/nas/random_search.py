"""Random search (Li and Talwalkar 2019): the control for every other search, at equal budget.

A budget counts the graded choices, that is, the trained networks. In every search, a repeated
choice is not trained again and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import comb, isnan
from typing import Any

import torch

from kdnb.losses.checks import check_number

Grade = Callable[[Any], float]  # a choice -> its grade; larger is better


@dataclass
class Search:
    """The graded choices of a search, in order.

    Attributes:
        choices: all different.
        scores: their grades.
    """

    choices: list[Any] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def best(self) -> Any:
        """The choice with the highest grade; ties go to the first."""
        return self.choices[max(range(len(self.scores)), key=self.scores.__getitem__)]

    @property
    def best_score(self) -> float:
        """The highest grade."""
        return max(self.scores)

    @property
    def best_so_far(self) -> list[float]:
        """The highest grade so far after each trained network."""
        return list(accumulate(self.scores, max))


class Grading:
    """Grades each choice once, keeps a log, and tracks the budget.

    Args:
        grade: trains a network and returns its grade.
        budget: how many choices may be graded.
    """

    def __init__(self, grade: Grade, budget: int) -> None:
        check_number(least=1, whole=True, budget=budget)
        self.grade, self.budget = grade, budget
        self.log = Search()
        self._known: dict[Hashable, float] = {}

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return len(self._known) >= self.budget

    def __call__(self, choice: Hashable) -> float | None:
        """The grade of a choice; None for a new choice if the budget is spent."""
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
        draw: draws a random choice from a generator, such as `Space.draw`.
        grade: returns the grade of a choice.
        budget: the number of different choices to grade; fewer if 1,000 draws in a row give none
            that is new.
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
    r"""The exact mean best grade of random search, if the grades of a whole space are known.

    .. math:: \mathrm E[\max] = \sum_{k=n}^N s_{(k)} \binom{k-1}{n-1} \Big/ \binom Nn

    over all sets of n among N different choices with the rising grades :math:`s_{(k)}`: nothing is
    drawn, so a comparison with random search adds no noise.

    Args:
        scores: of all N choices, each equally likely.
        budget: n, from 1 to N.

    Raises:
        ValueError: for a budget out of range.

    >>> expected_best([1.0, 2.0, 3.0], 1), expected_best([1.0, 2.0, 3.0], 3)
    (2.0, 3.0)
    """
    check_number(least=1, most=len(scores), whole=True, budget=budget)
    ordered, ways = sorted(scores), comb(len(scores), budget)
    return sum(score * (comb(k - 1, budget - 1) / ways) for k, score in enumerate(ordered, start=1))

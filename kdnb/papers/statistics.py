"""The few statistics that verdicts need, each a thin layer over scipy or statsmodels.

Both are imported on use, because importing takes a second and training processes do not need them.
"""

from __future__ import annotations

import functools
import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

LEVEL = 0.05
MOST_SEEDS = 10_000
MIN_SEEDS = 6  # with fewer, no two-sided exact sign-flip test can reach p < 0.05

Interval = tuple[float, float]


def interval(values: Sequence[float], method: Literal["t", "BCa"] = "t") -> Interval:
    """The 95% confidence interval of the mean of `values`; NaN for fewer than 2 values."""
    x = np.asarray(values, dtype=float)
    if method == "BCa":
        return bca(lambda positions: x[positions].mean(axis=-1), len(x))
    if len(x) < 2:
        return math.nan, math.nan
    from scipy import stats

    half = stats.t.ppf(0.975, len(x) - 1) * stats.sem(x)
    return float(x.mean() - half), float(x.mean() + half)


def bca(statistic: Callable[[np.ndarray], np.ndarray], n: int) -> Interval:
    """The 95% BCa bootstrap interval of a statistic of n paired seeds, with a fixed random seed.

    `statistic` maps positions of seeds, integers (..., n), to values (...). NaN for n < 2.
    """
    if n < 2:
        return math.nan, math.nan
    from scipy import stats

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate samples are handled below
        result = stats.bootstrap(
            (np.arange(n),),
            lambda positions, axis: statistic(np.asarray(positions, dtype=int)),
            vectorized=True,
            method="BCa",
            rng=np.random.default_rng(0),
        )
    drawn = result.bootstrap_distribution
    if np.isfinite(drawn).all() and np.ptp(drawn) == 0:  # no spread: the interval is the point
        return float(drawn[0]), float(drawn[0])
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def sign_flip(
    values: Sequence[float], alternative: Literal["two-sided", "greater"] = "two-sided"
) -> float:
    """The p value of the sign-flip test that paired differences are symmetric about 0, on their mean.

    Exact (all 2^n sign flips) up to n = 20; above, by 2^20 random flips with a fixed random seed.
    Raises `ValueError` for fewer than 2 values.
    """
    return _sign_flip(tuple(map(float, values)), alternative)


@functools.lru_cache(maxsize=10_000)  # reports and pages judge a record several times
def _sign_flip(values: tuple[float, ...], alternative: str) -> float:
    from scipy import stats

    test = stats.permutation_test(
        (np.asarray(values),),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        alternative=alternative,
        vectorized=True,
        n_resamples=2**20,
        batch=2**14,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for multiple tests by Holm's step-down method."""
    if len(ps) < 2:  # nothing to adjust; statsmodels runs the garbage collector on every call
        return [float(p) for p in ps]
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(ps, method="holm")[1]]


def smallest_p(side: Literal["one", "two"], n: int) -> float:
    """The smallest p an exact sign-flip test of n pairs can give: all differences of one sign."""
    return (1 if side == "one" else 2) / 2**n


@functools.cache
def seeds_needed(sides: tuple[Literal["one", "two"], ...]) -> int:
    """The fewest seeds (>= 6) at which all these tests can reach p < 0.05 after Holm's correction."""
    n = MIN_SEEDS
    while sides and max(holm([smallest_p(side, n) for side in sides])) >= LEVEL:
        n += 1
    return n


@functools.lru_cache(maxsize=10_000)
def seeds_to_settle(
    effect: float, sd: float, sides: Literal["one", "two", "equivalence"] = "two", tests: int = 1
) -> float:
    """The fewest paired seeds (>= 6) with which an effect is found with a power of 80%.

    By the power of the paired t-test (statsmodels), at a level of 5% shared by `tests` tests.

    Args:
        effect: the smallest difference to distinguish from 0; for an equivalence its tolerance,
            within which the whole 95% interval should lie if the true difference is 0.
        sd: standard deviation of the paired differences over seeds.
        sides: sides of the test; an equivalence is two one-sided tests at 2.5%.

    Returns:
        The number of seeds; `inf` above 10,000, NaN if effect or sd is unknown.
    """
    if not (math.isfinite(effect) and math.isfinite(sd)) or effect == 0:
        return math.nan
    if sd == 0:
        return MIN_SEEDS
    from statsmodels.stats.power import TTestPower

    level, power = LEVEL / tests, 0.8
    if sides == "equivalence":  # a difference of 0 may leave the range on either side
        level, power = LEVEL / 2 / tests, 0.9

    def found(n: int) -> bool:
        alternative = "two-sided" if sides == "two" else "larger"
        reached = TTestPower().power(abs(effect) / sd, n, level, alternative=alternative)
        return not reached < power  # NaN if it is 1 to the last bit

    if not found(MOST_SEEDS):
        return math.inf
    return 1 + bisect_left(range(1, MOST_SEEDS + 1), True, lo=MIN_SEEDS - 1, key=found)

"""Statistics and quantities, against hand values and naive enumerations."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from kdnb.papers import quantities, statistics

# Statistics


def enumerated_p(values, alternative):
    """The share of all sign patterns whose mean is at least as extreme, by naive loops."""
    observed, means = np.mean(values), []
    for signs in itertools.product([1, -1], repeat=len(values)):
        means.append(np.mean([s * v for s, v in zip(signs, values, strict=True)]))
    at_least = np.mean([m >= observed - 1e-12 * max(1, abs(observed)) for m in means])
    at_most = np.mean([m <= observed + 1e-12 * max(1, abs(observed)) for m in means])
    return at_least if alternative == "greater" else min(1.0, 2 * min(at_least, at_most))


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("n", [2, 5, 6, 9])
def test_sign_flip_equals_the_naive_enumeration(n, alternative):
    values = np.random.default_rng(n).normal(0.5, size=n)
    expected = enumerated_p(values, alternative)
    assert statistics.sign_flip(values, alternative) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_hand_values():
    six = [1.0, 2, 3, 4, 5, 6]
    assert statistics.sign_flip(six) == 2 / 64 == 0.03125
    assert statistics.sign_flip(six, "greater") == 1 / 64
    assert statistics.sign_flip([-v for v in six], "greater") == 1.0
    assert statistics.sign_flip([1.0] * 5) == 0.0625
    assert statistics.sign_flip([0.0] * 6) == 1.0
    assert statistics.sign_flip([5.0, 5, 5, 5, 5, -1]) == pytest.approx(2 * 2 / 64)


integers = st.lists(st.integers(-50, 50), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(integers)
def test_sign_flip_is_symmetric_bounded_and_exact(values):
    p = statistics.sign_flip(values)
    assert statistics.smallest_p("two", len(values)) * (1 - 1e-9) <= p <= 1
    assert p == pytest.approx(statistics.sign_flip([-v for v in values]))
    assert p == pytest.approx(enumerated_p(values, "two-sided"))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_holm_is_the_step_down_rule(n):
    ps = np.random.default_rng(n).uniform(0, 0.3, size=n)
    adjusted, running = [0.0] * n, 0.0
    for rank, i in enumerate(sorted(range(n), key=lambda i: ps[i])):
        running = max(running, min(1.0, (n - rank) * ps[i]))
        adjusted[i] = running
    assert statistics.holm(ps) == pytest.approx(adjusted)


def test_holm_hand_value_and_nothing():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_t_interval_hand_value():
    low, high = statistics.interval([1.0, 2, 3, 4])  # sem = sqrt(5/3)/2, t(3) = 3.18245
    assert (low, high) == pytest.approx((2.5 - 3.18245 * 0.645497, 2.5 + 3.18245 * 0.645497), 1e-5)
    assert statistics.interval([3.0, 3, 3]) == (3, 3)
    assert all(math.isnan(bound) for bound in statistics.interval([3.0]))


def test_bca_interval_is_scipys_and_repeats():
    values = np.random.default_rng(1).exponential(size=12)
    expected = scipy.stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0))
    got = statistics.interval(values, "BCa")
    assert got == pytest.approx(tuple(expected.confidence_interval), rel=1e-12)
    assert got == statistics.interval(values, "BCa")
    assert statistics.interval([2.0] * 6, "BCa") == (2, 2)
    assert all(math.isnan(bound) for bound in statistics.interval([2.0], "BCa"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=10), st.floats(-100, 100))
def test_t_interval_holds_the_mean_and_shifts_with_it(values, shift):
    low, high = statistics.interval(values)
    assert low - 1e-9 <= np.mean(values) <= high + 1e-9
    moved = statistics.interval([value + shift for value in values])
    assert moved == pytest.approx((low + shift, high + shift), abs=1e-6)


@pytest.mark.parametrize(
    ("sides", "seeds"),
    [([], 6), (["two"], 6), (["two"] * 2, 7), (["two"] * 3, 7), (["one"] * 3, 6), (["two"] * 4, 8)],
)
def test_seeds_needed(sides, seeds):
    assert statistics.seeds_needed(tuple(sides)) == seeds


def test_seeds_to_settle_are_those_of_the_power_analysis():
    found = statistics.seeds_to_settle
    assert found(10, 15) == math.ceil(TTestPower().solve_power(10 / 15, alpha=0.05, power=0.8))
    assert found(10, 15, "one", 2) == math.ceil(
        TTestPower().solve_power(10 / 15, alpha=0.025, power=0.8, alternative="larger")
    )
    assert found(10, 15, "equivalence") == math.ceil(
        TTestPower().solve_power(10 / 15, alpha=0.025, power=0.9, alternative="larger")
    )
    assert found(-10, 15) == found(10, 15)
    assert found(1000, 15) == found(1, 0.0) == statistics.MIN_SEEDS
    assert found(0.01, 15) == math.inf
    for unknown in ((math.nan, 1.0), (1.0, math.nan), (0.0, 1.0)):
        assert math.isnan(found(*unknown))


def test_seeds_to_settle_an_equivalence_by_simulation():
    sd, tolerance = 15.0, 10.0
    n = statistics.seeds_to_settle(tolerance, sd, "equivalence")
    drawn = np.random.default_rng(0).normal(0, sd, size=(4000, n))
    half = scipy.stats.t.ppf(0.975, n - 1) * drawn.std(axis=1, ddof=1) / math.sqrt(n)
    inside = np.abs(drawn.mean(axis=1)) + half <= tolerance
    assert 0.77 < inside.mean() < 0.86


# Quantities


def test_quantity_is_evaluated_as_arithmetic():
    frame = pd.DataFrame({("a", "m"): [1.0, 2], ("b", "m"): [4.0, 6], ("a", "k"): [10.0, 20]})
    for quantity, expected in [
        ("a - b", [-3, -4]),
        ("-(a + 2 * b) / a.k", [-0.9, -0.7]),
        ("a.m", [1, 2]),
        ("a - a.m + 1e1", [10, 10]),
        ("b / a", [4, 3]),
    ]:
        got = quantities.evaluate(*quantities.select(quantity, "m", frame))
        assert list(got) == pytest.approx(expected), quantity


@pytest.mark.parametrize(
    "quantity",
    [
        "__import__('os')",
        "a.b.c",
        "a[0]",
        "a ** 2",
        "a if b else c",
        "a < b",
        "a; b",
        "a @ b",
        "@a",
        "'a'",
        "a + True",
        "a + 1j",
        "a + 1e999",
        "a = 1",
        "lambda: a",
        "1 + 2",
        "",
        "T=20 - a",
    ],
)
def test_anything_but_arithmetic_is_refused(quantity):
    with pytest.raises(ValueError, match="arithmetic|allowed|not of the form|not a number|no arm"):
        quantities.parse(quantity)


def test_published_value_is_looked_up_or_computed():
    given_values = {"teacher": 67, "student": 146, "distilled": 74, "a.m": 5}
    value = quantities.published_value
    assert value("student - distilled", given_values) == 72
    assert value("(student - distilled) / (student - teacher)", given_values) == 72 / 79
    assert value("a.m * 2", given_values) == 10
    assert math.isnan(value("student - other", given_values))
    assert value("student - other", {"student - other": 3}) == 3

"""Measuring and judging: premises, six words, three kinds of criteria."""

import math
import sys
import types

import numpy as np
import pandas as pd
import pytest
from paper_tables import MEANS, SAMPLE, claim, direction, magnitude, table

from kdnb.papers import claims, statistics
from kdnb.papers.claims import Claim, ClaimError, judge, judge_all, load_claims, measure
from kdnb.papers.quantities import NotTestable


def test_measure_per_seed_and_pooled():
    frame = table(6)
    subject = claim(direction(), published={"student": 146, "teacher": 67})
    got = measure("student - teacher", subject, frame)
    difference = (frame["student"] - frame["teacher"])["test_errors"]
    assert (got.n, got.interval, got.published) == (6, "t", 79)
    assert got.mean == pytest.approx(difference.mean())
    assert got.sd == pytest.approx(difference.std(ddof=1))
    assert (got.low, got.high) == pytest.approx(statistics.interval(difference))

    ratio = "(student - distilled) / (student - teacher)"
    pooled = measure(ratio, subject, frame, pooled=True)
    assert pooled.interval == "BCa"
    assert pooled.mean == pytest.approx(70 / 80)
    assert pooled.low < pooled.mean < pooled.high
    assert math.isnan(pooled.sd)


def test_pooled_bootstrap_resamples_seeds_as_pairs():
    # Both arms move together, so their paired ratio never varies, whatever is resampled.
    frame = pd.DataFrame({("a", "m"): [1.0, 2, 4, 8, 16, 32]})
    frame[("b", "m")] = 2 * frame[("a", "m")]
    subject = Claim(
        id="c", title="t", statement="s", where="w", metric="m", criteria=[direction("a - b")]
    )
    got = measure("a / b", subject, frame, pooled=True)
    assert (got.low, got.mean, got.high) == pytest.approx((0.5, 0.5, 0.5))


def test_unknown_arm_or_metric_names_the_nearest():
    subject = claim(direction())
    with pytest.raises(NotTestable, match="'distiled'.*nearest: distilled"):
        measure("student - distiled", subject, table(6))
    with pytest.raises(NotTestable, match="'test_error'.*nearest: test_errors"):
        measure("student.test_error", subject, table(6))


def test_reproduced():
    verdict = judge(claim(direction(), magnitude(at_least=60)), table(6))
    assert verdict.word == "reproduced"
    first, second = verdict.results
    assert (first.n, first.p, first.p_holm, first.holds) == (6, 0.03125, 0.03125, True)
    assert (second.mean, second.holds, second.interval) == (pytest.approx(70), True, "t")
    assert str(verdict) == (
        "c: reproduced - every direction is significant and every magnitude holds"
    )


def test_a_size_that_is_missed_leaves_it_partly_reproduced():
    verdict = judge(claim(direction(), magnitude(at_least=71)), table(6))
    assert verdict.word == "partly reproduced"
    assert verdict.gist == "'student - distilled' is not >= 71"


def test_wrong_direction():
    verdict = judge(claim(direction("distilled - student")), table(8))
    assert verdict.word == "contradicted"
    assert verdict.gist == "'distilled - student' lies significantly below 0"
    assert "-70" in verdict.reason and "-70" not in str(verdict)
    assert verdict.results[0].against
    assert not verdict.results[0].right


def test_an_interval_alone_may_speak_against_a_direction():
    # One positive difference of six: the interval lies below 0, the exact test does not reach 5%.
    frame = pd.DataFrame({("a", "m"): [-1.8, -1.5, -1.6, -1.4, -1.7, 0.1], ("b", "m"): [0.0] * 6})
    subject = Claim(
        id="c", title="t", statement="s", where="w", metric="m", criteria=[direction("a - b")]
    )
    verdict = judge(subject, frame)
    assert verdict.results[0].high < 0 and verdict.results[0].p_holm > 0.05
    assert verdict.word == "contradicted"
    assert verdict.gist == "'a - b' lies below 0 with its whole 95% interval"


def test_not_significant_gives_p_in_the_reason_alone():
    frame = table(6)
    frame[("student", "test_errors")] = frame[("distilled", "test_errors")] + [5, 5, 5, 5, 5, -1]
    verdict = judge(claim(direction()), frame)
    assert verdict.word == "inconclusive"
    assert verdict.reason.startswith("'student - distilled' is not significant, p = 0.0625 (")
    assert str(verdict) == "c: inconclusive - 'student - distilled' is not significant"


def test_direction_tests_the_distance_from_its_bound():
    assert judge(claim(direction(at_least=69)), table(6)).word == "reproduced"
    assert judge(claim(direction(at_least=71)), table(6)).word == "contradicted"
    at_most = {"kind": "direction", "quantity": "distilled - student", "at_most": -69}
    assert judge(claim(at_most), table(6)).word == "reproduced"
    assert judge(claim({**at_most, "at_most": -71}), table(6)).word == "contradicted"


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_seeds(n):
    verdict = judge(claim(direction(), magnitude(at_least=1000)), table(n))
    assert verdict.word == "not testable here"
    assert f"not testable (n = {n} < 6)" in str(verdict)
    assert str(verdict).endswith("every direction holds in the mean")
    assert [r.note for r in verdict.results] == [f"not testable (n = {n} < 6)"] * 2
    assert math.isnan(verdict.results[0].p)
    assert verdict.results[0].holds is None
    wrong = judge(claim(direction("distilled - student")), table(n))
    assert wrong.word == "not testable here"
    assert "wrong direction" in wrong.gist


def test_magnitudes_alone():
    subject = claim(magnitude(at_least=60, at_most=75))
    assert judge(subject, table(5)).word == "not testable here"
    assert judge(subject, table(6)).word == "reproduced"
    assert judge(subject, table(6, student=160.0)).word == "contradicted"
    assert judge(subject, table(6, student=130.0)).word == "contradicted"


def equivalence(quantity="wide - distilled", **fields):
    return {"kind": "equivalence", "quantity": quantity, **fields}


def test_within_sd_compares_the_interval_with_the_pooled_sd_of_the_two_arms():
    frame = table(6)
    arms = frame[[("wide", "test_errors"), ("distilled", "test_errors")]]
    pooled = math.sqrt((arms.std(ddof=1) ** 2).mean())
    difference = (frame["wide"] - frame["distilled"])["test_errors"]
    low, high = statistics.interval(difference)  # around 1
    assert 0 < low < 1 < high
    for room, word in [
        (high * 1.01, "reproduced"),
        (high * 0.99, "inconclusive"),
        (low * 1.01, "inconclusive"),
        (low * 0.99, "contradicted"),
    ]:
        for quantity in ("wide - distilled", "distilled - wide"):
            subject = claim(equivalence(quantity, within_sd=room / pooled))
            assert judge(subject, frame).word == word


def test_as_good_as_asks_for_the_whole_interval():
    frame = table(6, spread=30.0)
    low, high = statistics.interval((frame["wide"] - frame["distilled"])["test_errors"])
    assert low < -1 and 1 < high  # the mean, 1, lies inside any tolerance above 1
    mean_alone = judge(claim(magnitude("wide - distilled", at_least=-1.5, at_most=1.5)), frame)
    assert mean_alone.word == "reproduced"
    doubtful = judge(claim(equivalence(tolerance=1.5)), frame)
    assert doubtful.word == "inconclusive"
    assert doubtful.gist == "the interval of 'wide - distilled' is not within 1.5 of 0"
    assert "tolerance 1.5" in doubtful.reason and "seeds would settle it" in doubtful.reason
    assert judge(claim(equivalence(tolerance=1.01 * high)), frame).word == "reproduced"
    one_sided = judge(claim(equivalence(at_most=1.01 * high)), frame)
    assert one_sided.word == "reproduced"
    assert judge(claim(equivalence(at_most=0.99 * high)), frame).word == "inconclusive"
    assert judge(claim(equivalence(at_most=1.01 * low)), frame).word == "contradicted"


def test_closeness_that_is_refuted_is_contradicted_beside_a_significant_direction():
    near = equivalence("student - distilled", at_most=5)
    assert judge(claim(direction(), near), table(6)).word == "contradicted"
    # A size that is missed by its whole interval is not: the direction was the claim.
    assert judge(claim(direction(), magnitude(at_most=5)), table(6)).word == "partly reproduced"
    # Closeness that is only not shown leaves the direction.
    frame = table(6, spread=30.0)
    high = statistics.interval((frame["student"] - frame["distilled"])["test_errors"])[1]
    doubtful = equivalence("student - distilled", at_most=0.99 * high)
    assert judge(claim(direction(), doubtful), frame).word == "partly reproduced"


def test_an_open_direction_beside_a_refuted_size_is_contradicted():
    frame = table(6)
    frame[("student", "test_errors")] = frame[("distilled", "test_errors")] + [5, 5, 5, 5, 5, -1]
    assert judge(claim(direction()), frame).word == "inconclusive"
    assert judge(claim(direction(), magnitude(at_least=50)), frame).word == "contradicted"
    assert judge(claim(direction(), magnitude(at_least=5)), frame).word == "inconclusive"


# Premises


def fits(**fields):
    base = {"why": "the student fits", "quantity": "student.train_errors / parameters.images"}
    return {**base, "at_most": 0.05, **fields}


def trained(n=6, errors=30.0, images=1000):
    frame = table(n)
    frame[("student", "train_errors")] = errors
    frame.attrs["parameters"] = {"images": images}
    return frame


def test_a_premise_that_does_not_hold_comes_before_any_outcome():
    for criterion in (direction(), direction("distilled - student"), magnitude(at_least=1000)):
        verdict = judge(claim(criterion, premises=[fits()]), trained(errors=443.0))
        assert verdict.word == "premise not met"
        assert verdict.gist == "the student fits: asked for <= 0.05"
        assert verdict.reason == "the student fits: asked for <= 0.05, found 0.443"
        assert "0.443" not in str(verdict)
        assert [checked.holds for checked in verdict.premises] == [False]
    few = judge(claim(direction(), premises=[fits()]), trained(n=2, errors=443.0))
    assert few.word == "premise not met"


def test_premises_that_hold_leave_the_claim_to_its_criteria():
    subject = claim(direction(), premises=[fits(), fits(at_least=0.03)])
    verdict = judge(subject, trained())
    assert verdict.word == "reproduced"
    assert [checked.value for checked in verdict.premises] == pytest.approx([0.03, 0.03])
    assert judge(subject, trained(errors=29.0)).word == "premise not met"


def test_a_premise_without_a_value_is_not_testable():
    subject = claim(direction(), premises=[fits()])
    for frame, why in [
        (table(6), "arm 'student' has no metric 'train_errors'"),
        (trained(images=0), "divides by zero"),
        (trained().rename(columns={"student": "pupil"}, level=0), "no results for arm 'student'"),
    ]:
        verdict = judge(subject, frame)
        assert verdict.word == "not testable here"
        assert why in verdict.gist
    unknown = claim(
        direction(), premises=[fits(quantity="student.train_errors / parameters.image")]
    )
    assert (
        "no parameter 'image' that is a number (nearest: images)" in judge(unknown, trained()).gist
    )


def test_a_premise_uses_the_seeds_of_the_claim():
    frame = trained(8)
    frame.loc[[6, 7], [(arm, "test_errors") for arm in MEANS]] = np.nan
    frame.loc[[6, 7], ("student", "train_errors")] = 10_000.0
    verdict = judge(claim(direction(), premises=[fits()]), frame)
    assert (verdict.word, verdict.premises[0].value) == ("reproduced", pytest.approx(0.03))


# Seeds that would settle it


def test_an_inconclusive_claim_says_what_would_settle_it():
    frame = table(6)
    offsets = np.array([9.0, -3, 5, 8, -2, 1])
    frame[("student", "test_errors")] = frame[("distilled", "test_errors")] + offsets
    sd, half = offsets.std(ddof=1), np.diff(statistics.interval(offsets))[0] / 2
    published = claim(direction(), published={"student": 84, "distilled": 80})
    verdict = judge(published, frame)
    seeds = statistics.seeds_to_settle(4.0, sd)
    assert verdict.word == "inconclusive"
    assert f"half-width {half:.3g}, published effect 4, {seeds:.0f} seeds would" in verdict.reason
    assert verdict.results[0].half_width == pytest.approx(half)
    nothing = judge(claim(direction()), frame)
    assert nothing.reason.endswith(f"(half-width {half:.3g}, no published effect)")
    wished = judge(claim(direction(smallest=2)), frame)
    assert "smallest effect of interest 2" in wished.reason
    assert wished.results[0].seeds == statistics.seeds_to_settle(2.0, sd) > seeds
    large = judge(claim(direction(), published={"student": 8000, "distilled": 80}), frame)
    assert "6 seeds would have shown it" in large.reason


def test_holm_runs_over_the_directions_of_a_claim():
    both = claim(direction(), direction("distilled - teacher"))
    at_six = judge(both, table(6))
    assert at_six.word == "not testable here"
    assert "n = 6 < 7" in str(at_six)
    assert "2 directions under Holm need 7 seeds" in at_six.reason
    assert [r.p_holm for r in at_six.results] == [0.0625, 0.0625]
    assert [r.holds for r in at_six.results] == [None, None]
    at_seven = judge(both, table(7))
    assert at_seven.word == "reproduced"
    assert [r.p for r in at_seven.results] == [2 / 128] * 2
    assert [r.p_holm for r in at_seven.results] == [4 / 128] * 2


def test_a_wrong_direction_is_contradicted_even_where_significance_is_out_of_reach():
    both = claim(direction(), direction("teacher - distilled"))
    assert judge(both, table(6)).word == "contradicted"


def test_one_sided_criteria_reach_significance_with_six_seeds():
    both = claim(direction(sided="one"), direction("distilled - teacher", sided="one"))
    verdict = judge(both, table(6))
    assert verdict.word == "reproduced"
    assert [r.p for r in verdict.results] == [1 / 64] * 2
    wrong = judge(claim(direction("distilled - student", sided="one")), table(6))
    assert (wrong.word, wrong.results[0].p) == ("contradicted", 1.0)


def test_missing_arm_is_not_testable():
    verdict = judge(claim(direction("student - distiled"), direction()), table(6))
    assert verdict.word == "not testable here"
    assert "'distiled' (nearest: distilled)" in str(verdict)
    assert verdict.results[1].n == 6


def test_a_ratio_without_a_value_is_not_testable():
    subject = claim(magnitude("teacher / (student - teacher)", at_least=0))
    frame = table(6)
    frame.loc[3, ("student", "test_errors")] = frame.loc[3, ("teacher", "test_errors")]
    verdict = judge(subject, frame)
    assert verdict.word == "not testable here"
    assert "divides by zero for seed 3" in verdict.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_names_the_arm_and_the_seed(value):
    frame = table(6)
    frame.loc[4, ("distilled", "test_errors")] = value
    with pytest.raises(ClaimError, match="arm 'distilled' has test_errors = .* for seed 4"):
        judge(claim(direction()), frame)
    with pytest.raises(ClaimError, match="seed 4"):  # alone, it is not taken for a seed not run
        judge(claim(magnitude("distilled", at_least=0)), frame)
    judge(claim(direction("student - teacher")), frame)  # other arms are not concerned


def test_seeds_run_for_other_claims_only_do_not_count():
    frame = table(8)
    frame.loc[[6, 7], [("student", "test_errors"), ("distilled", "test_errors")]] = np.nan
    assert judge(claim(direction()), frame).results[0].n == 6
    with pytest.raises(ClaimError, match="seed 6"):
        judge(claim(direction(), direction("student - teacher")), frame)


def test_malformed_tables():
    with pytest.raises(ClaimError, match="columns"):
        judge(claim(direction()), pd.DataFrame({"student": [1.0]}))
    with pytest.raises(ClaimError, match="twice"):
        judge(claim(direction()), pd.concat([table(3), table(3)]))


@pytest.fixture
def checks(monkeypatch):
    from kdnb.papers import identities

    module = types.ModuleType("checks_of_a_test")
    module.holds = lambda: (1e-9, 1e-6)
    module.fails = lambda: (-1e-3, 1e-6)
    module.nan = lambda: (math.nan, 1e-6)
    monkeypatch.setitem(sys.modules, "checks_of_a_test", module)
    for name in ("holds", "fails", "nan"):
        monkeypatch.setitem(identities.IDENTITIES, name, f"checks_of_a_test:{name}")


def exact(name):
    return {"kind": "exact", "quantity": "a difference", "check": name}


def test_exact_checks(checks):
    verdict = judge(claim(exact("holds")), pd.DataFrame())
    assert str(verdict) == "c: identity holds - checked to rounding"
    assert (verdict.results[0].mean, verdict.results[0].requirement) == (1e-9, "0 within 1e-06")
    for name in ("fails", "nan"):
        assert judge(claim(exact(name)), pd.DataFrame()).word == "identity fails"
    with pytest.raises(ClaimError, match="'c'.*there is no identity 'absent'"):
        judge(claim(exact("absent")), pd.DataFrame())


def test_judge_all_and_table(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(SAMPLE)
    (order,) = load_claims(path)
    other = order.model_copy(update={"id": "again"})
    one, two = judge_all([order, other], table(6))
    assert (one.word, two.word) == ("reproduced", "reproduced")
    assert one.results[0].p_holm == 0.03125  # Holm does not run across claims
    rows = one.table()
    assert list(rows.kind) == ["direction", "magnitude"]
    assert list(rows.published) == pytest.approx([72, 72 / 79])
    assert {"n", "mean", "sd", "low", "high", "interval", "p", "p_holm", "holds"} <= set(rows)


@pytest.mark.parametrize("n", [2, 6, 7])
def test_the_line_of_a_verdict_does_not_move_with_the_numbers(n):
    subject = claim(direction(), direction("distilled - teacher"), magnitude(at_least=71))
    lines = {str(judge(subject, table(n, spread=s))) for s in (1.0, 1.37, 2.11)}
    assert len(lines) == 1


@pytest.mark.parametrize("order", [[6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 1, 5, 2, 4]])
def test_the_order_of_seeds_does_not_matter(order):
    subject = claim(direction(), magnitude("distilled / student", pooled=True, at_most=0.6))
    straight, shuffled = judge(subject, table(7)), judge(subject, table(7).iloc[order])
    assert str(straight) == str(shuffled)
    assert straight.results[0].p == shuffled.results[0].p
    assert straight.results[1].mean == pytest.approx(shuffled.results[1].mean)


def test_names_promised_by_claims():
    assert set(claims.__all__) >= {"interval", "sign_flip", "holm", "judge", "judge_all"}

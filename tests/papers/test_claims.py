"""Claims and verdicts: loading, measuring, judging."""

import math
import sys
import types

import numpy as np
import pandas as pd
import pytest

from kdnb.papers import claims, statistics
from kdnb.papers.claims import Claim, ClaimError, judge, judge_all, load_claims, measure
from kdnb.papers.quantities import NotTestable

SAMPLE = """
paper = "hinton2015"

[[claim]]
id = "order"
title = "Distillation closes most of the gap"
statement = "A distilled student makes fewer errors than the same student without a teacher."
where = "section 3"
metric = "test_errors"
unit = "errors of 10,000"
published = {teacher = 67, student = 146, distilled = 74}

[[claim.criterion]]
kind = "direction"
quantity = "student - distilled"
at_least = 0

[[claim.criterion]]
kind = "magnitude"
quantity = "(student - distilled) / (student - teacher)"
pooled = true
at_least = 0.6
"""

MEANS = {"teacher": 70.0, "student": 150.0, "distilled": 80.0, "wide": 81.0}


def table(n, spread=2.0, **means):
    """Arms around given means: seed k is spread * (k - centre) off, less for other arms."""
    columns = {}
    for i, (arm, mean) in enumerate({**MEANS, **means}.items()):
        offsets = spread * (np.arange(n) - (n - 1) / 2) * (1 + i / 10)
        columns[(arm, "test_errors")] = mean + offsets
        columns[(arm, "accuracy")] = 1 - (mean + offsets) / 10_000
    frame = pd.DataFrame(columns, index=range(n))
    frame.columns = pd.MultiIndex.from_tuples(columns)
    return frame


def claim(*criteria, **fields):
    base = {"id": "c", "title": "t", "statement": "s", "where": "w", "metric": "test_errors"}
    return Claim(**base, **fields, criteria=list(criteria))


def direction(quantity="student - distilled", **fields):
    return {"kind": "direction", "quantity": quantity, "at_least": 0, **fields}


def magnitude(quantity="student - distilled", **fields):
    return {"kind": "magnitude", "quantity": quantity, **fields}


# Loading


def load(tmp_path, text):
    path = tmp_path / "claims.toml"
    path.write_text(text)
    return load_claims(path)


def test_sample_loads(tmp_path):
    (order,) = load(tmp_path, SAMPLE)
    assert (order.paper, order.id, order.metric) == ("hinton2015", "order", "test_errors")
    assert order.published == {"teacher": 67, "student": 146, "distilled": 74}
    assert [c.requirement for c in order.criteria] == ["> 0", ">= 0.6"]
    assert order.criteria[0].sided == "two"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("at_least = 0\n", "at_lest = 0\n", "claim 'order', criterion 1, .*at_lest.*at_least"),
        ("at_least = 0\n", "", "criterion 1: a direction needs exactly one"),
        ("at_least = 0\n", "at_least = 0\nat_most = 1\n", "criterion 1: .*exactly one"),
        ("at_least = 0.6\n", "", "criterion 2: a magnitude needs"),
        ("at_least = 0.6\n", "at_least = 0.6\nat_most = 0.5\n", "0.6.*above.*0.5"),
        ("at_least = 0.6\n", "within_sd = 1.0\n", "within_sd stands alone"),
        ("pooled = true\nat_least = 0.6\n", "within_sd = 1.0\n", "difference of two arms"),
        ("at_least = 0.6\n", "at_least = nan\n", "criterion 2, field 'at_least'.*finite"),
        ('"student - distilled"', '"student -"', "criterion 1, field 'quantity'.*arithmetic"),
        ('kind = "direction"', 'kind = "directon"', "criterion 1.*'direction'"),
        ('metric = "test_errors"\n', "", "claim 'order': .*names 'student' without a metric"),
        ('where = "section 3"\n', "", "claim 'order', field 'where': Field required"),
        ('where = "section 3"', 'were = "section 3"', "nearest: where|Field required"),
        ('id = "order"', 'id = "Order !"', "field 'id'"),
        ('paper = "hinton2015"', "", "field 'paper'"),
        ('title = "', "title = ", "cannot be read as TOML"),
    ],
)
def test_a_mistake_is_named_with_file_claim_and_field(tmp_path, old, new, message):
    assert old in SAMPLE
    with pytest.raises(ClaimError, match=message) as caught:
        load(tmp_path, SAMPLE.replace(old, new, 1))
    assert str(caught.value).startswith(str(tmp_path / "claims.toml"))
    assert "\n" not in str(caught.value) or "TOML" in str(caught.value)


def test_unknown_field_of_a_claim_names_the_nearest(tmp_path):
    with pytest.raises(ClaimError, match="field 'publishd': is unknown .nearest: published"):
        load(tmp_path, SAMPLE.replace("published =", "publishd ="))


def test_ids_are_unique(tmp_path):
    body = SAMPLE.split("\n\n", 1)[1]
    with pytest.raises(ClaimError, match="'order' is used twice"):
        load(tmp_path, SAMPLE + "\n" + body)


def test_missing_file(tmp_path):
    with pytest.raises(ClaimError, match="cannot be read"):
        load_claims(tmp_path / "none.toml")


# Measuring


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


# Judging


def test_reproduced():
    verdict = judge(claim(direction(), magnitude(at_least=60)), table(6))
    assert verdict.word == "reproduced"
    first, second = verdict.results
    assert (first.n, first.p, first.p_holm, first.holds) == (6, 0.03125, 0.03125, True)
    assert (second.mean, second.holds, second.interval) == (pytest.approx(70), True, "t")
    assert str(verdict) == (
        "c: reproduced - every direction is significant and every magnitude holds"
    )


def test_magnitude_fails_direction_only():
    verdict = judge(claim(direction(), magnitude(at_least=71)), table(6))
    assert verdict.word == "direction only"
    assert verdict.gist == "'student - distilled' is not >= 71"


def test_wrong_direction():
    verdict = judge(claim(direction("distilled - student")), table(8))
    assert verdict.word == "not reproduced"
    assert "wrong direction" in verdict.reason
    assert not verdict.results[0].right


def test_not_significant_gives_p_in_the_reason_alone():
    frame = table(6)
    frame[("student", "test_errors")] = frame[("distilled", "test_errors")] + [5, 5, 5, 5, 5, -1]
    verdict = judge(claim(direction()), frame)
    assert verdict.word == "not reproduced"
    assert verdict.reason == "'student - distilled' is not significant, p = 0.0625"
    assert str(verdict) == "c: not reproduced - 'student - distilled' is not significant"


def test_direction_tests_the_distance_from_its_bound():
    assert judge(claim(direction(at_least=69)), table(6)).word == "reproduced"
    assert judge(claim(direction(at_least=71)), table(6)).word == "not reproduced"
    at_most = {"kind": "direction", "quantity": "distilled - student", "at_most": -69}
    assert judge(claim(at_most), table(6)).word == "reproduced"
    assert judge(claim({**at_most, "at_most": -71}), table(6)).word == "not reproduced"


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_seeds(n):
    verdict = judge(claim(direction(), magnitude(at_least=1000)), table(n))
    assert verdict.word == "direction only"
    assert f"not testable (n = {n} < 6)" in str(verdict)
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
    assert judge(subject, table(6, student=160.0)).word == "not reproduced"
    assert judge(subject, table(6, student=130.0)).word == "not reproduced"


def test_within_sd_compares_with_the_pooled_sd_of_the_two_arms():
    frame = table(6)
    arms = frame[[("wide", "test_errors"), ("distilled", "test_errors")]]
    ratio = 1.0 / math.sqrt((arms.std(ddof=1) ** 2).mean())  # the means differ by 1
    for factor, word in [(1.01, "reproduced"), (0.99, "not reproduced")]:
        for quantity in ("wide - distilled", "distilled - wide"):
            subject = claim(magnitude(quantity, within_sd=ratio * factor))
            assert judge(subject, frame).word == word


def test_holm_runs_over_the_directions_of_a_claim():
    both = claim(direction(), direction("distilled - teacher"))
    at_six = judge(both, table(6))
    assert at_six.word == "direction only"
    assert "n = 6 < 7" in str(at_six)
    assert "2 directions under Holm need 7 seeds" in at_six.reason
    assert [r.p_holm for r in at_six.results] == [0.0625, 0.0625]
    assert [r.holds for r in at_six.results] == [None, None]
    at_seven = judge(both, table(7))
    assert at_seven.word == "reproduced"
    assert [r.p for r in at_seven.results] == [2 / 128] * 2
    assert [r.p_holm for r in at_seven.results] == [4 / 128] * 2


def test_a_wrong_direction_is_not_reproduced_even_where_significance_is_out_of_reach():
    both = claim(direction(), direction("teacher - distilled"))
    assert judge(both, table(6)).word == "not reproduced"


def test_one_sided_criteria_reach_significance_with_six_seeds():
    both = claim(direction(sided="one"), direction("distilled - teacher", sided="one"))
    verdict = judge(both, table(6))
    assert verdict.word == "reproduced"
    assert [r.p for r in verdict.results] == [1 / 64] * 2
    wrong = judge(claim(direction("distilled - student", sided="one")), table(6))
    assert (wrong.word, wrong.results[0].p) == ("not reproduced", 1.0)


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
    assert str(verdict) == "c: reproduced - every exact check holds"
    assert (verdict.results[0].mean, verdict.results[0].requirement) == (1e-9, "0 within 1e-06")
    for name in ("fails", "nan"):
        assert judge(claim(exact(name)), pd.DataFrame()).word == "not reproduced"
    both = judge(claim(direction(), exact("fails")), table(6))
    assert both.word == "not reproduced"
    assert judge(claim(direction(), exact("holds")), table(6)).word == "reproduced"
    with pytest.raises(ClaimError, match="'c'.*there is no identity 'absent'"):
        judge(claim(exact("absent")), pd.DataFrame())


def test_exact_checks_are_ours_alone():
    with pytest.raises(ValueError, match="check"):
        claim({"kind": "exact", "quantity": "q", "check": "os:getcwd"})


def test_judge_all_and_table(tmp_path):
    (order,) = load(tmp_path, SAMPLE)
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

"""What a claims file may hold, and how a mistake in it is named."""

from pathlib import Path

import pytest
from paper_tables import SAMPLE, claim

from kdnb import papers
from kdnb.papers.claims import ClaimError, load_claims


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
        ("at_least = 0.6\n", "within_sd = 1.0\n", "criterion 2, field .within_sd.: is unknown"),
        ("at_least = 0\n", "at_least = 0\nsmallest = 0\n", "field 'smallest'.*greater than 0"),
        ("at_least = 0.6\n", "at_least = nan\n", "criterion 2, field 'at_least'.*finite"),
        ('"student - distilled"', '"student -"', "criterion 1, field 'quantity'.*arithmetic"),
        ('"student - distilled"', '"student - parameters"', "'quantity'.*'parameters' is no arm"),
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


def test_exact_checks_are_ours_alone():
    with pytest.raises(ValueError, match="check"):
        claim({"kind": "exact", "quantity": "q", "check": "os:getcwd"})


EQUIVALENT = """kind = "equivalence"
quantity = "student - distilled"
tolerance = 5
"""


def equivalent(tmp_path, old="", new=""):
    start = SAMPLE.index('kind = "magnitude"')
    assert old in EQUIVALENT
    return load(tmp_path, SAMPLE[:start] + EQUIVALENT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("range_", "requirement"),
    [
        ("tolerance = 5", "within 5 of 0, whole interval"),
        ("within_sd = 1.0", "within 1 sd of 0, whole interval"),
        ("at_most = 5", "<= 5, whole interval"),
        ("at_least = -1\nat_most = 5", ">= -1 and <= 5, whole interval"),
    ],
)
def test_an_equivalence_has_one_range(tmp_path, range_, requirement):
    (order,) = equivalent(tmp_path, "tolerance = 5", range_)
    assert order.criteria[1].requirement == requirement
    assert order.criteria[0].requirement == "> 0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tolerance = 5", "", "criterion 2: an equivalence needs one range"),
        ("tolerance = 5", "tolerance = 5\nat_most = 1", "criterion 2: .*one range"),
        ("tolerance = 5", "tolerance = 0", "field 'tolerance'"),
        ("tolerance = 5", "at_least = 2\nat_most = 1", "2.*above.*1"),
        ("tolerance = 5", "tolerance = 5\npooled = true", "field 'pooled': is unknown"),
        (
            'quantity = "student - distilled"\ntolerance = 5',
            'quantity = "(student - distilled) / teacher"\nwithin_sd = 1.0',
            "difference of two arms",
        ),
    ],
)
def test_a_wrong_equivalence_is_named(tmp_path, old, new, message):
    with pytest.raises(ClaimError, match=message):
        equivalent(tmp_path, old, new)


PREMISE = """
[[premise]]
why = "the student fits its training images"
quantity = "100 * student.train_errors / parameters.train_images"
at_most = 5
"""
OWN = """
[[claim.premise]]
why = "the teacher is better"
quantity = "student - teacher"
at_least = 0
"""


def with_premises(text=PREMISE, own=OWN, more=""):
    head, body = SAMPLE.split("\n\n", 1)
    body = body.replace("published =", f"{more}published =")
    return f"{head}\n{text}\n{body.replace('[[claim.criterion]]', own + '[[claim.criterion]]', 1)}"


def test_premises_of_the_paper_come_before_those_of_a_claim(tmp_path):
    (order,) = load(tmp_path, with_premises())
    whys = [premise.why for premise in order.premises]
    assert whys == ["the student fits its training images", "the teacher is better"]
    assert [premise.requirement for premise in order.premises] == ["<= 5", ">= 0"]
    (apart,) = load(tmp_path, with_premises(more="shares_premises = false\n"))
    assert [premise.why for premise in apart.premises] == ["the teacher is better"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("at_most = 5\n", "", "premise 1: a premise needs"),
        ("at_most = 5\n", "at_most = 5\nat_leas = 1\n", "premise 1, field 'at_leas': is unknown"),
        ("student.train_errors", "student", "names 'student' without a metric"),
        ('why = "the student fits its training images"\n', "", "premise 1, field 'why'"),
        ('why = "the teacher is better"\n', "", "claim 'order', premise 1, field 'why'"),
        ("at_least = 0\n", "", "claim 'order', premise 1: a premise needs"),
    ],
)
def test_a_wrong_premise_is_named(tmp_path, old, new, message):
    text = with_premises()
    assert old in text
    with pytest.raises(ClaimError, match=message):
        load(tmp_path, text.replace(old, new, 1))


def test_an_exact_check_stands_alone():
    exact = {"kind": "exact", "quantity": "q", "check": "balance"}
    assert claim(exact).identity
    with pytest.raises(ValueError, match="an exact check stands alone"):
        claim(exact, {"kind": "direction", "quantity": "student - teacher", "at_least": 0})


def test_an_identity_shares_no_premise(tmp_path):
    start = SAMPLE.index("[[claim.criterion]]")
    exact = '[[claim.criterion]]\nkind = "exact"\nquantity = "q"\ncheck = "balance"\n'
    head, body = (SAMPLE[:start] + exact).split("\n\n", 1)
    (order,) = load(tmp_path, f"{head}\n{PREMISE}\n{body}")
    assert order.premises == ()


def test_a_claim_of_the_paper_says_where_it_is_published():
    """A claim without published values says in words where the paper makes it, or is ours."""
    for key in papers.reproduced_papers():
        for one in papers.claims_of(key):
            if not one.ours:
                assert not one.where.startswith(("not in", "our ")), (key, one.id)
            else:
                assert one.published == {} or "ours" in one.statement, (key, one.id)


def test_a_reading_error_is_no_bad_file(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(PermissionError):
        load_claims(tmp_path / "claims.toml")

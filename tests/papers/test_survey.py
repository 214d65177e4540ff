"""The survey's Tables 5 and 6 and the public logs, against what is known of them by hand."""

import math

import pytest

from kdnb import papers

BOTH = [5, 6]


@pytest.mark.parametrize(("number", "rows", "schemes"), [
    (5, 29, {"offline": 15, "online": 12, "self": 2}),
    (6, 44, {"offline": 25, "online": 13, "self": 6}),
])  # fmt: skip
def test_every_row_is_there(number, rows, schemes):
    table = papers.survey_table(number)
    assert len(table) == rows
    assert table["scheme"].value_counts().to_dict() == schemes
    assert table["alone"].between(30, 97).all() and table["distilled"].between(30, 98).all()
    assert (table["gain"] > 0).all()  # no row of either table loses
    assert table["knowledge"].str.fullmatch(r"(ResK|FeaK|RelK)(\+(ResK|FeaK|RelK))*").all()


def test_three_printed_gains_are_wrong_and_marked():
    wrong = []
    for number in BOTH:
        table = papers.survey_table(number)
        off = (table["printed_gain"] - table["gain"]).abs() > 0.006
        wrong += [(number, row.method, row.student, row.gain) for row in table[off].itertuples()]
        assert table.loc[off, "slip"].str.contains("gain is printed").all()
        assert not table.loc[~off, "slip"].str.contains("gain").any()
    assert wrong == [
        (5, "ONE", "ResNet32", 0.94), (6, "Rocket-KD", "WRN-16-1", 10.70), (6, "DML", "ResNet32", 2.11),
    ]  # fmt: skip


def test_rows_known_by_hand():
    table = papers.survey_table(6).set_index(["method", "student"])
    crossed = table.loc[("SSKD", "MobileNetV2")]
    assert crossed["distilled"].tolist() == [71.53, 72.57]
    assert math.isnan(table.loc[("CCKD", "ResNet20"), "gap"])  # no accuracy of its teacher
    assert papers.survey_table(5).query("method == 'FT'")["gap"].tolist() == [1.39]


def test_the_logs():
    logs = papers.best_epochs()
    assert len(logs) == 39 and not logs["log"].duplicated().any()
    assert logs["method"].value_counts().to_dict() == {"DKD": 14, "KD": 14, "MLKD": 11}
    assert (logs["inflation"] >= 0).all()
    assert logs["inflation"].mean() == pytest.approx(0.306, abs=0.001)


def test_another_table_is_refused():
    with pytest.raises(ValueError, match="5 and 6; got 4"):
        papers.survey_table(4)

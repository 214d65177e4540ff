"""Comparisons on the same seeds: by hand, in a toy setting, and beside a record."""

import itertools
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn
from typer.testing import CliRunner

import kdnb
from kdnb.losses import logit_regression, soft_targets
from kdnb.papers.statistics import sign_flip
from kdnb.reproductions import compare as module
from kdnb.reproductions import reproduce
from kdnb.reproductions import tian2020crd as fair
from kdnb.reproductions.compare import compare
from kdnb.training import Recipe
from kdnb.training.toy import Toy
from kdnb.workbook.cli import app

ERRORS = {
    "a": [10, 12, 11, 13, 12, 11, 10],
    "b": [8, 9, 9, 10, 8, 8, 7],
    "c": [10, 13, 10, 13, 12, 12, 10],
}


def calls(table=ERRORS):
    return {name: (lambda seed, row=row: row[seed]) for name, row in table.items()}


def test_the_table_by_hand():
    found = compare(calls(), seeds=7)
    assert found.errors.to_dict("list") == {k: [float(v) for v in row] for k, row in ERRORS.items()}
    table = found.table
    assert list(table.index) == ["b", "a", "c"]
    gap = np.subtract(ERRORS["b"], ERRORS["a"])
    half = stats.t.ppf(0.975, 6) * gap.std(ddof=1) / math.sqrt(7)
    row = table.loc["b"]
    assert (row.errors, row.difference) == pytest.approx((np.mean(ERRORS["b"]), gap.mean()))
    assert (row.low, row.high) == pytest.approx((gap.mean() - half, gap.mean() + half))
    ps = [sign_flip(np.subtract(ERRORS[name], ERRORS["a"])) for name in "bc"]
    assert row.p == ps[0] == 2 / 2**7
    assert row.p_holm == pytest.approx(min(1, 2 * ps[0])) and row.verdict == "better"
    assert table.loc["c", "p_holm"] == pytest.approx(ps[1]) and table.verdict["c"] == "undecided"
    assert table.verdict["a"] == "control" and math.isnan(table.p["a"])
    assert compare(calls(), seeds=7, control="b").table.verdict["a"] == "worse"


def test_its_text_fits_80_columns_and_says_what_could_not_be_shown():
    found = compare(calls(), seeds=range(6))
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "against a" in text and "95% interval" in text
    assert "no p can fall below 0.05 under 7 seeds" in text
    assert "no p can" not in repr(compare(calls(), seeds=7))
    assert "<table" in found._repr_html_()


def test_several_controls():
    found = compare(calls(), seeds=7, control=["a", "c"])
    assert list(found.table.columns.get_level_values(0).unique()) == ["", "against a", "against c"]
    assert found.table["against c", "difference"]["b"] == pytest.approx(
        np.mean(ERRORS["b"]) - np.mean(ERRORS["c"])
    )


@pytest.mark.parametrize(
    ("conditions", "options", "said"),
    [({}, {}, "at least one condition"),
     (["kd", "dkd"], {}, r"{name: method or callable}; got \['kd', 'dkd'\]"),
     (lambda seed: 1.0, {}, "{name: method or callable}; got "),
     (calls(), {"seeds": 1}, "two or more different seeds"),
     (calls(), {"seeds": 10**12}, "1,000 at most; got 1000000000000"),
     (calls(), {"seeds": itertools.count()}, "1,000 at most; got count"),
     (calls(), {"seeds": [1, 1]}, "two or more different seeds"),
     (calls(), {"control": "d"}, "no condition 'd'"),
     ({"a": "kd"}, {}, "'a' says how to learn but not from what: give setting=kdnb.toy"),
     ({"a": lambda seed: "no number"}, {}, "'a' must return its errors"),
     ({"a": lambda seed: math.nan}, {}, "'a' gave nan errors with seed 0"),
     (calls(), {"student": "vgg"}, "student= belongs to a recorded setting"),
     (calls(), {"profile": "full"}, "profile= belongs to a recorded setting"),
     ({"a": "kd"}, {"setting": "hinton2015"}, "'hinton2015' is no recorded comparison"),
     ({"a": None}, {"setting": "tian2020crd"}, "'a' must be a loss or a method"),
     ({"crd": "kd"}, {"setting": "tian2020crd"}, "the name 'crd' belongs to a recorded condition"),
     ({"a": "kd"}, {"setting": "tian2020crd", "student": "x"}, "no student 'x': resnet, vgg"),
     ({"a": "kd"}, {"setting": "tian2020crd", "seeds": 99}, "is not recorded: tian2020crd at")],
)  # fmt: skip
def test_what_is_refused(conditions, options, said):
    with pytest.raises(ValueError, match=said):
        compare(conditions, **options)


def test_data_alone_are_no_setting():
    with pytest.raises(TypeError, match=r"setting is a kdnb.toy\(...\), .* got "):
        compare({"kd": "kd"}, setting=(torch.zeros(4, 2), torch.zeros(4).long()))


# --- a setting of one's own ------------------------------------------------------------------------


def small(teacher=True):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 6, generator=generator)
    labels = (inputs[:, 0] + inputs[:, 1] * inputs[:, 2] > 0).long()

    def student(seed):
        torch.manual_seed(seed)
        return nn.Linear(6, 2)

    torch.manual_seed(0)
    guide = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)) if teacher else None
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")
    return Toy((inputs[:32], labels[:32]), (inputs[32:], labels[32:]), student, guide, recipe)


def test_conditions_of_a_seed_start_alike_and_see_the_same():
    nothing = {"method": "kd", "weight": 0.0}
    seen = []

    def own(student_logits, teacher_logits):
        seen.append((student_logits.detach().clone(), teacher_logits.clone()))
        return 0 * student_logits.sum()

    found = compare({"labels": None, "no weight": nothing, "own": own}, setting=small(), seeds=3)
    assert (found.errors["labels"] == found.errors["no weight"]).all()
    assert (found.errors["labels"] == found.errors["own"]).all()
    assert found.errors["labels"].nunique() > 1  # other seeds, other weights
    assert len(seen) == 3 * (1 + 2 * 4)  # each run tries the loss on a first batch, then trains


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("kdd", "nearest: .*kd"), ({"method": "kd", "temprature": 2}, "temprature"),
     ({"method": "at", "weight": -1.0}, "weight")],
)  # fmt: skip
def test_a_wrong_condition_is_refused_before_any_is_trained(wrong, message):
    called = []
    with pytest.raises(ValueError, match=message):
        compare({"first": called.append, "wrong": wrong}, setting=small(), seeds=2)
    assert not called


def test_kinds_of_conditions():
    def with_labels(student_logits, teacher_logits, labels):
        assert labels.shape == student_logits.shape[:1]
        return logit_regression(student_logits, teacher_logits)

    kinds = {
        "kd": "kd", "named": {"method": "kd", "temperature": 4.0}, "loss": with_labels,
        "two": {"method": ["kd", "dkd"], "temperature": {"kd": 2.0}},
        "call": lambda seed: pd.Series({"errors": 3}),
    }  # fmt: skip
    found = compare(kinds, setting=small(), seeds=2)
    assert (found.errors["kd"] == found.errors["named"]).all()
    assert (found.errors["call"] == 3).all()
    with pytest.raises(ValueError, match="'kd' needs a teacher, and a setting of one's own has"):
        compare({"kd": "kd"}, setting=small(teacher=False), seeds=2)


# --- beside a record -------------------------------------------------------------------------------

TINY = fair.Parameters(train_images=128, test_images=100, epochs=1, seeds=2, arms=[])


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    monkeypatch.setenv("KDNB_JOBS", "1")
    tuned = {name: {"weight": 2.0} for name in fair.COMPARED}
    monkeypatch.setattr(fair, "weights", lambda: {"weights": dict.fromkeys(fair.STUDENTS, tuned)})
    arms = ["kd_resnet", "student_resnet", "logit_regression_resnet"]
    record = reproduce(fair.REPRODUCTION, TINY, profile="laptop", arms=arms)
    monkeypatch.setattr(module, "read_record", lambda key, profile: record)
    return record


def test_a_newcomer_is_trained_as_the_recorded_conditions_were(recorded):
    def mine(student_logits, teacher_logits):
        return soft_targets(student_logits, teacher_logits, 4.0)

    losses = {
        "mine": {"method": mine, "weight": 2.0},
        "again": {"method": "kd", "weight": 2.0},
        "milder": {"method": "kd", "weight": 2.0, "temperature": 1.0},
    }
    found = compare(losses, setting="tian2020crd", seeds=2)
    assert set(found.errors) == {*losses, "kd", "undistilled", "logit_regression"}
    kept = [recorded.arms["kd_resnet"][seed].metrics["test_errors"] for seed in (0, 1)]
    assert found.errors["kd"].to_list() == kept
    assert found.errors["again"].to_list() == found.errors["mine"].to_list() == kept
    assert found.errors["milder"].to_list() != kept
    assert found.controls == ("kd", "undistilled")
    assert found.against("kd").verdict["logit_regression"] == "recorded"
    text = repr(found)
    assert "against kd" in text and "against undistilled" in text
    assert "1 recorded conditions more: .table" in text


def test_the_command_takes_a_module_of_the_folder(recorded, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "def my_loss(student_logits, teacher_logits):\n"
        "    return (student_logits - teacher_logits).square().mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    command = ["compare", "my_losses:my_loss", "--setting", "tian2020crd", "--seeds", "2"]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert "my_loss" in done.output and "against undistilled" in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    for name, said in (("my_losses:other", "has no 'other'"), ("nowhere:x", "cannot be imported")):
        with pytest.raises(ValueError, match=said):
            module.named_conditions([name])


def test_the_committed_record_has_what_a_comparison_needs():
    record = kdnb.papers.read_record("tian2020crd", "laptop")
    for student in fair.STUDENTS:
        errors = module._recorded(fair, record, student)
        assert {"kd", "undistilled", "crd"} <= set(errors) and len(errors) >= 6
    fair.Parameters.model_validate(record.parameters)

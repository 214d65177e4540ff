"""A table of one's own: numbers, categories and text as tensors, by the training rows alone."""

import numpy as np
import pandas as pd
import pytest
import torch

import kdnb
from kdnb import data
from kdnb.data.cards import DataError
from kdnb.names import UsageError


def frame(rows=40):
    rng = np.random.default_rng(0)
    label = np.arange(rows) % 2
    return pd.DataFrame({
        "id": [f"row {n}" for n in range(rows)],
        "size": rng.normal(5, 2, rows) + 9 * label,
        "colour": np.array(["red", "blue", "green"])[np.arange(rows) % 3],
        "sold": label == 1,
        "note": [f"Very {'good' if one else 'bad'} thing, {n}!" for n, one in enumerate(label)],
        "kind": np.array(["no", "yes"])[label],
    })  # fmt: skip


OUT = ["id", "note"]


def test_the_parts_are_the_rows(tmp_path):
    table = data.own_table(frame(), "kind", leave_out=OUT)
    assert table.classes == ("no", "yes")
    assert table.columns == (
        "size", "colour = blue", "colour = green", "colour = red", "sold = False", "sold = True",
    )  # fmt: skip
    assert [len(labels) for _, labels in (table.train, table.held_out)] == [32, 8]
    assert table.held_out[1].bincount().tolist() == [4, 4]
    kept = frame().drop(index=list(table.held_out_rows))
    assert table.train[1].tolist() == (kept.kind == "yes").astype(int).tolist()
    scaled = (kept["size"] - kept["size"].mean()) / kept["size"].std(ddof=0)
    assert table.train[0][:, 0].tolist() == pytest.approx(scaled.tolist(), abs=1e-5)
    assert torch.equal(
        table.train[0][:, 3], torch.tensor((kept.colour == "red").to_numpy()).float()
    )
    assert repr(table) == "OwnTable: 32 training and 8 held-out rows, 6 inputs, 2 classes"
    frame().to_csv(tmp_path / "t.csv", index=False)
    frame().to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    for name in ("t.csv", "t.tsv"):
        read = data.own_table(tmp_path / name, "kind", leave_out=OUT)
        assert torch.allclose(read.train[0], table.train[0]) and read.classes == table.classes


def test_held_out_rows_leave_no_trace_in_the_numbers():
    plain = frame()
    table = data.own_table(plain, "kind", leave_out=OUT)
    changed = plain.copy()
    rows = list(table.held_out_rows)
    changed.loc[rows, "size"] = 1e6
    changed.loc[rows, "colour"] = "violet"
    other = data.own_table(changed, "kind", leave_out=OUT)
    assert torch.equal(other.train[0], table.train[0]) and other.columns == table.columns
    assert other.held_out[0][:, 1:4].abs().sum() == 0  # a colour that no training row has


def test_what_is_missing_is_said():
    holes = frame()
    holes.loc[::5, "size"] = np.nan
    holes.loc[::4, "colour"] = None
    holes.loc[3, "kind"] = None
    table = data.own_table(holes, "kind", leave_out=OUT)
    assert "size is missing" in table.columns and "colour = missing" in table.columns
    assert len(table.train[1]) + len(table.held_out[1]) == 39
    inputs = table.train[0]
    place = table.columns.index("size is missing")
    absent = inputs[:, place] == 1
    assert absent.any() and (inputs[absent, table.columns.index("size")] == 0).all()
    assert inputs.isfinite().all()


def test_a_column_of_one_value_and_one_of_numbers_beyond_range():
    odd = frame().assign(same=3, wide=[np.inf, -np.inf] * 20)
    table = data.own_table(odd, "kind", leave_out=OUT)
    assert (
        table.train[0].isfinite().all()
        and table.train[0][:, table.columns.index("same")].abs().sum() == 0
    )


def test_text_is_a_bag_of_words():
    texts = frame()[["note", "kind"]]
    table = data.own_table(texts, "kind", text="note", words=64)
    inputs, _ = table.train
    assert inputs.shape == (32, 64) and table.columns[0] == "words 0"
    assert inputs.norm(dim=1).tolist() == pytest.approx([1] * 32, abs=1e-5)
    again = data.own_table(texts.assign(note=texts.note.str.upper()), "kind", text="note", words=64)
    assert torch.equal(again.train[0], inputs)
    some = data.own_table(texts.assign(note=[*texts.note[:-1], None]), "kind", text="note", words=8)
    both = torch.cat([some.train[0], some.held_out[0]])
    assert (both.abs().sum(1) == 0).sum() == 1


def test_the_verbs_take_it():
    table = data.own_table(frame(), "kind", leave_out=OUT)
    torch.manual_seed(0)
    net = torch.nn.Linear(len(table.columns), 2)
    kdnb.train(net, table.train, epochs=30, batch_size=8, lr=0.1)
    assert kdnb.evaluate(net, table.held_out).accuracy == 1


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda f: f, {"label": "kinds"}, r"no column 'kinds' \(nearest: kind"),
        (lambda f: f, {"text": "notes"}, r"no column 'notes' \(nearest: note"),
        (lambda f: f, {"leave_out": ["x"]}, "no column 'x'"),
        (lambda f: f, {"held_out": 1}, "held_out is a share between 0 and 1"),
        (lambda f: f, {"words": 0}, "words is a whole number"),
        (
            lambda f: f.assign(id=[f"row {n}" for n in range(100)]),
            {},
            "column 'id' has 80 different",
        ),
        (lambda f: f.assign(kind="yes"), {}, "the label 'kind' has one value only"),
        (lambda f: f.assign(kind=["a"] + ["b"] * 99), {}, "class 'a' has one row"),
        (lambda f: f[["kind"]], {"leave_out": []}, "no column besides the label"),
        (lambda f: f.head(0), {}, "the table has no row"),
        (
            lambda f: f[["kind", "note"]].assign(note=7),
            {"text": "note", "leave_out": []},
            "'note' holds no words",
        ),
        (lambda f: f[["kind"]].set_axis(["a;kind"], axis=1), {}, "separate its columns by ';'"),
        (lambda f: pd.concat([f, f], axis=1), {}, "two columns 'id'"),
        (lambda f: f.to_numpy(), {}, "not a ndarray"),
        (lambda f: "nowhere.csv", {}, "there is no file nowhere.csv"),
    ],
)
def test_what_is_wrong_is_one_sentence(change, options, words):
    given = {"label": "kind", "leave_out": ["note"]} | options
    with pytest.raises((DataError, UsageError), match=words) as caught:
        data.own_table(change(frame(100)), **given)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"must end in .csv"):
        data.own_table(tmp_path / "t.xlsx", "kind")
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n1,2,3,4\n")
    with pytest.raises(DataError, match="is no table that can be read"):
        data.own_table(tmp_path / "t.csv", "a")
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    with pytest.raises(DataError, match="is no table that can be read"):
        data.own_table(tmp_path / "t.csv", "a")

"""Sentences: read from folders and addresses in one order, verified, and split."""

import hashlib
import io
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from kdnb.data import fetch
from kdnb.data.cards import DataError
from kdnb.data.offered import card_of
from kdnb.data.texts import load_texts, text_card, text_names
from kdnb.papers import bibliography
from kdnb.workbook import cli

CARD = """
title = "Moods"
about = "short sentences"
classes = ["good", "bad"]
encoding = "latin-1"
licence = "CC0"
cite = "hinton2015"
folders = ["moods", "Moods"]
validation = 2

[train]
address = "https://example.org/moods/train.label"
files = ["train.label", "train.txt"]
size = 5
sha256 = "{train}"

[test]
address = "https://example.org/moods/test.label"
files = ["test.label"]
size = 2
sha256 = "{test}"
"""
TRAIN = b"good:fine What a day !\nbad Not so .\ngood:rest Caf\xe9 and cake\nbad:low It rains .\ngood Sun .\n"
TEST = b"bad:low More rain .\r\ngood More sun .\r\n"


def derived(content):
    """The digest of a file, by a derivation of its own."""
    keys = []
    for line in content.decode("latin-1").split("\n"):
        if line.strip():
            label, sentence = line.strip().split(" ", 1)
            place = ["good", "bad"].index(label.split(":")[0])
            keys.append(hashlib.sha256(bytes([place]) + sentence.encode()).digest())
    return hashlib.sha256(b"".join(sorted(keys))).hexdigest()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A checkout with the card of the moods, an empty cache and one folder of data."""
    (tmp_path / "home/papers").mkdir(parents=True)
    (tmp_path / "home/data/texts").mkdir(parents=True)
    card = CARD.format(train=derived(TRAIN), test=derived(TEST))
    (tmp_path / "home/data/texts/moods.toml").write_text(card)
    (tmp_path / "disk/moods").mkdir(parents=True)
    for variable, folder in (
        ("KDNB_HOME", "home"), ("KDNB_CACHE", "cache"), ("KDNB_DATA_DIRS", "disk"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return SimpleNamespace(folder=tmp_path / "disk/moods", cache=tmp_path / "cache/moods")


def put(home, train=TRAIN, test=TEST, name="train.label"):
    (home.folder / name).write_bytes(train)
    (home.folder / "test.label").write_bytes(test)


def test_order_and_line_ends_of_the_file_are_of_no_account(home):
    put(home)
    found = load_texts("moods", offline=True)
    assert {part: len(one) for part, one in found.items()} == {
        "train": 3, "validation": 2, "test": 2,
    }  # fmt: skip
    said = dict(zip(found["test"].sentences, found["test"].labels.tolist(), strict=True))
    assert said == {"More rain .": 1, "More sun .": 0}
    everything = found["train"].sentences + found["validation"].sentences
    assert "Café and cake" in everything
    put(home, b"\r\n".join(reversed(TRAIN.strip().split(b"\n"))), name="train.txt")
    (home.folder / "train.label").unlink()
    again = load_texts("moods", offline=True)
    for part, one in found.items():
        assert again[part].sentences == one.sentences
        assert again[part].labels.equal(one.labels)


def test_the_authors_files_are_kept(home, monkeypatch):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return io.BytesIO(TRAIN if "train" in address else TEST)

    monkeypatch.setattr(fetch, "urlopen", urlopen)
    first = load_texts("moods")
    assert asked == [f"https://example.org/moods/{part}.label" for part in ("train", "test")]
    assert load_texts("moods", offline=True)["train"].sentences == first["train"].sentences
    assert sorted(path.name for path in home.cache.iterdir()) == ["test.label", "train.label"]
    (home.cache / "train.label").write_bytes(TRAIN[:-9])
    with pytest.raises(DataError, match="It has been taken away: try again"):
        load_texts("moods")
    assert load_texts("moods")["train"].sentences == first["train"].sentences
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (TRAIN.replace(b"Sun", b"Moon"), "the train sentences of Moods in .*others: 5 of SHA-256"),
        (TRAIN + b"good More .\n", "others: 6 of SHA-256"),
        (TRAIN + b"sad:low It is late .\n", "line 6 of .* is no sentence of Moods: 'sad:low It is"),
        (TRAIN + b"good\n", "line 6 of .* is no sentence of Moods: 'good'"),
    ],
)
def test_other_sentences_are_refused(home, train, words):
    put(home, train)
    with pytest.raises(DataError, match=words):
        load_texts("moods", offline=True)


def test_without_a_source_the_ways_out_are_told(home, monkeypatch):
    with pytest.raises(DataError, match="no source on this machine has Moods: put the files https"):
        load_texts("moods", offline=True)

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(fetch, "urlopen", unreachable)
    with pytest.raises(
        DataError, match=r"gave no Moods \(no route\): put the files .* moods/ of a"
    ):
        load_texts("moods")
    with pytest.raises(DataError, match="no sentences 'mood' .nearest: moods"):
        load_texts("mood")


def test_a_record_finds_the_digest_of_either_kind():
    assert card_of("trec").sha256["train"] == text_card("trec").train.sha256
    assert card_of("mnist").name == "mnist"


@pytest.mark.parametrize("name", text_names())
def test_committed_cards(name):
    card = text_card(name)
    assert card.cite in bibliography().entries
    try:
        found = load_texts(name, offline=True)
    except DataError as reason:
        pytest.skip(str(reason))
    assert len(found["validation"]) == card.validation
    assert len(found["train"]) == card.train.size - card.validation
    for one in found.values():
        assert set(one.labels.tolist()) == set(range(len(card.classes)))


def test_the_command_line_lists_and_verifies_sentences(home):
    put(home)
    listed = CliRunner().invoke(cli.app, ["data"])
    assert "moods" in listed.output and "Moods" in listed.output
    one = CliRunner().invoke(cli.app, ["data", "moods"])
    assert "moods: 5 training and 2 test sentences, 2 classes, digests verified." in one.output
    unknown = CliRunner().invoke(cli.app, ["data", "mood"])
    assert "Sentences: moods." in str(unknown.exception)

"""Reviews in folders or in their archive: one order, counted or verified, and split."""

import hashlib
import io
import tarfile
from types import SimpleNamespace

import pytest

from kdnb.data import fetch
from kdnb.data.cards import DataError
from kdnb.data.offered import card_of, rows, verified
from kdnb.data.reviews import load_reviews, review_card, review_names
from kdnb.data.texts import load_texts
from kdnb.papers import bibliography

REVIEWS = {
    "train/pos/0_9.txt": "A joy .", "train/pos/1_7.txt": "Caf\u00e9 scenes are fine .", "train/pos/2_8.txt": "Bright .",
    "train/neg/0_2.txt": "Dull .", "train/neg/1_1.txt": "Too long .", "train/neg/2_3.txt": "No plot .",
    "test/pos/0_10.txt": "Fresh .", "test/pos/1_7.txt": "Warm .", "test/neg/0_1.txt": "Grey .", "test/neg/1_4.txt": "Stale .",
    "train/unsup/0_0.txt": "Nobody said .", "train/pos.txt": "an index", "train/labeledBow.feat": "1:2",
}  # fmt: skip
CARD = """
title = "Small films"
about = "reviews"
classes = ["neg", "pos"]
address = "https://example.org/films/small_v1.tar.gz"
archive = "small_v1.tar.gz"
md5 = "{md5}"
licence = "CC0"
cite = "maas2011imdb"
folders = ["aclImdb"]
validation = 2

[sizes]
train = 3
test = 2
"""


def archive(reviews=REVIEWS):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in reviews.items():
            about = tarfile.TarInfo(f"aclImdb/{name}")
            about.size = len(text.encode())
            tar.addfile(about, io.BytesIO(text.encode()))
    return made.getvalue()


ARCHIVE = archive()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A checkout with one card, an empty cache and one folder of data."""
    (tmp_path / "home/data/reviews").mkdir(parents=True)
    card = CARD.format(md5=hashlib.md5(ARCHIVE).hexdigest())
    (tmp_path / "home/data/reviews/films.toml").write_text(card)
    (tmp_path / "home/papers").mkdir()
    (tmp_path / "disk").mkdir()
    for variable, folder in (
        ("KDNB_HOME", "home"), ("KDNB_CACHE", "cache"), ("KDNB_DATA_DIRS", "disk"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return SimpleNamespace(disk=tmp_path / "disk", cache=tmp_path / "cache/films")


def unpack(home, reviews=REVIEWS):
    for name, text in reviews.items():
        path = home.disk / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def test_a_folder_and_its_archive_are_the_same(home):
    unpack(home)
    found = load_reviews("films", offline=True)
    assert {part: len(one) for part, one in found.items()} == {"train": 4, "validation": 2, "test": 4}  # fmt: skip
    said = dict(zip(found["test"].sentences, found["test"].labels.tolist(), strict=True))
    assert said == {"Fresh .": 1, "Warm .": 1, "Grey .": 0, "Stale .": 0}
    everything = found["train"].sentences + found["validation"].sentences
    assert "Caf\u00e9 scenes are fine ." in everything and "Nobody said ." not in everything
    keys = [hashlib.sha256(bytes([label]) + text.encode()).digest() for text, label in said.items()]
    assert keys == sorted(keys)
    for path in (home.disk / "aclImdb").rglob("*"):
        if path.is_file():
            path.unlink()
    (home.disk / "aclImdb").rename(home.disk / "gone")
    (home.disk / "small_v1.tar.gz").write_bytes(ARCHIVE)
    again = load_texts("films", offline=True)
    for part, one in found.items():
        assert again[part].sentences == one.sentences
        assert again[part].labels.equal(one.labels)


def test_the_authors_archive_is_kept_and_taken_away_when_damaged(home, monkeypatch):
    asked = []
    monkeypatch.setattr(
        fetch, "urlopen", lambda address, timeout: asked.append(address) or io.BytesIO(ARCHIVE)
    )
    first = load_reviews("films")
    assert asked == ["https://example.org/films/small_v1.tar.gz"]
    assert load_reviews("films", offline=True)["test"].sentences == first["test"].sentences
    (home.cache / "small_v1.tar.gz").write_bytes(ARCHIVE[:-9])
    with pytest.raises(DataError, match=r"its MD5 is \w+, expected \w+\. It has been taken away"):
        load_reviews("films")
    load_reviews("films")
    assert len(asked) == 2


def test_other_reviews_are_refused(home):
    with pytest.raises(DataError, match="no source on this machine has Small films: unpack https:"):
        load_texts("films", offline=True)
    unpack(home, {**REVIEWS, "test/neg/2_2.txt": "One more ."})
    with pytest.raises(DataError, match="holds 3 test reviews of neg, expected 2"):
        load_reviews("films", offline=True)
    (home.disk / "aclImdb/test/neg/2_2.txt").unlink()
    (home.disk / "aclImdb/train/neg/0_2.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is no UTF-8"):
        load_reviews("films", offline=True)


def test_they_are_offered_and_say_what_was_checked(home):
    unpack(home)
    assert ("films", "Small films", "reviews", "6", "4", "CC0") in rows()
    assert verified("films").endswith("a folder by its numbers of files alone.")
    assert card_of("films").sha256 == {}


def test_our_card():
    assert review_names() == ("imdb",)
    card = review_card("imdb")
    assert card.sizes == {"train": 12500, "test": 12500} and card.cite in bibliography().entries

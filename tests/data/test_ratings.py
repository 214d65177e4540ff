"""Ratings: two forms of the files and an archive give one order, verified."""

import hashlib
import io
import zipfile
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from kdnb.data import fetch
from kdnb.data.cards import DataError
from kdnb.data.offered import card_of
from kdnb.data.ratings import load_ratings, rating_card, rating_names
from kdnb.papers import bibliography
from kdnb.workbook import cli

CARD = """
title = "Films"
about = "few ratings"
genres = ["unknown", "Comedy", "Film-Noir"]
occupations = ["none", "writer"]
users = 2
items = 3
ratings = 4
licence = "CC0"
cite = "hinton2015"
folders = ["films", "Films"]
archive = "https://example.org/films.zip"

[sha256]
ratings = "{digest}"
"""
OFFICIAL = {
    "u.data": b"1\t3\t5\t900\n2\t1\t1\t100\n1\t1\t4\t200\n2\t2\t3\t100\n",
    "u.user": b"1|24|M|writer|85711\n2|53|F|none|94043\n",
    "u.item": "1|Caf\xe9 (1995)|01-Jan-1995||http://x|0|1|0\n2|B|||x|0|1|1\n3|C|||x|1|0|0\n".encode("latin-1"),
}  # fmt: skip
TABLES = {
    "films.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + OFFICIAL["u.data"],
    "films.user": b"a\tb\tc\td\te\n1\t24\tM\twriter\t85711\n2\t53\tF\tnone\t94043\n",
    "films.item": "a\tb\tc\td\n1\tCaf\xe9\t1995\tComedy\n2\tB\t\tComedy Film-Noir\n3\tC\t\tunknown\n".encode(),
}  # fmt: skip
ORDER = [(2, 1, 1, 100), (2, 2, 3, 100), (1, 1, 4, 200), (1, 3, 5, 900)]


def digest():
    """Of all that is known, by a derivation of its own."""
    numbers = [n for row in ORDER for n in row] + [24, 1, 1, 53, 0, 0]
    content = b"".join(n.to_bytes(4, "little") for n in numbers)
    return hashlib.sha256(content + bytes([0b01001110, 0b00000000])).hexdigest()


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home/papers").mkdir(parents=True)
    (tmp_path / "home/data/ratings").mkdir(parents=True)
    (tmp_path / "home/data/ratings/films.toml").write_text(CARD.format(digest=digest()))
    (tmp_path / "disk/films").mkdir(parents=True)
    for variable, folder in (
        ("KDNB_HOME", "home"), ("KDNB_CACHE", "cache"), ("KDNB_DATA_DIRS", "disk"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return SimpleNamespace(folder=tmp_path / "disk/films", disk=tmp_path / "disk")


def put(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)


def archive(files=OFFICIAL):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in files.items():
            opened.writestr(f"ml/{name}", content)
    return made.getvalue()


@pytest.mark.parametrize("form", ["official", "tables", "zip"])
def test_every_source_gives_the_same(home, form):
    if form == "zip":
        (home.disk / "films.zip").write_bytes(archive())
    else:
        put(home.folder, OFFICIAL if form == "official" else TABLES)
    found = load_ratings("films", offline=True)
    rows = zip(found.users.tolist(), found.items.tolist(), found.stars.tolist(), found.times.tolist(), strict=True)  # fmt: skip
    assert [(u + 1, i + 1, s, t) for u, i, s, t in rows] == ORDER and len(found) == 4
    assert found.ages.tolist() == [24, 53] and found.genders.tolist() == [1, 0]
    assert found.occupations.tolist() == [1, 0]
    assert found.genres.int().tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_the_archive_is_fetched_once(home, monkeypatch):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return io.BytesIO(archive())

    monkeypatch.setattr(fetch, "urlopen", urlopen)
    first, second = load_ratings("films"), load_ratings("films", offline=True)
    assert asked == ["https://example.org/films.zip"] and first.stars.equal(second.stars)
    kept = home.disk.parent / "cache/films.zip"
    content = kept.read_bytes()
    for damage in (content[:-30], content.replace(b"24|M", b"25|M")):
        kept.write_bytes(damage)
        with pytest.raises(DataError, match="no zip archive .* It has been taken away: try again"):
            load_ratings("films")
        assert load_ratings("films").stars.equal(first.stars)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("u.data", b"900", b"901", "are others: 4 of SHA-256"),
        ("u.data", b"1\t3\t5", b"x\t3\t5", "holds no ratings of Films"),
        ("u.user", b"writer", b"knight", "holds no ratings of Films"),
        ("u.item", b"|0|1|0", b"|0|1|2", "are no flags"),
    ],
)
def test_other_files_are_refused(home, name, old, new, words):
    put(home.folder, {**OFFICIAL, name: OFFICIAL[name].replace(old, new)})
    with pytest.raises(DataError, match=words):
        load_ratings("films", offline=True)


def test_what_is_missing_is_told(home):
    with pytest.raises(DataError, match="no source on this machine has Films: put the files of https"):  # fmt: skip
        load_ratings("films", offline=True)
    (home.disk / "films.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="is no zip archive"):
        load_ratings("films", offline=True)
    (home.disk / "films.zip").write_bytes(archive({"u.data": b""}))
    with pytest.raises(DataError, match="has no u.user"):
        load_ratings("films", offline=True)
    with pytest.raises(DataError, match="no ratings 'film' .nearest: films"):
        load_ratings("film")


@pytest.mark.parametrize("name", rating_names())
def test_committed_cards(name):
    card = rating_card(name)
    assert card.cite in bibliography().entries and card_of(name).sha256 == card.sha256
    try:
        found = load_ratings(name, offline=True)
    except DataError as reason:
        pytest.skip(str(reason))
    assert len(found) == card.ratings and found.genres.shape == (card.items, len(card.genres))
    assert set(found.stars.tolist()) == {1, 2, 3, 4, 5} and found.times.diff().min() >= 0


def test_the_command_line_lists_and_verifies_ratings(home):
    put(home.folder, OFFICIAL)
    assert "films" in CliRunner().invoke(cli.app, ["data"]).output
    one = CliRunner().invoke(cli.app, ["data", "films"])
    assert "films: 4 ratings of 3 items by 2 users, digest verified." in one.output

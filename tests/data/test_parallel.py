"""Parallel corpora: lines stay with their translations, whatever the order of the file."""

import gzip
import hashlib
import io
from types import SimpleNamespace

import pytest

from kdnb.data import fetch
from kdnb.data.cards import DataError
from kdnb.data.offered import card_of, rows, verified
from kdnb.data.parallel import load_parallel, parallel_card, parallel_names
from kdnb.papers import bibliography

LINES = {
    "train": [("A dog runs .", "Ein Hund läuft ."), ("Two men .", "Zwei Männer ."), ("Snow .", "Schnee .")],
    "val": [("A cat .", "Eine Katze .")],
    "test": [("Rain .", "Regen ."), ("Sun .", "Sonne .")],
}  # fmt: skip


def derived(pairs):
    keys = sorted(hashlib.sha256("\n".join(pair).encode()).digest() for pair in pairs)
    return hashlib.sha256(b"".join(keys)).hexdigest()


CARD = """
title = "Weather"
about = "small talk"
languages = ["en", "de"]
licence = "CC0"
cite = "hinton2015"
folders = ["weather", "Weather"]

[addresses]
train = "https://example.org/weather/train.{language}.gz"
validation = "https://example.org/weather/val.{language}.gz"
test = "https://example.org/weather/test.{language}.gz"

[sizes]
train = 3
validation = 1
test = 2

[sha256]
"""


def packed(pairs, place):
    return gzip.compress("".join(f"{pair[place]}\n" for pair in pairs).encode())


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home/papers").mkdir(parents=True)
    (tmp_path / "home/data/parallel").mkdir(parents=True)
    said = {"train": "train", "validation": "val", "test": "test"}
    digests = "".join(f'{part} = "{derived(LINES[file])}"\n' for part, file in said.items())
    (tmp_path / "home/data/parallel/weather.toml").write_text(CARD + digests)
    (tmp_path / "disk/Weather").mkdir(parents=True)
    for variable, folder in (
        ("KDNB_HOME", "home"),
        ("KDNB_CACHE", "cache"),
        ("KDNB_DATA_DIRS", "disk"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return SimpleNamespace(folder=tmp_path / "disk/Weather", cache=tmp_path / "cache/weather")


def put(home, lines=LINES):
    for part, pairs in lines.items():
        for place, language in enumerate(("en", "de")):
            (home.folder / f"{part}.{language}.gz").write_bytes(packed(pairs, place))


def test_pairs_stay_together_in_an_order_of_their_own(home):
    put(home)
    found = load_parallel("weather", offline=True)
    assert {part: len(one) for part, one in found.items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }
    train = found["train"].lines
    assert sorted(zip(train["en"], train["de"], strict=True)) == sorted(LINES["train"])
    put(home, {part: pairs[::-1] for part, pairs in LINES.items()})
    assert load_parallel("weather", offline=True)["train"].lines == train


def test_the_authors_files_are_kept(home, monkeypatch):
    asked = []

    def urlopen(address, timeout):
        asked.append(address.rpartition("/")[2])
        part, language, _ = asked[-1].split(".")
        return io.BytesIO(packed(LINES[part], ("en", "de").index(language)))

    monkeypatch.setattr(fetch, "urlopen", urlopen)
    first = load_parallel("weather")
    assert (
        len(asked) == 6
        and load_parallel("weather", offline=True)["test"].lines == first["test"].lines
    )
    assert len(list(home.cache.iterdir())) == 6
    damaged = home.cache / "train.de.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(DataError, match="no gzipped text .* It has been taken away: try again"):
        load_parallel("weather")
    assert load_parallel("weather")["train"].lines == first["train"].lines
    assert len(asked) == 7


def test_other_lines_are_refused(home):
    put(home, LINES | {"train": [("A dog runs .", "Eine Katze läuft ."), *LINES["train"][1:]]})
    with pytest.raises(DataError, match="the train lines of Weather are others: 3 of SHA-256"):
        load_parallel("weather", offline=True)
    put(home)
    (home.folder / "train.de.gz").write_bytes(packed(LINES["train"][:2], 1))
    with pytest.raises(DataError, match="train files of Weather differ in their numbers of lines"):
        load_parallel("weather", offline=True)
    (home.folder / "train.de.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="train.de.gz is no gzipped text"):
        load_parallel("weather", offline=True)


def test_without_a_source_the_ways_out_are_told(home):
    with pytest.raises(
        DataError, match="no source on this machine has Weather: put the files such as https"
    ):
        load_parallel("weather", offline=True)
    with pytest.raises(DataError, match="no parallel corpus 'wether' .nearest: weather"):
        parallel_card("wether")


def test_it_is_offered(home):
    put(home)
    assert ("weather", "Weather", "en and de", "4", "2", "CC0") in rows()
    assert (
        verified("weather")
        == "weather: 4 training and 2 test lines in 2 languages, digests verified."
    )
    assert card_of("weather").sha256["test"] == derived(LINES["test"])


@pytest.mark.parametrize("name", parallel_names())
def test_committed_cards(name):
    card = parallel_card(name)
    assert card.cite in bibliography().entries
    try:
        found = load_parallel(name, offline=True)
    except DataError as reason:
        pytest.skip(str(reason))
    assert {part: len(one) for part, one in found.items()} == card.sizes

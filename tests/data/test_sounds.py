"""Recordings: read from folders and archives in one order, verified, and padded."""

import hashlib
import io
import itertools
import wave
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from kdnb.data import fetch, sounds
from kdnb.data.cards import DataError, UnknownData
from kdnb.data.sounds import load_sounds, sound_card, sound_names
from kdnb.papers import bibliography
from kdnb.workbook import cli

CARD = """
title = "Tones"
about = "tones of two speakers"
classes = ["0", "1"]
speakers = ["ann", "bob"]
rate = 100
licence = "CC0"
cite = "hinton2015"
folders = ["tones/recordings", "tones"]
archive = "https://example.org/tones/made.zip"

[takes]
test = [0, 1]
validation = [1, 2]
train = [2, 4]

[sizes]
train = 8
validation = 4
test = 4

[sha256]
train = "{train}"
validation = "{validation}"
test = "{test}"
"""


def samples(label, speaker, take):
    time = np.arange(20 + 3 * take)
    return (1000 * (speaker + 1) * np.sin((label + 1) * time + take)).astype(np.int16)


def wav(values, rate=100, channels=1):
    content = io.BytesIO()
    with wave.open(content, "wb") as sound:
        sound.setparams((channels, 2, rate, 0, "NONE", ""))
        sound.writeframes(values.astype("<i2").tobytes())
    return content.getvalue()


def made():
    """(name, content) of all 16 files, and the digests of the splits, by a derivation of its own."""
    files, records = {}, {"test": [], "validation": [], "train": []}
    for label in (0, 1):
        for speaker, name in enumerate(("ann", "bob")):
            for take in range(4):
                values = samples(label, speaker, take)
                files[f"{label}_{name}_{take}.wav"] = wav(values)
                raw = bytes([label]) + name.encode() + b"\0" + values.astype("<i2").tobytes()
                part = {0: "test", 1: "validation"}.get(take, "train")
                records[part].append(hashlib.sha256(raw).digest())
    said = {part: hashlib.sha256(b"".join(sorted(r))).hexdigest() for part, r in records.items()}
    return files, said


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A checkout with the card of the tones, an empty cache and one folder of data."""
    files, said = made()
    (tmp_path / "home/papers").mkdir(parents=True)
    (tmp_path / "home/data/sounds").mkdir(parents=True)
    (tmp_path / "home/data/sounds/tones.toml").write_text(CARD.format(**said))
    (tmp_path / "disk").mkdir()
    for variable, folder in (
        ("KDNB_HOME", "home"), ("KDNB_CACHE", "cache"), ("KDNB_DATA_DIRS", "disk"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return SimpleNamespace(files=files, disk=tmp_path / "disk", cache=tmp_path / "cache")


def archive(files, folder="tones-1/recordings/"):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("tones-1/README.md", "about")
        for name, one in files.items():
            packed.writestr(folder + name, one)
    return content.getvalue()


def unpack(home, files, folder="tones/recordings"):
    (home.disk / folder).mkdir(parents=True)
    for name, content in files.items():
        (home.disk / folder / name).write_bytes(content)


def the_same(one, other):
    for part in one:
        assert all(map(torch.equal, one[part].waves, other[part].waves))
        assert one[part].labels.equal(other[part].labels)
        assert one[part].speakers.equal(other[part].speakers)


def test_every_source_gives_the_same_recordings_in_the_same_order(home):
    unpack(home, dict(reversed(home.files.items())))
    from_folder = load_sounds("tones", offline=True)
    (home.disk / "tones.zip").write_bytes(archive(home.files))
    the_same(from_folder, load_sounds("tones", offline=True))
    assert {part: len(one) for part, one in from_folder.items()} == {
        "train": 8, "validation": 4, "test": 4,
    }  # fmt: skip
    for take, part in ((0, "test"), (1, "validation")):
        found = from_folder[part]
        for values, label, speaker in zip(
            found.waves, found.labels.tolist(), found.speakers.tolist(), strict=True
        ):
            assert values.numpy().tolist() == samples(label, speaker, take).tolist()


def test_the_authors_archive_is_kept(home, monkeypatch):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return io.BytesIO(archive(home.files))

    monkeypatch.setattr(fetch, "urlopen", urlopen)
    the_same(load_sounds("tones"), load_sounds("tones", offline=True))
    assert asked == ["https://example.org/tones/made.zip"]
    assert [path.name for path in home.cache.glob("*.zip")] == ["tones.zip"]
    content = (home.cache / "tones.zip").read_bytes()
    for damage in (content[:-30], content[:70] + b"\0" * 20 + content[90:]):
        (home.cache / "tones.zip").write_bytes(damage)
        with pytest.raises(DataError, match="no zip archive .* It has been taken away: try again"):
            load_sounds("tones")
        the_same(load_sounds("tones"), load_sounds("tones", offline=True))
    assert len(asked) == 3


def test_other_recordings_are_refused_and_not_kept(home, monkeypatch):
    changed = {**home.files, "0_ann_0.wav": wav(samples(0, 0, 0) + 1)}
    monkeypatch.setattr(fetch, "urlopen", lambda *_, **__: io.BytesIO(archive(changed)))
    with pytest.raises(DataError, match="the test recordings of Tones are others: 4 of SHA-256"):
        load_sounds("tones")
    assert not list(home.cache.glob("*.zip"))
    fewer = {name: one for name, one in home.files.items() if name != "1_bob_3.wav"}
    unpack(home, fewer)
    with pytest.raises(DataError, match="the train recordings of Tones are others: 7 of"):
        load_sounds("tones")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("2_ann_0.wav", wav(samples(0, 0, 0)), "'2_ann_0.wav' is no recording of Tones"),
        (
            "0_ann_0.wav",
            wav(samples(0, 0, 0), 200),
            r"not mono, 16 bits, 100 Hz; it is \(1, 2, 200\)",
        ),
        ("0_ann_0.wav", wav(samples(0, 0, 0), channels=2), r"it is \(2, 2, 100\)"),
        ("0_ann_0.wav", b"RIFFnothing", "0_ann_0.wav is no wave file"),
    ],
)
def test_what_is_no_recording_is_named(home, name, content, words):
    unpack(home, {name: content})
    with pytest.raises(DataError, match=words):
        load_sounds("tones", offline=True)


def test_without_a_source_the_ways_out_are_told(home, monkeypatch):
    with pytest.raises(DataError, match="no source on this machine has Tones: put the files of"):
        load_sounds("tones", offline=True)

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(fetch, "urlopen", unreachable)
    with pytest.raises(DataError, match=r"gave no Tones \(no route\): put .* as tones.zip"):
        load_sounds("tones")
    (home.disk / "tones.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match="is no zip archive"):
        load_sounds("tones")
    with pytest.raises(DataError, match="no recordings 'tone' .nearest: tones"):
        load_sounds("tone")


def test_padded_recordings(home):
    unpack(home, home.files)
    found = load_sounds("tones", offline=True)["train"]
    long, short = found.padded(0.5), found.padded(0.1)
    assert (long.shape, short.shape) == ((8, 50), (8, 10))
    for row, cut, one in zip(long, short, found.waves, strict=True):
        torch.testing.assert_close(row[: len(one)], one / 32768)
        assert not row[len(one) :].any()
        torch.testing.assert_close(cut, one[:10] / 32768)
    with pytest.raises(ValueError, match="one sample at least; got 0"):
        found.padded(0)


def test_the_command_line_lists_and_verifies_recordings(home, monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=100))
    unpack(home, home.files)
    listed, verified = (
        CliRunner().invoke(cli.app, words) for words in (["data"], ["data", "tones"])
    )
    assert listed.exit_code == verified.exit_code == 0
    row = next(line for line in listed.output.splitlines() if "tones" in line)
    assert row.replace("│", " ").split() == ["tones", "Tones", "100", "Hz", "12", "4", "CC0"]
    assert verified.output.strip() == (
        "tones: 12 training and 4 test recordings of 2 speakers, 2 classes, digests verified."
    )
    (home.disk / "tones/recordings/0_ann_0.wav").write_bytes(wav(samples(0, 0, 0) + 1))
    changed = CliRunner().invoke(cli.app, ["data", "tones"])
    assert changed.exit_code == 1 and "are others" in str(changed.exception)
    unknown = CliRunner().invoke(cli.app, ["data", "tone"])
    assert isinstance(unknown.exception, UnknownData)
    assert "no data set 'tone'" in str(unknown.exception)
    assert str(unknown.exception).endswith("Recordings: tones.")


@pytest.mark.parametrize("name", sound_names())
def test_committed_cards(name):
    card = sound_card(name)
    assert card.cite in bibliography().entries
    assert set(card.takes) == set(card.sizes) == set(card.sha256) == set(sounds.PARTS)
    takes = sorted(card.takes.values())
    assert all(one[1] == other[0] for one, other in itertools.pairwise(takes))
    try:
        found = load_sounds(name, offline=True)
    except DataError as reason:
        pytest.skip(str(reason))
    for part, one in found.items():
        assert len(one) == card.sizes[part]
        assert one.labels.bincount().tolist() == [len(one) // len(card.classes)] * len(card.classes)

"""Damage to every kind of kept file: the same result, or one sentence, and nothing sound deleted."""

import functools
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_runs
from data_workshop import Workshop, same, write
from paper_tables import CLAIMS, record
from tries import command, drawn, every_try, files_below, refused, refused_by

from kdnb import nets, papers
from kdnb.data import DataError
from kdnb.nets import checkpoints
from kdnb.papers import digests, scoreboard
from kdnb.runs import trials
from kdnb.training.checkpoint import AnotherRun

ALONE, RESTS, KD = tiny_runs.trial(0), tiny_runs.trial(0, rests=True), tiny_runs.trial(0, by="kd")
OTHER = tiny_runs.trial(1)
CHECKOUT = Path(papers.__file__).parents[2]


def damaged(draw: random.Random, whole: bytes, other: bytes) -> tuple[str, bytes]:
    """How, and what a file holds then."""
    way = draw.choice(("bits", "bits", "bits", "cut", "empty", "swapped", "foreign", "block"))
    if way == "bits":
        changed = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 5))):
            changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        return way, bytes(changed)
    if way == "block":
        start = draw.randrange(len(whole))
        return way, whole[:start] + bytes(min(64, len(whole) - start)) + whole[start + 64 :]
    if way == "cut":
        return way, whole[: draw.randrange(len(whole))]
    foreign = (b"my notes\n", b"\x89PNG\r\n\x1a\n\0\0", b"PK\3\4\0\0\x08\x08 weights", b"[1, 2]\n",
               b"{}", pickle.dumps({"a": 1}), draw.randbytes(500), b"\xff\xfe{", b"null\n")  # fmt: skip
    return way, {"empty": b"", "swapped": other, "foreign": draw.choice(foreign)}[way]


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


@functools.cache
def sound(folder: Path) -> dict[str, object]:
    """A folder with one of every kept file, and what those who read them find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDNB_RUNS", str(folder / "runs"))
        patch.setenv("KDNB_TEST_TRACE", str(folder / "trace"))
        found: dict[str, object] = {
            one.digest: tiny_runs.told(trials.run(one)) for one in (ALONE, RESTS, OTHER, KD)
        }
        found["own"] = tiny_runs.plain(tiny_runs.trained(None))
        patch.setattr(tiny_runs, "stage", stop)
        patch.setenv("KDNB_RUNS", str(folder / "half"))
        for one in (ALONE, OTHER):
            with pytest.raises(Stopped):
                # The first epoch is kept before `evaluate` is asked about the second.
                patch.setattr(tiny_runs, "stage", _second())
                trials.run(one)
    shutil.copytree(checkpoints.folder() / "mnist", folder / "shipped" / "mnist")
    for name in ("lenet5", "mlp"):
        found[name] = nets.pretrained(name, "mnist").state_dict()
    home = folder / "home" / "papers"
    for key in ("hinton2015", "tian2020crd"):
        (home / key / "results").mkdir(parents=True)
        (home / key / "claims.toml").write_text(CLAIMS.replace("hinton2015", key))
        own = record().model_copy(update={"paper": key})
        papers.write_record(own, home / key / "results" / "laptop.json")
    shutil.copy(CHECKOUT / "papers" / "references.bib", home)
    longer = record(seeds=4).model_copy(update={"profile": "full"})
    papers.write_record(longer, home / "hinton2015" / "results" / "full.json")
    return found


def _second() -> Callable[[], None]:
    calls: list[int] = []

    def stage() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Stopped

    return stage


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return folder, sound(folder)


@pytest.fixture
def place(template, tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setattr(checkpoints, "folder", lambda: tmp_path / "shipped")
    return tmp_path


def spoil(draw: random.Random, path: Path, other: Path) -> str:
    before = path.read_bytes()
    way, content = damaged(draw, before, other.read_bytes())
    path.write_bytes(content)
    return f"{way} in {path.name}" if content != before else "nothing"


def checked(place: Path, act: Callable[[], object], *kinds: type[BaseException]) -> str:
    """The sentence of a refusal, which deletes nothing; empty where nothing is refused."""
    before = files_below(place)
    try:
        act()
    except kinds as error:
        there = files_below(place)
        assert before.items() <= there.items(), set(before) - set(there)
        return refused(error, *kinds)
    return ""


# One function for each kind: it spoils a file of a fresh copy, and says what is right then.


def a_checkpoint_of_a_run(draw, place, template, caplog):
    shutil.copytree(template[0] / "half", place / "runs")
    store = place / "runs" / "trials"
    spoil(draw, store / ALONE.digest / "checkpoint", store / OTHER.digest / "checkpoint")
    assert tiny_runs.told(trials.run(ALONE)) == template[1][ALONE.digest]


def a_checkpoint_of_a_reader(draw, place, template, caplog):
    folder = template[0] / "half" / "trials"
    own = place / "checkpoint"
    shutil.copy(folder / ALONE.digest / "checkpoint", own)
    spoil(draw, own, folder / OTHER.digest / "checkpoint")
    found = []
    act = lambda: found.append(tiny_runs.plain(tiny_runs.trained(own)))
    if said := checked(place, act, AnotherRun):
        assert str(own) in said and "name another" in said and "delete" in said
    else:
        assert found == [template[1]["own"]]


def a_file_of_a_finished_run(draw, place, template, caplog):
    shutil.copytree(template[0] / "runs", place / "runs")
    wanted = draw.choice((ALONE, RESTS))
    hit = wanted if wanted is ALONE or draw.random() < 0.5 else wanted.parents()[0]
    name = draw.choice(("result.json", "trial.json", "tensors.safetensors"))
    store = place / "runs" / "trials"
    if hit is not wanted:  # then it is read again
        trials.remove(wanted.digest)
    how = spoil(draw, store / hit.digest / name, store / OTHER.digest / name)
    found = []
    act = lambda: found.append(tiny_runs.told(trials.run_all([wanted])[wanted.digest]))
    if said := checked(place, act, ValueError, RuntimeError):
        assert str(store / hit.digest) in said and f"kdnb trials prune {hit.digest}" in said
        listed = command("trials", "list")
        assert listed.code == 0, listed
        pruned = command("trials", "prune", hit.digest)
        assert (pruned.code, pruned.err) == (0, ""), pruned
        act()
    assert found == [template[1][wanted.digest]], how


def a_table_of_a_teacher(draw, place, template, caplog):
    shutil.copytree(template[0] / "runs" / "teachers", place / "runs" / "teachers")
    (table,) = (place / "runs" / "teachers").iterdir()
    other = place / "other"
    other.write_bytes(bytes(reversed(table.read_bytes())))
    how = spoil(draw, table, other)
    assert tiny_runs.told(trials.run(KD)) == template[1][KD.digest], how


def a_file_of_the_papers(draw, place, template, caplog, monkeypatch):
    home = place / "home"
    shutil.copytree(template[0] / "home", home)
    monkeypatch.setenv("KDNB_HOME", str(home))
    digests.write()
    folder = home / "papers"
    paper = folder / "hinton2015"
    path, other = draw.choice(
        (
            (paper / "results" / "laptop.json", paper / "results" / "full.json"),
            (paper / "claims.toml", folder / "tian2020crd" / "claims.toml"),
            (folder / "SHA256SUMS", folder / "references.bib"),
        )
    )
    how = spoil(draw, path, other)
    before = files_below(place)
    verified = command("show", "hinton2015", "--verify")
    if how == "nothing":
        assert verified.code == 0
    elif path.name != "SHA256SUMS" or verified.code:  # the line of another paper may be spoilt
        said = refused_by(verified, 1)
        assert path.name in said or "papers/" in said, said
    for arguments in (("show", "hinton2015"), ("cite", "hinton2015"), ("verdicts",)):
        shown = command(*arguments)
        if shown.code:
            said = refused_by(shown, 1)
            assert path.name in said or "hinton2015" in said, said
    assert files_below(place) == before


def the_bibliography(draw, place, template, caplog, monkeypatch):
    home = place / "home"
    shutil.copytree(template[0] / "home", home)
    monkeypatch.setenv("KDNB_HOME", str(home))
    bib = home / "papers" / "references.bib"
    if draw.random() < 0.5:
        spoil(draw, bib, home / "papers" / "hinton2015" / "claims.toml")
    else:  # of thousands of bytes few are about one paper
        content = bytearray(bib.read_bytes())
        start = content.index(b"{hinton2015")
        content[start + draw.randrange(400)] ^= 1 << draw.randrange(8)
        bib.write_bytes(content)
    before = files_below(place)
    for arguments in (("cite", "hinton2015"), ("cite", "hinton2015", "--format", "csl-json"),
                      ("cite", "hinton2015", "--format", "markdown"), ("show", "hinton2015")):  # fmt: skip
        shown = command(*arguments)
        if shown.code:
            said = refused_by(shown, 1, 2)
            assert "references.bib" in said or "hinton2015" in said, said
    assert files_below(place) == before


def the_scoreboard(draw, place, template, caplog, monkeypatch):
    home = place / "home"
    shutil.copytree(template[0] / "home", home)
    monkeypatch.setenv("KDNB_HOME", str(home))
    whole = scoreboard.write().read_bytes()
    assert scoreboard.is_current()
    how = spoil(draw, scoreboard.path(), home / "papers" / "hinton2015" / "claims.toml")
    assert scoreboard.is_current() == (how == "nothing")
    for more in ((), ("--json",)):  # judged anew, whatever lies there
        assert command("verdicts", *more).code == 0
    assert scoreboard.write().read_bytes() == whole


def a_file_of_the_data(draw, place, template, caplog):
    shop = Workshop(place)
    raw = shop.own / "Grey" / "raw"
    write(raw, shop.idx)
    shop.find("grey")
    kept = shop.cache / "grey.npz"
    found = []
    act = lambda: found.append(shop.find("grey"))
    if draw.random() < 0.6:
        whole = kept.read_bytes()
        spoil(draw, kept, raw / "train-images")
        try:
            act()
        except DataError as error:
            assert "grey.npz" in refused(error, DataError) and not kept.exists()
            act()
        assert kept.read_bytes() == whole or same(found[0], shop.grey)
    else:
        kept.unlink()
        path = raw / draw.choice(list(shop.idx))
        spoil(draw, path, raw / "t10k-images")
        if said := checked(place, act, DataError):
            assert path.name in said
            path.write_bytes(shop.idx[path.name])
            act()
    assert same(found[0], shop.grey)


def a_trained_network_that_comes_along(draw, place, template, caplog):
    shutil.copytree(template[0] / "shipped", place / "shipped")
    folder = place / "shipped" / "mnist"
    name, other = draw.sample(("lenet5", "mlp"), 2)
    kind = draw.choice(("safetensors", "toml", "toml"))
    how = spoil(draw, folder / f"{name}.{kind}", folder / f"{other}.{kind}")
    found = []
    act = lambda: found.append(nets.pretrained(name, "mnist").state_dict())
    if said := checked(place, act, nets.CheckpointError):
        assert f"{name}.{kind}" in said or f"{name}.safetensors" in said, said
    else:
        expected = template[1][name]
        assert all((expected[key] == value).all() for key, value in found[0].items()), how


KINDS = (
    a_checkpoint_of_a_run,
    a_checkpoint_of_a_reader,
    a_file_of_a_finished_run,
    a_file_of_a_finished_run,
    a_table_of_a_teacher,
    a_file_of_the_papers,
    a_file_of_the_papers,
    the_bibliography,
    the_scoreboard,
    a_file_of_the_data,
    a_trained_network_that_comes_along,
)


@every_try("damages")
def test_damage_is_mended_or_named(number, place, template, caplog, monkeypatch):
    kind = KINDS[number % len(KINDS)]
    at_home = (a_file_of_the_papers, the_bibliography, the_scoreboard)
    more = (monkeypatch,) if kind in at_home else ()
    kind(drawn("damages", number), place, template, caplog, *more)
    for line in caplog.records:
        assert "\n" not in line.getMessage()

"""Random command lines: what is whole goes to work; what is wrong is one sentence, before any work."""

from unittest import mock

import pytest
import tiny_runs
from lines import line
from tries import command, drawn, every_try, files_below, refused_by

from kdnb import data, paths
from kdnb.data import offered
from kdnb.runs import cluster, pool, trials
from kdnb.workbook import runner


class Working(BaseException):
    """The command has begun what takes time."""


def begin(*_, **__):
    raise Working


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished run and an unfinished one."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDNB_RUNS", str(folder))
        patch.setenv("KDNB_TEST_TRACE", str(folder / "trace"))
        trials.run(tiny_runs.trial(0))
        with mock.patch.object(tiny_runs, "stage", begin), pytest.raises(Working):
            trials.run(tiny_runs.trial(1))
    return folder


@pytest.fixture
def nothing_works(store, monkeypatch):
    """Whatever would take long raises `Working` instead; a command line is read as ever."""
    monkeypatch.setenv("KDNB_RUNS", str(store))
    monkeypatch.syspath_prepend(str(paths.root()))
    from benchmarks import table
    from kdnb.reproductions import compare

    measure = table.measure

    def measured(parts):
        list(zip((), measure(parts), strict=False))  # refuses unknown parts, measures nothing
        if unknown := [part for part in parts if part not in table.PARTS]:
            next(measure(unknown))
        raise Working

    monkeypatch.setattr(table, "measure", measured)
    monkeypatch.setattr(runner, "run_all", begin)
    monkeypatch.setattr(trials, "run_all", begin)
    monkeypatch.setattr(pool, "pool", mock.MagicMock())
    monkeypatch.setattr(compare, "distil", begin)
    monkeypatch.setattr(compare, "train", begin)
    monkeypatch.setattr(cluster.Workers, "_connected", begin)  # an address is looked at before
    load = data.load
    monkeypatch.setattr(
        data, "load", lambda name, **more: begin() if name in data.names() else load(name, **more)
    )
    monkeypatch.setattr(offered, "verified", lambda name: begin(offered.card_of(name)))
    return store


@every_try("inputs")
def test_a_command_line_works_or_is_refused_in_one_sentence(number, nothing_works, monkeypatch):
    draw = drawn("inputs", number)
    asked = line(draw, number)
    for name, value in asked.surroundings.items():
        monkeypatch.setenv(name, value)
    before = files_below(nothing_works)
    try:
        said = command(*asked.words)
    except Working:
        assert not asked.wrong, f"{asked} went to work"
        return
    if asked.wrong:
        refused_by(said, 2)
    else:
        assert (said.code, said.err) == (0, ""), (asked.words, said)
        assert said.out
    assert files_below(nothing_works) == before, asked.words

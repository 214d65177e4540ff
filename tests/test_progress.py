"""Progress bars and notes: shown where they are wanted, with the time left, and hidden by one variable."""

import pytest
import torch
from tqdm import tqdm

import kdnb
from kdnb import progress


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    monkeypatch.setattr(progress, "tqdm", tqdm)  # as in a terminal


def test_a_bar_says_how_far_it_is_and_how_long_it_takes(shown, capsys):
    bar = progress.bar(10, 0, "epoch")
    bar.update(4)
    bar.refresh()
    assert "4/10" in capsys.readouterr().err and "<" in str(bar)  # elapsed<left
    bar.close()


def test_a_bar_with_a_delay_is_not_shown_for_what_is_short(shown, capsys):
    bar = progress.bar(10, 0, "batch", delay=60)
    bar.update(10)
    bar.close()
    assert capsys.readouterr().err.strip() == ""


def test_one_variable_hides_bars_and_notes(shown, capsys, monkeypatch):
    progress.note("seen")
    assert capsys.readouterr().err == "seen\n"
    monkeypatch.setenv("TQDM_DISABLE", "1")
    progress.note("unseen")
    bar = progress.bar(3, 0, "epoch")
    bar.update()
    bar.refresh()
    assert bar.disable and capsys.readouterr().err == ""


def test_evaluating_is_closed_when_it_raises(shown, monkeypatch):
    closed = []

    class Watched(progress.tqdm):
        def close(self):
            closed.append(self.n)
            super().close()

    monkeypatch.setattr(progress, "tqdm", Watched)
    net = torch.nn.Linear(2, 2)
    kdnb.evaluate(net, (torch.zeros(600, 2), torch.zeros(600).long()))
    assert closed[0] == 3  # batches of 250
    closed.clear()
    with pytest.raises((ValueError, IndexError)):
        kdnb.evaluate(net, (torch.zeros(600, 2), torch.full((600,), 7)))
    assert closed

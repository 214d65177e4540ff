"""What methods are called, and where those are that are no losses of the catalogue."""

import pytest
import torch
from torch import nn

import kdnb
from kdnb import papers
from kdnb.methods import METHODS
from kdnb.methods.names import FILES, SCHEMES, elsewhere, known_as

FOLDER = __import__("pathlib").Path(kdnb.methods.__file__).parent
OWN = [(folder, name) for folder, names in SCHEMES.values() for name in names.split()]


def asked_for(method):
    data = torch.zeros(6, 4), torch.arange(6) % 3
    kdnb.distil(nn.Linear(4, 3), nn.Linear(4, 3), data, method=method, epochs=1)


@pytest.mark.parametrize(("folder", "name"), OWN)
def test_a_scheme_is_where_it_is_said_to_be(folder, name):
    assert (FOLDER / folder / f"{name}.py").exists() and name not in METHODS
    with pytest.raises(ValueError, match=r"kdnb\.(methods|mutual|born_again)"):
        asked_for(name)


def test_a_verb_is_named_in_any_spelling():
    for name in ("dml", "DML", "mutual", "deep mutual learning"):
        with pytest.raises(ValueError, match=r"^dml trains peers .*: use kdnb.mutual"):
            asked_for(name)
    with pytest.raises(ValueError, match=r"use kdnb.born_again\(make, data\)"):
        asked_for("born-again")
    with pytest.raises(
        ValueError, match="dafl is a scheme .* kdnb.methods.data_free.dafl and chap"
    ):
        asked_for("DAFL")
    assert elsewhere("kd") is None and elsewhere("what") is None


def test_an_unknown_name_lists_few():
    with pytest.raises(
        ValueError, match=r"no method 'qqqq' \(known: kd, .*table\(\) lists all"
    ) as e:
        known_as("qqqq", list(METHODS))
    assert len(str(e.value)) < 200


def test_papers_are_about_files_that_exist():
    rooms = [FOLDER, FOLDER.parent / "losses"]
    keys = papers.bibliography().entries
    for key, stems in FILES.items():
        assert key in keys, key
        for stem in stems.split():
            assert any(any(room.rglob(f"{stem}.py")) for room in rooms), stem

"""The bibliography."""

import pytest
from pybtex.database import parse_string

import kdnb
from kdnb import papers
from kdnb.papers import references
from kdnb.papers.records import PaperError


def test_every_entry_is_complete():
    needed = {"article": "journal", "inproceedings": "booktitle", "techreport": "institution"}
    entries = papers.bibliography().entries
    assert {"hinton2015", "gou2021survey", "kdnb", "ba2014", "muller2019"} <= set(entries)
    for key, entry in entries.items():
        assert entry.persons["author"], key
        assert {"title", "year", needed.get(entry.type, "title")} <= set(entry.fields), key
        if "eprint" in entry.fields:
            assert entry.fields["archiveprefix"] == "arXiv", key
        again = parse_string(papers.bibtex(key), "bibtex").entries[key]
        assert again.fields == entry.fields, key


def test_the_bibliography_knows_our_version_and_every_reproduced_paper():
    assert f"version {kdnb.__version__}" in papers.bibliography().entries["kdnb"].fields["note"]
    assert set(papers.reproduced_papers()) <= set(papers.bibliography().entries)


WHOLE = "@article{a2015, author={Ada Low}, title={On {KD}}, journal={J}, year={2015}}\n"


@pytest.mark.parametrize(
    "content",
    [b"@article{a2015, author={Ada", b"\xff\xfe", b"@article{a2015, year={2015}}",
     WHOLE.replace("2015}}", "20x5}}").encode(), WHOLE.replace("author=", "auther=").encode(),
     WHOLE.replace("{On {KD}}", '"On }KD{"').encode(), WHOLE.encode() * 2],
)  # fmt: skip
def test_a_damaged_bibliography_is_one_sentence(content, tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "references.bib").write_bytes(content)
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    with pytest.raises(PaperError) as error:
        references.csl("a2015")
    assert str(references.path()) in str(error.value) and "\n" not in str(error.value)
    assert "restore it from git" in str(error.value)

"""The bibliography."""

from pybtex.database import parse_string

import kdnb
from kdnb import papers


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

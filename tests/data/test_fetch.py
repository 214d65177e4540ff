"""One order of sources for every kind of data: the cache, the user's folders, the network."""

import io

import pytest

from kdnb.data import DataError, fetch


def read(content, place):
    if b"bad" in content:
        raise DataError(f"{place} is damaged.")
    return f"{content.decode()} of {place}", content.upper()


def find(kept, here=lambda: None, addresses=("https://one/x", "https://two/x"), offline=False):
    return fetch.from_first_source(
        kept, here, addresses, read, title="the data", lock=kept.with_suffix(".lock"),
        ways="put it there.", offline=offline,
    )  # fmt: skip


@pytest.fixture
def web(monkeypatch):
    """What addresses give; an exception is raised."""
    pages, asked = {}, []

    def urlopen(address, timeout):
        asked.append(address)
        if isinstance(pages[address], Exception):
            raise pages[address]
        return io.BytesIO(pages[address])

    monkeypatch.setattr(fetch, "urlopen", urlopen)
    return pages, asked


def test_the_first_source_that_has_it(tmp_path, web):
    pages, asked = web
    kept = tmp_path / "kept"
    pages |= {"https://one/x": OSError("no route"), "https://two/x": b"text"}
    assert find(kept, here=lambda: "from a folder") == "from a folder" and not kept.exists()
    assert find(kept) == "text of https://two/x" and kept.read_bytes() == b"TEXT"
    assert asked == list(pages)
    assert find(kept, here=lambda: "from a folder") == f"TEXT of {kept}"
    assert find(kept, offline=True) == f"TEXT of {kept}" and asked == list(pages)


def test_where_no_source_has_it_the_reasons_and_the_remedy_are_told(tmp_path, web):
    pages, asked = web
    kept = tmp_path / "kept"
    with pytest.raises(DataError, match="no source on this machine has the data: put it there"):
        find(kept, offline=True)
    pages |= {"https://one/x": OSError("no route"), "https://two/x": b"bad"}
    with pytest.raises(DataError, match=r"\(no route; https://two/x is damaged\): put it there"):
        find(kept)
    assert not kept.exists() and asked == list(pages)


def test_what_is_kept_and_damaged_is_taken_away(tmp_path, web):
    kept = tmp_path / "kept"
    kept.write_bytes(b"bad")
    with pytest.raises(DataError, match="is damaged. It has been taken away: try again"):
        find(kept)
    assert not kept.exists()


def test_an_empty_find_is_a_find(tmp_path):
    assert find(tmp_path / "kept", here=lambda: ()) == ()

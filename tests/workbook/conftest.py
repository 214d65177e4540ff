"""What the tests of the workbook share."""

import pytest
from small_chapter import maker


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A small chapter in a workbook of its own; `chapter(code)` gives it a last cell."""
    return maker(tmp_path, monkeypatch)

"""What the tests of `kdnb.papers` share."""

import shutil
from pathlib import Path

import pytest
from paper_tables import CLAIMS

from kdnb import papers

REPOSITORY = Path(papers.__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "papers" / "hinton2015").mkdir(parents=True)
    (tmp_path / "papers" / "hinton2015" / "claims.toml").write_text(CLAIMS)
    bib = REPOSITORY / "papers" / "references.bib"
    shutil.copy(bib, tmp_path / "papers" / "references.bib")
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    return tmp_path

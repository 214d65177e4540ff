"""Runs, trace and Dask's configuration of these tests' own."""

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "no-configuration"))
    for name in ("KDNB_CLUSTER", "KDNB_GPU", "KDNB_JOBS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path

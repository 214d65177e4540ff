"""What all tests share: a folder of runs of their own, whatever earlier ones have left."""

import os

import pytest

# What a test patches is not patched in other processes.
for setting in ("KDNB_JOBS", "KDNB_CLUSTER"):
    os.environ.pop(setting, None)


@pytest.fixture(scope="session")
def runs_of_the_session(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def own_runs(runs_of_the_session, monkeypatch):
    if "KDNB_RUNS" not in os.environ:
        monkeypatch.setenv("KDNB_RUNS", str(runs_of_the_session))

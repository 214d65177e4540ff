"""Where the undisturbed runs lie, with which the campaign compares."""

import pytest


@pytest.fixture(scope="module")  # each module of tests remembers what is made there
def undisturbed_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed")

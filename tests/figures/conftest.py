"""Every test leaves no figure open and no style behind."""

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def figures_are_closed():
    with plt.rc_context({"backend": "agg"}):
        yield
    plt.close("all")

"""For all tests: one thread each (xdist runs several at once), no progress bars; and the campaign's
seed and figures."""

import os
import re
from collections import Counter

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and of the kernels it starts

TRY = re.compile(r"tests/campaign/test_(\w+)\.py::test_\w+\[\d+\]$")


def pytest_addoption(parser):
    words = "of the random tries of tests/campaign (or KDNB_CAMPAIGN_SEED); 0 if none is given"
    parser.addoption("--campaign-seed", type=int, metavar="SEED", help=words)


def pytest_configure(config):
    if (seed := config.getoption("--campaign-seed")) is not None:
        os.environ["KDNB_CAMPAIGN_SEED"] = str(seed)  # xdist's workers have it too


def pytest_terminal_summary(terminalreporter):
    """How many tries of each group of the campaign were made, and how many held."""
    tried, held = Counter(), Counter()
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            if found := TRY.search(report.nodeid):
                several = dict(report.user_properties)  # where one test makes many
                tried[found[1]] += several.get("tried", 1)
                held[found[1]] += several.get("held", outcome == "passed")
    if tried:
        seed = os.environ.get("KDNB_CAMPAIGN_SEED", "0")
        terminalreporter.section(f"campaign, seed {seed}")
        for group in sorted(tried):
            terminalreporter.line(f"{group:<12} tried {tried[group]:>4}  held {held[group]:>4}")

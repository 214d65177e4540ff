"""The README: short, its table current, and its snippets run one after the other as they stand."""

import re

import pytest
import torch

import kdnb
from kdnb import paths
from kdnb.papers import scoreboard
from kdnb.workbook.readme import with_scoreboard


def readme():
    return (paths.root() / "README.md").read_text(encoding="utf-8")


def test_it_has_at_most_eighty_lines():
    assert len(readme().splitlines()) <= 80


def test_its_table_is_current():
    assert readme() == with_scoreboard(readme()), "run kdnb verdicts --write"


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="around its scoreboard"):
        scoreboard.into_readme("# kdnb", {})


def test_its_snippets_run(capsys):
    torch.manual_seed(0)
    names = {}
    snippets = re.findall(r"```python\n(.*?)```", readme(), re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)  # noqa: S102 - our own file
    assert "agreement" in capsys.readouterr().out
    measured = kdnb.evaluate(names["student"], names["digits"].validation)
    assert measured.accuracy > 0.8  # not near chance, also after the loop of one's own
    assert len(names["fit"].networks) == 3


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", readme()):
        assert (paths.root() / target).exists(), target

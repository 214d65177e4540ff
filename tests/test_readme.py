"""The README: short, its table current, and its snippets run one after the other as they stand."""

import re

import pytest
import torch

import kdnb
from kdnb import paths
from kdnb.papers import scoreboard
from kdnb.workbook.readme import measured, speed, with_scoreboard, with_speed


def readme():
    return (paths.root() / "README.md").read_text(encoding="utf-8")


def test_it_has_at_most_eighty_lines():
    assert len(readme().splitlines()) <= 80


def test_its_table_is_current():
    assert readme() == with_scoreboard(readme()), "run kdnb verdicts --write"


def test_its_ratio_is_the_one_that_was_measured():
    assert readme() == with_speed(readme(), measured()), "run kdnb verdicts --write"


def test_the_ratio_comes_from_the_loops_of_others_where_they_were_timed():
    steps = [("KD, all answers known: plain script / ours", 2.11),
             ("KD, no answer known: plain script / ours", 1.09)]  # fmt: skip
    start = "ResNet-20, KD: plain script, 2 workers / ours, "
    peers = [(f"{start}all answers known", 5.25), (f"{start}no answer known", 2.5)]
    rows = lambda pairs: [{"name": name, "value": value} for name, value in pairs]
    on = {"hardware": {"cores": 2}, "arithmetic": "float32"}
    said = speed({"steps": {"rows": rows(steps), **on}})
    assert "2.1 times as fast" in said and said.endswith("on 2 cores in float32")
    both = {"steps": {"rows": rows(steps), **on}, "peers": {"rows": rows(peers), **on}}
    assert "5.2 times as fast" in speed(both) and "2.5 times where none" in speed(both)
    with pytest.raises(ValueError, match="run kdnb bench peers"):
        speed({})


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="around its scoreboard"):
        scoreboard.into_readme("# kdnb", {})
    with pytest.raises(ValueError, match="around its ratio"):
        with_speed("# kdnb", measured())


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

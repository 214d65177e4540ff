"""The page on data and networks of one's own: short, its examples numbered, and they run."""

import re

from kdnb import paths


def page():
    return (paths.root() / "docs" / "your-data.md").read_text(encoding="utf-8")


def blocks():
    return re.findall(r"```python\n(.*?)```", page(), re.DOTALL)


def test_it_has_at_most_a_hundred_lines():
    assert len(page().splitlines()) <= 100


def test_every_row_of_the_table_has_its_example():
    rows = [line.split("|")[-2].strip() for line in page().splitlines() if line.startswith("|")]
    numbers = [int(row) for row in rows if row.isdigit()]
    examples = [int(one) for one in re.findall(r"# (\d+)(?!\d*:? labels)", blocks()[0])]
    assert numbers == sorted(examples) == list(range(1, len(numbers) + 1))


def test_its_examples_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks():
        exec(compile(block, "your-data.md", "exec"), names)  # noqa: S102 - our own file
    assert {path.name for path in tmp_path.iterdir()} == {"student.pt", "run.checkpoint"}
    assert not names["student"][1].training and names["student"][3].weight.grad is not None


def test_its_neighbours_lead_to_it():
    import kdnb

    assert "docs/your-data.md" in (paths.root() / "README.md").read_text(encoding="utf-8")
    assert "docs/your-data.md" in kdnb.train.__doc__

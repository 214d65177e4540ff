"""`kdnb bench`: what is compared, how it is written, and that every part runs."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import (
    Measured,
    chapters,
    growth,
    in_turns,
    methods,
    operators,
    rate,
    ratio,
    steps,
    table,
    workers,
)
from kdnb import paths
from kdnb.training import devices
from kdnb.workbook import cli, runner
from kdnb.workbook.parameters import ParameterError


def test_a_ratio_is_the_median_over_pairs_and_is_judged():
    found = ratio("x", [2.0, 6.0, 30.0], [1.0, 2.0, 3.0], at_least=3)
    assert (found.value, found.low, found.high, found.met) == (3.0, 2.0, 10.0, True)
    assert ratio("x", [2.0], [1.0], at_least=2.1).met is False
    assert ratio("x", [2.0], [1.0], at_most=2.1).wanted == "at most 2.1"
    assert ratio("x", [2.0], [1.0]).met is None
    assert rate("x", [0.5, 1.0, 2.0], 10).value == 10


def test_works_take_turns_after_a_warm_up():
    order = []
    times = in_turns({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3)
    assert "".join(order) == "ab" + "ababab"
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3}


def test_the_table_says_what_was_measured_and_where(tmp_path):
    rows = [Measured("quick", 5.25, 5.0, 6.0, "times", "at least 5", True),
            Measured("rate", 1234.5, 1200.0, 1300.0, "samples/s")]  # fmt: skip
    table.write("steps", rows, tmp_path / "b.md")
    text = (tmp_path / "b.md").read_text()
    assert "| quick | 5.25 times | 5 | 6 | at least 5 | yes |" in text
    assert "| rate | 1,234 samples/s | 1,200 | 1,300 |  |  |" in text
    kept = json.loads((tmp_path / "b.json").read_text())
    assert kept["steps"]["rows"][1]["value"] == 1234.5
    assert kept["steps"]["hardware"] and kept["steps"]["commit"][:10] in text
    table.write("growth", [Measured("later", 2.0, 1.0, 3.0, "s")], tmp_path / "b.md")
    table.write("steps", rows[:1], tmp_path / "b.md")
    text = (tmp_path / "b.md").read_text()
    assert "| later | 2 s" in text and "| quick |" in text and "| rate |" not in text
    assert text.index("| quick |") < text.index("| later |")


@pytest.mark.parametrize(
    ("part", "auto", "said"),
    [
        ("chapters", "bfloat16", "bfloat16"),
        ("methods", "bfloat16", "float32"),
        ("growth", "bfloat16", "float32 (epochs of images in bfloat16)"),
        ("steps", "bfloat16", "bfloat16 (the plain script in float32)"),
        ("growth", "float32", "float32"),
        ("steps", "float32", "float32"),
    ],
)
def test_each_part_says_what_it_computed_in(tmp_path, monkeypatch, part, auto, said):
    """A machine with bf16 is no reason to call a part that runs in float32 anything else."""
    monkeypatch.setattr(devices, "gains_from_bf16", lambda: auto == "bfloat16")
    table.write(part, [Measured("a row", 2.0, 1.0, 3.0, "s")], tmp_path / "b.md")
    kept = json.loads((tmp_path / "b.json").read_text())[part]
    assert kept["arithmetic"] == said and "arithmetic" not in kept["hardware"]
    text = (tmp_path / "b.md").read_text()
    assert f", arithmetic {said}.\n" in text and text.count("arithmetic") == 1


def test_the_committed_table_is_that_of_its_numbers():
    numbers = paths.root() / "docs" / "benchmarks.json"
    parts = json.loads(numbers.read_text(encoding="utf-8"))
    assert table.markdown(parts) == numbers.with_suffix(".md").read_text(encoding="utf-8")
    assert parts["methods"]["arithmetic"] == "float32"


@pytest.mark.parametrize("damaged", ["[", "[]", '{"steps": {"rows": []}}', '{"speed": {}}'])
def test_a_file_that_is_no_table_is_refused_before_anything_is_measured(
    monkeypatch, tmp_path, damaged
):
    monkeypatch.setattr(steps, "measured", lambda: pytest.fail("it was measured"))
    (tmp_path / "b.json").write_text(damaged)
    done = CliRunner().invoke(cli.app, ["bench", "steps", "--output", str(tmp_path / "b.md")])
    assert isinstance(done.exception, ParameterError)
    assert "no table of `kdnb bench`: move it away" in str(done.exception)
    assert (tmp_path / "b.json").read_text() == damaged


@pytest.mark.parametrize("name", ["README.md", "notes.txt", "notes.json", "folder.md"])
def test_what_bench_did_not_write_is_not_overwritten(monkeypatch, tmp_path, name):
    monkeypatch.setattr(steps, "measured", lambda: pytest.fail("it was measured"))
    target = tmp_path / name
    if name == "folder.md":
        target.mkdir()
    else:
        target.write_text("# Mine\n")
    done = CliRunner().invoke(cli.app, ["bench", "steps", "--output", str(target)])
    assert isinstance(done.exception, ParameterError)
    assert f"{target} is no table of `kdnb bench`" in str(done.exception)
    assert target.is_dir() or target.read_text() == "# Mine\n"
    assert list(tmp_path.iterdir()) == [target]


def test_where_nothing_can_be_written_nothing_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "measured", lambda: pytest.fail("it was measured"))
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "b.md"
    done = CliRunner().invoke(cli.app, ["bench", "steps", "--output", str(target)])
    assert isinstance(done.exception, OSError)
    assert str(done.exception).endswith("a file stands where a folder is needed: name another "
                                        "folder.")  # fmt: skip


def test_the_committed_table_has_a_row_for_every_chapter():
    parts = json.loads((paths.root() / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    names = {row["name"] for row in parts["chapters"]["rows"]}
    assert {item.name for item in runner.chapters()} <= names


def test_an_unknown_part_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(steps, "measured", lambda: pytest.fail("it was measured"))
    with pytest.raises(ParameterError, match="no benchmark is called 'speed': there are steps"):
        table.measure(["steps", "speed"])


def test_what_was_measured_before_an_interruption_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "measured", lambda: [Measured("a step", 2.0, 1.0, 3.0, "s")])
    monkeypatch.setattr(growth, "measured", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    target = tmp_path / "b.md"
    CliRunner().invoke(cli.app, ["bench", "steps", "growth", "--output", str(target)])
    assert "a step" in target.read_text()
    assert table.PARTS["growth"] not in target.read_text()


def test_every_form_of_a_step_runs(monkeypatch):
    monkeypatch.setattr(steps, "BATCH", 8)
    recipe = steps.RECIPE.model_copy(update={"batch_size": 8})
    monkeypatch.setattr(steps, "RECIPE", recipe)
    plainly = steps.network
    monkeypatch.setattr(steps, "network", lambda name: plainly("resnet8"))
    rows = {row.name: row for row in steps.measured(steps=1, rounds=1)}
    assert len([row for row in rows.values() if row.wanted]) == 4 + len(steps.RELATIONS)
    for name in ("the first run", "a later one"):
        assert (f"compiling both networks: {name}" in rows) == devices.can_compile()
    rates = [name for name, row in rows.items() if row.unit == "samples/s"]
    assert {"plain", "bare", "KD, all answers known", "FitNet", "CRD", "DAFL, LeNet-5"} < set(rates)


def test_what_is_called_known_is_known(monkeypatch):
    """The warm form asks its teacher about four images to be sure, the cold one about all."""
    monkeypatch.setattr(steps, "BATCH", 8)
    recipe = steps.RECIPE.model_copy(update={"batch_size": 8})
    monkeypatch.setattr(steps, "RECIPE", recipe)
    made, plainly = [], steps.network

    def counted(name):
        network = plainly("resnet8")
        network.asked = 0
        network.register_forward_hook(
            lambda module, x, _: setattr(module, "asked", module.asked + len(x[0]))
        )
        made.append((name, network))
        return network

    monkeypatch.setattr(steps, "network", counted)
    source = steps.data.load("cifar10")
    works = steps.ours(source.train.select(slice(None, 24)), source)
    teacher = made[0][1]

    def asked(name):
        teacher.asked = 0
        works[name]()
        return teacher.asked

    first = 8  # the batch on which the teacher is tried
    assert [asked("KD, no answer known") for _ in range(2)] == [first + 4 + 24] * 2
    assert [asked("KD, all answers known") for _ in range(2)] == [first + 4 + 24, first + 4]
    assert asked("KD, teacher asked") >= 24


def test_growth_is_measured_for_every_loss(monkeypatch):
    monkeypatch.setattr(growth, "CLASSES", (10, 20))
    rows = growth.with_classes(rounds=1)
    assert len(rows) == len(growth.logit_losses(10)) and all(row.wanted for row in rows)
    for name, loss in growth.logit_losses(30).items():
        assert torch.isfinite(loss(*torch.randn(2, growth.BATCH, 30))), name
    monkeypatch.setattr(growth, "SIZES", (64, 128))
    assert growth.with_images(rounds=1)[0].value > 0


def test_every_method_of_the_comparison_is_timed_beside_kd(monkeypatch):
    for name, value in {"BATCH": 8, "STEPS": 1, "ROUNDS": 1}.items():
        monkeypatch.setattr(methods, name, value)
    rows = methods.measured()
    expected = {f"{method}: its step / KD's" for method in methods.tian2020crd.COMPARED}
    assert {row.name for row in rows} == expected - {"kd: its step / KD's"}
    assert [row.value for row in rows] == sorted(row.value for row in rows)
    assert all(row.value > 0 for row in rows)


def test_operators_shares_sum_to_the_whole(monkeypatch):
    monkeypatch.setattr(operators, "BATCH", 8)
    work = {"KD, all answers known": lambda: torch.randn(64, 64) @ torch.randn(64, 64)}
    monkeypatch.setattr(operators, "ours", lambda *_: work)
    rows = operators.measured(steps=1)
    assert {"aten::mm", "aten::normal_"} < {row.name for row in rows}
    assert sum(row.value for row in rows) == pytest.approx(100)
    assert all(row.value >= 0 for row in rows)


def test_chapters_side_by_side_are_compared_with_one_after_the_other(monkeypatch):
    """Chapters of 4 and 1 s (2 s side by side): 2 s beside both in 7 s, 1.5 s in 5.5 s."""
    plan = {
        "1": (7.0, {"a": (5.5, 4.0), "b": (6.5, 1.0)}),
        "2": (5.5, {"a": (4.5, 4.0), "b": (2.5, 2.0)}),
    }

    def run_anew(folder, *arguments, **environment):
        jobs = arguments[-1]
        assert arguments == ("--jobs", jobs) and environment == {"OMP_NUM_THREADS": jobs}
        whole, ends = plan[jobs]
        for name, (end, taken) in ends.items():
            path = Path(folder) / name / "quick" / "run.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"seconds": taken}))
            os.utime(path, (1000 + end, 1000 + end))
        return whole, 100.0

    monkeypatch.setattr(workers, "run_anew", run_anew)
    most = Measured("the most", 1.6, 1.5, 1.7, "times")
    monkeypatch.setattr(workers, "most", lambda: most)
    rows = {row.name: row for row in workers.measured()}
    assert rows["one process / two"].value == pytest.approx(7 / 5.5)
    assert rows["one process / two"].met is False
    # One after the other from 1.5 to 6.5, two beside; side by side from 0.5 to 4.5, 1.5 beside.
    assert rows["fixed cost that two add"].value == pytest.approx(-0.5)
    assert rows["the most"] is most


def test_two_processes_do_the_passes_at_once(monkeypatch):
    """With 3 s alone and 4 s side by side, two do 6 s of work in 4 s."""
    asked = []

    class Executor:
        __enter__ = __exit__ = lambda self, *_: self

        def submit(self, function, steps):
            return SimpleNamespace(result=lambda: asked.append(1) or 3.0)

        def map(self, function, each):
            asked.append(len(each))
            return [3.5, 4.0]

    monkeypatch.setattr(workers.pool, "pool", lambda jobs: Executor())
    found = workers.most()
    assert (found.value, found.low, found.high, found.met) == (1.5, 1.5, 1.5, None)
    assert asked == [2, 1, 2, 1, 2, 1, 2]
    assert workers._passes(1) > 0


def test_a_chapter_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(chapters.runner, "chapters", lambda: [SimpleNamespace(name="9-9")])
    with pytest.raises(RuntimeError, match="kdnb run 9-9 failed: .*No single chapter is called"):
        chapters.measured()

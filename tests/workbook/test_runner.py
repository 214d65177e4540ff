"""Chapters by papermill: parameters, outcomes and provenance."""

import json
import re
from pathlib import Path

import jupytext
import made_chapters
import nbformat
import papermill
import pytest
from small_chapter import outputs

from kdnb.names import UsageError
from kdnb.runs import pool
from kdnb.training import devices
from kdnb.workbook import runner
from kdnb.workbook.parameters import ParameterError


def test_run_injects_checked_parameters_and_leaves_provenance(chapter, tmp_path):
    item = chapter()
    result = runner.run(item, item.checked({"temperature": 20.0, "seeds": 10}))
    assert (result.outcome, result.profile) == ("ok", "custom")
    assert outputs(tmp_path, result) == "200.0\n"
    about = json.loads((tmp_path / "runs/9-9-small/custom/run.json").read_text())
    assert about["parameters"] == {"temperature": 20.0, "seeds": 10, "deep": False}
    assert {"commit", "dirty", "versions", "hardware", "finished", "seconds"} <= set(about)
    notebook = nbformat.read(tmp_path / result.notebook, as_version=4)
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    assert str(tmp_path) not in (tmp_path / result.notebook).read_text()


FIGURE = """from kdnb import figures
import matplotlib.pyplot as plt
plt.plot([temperature])
figures.show(plt.gcf(), "9-9-line", "a line")"""


def test_a_run_keeps_its_figures_to_itself_and_in_place_they_are_the_workbooks(chapter, tmp_path):
    item = chapter(FIGURE)
    assert runner.run(item, item.defaults).outcome == "ok"
    kept = tmp_path / "runs/9-9-small/quick/figures"
    assert [path.name for path in kept.iterdir()] == ["9-9-line.png"]
    assert not (tmp_path / "figures").exists()
    runner.run(item, item.defaults, in_place=True)
    ours = (tmp_path / "figures/9-9-line.png").read_bytes()
    assert ours == (kept / "9-9-line.png").read_bytes()


def test_in_place_writes_the_chapter_itself(chapter):
    item = chapter("import os; print(os.environ['KDNB_JOBS'])")
    runner.run(item, item.defaults, jobs=2, in_place=True)
    notebook = nbformat.read(item.path, as_version=4)
    # Where several processes write at once, it is chance under which cell a line ends.
    assert notebook.cells[1].outputs[0].text == "1\n"
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert notebook.metadata.kdnb_run.outcome == "ok"
    with pytest.raises(ParameterError, match="in place with its own parameters only"):
        runner.run(item, item.checked({"seeds": 2}), in_place=True)


def test_in_place_asks_for_the_source_as_it_is_now(chapter):
    """Else the former text would be executed, and an editor's work be lost from sight."""
    item = chapter("print('old')")
    source = item.path.parent / "source" / f"{item.name}.py"
    source.parent.mkdir()
    jupytext.write(nbformat.read(item.path, as_version=4), source, fmt="py:percent")
    assert runner.run(item, item.defaults, in_place=True).outcome == "ok"
    source.write_text(source.read_text().replace("old", "new"))
    before = item.path.read_bytes()
    with pytest.raises(ParameterError, match=r"run jupytext --sync .*9-9-small\.py before"):
        runner.run(item, item.defaults, in_place=True)
    assert item.path.read_bytes() == before
    assert runner.run(item, item.defaults).outcome == "ok"  # elsewhere the notebook counts


@pytest.mark.parametrize(
    ("code", "outcome", "message"),
    [
        ("print('so far')\nraise KeyError('no')", "failed cell", "KeyError: 'no'"),
        ("print('so far', flush=True)\nimport os, time; time.sleep(1); os._exit(9)",
         "dead kernel", "kernel died"),
        ("print('so far', flush=True)\nimport time; time.sleep(60)", "timeout", "more than 3 s"),
    ],
)  # fmt: skip
def test_failures_are_reported_and_the_half_run_notebook_kept(
    chapter, tmp_path, code, outcome, message
):
    item = chapter(code)
    result = runner.run(item, item.defaults, cell_timeout=3)
    assert result.outcome == outcome
    assert message in result.message
    assert "so far" in outputs(tmp_path, result)
    about = json.loads((tmp_path / "runs/9-9-small/quick/run.json").read_text())
    assert about["outcome"] == outcome


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temprature": 4.0}, "Unknown parameter 'temprature': did you mean 'temperature'?"),
        ({"temperature": "hot"}, "'temperature' must be of type number at least 0.1 and at most 100.0;"),
        ({"temperature": 0.0}, "at least 0.1 and at most 100.0; got 0.0"),
        ({"deep": "false"}, "'deep' must be of type boolean; got 'false'"),
        ({"seeds": 1.5}, "'seeds' must be of type integer at least 1 and at most 99; got 1.5"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_by_the_runner_and_by_papermill(
    chapter, tmp_path, values, words
):
    item = chapter()
    with pytest.raises(ParameterError, match=re.escape(words)):
        item.checked(values)
    with pytest.raises(papermill.PapermillExecutionError, match=re.escape(words)):
        execute(item, tmp_path, values)


def execute(item, folder, values):
    papermill.execute_notebook(
        item.path, folder / "out.ipynb", parameters=values, cwd=folder,
        kernel_name="python3", progress_bar=False,
    )  # fmt: skip


def test_raw_papermill_takes_the_paths_that_it_injects(chapter, tmp_path):
    execute(chapter(), tmp_path, {"temperature": 7, "PAPERMILL_INPUT_PATH": "in.ipynb"})
    assert '"7\\n"' in (tmp_path / "out.ipynb").read_text()


def test_a_run_is_named_quick_with_the_chapters_own_parameters(chapter, tmp_path):
    item = chapter()
    assert item.defaults == {"temperature": 4.0, "seeds": 1, "deep": False}
    own = runner.run(item, item.checked({}))
    assert (own.outcome, own.profile, outputs(tmp_path, own)) == ("ok", "quick", "4.0\n")


def test_names_of_chapters_and_values(chapter):
    chapter()
    with pytest.raises(ParameterError, match="did you mean 9-9-small"):
        runner.chapter("9-9-smal")
    with pytest.raises(ParameterError, match="'seeds' is not of the form name=value"):
        runner.parsed(["seeds"])
    assert runner.parsed(["a=4", "b=mnist", "c=[1, 2]", "d=true"]) == {
        "a": 4, "b": "mnist", "c": [1, 2], "d": True,
    }  # fmt: skip


@pytest.mark.parametrize("variable", ["KDNB_JOBS", "KDNB_DEVICES"])
@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "1.5", "99999", "9" * 5000])
def test_numbers_of_the_environment(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    read = pool.jobs if variable == "KDNB_JOBS" else devices.count
    with pytest.raises(UsageError, match=f"{variable} must be a whole number above 0"):
        read()
    monkeypatch.setenv(variable, " ")
    assert read() == 1


@pytest.mark.parametrize("name", ["2_1", "21", "respons", "Response-Based", "2.1"])
def test_a_chapter_that_is_nearly_named_is_proposed(name):
    with pytest.raises(ParameterError, match=r"did you mean 2-1-response-based-knowledge\?$"):
        runner.chapter(name)
    with pytest.raises(ParameterError, match="there are 1, 2-1, 2-2, ") as error:
        runner.chapter("zzzz")
    assert "5-1 to 5-9, " in str(error.value)
    assert len(str(error.value)) < 140


@pytest.mark.parametrize(("cores", "gpu", "jobs"), [(2, False, 2), (64, False, 8), (64, True, 1)])
def test_jobs_by_the_machine(monkeypatch, cores, gpu, jobs):
    monkeypatch.setattr(pool.threads, "allotted", lambda: cores)
    monkeypatch.setattr(pool.torch.cuda, "is_available", lambda: gpu)
    assert pool.default_jobs() == jobs


def test_the_key_of_a_kernel_goes_with_it(chapter, tmp_path):
    code = "from ipykernel.connect import get_connection_file; print(get_connection_file())"
    item = chapter(code)
    printed = Path(outputs(tmp_path, runner.run(item, item.defaults)).strip())
    assert printed.parent.name.startswith("kdnb-") and not printed.parent.exists()


def test_a_chapter_takes_as_long_as_was_measured_alone(tmp_path):
    made_chapters.make(tmp_path, {"a": "", "b": "", "c": ""}, seconds={"a": 500.0, "b": 40.0})
    rows = [{"name": "a", "value": 60.0, "unit": "s"}, {"name": "b", "value": 90.0, "unit": "MB"}]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "benchmarks.json").write_text(json.dumps({"chapters": {"rows": rows}}))
    chapters = [runner.Chapter(tmp_path / "notebooks" / f"{name}.ipynb") for name in "abc"]
    assert [item.seconds for item in chapters] == [60.0, 40.0, 0.0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chapters": 3}', None])
def test_without_a_measured_time_the_notebooks_own_counts(tmp_path, text):
    made_chapters.make(tmp_path, {"a": ""}, seconds={"a": 500.0})
    if text is not None:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "benchmarks.json").write_text(text)
    assert runner.Chapter(tmp_path / "notebooks" / "a.ipynb").seconds == 500.0

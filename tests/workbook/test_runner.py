"""Chapters by papermill: parameters, outcomes, provenance; and the command line over it."""

import json
import types
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from typer.testing import CliRunner

from kdnb.names import UsageError
from kdnb.papers import scoreboard
from kdnb.reproductions import hinton2015
from kdnb.runs import pool
from kdnb.training import devices
from kdnb.workbook import cli, runner
from kdnb.workbook.chapter import ParameterError, check, profile_of


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    temperature: float = Field(4.0, gt=0, le=100)
    seeds: int = Field(1, ge=1)
    deep: bool = False


PROFILES = {"quick": Parameters(), "laptop": Parameters(temperature=20.0, seeds=6)}
EXPERIMENT = "kdnb.reproductions.small_experiment"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = """temperature = 4.0
seeds = 1
deep = False"""


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A small chapter in a workbook of its own; `chapter(code)` gives it a last cell."""
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    for folder in ("papers", "notebooks"):
        (tmp_path / folder).mkdir()
    module = types.ModuleType(EXPERIMENT)
    module.Parameters, module.PROFILES = Parameters, PROFILES
    monkeypatch.setitem(__import__("sys").modules, EXPERIMENT, module)

    def make(code="print(temperature * seeds)", about=None):
        tagged = new_code_cell(CELLS, metadata={"tags": ["parameters"]})
        about = about or {"experiment": EXPERIMENT, "papers": []}
        notebook = new_notebook(
            cells=[tagged, new_code_cell(code)], metadata={"kdnb": about, "kernelspec": KERNEL}
        )
        nbformat.write(notebook, tmp_path / "notebooks" / "9-9-small.ipynb")
        return runner.chapter("9-9")

    return make


def outputs(folder, result):
    notebook = nbformat.read(folder / result.notebook, as_version=4)
    return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))


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
        ({"temperature": "hot"}, "'temperature' must be of type number above 0 and at most 100;"),
        ({"temperature": 0.0}, "above 0 and at most 100; got 0.0"),
        ({"deep": "false"}, "'deep' must be of type boolean; got 'false'"),
        ({"seeds": 1.5}, "'seeds' must be of type integer at least 1; got 1.5"),
    ],
)
def test_wrong_parameters(values, words):
    with pytest.raises(ParameterError) as error:
        check(Parameters, values)
    assert words in str(error.value)


def test_check_in_a_notebook_ignores_other_names():
    assert check(Parameters, {"__name__": "__main__", "seeds": 3, "np": None}).seeds == 3


def test_raw_papermill_is_checked_too(chapter, tmp_path):
    code = "from test_runner import Parameters\nfrom kdnb.workbook.chapter import check\n"
    code += "print(check(Parameters, globals()).temperature)"
    item = chapter(code)
    here = str(__import__("pathlib").Path(__file__).parent)

    def execute(**values):
        papermill.execute_notebook(
            item.path, tmp_path / "out.ipynb", parameters=values, cwd=here,
            kernel_name="python3", progress_bar=False,
        )  # fmt: skip

    execute(temperature=7, PAPERMILL_INPUT_PATH="in.ipynb")  # as --inject-paths does
    text = (tmp_path / "out.ipynb").read_text()
    assert '"7.0\\n"' in text
    for wrong, words in (
        ({"temprature": 7}, "did you mean 'temperature'"),
        ({"deep": "false"}, "must be of type boolean"),
    ):
        with pytest.raises(papermill.PapermillExecutionError, match=words):
            execute(**wrong)


DECLARED = """from kdnb import workbook
workbook.check(globals(), temperature=(0.1, 100.0), seeds=(1, 9), deep=bool)
print(temperature * seeds)"""


def test_a_chapter_that_declares_its_parameters_needs_no_module(chapter, tmp_path):
    item = chapter(DECLARED, about={"papers": []})
    assert item.defaults == {"temperature": 4.0, "seeds": 1, "deep": False}
    own = runner.run(item, item.checked({}))
    assert (own.outcome, own.profile, outputs(tmp_path, own)) == ("ok", "quick", "4.0\n")
    changed = runner.run(item, item.checked({"temperature": 5, "seeds": 2}))
    assert (changed.profile, outputs(tmp_path, changed)) == ("custom", "10\n")
    about = json.loads((tmp_path / "runs/9-9-small/custom/run.json").read_text())
    assert about["parameters"] == {"temperature": 5, "seeds": 2, "deep": False}
    for wrong, words in (
        ({"seeds": 0}, "'seeds' must be of type integer at least 1 and at most 9; got 0"),
        ({"seed": 1}, "Unknown parameter 'seed': did you mean 'seeds'"),
    ):
        with pytest.raises(ParameterError, match=words):
            item.checked(wrong)
        with pytest.raises(papermill.PapermillExecutionError, match=words):
            papermill.execute_notebook(
                item.path, tmp_path / "out.ipynb", parameters=wrong, cwd=tmp_path,
                kernel_name="python3", progress_bar=False,
            )  # fmt: skip


def test_profile_is_named_only_for_its_own_parameters():
    assert profile_of(Parameters(), PROFILES) == "quick"
    assert profile_of(Parameters(temperature=20.0, seeds=9), PROFILES) == "laptop"
    assert profile_of(Parameters(temperature=20.0, seeds=5), PROFILES) == "custom"
    assert profile_of(Parameters(temperature=5.0), PROFILES) == "custom"


def test_names_of_chapters_and_values(chapter):
    chapter()
    with pytest.raises(ParameterError, match="did you mean 9-9-small"):
        runner.chapter("9-9-smal")
    with pytest.raises(ParameterError, match="'seeds' is not of the form name=value"):
        runner.parsed(["seeds"])
    assert runner.parsed(["a=4", "b=mnist", "c=[1, 2]", "d=true"]) == {
        "a": 4, "b": "mnist", "c": [1, 2], "d": True,
    }  # fmt: skip


def kdnb(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def test_command_line_runs_and_reports(chapter):
    chapter()
    done = kdnb("run", "9-9", "--set", "temperature=6", "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert "9-9-small" in done.output
    chapter("raise ValueError('broken')")
    done = kdnb("run")
    assert done.exit_code == 1
    assert "failed cell: ValueError: broken" in done.output
    wrong = kdnb("run", "9-9", "--set", "temperatur=6")
    assert isinstance(wrong.exception, ParameterError)


def at_80_columns(*arguments):
    done = CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, list(arguments))
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.output.splitlines()]
    assert max(map(len, lines)) <= 80
    return [line for line in lines if line and "─" not in line]


def test_the_list_is_a_line_a_chapter(monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=80))
    head, *lines = at_80_columns("list")
    assert head.split() == ["chapter", "title", "papers", "time"]
    assert [line.split()[0] for line in lines] == [item.number for item in runner.chapters()]
    for line, item in zip(lines, runner.chapters(), strict=True):
        assert item.title in line and all(key in line for key in item.papers[:1])
        assert line.endswith(f"{item.seconds:.0f} s")


def test_the_list_of_a_chapter_is_its_parameters(chapter, monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=80))
    chapter(DECLARED, about={"papers": []})
    head, names, *lines, call = at_80_columns("list", "9-9")
    assert head == "9-9 9-9-small" and names.split()[:4] == [
        "parameter",
        "type",
        "allowed",
        "default",
    ]
    rows = [line.split() for line in lines]
    assert rows == [
        ["temperature", "number", "0.1", "to", "100.0", "4.0"],
        ["seeds", "integer", "1", "to", "9", "1"],
        ["deep", "boolean", "false"],
    ]
    assert call == "kdnb run 9-9 --set NAME=VALUE"


def test_the_closing_table_is_a_line_a_chapter(chapter, monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=80))
    monkeypatch.setattr(runner, "run_all", lambda plans, **options: iter([ended]))
    ended = runner.Run(
        "9-9-small", "quick", "ok", "", 61.4, {}, "runs/9-9-small/quick/9-9-small.ipynb"
    )
    chapter()
    monkeypatch.setattr(scoreboard, "table", lambda: "the scoreboard")
    lines = at_80_columns("run", "9-9")
    assert lines[-2].split() == ["9-9", "ok", "61", "s", "runs/9-9-small/quick"]
    assert lines[-1] == "the scoreboard"


def test_command_line_shows_and_cites():
    shown = kdnb("show", "hinton2015")
    assert shown.exit_code == 0 and "errors of 10,000" in shown.output
    cited = kdnb("cite", "hinton2015", "--profile", "laptop", "--claim", "order")
    assert "@article{hinton2015" in cited.output or "@misc{hinton2015" in cited.output
    assert "profile laptop, commit" in cited.output
    assert kdnb("data").exit_code == kdnb("list").exit_code == kdnb("doctor").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "hinton2051"], 2, "kdnb: kdnb has no claims of 'hinton2051'"),
        (["list", "2-9"], 2, "kdnb: No single chapter is called '2-9'"),
        (["run", "2-1", "--set", "temperature=-3"], 2, "kdnb: Parameter 'temperature' must be"),
        (["run", "2-1", "--in-place", "--cluster", "local"], 2, "kdnb: --in-place writes into"),
        (["trials", "show", "zzz"], 2, "kdnb: no trials begin with 'zzz'"),
        (["run", "--bogus"], 2, "Usage: "),
        (["run", "2-1", "--gpu", "nan"], 2, "Usage: "),
        (["run", "2-1", "--cell-timeout", "0"], 2, "Usage: "),
        (["run", "2-1", "--jobs", "99999999999"], 2, "Usage: "),
        (["run", "2-1", "--cluster", "tcp://nowhere"], 2, "kdnb: 'tcp://nowhere' is no cluster"),
        (["run", "2-1", "--cluster", "tcp://a:99999"], 2, "kdnb: 'tcp://a:99999' is no cluster"),
        (["run", "2-1", "--seeds", "3", "--set", "seeds=4"], 2, "kdnb: seeds is given twice"),
        (
            ["run", "2-1", "--set", "epochs=1", "--set", "epochs=2"],
            2,
            "kdnb: 'epochs' is set twice",
        ),
        (["run", "2-1", "--set", "seeds=" + "9" * 5000], 2, "kdnb: 'seeds' has no usable value"),
        (["run", "2-1", "--set", "seeds=" + "[" * 90000], 2, "kdnb: 'seeds' has no usable value"),
        (["run", "2-1", "--set", "temperature=" + "9" * 400], 2, "kdnb: Parameter 'temperature'"),
        (["run", ""], 2, "kdnb: one of the arguments is empty"),
        (["data", "mnsit"], 2, "kdnb: there is no data set 'mnsit': did you mean 'mnist'?"),
        (["where", "crf"], 2, "kdnb: there is no method, file or paper 'crf' (nearest: crd"),
        (
            ["show", "hinton2015", "--profile", "../x"],
            2,
            "kdnb: There is no record of 'hinton2015'",
        ),
        (
            ["show", "hinton2015", "--profile", "full"],
            1,
            "kdnb: There is no record of 'hinton2015'",
        ),
        (["show", "x" * 5000], 2, "kdnb: kdnb has no claims of 'xxx"),
        (["trials", "show", "/etc"], 2, "kdnb: no trials begin with '/etc'"),
        (["compare", "kdd", "--setting", "tian2020crd"], 2, "kdnb: there is no method 'kdd'"),
        (["compare", "..:f", "--setting", "tian2020crd"], 2, "kdnb: '..' cannot be imported"),
        (["compare", "math:pi", "--setting", "tian2020crd"], 2, "kdnb: math:pi is no function"),
        (["compare", "kd", "--setting", "tian"], 2, "kdnb: 'tian' is no recorded comparison"),
        (["reproduce", "hinton2015", "--seeds", "101"], 2, "kdnb: seeds=101 is refused"),
        (
            ["reproduce", "hinton2015", "--only", "techer"],
            2,
            "kdnb: hinton2015 has no arm 'techer' (n",
        ),
        (["doctor"], 1, "kdnb: the disk is gone"),
    ],
)
def test_command_line_errors_are_one_sentence(capsys, monkeypatch, arguments, code, words):
    def gone(folder):
        raise OSError("the disk is gone")

    monkeypatch.setattr(cli.shutil, "disk_usage", gone)
    monkeypatch.setattr("sys.argv", ["kdnb", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    error = capsys.readouterr().err
    assert error.startswith(words)
    assert "Traceback" not in error
    if not words.startswith("Usage"):
        assert error.count("\n") == 1 and error.endswith((".\n", "?\n", "!\n")), error
        assert len(error) <= 1002


def test_an_error_that_nobody_foresaw_is_one_sentence_too(capsys, monkeypatch):
    monkeypatch.setattr(runner, "chapters", lambda: {}["chapters"])
    monkeypatch.setattr("sys.argv", ["kdnb", "list"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "kdnb: KeyError \"'chapters'\": --debug shows where" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["kdnb", "list", "--debug"])
    with pytest.raises(KeyError):
        cli.main()


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
    with pytest.raises(ParameterError, match="there are 2-1, 2-2, ") as error:
        runner.chapter("zzzz")
    assert len(str(error.value)) < 140


def test_debug_shows_where_an_error_was_raised(monkeypatch):
    monkeypatch.setattr("sys.argv", ["kdnb", "list", "2-9", "--debug"])
    with pytest.raises(ParameterError, match="No single chapter"):
        cli.main()


def test_bench_needs_a_checkout(chapter, capsys, monkeypatch):
    chapter()
    monkeypatch.setattr("sys.argv", ["kdnb", "bench"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "has no benchmarks/" in capsys.readouterr().err


def test_trials_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    folder = tmp_path / "trials" / "abc123"
    folder.mkdir(parents=True)
    trial = hinton2015.arms(hinton2015.Parameters())["student"](0)
    (folder / "trial.json").write_text(json.dumps(trial.describe()))
    assert "unfinished" in kdnb("trials", "list").output
    assert '"seed": 0' in kdnb("trials", "show", "abc").output
    assert "removed 1 of 1 trials" in kdnb("trials", "prune").output
    assert not folder.exists()


@pytest.mark.parametrize(("cores", "gpu", "jobs"), [(2, False, 2), (64, False, 8), (64, True, 1)])
def test_jobs_by_the_machine(monkeypatch, cores, gpu, jobs):
    monkeypatch.setattr(pool.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(pool.torch.cuda, "is_available", lambda: gpu)
    assert pool.default_jobs() == jobs


@pytest.mark.parametrize("name", ["os", "small", "kdnb.reproductions.hinton2015.x", "..x", 3])
def test_a_notebook_names_no_module_but_a_reproduction(chapter, name):
    item = chapter(about={"experiment": name, "papers": []})
    with pytest.raises(ParameterError, match="only modules of kdnb.reproductions can be named"):
        item.checked({})


def test_the_key_of_a_kernel_goes_with_it(chapter, tmp_path):
    code = "from ipykernel.connect import get_connection_file; print(get_connection_file())"
    item = chapter(code)
    printed = Path(outputs(tmp_path, runner.run(item, item.defaults)).strip())
    assert printed.parent.name.startswith("kdnb-") and not printed.parent.exists()


def test_names_are_shown_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    folder = tmp_path / "trials" / "abc123"
    folder.mkdir(parents=True)
    about = {"function": "[red]mine[/x] :smile:", "arguments": {}, "seed": 0}
    (folder / "trial.json").write_text(json.dumps(about))
    shown = kdnb("trials", "list")
    assert shown.exit_code == 0 and "[red]mine[/x] :smile:" in shown.output


def test_show_verifies_claims_and_records(chapter, tmp_path, monkeypatch):
    monkeypatch.undo()
    done = kdnb("show", "hinton2015", "--verify")
    assert done.exit_code == 0 and "2 files of hinton2015 are those of" in done.output
    everything = kdnb("show", "--verify")
    assert everything.exit_code == 0 and "files of all papers are those of" in everything.output
    nothing = kdnb("show")
    assert isinstance(nothing.exception, UsageError) and "name a paper" in str(nothing.exception)

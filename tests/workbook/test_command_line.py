"""The command line over chapters, papers and trials: what it prints, and how it fails."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from kdnb.names import UsageError
from kdnb.papers import scoreboard
from kdnb.reproductions import hinton2015
from kdnb.workbook import cli, runner
from kdnb.workbook.parameters import ParameterError


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
    chapter()
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
        ["seeds", "integer", "1", "to", "99", "1"],
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
    row = ["9-9", "ok", "61", "s", "runs/9-9-small/quick"]
    assert at_80_columns("run", "9-9")[-1].split() == row  # it judges no paper
    monkeypatch.setattr(runner.Chapter, "papers", ["hinton2015"])
    lines = at_80_columns("run", "9-9")
    assert lines[-2].split() == row and lines[-1] == "the scoreboard"


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
    assert done.exit_code == 0 and "3 files of hinton2015 are those of" in done.output
    everything = kdnb("show", "--verify")
    assert everything.exit_code == 0 and "files of all papers are those of" in everything.output
    nothing = kdnb("show")
    assert isinstance(nothing.exception, UsageError) and "name a paper" in str(nothing.exception)

"""The chapters as committed are whole; and what would spoil them makes this suite fail."""

import contextlib
import importlib
import re
import subprocess
import sys
from types import SimpleNamespace

import guards
import IPython
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from kdnb import papers, paths
from kdnb.reproductions import chen2019dafl, hinton2015
from kdnb.workbook import runner
from kdnb.workbook.chapter import VERDICTS_MIME, verdicts_shown
from kdnb.workbook.parameters import ParameterError

CHAPTERS = runner.chapters()


def source_of(item):
    return item.path.parent / "source" / f"{item.name}.py"


@pytest.mark.parametrize("item", CHAPTERS, ids=lambda item: item.name)
def test_chapter_is_whole(item):
    assert guards.problems(item.path, source_of(item)) == []


@pytest.mark.parametrize("item", CHAPTERS, ids=lambda item: item.name)
def test_the_parameters_cell_is_what_ran(item):
    notebook = nbformat.read(item.path, as_version=4)
    assert guards.parameters_of(notebook) == item.defaults == item.checked({})
    assert notebook.metadata.kdnb_run["parameters"] == item.defaults


@pytest.mark.parametrize("item", CHAPTERS, ids=lambda item: item.name)
def test_every_parameter_does_something(item):
    """The notebook reads it after its check."""
    code = [c.source for c in nbformat.read(item.path, as_version=4).cells if c.cell_type == "code"]
    checked = next(i for i, source in enumerate(code) if "check(" in source)
    after = code[checked].partition("check(")[2].partition("\n)\n")[2]  # the rest of its cell
    read = set(re.findall(r"\w+", "\n".join([after, *code[checked + 1 :]])))
    assert not set(item.defaults) - read


@pytest.mark.parametrize("item", CHAPTERS, ids=lambda item: item.name)
def test_a_chapter_takes_the_paths_that_papermill_injects(item, monkeypatch):
    """As `papermill --inject-paths` runs it: its cells as far as the check, in this process."""
    given = {"PAPERMILL_INPUT_PATH": str(item.path), "PAPERMILL_OUTPUT_PATH": "out.ipynb"}
    for more, wrong in (({}, None), ({"tempratre": 4}, "Unknown parameter 'tempratre'")):
        notebook = parameterize_notebook(load_notebook_node(str(item.path)), given | more)
        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        last = next(i for i, source in enumerate(sources) if "check(" in source)
        shell = SimpleNamespace(user_ns={"In": sources[: last + 1]})
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        names = {"__name__": "__main__"}
        with pytest.raises(ParameterError, match=wrong) if wrong else contextlib.nullcontext():
            for source in sources[: last + 1]:
                plain = [line for line in source.splitlines() if not line.startswith(("%", "!"))]
                exec("\n".join(plain), names)  # noqa: S102 - a cell of ours
        assert names["PAPERMILL_OUTPUT_PATH"] == "out.ipynb"


def test_every_source_has_its_notebook():
    sources = {path.stem for path in (paths.root() / "notebooks" / "source").glob("*.py")}
    assert sources == {item.name for item in CHAPTERS}


RECORDED = [(item, key) for item in CHAPTERS for key in item.papers]


@pytest.mark.parametrize(("item", "key"), RECORDED, ids=[key for _, key in RECORDED])
def test_records_are_of_todays_recipe(item, key):
    module = importlib.import_module(f"kdnb.reproductions.{key}")
    record = papers.read_record(key, "laptop")
    assert guards.stale_record(module.REPRODUCTION, module, record) == []
    assert all(len(seeds) >= 6 for seeds in record.arms.values())
    assert not any(environment.dirty for environment in record.environments.values())


def test_the_long_run_of_dafl_is_of_todays_recipe():
    record = papers.read_record("chen2019dafl", "long")
    assert guards.stale_record(chen2019dafl.REPRODUCTION, chen2019dafl, record) == []
    assert set(record.arms) == set(chen2019dafl.PROFILES["long"].arms)
    assert not any(environment.dirty for environment in record.environments.values())


def test_a_profile_is_named_only_for_its_own_parameters():
    profiles, own = hinton2015.PROFILES, hinton2015.PROFILES["laptop"]
    for change, name in (({}, "laptop"), ({"seeds": own.seeds + 3}, "laptop"),
                         ({"seeds": own.seeds - 1}, "custom"), ({"temperature": 19.0}, "custom")):  # fmt: skip
        assert guards.profile_of(own.model_copy(update=change), profiles) == name
    assert guards.profile_of(hinton2015.Parameters(), profiles) == "quick"


@pytest.mark.parametrize(
    "change", [{"parameters": {"temperature": 19.0}}, {"recipe_digest": "0" * 24}]
)
def test_a_stale_record_is_found(change):
    record = papers.read_record("hinton2015", "laptop")
    if "parameters" in change:
        change = {"parameters": record.parameters | change["parameters"]}
    other = record.model_copy(update=change)
    assert "stale" in guards.stale_record(hinton2015.REPRODUCTION, hinton2015, other)[0]


@pytest.mark.parametrize("item", CHAPTERS, ids=lambda item: item.name)
def test_the_chapter_shows_the_recorded_verdicts(item):
    shown = verdicts_shown(nbformat.read(item.path, as_version=4))
    for key in item.papers:
        for verdict in papers.verdicts(key, "laptop"):
            assert shown["laptop"][f"{key}/{verdict.claim.id}"] == verdict.word


@pytest.fixture
def copy(tmp_path):
    """A chapter that a test may spoil: (path of the notebook, path of its source, notebook)."""
    item = runner.chapter("2-1")
    path, source = tmp_path / item.path.name, tmp_path / "source.py"
    path.write_text(item.path.read_text())
    source.write_text(source_of(item).read_text())
    return path, source, nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_a_never_executed_cell_is_found(copy):
    path, source, notebook = copy
    code(notebook)[3].execution_count = None
    code(notebook)[3].outputs = []
    nbformat.write(notebook, path)
    assert guards.problems(path, source) == ["code cell 4 has execution count None"]


def test_an_error_output_is_found(copy):
    path, source, notebook = copy
    code(notebook)[2].outputs = [new_output("error", ename="E", evalue="v", traceback=[])]
    nbformat.write(notebook, path)
    assert guards.problems(path, source) == ["code cell 3 holds an error"]


def test_a_stale_pair_is_found(copy):
    path, source, _ = copy
    source.write_text(source.read_text().replace("## The idea", "## An idea"))
    assert guards.problems(path, source) == [
        "1 cells differ from source.py: sync the pair and execute it again"
    ]


def test_a_changed_cell_with_its_old_outputs_is_found(copy):
    """The pair agrees, and only the provenance tells that this code has not run."""
    path, source, notebook = copy
    name = re.search(r"^import (\w+)$", code(notebook)[1].source, re.MULTILINE)[0]
    for number, more in enumerate(("\n# a comment\n\n", "\nimport this\n")):
        code(notebook)[1].source = code(notebook)[1].source.replace(name, name + more, 1)
        nbformat.write(notebook, path)
        source.write_text(source.read_text().replace(name, name + more, 1))
        found = ["code cell 2 was changed after it was executed: execute it again"]
        assert guards.problems(path, source) == found[:number]


def test_a_cell_that_was_added_is_found(copy):
    path, source, notebook = copy
    del notebook.metadata.kdnb_run["cells"][-1]
    nbformat.write(notebook, path)
    count = len(code(notebook))
    assert guards.problems(path, source) == [
        f"{count - 1} code cells were executed and {count} stand: execute it again"
    ]


def test_an_old_citation_is_found(copy):
    path, source, notebook = copy
    cell = next(c for c in code(notebook) if "papers.cite(" in c.source)
    cell.outputs[0].text = cell.outputs[0].text.replace("year", "date", 1)
    nbformat.write(notebook, path)
    assert guards.problems(path, source) == [f"an old citation: {cell.source}"]


def test_a_leaked_path_is_found(copy):
    path, source, notebook = copy
    leak = "/" + "home/somebody/kdnb/data.npz"
    code(notebook)[4].outputs = [new_output("stream", name="stdout", text=f"{leak}: read\n")]
    nbformat.write(notebook, path)
    assert guards.problems(path, source) == [f"a path of some machine: {leak.rsplit('/', 2)[0]}"]


def test_widget_state_and_hidden_verdicts_are_found(copy):
    path, source, notebook = copy
    notebook.metadata["widgets"] = {}
    cell = next(c for c in code(notebook) if "show_verdicts(" in c.source)
    cell.metadata["tags"] = ["nbval-ignore-output"]
    nbformat.write(notebook, path)
    assert [p.split(":")[0] for p in guards.problems(path, source)] == [
        "holds widget state",
        "a verdict that is not compared",
    ]


def test_a_live_number_that_is_compared_is_found(copy):
    """Training rounds differently on another processor, and nbval would compare its result."""
    *_, notebook = copy
    trained = new_code_cell("error = 100 * train()", metadata={"tags": ["nbval-ignore-output"]})
    shown = new_code_cell('print(f"{error:.1f}% errors")')
    again = new_code_cell('error = 1\nprint(f"{error:.1f}% errors")')
    record = new_code_cell('record = papers.read_record("a", "laptop")\nerror = 1')
    record.metadata["tags"] = ["nbval-ignore-output"]
    found = ['live numbers that are compared, error: print(f"{error:.1f}% errors")']
    notebook.cells = [trained, shown, again]
    assert guards.compared_in_vain(notebook) == found
    notebook.cells[1] = new_code_cell("print(error)")
    assert guards.compared_in_vain(notebook) == [found[0].replace(shown.source, "print(error)")]
    trained.metadata["tags"] = []
    assert guards.compared_in_vain(notebook) == []
    notebook.cells = [record, new_code_cell('print(f"{record:.1f}")')]
    assert guards.compared_in_vain(notebook) == []


@pytest.mark.parametrize("word", ["identity holds", "identity fails"])
def test_nbval_compares_the_verdict_lines(tmp_path, word):
    """The chapter's own cell of a paper's verdicts, as it is and with one word changed."""
    setup = "from kdnb import papers\nfrom kdnb.workbook.chapter import show_verdicts"
    chapter = nbformat.read(runner.chapter("2-1").path, as_version=4)
    cell = next(
        c for c in code(chapter) if 'show_verdicts(papers.verdicts("hinton2015"' in c.source
    )
    (output,) = cell.outputs
    text = output.data["text/plain"].replace("balance: identity holds", f"balance: {word}")
    words = {"laptop": output.data[VERDICTS_MIME]["laptop"] | {"hinton2015/balance": word}}
    shown = new_output("display_data", data={"text/plain": text, VERDICTS_MIME: words})
    cells = [
        new_code_cell(setup, execution_count=1),
        new_code_cell(cell.source, execution_count=2, outputs=[shown]),
    ]
    path = tmp_path / "verdict.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q",
               "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(path)]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=paths.root(), timeout=200, check=False
    )
    assert (done.returncode == 0) == (word == "identity holds"), done.stdout[-3000:]

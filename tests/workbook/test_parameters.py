"""Parameters that a notebook declares, and those of a paper: read, and checked when they are given."""

import math

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pydantic import ValidationError

from kdnb import workbook
from kdnb.names import refused
from kdnb.reproductions import chen2019dafl, furlanello2018ban, mirzadeh2020takd
from kdnb.workbook import runner
from kdnb.workbook.parameters import Parameter, ParameterError, declared, problems

CELL = """# Change them here.
dataset = "mnist"
seeds: int = 2  # paired repetitions
temperature = 4.0  # of teacher and student
deep = False
"""
CHECK = """from kdnb import workbook
workbook.check(globals(), dataset=("mnist", "fashion_mnist"), seeds=(1, 100),
               temperature=(0.1, None), deep=bool)"""


def notebook(cell=CELL, check=CHECK):
    tagged = new_code_cell(cell, metadata={"tags": ["parameters"]})
    return new_notebook(
        cells=[
            new_markdown_cell("check(globals())"),
            tagged,
            new_code_cell(check),
            new_code_cell("%timeit 1\n!ls"),
        ]
    )


def test_a_notebook_declares_its_parameters_in_two_cells():
    parameters, allowed = declared(notebook())
    assert list(parameters.values()) == [
        Parameter("dataset", "string", "one of 'mnist', 'fashion_mnist'", "mnist"),
        Parameter("seeds", "integer", "at least 1 and at most 100", 2, "paired repetitions"),
        Parameter("temperature", "number", "at least 0.1", 4.0, "of teacher and student"),
        Parameter("deep", "boolean", "", False),
    ]
    assert allowed["deep"] is bool
    assert problems({name: item.default for name, item in parameters.items()}, allowed) == []


@pytest.mark.parametrize(
    ("cell", "check", "words"),
    [
        (CELL + "more = 1\n", CHECK, "more: in one of the parameters cell and the call"),
        (CELL, CHECK.replace("deep=bool", "deep=bool, more=int"), "more: in one of"),
        (CELL.replace("False", "seeds > 1"), CHECK, "'deep = seeds > 1' .* is no literal"),
        (CELL, CHECK.replace("(1, 100)", "(1, largest)"), "check\\(seeds=\\(1, largest\\)\\) must"),
        (CELL, CHECK.replace("bool", "(None, None)"), "says nothing about a parameter"),
        (CELL, CHECK.replace("bool", "(1, 'a')"), "says nothing about a parameter"),
        (CELL, "pass", "this one has 1 and 0"),
    ],
)
def test_a_notebook_whose_cells_do_not_agree_is_refused(cell, check, words):
    with pytest.raises(ParameterError, match=words):
        declared(notebook(cell, check))


def test_a_notebook_without_parameters_has_none():
    assert declared(new_notebook(cells=[new_code_cell("print(1)")])) == ({}, {})


@pytest.mark.parametrize(
    ("value", "rule"),
    [(1, (1, 3)), (3, (1, 3)), (2, (0.5, 3.0)), (10**9, (1, None)), (16, {16, 32}), (True, bool),
     ("a", ("a", "b")), ("b", ("a", "b", "c")), ([1], list), ("", str), (-0.5, float)],
)  # fmt: skip
def test_allowed_values(value, rule):
    assert problems({"x": value}, {"x": rule}) == []
    workbook.check({"x": value, "np": math}, x=rule)


@pytest.mark.parametrize(
    ("value", "rule", "wanted"),
    [
        (0, (1, 3), "integer at least 1 and at most 3; got 0"),
        (1.0, (1, 3), "integer at least 1 and at most 3; got 1.0"),
        (True, (1, 3), "integer at least 1 and at most 3; got True"),
        ("2", (1, None), "integer at least 1; got '2'"),
        (3.1, (0.5, 3.0), "number at least 0.5 and at most 3.0; got 3.1"),
        (math.nan, (None, 3.0), "number at most 3.0; got nan"),
        (math.inf, float, "number; got inf"),
        (64, {16, 32}, "integer one of 16, 32; got 64"),
        ("c", ("a", "b"), "string one of 'a', 'b'; got 'c'"),
        ("false", bool, "boolean; got 'false'"),
    ],
)
def test_refused_values(value, rule, wanted):
    sentence = f"Parameter 'x' must be of type {wanted}."
    assert problems({"x": value}, {"x": rule}) == [sentence]
    with pytest.raises(ParameterError) as error:
        workbook.check({"x": value}, x=rule)
    assert str(error.value) == sentence


def test_all_problems_are_named_at_once():
    with pytest.raises(ParameterError, match="'a' has no value.*'b' must be"):
        workbook.check({"b": 0}, a=(1, 2), b=(1, 2))


def what_is_refused(model, values):
    """What a reproduction's parameters say about values that they refuse."""
    with pytest.raises(ValidationError) as error:
        model(**values)
    return refused(error.value)


def test_a_precision_may_be_written_as_a_number():
    own, changes = mirzadeh2020takd.Parameters, runner.parsed(["precision=32"])
    assert changes == {"precision": 32}
    assert own(**changes).precision == "32"
    said = "precision='16' is refused (input should be '32' or 'bf16')."
    assert what_is_refused(own, {"precision": 16}) == said


@pytest.mark.parametrize(
    ("number", "setting", "words"),
    [
        ("3-3", "dataset=cifar11", "'dataset' .*one of 'mnist', 'fashion_mnist'; got 'cifar11'"),
        ("4", "dataset=cifar10", "'dataset' .*one of 'mnist', 'fashion_mnist'; got 'cifar10'"),
        ("5-6", "generator_lr=Infinity", "'generator_lr' must be of type number .*; got inf"),
        ("5-6", "teacher_epochs=true", "'teacher_epochs' must be of type integer"),
        ("5-6", "epochs=1", "Unknown parameter 'epochs': did you mean 'teacher_epochs'"),
        ("4", "PAPERMILL_OUTPUT_PATH=a", "Unknown parameter 'PAPERMILL_OUTPUT_PATH'"),
    ],
)  # fmt: skip
def test_names_and_numbers_of_a_chapter_are_checked_when_given(number, setting, words):
    with pytest.raises(ParameterError, match=words):
        runner.chapter(number).checked(runner.parsed([setting]))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("every=7", "iterations must be a multiple of every; got 48 and 7"),
        ("generator_lr=Infinity", "generator_lr=inf is refused (input should be a finite number"),
        ("arms=teacher", "arms='teacher' is refused (input should be a valid list"),
        ("arms=[1]", "arms.0=1 is refused (input should be a valid string"),
        ('arms=[["teacher"]]', "arms.0=['teacher'] is refused (input should be a valid string"),
        ("epochs=true", "epochs=True is refused (input should be a valid integer"),
    ],
)  # fmt: skip
def test_names_and_numbers_of_a_paper_are_checked_when_given(setting, words):
    assert what_is_refused(chen2019dafl.Parameters, runner.parsed([setting])).startswith(words)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("resnet9", "there is no such network (nearest: resnet"),
        ("wrn-1-1", "a WRN has 6n + 4 layers"),
    ],
)
def test_a_network_of_a_papers_parameters_is_checked(network, words):
    own = furlanello2018ban.Parameters
    said = what_is_refused(own, own().model_dump() | {"network": network})
    assert said.startswith(f"network={network!r} is refused ({words}")

"""The published form of the verdicts: its JSON schema holds of it, and of nothing that differs."""

import copy
import json

import jsonschema
import pytest

from kdnb import paths
from kdnb.papers import judging, published, scoreboard


@pytest.fixture(scope="module")
def board():
    return json.loads((paths.root() / "papers" / "verdicts.json").read_text(encoding="utf-8"))


def test_the_committed_schema_is_current_and_a_schema():
    path = paths.root() / "papers" / scoreboard.SCHEMA
    assert path.read_text(encoding="utf-8") == scoreboard.schema_text(), "run kdnb verdicts --write"
    jsonschema.Draft202012Validator.check_schema(published.schema())
    assert published.schema()["$id"] == f"urn:kdnb:verdicts:{published.VERSION}"


def test_the_committed_verdicts_name_and_fit_it(board):
    assert board["$schema"] == scoreboard.SCHEMA
    jsonschema.validate(board, published.schema(), jsonschema.Draft202012Validator)
    assert set(board["counts"]["claims"]) == set(board["counts"]["ours"]) == set(judging.WORDS)


def first(board):
    return next(iter(next(iter(board["papers"].values()))["claims"].values()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b.pop("counts"),
        lambda b: b.update(more=1),
        lambda b: first(b).update(word="proved"),
        lambda b: first(b).pop("why"),
        lambda b: first(b).update(ours="yes"),
        lambda b: next(iter(b["papers"].values())).update(record="0123"),
        lambda b: next(iter(b["papers"].values())).update(profile="../x"),
        lambda b: b["counts"]["claims"].update(reproduced=-1),
        lambda b: b["counts"]["claims"].update(proved=1),
        lambda b: b["counts"]["identities"].pop("fails"),
    ],
)
def test_what_differs_does_not_fit(board, spoil):
    other = copy.deepcopy(board)
    spoil(other)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(other, published.schema(), jsonschema.Draft202012Validator)


def test_every_entry_is_described_or_named_by_itself():
    for model in (published.Claim, published.Paper, published.Counts, published.Scoreboard):
        assert model.__doc__

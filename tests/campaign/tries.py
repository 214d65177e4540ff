"""What the groups of the campaign share: how many tries, their random numbers, and what held means.

A try is drawn by (seed, group, number) alone, so one that failed is repeated by its name. `KDNB_CAMPAIGN_SHARE=0.1`
makes a tenth of the tries.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

COUNTS = {
    "kills": 200,
    "damages": 200,
    "inputs": 500,
    "networks": 200,
    "disks": 20,
    "concurrent": 20,
}
SEED = int(os.environ.get("KDNB_CAMPAIGN_SEED", "0"))
SHARE = float(os.environ.get("KDNB_CAMPAIGN_SHARE", "1"))
LONGEST = 700  # characters of one sentence


def every_try(group: str):
    """One test for each try of a group; it takes its `number`."""
    numbers = range(max(1, round(COUNTS[group] * SHARE)))

    def decorated(test):
        return pytest.mark.campaign(pytest.mark.parametrize("number", numbers)(test))

    return decorated


def drawn(group: str, number: int) -> random.Random:
    """The random numbers of one try."""
    return random.Random(f"{SEED} {group} {number}")


def one_sentence(text: str) -> str:
    """The text of an error, which must be one line that a person can read."""
    assert text.strip(), "an error without a word"
    assert "\n" not in text.strip(), text
    assert len(text) < LONGEST, f"{len(text)} characters: {text[:200]}..."
    assert "Traceback" not in text, text
    return text


def refused(error: BaseException, *kinds: type[BaseException]) -> str:
    """The sentence of an error, which must be of a kind that is foreseen."""
    assert isinstance(error, kinds), f"{type(error).__name__}: {error}"
    return one_sentence(str(error))


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> Said:
    """The command line in this process, by its real entry."""
    from kdnb.workbook import cli

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # as strict as a terminal is
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    code: object = 0
    with (
        mock.patch.object(sys, "argv", ["kdnb", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    printed = [_text(stream) for stream in (out, err)]
    return Said(code if isinstance(code, int) else int(code is not None), *printed)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()


def refused_by(said: Said, *codes: int) -> str:
    """The one sentence of a command that refused; of typer's own refusals, the sentence in its box."""
    assert said.code in codes, said
    assert "Traceback" not in said.out + said.err, said
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert lines, f"exit code {said.code} without a word: {said}"
    if lines[0].startswith(("Usage:", "╭")):
        return " ".join(line.strip(" │|") for line in lines[1:] if line.strip(" │|╭╰─╮╯"))
    assert len(lines) == 1 and lines[0].startswith("kdnb: "), said
    return one_sentence(lines[0])


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file but locks, by its path, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "lock"
    }


def temporary(folder: Path) -> list[str]:
    """What a killed process may leave, and the next one of the same kind takes away."""
    return sorted(path.name for path in folder.rglob(".*.tmp"))

"""A grammar of command lines: whole commands, and ways in which one of their words is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from kdnb import papers, paths
from kdnb.data import offered
from kdnb.methods import METHODS
from kdnb.methods.names import common
from kdnb.papers.results import profiles
from kdnb.reproductions import module_of
from kdnb.workbook import runner

# No word of these is known to any command.
ODD = (
    "", " ", "\n", "../x", "/etc/passwd", "[red]x[/red]", "<b>x</b>", "é", "日本", "💥", "x" * 400,
    "%s", "{0}", "$HOME", "*", "~", "nan", "1e999", "None", "\udcff", "a\tb", "'", '"', "\\", "[/x]",
    "\x1b[31m", "..", ".", "con", "a:b", "http://example.org/x", "import os", "[", "0x10",
)  # fmt: skip
COUNTS = ("0", "-1", "-5", "x", "1.5", "nan", "1e3", "", "99999999999999999999x", "1,2")
NO_CLUSTERS = (
    "x", "Local", "slrum", "tcp://", "tcp://host", "tcp://host:x", "tcp://host:99999999", "tcp://[::1",
    "tcp://host:0", "http://host:1", "file:///etc/passwd", "tls://:8786", "host:8786", "local,slurm",
    "tcp:/host:1", "é", "[red]x[/red]", "x" * 400, "a\tb",
)  # fmt: skip
A_CLUSTER = ("local", "slurm", "tcp://127.0.0.1:8786", "tls://host.example:1")
WRONG = {
    "integer": ("NaN", "1.5", "[]", "{}", "null", '"abc"', "abc", "1e999", "", '"' + "x" * 400),
    "number": ("NaN", "Infinity", "-Infinity", "[]", "null", '"abc"', "abc", "{}", "", "1e999"),
    "boolean": ("[]", "null", "7", '"abc"', "abc", "{}"),
    "list": ("7", "null", "{}", "abc"),
    "string": ("[]", "{}"),
}


class Line(NamedTuple):
    """Words of a command, whether something in it is wrong, and environment variables."""

    words: tuple[str, ...]
    wrong: bool
    surroundings: dict[str, str]


def misspelt(draw: random.Random, known: str, names: Any) -> str:
    """A name that nobody knows, near to one that is known."""
    for _ in range(50):
        at = draw.randrange(len(known))
        new = draw.choice((known[:at] + known[at + 1 :], known[:at] + known[at] + known[at:],
                           known + draw.choice("xyz_")))  # fmt: skip
        if new and not new.startswith("-") and not any(str(one).startswith(new) for one in names):
            return new
    return "nobody_knows_this"


def name_of(draw: random.Random, names: Any, wrong: bool) -> str:
    """One of some names, or a word that is none of them."""
    names = list(names)
    if not wrong:
        return draw.choice(names)
    return draw.choice((misspelt(draw, draw.choice(names), names), draw.choice(ODD)))


def list_(draw: random.Random, wrong: bool) -> list[str]:
    if not wrong and draw.random() < 0.3:
        return ["list"]
    return ["list", _chapter(draw, wrong)]


def _chapter(draw: random.Random, wrong: bool) -> str:
    items = runner.chapters()
    names = [one.number for one in items] + [one.name for one in items]
    return name_of(draw, names, wrong)


def run(draw: random.Random, wrong: bool) -> list[str]:
    words = ["run", _chapter(draw, False)]
    item = runner.chapter(words[1])
    part = (
        draw.choice(("chapter", "value", "value", "value", "limit", "name", "option"))
        if wrong
        else ""
    )
    if part == "chapter":
        return ["run", _chapter(draw, True)]
    for parameter in draw.sample(list(item.parameters.values()), min(2, len(item.parameters))):
        words += ["--set", f"{parameter.name}={_json(parameter.default)}"]
    if part == "value" and item.parameters:
        parameter = draw.choice(list(item.parameters.values()))
        value = draw.choice(WRONG[parameter.type])
        if parameter.type == "string" and parameter.limits:
            value = draw.choice(("zzz", "[]", "{}", "null", "", "7"))
        words += ["--set", f"{parameter.name}={value}"]
    elif part == "limit":
        words += ["--seeds", draw.choice(COUNTS)]
    elif part == "name" and item.parameters:
        known = list(item.parameters)
        bad = draw.choice(
            (misspelt(draw, draw.choice(known), known) + "=1", "novalue", "=3", "=", "")
        )
        words += ["--set", bad]
    elif part:
        option = draw.choice(("--jobs", "--cell-timeout", "--gpu"))
        words += [option, draw.choice(("0", "-1", "x", "nan", ""))]
    return words


def _json(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _papers(claimed: bool = True) -> list[str]:
    folder = paths.root() / "papers"
    return sorted(path.parent.name for path in folder.glob("*/claims.toml"))


def _recorded() -> list[str]:
    return [key for key in _papers() if profiles(key)]


def clustered(draw: random.Random, wrong: bool) -> list[str]:
    """A run or a record on a cluster, which the environment may name."""
    record = draw.random() < 0.5
    words = run(draw, False) if draw.random() < 0.5 else ["run", _chapter(draw, False)]
    words = ["reproduce", draw.choice(_reproduced())] if record else words
    part = draw.choice(("cluster", "cluster", "gpu", "together", "name")) if wrong else ""
    if part == "name":
        words[1] = "nobody_knows_this"
    if part == "together":
        words += ["--devices", "2"] if record else ["--in-place"]
    if part == "gpu":
        words += ["--gpu", draw.choice(("0", "-1", "x", "nan", "inf"))]
    return [*words, "--cluster", draw.choice(NO_CLUSTERS if part == "cluster" else A_CLUSTER)]


def in_place(draw: random.Random, wrong: bool) -> list[str]:
    return [*run(draw, wrong), "--in-place"]


def _reproduced() -> list[str]:
    return [key for key in _papers() if (paths.PACKAGE / "reproductions" / f"{key}.py").is_file()]


def show(draw: random.Random, wrong: bool) -> list[str]:
    part = draw.choice(("key", "key", "profile")) if wrong else ""
    key = name_of(draw, _recorded(), part == "key")
    words = ["show", key, *draw.choice(((), ("--json",), ("--markdown",)))]
    if part == "profile":
        words += ["--profile", name_of(draw, profiles(key), True)]
    return words


def cite(draw: random.Random, wrong: bool) -> list[str]:
    part = draw.choice(("key", "profile", "claim", "format")) if wrong else ""
    key = name_of(draw, _recorded(), part == "key")
    words = ["cite", key]
    if part == "profile":
        words += ["--profile", name_of(draw, profiles(key), True)]
    if part == "claim" or draw.random() < 0.3 and part != "key":
        claims = [claim.id for claim in papers.claims_of(key)]
        words += ["--claim", name_of(draw, claims, part == "claim")]
    if part == "format" or draw.random() < 0.5:
        formats = ("bibtex", "markdown", "latex", "csl-json")
        words += ["--format", name_of(draw, formats, part == "format")]
    return words


def reproduce(draw: random.Random, wrong: bool) -> list[str]:
    part = draw.choice(("key", "profile", "only", "count")) if wrong else ""
    key = name_of(draw, _reproduced(), part == "key")
    words = ["reproduce", key, "--jobs", "1"]
    if part == "key":
        return words
    module = module_of(key)
    words += ["--profile", name_of(draw, module.PROFILES, part == "profile")]
    if part == "only":
        first = next(iter(module.PROFILES.values()))
        words += ["--only", name_of(draw, module.REPRODUCTION.arms(first), True)]
    if part == "count":
        words += [draw.choice(("--seeds", "--jobs", "--devices")), draw.choice(COUNTS)]
    return words


def trials(draw: random.Random, wrong: bool) -> list[str]:
    from kdnb.runs import trials as store

    there = [digest for digest, *_ in store.stored()]
    if not wrong:
        return draw.choice((["trials", "list"], ["trials", "show", draw.choice(there)[:12]]))
    bad = draw.choice(
        ("zzz", "0" * 24, draw.choice(there) + "0", draw.choice(ODD), "*", "../trials")
    )
    return ["trials", draw.choice(("show", "prune")), bad]


def where(draw: random.Random, wrong: bool) -> list[str]:
    files = [
        path.stem for room in ("losses", "methods") for path in (paths.PACKAGE / room).rglob("*.py")
    ]
    known = [*METHODS, *papers.bibliography().entries.keys()]
    if wrong:
        word = misspelt(draw, draw.choice(known), [*known, *files])
        return ["where", "nobody_knows_this" if common(word) in METHODS else word]
    return ["where", draw.choice(known)]


def data_(draw: random.Random, wrong: bool) -> list[str]:
    if not wrong and draw.random() < 0.3:
        return ["data"]
    names = [name for kind in offered.KINDS.values() for name in kind.names()]
    return ["data", name_of(draw, names, wrong)]


def verdicts(draw: random.Random, wrong: bool) -> list[str]:
    words = ["verdicts", *draw.choice(((), ("--json",), ("--markdown",)))]
    return [*words, *([draw.choice(("extra", "--jsn", "--writ", "-x"))] if wrong else [])]


def compare(draw: random.Random, wrong: bool) -> list[str]:
    part = draw.choice(("loss", "setting", "count", "weight", "none")) if wrong else ""
    losses = ("nobody:knows", "os:system_", "nomodule:x", "kd:", ":kd", "../x:y", "json", "xx")
    loss = draw.choice(losses) if part == "loss" else draw.choice(("nst", "pkt", "rkd"))
    setting = name_of(draw, ["tian2020crd"], part == "setting")
    words = ["compare", *([] if part == "none" else [loss]), "--setting", setting]
    if part == "count":
        words += ["--seeds", draw.choice(("1", *COUNTS))]
    if part == "weight":
        words += ["--weight", draw.choice(("x", "nan", "inf", "", "-1"))]
    return words


def bench(draw: random.Random, wrong: bool) -> list[str]:
    names = ("steps",)
    if not wrong:
        return ["bench", "steps"]
    return ["bench", draw.choice((misspelt(draw, "steps", names), *filter(None, ODD)))]


def nonsense(draw: random.Random, wrong: bool) -> list[str]:
    """No such command or option, or a word too few."""
    del wrong
    return draw.choice(
        (
            [draw.choice([word for word in ODD if word])],
            [draw.choice(("rn", "shw", "trial", "doctor2"))],
            ["show"], ["cite"], ["where"], ["reproduce"], ["compare"], ["compare", "kd"],
            ["show", "hinton2015", "--profile"], ["run", "2-1", "--set"], ["list", "2-1", "3-1"],
            ["show", "hinton2015", "--nothing"], ["doctor", "x"], ["--nothing"],
            ["trials", "shw"], ["trials", "show"], ["run", "--jobs", "2", "--jobs"],
        )
    )  # fmt: skip


COMMANDS: tuple[Callable[[random.Random, bool], list[str]], ...] = (
    list_, run, run, run, show, cite, reproduce, reproduce, trials, where, data_, verdicts, compare,
    bench, nonsense, clustered, clustered, in_place,
)  # fmt: skip


def line(draw: random.Random, number: int) -> Line:
    """A command line; two in three hold something wrong."""
    command = COMMANDS[number % len(COMMANDS)]
    wrong = command is nonsense or draw.random() < (0.95 if command is verdicts else 0.67)
    words, around = command(draw, wrong), {}
    if command is clustered and draw.random() < 0.5:  # the same, said by the environment
        *words, _, around["KDNB_CLUSTER"] = words
    return Line(tuple(words), wrong, around)

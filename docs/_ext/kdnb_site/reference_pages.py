"""The API reference: the front door, then one page a module, or a room, from its docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import kdnb

ROOMS = {  # room -> whether each of its modules has a page of its own
    "losses": True,
    "methods": True,
    "training": False,
    "nets": False,
    "data": False,
    "papers": False,
    "figures": False,
    "runs": False,
}


def pages(root: Path) -> dict[str, str]:
    """The pages of the reference."""
    found = {}
    for room, apart in ROOMS.items():
        modules = _modules(root, room)
        if apart:
            found |= {f"reference/{name}.rst": _one(name) for name in modules}
        found[f"reference/kdnb.{room}.rst"] = _room(room, modules, apart)
    found["reference/index.rst"] = _front_door()
    return found


def _modules(root: Path, room: str) -> list[str]:
    """The public modules of a room, by dotted name."""
    files = (path.relative_to(root) for path in sorted((root / "kdnb" / room).rglob("*.py")))
    public = (path for path in files if not path.name.startswith("_"))
    return [".".join(path.with_suffix("").parts) for path in public]


def _one(name: str) -> str:
    return f"{_title(name)}\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n"


def _room(room: str, modules: list[str], apart: bool) -> str:
    text = f"{_title(f'kdnb.{room}')}\n.. automodule:: kdnb.{room}\n   :no-members:\n"
    if apart:
        lines = "\n".join(f"   {name}" for name in modules)
        rows = "".join(f"   * - :doc:`{name}`\n     - {_first_line(name)}\n" for name in modules)
        text += f"\n.. list-table::\n   :widths: 40 60\n\n{rows}\n.. toctree::\n   :hidden:\n\n{lines}\n"
        return text
    return text + "\n" + "\n".join(_section(name) for name in modules)


def _section(name: str) -> str:
    return f"{name}\n{'-' * len(name)}\n\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n"


def _title(name: str) -> str:
    return f"{name}\n{'=' * len(name)}\n"


def _first_line(name: str) -> str:
    said = (importlib.import_module(name).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(said.split())


def _front_door() -> str:
    """What `import kdnb` offers, each with its first sentence."""
    rows = []
    for name, home in sorted(kdnb._HOMES.items()):
        found = getattr(importlib.import_module(home), name)
        said = (inspect.getdoc(found) or "").split("\n\n")[0]
        kind = "class" if inspect.isclass(found) else "func"
        place = f"{found.__module__}.{found.__qualname__}"
        rows.append(f"   * - :py:{kind}:`kdnb.{name} <{place}>`\n     - {' '.join(said.split())}\n")
    rooms = "\n".join(f"   kdnb.{room}" for room in ROOMS)
    return (
        f"{_title('API reference')}\n"
        "``import kdnb`` offers these; every room has its own page below.\n\n"
        f".. list-table::\n   :widths: 25 75\n\n{''.join(rows)}\n"
        f".. toctree::\n   :maxdepth: 1\n   :caption: Rooms\n\n{rooms}\n"
    )

"""The house: imports point one way, and no room holds what only one chapter uses."""

import ast
import sys
from pathlib import Path

import kdnb

PACKAGE = Path(kdnb.__file__).parent
ROOMS = {
    "data": 1, "nets": 1, "losses": 1, "training": 2, "methods": 3, "runs": 4, "reproductions": 5,
    "workbook": 6, "papers": 0, "figures": 0,
}  # fmt: skip


def imports_of(path):
    """The modules of kdnb that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kdnb":
            parts = node.module.split(".")[1:]
            yield from [parts] if parts else [[alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "kdnb":
                    yield alias.name.split(".")[1:]


def backwards():
    """(file, what it imports) of every import from a room that comes later, or by the front door."""
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        for parts in imports_of(path):
            target = parts[0] if parts else ""
            later = target in ROOMS and target != room and ROOMS[target] >= ROOMS.get(room, 9)
            if room in ROOMS and (not parts or later):
                yield str(path.relative_to(PACKAGE)), ".".join(parts)


def test_imports_point_one_way():
    assert list(backwards()) == []


def test_every_room_is_known():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS)


def test_the_losses_rest_on_torch_alone():
    allowed = {"torch", "kdnb", *sys.stdlib_module_names}
    for path in (PACKAGE / "losses").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.split(".")[0] for name in names} <= allowed, path.name
        assert all(parts[0] == "losses" for parts in imports_of(path)), path.name


def test_nothing_of_the_package_is_a_stand_in():
    """No mock, no unpickling, in code that readers run."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        for word in ("unittest", "torch.load(", "pickle.load"):
            assert word not in text, f"{path.name} holds {word}"


def test_no_module_is_of_one_chapter():
    """What these suffixes named is in the notebooks, in the verbs and in `kdnb.figures`."""
    of_chapters = ("live", "figures", "methods", "gallery", "copies", "beliefs", "isolation")
    for path in PACKAGE.rglob("*.py"):
        assert path.parent.name != "chapters", path
        assert not path.stem.endswith(tuple(f"_{word}" for word in of_chapters)), path


def test_a_word_of_several_rooms_names_one_thing():
    words = ("Method", "Outcome", "Result", "View", "asked", "judging_loss", "kept")
    homes = {word: [] for word in words}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name in homes:
                homes[node.name].append(path.name)
    assert all(len(found) == 1 for found in homes.values()), homes

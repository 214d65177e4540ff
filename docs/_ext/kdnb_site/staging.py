"""The tree that Sphinx reads: notebooks, hand-written pages and generated ones, at their places.

Paths are those of the checkout, so that a link from a chapter to `../docs/notation.md` or to
`../papers/KEY/setting.md` leads to the page of that name. Files are written only where they differ:
Sphinx reads what changed.
"""

from __future__ import annotations

from pathlib import Path

from kdnb_site import chapters, paper_pages, reference_pages, scoreboard_page, system_pages

ROOT = Path(__file__).resolve().parents[3]

GUIDES = ("your-data", "notation", "verdicts", "architecture", "scaling", "benchmarks")

TOCTREE = """
```{{toctree}}
:hidden:
:caption: {caption}
:titlesonly:

{pages}
```
"""


def lay_out(folder: Path) -> None:
    """Write the whole tree into a folder, and remove what is no longer in it."""
    content = tree()
    for old in folder.rglob("*"):
        if old.is_file() and str(old.relative_to(folder)) not in content:
            old.unlink()
    for name, new in content.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(new)


def tree() -> dict[str, bytes]:
    """Path in the tree -> content."""
    found: dict[str, bytes | str] = {name: _read(name) for name in _copied()}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found |= chapters.pages(path)
    found |= paper_pages.pages()
    found |= scoreboard_page.pages()
    found |= system_pages.pages(ROOT)
    found |= reference_pages.pages(ROOT)
    found["index.md"] = _index(found)
    return {
        name: new.encode() if isinstance(new, str) else new for name, new in sorted(found.items())
    }


def _copied() -> list[str]:
    """The files that the tree has as they are: pages, and what they link to."""
    patterns = (
        "docs/*.md",
        "data/README.md",
        "figures/2-1-recorded.png",
        "papers/*/setting.md",
        "papers/*/claims.toml",
        "papers/*/results/**/*.json",
        "CITATION.cff",
    )
    return [
        str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern))
    ]


def _read(name: str) -> bytes:
    return (ROOT / name).read_bytes()


def _index(found: dict[str, bytes | str]) -> str:
    """The README is the front page."""
    notebooks = [name for name in found if name.startswith("notebooks/") and name.endswith("ipynb")]
    results = ["scoreboard.md", "papers/index.md", *(n for n in found if n == "systems.md")]
    guides = [*(f"docs/{name}.md" for name in GUIDES), "data/README.md"]
    others = sorted(n for n in found if n.startswith("docs/") and n.endswith(".md"))
    guides += [name for name in others if name not in guides]
    parts = {"Chapters": notebooks, "Results": results, "Guides": guides,
             "Reference": ["reference/index.rst"]}  # fmt: skip
    text = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n" + _read("README.md").decode()
    for caption, names in parts.items():
        pages = "\n".join(name.rsplit(".", 1)[0] for name in names)
        text += TOCTREE.format(caption=caption, pages=pages)
    return text

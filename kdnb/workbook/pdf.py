"""A report as PDF, made by a browser or LaTeX if this machine has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kdnb import paths

if TYPE_CHECKING:
    from kdnb.workbook.reporting import Page

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "microsoft-edge", "microsoft-edge-stable", "msedge",
)  # fmt: skip
INSTALLED = {  # standard locations of browsers that are not on the PATH
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"%ProgramFiles%\Google\Chrome\Application\chrome.exe",
        r"%ProgramFiles(x86)%\Microsoft\Edge\Application\msedge.exe",
    ),
}
LATEX = ("tectonic", "lualatex", "xelatex", "pdflatex")
PATIENCE = 300  # seconds for one call


class ToolError(RuntimeError):
    """This machine has no tool for PDF, or the tool failed; the message says what to do."""


def check() -> None:
    """Require a browser or LaTeX; raise `ToolError` otherwise."""
    if not _browser() and not _latex():
        raise ToolError(
            "a PDF takes Chromium, Chrome or Edge, or LaTeX (pdflatex, tectonic), and none was found: "
            "install one, or ask for a .html file and print it from any browser."
        )


def made(page: Page) -> bytes:
    """The page as PDF: printed by a browser, else typeset by LaTeX."""
    check()
    with paths.temporary_folder("kdnb-report-") as folder:
        command = _print(page, folder) if _browser() else _set(page, folder)
        target = folder / "report.pdf"
        said = ""
        for _ in range(1 if _browser() or "tectonic" in command[0] else 2):  # twice: column widths
            said = _called(command, folder)
        if not target.is_file() or not (content := target.read_bytes()).startswith(b"%PDF"):
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise ToolError(f"{command[0]} made no PDF: {last[:300]}.")
    return content


def _print(page: Page, folder: Path) -> list[str]:
    from kdnb.workbook import reporting

    source = folder / "report.html"
    source.write_text(reporting.html(page), encoding="utf-8")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox does not work for root
    return [
        _browser(), "--headless", "--disable-gpu", *["--no-sandbox"] * root, "--no-pdf-header-footer",
        f"--user-data-dir={folder / 'browser'}", f"--print-to-pdf={folder / 'report.pdf'}",
        source.as_uri(),
    ]  # fmt: skip


def _set(page: Page, folder: Path) -> list[str]:
    from kdnb.workbook import reporting

    reporting.write_latex(page, folder / "report.tex")
    command = _latex()
    options = (
        [] if "tectonic" in Path(command).name else ["-interaction=nonstopmode", "-halt-on-error"]
    )
    return [command, *options, "report.tex"]


def _called(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command[0]} took more than {PATIENCE} seconds for the PDF.") from None
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be started ({error.strerror}).") from error
    return done.stdout + done.stderr


def _browser() -> str:
    return next(_found(BROWSERS, INSTALLED.get(sys.platform, ())), "")


def _latex() -> str:
    return next(_found(LATEX), "")


def _found(names: tuple[str, ...], places: tuple[str, ...] = ()) -> Iterator[str]:
    yield from filter(None, map(shutil.which, names))
    yield from (str(path) for path in map(Path, map(os.path.expandvars, places)) if path.is_file())

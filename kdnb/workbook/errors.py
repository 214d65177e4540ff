"""Error messages of the command: one sentence each."""

from __future__ import annotations

import errno
from pathlib import Path

from kdnb.names import brief, refused


def check_folder() -> None:
    """Refuse to start in a deleted folder, where the mathematics library would abort."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RuntimeError("the folder you are in is gone: change to another one") from None


def sentence(error: Exception) -> str:
    """An error's message as one sentence of at most about 1,000 characters."""
    foreseen = (ValueError, TypeError, ArithmeticError, OSError, RuntimeError, ImportError)
    if hasattr(error, "errors") and hasattr(error, "error_count"):  # pydantic's
        said = f"{error.title}: {refused(error)}"
    elif isinstance(error, OSError) and error.strerror and error.filename:
        said = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:  # from an open stream
        said = "no space is left where the output goes: free some, or send it elsewhere"
    elif isinstance(error, foreseen) and str(error).strip():
        said = " ".join(str(error).split())
    elif isinstance(error, MemoryError):
        said = "there is too little memory: close other programs, or ask for fewer --jobs"
    else:
        said = f"{type(error).__name__} {brief(str(error))}: --debug shows where it was raised"
    said = said if len(said) <= 1000 else f"{said[:700]} ... {said[-250:]}"
    return said if said.endswith((".", "?", "!")) else f"{said}."

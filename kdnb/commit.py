"""The running code: its commit, and whether it was changed since."""

from __future__ import annotations

import functools
import subprocess
from typing import Any

from kdnb import paths


@functools.cache  # once per process: a run uses the code it was started with
def code() -> dict[str, Any]:
    """`commit` and `dirty`; without git, or outside a checkout, "unknown" and True."""
    try:
        commit = _git("rev-parse", "HEAD")
        # Only code that produces numbers counts: editing a notebook does not make a trial dirty.
        dirty = bool(_git("status", "--porcelain", "--", "kdnb", "papers/*/claims.toml"))
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "dirty": True}
    return {"commit": commit, "dirty": dirty}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.PACKAGE.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

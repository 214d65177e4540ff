"""The workbook's style: seaborn's theme, one style file, and colours with a fixed meaning.

Colours are Okabe and Ito's, which readers with any common colour vision can tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.colors import is_color_like

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, LIGHT = "#595959", "#D9D9D9"

ROLES = {"teacher": BLUE, "student": ORANGE, "method": GREEN, "other": GREY}
"""What a colour means in every figure; `student` is the one that learns from labels alone."""

STYLE = Path(__file__).with_name("workbook.mplstyle")


def use() -> None:
    """Use the workbook's style for all figures from now on."""
    sns.set_theme(style="ticks", palette=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY])
    plt.style.use(STYLE)


def colours(names: Iterable[str], roles: Mapping[str, str] | None = None) -> dict[str, str]:
    """One colour for each name, by its role.

    The first name of a role gets the role's own colour. Further methods get colours that no role
    uses, so that curves of several methods differ; names of any other role share its colour.

    Args:
        names: names of conditions, as shown to readers.
        roles: name -> `teacher`, `student`, `method` or `other`, or a specific colour, such as
            one of a ramp over temperatures; a name that is not listed is a method.

    Raises:
        ValueError: for an unknown role, or a role for a name that does not occur.
    """
    names, roles = list(names), dict(roles or {})
    if missing := [name for name in roles if name not in names]:
        raise ValueError(f"roles names {missing[0]!r}, which is not among {', '.join(names)}.")
    free = iter([GREEN, PURPLE, SKY, RED, "#8C6D00", "#004D80", "#7F3C64"])
    chosen = {}
    for name in names:
        role = roles.get(name, "method")
        if role not in ROLES and not is_color_like(role):
            raise ValueError(f"{role!r} is no role: there are {', '.join(ROLES)}.")
        chosen[name] = next(free, GREEN) if role == "method" else ROLES.get(role, role)
    return chosen

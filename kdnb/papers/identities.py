"""Algebraic statements of papers that code can check up to rounding, under the names used in claims.

Each function returns (value, tolerance); the identity holds where |value| <= tolerance.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

from kdnb.names import nearest

IDENTITIES = {
    "soft_target_gradient": "kdnb.reproductions.hinton2015:gradient_identity",
    "high_temperature_limit": "kdnb.reproductions.hinton2015:high_temperature_limit",
    "temperature_balance": "kdnb.reproductions.hinton2015:balance",
    "dark_knowledge_gradient": "kdnb.losses.ban:gradient_identity",
    "virtual_teacher_smoothing": "kdnb.losses.tfkd:virtual_teacher_identity",
}


def identity(name: str) -> Callable[[], tuple[float, float]]:
    """The function that checks an identity.

    Raises:
        ValueError: for an unknown name; names the nearest ones.
    """
    if name not in IDENTITIES:
        raise ValueError(f"there is no identity {name!r} ({nearest(name, IDENTITIES)})")
    return pkgutil.resolve_name(IDENTITIES[name])

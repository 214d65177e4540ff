"""Split a function's keywords into fields of the recipe and options of methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kdnb.losses.checks import check_number
from kdnb.methods import catalogue
from kdnb.names import nearest
from kdnb.training import Recipe
from kdnb.training.recipe import recipe_for

FIELDS = tuple(Recipe.model_fields)


def recipe_of(verb: Callable, recipe: Recipe | None, fields: Mapping[str, Any]) -> Recipe:
    """The recipe of a function whose only other keywords are the recipe's fields.

    Raises:
        ValueError: for an unknown keyword, naming the nearest, or a field that would be ignored.
    """
    known, _ = told_apart(verb, fields, {})
    return recipe_for(recipe, known)


def check_weights_of_terms(**weights: float) -> None:
    """Require weights of at least 0, at least one of them above 0."""
    check_number(least=0, **weights)
    if not any(weights.values()):
        raise ValueError(f"all of {', '.join(weights)} are 0: nothing would be learnt.")


def told_apart(
    verb: Callable, given: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split keywords into the recipe's fields and the options of each method.

    An option that several methods have is given to each by name: `temperature={"kd": 4, "dkd": 2}`.

    Args:
        verb: the function that they were given to.
        methods: the options of each method, by the method's name.

    Returns:
        The fields, and the options of each method.

    Raises:
        ValueError: for an unknown keyword, naming the nearest, or an ambiguous one.
    """
    fields: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {name: {} for name in methods}
    for key, value in given.items():
        owners = [name for name, known in methods.items() if key in known]
        named = isinstance(value, Mapping) and bool(value) and set(value) <= set(owners)
        if named:
            for name, own in value.items():
                options[name][key] = own
        elif key in FIELDS and not owners:
            fields[key] = value
        elif len(owners) == 1 and key not in FIELDS:
            options[owners[0]][key] = value
        elif owners:
            raise ValueError(_ambiguous(key, value, owners))
        else:
            raise ValueError(_unknown(verb, key, methods))
    return fields, options


# Names of our options in other libraries.
_MEANT = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "T": "temperature",
    "tau": "temperature",
    "alpha": "weight, label_weight",
    "beta": "weight, label_weight",
    "loss": "method",
    "criterion": "loss, method",
    "device": "fabric",
    "model": "student",
}


def _unknown(verb: Callable, key: str, methods: Mapping[str, Mapping[str, Any]]) -> str:
    """The method that has this option, or the nearest option."""
    own = _taken_by(verb)
    known = [*FIELDS, *own, *(option for given in methods.values() for option in given)]
    others = [name for name, one in catalogue.METHODS.items() if key in one.options]
    if others and methods:
        more = ", ..." if len(others) > 4 else ""
        return (
            f"{key} is an option of {', '.join(others[:4])}{more}, not of "
            f"{' or '.join(methods)}: leave it out."
        )
    from kdnb.methods.offline.distil import distil  # which imports this module

    if verb is not distil and (others or key in inspect.signature(distil).parameters):
        return f"{verb.__name__} has no option {key!r}: it belongs to kdnb.distil."
    if meant := [one for one in _MEANT.get(key, "").split(", ") if one in known]:
        return f"{verb.__name__} has no option {key!r} (here it is {' or '.join(meant)})."
    return f"{verb.__name__} has no option {key!r} ({nearest(key, known)})."


def _taken_by(verb: Callable) -> list[str]:
    """A function's own keywords."""
    parameters = inspect.signature(verb).parameters.items()
    return [name for name, one in parameters if one.kind is one.KEYWORD_ONLY]


def _ambiguous(key: str, value: Any, owners: list[str]) -> str:
    if isinstance(value, Mapping) and value:
        other = next(name for name in value if name not in owners)
        return f"{key} names {other!r}, and the methods that have it are {' and '.join(owners)}."
    example = ", ".join(f'"{name}": {value!r}' for name in owners)
    also = " and a field of the recipe" if key in FIELDS else ""
    return (
        f"{key} is an option of {' and '.join(owners)}{also}: say whose by "
        f"{key}={{{example}}}{', or give a Recipe' if also else ''}."
    )

"""The functions that runs may name, and their former names.

A run is described by the name of a function, never by its location in the source tree, so code can
move while digests stay the same. Descriptions and files can name only functions in this table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from kdnb.methods import names
from kdnb.names import nearest

_FUNCTIONS = "kdnb.runs.functions"
_OLD_FREE, _OLD_PAPERS = "kdnb.algorithms.data_free", "kdnb.reproductions"

# name -> (location of the function, the name in descriptions from before this table existed)
FUNCTIONS: dict[str, tuple[str, str]] = {
    "supervised": (f"{_FUNCTIONS}.offline:supervised", "kdnb.schemes.offline:supervised"),
    **{name: (f"{_FUNCTIONS}.offline:{name}", name) for name in ("shipped", "untrained")},
    "distilled": (f"{_FUNCTIONS}.offline:distilled", "kdnb.schemes.offline:distilled"),
    "transferred": (f"{_FUNCTIONS}.offline:transferred", "kdnb.schemes.transfer:transferred"),
    "early_stopped": (f"{_FUNCTIONS}.offline:early_stopped", "kdnb.schemes.route:early_stopped"),
    "privileged_synthetic": (
        f"{_FUNCTIONS}.privileged:synthetic_trial",
        "privileged_synthetic",
    ),
    "privileged_digits": (f"{_FUNCTIONS}.privileged:digits_trial", "privileged_digits"),
    "glnn_nodes": (f"{_FUNCTIONS}.graph:glnn_trial", "glnn_nodes"),
    "node_structure": (f"{_FUNCTIONS}.graph:structure_trial", "node_structure"),
    **{
        name: (f"{_FUNCTIONS}.quantized:{name}", name)
        for name in ("quantised_student", "quantised_points", "rounded_student")
    },
    "lifelong": (f"{_FUNCTIONS}.lifelong:lifelong_trial", "lifelong"),
    "searched": (f"{_FUNCTIONS}.retrieval:searched_trial", "searched"),
    "early_grades": (f"{_FUNCTIONS}.nas:early_grades_trial", "early_grades"),
    "policies": (f"{_FUNCTIONS}.policies:policy_trial", "policies"),
    "label_noise": (f"{_FUNCTIONS}.label_noise:label_noise_trial", "label_noise"),
    "spoken_frames": (f"{_FUNCTIONS}.speech:spoken_frames_trial", "spoken_frames"),
    "mutual": (f"{_FUNCTIONS}.online:mutual_trial", "kdnb.schemes.online:mutual_trial"),
    "born_again": (
        f"{_FUNCTIONS}.self_distillation:ban_generation",
        "kdnb.schemes.self_distillation:ban_generation",
    ),
    "ensemble": (
        f"{_FUNCTIONS}.self_distillation:ensemble_trial",
        "kdnb.schemes.self_distillation.generations:ensemble_trial",
    ),
    "virtual_teacher": (
        f"{_FUNCTIONS}.self_distillation:virtual_teacher_trial",
        "kdnb.schemes.self_distillation:virtual_teacher_trial",
    ),
    "kdgan": (
        f"{_FUNCTIONS}.adversarial:kdgan_trial",
        "kdnb.algorithms.adversarial.trials:kdgan_trial",
    ),
    "dafl": (f"{_FUNCTIONS}.data_free:dafl_trial", f"{_OLD_FREE}:dafl_trial"),
    "adversarial_generation": (
        f"{_FUNCTIONS}.data_free:adversarial_trial",
        f"{_OLD_FREE}:adversarial_trial",
    ),
    "noise_bank": (f"{_FUNCTIONS}.banks:noise_trial", f"{_OLD_FREE}:noise_trial"),
    "zskd_bank": (f"{_FUNCTIONS}.banks:impressions_trial", f"{_OLD_FREE}:impressions_trial"),
    "deepinversion_bank": (f"{_FUNCTIONS}.banks:inversion_trial", f"{_OLD_FREE}:inversion_trial"),
    "bank_taught": (f"{_FUNCTIONS}.banks:banked_trial", f"{_OLD_FREE}:banked_trial"),
    "dataset_distillation": (
        f"{_FUNCTIONS}.banks:dataset_distillation_trial",
        f"{_OLD_FREE}:dataset_distillation_trial",
    ),
    "specialist": (f"{_FUNCTIONS}.uhc:specialist", "specialist"),
    "unified": (f"{_FUNCTIONS}.uhc:unified", "unified"),
    "sentences_untaught": (f"{_FUNCTIONS}.sentences:untaught", "sentences_untaught"),
    "sentences_taught": (f"{_FUNCTIONS}.sentences:taught", "sentences_taught"),
    "sentences_probed": (f"{_FUNCTIONS}.sentences:probed", "sentences_probed"),
    **{
        name: (f"{_FUNCTIONS}.language:{name}", name)
        for name in ("language_model", "language_student", "language_teacher")
    },
    **{name: (f"{_FUNCTIONS}.translation:{name}", name) for name in ("translator", "translations")},
    "retrieved": (
        "kdnb.reproductions.passalis2018pkt:retrieved",
        f"{_OLD_PAPERS}.passalis2018pkt:retrieved",
    ),
    "distilled_images": (
        "kdnb.reproductions.wang2018dd:distilled_trial",
        f"{_OLD_PAPERS}.wang2018dd:distilled_trial",
    ),
    "real_images": (
        "kdnb.reproductions.wang2018dd:real_trial",
        f"{_OLD_PAPERS}.wang2018dd:real_trial",
    ),
    "beliefs": (
        "kdnb.reproductions.micaelli2019zskt:beliefs",
        f"{_OLD_PAPERS}.micaelli2019zskt:beliefs",
    ),
    "merged_banks": (
        "kdnb.reproductions.yin2020deepinversion:merged_trial",
        f"{_OLD_PAPERS}.yin2020deepinversion:merged_trial",
    ),
}
_NAMES = {former: name for name, (_, former) in FUNCTIONS.items()}


def register(name: str, place: str) -> None:
    """Let runs name your own function.

    Args:
        name: the name to use in descriptions.
        place: `"package.module:function"`, importable in every process that runs it. It is
            called as function(context, seed, **arguments) and returns an `Outcome`.

    Raises:
        ValueError: if the name belongs to another function.

    Worker processes learn of it from the process that sends them a run.
    """
    known, _ = FUNCTIONS.setdefault(name, (place, name))  # built-in ones keep their former name
    if known != place:
        raise ValueError(f"the name {name!r} belongs to {known} already.")


def name_of(function: str) -> str:
    """The registered name of a function, from that name or a former one."""
    return _NAMES.get(function, function)


def place_of(name: str) -> str:
    """The location of a registered function.

    Raises:
        ValueError: for an unregistered name; names the nearest ones.
    """
    if name not in FUNCTIONS:
        raise ValueError(
            f"no function is registered as {name!r} ({nearest(name, FUNCTIONS)}): "
            "`kdnb.runs.registry.register` adds yours."
        )
    return FUNCTIONS[name][0]


def function_of(name: str) -> Callable[..., Any]:
    """A registered function.

    Raises:
        ValueError: for an unknown name, or a location without such a function.
    """
    module, _, function = place_of(name).partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{name!r} is registered as {module}:{function}, where it is not ({error})."
        ) from error


def as_first_written(description: Any) -> Any:
    """A description with the original function names, from which digests are computed."""
    if isinstance(description, list):
        return [as_first_written(item) for item in description]
    if not isinstance(description, dict):
        return description
    described = {key: as_first_written(value) for key, value in description.items()}
    if described.keys() == {"function", "arguments", "seed"}:
        name = described["function"]
        described["function"] = FUNCTIONS[name][1] if name in FUNCTIONS else name
        method = described["arguments"].get("method")
        if name == "transferred" and isinstance(method, str):
            described["arguments"]["method"] = names.former(method)
    return described

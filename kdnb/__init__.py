"""The executable edition of the survey "Knowledge Distillation: A Survey".

>>> import kdnb
>>> digits = kdnb.data.load("mnist")
>>> teacher = kdnb.nets.pretrained("lenet5", "mnist")
>>> student = kdnb.nets.build("lenet5_half_dafl")
>>> fit = kdnb.distil(student, teacher, digits.train, method="kd", temperature=4)  # doctest: +SKIP
>>> kdnb.evaluate(student, digits.test)  # doctest: +SKIP
"""

import importlib
import os

# Torch reads this at its first tensor: on Linux, tensors of 2 MB and more come in huge pages, which
# spares most page faults of a training step.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"

# Imported on first use, so that `import kdnb` is fast.
_HOMES = {
    "Criterion": "kdnb.methods.criterion",
    "Ensemble": "kdnb.training.answers",
    "Fit": "kdnb.training",
    "Recipe": "kdnb.training",
    "Toy": "kdnb.training.toy",
    "born_again": "kdnb.methods.self_distillation.ban",
    "compare": "kdnb.reproductions.compare",
    "data_free": "kdnb.methods.data_free.without_data",
    "distil": "kdnb.methods.offline.distil",
    "evaluate": "kdnb.training",
    "export": "kdnb.training.exporting",
    "mutual": "kdnb.methods.online.dml",
    "toy": "kdnb.training.toy",
    "train": "kdnb.methods.offline.distil",
}
_ROOMS = ("data", "figures", "losses", "methods", "nets", "papers", "training")

__all__ = [
    "Criterion",
    "Ensemble",
    "Fit",
    "Recipe",
    "Toy",
    "__version__",
    "born_again",
    "compare",
    "data",
    "data_free",
    "distil",
    "evaluate",
    "export",
    "figures",
    "losses",
    "methods",
    "mutual",
    "nets",
    "papers",
    "toy",
    "train",
    "training",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"kdnb.{name}")
    raise AttributeError(f"kdnb has no {name!r}; it offers {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Claims, tables of results and records that the tests of `kdnb.papers` share."""

import copy
import hashlib

import numpy as np
import pandas as pd

from kdnb import papers
from kdnb.papers.claims import Claim
from kdnb.papers.records import Record

SAMPLE = """
paper = "hinton2015"

[[claim]]
id = "order"
title = "Distillation closes most of the gap"
statement = "A distilled student makes fewer errors than the same student without a teacher."
where = "section 3"
metric = "test_errors"
unit = "errors of 10,000"
published = {teacher = 67, student = 146, distilled = 74}

[[claim.criterion]]
kind = "direction"
quantity = "student - distilled"
at_least = 0

[[claim.criterion]]
kind = "magnitude"
quantity = "(student - distilled) / (student - teacher)"
pooled = true
at_least = 0.6
"""


MEANS = {"teacher": 70.0, "student": 150.0, "distilled": 80.0, "wide": 81.0}


def table(n, spread=2.0, **means):
    """Arms around given means: seed k is spread * (k - centre) off, less for other arms."""
    columns = {}
    for i, (arm, mean) in enumerate({**MEANS, **means}.items()):
        offsets = spread * (np.arange(n) - (n - 1) / 2) * (1 + i / 10)
        columns[(arm, "test_errors")] = mean + offsets
        columns[(arm, "accuracy")] = 1 - (mean + offsets) / 10_000
    frame = pd.DataFrame(columns, index=range(n))
    frame.columns = pd.MultiIndex.from_tuples(columns)
    return frame


def claim(*criteria, **fields):
    base = {"id": "c", "title": "t", "statement": "s", "where": "w", "metric": "test_errors"}
    return Claim(**base, **fields, criteria=list(criteria))


def direction(quantity="student - distilled", **fields):
    return {"kind": "direction", "quantity": quantity, "at_least": 0, **fields}


def magnitude(quantity="student - distilled", **fields):
    return {"kind": "magnitude", "quantity": quantity, **fields}


CLAIMS = """
paper = "hinton2015"

[[claim]]
id = "order"
title = "Distillation closes most of the gap"
statement = "A distilled student makes fewer errors than the same student without a teacher."
where = "section 3"
metric = "test_errors"
unit = "errors of 10,000"
published = {teacher = 67, student = 146, distilled = 74}

[[claim.criterion]]
kind = "direction"
quantity = "student - distilled"
at_least = 0

[[claim.criterion]]
kind = "magnitude"
quantity = "(student - distilled) / (student - teacher)"
pooled = true
at_least = 0.6

[[claim]]
id = "few-data"
title = "Soft targets need a fraction of the data"
statement = "On few data soft targets beat labels."
where = "section 5"
metric = "test_errors"

[[claim.criterion]]
kind = "direction"
quantity = "few_hard - few_soft"
at_least = 0
"""


ENVIRONMENT = {"commit": "0123456789abcdef", "dirty": False, "versions": {"torch": "2.11"}}


def raw(profile="laptop", seeds=6, student=150.0):
    means = {"teacher": 70.0, "student": student, "distilled": 80.0}
    arms = {
        arm: {
            str(seed): {
                "metrics": {"test_errors": mean + seed, "train_errors": 0.0},
                "trial": hashlib.sha256(f"{arm}{seed}".encode()).hexdigest(),
                "environment": "e1",
                "wall_s": 12.5,
            }
            for seed in range(seeds)
        }
        for arm, mean in means.items()
    }
    return {
        "paper": "hinton2015",
        "profile": profile,
        "recipe_digest": "ab" * 32,
        "created": "2026-11-01T00:00:00Z",
        "arms": arms,
        "environments": {"e1": copy.deepcopy(ENVIRONMENT)},
        "data": {"mnist": {"train": "0" * 64, "test": "1" * 64}},
    }


def record(**options):
    return Record.model_validate(raw(**options))


def save(**options):
    made = record(**options)
    papers.write_record(made, papers.record_path("hinton2015", made.profile))
    return made

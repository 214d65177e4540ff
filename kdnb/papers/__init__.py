"""Papers: their claims, our records and verdicts, and how to show and cite them.

A paper that we reproduce has a folder `papers/<key>/` with its `claims.toml`, descriptions of the compared
conditions (`conditions.toml`), and one record for each profile, `results/<profile>.json`.
"""

from kdnb.papers.citations import cite
from kdnb.papers.records import (
    Entry,
    Environment,
    PaperError,
    Record,
    UnknownPaper,
    earlier_path,
    environment_id,
    read_record,
    record_path,
    write_record,
)
from kdnb.papers.references import bibliography, bibtex, reference
from kdnb.papers.results import (
    claims_of,
    conditions,
    named_conditions,
    profiles,
    reproduced_papers,
    verdicts,
)
from kdnb.papers.showing import show, show_frame
from kdnb.papers.survey import best_epochs, survey_table

__all__ = [
    "Entry",
    "Environment",
    "PaperError",
    "Record",
    "UnknownPaper",
    "best_epochs",
    "bibliography",
    "bibtex",
    "cite",
    "claims_of",
    "conditions",
    "earlier_path",
    "environment_id",
    "named_conditions",
    "profiles",
    "read_record",
    "record_path",
    "reference",
    "reproduced_papers",
    "show",
    "show_frame",
    "survey_table",
    "verdicts",
    "write_record",
]

"""Claims and verdicts: what a claims file holds (`schema`) and how it is judged (`judging`)."""

from kdnb.papers.judging import WORDS, Checked, Finding, Verdict, judge, judge_all, measure
from kdnb.papers.quantities import NotTestable
from kdnb.papers.schema import Claim, ClaimError, Premise, load_claims
from kdnb.papers.statistics import holm, interval, sign_flip

__all__ = [
    "WORDS",
    "Checked",
    "Claim",
    "ClaimError",
    "Finding",
    "NotTestable",
    "Premise",
    "Verdict",
    "holm",
    "interval",
    "judge",
    "judge_all",
    "load_claims",
    "measure",
    "sign_flip",
]

"""Chapter 3-2's table of methods: who teaches whom, what it costs, and what a short run gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from kdnb.papers.claims import Verdict
from kdnb.workbook.chapters import zhang2018dml_live as live
from kdnb.workbook.chapters.zhang2018dml_live import Networks, Workshop

DML = "Zhang et al. 2018"
EACH = "each peer every other one"
NOT_JUDGED = "illustrated, not judged"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        section: of the survey.
        teaches: who teaches whom.
        trained: what is trained, and what a step costs beyond it.
        call: of `kdnb.methods.online`.
        run: a short run of it; None where a cell of the chapter does that.
        claims: of DML's claims, those that judge it.
    """

    title: str
    section: str
    paper: str
    teaches: str
    trained: str
    call: str
    run: Callable[[Workshop], Networks] | None
    claims: tuple[str, ...] = ()


def _dml(title: str, trained: str, call: str, claims: tuple[str, ...] = (), **options) -> Method:
    return Method(
        f"DML, {title}", "3.2", DML, EACH, trained, call, partial(live.mutual, **options), claims
    )


def _kdcl(name: str, aggregate: str, how: str) -> Method:
    return Method(
        f"KDCL, {name}", "3.2", "Guo et al. 2020", f"one target of all ({how}) each student",
        "2 networks", f'kdcl(networks, …, aggregate="{aggregate}")',
        partial(live.kdcl, aggregate=aggregate),
    )  # fmt: skip


METHODS = (
    Method("one network alone", "", "the control", "nobody", "1 network", "offline.train(…)",
           live.alone),
    _dml("2 peers in turn", "2 networks, 1 answer more", "mutual(networks, …)",
         ("both-improve", "entropy", "flatter")),
    _dml("2 peers at once", "2 networks", 'mutual(…, order="simultaneous")', order="simultaneous"),
    _dml("3 peers", "3 networks, 2 answers more", "mutual(networks, …)", ("more-peers",),
         peers=("tiny",) * 3),
    _dml("5 peers", "5 networks, 4 answers more", "mutual(networks, …)", ("more-peers",),
         peers=("tiny",) * 5),
    _dml("unequal pair", "a small and a larger network", "mutual(networks, …)",
         ("smaller-gains-more",), peers=("tiny", "resnet8")),
    _dml("mean logits of 3", "3 networks, 2 answers more", 'mutual(…, target="mean_logits")',
         ("ensemble-target",), peers=("tiny",) * 3, target="mean_logits"),
    Method("codistillation", "3.2", "Anil et al. 2018", "each copy, as it was, the other ones",
           "a process a copy; stale peers' answers", "codistil(network, …, every=…)", None),
    _kdcl("naive", "naive", "the best one's logits"),
    _kdcl("linear", "linear", "their best mixture"),
    _kdcl("min-logit", "min_logit", "the least margins"),
    _kdcl("general", "general", "weighed by held-out errors"),
    Method("ONE", "3.2, 4", "Lan, Zhu and Gong 2018", "the gated sum of the branches each branch",
           "1 stem, 3 heads, a gate", "one(branches, gate, …)", live.one),
    Method("OKDDip", "3.2, 4", "Chen et al. 2020", "peers, by attention, each other; all, a leader",
           "1 stem, 4 heads, attention", "okddip(branches, attention, …)", live.okddip),
    Method("FFL", "3.2", "Kim et al. 2019", "the ensemble a fused classifier, that the students",
           "2 networks, fusion module", "feature_fusion(branches, fusion, …)", live.fusion),
    Method("cheap convolutions", "3.2, 4", "Xie et al. 2019", "a teacher of all maps each student",
           "2 cheap networks, a classifier", "cheap_online(branches, teacher, …)", live.cheap),
    Method("Rocket Launching", "2.2, 3.2", "Zhou et al. 2018", "a booster head the light head",
           "1 stem, 2 heads", "rocket(branches, …)", live.rocket),
    Method("AFD", "3.2, 5.1", "Chung et al. 2020", "each all others by answers, one by maps",
           "2 networks, critics, a second pass", "adversarial_maps(networks, …, maps=…)",
           live.maps),
    Method("ACNs", "3.2, 5.1", "Zhang et al. 2021", "each peer the others, on made images too",
           "2 networks, generator, twice the images", "adversarial_codistillation(networks, …)",
           lambda w: live.divergent(w)[0]),
    Method("temporal ensembling", "3.2, 3.3", "Laine and Aila 2017", "its past answers it",
           "1 network, a memory for each image", "temporal_ensembling(ensemble, …)", live.temporal),
    Method("mean teacher", "3.2, 4", "Tarvainen and Valpola 2017", "its averaged weights it",
           "1 network, 1 answer more", "mean_teacher(pair, …)", live.averaged),
    Method("from checkpoints", "3.2", "Wei et al. 2019", "its best self it, when it is worse",
           "1 network, held-out images", "from_checkpoints(kept, …, score=…)", live.checkpoints),
    Method("CTSL-MKT", "3.2, 3.3", "Sun et al. 2021", "its last epoch's self and the peers each",
           "2 networks, 1 answer more each", "multiple_knowledge(students, …)", live.joined),
)  # fmt: skip


def ran(w: Workshop) -> dict[str, tuple[float, float]]:
    """Every method once: the test accuracy of what is deployed, in percent, and seconds."""
    found = {}
    METHODS[0].run(w)  # the first run of a process is slower: it is not timed
    for method in METHODS:
        if method.run:
            started = time.perf_counter()
            networks = method.run(w)
            seconds = time.perf_counter() - started
            accuracies = [w.accuracy(network) for network in networks.values()]
            found[method.title] = (float(np.mean(accuracies)), seconds)
    return found


def live_table(found: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """What `ran` found: nothing here is a judgement."""
    single = found[METHODS[0].title][1]
    rows = {
        title: {
            "test accuracy, %": f"{accuracy:.0f}",
            "time / one network": f"{seconds / single:.1f}",
        }
        for title, (accuracy, seconds) in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Every method: who teaches whom, what it costs, and the verdict where there is one."""
    words = {verdict.claim.id: verdict.word for verdict in verdicts}
    rows = []
    for method in METHODS:
        judged = "; ".join(f"{claim}: {words[claim]}" for claim in method.claims) or NOT_JUDGED
        rows.append({
            "method": method.title, "survey": method.section, "paper": method.paper,
            "who teaches whom": method.teaches, "what is trained": method.trained,
            "call": method.call, "verdict": "" if method.run is live.alone else judged,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("method")


CHOICE = {
    "DML": (
        "as many networks at once as peers", "opinions on the other classes, from step one",
        "no teacher at hand, and one machine holds two networks",
    ),
    "codistillation": (
        "several machines, a common folder", "a second group of machines that is worth its cost",
        "one machine more no longer speeds up training; answers should not churn",
    ),
    "KDCL": (
        "two networks, labels for the target", "a target that is never worse than the best student",
        "the students differ much in strength",
    ),
    "ONE, OKDDip": (
        "a network that can be split; a gate or attention",
        "several heads for little more than one network, and their ensemble",
        "memory or time for whole peers is missing",
    ),
    "FFL, cheap convolutions": (
        "maps of the same images from all students", "a teacher that sees maps, not answers",
        "the students differ in their layers, or must be very small",
    ),
    "Rocket Launching": (
        "a light and a large head on one stem", "a light network with a teacher of its own",
        "latency is what counts, and a teacher cannot be trained first",
    ),
    "AFD, ACNs": (
        "critics, a generator; patience in tuning", "knowledge in maps, or in images nobody took",
        "plain mutual learning is at its end",
    ),
    "temporal ensembling, mean teacher": (
        "one network; images, of which few need labels", "a calmer target at next to no cost",
        "labels are few and images many",
    ),
    "online from checkpoints": (
        "held-out images", "a guard against getting worse again", "training is long and overfits",
    ),
    "CTSL-MKT": (
        "two networks and a copy of each", "peers and past at once", "both of the above help alone",
    ),
    "offline distillation (chapter 3.1)": (
        "a trained teacher", "a target that is good from the first step", "a good teacher exists",
    ),
}  # fmt: skip


def choice() -> pd.DataFrame:
    """What you need, what it buys, when to choose it."""
    columns = ["what you need", "what it buys", "when to choose it"]
    return pd.DataFrame.from_dict(CHOICE, orient="index", columns=columns).rename_axis("scheme")

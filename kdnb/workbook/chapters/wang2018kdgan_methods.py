"""Chapter 5-1's tables: every adversarial method, who teaches whom, and when to choose it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from kdnb.data import ImageData
from kdnb.methods.adversarial import classifier_frechet
from kdnb.papers.claims import Verdict
from kdnb.runs.task import network_of
from kdnb.runs.trials import Result
from kdnb.workbook.chapters.wang2018kdgan_live import SEEN, normalised

NOT_JUDGED = "illustrated, not judged"


class Method(NamedTuple):
    """A row of the table.

    Attributes:
        call: of `kdnb.methods.adversarial`, unless it names another place.
        verdict: the words; None where the verdicts of `claims` stand.
        shown: the name of its illustration in `wang2018kdgan_live`, if it has one.
    """

    title: str
    category: str
    paper: str
    teaches: str
    costs: str
    call: str
    claims: tuple[str, ...] = ()
    verdict: str = NOT_JUDGED
    shown: str | None = None


ELSEWHERE = "chapter 5.6"
METHODS = (
    Method("GAN images in the mix", "5.1 (a)", "Liu, Fusi and Mackey 2018",
           "a frozen teacher, on real and generated images", "a GAN first, 1 generation a step",
           "distil_with_generated(student, teacher, generator, …)", shown="generated images"),
    Method("DAFL", "5.1 (a), 5.6", "Chen et al. 2019",
           "a frozen teacher, on generated images alone", "a generator; thousands of steps",
           "data_free.dafl(…)", verdict=ELSEWHERE),
    Method("ZSKT", "5.1 (a), 5.6", "Micaelli and Storkey 2019",
           "a frozen teacher, where the student is furthest from it",
           "a generator; thousands of steps", "data_free.zskt(…)", verdict=ELSEWHERE),
    Method("boundary-supporting samples", "3.1, 5.1", "Heo et al. 2019",
           "a frozen teacher, on images moved to its boundary", "some gradients by the images",
           "methods.offline.bss.distil_at_boundaries(…)", verdict="chapter 3.1"),
    Method("conditional adversarial", "5.1 (b)", "Xu, Hsu and Huang 2018",
           "a frozen teacher; a critic of its logits", "a critic of 10 numbers",
           "conditional_adversarial(student, teacher, critic, …)", shown="conditional"),
    Method("portable students", "5.1 (b)", "Wang et al. 2018 (AAAI)",
           "a frozen teacher; a critic of its features", "a critic of one layer",
           "adversarial_features(…, critics, paths=…)", shown="features"),
    Method("multi-level features", "5.1 (b)", "Gao et al. 2019",
           "a frozen teacher; critics and hints at several layers", "a critic for each layer",
           "adversarial_features(…, hint_weight=1)", shown="three levels"),
    Method("adversarial compression", "5.1 (b)", "Belagiannis et al. 2018",
           "a frozen teacher; a critic of its features; no label", "a critic of one layer",
           "adversarial_compression(…, critic, path=…)", shown="compression"),
    Method("MEAL", "5.1 (b), 5.2", "Shen, He and Xue 2019",
           "one of several frozen teachers, drawn in each step", "several teachers, critics",
           "meal(student, teachers, critics, …)", shown="MEAL"),
    Method("adaptation across domains", "5.1 (b), 7.3", "Meng et al. 2018",
           "a frozen teacher of one domain; a critic of domains", "pairs of images, a critic",
           "adversarial_domains(student, teacher, critics, …)"),
    Method("NaGAN", "5.1 (c)", "Wang et al. 2018 (NeurIPS)", "nobody; a critic of pairs",
           "classifier and critic", "kdgan(classifier, None, critic, …)",
           ("third-player", "game-alone", "fewer-epochs")),
    Method("KDGAN", "5.1 (c)", "Wang et al. 2018 (NeurIPS)",
           "classifier and teacher each other; a critic of pairs", "three networks in training",
           "kdgan(classifier, teacher, critic, …)",
           ("best-baseline", "third-player", "fewer-epochs", "few-labels")),
    Method("AFD", "3.2, 5.1 (c)", "Chung et al. 2020",
           "peers each other; critics of their maps", "peers and critics in training",
           "methods.online.adversarial_maps(…)", verdict="chapter 3.2"),
    Method("ACNs", "3.2, 5.1 (c)", "Zhang et al. 2021",
           "peers each other, on images where they differ", "peers, a generator, a critic",
           "methods.online.adversarial_codistillation(…)", verdict="chapter 3.2"),
    Method("a GAN distilled", "5.1", "Aguinaldo et al. 2019", "a large generator a small one",
           "two generators; a critic for sharpness", "distil_gan(student, teacher, …)"),
)  # fmt: skip


def table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Every method: who teaches whom, what it costs, how to call it, and the verdict, if any."""
    words = {verdict.claim.id: verdict.word for verdict in verdicts}
    rows = []
    for method in METHODS:
        judged = "; ".join(f"{claim}: {words[claim]}" for claim in method.claims)
        rows.append({
            "method": method.title, "survey": method.category, "paper": method.paper,
            "who teaches": method.teaches, "what it costs": method.costs, "call": method.call,
            "verdict": judged or method.verdict,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("method")


def live_table(found: Mapping[str, Result]) -> pd.DataFrame:
    """What the short runs gave: test accuracy in percent. Nothing here is a judgement.

    Args:
        found: of `wang2018kdgan_live.described`.
    """
    names = {"teacher": "the teacher", "labels": "the student, on labels",
             "soft targets": "the student, soft targets"}  # fmt: skip
    names |= {method.shown: method.title for method in METHODS if method.shown}
    seen = found["teacher"].description["arguments"]["data"]["evaluated"]
    rows = {
        title: {"test accuracy, %": f"{100 * (1 - found[key].metrics['test_errors'] / seen):.1f}"}
        for key, title in names.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


GENERATORS = {
    "GAN": "a large GAN", "small GAN": "a small GAN", "small, pixels": "small, taught: pixels",
    "small, joint": "small, taught: joint",
}  # fmt: skip


def generators(found: Mapping[str, Result], source: ImageData) -> pd.DataFrame:
    """Size and Fréchet distance of every generator, and the distance of real images from others."""
    first, second = (
        normalised(source, source.test.select(slice(start, start + SEEN))) for start in (0, SEEN)
    )
    floor = classifier_frechet(network_of(found["teacher"], source), first, second, path="hidden")
    rows = {"other real images": {"parameters": "", "Fréchet distance": f"{floor:.0f}"}}
    for name, label in GENERATORS.items():
        measured = found[name].metrics
        rows[label] = {
            "parameters": f"{measured['parameters']:,.0f}",
            "Fréchet distance": f"{measured['frechet']:.0f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("images of")


def adaptation(found: Mapping[str, Result]) -> pd.DataFrame:
    """Accuracies in percent on digits and on shifted digits: teacher, student, with a critic."""
    plain, reverse = (found[f"domains, {name}"].metrics for name in ("plain", "reversed"))
    rows = {
        "teacher": (plain["teacher_errors"], plain["teacher_shifted_errors"]),
        "student": (plain["errors"], plain["shifted_errors"]),
        "student,\nwith critic": (reverse["errors"], reverse["shifted_errors"]),
    }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["digits", "shifted digits"])
    return 100 * (1 - frame / SEEN)


CHOICE = {
    "GAN images in the mix": (
        "a teacher, a GAN of the same data", "answers between the training images",
        "the student fits its images and the teacher has memorised them",
    ),
    "a generator alone (chapter 5.6)": (
        "a teacher, no image", "a student although the data are gone", "data cannot be had",
    ),
    "a critic of logits or features": (
        "a teacher, a small critic, a tuned balance",
        "a loss that asks for the same distribution, not the same number",
        "plain distillation leaves a gap, and time to tune is there",
    ),
    "MEAL": (
        "several teachers of any architecture", "an ensemble in one network, one teacher a step",
        "teachers exist and one network must do at the end",
    ),
    "adaptation across domains": (
        "a teacher, pairs of images of both domains, no label",
        "a student for the new domain that still serves the old",
        "one image can be turned into its counterpart",
    ),
    "KDGAN": (
        "labels, a larger network, a critic, all in training",
        "the truth as the game's only equilibrium", "labels are very few",
    ),
    "AFD, ACNs (chapter 3.2)": (
        "peers, critics, a generator", "knowledge in maps, and images nobody took",
        "mutual learning is at its end",
    ),
    "a GAN distilled": (
        "a trained generator", "a small generator without a GAN's instability",
        "images must be made on a small device",
    ),
    "plain distillation (chapter 2.1)": (
        "a teacher", "most of the gain, one loss, nothing to balance", "always try it first",
    ),
}  # fmt: skip


def choice() -> pd.DataFrame:
    """What you need, what it buys, when to choose it."""
    columns = ["what you need", "what it buys", "when to choose it"]
    return pd.DataFrame.from_dict(CHOICE, orient="index", columns=columns).rename_axis("method")

"""MiniLLM's arms: equal beginnings and budgets, which captions are looked at, and what is measured."""

import pytest
import torch

from kdnb.data import parallel
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import gu2024minillm as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions import language

ARMS = paper.arms(paper.PROFILES["laptop"])
NOUNS, VERBS = ("dog", "man", "girl", "cat", "boy"), ("runs", "sits", "jumps", "sleeps")
TINY = paper.Parameters(
    vocabulary=100, teacher_width=8, teacher_captions=100, teacher_epochs=1, width=8, captions=100,
    start_epochs=1, epochs=1, samples=1,
)  # fmt: skip


def lines(count, seed):
    generator = torch.Generator().manual_seed(seed)

    def one(words):
        return words[int(torch.randint(len(words), (), generator=generator))]

    return tuple(
        f"A {one(NOUNS)} {one(VERBS)} near the {one(NOUNS)} while it {one(VERBS)} and {one(VERBS)} {n % 7 * 'very '}well."
        for n in range(count)
    )


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    card = parallel.parallel_card("multi30k")
    made = {
        part: parallel.Parallel({"en": lines(count, seed), "de": ("",) * count}, card)
        for part, count, seed in (("train", 400, 1), ("validation", 60, 2), ("test", 60, 3))
    }
    monkeypatch.setattr(language, "load_parallel", lambda name: made)
    language.captions.cache_clear()
    yield made
    language.captions.cache_clear()


def test_every_method_has_the_same_beginning_and_the_same_budget():
    students = [ARMS[name](3).arguments for name in paper.METHODS]
    assert len({one["start"].digest for one in students}) == 1
    assert len({one["teacher"].digest for one in students}) == 1
    assert all(
        one["recipe"] == students[0]["recipe"] and one["data"] == students[0]["data"]
        for one in students
    )
    assert ARMS["kd"](3).arguments["start"].digest != ARMS["kd"](4).arguments["start"].digest
    assert students[0]["data"]["evaluated"] == "test" and paper.LAPTOP.seeds >= 6
    assert len({ARMS[name](3).digest for name in ARMS}) == len(ARMS)


def test_a_claim_has_its_arms_and_metrics(few):
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    for claim in claims_of("gu2024minillm"):
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)
    assert table["teacher", "reverse"].iloc[0] == 0
    assert table["start", "nll"].iloc[0] != table["labels", "nll"].iloc[0]


def test_captions_are_those_of_known_words_and_no_caption_is_in_two_splits(few):
    found = language.captions("multi30k", 100, 6, 14)
    texts = {part: {tuple(row) for row in rows.tolist()} for part, rows in found.tokens.items()}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    for rows in found.tokens.values():
        lengths = (rows != 0).sum(1) - 2
        assert lengths.min() >= 6 and lengths.max() <= 14
        assert rows[:, 0].eq(language.START).all() and ((rows == language.END).sum(1) == 1).all()
    few_words = language.captions("multi30k", 12, 6, 14)
    assert len(few_words.words) == 15 and len(few_words.tokens["train"]) < len(
        found.tokens["train"]
    )


def test_pilots_look_at_no_test_caption(few, monkeypatch, tmp_path):
    pilot = TINY.model_copy(update={"evaluated": "validation"})
    one = trials.run(paper.arms(pilot)["kd"](0)).metrics
    other = trials.run(paper.arms(TINY)["kd"](0)).metrics
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    few["test"].lines["en"] = lines(60, 9)
    language.captions.cache_clear()
    assert trials.run(paper.arms(pilot)["kd"](0)).metrics == one
    assert trials.run(paper.arms(TINY)["kd"](0)).metrics != other


def test_unknown_kinds_are_refused(few):
    trial = paper.arms(TINY)["kd"](0)
    trial.arguments["method"] = {"kind": "guesses"}
    with pytest.raises(ValueError, match="unknown kind 'guesses'"):
        trials.run(trial)


def test_the_calibration_error_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(6, 6, generator=generator)
    rows = torch.randint(1, 6, (40, 7), generator=generator)

    def model(tokens):
        return table[tokens]

    sure, right = [], []
    for row in rows.tolist():
        for place in range(2, 7):
            p = table[row[place - 1]].softmax(0)
            sure.append(float(p.max()))
            right.append(int(p.argmax()) == row[place])
    total = 0.0
    for low in range(10):
        inside = [i for i, s in enumerate(sure) if low / 10 <= s < (low + 1) / 10]
        if inside:
            gap = sum(sure[i] for i in inside) - sum(right[i] for i in inside)
            total += abs(gap) / len(sure)
    assert language.next_word_calibration(model, rows, 2, bins=10) == pytest.approx(total, abs=1e-6)

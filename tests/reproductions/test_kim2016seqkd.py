"""Kim and Rush's arms: equal budgets, one teacher and corpus, which captions are looked at, and what is measured."""

import pytest
import torch

from kdnb.data import parallel
from kdnb.methods.applications.language_models import teacher_sequences
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import kim2016seqkd as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions import translation

ARMS = paper.arms(paper.PROFILES["laptop"])
NOUNS = {"hund": "dog", "mann": "man", "katze": "cat", "frau": "woman", "ball": "ball"}
VERBS = {"rennt": "runs", "sitzt": "sits", "springt": "jumps", "schläft": "sleeps"}
TINY = paper.Parameters(
    vocabulary=100, source_vocabulary=100, longest=8, pairs=100, teacher_width=12, teacher_epochs=2,
    width=8, epochs=1, epochs_on=1, beam=2, oracle_beam=3,
)  # fmt: skip


def sides(count, seed):
    """Lines in German and English: a noun, a verb, a noun, and a number of small words."""
    stream = torch.Generator().manual_seed(seed)
    german, english = [], []
    for number in range(count):
        (n, v, m), very = (
            (int(torch.randint(4, (), generator=stream)) for _ in range(3)),
            number % 3,
        )
        nouns, verbs = list(NOUNS), list(VERBS)
        german.append(f"Ein {nouns[n]} {verbs[v]} {'sehr ' * very}nahe am {nouns[m]}.")
        english.append(f"A {NOUNS[nouns[n]]} {VERBS[verbs[v]]} {'very ' * very}near the {NOUNS[nouns[m]]}.")  # fmt: skip
    return {"de": tuple(german), "en": tuple(english)}


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    card = parallel.parallel_card("multi30k")
    made = {
        part: parallel.Parallel(sides(count, seed), card)
        for part, count, seed in (("train", 150, 1), ("validation", 90, 2), ("test", 90, 3))
    }
    monkeypatch.setattr(translation, "load_parallel", lambda name: made)
    translation.pairs.cache_clear()
    yield made
    translation.pairs.cache_clear()


def test_equal_budgets_one_teacher_and_one_corpus():
    beginners = [ARMS[name](3).arguments for name in paper.LESSONS]
    others = [ARMS[name](3).arguments for name in paper.GOING_ON]
    for group in (beginners, others):
        assert all(one["recipe"] == group[0]["recipe"] for one in group)
        assert all(one["data"] == group[0]["data"] for one in beginners)
    teachers = {one["words"]["teacher"].digest for one in beginners if one["words"]}
    teachers |= {one["corpus"].arguments["teacher"].digest for one in beginners + others if one["corpus"]}  # fmt: skip
    assert teachers == {ARMS["teacher"](0).digest} == {ARMS["teacher"](5).digest}
    assert others[0]["start"].digest == others[1]["start"].digest == ARMS["labels"](3).digest
    assert others[2]["start"].digest == ARMS["seq"](3).digest
    assert others[1]["corpus"].arguments["by"] == "oracle"
    assert beginners[0]["data"]["evaluated"] == "test" and paper.LAPTOP.seeds >= 6
    assert len({ARMS[name](3).digest for name in ARMS}) == len(ARMS)
    assert ARMS["word"](3).digest != ARMS["word"](4).digest


def test_a_claim_has_its_arms_and_metrics(few):
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    for claim in claims_of("kim2016seqkd"):
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)
    assert table["labels", "nll"].iloc[0] != table["labels_on", "nll"].iloc[0]
    assert table["seq", "nll"].iloc[0] != table["labels", "nll"].iloc[0]


def test_pairs_are_those_of_known_words_and_no_source_is_in_two_splits(few):
    found = translation.pairs("multi30k", 100, 100, 3, 8)
    sources = {
        part: {tuple(row[:8]) for row in rows.tolist()} for part, rows in found.tokens.items()
    }
    for part, rows in found.tokens.items():
        assert len(sources[part]) == len(rows)  # each once
        assert rows[:, 8].eq(translation.START).all()
        assert (rows[:, 9:] == translation.END).sum(1).eq(1).all()
        assert int(rows[:, :8].min()) > 0 and int(rows[:, 8:].max()) < len(found.words)
    assert not sources["train"] & sources["test"] and not sources["train"] & sources["validation"]
    assert not sources["validation"] & sources["test"]
    line = found.tokens["train"][0].tolist()
    source = [found.source_words[t] for t in line[:8] if t > 1]
    target = [found.words[t] for t in line[9:] if t > 1]
    given = dict(zip(few["train"].lines["de"], few["train"].lines["en"], strict=True))
    words = {tuple(translation.WORD.findall(a.lower())): b for a, b in given.items()}
    assert translation.WORD.findall(words[tuple(source)].lower()) == target
    fewer = translation.pairs("multi30k", 3, 100, 3, 8)
    assert any(translation.UNKNOWN in row for row in fewer.tokens["train"][:, :8].tolist())
    assert not translation.pairs("multi30k", 100, 5, 3, 8).tokens["train"].numel()


def test_the_corpus_is_what_the_teacher_writes(few):
    arms = paper.arms(TINY)
    teacher, told = trials.run(arms["teacher"](0)), arms["inter"](0).arguments["corpus"]
    made = trials.run(told)
    data = told.arguments["data"]
    master = translation.restored_into(translation._network(told.arguments["network"], data, 0), teacher).eval()  # fmt: skip
    rows = translation._taught_rows(data)
    said = teacher_sequences(
        master, rows, prompt=9, end=translation.END, beam=3, length_power=1.0, by="oracle"
    )
    assert made.tensors()["tokens"].equal(said)
    assert 0 <= made.metrics["bleu"] <= 100


def test_pilots_look_at_no_test_caption(few, monkeypatch, tmp_path):
    pilot = TINY.model_copy(update={"evaluated": "validation"})
    one = trials.run(paper.arms(pilot)["seq"](0)).metrics
    other = trials.run(paper.arms(TINY)["seq"](0)).metrics
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "again"))
    few["test"].lines.update(sides(90, 9))
    translation.pairs.cache_clear()
    assert trials.run(paper.arms(pilot)["seq"](0)).metrics == one
    assert trials.run(paper.arms(TINY)["seq"](0)).metrics != other

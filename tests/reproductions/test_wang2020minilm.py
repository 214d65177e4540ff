"""MiniLM's arms: what they share, and what a trial measures on few sentences with a small teacher."""

import pytest
import torch

from kdnb.data.texts import TextCard, TextFile, Texts
from kdnb.nets.transformer import TextEncoder
from kdnb.papers import claims_of
from kdnb.papers.quantities import parse
from kdnb.reproductions import wang2020minilm as minilm
from kdnb.runs import trials
from kdnb.runs.functions import sentences

LAPTOP = minilm.PROFILES["laptop"]
ARMS = minilm.arms(LAPTOP)


def test_students_differ_in_their_first_stage_alone():
    for name in minilm.FIRST:
        trial, twin = ARMS[name](3), ARMS["labels"](3)
        start = trial.arguments["start"]
        assert {k: v for k, v in trial.arguments.items() if k != "start"} == twin.arguments
        assert start.seed == trial.seed == twin.seed == 3
        assert start.arguments["network"] == trial.arguments["network"]
        assert {k: start.arguments[k] for k in minilm.FIRST[name]} == minilm.FIRST[name]
    firsts = [ARMS[name](0).arguments["start"].arguments for name in minilm.FIRST]
    assert len({str(one["recipe"]) for one in firsts}) == 1


def test_soft_answers_have_as_many_steps_as_both_stages():
    few, steps = -(-LAPTOP.labelled // 64), -(-4500 // 64)
    both = LAPTOP.first_epochs * steps + LAPTOP.epochs * few
    epochs = ARMS["answers"](0).arguments["recipe"]["epochs"]
    assert both <= epochs * steps < both + steps
    assert ARMS["answers"](0).arguments["answers"].digest == ARMS["probe"](0).digest


def test_every_claim_is_about_arms_and_metrics_that_are_measured():
    for claim in claims_of("wang2020minilm"):
        for quantity in (*claim.quantities(), *(p.quantity for p in claim.premises)):
            for arm, metric in parse(quantity)[1]:
                assert arm in ARMS, quantity
                assert (metric or claim.metric) in ("accuracy", "errors", "train_error"), quantity


WORDS = ["what", "who", "where", "is", "was", "the", "a", "city", "man", "thing"]


class Pieces:
    """Words as tokens."""

    unknown, hidden = 20, 21

    def __call__(self, given, longest=64):
        rows = [
            [10, *(WORDS.index(word) + 1 for word in one.split()), 11][:longest] for one in given
        ]
        tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for into, row in zip(tokens, rows, strict=True):
            into[: len(row)] = torch.tensor(row)
        return tokens


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Sixty sentences of three classes, and a teacher of two layers."""
    stream = torch.Generator().manual_seed(0)
    part = TextFile(address="https://example.org/x", files=("x",), size=1, sha256="0" * 64)
    card = TextCard(
        name="trec", title="t", about="a", classes=("what", "who", "where"), encoding="utf-8",
        licence="CC0", cite="li2002trec", folders=("t",), validation=1, train=part, test=part,
    )  # fmt: skip

    def drawn(count):
        labels = torch.arange(count) % 3
        picks = torch.randint(3, 10, (count, 4), generator=stream)
        lengths = torch.randint(1, 5, (count,), generator=stream)
        said = [
            " ".join([WORDS[label], *(WORDS[w] for w in row[:n])])
            for label, row, n in zip(labels.tolist(), picks.tolist(), lengths.tolist(), strict=True)
        ]
        return Texts(tuple(said), labels, card)

    def teacher(seed=7):
        torch.manual_seed(seed)
        return TextEncoder(30522, layers=2, width=24, heads=3, hidden=16, dropout=0.0).eval()

    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    source = {"train": drawn(60), "validation": drawn(12), "test": drawn(15)}
    monkeypatch.setattr(sentences, "load_texts", lambda name: source)
    monkeypatch.setattr(sentences, "word_pieces", Pieces)
    monkeypatch.setattr(sentences, "sentence_encoder", teacher)
    monkeypatch.setattr(sentences, "random_encoder", lambda seed: teacher(8))
    caches = (sentences.corpus, sentences.teacher_of, sentences.remembered, sentences.vectors_of)
    for cache in caches:
        cache.cache_clear()
    yield source
    for cache in caches:
        cache.cache_clear()


DATA = {"name": "trec", "longest": 5}
NET = {"layers": 1, "width": 12, "heads": 3, "hidden": 8}
RECIPE = {"epochs": 12, "batch_size": 16, "optimiser": "adamw", "lr": 0.02, "precision": "32"}


def first(lesson, **more):
    return trials.Trial(
        "sentences_untaught",
        {"data": DATA, "network": NET, "recipe": RECIPE | {"epochs": 2}, "lesson": lesson, **more},
        1,
    )


def second(**more):
    return trials.Trial(
        "sentences_taught",
        {
            "data": {**DATA, "evaluated": "test"},
            "network": NET,
            "recipe": RECIPE,
            "labelled": 40,
            **more,
        },
        1,
    )


def test_a_student_of_labels_learns_the_first_word(small):
    metrics = trials.run(second()).metrics
    assert metrics["evaluated_sentences"] == 15 and metrics["train_sentences"] == 40
    assert metrics["evaluated_errors"] <= 2
    measured = minilm.measure("labels", trials.run(second()))
    assert measured["accuracy"] == pytest.approx(100 - 100 * metrics["evaluated_errors"] / 15)
    assert measured["train_error"] == pytest.approx(100 * metrics["train_errors"] / 40)


@pytest.mark.parametrize("lesson", ["attention", "minilm", "tinybert", "states", "words"])
def test_every_first_stage_is_where_the_second_starts(small, lesson):
    trial = first(lesson)
    result = trials.run(trial)
    assert all(value > 0 for value in result.metrics.values())
    began = {k.removeprefix("network."): v for k, v in result.tensors().items()}
    fresh = sentences.student_of(NET, DATA, 1).state_dict()
    assert any(not torch.equal(began[k], fresh[k]) for k in fresh)
    assert torch.equal(began["classifier.weight"], fresh["classifier.weight"])
    trials.run(second(start=trial))


def test_controls_differ(small):
    kinds = [
        first("attention"),
        first("attention", teacher="random"),
        first("attention", swapped=True),
    ]
    assert len({trials.run(one).metrics["attention"] for one in kinds}) == 3


def test_swapped_lessons_come_from_sentences_of_the_same_length(small):
    tokens = sentences.corpus("trec", 5).tokens["train"]
    order = sentences.of_equal_length(tokens, 0)
    assert sorted(order.tolist()) == list(range(60))
    lengths = (tokens != 0).sum(1)
    assert torch.equal(lengths, lengths[order])
    shared = lengths.bincount()[lengths] > 1
    assert bool((order != torch.arange(60))[shared].all())


def test_words_that_no_training_sentence_has_are_one(small):
    found = sentences.corpus("trec", 5)
    assert found.tokens["train"].max() < len(found.used)
    for part in ("train", "test"):
        known = torch.isin(found.pieces[part], found.used)
        assert torch.equal(found.used[found.tokens[part]][known], found.pieces[part][known])


def test_a_linear_classifier_on_the_teacher_and_its_answers(small):
    arguments = {"data": {**DATA, "evaluated": "test"}, "labelled": 40, "ridge": 0.01}
    probe = trials.Trial("sentences_probed", arguments, 1)
    tensors = trials.run(probe).tensors()
    assert tensors["logits.train"].shape == (60, 3)
    assert trials.run(probe).metrics["train_errors"] <= 10
    trials.run(second(answers=probe))


def test_the_linear_classifier_is_at_its_optimum():
    torch.manual_seed(0)
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    layer = sentences.ridge_regression(x, y, 3, 0.1)
    loss = torch.nn.functional.cross_entropy(layer(x), y) + 0.05 * layer.weight.square().sum()
    for gradient in torch.autograd.grad(loss, list(layer.parameters())):
        assert gradient.abs().max() < 1e-3

"""MiniLLM as a verb: one step against its loss on the sequences that it drew."""

import copy

import pytest
import torch
from small_languages import END, STEP, assert_stepped, model, sentences

from kdnb import losses
from kdnb.methods.applications import minillm as verb
from kdnb.methods.applications.generation import continuations, responses
from kdnb.methods.applications.language_models import next_token_loss
from kdnb.methods.applications.text_measures import written

TOKENS = sentences()
RECIPE = {**STEP, "batch_size": len(TOKENS)}


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("plain_weight", [0.0, 0.7])
def test_one_step(monkeypatch, share, plain_weight):
    kept = []

    def write(*args, **options):
        kept.append((continuations(*args, **options), options))
        return kept[-1][0]

    monkeypatch.setattr(verb, "continuations", write)
    student, teacher = model(0), model(1)
    start = copy.deepcopy(student)
    options = {"share": share, "plain_weight": plain_weight, "clip": 0.4}
    verb.distil_sequences(student, teacher, TOKENS, prompt=2, end=END, **options, **RECIPE)
    ((drawn, asked),) = kept
    assert asked["mixed"] is (teacher if share else None)
    assert drawn.weights.eq(1).all() == (share == 0)
    weights = torch.cat([torch.ones(64, 1), drawn.weights], 1)

    def loss(s):
        value = losses.minillm(
            s(drawn.tokens)[:, :-1], teacher(drawn.tokens)[:, :-1].detach(), drawn.tokens[:, 1:],
            responses(drawn.tokens, 2), weights, clip=0.4,
        )  # fmt: skip
        return value + plain_weight * next_token_loss(s(TOKENS), TOKENS, 2)

    assert_stepped(student, start, loss, atol=2e-5, rtol=1e-3)


def test_it_lowers_the_divergence_of_sequences():
    student, teacher = model(0), model(1)
    prompts = TOKENS[:, :1].repeat(10, 1)

    def measured():
        generator = torch.Generator().manual_seed(0)
        drawn = continuations(student, prompts, longest=6, end=END, generator=generator).tokens
        return written(student, teacher, drawn, 1).reverse

    before = measured()
    verb.distil_sequences(
        student,
        teacher,
        TOKENS,
        end=END,
        plain_weight=0.0,
        epochs=40,
        batch_size=32,
        optimiser="adam",
        lr=0.01,
    )
    assert measured() < 0.3 * before


def test_wrong_arguments():
    for options, words in (
        ({"share": 2.0}, "share"), ({"plain_weight": -1.0}, "plain_weight"),
        ({"clip": 0.0}, "clip"), ({"variant": "ours"}, "variant"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            verb.distil_sequences(model(0), model(1), TOKENS, prompt=2, end=END, **options)

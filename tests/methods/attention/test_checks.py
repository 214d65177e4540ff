"""What strangers give the trainings of section 5.5: each is told in a sentence, before the first step."""

import copy
import re

import pytest
import torch
from torch import nn

from kdnb.methods import attention
from kdnb.methods.attention.lessons import Look
from kdnb.nets import build
from kdnb.nets.transformer import TextEncoder

WORDS, LENGTH, SAMPLES = 20, 6, 16
TOKENS = torch.randint(1, WORDS, (SAMPLES, LENGTH), generator=torch.Generator().manual_seed(0))
TOKENS[:, 4:] = 0
LABELS = torch.arange(SAMPLES) % 3
IMAGES = torch.randn(SAMPLES, 1, 4, 4, generator=torch.Generator().manual_seed(1))
SHORT = {"epochs": 1, "batch_size": 8}


def encoder(layers=2, width=16, heads=4, words=WORDS):
    torch.manual_seed(layers)
    return TextEncoder(words, width=width, layers=layers, heads=heads, hidden=16, dropout=0.0)


def smooth(classes=3):
    torch.manual_seed(classes)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Softplus(), nn.Linear(8, classes))


def taught(student=None, teacher=None, tokens=TOKENS, **options):
    student, teacher = student or encoder(1, 8), teacher or encoder()
    return attention.distil_attention(student, teacher, tokens, **SHORT, **options)


def matched(student=None, teacher=None, data=(IMAGES, LABELS), **options):
    return attention.match_jacobians(
        student or smooth(), teacher or smooth(), data, **SHORT, **options
    )


def ruled(rules, student=None, **options):
    student = student or build("tiny", num_classes=3)
    images = torch.randn(SAMPLES, 1, 28, 28)
    return attention.distil_rules(student, rules, (images, LABELS), **SHORT, **options)


def masked(student=None, tokens=TOKENS, mask=19):
    return attention.model_masked_words(student or encoder(), tokens, mask=mask, **SHORT)


def sharing():
    one, other = encoder(), encoder()
    other.words = one.words
    return taught(one, other)


def itself(call, network):
    return call(network, network)


def remembering(tokens, kept=(("attention", 1), ("values", 1))):
    return attention.Remembered(Look(encoder(), whose="teacher"), tokens, list(kept))


def steep():
    teacher = encoder()
    with torch.no_grad():
        teacher.blocks[1].query.weight.mul_(1e7)
    return teacher


def filled(value):
    teacher = encoder()
    with torch.no_grad():
        teacher.blocks[1].query.weight.fill_(value)
    return teacher


PADDED = TOKENS.clone()
PADDED[3] = 0
CASES = {
    "its own teacher": (lambda: itself(taught, encoder()), "the student is its own teacher"),
    "a shared embedding": (sharing, "student and teacher share"),
    "relation heads of none": (lambda: taught(lesson="minilmv2", relation_heads=0), "relation_heads must be at least 1"),
    "relation heads that nobody reads": (lambda: taught(relation_heads=2), "relation_heads is an option of the lesson minilmv2"),
    "embeddings in a string": (lambda: taught(lesson="tinybert", embeddings="words"), "embeddings must be a pair"),
    "embeddings that nobody reads": (lambda: taught(embeddings=("words", "words")), "embeddings is an option of the lesson tinybert"),
    "a layer by its name": (lambda: taught(student_layer="last"), "student_layer must be"),
    "half a layer": (lambda: attention.attention_of(encoder(), TOKENS, 0.5), "layer must be"),
    "a short order": (lambda: taught(remember=True, order=torch.arange(5)), "order must hold the number of a sample"),
    "an order beyond": (lambda: taught(remember=True, order=torch.arange(16) + 1), "order must hold"),
    "an order of nothing": (lambda: taught(order=torch.arange(16)), "it needs remember"),
    "memories of fewer": (lambda: taught(remember=remembering(TOKENS[:8])), "the remembered lesson is of 8 samples; the data has 16"),
    "other memories": (lambda: taught(remember=remembering(TOKENS, [("attention", 0)])), "the remembered lesson holds"),
    "too large to remember": (lambda: taught(teacher=steep(), lesson="tinybert", remember=True), "beyond half precision"),
    "a teacher of no numbers": (lambda: taught(teacher=filled(torch.nan), remember=True), "hold NaN"),
    "words that it has not": (lambda: taught(tokens=TOKENS + 10), "the student cannot take these inputs"),
    "words that the teacher has not": (lambda: taught(teacher=encoder(words=10)), "the teacher cannot take these inputs"),
    "real words": (lambda: taught(tokens=TOKENS.float()), "the student cannot take these inputs"),
    "padding alone": (lambda: taught(tokens=PADDED), "present must have a token in every sequence"),
    "padding alone, asked": (lambda: attention.attention_of(encoder(), PADDED), "present must have a token"),
    "real words, asked": (lambda: attention.attention_of(encoder(), TOKENS.float()), "the network cannot take"),
    "words in a list": (lambda: attention.attention_of(encoder(), TOKENS.tolist()), "the network cannot take"),
    "the same network's gradients": (lambda: itself(matched, smooth()), "the student is its own teacher"),
    "a teacher of more classes": (lambda: matched(teacher=smooth(5)), "must answer for the same classes; got (8, 3) and (8, 5)"),
    "a teacher of fewer classes": (lambda: matched(teacher=smooth(2), of="cross_entropy"), "must answer for the same classes"),
    "whole inputs": (lambda: matched(nn.Embedding(20, 3), nn.Embedding(20, 3), (TOKENS[:, 0], LABELS)), "one floating-point tensor"),
    "inputs by name": (lambda: matched(data=({"a": IMAGES}, LABELS)), "one floating-point tensor"),
    "no temperature": (lambda: matched(temperature=0), "temperature must be a finite number above 0"),
    "no weight": (lambda: matched(gradient_weight=0, label_weight=0), "nothing would be learnt"),
    "nothing that learns": (lambda: matched(smooth().requires_grad_(False)), "has nothing to learn"),
    "rules beyond 1": (lambda: ruled(lambda x: 5 * torch.ones(len(x), 2, 3)), "rules must give numbers from 0 to 1; got 5 to 5"),
    "rules of no numbers": (lambda: ruled(lambda x: torch.full((len(x), 2, 3), torch.nan)), "rules must give numbers"),
    "no width": (lambda: ruled(lambda x: torch.ones(len(x), 2, 3), width=0), "width must be at least 1"),
    "a mask that is no word": (lambda: masked(mask=30), "mask must lie in [1, 19]"),
    "padding as the mask": (lambda: masked(mask=0), "mask must lie in [1, 19]"),
    "sentences of padding": (lambda: masked(tokens=PADDED), "every sentence must begin with a word"),
    "words in decimals": (lambda: masked(tokens=TOKENS.float()), "tokens must be integers"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_told_before_the_first_step(case, no_step):
    call, words = CASES[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: taught("bert"), "student must be a torch module; got the string"),
        (lambda: taught(teacher=[encoder(), encoder()]), "the teacher is one torch module here"),
        (lambda: taught(remember="yes"), "remember must be True, False or a Remembered"),
        (lambda: matched(teacher=[smooth(), smooth()]), "the teacher is one torch module here"),
        (lambda: attention.attention_layers(None), "network must be a torch module"),
        (lambda: ruled(None), "rules must be a function"),
        (lambda: ruled(lambda x: x, "tiny"), "student must be a torch module"),
        (lambda: masked(smooth()), "student must be a TextEncoder"),
    ],
)
def test_what_is_no_network_or_function(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize("precision", ["auto", "32", "bf16"])
@pytest.mark.parametrize("of", ["logit", "cross_entropy"])
def test_gradients_are_matched_in_every_precision(precision, of):
    """In half precision Fabric refuses gradients that it did not take itself."""
    student = smooth()
    before = copy.deepcopy(student.state_dict())
    fit = matched(student, of=of, precision=precision)
    assert fit.history.gradient.notna().all()
    assert any(not value.equal(before[name]) for name, value in student.state_dict().items())


def test_gradients_alone_need_no_labels():
    assert list(matched(data=IMAGES, label_weight=0).history.filter(["hard", "gradient"])) == ["gradient"]  # fmt: skip
    with pytest.raises(TypeError, match="labels are read, and this data has none"):
        matched(data=IMAGES, label_weight=0, of="cross_entropy")


def test_sentences_of_one_word():
    fit = taught(tokens=TOKENS[:, :1])
    assert fit.history.attention.iloc[-1] == 0  # one key has all the attention, in both
    assert masked(tokens=TOKENS[:, :1]).history.words.notna().all()

"""What a transformer attends to as the lesson: steps by hand, lessons kept, and what it is worth."""

import copy

import pytest
import torch
from torch import nn

from kdnb import losses
from kdnb.methods.attention import Remembered, attention_of, distil_attention, model_masked_words
from kdnb.methods.attention.lessons import Look, parts_of
from kdnb.nets import features
from kdnb.nets.transformer import PatchEncoder, TextEncoder
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")
TOKENS = torch.randint(1, 12, (8, 5), generator=torch.Generator().manual_seed(0))
TOKENS[:4, 3:] = 0


def text(seed, layers=2, width=12, heads=3):
    torch.manual_seed(seed)
    return TextEncoder(
        12, layers=layers, width=width, heads=heads, hidden=8, num_classes=4, dropout=0.0
    )


def heads_by_hand(net, place, count=3):
    """Queries, keys and values of a block for the tokens."""
    names = [f"blocks.{place}.{name}" for name in ("query", "key", "value")]
    with features(net, names) as seen:
        net(TOKENS)
    return [seen[name].unflatten(2, (count, -1)).transpose(1, 2) for name in names]


@pytest.mark.parametrize("lesson", ["attention", "minilm", "minilmv2"])
def test_its_step_by_hand(lesson):
    student, teacher = text(0), text(1, layers=3, width=24)
    own, there = copy.deepcopy(student), TOKENS != 0
    fit = distil_attention(student, teacher, TOKENS, STEP, lesson=lesson)
    ours = heads_by_hand(own, 1)
    theirs = [one.detach() for one in heads_by_hand(teacher, 2)]
    if lesson == "minilmv2":
        loss = losses.multi_head_relations(ours, theirs, 3, there)
    else:
        loss = losses.deep_self_attention(ours, theirs, float(lesson == "minilm"), there)
    assert fit.history.drop(columns=["epoch", "lr", "seconds"]).sum(axis=1)[0] == pytest.approx(
        loss.item(), rel=1e-5
    )
    moved = dict(own.named_parameters())
    gradients = torch.autograd.grad(loss, list(moved.values()), allow_unused=True)
    for (name, old), gradient in zip(moved.items(), gradients, strict=True):
        new = student.get_parameter(name)
        torch.testing.assert_close(
            new, old - 0.1 * (0 if gradient is None else gradient), rtol=1e-4, atol=1e-6
        )
    assert fit.learnt is None


def test_tinybert_compares_layer_by_layer():
    parts = parts_of("tinybert", 2, 6, (-1, -1), True)
    assert [(p.kind, p.student, p.teacher) for p in parts] == [
        ("states", -1, -1), ("scores", 0, 2), ("states", 0, 2), ("scores", 1, 5), ("states", 1, 5),
    ]  # fmt: skip
    student, teacher = text(0), text(1, layers=4, width=24)
    fit = distil_attention(
        student, teacher, TOKENS, STEP, lesson="tinybert", embeddings=("dropout", "dropout")
    )
    assert {name: layer.weight.shape for name, layer in fit.learnt.items()} == {
        "from_embeddings_to_embeddings": (24, 12), "from_0_to_1": (24, 12), "from_1_to_3": (24, 12),
    }  # fmt: skip
    assert {"scores", "states"} <= set(fit.history.columns)
    own, there = text(0), TOKENS != 0
    scores = 0.0
    for ours, theirs in ((0, 1), (1, 3)):
        pair = [
            losses.attention_scores(*heads_by_hand(net, place)[:2])
            for net, place in ((own, ours), (teacher, theirs))
        ]
        scores += losses.attention_matrices(*pair, there).item()
    assert fit.history["scores"][0] == pytest.approx(scores, rel=1e-5)


def test_a_kept_lesson_is_the_lesson():
    teacher = text(1, layers=3, width=24)
    asked = copy.deepcopy(teacher)
    students = {}
    for remember in (False, True):
        student = text(0)
        recipe = STEP.model_copy(update={"epochs": 3, "batch_size": 3})
        fit = distil_attention(student, teacher, TOKENS, recipe, remember=remember)
        students[remember] = student, fit.history["attention"].tolist()
    assert students[True][1] == pytest.approx(students[False][1], abs=2e-3)  # half precision
    for one, other in zip(
        students[True][0].parameters(), students[False][0].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=5e-3)
    for one, other in zip(teacher.parameters(), asked.parameters(), strict=True):
        assert torch.equal(one, other)


def test_one_kept_lesson_serves_all_and_may_be_given_to_others():
    teacher = text(1, layers=3, width=24)
    kept = Remembered(
        Look(teacher, whose="teacher"), TOKENS, [("attention", 2), ("values", 2), ("states", 2)]
    )
    order = torch.tensor([1, 2, 3, 0, 5, 6, 7, 4])
    given = kept(order[:2], 3, [("attention", 2)])["attention", 2]
    right = losses.attention_scores(*heads_by_hand(teacher, 2)[:2])[1:3, :, :3, :3]
    torch.testing.assert_close(given, right, rtol=0, atol=5e-3)
    values = {}
    for name, options in {"own": {}, "swapped": {"order": order}}.items():
        fit = distil_attention(
            text(0), teacher, TOKENS, STEP, lesson="attention", remember=kept, **options
        )
        values[name] = fit.history["attention"][0]
    assert values["own"] != values["swapped"]


def test_attention_is_learnt():
    """Of images, by a narrower and shallower network: the maps come together."""
    torch.manual_seed(0)
    teacher, student = (
        PatchEncoder(layers=3, width=24, heads=4),
        PatchEncoder(layers=1, width=12, heads=4),
    )
    for block in teacher.blocks:  # maps that are not flat
        for layer in (block.query, block.key):
            nn.init.normal_(layer.weight, std=0.6)
    images = torch.randn(64, 1, 28, 28)

    def apart():
        maps = [attention_of(net, images).clamp_min(1e-12).log() for net in (student, teacher)]
        return losses.relation_divergence(*maps).item()

    before = apart()
    distil_attention(
        student,
        teacher,
        images,
        epochs=60,
        batch_size=32,
        optimiser="adam",
        lr=0.01,
        precision="32",
    )
    assert apart() < 0.8 * before


def test_hidden_words_are_guessed():
    """In sentences that repeat one word, any hidden one can be told from the others."""
    torch.manual_seed(0)
    words = torch.randint(2, 8, (64, 1)).repeat(1, 6)
    net = TextEncoder(9, layers=1, width=24, heads=3, hidden=16, dropout=0.0)
    fit = model_masked_words(
        net, words, epochs=20, batch_size=32, optimiser="adam", lr=0.02, mask=8, share=0.2, precision="32"
    )  # fmt: skip
    assert fit.history.words.iloc[-1] < 0.5 * fit.history.words.iloc[0]


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="as many heads in the student as in the teacher"):
        distil_attention(text(0), text(1, heads=4), TOKENS, STEP)
    with pytest.raises(ValueError, match="multiple of student_layers; got 3 and 2"):
        distil_attention(text(0), text(1, layers=3), TOKENS, STEP, lesson="tinybert")
    with pytest.raises(ValueError, match="relation_heads 5 must divide the student's width 12"):
        distil_attention(text(0), text(1), TOKENS, STEP, lesson="minilmv2", relation_heads=5)
    with pytest.raises(ValueError, match="lesson must be"):
        distil_attention(text(0), text(1), TOKENS, STEP, lesson="mini")
    with pytest.raises(ValueError, match="remember needs inputs in memory"):
        images = torch.utils.data.DataLoader(TOKENS, batch_size=4)
        distil_attention(text(0), text(1), images, STEP, remember=True)

"""Students of a sentence encoder's attention, as runs: first without labels, then with few labels."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdnb.data import Batch
from kdnb.data.texts import Texts, load_texts
from kdnb.losses import cross_entropy_with, uniform_layers
from kdnb.methods.attention.lessons import Look, Remembered
from kdnb.methods.attention.masked import model_masked_words
from kdnb.methods.attention.transformers import distil_attention
from kdnb.methods.offline.distil import train
from kdnb.methods.self_distillation.common import fit_one, fresh
from kdnb.nets.sentences import random_encoder, sentence_encoder, word_pieces
from kdnb.nets.transformer import TextEncoder, with_vocabulary
from kdnb.runs.task import restored_into, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.borrowed import evaluating
from kdnb.training.randomness import mix


class Corpus(NamedTuple):
    """A data set of sentences as tokens.

    Attributes:
        pieces: the encoder's tokens of each split.
        tokens: the same in the student's vocabulary: the pieces of the training sentences, and a
            token for all others.
        used: for each token of the student, the encoder's.
        mask: the student's token for a masked word.
    """

    texts: dict[str, Texts]
    pieces: dict[str, Tensor]
    tokens: dict[str, Tensor]
    used: Tensor
    mask: int


@functools.lru_cache(maxsize=2)
def corpus(name: str, longest: int) -> Corpus:
    """A data set as tokens, with sentences cut to `longest` tokens."""
    texts, tokenise = load_texts(name), word_pieces()
    pieces = {part: tokenise(one.sentences, longest) for part, one in texts.items()}
    special = torch.tensor([0, tokenise.unknown, tokenise.hidden])
    used = torch.cat([pieces["train"].flatten(), special]).unique()
    places = torch.full((30522,), int((used == tokenise.unknown).nonzero()))
    places[used] = torch.arange(len(used))
    tokens = {part: places[one] for part, one in pieces.items()}
    return Corpus(texts, pieces, tokens, used, int(places[tokenise.hidden]))


def student_of(network: dict[str, Any], data: dict[str, Any], seed: int) -> TextEncoder:
    """A student with new weights; those of one seed are identical."""
    found = corpus(data["name"], data["longest"])
    classes = len(found.texts["train"].card.classes)
    return fresh(lambda: TextEncoder(len(found.used), num_classes=classes, **network), seed)


@functools.lru_cache(maxsize=2)
def teacher_of(kind: str) -> TextEncoder:
    """The trained encoder, or one with random weights, the same for all seeds."""
    return sentence_encoder() if kind == "trained" else random_encoder(0)


@functools.lru_cache(maxsize=1)
def remembered(kind: str, name: str, longest: int, student_layers: int) -> Remembered:
    """The teacher's targets for all training sentences, computed once per process."""
    found = corpus(name, longest)
    look = Look(
        with_vocabulary(teacher_of(kind), found.used), whose="teacher", embeddings="dropout"
    )
    last = len(look.layers) - 1
    parts: list = [("attention", last), ("values", last), ("states", last)]
    if kind == "trained":
        layers = uniform_layers(student_layers, len(look.layers))
        parts += [("states", -1), *((part, n) for n in layers for part in ("scores", "states"))]
    return Remembered(look, found.tokens["train"], list(dict.fromkeys(parts)))


@functools.lru_cache(maxsize=4)
def vectors_of(kind: str, name: str, longest: int, part: str) -> Tensor:
    """The encoder's vectors of a split."""
    return answered(teacher_of(kind), corpus(name, longest).pieces[part])


def labelled_rows(data: dict[str, Any], labelled: int, seed: int) -> Tensor:
    """The labelled training sentences of a seed."""
    count = len(corpus(data["name"], data["longest"]).texts["train"])
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, 2)))[:labelled]


def of_equal_length(tokens: Tensor, seed: int) -> Tensor:
    """A permutation that maps each sentence to another of the same length, if there is one."""
    stream = torch.Generator().manual_seed(mix(seed, 3))
    lengths, order = (tokens != 0).sum(1), torch.arange(len(tokens))
    for length in lengths.unique():
        rows = (lengths == length).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=stream)]
        order[rows] = rows.roll(1)
    return order


def untaught(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    lesson: str,
    teacher: str = "trained",
    swapped: bool = False,
) -> Outcome:
    """A student after the first stage, on all training sentences without labels.

    Args:
        data: {"name", "sha256", "longest"}: the last is the length to which sentences are cut.
        lesson: as in `distil_attention`; or "words", masked language modelling without a teacher.
        teacher: "trained" or "random".
        swapped: each sentence gets the targets of another of the same length.

    Returns:
        The terms of the last epoch, and the student's weights.
    """
    found, plan = corpus(data["name"], data["longest"]), Recipe(**recipe)
    student, tokens = student_of(network, data, seed), found.tokens["train"]
    options: dict[str, Any] = {"seed": seed, "checkpoint": context.checkpoint}
    if lesson == "words":
        fit = model_masked_words(student, tokens, plan, mask=found.mask, **options)
    else:
        known = remembered(teacher, data["name"], data["longest"], network["layers"])
        fit = distil_attention(
            student, with_vocabulary(teacher_of(teacher), found.used), tokens, plan,
            lesson=lesson, remember=known, order=of_equal_length(tokens, seed) if swapped else None,
            embeddings=("dropout", "dropout") if lesson == "tinybert" else None, **options,
        )  # fmt: skip
    rows = fit.rows
    series = {name: [row[name] for row in rows] for name in rows[0]}
    last = {k: v for k, v in rows[-1].items() if k not in ("epoch", "lr", "seconds")}
    return Outcome(last, series, weights_kept(student))


def taught(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    labelled: int,
    start: Result | None = None,
    answers: Result | None = None,
) -> Outcome:
    """A student of labels, from new weights or those of `untaught`.

    Args:
        data: also {"evaluated"}: "test", or "validation" for pilots.
        labelled: number of labelled training sentences, drawn by the seed.
        start: a trial of `untaught` of the same seed.
        answers: a trial of `probed`; the student then learns from its outputs for all training
            sentences, without labels.

    Returns:
        Errors on the labelled and the evaluated sentences, and the logits of the latter.
    """
    found, plan = corpus(data["name"], data["longest"]), Recipe(**recipe)
    student = student_of(network, data, seed)
    if start is not None:
        restored_into(student, start)
    rows = labelled_rows(data, labelled, seed)
    tokens, labels = found.tokens["train"], found.texts["train"].labels
    options: dict[str, Any] = {"seed": seed, "checkpoint": context.checkpoint}
    if answers is None:
        history = train(student, (tokens[rows], labels[rows]), plan, **options).rows
    else:
        soft = answers.tensors()["logits.train"].softmax(1)

        def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
            said = networks["network"](batch.images)
            return {"soft": cross_entropy_with(said, soft[batch.index])}

        history = fit_one(student, (tokens, labels), plan, terms, **options)
    part = data["evaluated"]
    said = {"train": answered(student, tokens[rows]), part: answered(student, found.tokens[part])}
    truth = {"train": labels[rows], part: found.texts[part].labels}
    return measured(said, truth, part, history)


def probed(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    labelled: int,
    ridge: float,
    teacher: str = "trained",
) -> Outcome:
    """A logistic regression on the frozen encoder's vectors, from the labels of `taught`.

    Args:
        ridge: half of it times the sum of squared weights is added to the mean cross-entropy.

    Returns:
        As for `taught`, with the logits of all training sentences.
    """
    found, part = corpus(data["name"], data["longest"]), data["evaluated"]
    vectors = {
        one: vectors_of(teacher, data["name"], data["longest"], one) for one in ("train", part)
    }
    rows, labels = labelled_rows(data, labelled, seed), found.texts["train"].labels
    mean, sd = vectors["train"][rows].mean(0), vectors["train"][rows].std(0)
    vectors = {one: (value - mean) / sd for one, value in vectors.items()}
    classes = len(found.texts["train"].card.classes)
    probe = ridge_regression(vectors["train"][rows], labels[rows], classes, ridge)
    said = {"train": answered(probe, vectors["train"][rows]), part: answered(probe, vectors[part])}
    truth = {"train": labels[rows], part: found.texts[part].labels}
    outcome = measured(said, truth, part, [{"epoch": 1}])
    whole = {"logits.train": answered(probe, vectors["train"])}
    return Outcome(outcome.metrics, outcome.series, {**outcome.tensors, **whole})


def ridge_regression(inputs: Tensor, labels: Tensor, classes: int, ridge: float) -> nn.Linear:
    """The optimum of the mean cross-entropy and half of `ridge` times the squared weights."""
    layer = nn.Linear(inputs.shape[1], classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(layer(inputs), labels) + ridge / 2 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(value)
    return layer


@torch.no_grad()
def answered(network: nn.Module, inputs: Tensor) -> Tensor:
    """A network's outputs in eval mode, (samples, ...) float32."""
    with evaluating(network):
        if inputs.is_floating_point():
            return network(inputs)
        order = (inputs != 0).sum(1).argsort(stable=True)  # similar lengths need little padding
        said = torch.cat([network(inputs[rows]) for rows in order.split(128)])
        return said[order.argsort()]


def measured(
    said: dict[str, Tensor], truth: dict[str, Tensor], part: str, history: list[dict[str, Any]]
) -> Outcome:
    """Errors, and the logits of the evaluated sentences."""
    metrics = {}
    for name, logits in said.items():
        kind = "train" if name == "train" else "evaluated"
        metrics[f"{kind}_errors"] = float((logits.argmax(1) != truth[name]).sum())
        metrics[f"{kind}_sentences"] = float(len(logits))
    series = {name: [row[name] for row in history] for name in history[0]}
    return Outcome(metrics, series, {"logits.evaluated": said[part]})

"""What a student copies from a transformer: attention, relations, scores or states of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.losses.checks import check_choice
from kdnb.methods.attention.heads import (
    attention_layers,
    heads_in,
    layer_at,
    present_in,
    watched,
)
from kdnb.training.answers import ask
from kdnb.training.borrowed import evaluating

Lesson = Literal["attention", "minilm", "minilmv2", "tinybert", "states"]
Kind = Literal["attention", "queries", "keys", "values", "scores", "states"]


class Part(NamedTuple):
    """One quantity that is compared.

    Attributes:
        kind: "attention" and the relations of "queries", "keys" and "values" are compared as
            distributions, "scores" before the softmax, "states" through a linear map.
        student, teacher: indices of the layers; -1 stands for the embeddings if the kind is
            "states".
    """

    kind: Kind
    student: int
    teacher: int


def parts_of(
    lesson: Lesson, student: int, teacher: int, layers: tuple[int, int], embeddings: bool
) -> list[Part]:
    """The parts that a lesson compares, for given numbers of student and teacher layers.

    Args:
        layers: the indices of the student and teacher layer, if the lesson is about one.
        embeddings: whether TinyBERT's part on embeddings is included.
    """
    check_choice(get_args(Lesson), lesson=lesson)
    one = {
        "attention": ("attention",),
        "minilm": ("attention", "values"),
        "minilmv2": ("queries", "keys", "values"),
        "states": ("states",),
    }
    if lesson in one:
        return [Part(kind, layers[0] % student, layers[1] % teacher) for kind in one[lesson]]
    pairs = list(enumerate(losses.uniform_layers(student, teacher)))
    parts = [Part(kind, *pair) for pair in pairs for kind in ("scores", "states")]
    return [Part("states", -1, -1), *parts] if embeddings else parts


class Look:
    """Runs a network and returns the quantities that a lesson compares.

    Args:
        network: a transformer, see `attention_layers`.
        embeddings: the path of the module that gives the embedded tokens, for parts of states at
            -1.
        relation_heads: number of MiniLMv2's relation heads; the network's own if None.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        whose: str,
        embeddings: str | None = None,
        relation_heads: int | None = None,
    ):
        self.network, self.whose = network, whose
        self.layers = attention_layers(network)
        self.embeddings, self.relation_heads = embeddings, relation_heads

    def __call__(self, inputs: Any, parts: Sequence[tuple[Kind, int]]) -> dict[tuple, Tensor]:
        """(kind, place) -> scores (batch, heads, tokens, tokens) or (batch, tokens, width)."""
        wanted = [layer_at(self.layers, place, self.whose) for _, place in parts if place >= 0]
        more = [self.embeddings] if ("states", -1) in parts else []
        with watched(self.network, wanted, *more) as seen:
            ask(self.network, inputs)
            return {part: self._taken(seen, *part) for part in parts}

    def _taken(self, seen: Mapping[str, Tensor], kind: Kind, place: int) -> Tensor:
        if kind == "states":
            return seen[self.embeddings if place < 0 else self.layers[place].block]
        heads = heads_in(seen, self.layers[place])
        if kind in ("attention", "scores"):
            return losses.attention_scores(heads.queries, heads.keys)
        one: Tensor = getattr(heads, kind)
        if self.relation_heads:
            width = one.shape[1] * one.shape[3]
            if width % self.relation_heads:
                raise ValueError(
                    f"relation_heads {self.relation_heads} must divide the {self.whose}'s width {width}."
                )
            joined = one.transpose(1, 2).flatten(2)
            one = joined.unflatten(2, (self.relation_heads, -1)).transpose(1, 2)
        return losses.attention_scores(one, one)


def compared(kind: Kind, ours: Tensor, theirs: Tensor, present: Tensor | None) -> Tensor:
    """The loss of one part."""
    if kind == "states":
        return losses.hidden_states(ours, theirs, present)
    if kind == "scores":
        return losses.attention_matrices(ours, theirs, present)
    return losses.relation_divergence(ours, theirs, present)


class Remembered:
    """A teacher's lesson for inputs in memory, computed once and kept in half precision.

    Args:
        look: of the teacher.
        inputs: one tensor (samples, ...): tokens (samples, length) with padding at the end, or
            other inputs with the same number of tokens in every sample.
        parts: the (kind, place) to keep, those of the lessons to come.
    """

    def __init__(
        self,
        look: Look,
        inputs: Tensor,
        parts: Sequence[tuple[Kind, int]],
        batch: int = 64,
    ):
        self.kept: dict[tuple, Tensor] = {}
        present = present_in(inputs)
        lengths = torch.zeros(len(inputs)) if present is None else present.sum(1)
        longest = None if present is None else int(lengths.max())
        with evaluating(look.network), torch.no_grad():
            for rows in lengths.argsort(stable=True).split(
                batch
            ):  # alike in length: little padding
                for part, value in look(inputs[rows], parts).items():
                    self._keep(part, rows, value, len(inputs), longest or value.shape[-2])

    def _keep(self, part: tuple, rows: Tensor, value: Tensor, samples: int, length: int) -> None:
        if part not in self.kept:
            shape = (
                (length, value.shape[2])
                if part[0] == "states"
                else (value.shape[1], length, length)
            )
            self.kept[part] = torch.zeros(samples, *shape, dtype=torch.float16)
        into, seen = self.kept[part], value.shape[1 if part[0] == "states" else 2]
        if part[0] == "states":
            into[rows, :seen] = value.half()
        else:
            into[rows, :, :seen, :seen] = value.half()

    def check(self, samples: int, parts: Sequence[tuple[Kind, int]]) -> None:
        """Require the right number of samples, and these parts of each.

        Raises:
            ValueError: for a different number, a part that was not kept, or values beyond half
                precision.
        """
        if missing := [part for part in parts if part not in self.kept]:
            raise ValueError(
                f"the remembered lesson holds {list(self.kept)}, and this one compares {missing}."
            )
        for part in parts:
            if len(self.kept[part]) != samples:
                raise ValueError(
                    f"the remembered lesson is of {len(self.kept[part])} samples; the data has {samples}."
                )
            if not bool(torch.isfinite(self.kept[part]).all()):
                raise ValueError(
                    f"the teacher's {part[0]} hold NaN or numbers beyond half precision (65,504): "
                    "look at the teacher, or leave remember out."
                )

    def __call__(
        self, index: Tensor, seen: int, parts: Sequence[tuple[Kind, int]]
    ) -> dict[tuple, Tensor]:
        """The kept parts of these samples, for as many tokens as the student sees."""
        found = {}
        for part in parts:
            value = self.kept[part]
            one = value[index, :seen] if part[0] == "states" else value[index, :, :seen, :seen]
            found[part] = one.float()
        return found

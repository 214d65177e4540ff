"""Distilling a transformer's attention: MiniLM (Wang 2020, 2021) and TinyBERT (Jiao 2020)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.data.loaders import TensorBatches
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.attention.heads import layer_at, present_in
from kdnb.methods.attention.lessons import Lesson, Look, Part, Remembered, compared, parts_of
from kdnb.methods.options import recipe_of
from kdnb.methods.teachers import check_pair
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.borrowed import borrowed, evaluating
from kdnb.training.first import cannot_take, first_batch
from kdnb.training.inputs import batches_for


def distil_attention(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    lesson: Lesson = "minilm",
    value_weight: float = 1.0,
    relation_heads: int | None = None,
    student_layer: int = -1,
    teacher_layer: int = -1,
    embeddings: tuple[str, str] | None = None,
    remember: bool | Remembered = False,
    order: Tensor | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Teach a transformer another one's attention, without labels or answers.

    "minilm" is :func:`kdnb.losses.deep_self_attention` of one layer of each, the last ones in the
    paper (Wang 2020); "attention" is its first term alone. "minilmv2" is
    :func:`kdnb.losses.multi_head_relations` (Wang 2021). "tinybert" compares layer by layer, scores
    before the softmax and states (Jiao 2020); "states" is the mean squared error of one layer's
    states through a linear map, plain feature distillation as a control. Afterwards the student is
    trained on its task like any other network.

    Args:
        student, teacher: transformers, see `attention_layers`. They see the same tokens. All
            lessons except "minilmv2" and "states" need the same number of heads in both.
        data: inputs, with or without labels, as in `kdnb.distil`. Padding is found by `present_in`
            and must be at the end.
        value_weight: weight of the value relation in "minilm".
        relation_heads: number of relation heads of "minilmv2"; the student's number of heads if
            None.
        student_layer, teacher_layer: indices of the layers, if the lesson is about one.
        embeddings: paths of the modules that give embedded tokens in student and teacher;
            "tinybert" then also compares these.
        remember: compute the teacher's lesson once per sample and keep it in half precision, for
            inputs in memory, one tensor (samples, ...); or an existing `Remembered`.
        order: with `remember`, the index of the sample, of the same length, whose lesson each
            sample gets: a control.
        recipe, seed, checkpoint, log_dir, fields: as in `kdnb.distil`.

    Returns:
        The history, with one term for each kind of part; the student as `fit.networks["student"]`;
        linear maps to the teacher's width as `fit.learnt`, if states are compared.

    Raises:
        ValueError: for networks without readable self-attention, mismatched numbers of heads or
            tokens, a student that shares a part with its teacher, an option of a different lesson,
            an order that does not index the samples, or as `kdnb.distil`.
    """
    recipe = recipe_of(distil_attention, recipe, fields)
    check_choice(get_args(Lesson), lesson=lesson)
    check_number(least=0, value_weight=value_weight)
    check_number(whole=True, student_layer=student_layer, teacher_layer=teacher_layer)
    if relation_heads is not None:
        check_number(least=1, whole=True, relation_heads=relation_heads)
        if lesson != "minilmv2":
            raise ValueError(
                f"relation_heads is an option of the lesson minilmv2, not of {lesson}."
            )
    if embeddings is not None and lesson != "tinybert":
        raise ValueError(f"embeddings is an option of the lesson tinybert, not of {lesson}.")
    paths = (None, None) if embeddings is None else embeddings
    if not isinstance(paths, (tuple, list)) or len(paths) != 2:
        raise ValueError(
            f"embeddings must be a pair of module paths, the student's and the teacher's; got {embeddings!r}."
        )
    if not isinstance(remember, (bool, Remembered)):
        raise TypeError(
            f"remember must be True, False or a Remembered; got a {type(remember).__name__}."
        )
    if order is not None and not remember:
        raise ValueError("order says whose remembered lesson a sample gets: it needs remember.")
    check_pair(student, teacher)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    looks = [
        Look(network, whose=whose, embeddings=path)
        for network, whose, path in zip(
            (student, teacher), ("student", "teacher"), paths, strict=True
        )
    ]
    if lesson == "minilmv2":
        heads = relation_heads or looks[0].layers[-1].heads
        for look in looks:
            look.relation_heads = heads
    layer_at(looks[0].layers, student_layer, "student")
    layer_at(looks[1].layers, teacher_layer, "teacher")
    counts = len(looks[0].layers), len(looks[1].layers)
    parts = parts_of(lesson, *counts, (student_layer, teacher_layer), embeddings is not None)
    ours, theirs = ([(p.kind, getattr(p, who)) for p in parts] for who in ("student", "teacher"))

    with borrowed(student, teacher):
        maps = _maps(looks, first_batch(batches, seed).images, parts, seed)
        stored = None
        if remember:
            if not isinstance(batches, TensorBatches) or not isinstance(batches.inputs, Tensor):
                raise ValueError("remember needs inputs in memory, one tensor (samples, ...).")
            _check_order(order, len(batches.inputs))
            stored = remember
            if not isinstance(remember, Remembered):
                stored = Remembered(looks[1], batches.inputs, theirs)
            stored.check(len(batches.inputs), theirs)

        def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
            found = looks[0](batch.images, ours)
            seen = next(iter(found.values())).shape[-2]
            if stored is not None:
                rows = batch.index if order is None else order[batch.index]
                aims = stored(rows, seen, theirs)
            else:
                with torch.no_grad():
                    aims = looks[1](batch.images, theirs)
            present = present_in(batch.images)
            present = None if present is None else present[:, :seen]
            values: dict[str, Tensor] = {}
            for part, mine, aim in zip(parts, ours, theirs, strict=True):
                one = found[mine]
                if part.kind == "states":
                    one = maps[_name(part)](one)
                loss = compared(part.kind, one, aims[aim], present)
                if lesson == "minilm" and part.kind == "values":
                    loss = value_weight * loss
                values[part.kind] = values.get(part.kind, 0) + loss
            return values

        networks = {"student": student, "teacher": teacher}
        moved = ["student"]
        if len(maps):
            networks["maps"], moved = maps, ["student", "maps"]
        settings = {
            "verb": "distil_attention", "lesson": lesson, "value_weight": value_weight,
            "relation_heads": relation_heads, "layers": [student_layer, teacher_layer],
            "embeddings": list(embeddings or ()),
        }  # fmt: skip
        history = fit(
            networks, batches, Update(tuple(moved), terms), recipe, seed=seed, checkpoint=checkpoint,
            log_dir=log_dir, identity={"method": settings},
        )  # fmt: skip
    return Fit.of(history, {"student": student}, maps if len(maps) else None)


def _check_order(order: Any, samples: int) -> None:
    if order is None:
        return
    whole = isinstance(order, Tensor) and order.dtype in (torch.int64, torch.int32)
    if (
        not whole
        or order.shape != (samples,)
        or not 0 <= int(order.min()) <= int(order.max()) < samples
    ):
        got = (
            f"{order.dtype} {tuple(order.shape)}"
            if isinstance(order, Tensor)
            else type(order).__name__
        )
        raise ValueError(
            f"order must hold the number of a sample, 0 to {samples - 1}, for each of {samples} samples; "
            f"got {got}."
        )


def _name(part: Part) -> str:
    return f"from_{part.student}_to_{part.teacher}".replace("-1", "embeddings")


def _maps(looks: list[Look], inputs: Any, parts: list[Part], seed: int) -> nn.ModuleDict:
    """A linear map to the teacher's width for every part of states; runs both networks once."""
    found = []
    for look, who in zip(looks, ("student", "teacher"), strict=True):
        with evaluating(look.network), torch.no_grad():
            try:
                shown = look(inputs, [(part.kind, getattr(part, who)) for part in parts])
            except (RuntimeError, IndexError, TypeError) as error:
                raise ValueError(cannot_take(who, inputs, error)) from error
        found.append(shown)
    maps = nn.ModuleDict()
    present = present_in(inputs)
    for part in parts:
        ours, theirs = found[0][part.kind, part.student], found[1][part.kind, part.teacher]
        if part.kind == "states":
            if ours.shape[:2] != theirs.shape[:2]:
                raise ValueError(
                    f"student and teacher must see the same tokens; got states {tuple(ours.shape)} "
                    f"and {tuple(theirs.shape)}."
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                made = nn.Linear(ours.shape[2], theirs.shape[2])
            maps[_name(part)] = made.to(ours.device)
        else:
            seen = None if present is None else present[:, : ours.shape[-1]]
            compared(part.kind, ours, theirs, seen)
    return maps

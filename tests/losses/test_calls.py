"""Every public name of kdnb.losses: NaN in is NaN out, and a wrong argument is refused by name."""

import inspect
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from calls_of_losses import CALLS, EVERY, MODULES, flat, names, tensors_in

from kdnb import losses

# What is refused in place of an argument of each type. `None` is looked at apart.
NUMBERS = [math.nan, math.inf, -math.inf, "1", [1.0], torch.ones(2), 1j, b"1"]
WRONG = {
    int: [*NUMBERS, 1.5, True, -1, 10**400],
    float: [*NUMBERS, True, 10**400],
    bool: ["no", 1, 0.0, torch.ones(2)],
    str: ["other", 3, True, ["paper"], torch.ones(2)],
    torch.dtype: ["float", 1.0, torch.int64, torch.complex64],
    torch.Generator: ["no", 1, torch.ones(2)],
}


def spoilt(value):
    """Arguments that a call must not take in place of this one."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        yield from (value.long(), value > 0, value[:0], value.tolist(), value.cfloat(), 3, "x",
                    [value])  # fmt: skip
    elif isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        yield from (value.long(), value.double(), value[:0], value.tolist(), value[None], 3, "x")
    elif isinstance(value, torch.Tensor):
        yield from (value > 0, value[:0], value.tolist(), value[None], 3, "x", [value])
        yield from (value.double(), value + 99, value - 99)
    elif isinstance(value, list) and value and not isinstance(value[0], int | tuple):
        yield from (value[0], [], [None], "ab", 3, [3], iter(value), {0: value[0]})
        for one, put in tensors_in(value):
            yield from (put(wrong) for wrong in spoilt(one))
    elif isinstance(value, list | tuple):
        yield from (3, "ab", [0], [-1], [None], ["a"], [math.nan], [True], torch.ones(3))
    else:
        yield from WRONG[type(value)]


OPTIONAL = {  # None is a value of these
    ("contrastive_diversity", "old_local"), ("contrastive_diversity", "old_whole"),
    ("crd", "negatives"), ("crd", "labels"), ("crd", "kept"), ("CRD()", "labels"), ("CRD()", "index"),
    ("locality_preserving", "bandwidth"), ("local_structure", "bandwidth"),
    ("local_structure_preservation", "bandwidth"), ("graph_knowledge", "neighbours"),
    ("similarity_graph", "kept"), ("information_entropy", "base"),
    ("ranking_distillation", "discrepancy_scale"), ("neuron_selectivity", "bandwidth"), ("relative_dissimilarity", "triplets"),
    ("all_triplets", "device"), ("drawn_triplets", "generator"), ("drawn_triplets", "device"),
    ("permuted_predictions", "generator"),
    ("ensemble_log_probabilities", "weights"), ("noisy_logits", "generator"),
    ("CurriculumTemperature()", "student_logits"), ("CurriculumTemperature()", "teacher_logits"),
    *((name, "present") for name in (
        "attention_matrices", "deep_self_attention", "hidden_states", "multi_head_relations",
        "relation_divergence", "internal_representation", "state_directions", "token_divergence")),
    ("minillm", "weights"), ("minillm", "clip"),
    ("spatial_attention", "size"), ("AttentionFusion()", "residual"), ("ReviewFusion", "middle"),
}  # fmt: skip
# Labels that are compared and no more may be any numbers; a memory may be empty yet.
TAKEN = {
    ("crd", "labels", "float"), ("CRD()", "labels", "float"), ("crd", "labels", "range"),
    ("CRD()", "labels", "range"), ("contrastive_diversity", "old_local", "empty"),
    ("contrastive_diversity", "old_whole", "empty"),
}  # fmt: skip


UNREAD = {"aggregated"}  # what reads the diagonal alone
UNSEEN = {
    "CurriculumTemperature()",
    "small_losses",
}  # what looks at nobody's logits, or gives places


def kind_of(value):
    """A word for what is wrong with an argument, for the exceptions in `TAKEN`."""
    if not isinstance(value, torch.Tensor):
        return ""
    if value.numel() == 0:
        return "empty"
    if value.is_floating_point():
        return "float"
    return "range" if value.dtype == torch.int64 and value.abs().max() > 90 else ""


def test_every_public_name_is_in_the_table():
    assert sorted([*CALLS, *MODULES]) == sorted(losses.__all__)


@pytest.mark.parametrize("name", EVERY)
def test_a_row_names_every_argument(name):
    """So that a new one is tried, too."""
    made = getattr(losses, name.removesuffix("()"))
    called = made.forward if name.endswith("()") else made
    assert set(EVERY[name][1]) == set(inspect.signature(called).parameters) - {"self"}


@pytest.mark.parametrize("name", EVERY)
def test_valid_calls_are_finite(name):
    call, arguments = EVERY[name]
    assert all(bool(one.isfinite().all()) for one in flat(call(**arguments)))


@pytest.mark.parametrize("name", [name for name in EVERY if name not in UNSEEN])
def test_nan_anywhere_is_nan_out(name):
    call, arguments = EVERY[name]
    for argument, value in arguments.items():
        for tensor, put in tensors_in(value):
            if not tensor.is_floating_point():
                continue
            inner = {tensor.numel() // 2} if name not in UNREAD else set()
            for place in {0, tensor.numel() - 1} | inner:
                holed = tensor.clone()
                holed.view(-1)[place] = math.nan
                found = flat(call(**{**arguments, argument: put(holed)}))
                assert any(bool(one.isnan().any()) for one in found), (argument, place)


def refused(call, arguments, argument, wrong):
    """What a call says that is refused: "" where it is one sentence that names the argument.

    Returns:
        That, or what is wrong with the refusal; and what the call gave.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return "taken", call(**{**arguments, argument: wrong})
    except (ValueError, TypeError) as error:
        text = str(error)
        named = any(word in text for known in arguments for word in names(known))
        if named and "\n" not in text and text.endswith(".") and len(text) <= 400:
            return "", None
        return f"{type(error).__name__}: {text[:200]}", None
    except Exception as error:  # noqa: BLE001 - what is looked for here
        return f"{type(error).__name__}: {str(error)[:120]}", None


def shown(wrong):
    if isinstance(wrong, torch.Tensor):
        return f"a tensor ({wrong.dtype}, {tuple(wrong.shape)}, {wrong.device})"
    return " ".join(repr(wrong).split())[:60]


@pytest.mark.parametrize("name", EVERY)
def test_a_wrong_argument_is_refused_by_name(name):
    call, arguments = EVERY[name]
    failed = []
    for argument, value in arguments.items():
        given = list(spoilt(value))
        if (name, argument) not in OPTIONAL:
            given.append(None)
        for wrong in given:
            if (name, argument, kind_of(wrong)) in TAKEN:
                continue
            said, _ = refused(call, arguments, argument, wrong)
            if said:
                failed.append(f"{argument}={shown(wrong)}: {said}")
    assert not failed, "\n".join(["", *failed])


# Numbers of every size and kind that a call takes or refuses, as it likes.
SIZES = {
    int: [0, 1, 2, 5, 7, np.int64(2), torch.tensor(2), torch.tensor(2.0)],
    float: [0.0, -0.0, -0.5, -1e6, 0, 1, 1e-300, 1e-12, 1e6, 1e300, np.float32(0.5),
            np.array(0.5), np.array([0.5]), Fraction(1, 2), torch.tensor(0.5), torch.tensor(True),
            torch.tensor([0.5]), torch.tensor(math.nan), torch.tensor(1j),
            torch.tensor(0.5, device="meta")],
}  # fmt: skip
OVERFLOW = {("attention_map", "power", "1000000.0")}  # a power of numbers above 1, as it is


def variants(tensor):
    """Tensors that a call takes or refuses, as it likes: other precisions, devices and shapes."""
    yield from (tensor.to("meta"), tensor[:1], tensor[..., :1], tensor.unsqueeze(0),
                tensor.unsqueeze(-1), tensor.flatten(), tensor.sum(), tensor[..., :0], tensor * 0,
                np.asarray(tensor))  # fmt: skip
    if tensor.is_floating_point():
        yield from (tensor.float(), tensor.half(), tensor.bfloat16(), tensor * 1e-30,
                    -tensor.abs() - 1, tensor.to_sparse(), torch.nn.Parameter(tensor),
                    tensor.expand(2, *tensor.shape))  # fmt: skip
    elif tensor.dtype != torch.bool:
        yield from (tensor.int(), tensor.to(torch.uint8))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_taken_gives_numbers(name):
    """Never NaN, infinity or nothing; never an error of torch's own."""
    call, arguments = EVERY[name]
    tried = [
        (argument, wrong)
        for argument, value in arguments.items()
        for wrong in SIZES.get(type(value), ())
        if (name, argument, str(wrong)) not in OVERFLOW
    ]
    tried += [
        (argument, put(wrong))
        for argument, value in arguments.items()
        for tensor, put in tensors_in(value)
        for wrong in variants(tensor)
    ]
    failed = []
    for argument, wrong in tried:
        said, given = refused(call, arguments, argument, wrong)
        if said == "taken":
            found = flat(given) if flat(given) else [torch.zeros(())]
            seen = [one for one in found if one.device.type != "meta"]
            if given is not None and all(bool(one.isfinite().all()) for one in seen):
                continue
            said = f"gave {given}"
        if said:
            failed.append(f"{argument}={shown(wrong)}: {said[:200]}")
    assert not failed, "\n".join(["", *failed])

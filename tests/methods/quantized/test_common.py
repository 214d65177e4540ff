"""Students of many kinds in every verb of this section, and what is refused before any training."""

import copy

import pytest
import torch
from several_teachers import digits, unchanged
from small_quantised import QUICK, convnet, teacher
from torch import nn
from torch.nn import functional as F

from kdnb.methods import quantized as q

IMAGES, LABELS = (value[:13] for value in digits())  # a last batch of one
DATA, SHORT = (IMAGES, LABELS), QUICK.model_copy(update={"epochs": 1, "batch_size": 6})
ALL = {
    "quantized_distillation": lambda s, t: q.quantized_distillation(s, t, DATA, SHORT, bits=1),
    "differentiable_quantization": lambda s, t: q.differentiable_quantization(s, t, DATA, SHORT),
    "apprentice A": lambda s, t: q.apprentice(
        s, t, DATA, SHORT, scheme="A", activation_bits=None, keep=()
    ),
    "apprentice B": lambda s, t: q.apprentice(
        s, t, DATA, SHORT, scheme="B", activation_bits=None, keep=()
    ),
    "qkd": lambda s, t: q.qkd(s, t, DATA, SHORT, epochs=3, keep=()),
    "speq": lambda s, t: q.speq(s, DATA, SHORT, keep=()),
    "int8": lambda s, t: q.int8_distillation(s, t, DATA, SHORT),
}


class Residual(nn.Module):
    """Odd channels, no normalisation, a sum of two branches."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 7, 3, stride=4), nn.Conv2d(7, 7, 3, padding=1)
        self.relu, self.head = nn.ReLU(), nn.Linear(7, 10)

    def forward(self, images):
        maps = self.relu(self.first(images))
        return self.head(self.relu(maps + self.second(maps)).mean((2, 3)))


def with_frozen_convolution():
    network = convnet()
    network[0].requires_grad_(False)
    return network


STUDENTS = {
    "residual": Residual,
    "one layer": lambda: nn.Sequential(nn.Conv2d(1, 10, 28), nn.ReLU(), nn.Flatten()),
    "depthwise": lambda: nn.Sequential(
        nn.Conv2d(1, 9, 1), nn.Conv2d(9, 9, 3, stride=4, groups=9), nn.ReLU6(), nn.Flatten(),
        nn.LazyLinear(10),
    ),
    "frozen part": with_frozen_convolution,
    "statistics of a batch": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(784, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10)
    ),
    "bfloat16": lambda: convnet().bfloat16(),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDENTS)
def test_students_of_many_kinds(name):
    for verb, call in ALL.items():
        torch.manual_seed(0)
        student = STUDENTS[name]()
        if (name, verb) == ("bfloat16", "int8"):
            with pytest.raises(ValueError, match=r"weights in float32; .* give network.float\(\)"):
                call(student, teacher())
            continue
        frozen = copy.deepcopy(student[0].state_dict()) if name == "frozen part" else None
        kind = next(student.parameters()).dtype
        fit = call(student, teacher())
        assert torch.tensor(
            [row.get("soft", row.get("apprentice")) for row in fit.rows[-1:]]
        ).isfinite()
        assert {p.dtype for p in student.parameters()} == {kind}
        if frozen and verb not in ("differentiable_quantization", "qkd", "int8"):
            values = frozen["weight"]
            quantiser = q.ternary if "apprentice" in verb else None
            bits = 1 if verb == "quantized_distillation" else 2
            rounded = quantiser(values) if quantiser else q.uniform(values, bits)
            torch.testing.assert_close(student[0].weight.detach(), rounded)


def broken():
    network = convnet()
    network[0].weight.data[0, 0, 0, 0] = float("nan")
    return network


@pytest.mark.parametrize("verb", ALL)
def test_what_does_not_fit_is_refused_before_any_step(verb):
    wrong = {
        "the student has weights that are NaN or infinite, in '0.weight'": (broken(), teacher()),
        "the student cannot take these inputs": (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
            teacher(),
        ),
        "one shape; got": (nn.Sequential(nn.Flatten(), nn.Linear(784, 7), nn.ReLU()), teacher()),
        "the teacher has weights that are NaN": (convnet(), broken()),
    }
    for words, (student, guide) in wrong.items():
        if verb == "speq" and ("teacher" in words or "shape" in words):
            continue
        before = copy.deepcopy(student.state_dict())
        with pytest.raises(ValueError, match=words):
            ALL[verb](student, guide)
        if all(value.isfinite().all() for value in before.values()):
            assert unchanged(student, before)
    if verb not in ("differentiable_quantization", "qkd"):  # there points or steps learn
        with pytest.raises(ValueError, match="the student has nothing to learn"):
            ALL[verb](convnet().requires_grad_(False), teacher())


def test_labels_that_no_logit_has_are_refused_before_any_step():
    student = convnet()
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match="labels must lie in 0 to 9"):
        q.quantized_distillation(student, teacher(), (IMAGES, LABELS + 5), SHORT)
    assert unchanged(student, before)


def test_the_loss_of_a_student_in_half_precision_is_that_of_its_rounded_weights():
    """The points of bfloat16 weights are found in float32."""
    student = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).bfloat16()
    values = student[1].weight.detach().clone()
    rounded = q.rounded(student, lambda w: q.uniform(w, 2))[1].weight
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, q.uniform(values.float(), 2).bfloat16())
    assert F.mse_loss(rounded.float(), values.float()) > 0

"""What every loss has in common: gradients, the match, half precision, autocast, NaN, examples."""

import ast
import doctest
import importlib
import math
from pathlib import Path

import pytest
import torch
from draws import MAPS, draw, draw32, draw_wide
from every_loss import (
    EVERY,
    LAYERS,
    LOGITS,
    MAP_LOSSES,
    MATCHING_MAPS,
    ORDERS,
    RANKINGS,
    RELATIONS,
)
from torch.autograd import gradcheck
from traits_of_losses import HELD, MATCHING, SINGLE, STILL, finite, pair, stem

from kdnb import losses
from kdnb.losses import _arithmetic

FILES = sorted(Path(losses.__file__).parent.glob("*.py"))
ROUTES = [(name, 2**22) for name in EVERY] + [(name, 0) for name in (*RELATIONS, *RANKINGS)]
BLIND = [
    name
    for name in LOGITS
    if name not in ("logit_regression", "rocket", "conditional", "dfad", "noisy_teachers")
]


def test_every_file_has_a_loss_in_the_table_and_a_test_of_its_name():
    own = {path.stem for path in FILES if not path.stem.startswith("_")} - {"checks", "adapters"}
    assert {stem(name) for name in EVERY} | {"ctkd"} == own
    tests = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert {f"test_{name}" for name in own | {"adapters", "checks"}} <= tests


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_losses_import_torch_alone(path):
    allowed = {"torch", "math", "numbers", "collections", "itertools", "typing", "dataclasses",
               "__future__"}  # fmt: skip
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules = [node.module]
        else:
            continue
        for module in modules:
            assert module.split(".")[0] in allowed or module.startswith("kdnb.losses"), module


@pytest.mark.parametrize("name", [path.stem for path in FILES if ">>> " in path.read_text()])
def test_examples(name):
    module = importlib.import_module(f"kdnb.losses.{name}")
    outcome = doctest.testmod(module, extraglobs={"torch": torch, "math": math})
    assert outcome.attempted > 0
    assert outcome.failed == 0


# Gradients


@pytest.mark.parametrize(("name", "limit"), [r for r in ROUTES if r[0] not in STILL])
def test_gradients_by_finite_differences(name, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    student, teacher = pair(name)
    student.requires_grad_()
    if name in HELD or name in SINGLE:
        assert gradcheck(lambda s: EVERY[name](s, teacher), (student,))
    else:
        assert gradcheck(EVERY[name], (student, teacher.requires_grad_()))


@pytest.mark.parametrize(("name", "limit"), [r for r in ROUTES if r[0] in MATCHING])
def test_matching_student_has_no_loss_and_no_gradient(name, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    for seed in (0, 5):
        teacher = pair(name, seed)[0]
        student = teacher.clone().requires_grad_()
        value = EVERY[name](student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        assert value.item() == pytest.approx(0, abs=1e-12)
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", MATCHING_MAPS)
def test_matching_maps_in_lower_precision(name, dtype):
    teacher = draw(*MAPS).to(dtype)
    student = teacher.clone().requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-5


@pytest.mark.parametrize("name", [name for name in LOGITS if name in MATCHING])
def test_matching_logits_of_two_classes(name):
    teacher = draw_wide(5, 2)
    student = teacher.clone().requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("name", LOGITS)
def test_gradient_at_the_match_is_finite(name):
    for teacher in (torch.zeros(3, 4), torch.eye(4) * 1e3, draw32(1, 4)):
        student = teacher.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(EVERY[name](student, teacher), student)
        assert torch.isfinite(gradient).all()


# What is not seen


@pytest.mark.parametrize("name", BLIND)
def test_a_shift_of_the_logits_is_not_seen(name):
    student, teacher = draw_wide(4, 6), draw_wide(4, 6, seed=1)
    moved = EVERY[name](student + 5, teacher - draw_wide(4, 1, seed=2).abs())
    assert moved.item() == pytest.approx(EVERY[name](student, teacher).item(), rel=1e-9, abs=1e-12)


UNORDERED = [
    *(
        name
        for name in LOGITS
        if name.split()[0]
        not in (
            "dkd",
            "nkd",
            "ban",
            "apprentice",
            "generalised",
            "oracle",
            "camkd",
            "noisy_teachers",
            "noisy_labels",
            "coteaching",
            "admd",
        )
    ),
    *ORDERS,
    *(name for name in MAP_LOSSES),
    *(name for name in (*LAYERS, *RELATIONS, *RANKINGS) if name != "triplet"),
    "ddgsd",
    "cmi",
]


@pytest.mark.parametrize("name", UNORDERED)
def test_a_permutation_of_samples_is_not_seen(name):
    student, teacher = pair(name)
    order = torch.arange(len(student)).flip(0)
    moved = EVERY[name](student[order], teacher[order])
    torch.testing.assert_close(moved, EVERY[name](student, teacher), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "loss"), [("dkd", losses.decoupled_kd), ("nkd", losses.normalized_kd)]
)
def test_a_permutation_of_labelled_samples_is_not_seen(name, loss):
    student, teacher = draw_wide(5, 5), draw_wide(5, 5, seed=1)
    order, labels = torch.tensor([3, 0, 4, 1, 2]), torch.arange(5)
    moved = loss(student[order], teacher[order], labels[order], 3.0)
    assert moved.item() == pytest.approx(EVERY[name](student, teacher).item(), rel=1e-9)


@pytest.mark.parametrize("name", ["triplet", "you2017", "darkrank", "darkrank hard"])
def test_orders_do_not_see_motions(name):
    s, t = draw(5, 3), draw(5, 4, seed=1)
    turned = s @ torch.linalg.qr(draw(3, 3, seed=2)).Q + draw(1, 3, seed=3)
    torch.testing.assert_close(EVERY[name](turned, t), EVERY[name](s, t))


@pytest.mark.parametrize("name", ["at", "nst", "nst linear"])
def test_channel_order_is_free(name):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    order = torch.tensor([2, 0, 3, 1])
    moved = EVERY[name](student[:, order], teacher[:, order.flip(0)])
    torch.testing.assert_close(moved, EVERY[name](student, teacher))


@pytest.mark.parametrize("name", ["at", "nst", "nst gaussian", "ft", "catkd"])
def test_scale_of_a_sample_is_free(name):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    scale = torch.tensor([1e-3, 2.0, 70.0], dtype=torch.float64)[:, None, None, None]
    moved = EVERY[name](scale * student, teacher / scale)
    torch.testing.assert_close(moved, EVERY[name](student, teacher))


@pytest.mark.parametrize("name", ["at", "nst", "ft", "catkd", "adain"])
def test_sizes_meet_by_pooling(name):
    student, teacher = draw(3, 4, 6, 2), draw(3, 4, 3, 4, seed=1)
    value = EVERY[name](student.requires_grad_(), teacher)
    assert torch.isfinite(torch.autograd.grad(value, student)[0]).all()
    if name in ("at", "nst", "ft"):
        small = torch.nn.functional.adaptive_avg_pool2d(student, (3, 2))
        other = torch.nn.functional.adaptive_avg_pool2d(teacher, (3, 2))
        torch.testing.assert_close(EVERY[name](small, other), value)


# Extreme values, precision


HALVES = [torch.float16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", [name for name in EVERY if name in LOGITS or name in SINGLE])
def test_extreme_logits_and_half_precision(name, dtype):
    if name not in LOGITS and pair(name)[0].ndim != 2:
        student = (1e3 * pair(name)[0].sign()).to(dtype).requires_grad_()
        teacher = student
    else:
        student = torch.tensor([[1e3, -1e3, 0.0], [-1e3, 1e3, 0.0]], dtype=dtype)
        teacher = torch.tensor([[-1e3, 1e3, 0.0], [-1e3, 1e3, 0.0]], dtype=dtype)
        student.requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    zero = (
        "admd fooling",
        "cross_entropy",
        "cmi adversarial",
        "deepinversion competition",
        "ensemble",
        "camkd",
        "dafl one-hot",
    )
    below = ("dafl entropy", "dafl activation", "gan fooling", "ban", "mean_teacher labels")
    assert loss > 0 or name in zero or name in below or name in ("tfkd", "tolerant")


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", MAP_LOSSES)
def test_extreme_maps_and_half_precision(name, dtype):
    scale = 30.0 if name == "alpkd" else 1e3  # its gradient, cubic in the scale, fills a half
    student = draw(*MAPS).sign().mul(scale).to(dtype)
    teacher = draw(*MAPS, seed=1).sign().mul(scale).to(dtype)
    student[0, 0], teacher[1] = 0, 0
    student.requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert loss > 0 or name == "sad"  # its softmax is all on one place


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", LAYERS)
def test_extreme_layers_and_half_precision(name, dtype):
    student = (1e3 * torch.sign(draw(3, 4, 3, 2))).to(dtype).requires_grad_()
    teacher = (1e3 * draw(3, 4, 1, 5, seed=1)).to(dtype)
    value = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    exact = student.detach().float().requires_grad_()
    (wide,) = torch.autograd.grad(EVERY[name](exact, teacher), exact)
    assert torch.isfinite(wide).all()
    held = wide.abs() < torch.finfo(dtype).max  # fourth powers of 1e3 leave float16's range
    assert torch.isfinite(gradient[held]).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", [*RELATIONS, *RANKINGS])
def test_extreme_samples_and_half_precision(name, dtype):
    if name in RELATIONS:
        student, teacher = 1e3 * torch.sign(draw(5, 3, 2, 3)), 3e3 * draw(5, 7, seed=1)
    else:
        student, teacher = 1e3 * draw(5, 3), 1e3 * draw(5, 3, seed=1)
    student = student.to(dtype).requires_grad_()
    value = EVERY[name](student, teacher.to(dtype))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient.float()).all()


@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
@pytest.mark.parametrize("name", RELATIONS)
def test_coinciding_and_zero_samples_stay_finite(name, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    for student in (torch.zeros(4, 3), torch.ones(4, 3), torch.eye(4, 3), -torch.eye(4, 3)):
        student.requires_grad_()
        for teacher in (torch.zeros(4, 3), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])):
            value = EVERY[name](student, teacher)
            (gradient,) = torch.autograd.grad(value, student, allow_unused=True)
            assert torch.isfinite(value)
            assert gradient is None or torch.isfinite(gradient).all()
            assert gradient is None or gradient.abs().max() < 1e6


@pytest.mark.parametrize("name", RANKINGS)
def test_coinciding_samples_in_rankings_stay_finite(name):
    for student in (torch.zeros(5, 3), torch.ones(5, 3)):
        student.requires_grad_()
        value = EVERY[name](student, draw(5, 3).float())
        (gradient,) = torch.autograd.grad(value, student)
        assert finite(value, gradient)


@pytest.mark.parametrize("name", LAYERS)
def test_degenerate_maps_stay_finite(name):
    """Zeros, equal channels and rank 1, where norms vanish and singular values coincide."""
    for student in (torch.zeros(3, 4, 2, 3), torch.ones(3, 4, 2, 3), torch.eye(4, 4).repeat(2, 1)):
        student = student.reshape(-1, 4, 2, student.shape[-1] if student.ndim == 4 else 2)
        student = student.clone().requires_grad_()
        value = EVERY[name](student, draw(len(student), 4, 3, 2).float())
        (gradient,) = torch.autograd.grad(value, student)
        assert finite(value, gradient)


@pytest.mark.parametrize("name", ["at", "nst", "nst linear", "ft", "catkd"])
def test_dead_maps_have_bounded_gradients(name):
    teacher, student = draw(*MAPS).float(), torch.zeros(MAPS, requires_grad=True)
    (gradient,) = torch.autograd.grad(EVERY[name](student, teacher), student)
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", EVERY)
def test_autocast_changes_nothing(name, dtype):
    student, teacher = (value.float() for value in pair(name))
    plain = EVERY[name](student, teacher)
    with torch.autocast("cpu", dtype):
        cast = EVERY[name](student, teacher)
    torch.testing.assert_close(cast, plain, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_class_activation_maps_under_autocast(dtype):
    student, teacher = draw(*MAPS).float(), draw(*MAPS, seed=1).float()
    plain = losses.class_activation_maps(student, teacher[0, :, :, 0].T)
    with torch.autocast("cpu", dtype):
        cast = losses.class_activation_maps(student, teacher[0, :, :, 0].T)
    torch.testing.assert_close(cast, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_modules_run_under_autocast(dtype):
    student, teacher = draw32(4, 3, 4, 3), draw32(4, 5, 4, 3, seed=1)
    calibration = losses.SemanticCalibration([student.shape], [teacher.shape], batch=4)
    fusion = losses.ReviewFusion([student.shape], [teacher.shape])
    regressor = losses.VariationalRegressor(student.shape, teacher.shape)
    with torch.autocast("cpu", dtype):
        found = [
            losses.semantic_calibration(*calibration([student], [teacher])),
            losses.hierarchical_context(fusion([student])[0], teacher),
            regressor(student, teacher),
        ]
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in found)


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", [name for name in EVERY if name not in SINGLE])
def test_precisions_may_differ(name, low):
    """The loss is computed in the wider precision, whichever side has it."""
    student, teacher = (value.to(torch.bfloat16).float() for value in pair(name))
    plain = EVERY[name](student, teacher)
    for one, other in ((student.to(low), teacher), (student, teacher.to(low))):
        mixed = EVERY[name](one, other)
        assert mixed.dtype in (torch.float32, low)
        torch.testing.assert_close(mixed.float(), plain, rtol=2e-2, atol=2e-3)


# NaN


@pytest.mark.parametrize(("name", "limit"), ROUTES)
def test_nan_in_is_nan_out(name, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    for side in range(1 if name in SINGLE else 2):
        tensors = [value.float() for value in pair(name)]
        assert not EVERY[name](*tensors).isnan()
        for place in (0, tensors[side].numel() - 1):
            spoilt = [value.clone() for value in tensors]
            spoilt[side].view(-1)[place] = math.nan
            assert EVERY[name](*spoilt).isnan(), (side, place)

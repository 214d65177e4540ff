"""Linear distillation: the projection, the bound and its reason, and deep networks, against loops."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from kdnb.methods.theory import (
    deep_linear_student,
    hard_student,
    linear_student,
    projected,
    risk_bound,
    transfer_risk,
)

RANDOM = np.random.default_rng(0)


def problem(n, d, seed=0):
    random = np.random.default_rng(seed)
    inputs, teacher = random.standard_normal((n, d)), random.standard_normal(d)
    return inputs, teacher, expit(inputs @ teacher)


def angle(a, b):
    return np.arccos(np.clip(abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b), 0, 1))


@pytest.mark.parametrize(("n", "d"), [(1, 5), (5, 12), (11, 12), (12, 12), (40, 12)])
def test_the_student_is_the_projection_of_the_teacher(n, d):
    inputs, teacher, soft = problem(n, d)
    student, shadow = linear_student(inputs, soft), projected(inputs, teacher)
    assert np.linalg.norm(student - shadow) < 1e-6 * np.linalg.norm(teacher)
    if n >= d:
        assert np.linalg.norm(shadow - teacher) < 1e-8 * np.linalg.norm(teacher)


def test_against_plain_gradient_descent():
    inputs, _, soft = problem(4, 6)
    weights = np.zeros(6)
    for _ in range(40000):
        slope = np.zeros(6)
        for x, t in zip(inputs, soft, strict=True):
            slope += (expit(x @ weights) - t) * x / 4
        weights -= 0.3 * slope
    assert np.allclose(weights, linear_student(inputs, soft), atol=1e-4)


def test_hard_labels_against_a_general_optimiser():
    inputs, teacher, _ = problem(15, 4)
    labels = (inputs @ teacher > 0).astype(float)

    def value(w):
        z = inputs @ w
        return np.mean(np.logaddexp(0, z) - labels * z) + 0.005 * w @ w

    found = minimize(value, np.zeros(4), tol=1e-12).x
    assert np.allclose(hard_student(inputs, labels, ridge=0.01), found, atol=1e-4)


def test_one_layer_is_plain_and_small_layers_come_near_the_projection():
    inputs, teacher, soft = problem(4, 6)
    shadow = projected(inputs, teacher)
    one = deep_linear_student(inputs, soft, depth=1, scale=0.0, steps=40000, lr=0.3)
    assert np.allclose(one, shadow, atol=1e-3)
    gaps = [
        np.linalg.norm(deep_linear_student(inputs, soft, depth=2, scale=s, steps=20000) - shadow)
        for s in (1.0, 0.1, 0.01)
    ]
    assert gaps[0] > gaps[1] > gaps[2]


def test_gradients_of_deep_networks_against_differences():
    inputs, _, soft = problem(5, 3)
    first = deep_linear_student(inputs, soft, depth=3, scale=1.0, steps=0, seed=2)
    for lr in (1e-4, 1e-5):
        moved = deep_linear_student(inputs, soft, depth=3, scale=1.0, steps=1, lr=lr, seed=2)

        def loss(w):
            z = inputs @ w
            return np.mean(np.logaddexp(0, z) - soft * z)

        random = np.random.default_rng(2)
        layers = [random.standard_normal(s) / np.sqrt(3) for s in ((3, 3), (3, 3), (1, 3))]
        square = 0.0  # the squared length of the gradient, by differences
        for layer in layers:
            for place in np.ndindex(layer.shape):
                kept, step = layer[place], 1e-6
                values = []
                for change in (step, -step):
                    layer[place] = kept + change
                    values.append(loss((layers[2] @ layers[1] @ layers[0])[0]))
                layer[place] = kept
                square += ((values[0] - values[1]) / (2 * step)) ** 2
        assert loss(first) - loss(moved) == pytest.approx(lr * square, rel=0.05)


def test_the_students_angle_is_at_most_the_least_of_the_points():
    for seed in range(20):
        inputs, teacher, _ = problem(3, 8, seed)
        own = angle(projected(inputs, teacher), teacher)
        assert own <= min(angle(x, teacher) for x in inputs) + 1e-12


def test_the_bound_against_a_loop_and_against_measured_risks():
    def tail(theta):  # points in a plane, all directions alike
        return 1 - 2 * np.asarray(theta) / np.pi

    loops = []
    for beta in np.linspace(0, np.pi / 2, 2001):
        loops.append(tail(beta) + tail(np.pi / 2 - beta) ** 5)
    assert risk_bound(tail, 5) == pytest.approx(min(loops))
    risks = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        teacher, inputs = random.standard_normal(2), random.standard_normal((1, 2))
        fresh = random.standard_normal((2000, 2))
        risks.append(transfer_risk(projected(inputs, teacher), teacher, fresh))
    assert risk_bound(tail, 1) == pytest.approx(1.0)
    assert np.mean(risks) <= risk_bound(tail, 1)
    assert risk_bound(tail, 50) < risk_bound(tail, 5)


def test_transfer_risk_is_an_angle_for_round_data():
    one, other = np.array([1.0, 0.0]), np.array([np.cos(0.6), np.sin(0.6)])
    fresh = RANDOM.standard_normal((200_000, 2))
    assert transfer_risk(one, other, fresh) == pytest.approx(0.6 / np.pi, abs=0.004)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: linear_student(np.ones((3, 2)), np.full(2, 0.5)), "inputs are"),
    (lambda: linear_student(np.ones((3, 2)), np.array([0, 0.5, 1])), "no minimum"),
    (lambda: linear_student(np.full((3, 2), np.nan), np.full(3, 0.5)), "NaN"),
    (lambda: projected(np.ones((3, 2)), np.ones(3)), "inputs are"),
    (lambda: deep_linear_student(np.ones((3, 2)), np.full(3, 0.5), depth=0, scale=1.0), "one layer"),
    (lambda: risk_bound(lambda t: t, 0), "one point"),
])  # fmt: skip
def test_wrong_wishes(call, message):
    with pytest.raises(ValueError, match=message):
        call()

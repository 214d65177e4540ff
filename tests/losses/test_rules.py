"""The teacher of rules and the attention over them (Song 2018), against loops and its optimality."""

import math

import pytest
import torch
from draws import draw, draw_wide
from loops import softmax

from kdnb import losses

Z = draw_wide(6, 4)
RULES = (draw(6, 3, 4, seed=1) > 0).double()
RULES[2] = 0  # no rule applies to this sample
RULES[3, 1] = 1  # one rule has all classes alike
TRUST = draw(6, 3, seed=2).softmax(1)


def test_the_teacher_against_loops():
    teacher = losses.rule_teacher(Z, RULES, TRUST, 2.5).softmax(1)
    for b in range(6):
        p = softmax(Z[b].tolist())
        weights = [
            p[k] * math.exp(2.5 * sum(float(TRUST[b, j] * RULES[b, j, k]) for j in range(3)))
            for k in range(4)
        ]
        assert teacher[b].tolist() == pytest.approx([w / sum(weights) for w in weights], rel=1e-12)


def test_it_is_the_answer_that_it_is_meant_to_be():
    """No other q has a smaller KL(q || p) - C sum of what the rules expect of q."""
    strength = 2.0
    log_p = Z.log_softmax(1)
    wanted = (TRUST[:, :, None] * RULES).sum(1)

    def objective(log_q):
        q = log_q.exp()
        return (q * (log_q - log_p)).sum(1) - strength * (q * wanted).sum(1)

    best = losses.rule_teacher(Z, RULES, TRUST, strength).log_softmax(1)
    for seed in range(20):
        other = (best + 0.3 * draw(6, 4, seed=seed)).log_softmax(1)
        assert (objective(other) >= objective(best) - 1e-12).all()
    free = best.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(free.log_softmax(1)).sum(), free)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


def test_rules_that_say_nothing_change_nothing():
    torch.testing.assert_close(losses.rule_teacher(Z, RULES, TRUST, 0.0), Z)
    alike = torch.ones(6, 3, 4, dtype=torch.float64)
    moved = losses.rule_teacher(Z, alike, TRUST, 5.0)
    torch.testing.assert_close(moved.softmax(1), Z.softmax(1))


def test_a_strong_rule_leaves_only_what_fulfils_it():
    one = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]).double()
    q = losses.rule_teacher(Z[:1], one, torch.ones(1, 1).double(), 1e4).softmax(1)
    assert q[0, 2:].max() == 0
    torch.testing.assert_close(q[0, 0] / q[0, 1], (Z[0, 0] - Z[0, 1]).exp())


def attention(**options):
    torch.manual_seed(0)
    module = losses.RuleAttention(5, 3, 7, **options).double()
    with torch.no_grad():
        module.bias.copy_(draw(3, seed=9))
    return module


def test_attention_against_loops():
    module, inner = attention(sharpness=3.0), draw(6, 5, seed=4)
    found = module(inner, RULES)
    W, b = module.inner.weight.tolist(), module.inner.bias.tolist()
    for n in range(6):
        applying = [
            j for j in range(3) if RULES[n, j].max() > RULES[n, j].min()
        ]  # tells classes apart
        scores = {}
        for j in applying:
            hidden = [
                sum(w * x for w, x in zip(W[i], inner[n].tolist(), strict=True)) + b[i]
                + module.places[j, i].item()
                for i in range(7)
            ]  # fmt: skip
            activity = [1 / (1 + math.exp(-h)) for h in hidden]
            score = sum(w * a for w, a in zip(module.outer.tolist(), activity, strict=True))
            scores[j] = 3.0 * (score + module.bias[j].item())
        total = sum(math.exp(s) for s in scores.values())
        expected = [math.exp(scores[j]) / total if j in scores else 0.0 for j in range(3)]
        assert found[n].tolist() == pytest.approx(expected, rel=1e-9)


def test_no_rule_no_share():
    found = attention()(draw(6, 5), RULES)
    assert found[2].tolist() == [0, 0, 0] and found[3, 1] == 0
    rest = [0, 1, 3, 4, 5]
    torch.testing.assert_close(found[rest].sum(1), torch.ones(5).double())


def test_gradients_of_teacher_and_attention():
    module, inner = attention(), draw(6, 5, seed=4)

    def loss(z, features):
        teacher = losses.rule_teacher(z, RULES, module(features, RULES), 2.0)
        return losses.cross_entropy_with(z, teacher.softmax(1))

    leaves = Z.clone().requires_grad_(), inner.requires_grad_()
    assert torch.autograd.gradcheck(loss, leaves)
    loss(*leaves).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_the_gradient_of_a_confidence_is_a_covariance():
    """By hand: dH(q, p) / d lambda_l = -C Cov_q(f_l, log p)."""
    trust, strength = TRUST.clone().requires_grad_(), 1.5
    teacher = losses.rule_teacher(Z, RULES, trust, strength)
    losses.cross_entropy_with(Z, teacher.softmax(1)).backward()
    q, logs = teacher.detach().softmax(1).tolist(), Z.log_softmax(1).tolist()
    for b in range(6):
        for rule in range(3):
            f = RULES[b, rule].tolist()
            means = [sum(w * x for w, x in zip(q[b], one, strict=True)) for one in (f, logs[b])]
            both = sum(w * x * y for w, x, y in zip(q[b], f, logs[b], strict=True))
            expected = -strength * (both - means[0] * means[1]) / 6  # the loss is the batch's mean
            assert trust.grad[b, rule].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_extremes_and_half_precision():
    sure, trust = 1e4 * Z, (1e3 * TRUST).requires_grad_()
    teacher = losses.rule_teacher(sure, RULES, trust, 10.0)
    torch.testing.assert_close(
        teacher, sure + 1e4 * (TRUST[:, :, None] * RULES).sum(1), rtol=1e-12, atol=0
    )
    losses.cross_entropy_with(sure, teacher.softmax(1)).backward()
    assert trust.grad.isfinite().all()
    shares = attention(sharpness=1e4)(1e4 * draw(6, 5), RULES)
    assert shares.isfinite().all() and (shares >= 0).all() and (shares.sum(1) <= 1 + 1e-12).all()
    for dtype in (torch.float16, torch.bfloat16):
        low = [one.to(dtype) for one in (Z, RULES, TRUST)]
        found = losses.rule_teacher(*low, 2.0)
        assert found.dtype == torch.float32
        exact = losses.rule_teacher(*(one.double() for one in low), 2.0)
        torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


def test_nan_is_not_swallowed():
    """Nor where no rule applies, so that the attention is 0."""
    for place in range(3):
        given = [one.clone() for one in (Z, RULES, TRUST)]
        given[place].view(-1)[0] = math.nan
        found = losses.rule_teacher(*given, 2.0)
        assert found[0].isnan().any() and found[1:].isfinite().all()
    inner, rules = draw(6, 5), RULES.clone()
    inner[2, 0] = math.nan
    assert attention()(inner, RULES).isnan().any()
    rules[2, 0, 0] = math.nan
    assert attention()(draw(6, 5), rules).isnan().any()


def test_the_cross_entropy_trusts_the_rule_that_the_student_agrees_with():
    """Two rules, of which one names the class that the student is fairly sure of."""
    z = torch.tensor([[2.0, 0.0, 0.0]]).double().repeat(4, 1)
    rules = torch.zeros(4, 2, 3).double()
    rules[:, 0, 0], rules[:, 1, 2] = 1, 1

    def after(loss):
        """The share of the first rule after some steps of the attention."""
        torch.manual_seed(0)
        module, inner = losses.RuleAttention(2, 2, 4).double(), draw(4, 2)
        optimiser = torch.optim.SGD(module.parameters(), 0.1)
        for _ in range(200):
            optimiser.zero_grad()
            loss(losses.rule_teacher(z, rules, module(inner, rules), 1.0)).backward()
            optimiser.step()
        return module(inner, rules)[:, 0].mean().item()

    start = after(lambda teacher: 0 * teacher.sum())
    assert after(lambda teacher: losses.cross_entropy_with(z, teacher.softmax(1))) > start + 0.1
    assert after(lambda teacher: losses.soft_targets(z, teacher, 1.0)) < start


def test_clear_errors():
    with pytest.raises(
        ValueError, match=r"fulfilled must be \(batch, rules, classes\), here \(6, r"
    ):
        losses.rule_teacher(Z, RULES[:, :, :3], TRUST)
    with pytest.raises(
        ValueError, match=r"confidence must be \(batch, rules\) \(6, 3\); got \(6, 2\)"
    ):
        losses.rule_teacher(Z, RULES, TRUST[:, :2])
    with pytest.raises(ValueError, match=r"fulfilled must be \(batch, 3 rules, classes\)"):
        attention()(draw(6, 5), RULES[:, :2])
    with pytest.raises(ValueError, match="features"):
        attention()(draw(6, 4), RULES)
    for wrong, words in (
        ((Z[0], RULES, TRUST), "student_logits"),
        ((Z[:5], RULES, TRUST), r"fulfilled must be .* here \(5, rules, 4\)"),
        ((Z, RULES[:, 0], TRUST), "fulfilled must be"),
        ((Z, RULES > 0, TRUST), "fulfilled must hold floating-point"),
        ((Z, RULES, TRUST, -1.0), "strength"),
        ((Z, RULES, TRUST, math.nan), "strength"),
    ):
        with pytest.raises(ValueError, match=words):
            losses.rule_teacher(*wrong)

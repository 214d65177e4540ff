"""Reversed gradients, the shift, and a student that does not know where its image comes from."""

import copy
import math

import pytest
import torch
from draws import draw
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.adversarial import Critic, adversarial_domains, shifted
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")

CONDITIONS = {"domain": [0, 1]}

VIEWS = [lambda images: images, shifted]


def batches(size=8, labels=None):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 3 if labels is None else labels
    return Batches(Images(images, labels), size, mean=(0.5,), sd=(0.3,))


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3))


def critic_of(outputs=2, widths=(6,)):
    torch.manual_seed(7)
    return Critic(5, outputs, widths=widths)


def adapt(student, teacher, judges, data, recipe, **options):
    options = {"views": VIEWS, "conditions": CONDITIONS, "path": "2", **options}
    return adversarial_domains(student, teacher, judges, data, recipe, **options)


def test_the_shift_by_hand():
    images = draw(2, 1, 3, 5).float()
    found = shifted(images, contrast=-0.4, shade=0.6)
    for b in range(2):
        for i in range(3):
            for j in range(5):
                expected = -0.4 * float(images[b, 0, i, j]) + 0.6 * (j / 2 - 1)
                assert float(found[b, 0, i, j]) == pytest.approx(expected, abs=1e-6)
    light = torch.linspace(-1, 1, 5)
    torch.testing.assert_close((found - 0.6 * light) / -0.4, images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shifted(images, contrast=1.0, shade=0.0), images)
    for wrong in (0.0, math.nan):
        with pytest.raises(ValueError, match="other than 0"):
            shifted(images, contrast=wrong)
    with pytest.raises(ValueError, match=r"\(3, 5\)"):
        shifted(images[0, 0])


@pytest.mark.parametrize("weight", [0.0, 0.8])
def test_the_step_by_hand(weight):
    """The critic descends its loss, the features ascend it, the head sees the teacher alone."""
    student, teacher, critic = network(0), network(1), critic_of()
    s, t, c = (copy.deepcopy(part) for part in (student, teacher, critic))
    adapt(student, teacher, {"domain": critic}, batches(40), STEP, reversal_weight=weight)
    images = next(iter(batches(40))).images
    both = torch.cat([images, shifted(images)])
    where = torch.tensor([0] * 40 + [1] * 40)
    soft = losses.soft_targets(s(both), t(images).detach().repeat(2, 1), 1.0)
    told = F.cross_entropy(c(s[:3](both)), where)
    for new, old, loss in ((student, s, soft - weight * told), (critic, c, told)):
        old_ = list(old.parameters())
        gradients = torch.autograd.grad(loss, old_, retain_graph=True)
        for a, b, gradient in zip(new.parameters(), old_, gradients, strict=True):
            torch.testing.assert_close(a, b - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(v, t.state_dict()[k]) for k, v in teacher.state_dict().items())


def test_the_teacher_sees_the_source_alone():
    seen = []
    teacher = network(1)
    teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    adapt(network(0), teacher, {"domain": critic_of()}, batches(40), STEP)
    assert torch.equal(seen[0], next(iter(batches(40))).images)


def test_features_cease_to_tell_the_domain():
    """With reversal a critic of the features ends near chance; without, it knows the domain."""
    recipe = Recipe(epochs=15, batch_size=10, lr=0.02, optimiser="adam", precision="32")
    ends = {}
    for weight in (0.0, 1.0):
        student, teacher = network(1), network(1)
        judges = {"domain": critic_of(widths=())}
        history = adapt(student, teacher, judges, batches(), recipe, reversal_weight=weight)
        ends[weight] = history[-1]["domain.condition"]
        assert history[-1]["soft"] < history[0]["soft"]
    assert ends[0.0] < 0.4
    assert 0.5 < ends[1.0] < 0.8  # chance is log 2 = 0.69


def test_several_factors_and_no_label():
    """Two factors in three views, each with its own classifier; other labels change nothing."""
    ends = []
    for labels in (None, torch.full((40,), 2)):
        student = network(0)
        history = adapt(
            student, network(1), {"light": critic_of(), "ink": critic_of(3)},
            batches(labels=labels), STEP,
            views=[*VIEWS, lambda images: -images],
            conditions={"light": [0, 1, 0], "ink": [0, 1, 2]},
        )  # fmt: skip
        ends.append(student[1].weight)
    assert torch.equal(*ends)
    assert {"soft", "light.condition", "ink.condition"} <= set(history[0])


def test_what_does_not_fit_is_refused():
    parts = (network(0), network(1))
    with pytest.raises(ValueError, match="one view at least"):
        adapt(*parts, {"domain": critic_of()}, batches(), STEP, views=[])
    with pytest.raises(ValueError, match=r"critics \['place'\]"):
        adapt(*parts, {"place": critic_of()}, batches(), STEP)
    for values in ([0], [0, -1]):
        with pytest.raises(ValueError, match="'domain' needs a value from 0 for each of the 2"):
            adapt(*parts, {"domain": critic_of()}, batches(), STEP, conditions={"domain": values})

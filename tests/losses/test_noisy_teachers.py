"""Noise on logits: its moments, and what it does to a squared distance."""

import torch
from draws import draw_wide

from kdnb import losses


def drawn(logits, count, **options):
    generator = torch.Generator().manual_seed(0)
    return torch.stack(
        [losses.noisy_logits(logits, generator=generator, **options) for _ in range(count)]
    )


def test_the_mean_is_the_teacher_and_the_variance_follows_its_squares():
    v = draw_wide(3, 4)
    many = drawn(v, 20_000, sd=0.5, share=0.4)
    torch.testing.assert_close(many.mean(0), v, rtol=0, atol=0.05)
    expected = 0.4 * 0.25 * v.square()
    torch.testing.assert_close(many.var(0), expected, rtol=0.05, atol=1e-3)


def test_whole_samples_are_perturbed():
    v = draw_wide(400, 3)
    moved = (drawn(v, 1, sd=0.5, share=0.3)[0] != v).sum(1)
    assert set(moved.tolist()) == {0, 3}
    assert 0.2 < (moved == 3).double().mean() < 0.4


def test_without_noise_or_share_the_teacher_is_itself():
    v = draw_wide(3, 4)
    assert torch.equal(losses.noisy_logits(v, 0.0, 1.0), v)
    assert torch.equal(losses.noisy_logits(v, 0.5, 0.0), v)


def test_the_gradient_of_the_squared_distance_is_on_average_that_of_the_teacher():
    z, v = draw_wide(3, 4).requires_grad_(), draw_wide(3, 4, seed=1)
    (plain,) = torch.autograd.grad(losses.logit_regression(z, v), z)
    many = drawn(v, 20_000, sd=0.5, share=1.0)
    gradients = (z.detach() - many) / len(v)
    torch.testing.assert_close(gradients.mean(0), plain, rtol=0, atol=0.03)
    assert gradients.std(0).max() > 0.1

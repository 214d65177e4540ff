"""Lifelong GAN (Zhai et al. 2019): a generator and its encoder keep their old answers."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_samples


def generator_distillation(
    codes: Tensor,
    old_codes: Tensor,
    decoded: Tensor,
    old_decoded: Tensor,
    generated: Tensor,
    old_generated: Tensor,
) -> Tensor:
    r"""Lifelong GAN's distillation (Zhai 2019): keep the previous networks' auxiliary outputs.

    .. math:: L = \lVert E_t(B') - E_{t-1}(B') \rVert_1
        + \lVert G_t(A', E_t(B')) - G_{t-1}(A', E_{t-1}(B')) \rVert_1
        + \lVert G_t(A', z') - G_{t-1}(A', z') \rVert_1

    with auxiliary conditions A' and images B' made from the current data, noise z', the encoders E
    and the generators G. The first two terms belong to the half of a BicycleGAN that encodes and
    decodes images; the third belongs to the half that generates images from noise.

    Args:
        codes, old_codes: (batch, ...), E_t(B') and E_(t-1)(B').
        decoded, old_decoded: (batch, ...), images decoded from these codes.
        generated, old_generated: (batch, ...), images generated from the noise. Gradients flow into
            the old ones too unless they are detached.

    Returns:
        A scalar: each norm is the mean over its elements, so that the three terms have equal
        weight.

    Raises:
        ValueError: for an empty batch, or pairs of mismatched shapes.

    Departures: recalled; a public re-implementation (ChillingDream/Lifelong-Gan) has the same three
    means and, as a fourth term, the codes of generated images.

    >>> one = torch.ones(2, 3)
    >>> generator_distillation(one, 0 * one, one, one, one, one)
    tensor(1.)
    """
    total: Tensor | None = None
    for ours, theirs in (
        ({"codes": codes}, {"old_codes": old_codes}),
        ({"decoded": decoded}, {"old_decoded": old_decoded}),
        ({"generated": generated}, {"old_generated": old_generated}),
    ):
        check_samples(1, **ours, **theirs)
        (name, one), (other_name, other) = *ours.items(), *theirs.items()
        if one.shape != other.shape:
            raise ValueError(
                f"{name} and {other_name} must have one shape; got {tuple(one.shape)} and "
                f"{tuple(other.shape)}."
            )
        term = (at_least_float32(one) - at_least_float32(other)).abs().mean()
        total = term if total is None else total + term
    return total


def standard_normal_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""KL of diagonal Gaussians from the standard normal, as in a variational autoencoder.

    .. math:: L = \frac{1}{2B} \sum_{b, k} \big(\mu_{bk}^2 + \sigma_{bk}^2 - 1 - \log
        \sigma_{bk}^2\big)

    (Kingma and Welling 2014, appendix B).

    Args:
        mean, log_variance: (batch, ...) of the same shape.

    Returns:
        A scalar in nats, at least 0: summed over the code, averaged over the batch.

    Raises:
        ValueError: for an empty batch or mismatched shapes.

    >>> standard_normal_divergence(torch.ones(2, 3), torch.zeros(2, 3))
    tensor(1.5000)
    """
    check_samples(1, mean=mean, log_variance=log_variance)
    if mean.shape != log_variance.shape:
        raise ValueError(
            f"mean and log_variance must have one shape; got {tuple(mean.shape)} and "
            f"{tuple(log_variance.shape)}."
        )
    mu, logs = at_least_float32(mean), at_least_float32(log_variance)
    each = mu.square() + (logs.expm1() - logs).clamp_min(0)  # rounding must not push it below
    return each.flatten(1).sum(1).mean() / 2

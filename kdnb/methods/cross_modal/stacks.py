"""Many small networks trained side by side, in batched matrix products.

A stack holds M perceptrons of the same shape; the first axis of its weights is the network. All see
the same batches; inputs and targets are shared or separate. The sum of their losses has no
gradients across networks, and the optimisers work element by element, so every network is trained
exactly as it would be alone.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses.checks import check_choice, check_number

Optimiser = Literal["rmsprop", "adam"]
Stack = list[tuple[Tensor, Tensor]]  # of each layer: weights (M, in, out), biases (M, 1, out)


def glorot_stack(sizes: tuple[int, ...], count: int, seed: int, *, alike: bool = True) -> Stack:
    """Perceptrons with Glorot's uniform weights and biases of 0.

    Args:
        sizes: units of each layer, from inputs to classes: at least two numbers.
        count: M, the number of networks.
        seed: for the weights.
        alike: whether all networks start from the same weights, for paired comparisons.

    Returns:
        Float32 weights that require gradients.

    Raises:
        ValueError: for fewer than two sizes, or a count or size below 1.
    """
    whole = isinstance(sizes, (tuple, list)) and all(isinstance(one, int) for one in sizes)
    if not whole or len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be two whole numbers or more, at least 1; got {sizes}.")
    check_number(least=1, whole=True, count=count)
    stream, layers = torch.Generator().manual_seed(seed), []
    for inputs, outputs in itertools.pairwise(sizes):
        bound = math.sqrt(6 / (inputs + outputs))
        drawn = torch.rand(1 if alike else count, inputs, outputs, generator=stream)
        weight = ((2 * drawn - 1) * bound).expand(count, -1, -1).clone()
        layers.append((weight.requires_grad_(), torch.zeros(count, 1, outputs, requires_grad=True)))
    return layers


def stack_logits(stack: Stack, inputs: Tensor) -> Tensor:
    """The answers of all networks, with ReLU between layers.

    Args:
        inputs: (samples, features) for all networks, or (M, samples, features).

    Returns:
        (M, samples, classes).
    """
    hidden = inputs
    for place, (weight, bias) in enumerate(stack):
        hidden = torch.matmul(hidden, weight) + bias
        if place < len(stack) - 1:
            hidden = hidden.relu()
    return hidden


def fit_stack(
    stack: Stack,
    inputs: Tensor,
    targets: Tensor,
    *,
    temperature: Tensor | float = 1.0,
    optimiser: Optimiser = "rmsprop",
    lr: float = 1e-3,
    epochs: int = 50,
    batch_size: int = 128,
    seed: int = 0,
) -> Stack:
    r"""Train all on :math:`-\frac1B \sum_b \sum_c t_{bc} \log \mathrm{softmax}(z_b/\tau)_c`.

    Args:
        stack: changed in place.
        inputs: (samples, features), or (M, samples, features).
        targets: t, (M, samples, classes). They need not sum to 1; their sum is the sample's weight.
        temperature: tau, of the students' answers: one number, or (M, 1, 1).
        optimiser: "rmsprop" as in Keras in 2015 (decay 0.9, and 1e-6 added under the root), or
            PyTorch's Adam.
        lr: the constant learning rate.
        batch_size: the last batch of an epoch may be smaller.
        seed: for the order, which is the same for all networks.

    Returns:
        The stack.

    Raises:
        ValueError: for an unknown optimiser, mismatched targets, or a number that is too small.
    """
    check_choice(("rmsprop", "adam"), optimiser=optimiser)
    check_number(least=0, lr=lr)
    check_number(least=1, whole=True, epochs=epochs, batch_size=batch_size)
    count, samples = stack[0][0].shape[0], inputs.shape[-2]
    classes = stack[-1][0].shape[-1]
    if targets.shape != (count, samples, classes):
        raise ValueError(
            f"targets must be ({count}, {samples}, {classes}), of the networks, samples and "
            f"classes; got {tuple(targets.shape)}."
        )
    features = stack[0][0].shape[1]
    if inputs.shape[-1] != features or not samples:
        raise ValueError(
            f"inputs must be (samples, {features}), at least one; got {tuple(inputs.shape)}."
        )
    for name, value in (("inputs", inputs), ("targets", targets)):
        own = stack[0][0].dtype
        if value.dtype != own or not bool(torch.isfinite(value).all()):
            got = "NaN or infinity" if value.dtype == own else value.dtype
            raise ValueError(f"{name} must be finite numbers of {own}; got {got}.")
    heat = torch.as_tensor(temperature)
    if not bool((heat > 0).all()) or heat.shape not in ((), (count, 1, 1)):
        raise ValueError(
            f"temperature must be above 0, one number or ({count}, 1, 1); got {tuple(heat.shape)}, "
            f"at least {float(heat.min()):g}."
        )
    weights = [tensor for layer in stack for tensor in layer]
    step = _rmsprop(weights, lr) if optimiser == "rmsprop" else _adam(weights, lr)
    stream = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(samples, generator=stream).split(batch_size):
            logits = stack_logits(stack, inputs[..., rows, :]) / temperature
            losses = -(targets[:, rows] * logits.log_softmax(-1)).sum(-1).mean(-1)
            step(torch.autograd.grad(losses.sum(), weights))
    return stack


def correct_of(stack: Stack, inputs: Tensor, labels: Tensor) -> Tensor:
    """The accuracy of each network: (M,) float32.

    Args:
        inputs: as of `stack_logits`.
        labels: (samples,), or (M, samples).
    """
    with torch.no_grad():
        return (stack_logits(stack, inputs).argmax(-1) == labels).float().mean(-1)


def _rmsprop(weights: list[Tensor], lr: float):
    """RMSprop with 1e-6 under the root; PyTorch adds it outside, with 1/1000 of the effect."""
    squares = [torch.zeros_like(weight) for weight in weights]

    def step(gradients: tuple[Tensor, ...]) -> None:
        with torch.no_grad():
            for weight, square, gradient in zip(weights, squares, gradients, strict=True):
                square.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
                weight.addcdiv_(gradient, (square + 1e-6).sqrt_(), value=-lr)

    return step


def _adam(weights: list[Tensor], lr: float):
    optimiser = torch.optim.Adam(weights, lr=lr)

    def step(gradients: tuple[Tensor, ...]) -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimiser.step()

    return step

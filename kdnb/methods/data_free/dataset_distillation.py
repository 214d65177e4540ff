"""Dataset distillation (Wang et al. 2018): a few images on which a few steps train a network.

This distils the data and not the network: the gradient flows through the training itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.training import Networks, Recipe, Update, fit
from kdnb.training.borrowed import borrowed
from kdnb.training.inputs import batches_for

Parameters = Mapping[str, Tensor]
StepLoss = Callable[[Tensor, Tensor], Tensor]


class DistilledData(nn.Module):
    r"""Images, fixed labels, and a learnt rate for every step on them.

    Args:
        steps: sets of images, one for each gradient step of an epoch.
        labels: (images,), of every step's images.
        shape: shape of an image.
        epochs: the number of passes through the steps.
        lr: learning rate of all steps at the beginning.
        seed: for the images, which begin standard normal.

    Attributes:
        images: (steps, images, *shape), a parameter.
        raw_rates: (epochs * steps,), a parameter; the rates are its softplus, so they stay above 0.

    Raises:
        ValueError: for fewer than one step, image or epoch, or a rate that is not above 0.
    """

    def __init__(
        self,
        steps: int,
        labels: Tensor,
        shape: tuple[int, ...],
        *,
        epochs: int = 3,
        lr: float = 0.02,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(steps, epochs, len(labels)) < 1 or not lr > 0:
            raise ValueError(
                f"steps, epochs and labels must be at least 1 and lr above 0; got {steps}, "
                f"{epochs}, {len(labels)} and {lr}."
            )
        stream = torch.Generator().manual_seed(seed)
        self.epochs = epochs
        self.images = nn.Parameter(torch.randn(steps, len(labels), *shape, generator=stream))
        self.raw_rates = nn.Parameter(torch.full((epochs * steps,), math.log(math.expm1(lr))))
        self.register_buffer("labels", labels.clone())

    def forward(self) -> tuple[Tensor, Tensor]:
        """(images (steps, images, ...), rates (epochs * steps,))."""
        return self.images.clone(), F.softplus(self.raw_rates)


def unroll(
    network: nn.Module,
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    rates: Tensor,
    *,
    loss: StepLoss = F.cross_entropy,
    differentiable: bool = True,
) -> dict[str, Tensor]:
    r"""Train for a few gradient steps, differentiably.

    .. math:: \theta_{i+1} = \theta_i - \tilde\eta_i\, \nabla_{\theta_i} \ell(\tilde x_i, \theta_i)

    (Wang et al. 2018, equation 1 and section 3.4), going through the steps repeatedly until all
    rates are used.

    Args:
        network: defines the function; its own parameters are not used.
        parameters: theta_0 by name, requiring gradients.
        images: (steps, images, ...).
        labels: (images, ...), the targets of `loss` in every step.
        rates: (epochs * steps,).
        differentiable: whether gradients flow through the steps to images and rates.

    Returns:
        The parameters after the last step, by name.

    Raises:
        ValueError: if the number of rates is not a multiple of the number of steps.
    """
    if len(rates) % len(images):
        raise ValueError(f"{len(rates)} rates do not go through {len(images)} steps evenly.")
    theta = dict(parameters)
    with torch.enable_grad():
        for number, rate in enumerate(rates):
            outputs = functional_call(network, theta, (images[number % len(images)],))
            value = loss(outputs, labels)
            slopes = torch.autograd.grad(value, list(theta.values()), create_graph=differentiable)
            theta = {
                name: weight - rate * slope
                for (name, weight), slope in zip(theta.items(), slopes, strict=True)
            }
            if not differentiable:
                theta = {name: w.detach().requires_grad_() for name, w in theta.items()}
    return theta


def distil_dataset(
    distilled: DistilledData,
    initial: nn.Module | Callable[[], nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    networks_a_step: int = 1,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Find images on which a few steps train a network (Wang 2018).

    .. math:: \min_{\tilde x, \tilde\eta}\; E_{\theta_0 \sim p}\, L\big(x,\, \theta_k(\theta_0)\big)

    (Wang et al. 2018, algorithm 1).

    Args:
        distilled: trained in place.
        initial: a network, for a single fixed and known initialisation; or, for random
            initialisations, a function that builds one from torch's random state and is called in
            every step.
        examples: the real data, as `offline.train` takes them.
        recipe: for the images and rates; published: Adam at 0.01, halved every 40 of 400 epochs,
            batch 1024.
        networks_a_step: the number of random initialisations averaged in a step.
        options: passed to `training.fit`.

    Returns:
        The history: `real`, the loss on the real batch after the steps.

    Raises:
        ValueError: for fewer than one network a step.

    Departures: the numbers follow the authors' read-me, and the softplus of the rates their code
    (ssnl/dataset-distillation). One random network per step is also their default (`n_nets`); their
    example with trained networks, which is not here, uses 4.
    """
    if networks_a_step < 1:
        raise ValueError(f"networks_a_step must be at least 1; got {networks_a_step}.")
    batches = batches_for(examples, recipe, seed)
    fixed = isinstance(initial, nn.Module)
    count = 1 if fixed else networks_a_step

    def terms(running: Networks, batch: Batch) -> dict[str, Tensor]:
        images, rates = running["distilled"]()
        total = []
        for _ in range(count):
            network = (initial if fixed else initial()).to(batch.images.device).train()
            start = {k: p.detach().requires_grad_() for k, p in network.named_parameters()}
            theta = unroll(network, start, images, distilled.labels, rates)
            outputs = functional_call(network, theta, (batch.images,))
            total.append(F.cross_entropy(outputs.float(), batch.labels))
        return {"real": torch.stack(total).mean()}

    with borrowed(*[initial] if fixed else []):
        return fit({"distilled": distilled}, batches, Update(("distilled",), terms), recipe,
                   seed=seed, **options)  # fmt: skip


def trained_on(distilled: DistilledData, network: nn.Module) -> nn.Module:
    """A copy of a network after the steps on the distilled images, in eval mode."""
    copied = copy.deepcopy(network).to(distilled.images.device).train()
    images, rates = distilled()
    start = {k: p.detach().requires_grad_() for k, p in copied.named_parameters()}
    theta = unroll(
        copied, start, images.detach(), distilled.labels, rates.detach(), differentiable=False
    )
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            parameter.copy_(theta[name])
    return copied.eval()

"""What a trained network answers, and what these answers are worth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdnb.data import Batches


def predict(network: nn.Module, batches: Batches) -> Tensor:
    """The network's outputs for one epoch of batches in float32, (examples, classes), on the CPU.

    Eval mode and no gradients; the mode is put back. Rows follow the order of the batches, so
    use `shuffle=False`. Not autocast: what claims are judged by is computed in full precision.
    """
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            outputs = [network(batch.images).float().cpu() for batch in batches.epoch(0)]
    finally:
        network.train(training)
    return torch.cat(outputs).clone()

"""Unfolding and shrinking (Stahlberg and Byrne 2017): an ensemble as one network, made small.

Several perceptrons side by side are exactly one wide perceptron; no training is needed. It is then
shrunk layer by layer: neurons whose function others can take over are removed, judged by their
weights alone (data-free) or by least squares on activations (data-bound), and layers are
factorised.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses.checks import check_number
from kdnb.nets.mlp import MLP
from kdnb.training.first import check_weights, tried


@torch.no_grad()
def unfold(networks: Sequence[MLP]) -> MLP:
    r"""Unfold several MLPs into one whose logits are the mean of theirs.

    .. math:: W^1 = \begin{pmatrix} W^1_1 \\ \vdots \\ W^1_K \end{pmatrix}, \quad
        W^l = \mathrm{blockdiag}(W^l_1, \dots, W^l_K), \quad
        W^L = \tfrac1K (W^L_1, \dots, W^L_K)

    Its widths are the sums of theirs; off the diagonal blocks its weights are 0.

    Args:
        networks: of the same depth, for the same images and classes; left unchanged.

    Returns:
        A new `MLP` in eval mode, without dropout.

    Raises:
        TypeError: for networks that are not a `kdnb.nets.mlp.MLP`.
        ValueError: for no network, or networks of different depths, inputs or classes.
    """
    if isinstance(networks, nn.Module) and not isinstance(networks, nn.ModuleList):
        raise TypeError("unfold takes a list of networks; got one module: [network].")
    members = list(networks)
    if not members:
        raise ValueError("unfold takes at least one network; got none.")
    for network in members:
        if not isinstance(network, MLP):
            raise TypeError(f"unfold takes networks of the kind mlp; got {type(network).__name__}.")
        check_weights("a network to unfold", network)
    kinds = {(m.shape, len(m.hidden), m.head.out_features) for m in members}
    if len(kinds) > 1:
        raise ValueError(
            "networks must take the same images, answer the same classes and be equally deep; got "
            f"{sorted(kinds)} as (image, hidden layers, classes)."
        )
    widths = [
        sum(layer.linear.out_features for layer in layers)
        for layers in zip(*(m.hidden for m in members), strict=True)
    ]
    whole = _empty(members[0], widths)
    for depth, layer in enumerate(whole.hidden):
        parts = [m.hidden[depth].linear for m in members]
        weights = [part.weight for part in parts]
        layer.linear.weight.copy_(torch.block_diag(*weights) if depth else torch.cat(weights))
        layer.linear.bias.copy_(torch.cat([part.bias for part in parts]))
    if widths:
        whole.head.weight.copy_(torch.cat([m.head.weight for m in members], 1) / len(members))
    else:
        whole.head.weight.copy_(torch.stack([m.head.weight for m in members]).mean(0))
    whole.head.bias.copy_(torch.stack([m.head.bias for m in members]).mean(0))
    return whole


def _empty(like: MLP, widths: Sequence[int]) -> MLP:
    channels, *size = like.shape
    made = MLP(
        num_classes=like.head.out_features, in_channels=channels, image_size=size, widths=widths
    )
    return made.to(like.head.weight).eval()


@torch.no_grad()
def shrink_by_data(network: MLP, widths: Sequence[int], images: Tensor) -> MLP:
    r"""Remove neurons per layer; the outgoing weights of the others take over, by activations.

    .. math:: A_j \approx c_j + \sum_{i \in \text{kept}} \lambda_{ij} A_i, \quad
        W^{out}_i \leftarrow W^{out}_i + \sum_j \lambda_{ij} W^{out}_j, \quad
        b^{out} \leftarrow b^{out} + \sum_j c_j W^{out}_j

    by least squares over the activations A of a layer, from the first layer to the last, each on
    the activations of the network shrunk so far. The kept neurons are those that a QR decomposition
    with column pivoting takes first, applied to activations times the length of their outgoing
    weights: each is the one least explained by those before it.

    Args:
        network: left as it is.
        widths: widths of the hidden layers afterwards, none larger than it is.
        images: (N, ...) as the network takes them; more images than kept neurons.

    Returns:
        A new `MLP` in eval mode. It is exact on the images if the rank of the activations does not
        exceed the width.

    Raises:
        TypeError: for a network that is not a `kdnb.nets.mlp.MLP`.
        ValueError: for wrong depths or widths, invalid or non-finite images, or too few of them.

    Departures: using recorded activations, and compensating removed neurons by a linear combination
    of others, is from a summary (the paper does it for GRU layers). The constant c and the choice
    by QR are ours.
    """
    from scipy.linalg import lstsq, qr

    widths = _checked_widths(network, widths)
    small = _empty(network, [layer.linear.out_features for layer in network.hidden])
    small.load_state_dict(network.state_dict())
    _check_images(small, images, widths)
    signal = small.stem(images)
    for depth, width in enumerate(widths):
        layer, reader = small.hidden[depth].linear, _reader(small, depth)
        active = layer(signal).relu().double()
        reads = reader.weight.double()
        scaled = (active - active.mean(0)) * torch.linalg.vector_norm(reads, dim=0)
        order = torch.as_tensor(qr(scaled.cpu().numpy(), mode="r", pivoting=True)[1].copy())
        kept, gone = order[:width].sort().values, order[width:]
        weight, bias = reads[:, kept], reader.bias.double()
        if len(gone):
            ones = torch.ones_like(active[:, :1])
            left = torch.cat([active[:, kept], ones], 1).cpu().numpy()
            found = lstsq(left, active[:, gone].cpu().numpy())[0]
            shares = torch.as_tensor(found).to(reads)  # (width + 1, gone)
            weight = weight + reads[:, gone] @ shares[:-1].T
            bias = bias + reads[:, gone] @ shares[-1]
        small = _with_layer(small, depth, kept, weight, bias)
        signal = small.hidden[depth](signal)
    return small


@torch.no_grad()
def shrink_by_weights(network: MLP, widths: Sequence[int]) -> MLP:
    r"""Remove neurons per layer without data, each time the one most similar to another.

    Neurons i and j with the same incoming weights (and bias) are equal: j is removed, and
    :math:`W^{out}_i \leftarrow W^{out}_i + W^{out}_j`. For neurons with a ReLU the same holds for
    weights that differ by a factor c > 0, with :math:`c\, W^{out}_j`. The order of the pairs is
    decided by :math:`\lVert w_j - c w_i \rVert \, \lVert W^{out}_j \rVert`, c by least squares.

    Args:
        network: left as it is.
        widths: widths of the hidden layers afterwards, none larger than it is.

    Returns:
        A new `MLP` in eval mode. It is exact as long as there are neurons with proportional
        weights.

    Raises:
        ValueError: for wrong depths or widths.

    Departures: this is the older method of Srinivas and Babu (2015), which passes a neuron's
    function to one other neuron; according to a summary, the paper's own method passes it to a
    linear combination of the others. The factor c is ours.
    """
    widths = _checked_widths(network, widths)
    small = _empty(network, [layer.linear.out_features for layer in network.hidden])
    small.load_state_dict(network.state_dict())
    for depth, width in enumerate(widths):
        layer, reader = small.hidden[depth].linear, _reader(small, depth)
        incoming = torch.cat([layer.weight, layer.bias[:, None]], 1).double()
        products = incoming @ incoming.T
        lengths = products.diagonal()
        # scale[i, j]: neuron j as a multiple of neuron i, and the residual
        scale = (products / lengths.clamp_min(1e-300)[:, None]).clamp_min(0)
        left = (lengths[None] - 2 * scale * products + scale.square() * lengths[:, None]).clamp_min(
            0
        )
        left.fill_diagonal_(torch.inf)
        weight = reader.weight.double().clone()
        staying = torch.ones(len(incoming), dtype=torch.bool, device=weight.device)
        for _ in range(len(incoming) - width):
            cost = left.sqrt() * torch.linalg.vector_norm(weight, dim=0)
            cost[~staying], cost[:, ~staying] = torch.inf, torch.inf
            stays, goes = divmod(int(cost.argmin()), len(incoming))
            weight[:, stays] += scale[stays, goes] * weight[:, goes]
            staying[goes] = False
        kept = staying.nonzero()[:, 0]
        small = _with_layer(small, depth, kept, weight[:, kept], reader.bias.double())
    return small


@torch.no_grad()
def factorised(linear: nn.Linear, rank: int) -> nn.Sequential:
    r"""Split a linear layer in two by its SVD: :math:`W \approx (U \sqrt S)(\sqrt S V^T)`.

    Args:
        linear: left as it is.
        rank: the number of singular values to keep.

    Returns:
        Two linear layers with nothing in between, with `rank` (inputs + outputs) weights. At full
        rank this is the same function; at any rank the closest matrix in the Frobenius norm.

    Raises:
        ValueError: for a rank below 1 or above the smaller side.
    """
    check_number(least=1, whole=True, most=min(linear.weight.shape), rank=rank)
    left, values, right = torch.linalg.svd(linear.weight.double(), full_matrices=False)
    half = values[:rank].sqrt()
    first = nn.Linear(linear.in_features, rank, bias=False).to(linear.weight)
    second = nn.Linear(rank, linear.out_features, bias=linear.bias is not None).to(linear.weight)
    first.weight.copy_(half[:, None] * right[:rank])
    second.weight.copy_(left[:, :rank] * half)
    if linear.bias is not None:
        second.bias.copy_(linear.bias)
    return nn.Sequential(first, second)


def _checked_widths(network: MLP, widths: Sequence[int]) -> list[int]:
    if not isinstance(network, MLP):
        raise TypeError(f"networks of the kind mlp are shrunk; got {type(network).__name__}.")
    now = [layer.linear.out_features for layer in network.hidden]
    wanted = list(widths) if isinstance(widths, (list, tuple)) else [widths]
    if not all(isinstance(w, int) for w in wanted):
        raise ValueError(f"widths must be whole numbers, one for each hidden layer; got {wanted}.")
    if len(wanted) != len(now) or any(not 1 <= w <= n for w, n in zip(wanted, now, strict=True)):
        raise ValueError(f"widths must be {len(now)}, from 1 up to {now}; got {wanted}.")
    return wanted


def _check_images(network: MLP, images: Tensor, widths: Sequence[int]) -> None:
    tried("network", network, Batch(images, None))
    if not bool(torch.isfinite(images).all()):
        raise ValueError("images must be finite; got NaN or infinity.")
    if len(images) <= max(widths, default=0):
        raise ValueError(
            f"least squares for {max(widths)} neurons needs more images than that; got {len(images)}."
        )


def _reader(network: MLP, depth: int) -> nn.Linear:
    """The layer that reads a hidden layer."""
    last = depth + 1 == len(network.hidden)
    return network.head if last else network.hidden[depth + 1].linear


def _with_layer(network: MLP, depth: int, kept: Tensor, weight: Tensor, bias: Tensor) -> MLP:
    """The network with some neurons of one layer, and new weights for the layer that reads them."""
    widths = [layer.linear.out_features for layer in network.hidden]
    widths[depth] = len(kept)
    small = _empty(network, widths)
    state = copy.deepcopy(network.state_dict())
    own = f"hidden.{depth}.linear"
    reads = "head" if depth + 1 == len(widths) else f"hidden.{depth + 1}.linear"
    kept = kept.to(state[f"{own}.weight"].device)
    state[f"{own}.weight"] = state[f"{own}.weight"][kept]
    state[f"{own}.bias"] = state[f"{own}.bias"][kept]
    state[f"{reads}.weight"], state[f"{reads}.bias"] = weight, bias
    small.load_state_dict(state)
    return small

"""How the three estimates of `uhc` are solved, each for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import ratio

NEWTON_STEPS = 100  # far more than are needed; then the last is taken
CLOSE_ENOUGH = 1e-9  # a gradient's largest entry, a difference of probabilities, that counts as 0


def log_space(log_p: Tensor, known: Tensor) -> Tensor:
    """u of the least squares, (batch, classes), of mean 0 within each part.

    The best c of a classifier makes its residuals' mean 0, so that each asks for
    log p_i(l) - mean = u_l - mean over its classes of u: the normal equations of these are below.
    """
    inside = known.to(log_p.dtype)
    counts = inside.sum(1, keepdim=True)
    matrix = torch.diag(inside.sum(0)) - (inside / counts).T @ inside
    centred = (log_p - (log_p * inside).sum(2, keepdim=True) / counts) * inside
    return centred.sum(1) @ torch.linalg.pinv(matrix, hermitian=True)


def half_step(p: Tensor, v: Tensor, known: Tensor) -> Tensor:
    """The best u for v: (batch, columns of p)."""
    weights = v.unsqueeze(2) * known
    return ratio((p * weights).sum(1), weights.square().sum(1))


def least_cross_entropy(u: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """Newton's method on u (batch, classes) for the answers p of classifiers that are connected."""
    u = u.clone()
    todo = torch.arange(len(u), device=u.device)
    for _ in range(NEWTON_STEPS):
        here = u[todo]
        s = here.unsqueeze(1).masked_fill(~known, -torch.inf).softmax(2)
        gradient = (s - p[todo]).sum(1)
        far = gradient.abs().amax(1) > CLOSE_ENOUGH  # False for NaN, which stays what it is
        if not bool(far.any()):
            break
        todo, here, s, gradient = todo[far], here[far], s[far], gradient[far]
        # Scaled to a diagonal of ones: small probabilities then count as others do. A constant
        # added to u changes nothing; that direction gets the curvature 1.
        scale = (s * (1 - s)).sum(1).clamp_min(1e-280).sqrt()
        matrix = (torch.diag_embed(s.sum(1)) - s.mT @ s) / scale.unsqueeze(1) / scale.unsqueeze(2)
        still = scale / torch.linalg.vector_norm(scale, dim=1, keepdim=True)
        matrix = matrix + still.unsqueeze(1) * still.unsqueeze(2)
        ridge = 1e-14 * torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
        move, _ = torch.linalg.solve_ex(matrix + ridge, -gradient / scale)
        move = (move / scale).nan_to_num(0, 0, 0)
        reach = (move.amax(1, keepdim=True) - move.amin(1, keepdim=True)).clamp_min(1e-12)
        u[todo] = here + move * (reach.log1p() / reach)
    return u

"""Solvers for the three estimates of `uhc`, each for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import ratio

NEWTON_STEPS = 100  # far more than needed; the last iterate is returned
CLOSE_ENOUGH = 1e-9  # in probability; a gradient with no larger entry counts as 0


def log_space(log_p: Tensor, known: Tensor) -> Tensor:
    """The least-squares u, (batch, classes), with mean 0 within each part.

    The best c of a classifier makes the mean of its residuals 0, so each residual requires log
    p_i(l) - mean = u_l - (mean of u over the classifier's classes). The normal equations follow.
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
        far = gradient.abs().amax(1) > CLOSE_ENOUGH  # False for NaN, which stays NaN
        if not bool(far.any()):
            break
        todo, here, s, gradient = todo[far], here[far], s[far], gradient[far]
        # Scaled to a diagonal of ones: small probabilities then count as much as others. Adding a
        # constant to u changes nothing; that direction gets curvature 1.
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

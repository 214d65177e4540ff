"""Input gradients as knowledge: Jacobian matching (Srinivas and Fleuret 2018) and attention."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import rows, unit
from kdnb.losses.checks import check_samples


def jacobian_matching(student_gradients: Tensor, teacher_gradients: Tensor) -> Tensor:
    r"""Jacobian matching (Srinivas and Fleuret 2018): compare directions of input gradients.

    .. math:: L = \frac1B \sum_b \Big\lVert \frac{g^T_b}{\lVert g^T_b \rVert_2}
        - \frac{g^S_b}{\lVert g^S_b \rVert_2} \Big\rVert_2^2, \quad
        g = \nabla_x z_{k}, \quad k = \arg\max_j v_j

    Args:
        student_gradients, teacher_gradients: (batch, ...), of the same shape: the gradients, with
            respect to the inputs, of the logit of the class that the teacher predicts. For the
            student, compute them with `create_graph=True`; see
            :func:`kdnb.methods.attention.input_gradients`.

    Returns:
        A scalar without unit, between 0 and 4.

    Raises:
        ValueError: for wrong shapes.

    Departures: the paper's text was not available. The squared distance of gradients of length 1
    agrees with a public re-implementation that cites its equation 10. That implementation takes
    each network's own top class, and says that the equation is for attention maps. A zero gradient
    counts as a zero vector.

    >>> jacobian_matching(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]]))
    tensor(2.)
    """
    student, teacher = _alike(student_gradients, teacher_gradients)
    return (unit(student, 1) - unit(teacher, 1)).square().sum(1).mean()


def gradient_attention(student_gradients: Tensor, teacher_gradients: Tensor) -> Tensor:
    r"""Gradient-based attention transfer (Zagoruyko and Komodakis 2017).

    .. math:: L = \frac1B \sum_b \lVert J^S_b - J^T_b \rVert_2, \quad
        J_b = \frac{\partial H(y_b, p(z_b))}{\partial x_b}

    which the paper multiplies by half of its weight.

    Args:
        student_gradients, teacher_gradients: (batch, ...), of the same shape: the gradient of each
            sample's cross-entropy with respect to its input.

    Returns:
        A scalar in nats per unit of the input.

    Raises:
        ValueError: for wrong shapes.

    Departures: recalled. At equal gradients the norm has no gradient; 0 is used.

    >>> gradient_attention(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
    tensor(5.)
    """
    student, teacher = _alike(student_gradients, teacher_gradients)
    return torch.linalg.vector_norm(student - teacher, dim=1).mean()


def _alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    check_samples(minimum=1, student_gradients=student, teacher_gradients=teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            "student_gradients and teacher_gradients must have one shape, that of the inputs; got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}."
        )
    return rows(student), rows(teacher)

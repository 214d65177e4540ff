"""Blended targets and leading directions."""

import pytest
import torch

from kdnb.methods.theory import blended, energy_in, leading_directions


def test_blended_is_a_distribution_between_both():
    given, own = torch.eye(3), torch.rand(3, 3).softmax(1)
    found = blended(given, own, 0.3)
    assert torch.allclose(found.sum(1), torch.ones(3))
    for i in range(3):
        for k in range(3):
            wanted = 0.3 * float(given[i, k]) + 0.7 * float(own[i, k])
            assert float(found[i, k]) == pytest.approx(wanted, abs=1e-6)
    assert torch.equal(blended(given, own, 1.0), given) and torch.equal(
        blended(given, own, 0.0), own
    )


def test_directions_are_orthonormal_and_lead():
    factor = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = factor @ factor.T
    directions = leading_directions(kernel, 2)
    assert torch.allclose(directions.T @ directions, torch.eye(2, dtype=torch.float64), atol=1e-9)
    values = torch.linalg.eigvalsh(kernel)
    assert torch.allclose((directions.T @ kernel @ directions).diag(), values[-2:].flip(0))


def test_energy():
    directions = torch.eye(4, dtype=torch.float64)[:, :2]
    assert energy_in(directions, torch.tensor([[3.0], [0.0], [4.0], [0.0]])) == pytest.approx(
        9 / 25
    )
    assert energy_in(directions, torch.zeros(4, 1)) == 0
    assert energy_in(torch.eye(4, dtype=torch.float64), torch.randn(4, 3)) == pytest.approx(1)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: blended(torch.eye(3), torch.eye(4), 0.5), "shape"),
    (lambda: blended(torch.eye(3), torch.eye(3), 2.0), "from 0 to 1"),
    (lambda: leading_directions(torch.ones(2, 3), 1), "directions"),
    (lambda: leading_directions(torch.eye(3), 4), "directions"),
])  # fmt: skip
def test_wrong_wishes(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Layer-wise amalgamation: on digits, what is minimised, what may train what, what is refused."""

import pytest
import torch
from knowing_teachers import (
    HALVES,
    RECIPE,
    assert_unmoved,
    digits,
    frozen_state,
    halves,
    right,
    small,
)

from kdnb.methods.multi_teacher.amalgamation import FeatureAmalgamation, amalgamate
from kdnb.methods.multi_teacher.experts import side_by_side
from kdnb.training import Recipe
from kdnb.training.layers import layers_of, look

STILL = Recipe(epochs=1, batch_size=512, lr=1e-9, precision="32", schedule="constant")


def test_a_student_of_all_digits_from_teachers_of_half_of_them():
    """Teachers that know what is none of theirs can be compared; raw logits side by side cannot."""
    found = {}
    for soft in ("others", "concatenated"):
        teachers, student = halves(soft == "others"), small(6, seed=9)
        before = frozen_state(teachers)
        fit = amalgamate(student, teachers, HALVES, digits()[1], soft=soft, **RECIPE)
        assert_unmoved(teachers, before)
        assert fit.networks["student"] is student
        for term in ("soft", "restoring", "imitating"):
            assert fit.history[term].iloc[-1] < fit.history[term].iloc[0], (soft, term)
        found[soft] = right(student, digits()[2])
    assert found["others"] > 0.8
    assert found["others"] > found["concatenated"]


def test_what_is_minimised():
    teachers, images = halves(True), digits()[1]
    student = small(6, seed=9)
    fit = amalgamate(
        student, teachers, HALVES, images, STILL, soft_weight=0.5, feature_weight=2.0, seed=3
    )
    inputs = images.tensors()[0]
    fresh = small(6, seed=9).train()
    seen = {}
    for name in ("stage1", "stage2"):
        getattr(fresh, name).register_forward_hook(
            lambda module, given, output, name=name: seen.__setitem__(name, output)
        )
    with torch.no_grad():
        z = fresh(inputs)
        views = [look(one, layers_of(one), inputs) for one in teachers]
        p = torch.cat([view.logits.softmax(1)[:, :3] for view in views], 1)
        p = p / p.sum(1, keepdim=True)
        soft = (p * (p.log() - z.log_softmax(1))).sum(1).mean()
        restoring, imitating = 0.0, 0.0
        for number, name in enumerate(("stage1", "stage2")):
            block = fit.learnt.blocks[number]
            together = torch.cat([view.maps[number] for view in views], 1)
            made = block.encoder(together)
            restoring += (block.decoder(made) - together).square().mean()
            imitating += (block.adapter(seen[name]) - made).square().mean()
    row = fit.rows[0]
    assert row["soft"] == pytest.approx(0.5 * soft.item(), rel=1e-3)
    assert row["restoring"] == pytest.approx(2 * restoring.item(), rel=1e-3)
    assert row["imitating"] == pytest.approx(2 * imitating.item(), rel=1e-3)


def test_imitating_does_not_move_what_is_imitated():
    torch.manual_seed(0)
    block = FeatureAmalgamation(3, [2, 4])
    ours, theirs = torch.randn(5, 3, 4, 4), [torch.randn(5, 2, 4, 4), torch.randn(5, 4, 8, 8)]
    restoring, imitating = block(ours, theirs)
    imitating.backward()
    assert block.encoder.weight.grad is None and block.decoder.weight.grad is None
    assert block.adapter.weight.grad.abs().max() > 0
    restoring.backward()
    assert block.encoder.weight.grad.abs().max() > 0


def test_logits_side_by_side():
    said = [torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.0, 3.0, -1.0]])]
    plain = side_by_side(said, [[2, 0, 4], [1, 3, 5]], 6, "concatenated")
    assert plain.tolist() == [[0.0, 0.0, 1.0, 3.0, 2.0, -1.0]]
    others = side_by_side(said, [[0, 2], [3, 1]], 4, "others").softmax(1)
    p = [one.softmax(1)[0] for one in said]
    expected = torch.stack([p[0][0], p[1][1], p[0][1], p[1][0]])
    torch.testing.assert_close(others[0], expected / expected.sum())
    moved = side_by_side([said[0] + 5, said[1]], [[0, 2], [3, 1]], 4, "others").softmax(1)
    torch.testing.assert_close(moved, others)


def test_what_does_not_fit_is_named():
    images, few = digits()[1].select(slice(0, 32)), {"epochs": 1, "lr": 0.01, "optimiser": "adam"}
    with pytest.raises(ValueError, match="share classes.*uhc.unify"):
        amalgamate(
            small(5), [small(3), small(3, 1)], [[0, 1, 2], [2, 3, 4]], images,
            soft="concatenated", **few,
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"classifier 0 must answer \(batch, 4\).* none of them"):
        amalgamate(small(6), halves(False), HALVES, images, **few)
    with pytest.raises(ValueError, match="one for each of 2 teachers; got 1"):
        amalgamate(small(6), halves(True), HALVES, images, layers=[layers_of(small(6))], **few)

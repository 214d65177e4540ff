"""`evaluate=` of the verbs across views: data of views, or a function."""

import pytest
import torch
from digit_views import ADAM, digits, net

import kdnb
from kdnb.methods import cross_modal
from kdnb.methods.adversarial import Critic
from kdnb.methods.cross_modal import Seeing

SHORT = ADAM.model_copy(update={"epochs": 2, "batch_size": 300})
HALVES = {"views": ("left", "right"), "paths": ("1", "1")}


def admd(student, **options):
    torch.manual_seed(2)
    critic = Critic(20, 11, widths=(8,))
    return cross_modal.admd(
        student, net(98, 1), critic, digits(), SHORT, critic_recipe=SHORT, **HALVES, **options
    )


def by_graph(student, **options):
    networks = {"left": student, "right": net(98, 1), "small": net(16, 2)}
    paths = dict.fromkeys(networks, "1")
    return cross_modal.distil_by_graph(networks, "left", digits(), SHORT, paths=paths, **options)


VERBS = {
    "admd": admd,
    "distil_by_graph": by_graph,
    "hallucinate": lambda student, **o: cross_modal.hallucinate(
        student, net(98, 1), digits(), SHORT, **HALVES, **o),
    "transfer_supervision": lambda student, **o: cross_modal.transfer_supervision(
        student, net(98, 1), digits()[0], SHORT, **HALVES, **o),
    "distil_privileged": lambda student, **o: cross_modal.distil_privileged(
        student, net(98, 1), digits(), SHORT, views=("left", "right"), **o),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_what_learns_is_measured_on_its_view(name):
    student = net(98)
    fit = VERBS[name](student, evaluate=digits("validation", 200))
    found = dict(kdnb.evaluate(Seeing(student, "left"), digits("validation", 200)))
    assert len(fit.rows) == 2
    assert {key: fit.rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)
    rows = VERBS[name](net(98), evaluate=lambda networks: {"look": len(networks)}).rows
    assert [row["look"] >= 2 for row in rows] == [True, True]


def test_both_networks_are_measured_where_two_learn():
    student, beside = net(98), net(98, 3)
    fit = cross_modal.hallucinate(
        student, net(98, 1), digits(), SHORT, beside=beside, evaluate=digits(), **HALVES
    )
    for name, network in (("hallucination", student), ("beside", beside)):
        found = dict(kdnb.evaluate(Seeing(network, "left"), digits()))
        assert fit.rows[-1][f"{name}.accuracy"] == pytest.approx(found["accuracy"])


def test_cross_action_measures_its_students():
    students = [net(98), net(98, 3)]
    fit = cross_modal.cross_action(
        students, net(98, 1), digits()[0], SHORT, views=("left", "right"), evaluate=digits()
    )
    accuracies = [value for key, value in fit.rows[-1].items() if "accuracy" in key]
    expected = [kdnb.evaluate(Seeing(one, "left"), digits())["accuracy"] for one in students]
    assert accuracies == pytest.approx(expected)

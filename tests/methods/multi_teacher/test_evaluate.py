"""`evaluate=` of every verb: measured after each epoch, on data or by a function."""

import knowing_teachers
import pytest
import torch
from several_teachers import QUICK, digits, lenet, mlp, teachers

import kdnb
from kdnb import losses, nets
from kdnb.methods import multi_teacher as mt
from kdnb.methods.multi_teacher import amalgamation, cfl, custom, filtered, master, uhc
from kdnb.methods.online import Branches

VERBS = {  # name -> (train, network) of a student
    "aekd": lambda net, **o: mt.aekd(net, teachers("mlp"), digits(), **o),
    "aekd with hints": lambda net, **o: mt.aekd(
        net, teachers("lenet"), digits(), hint_weight=1.0, **o),
    "learn_by_switching": lambda net, **o: mt.learn_by_switching(net, teachers("mlp"), digits(), **o),
    "learn_by_augmentation": lambda net, **o: mt.learn_by_augmentation(
        net, teachers("mlp"), digits(), **o),
    "learn_from_ensemble": lambda net, **o: mt.learn_from_ensemble(
        net, teachers("mlp"), digits(), weigh=losses.confidence_weights, **o),
    "learn_from_noisy_teacher": lambda net, **o: mt.learn_from_noisy_teacher(
        net, teachers("mlp")[0], digits(), **o),
    "concentrate": lambda net, **o: mt.concentrate(
        net, [mlp(8, num_classes=5), mlp(9, num_classes=5)], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
        digits(), **o),
    "feed": lambda net, **o: mt.feed(net, teachers("lenet"), digits(), **o),
    "collaborative_teaching": lambda net, **o: mt.collaborative_teaching(
        net, lenet(5), teachers("lenet")[0], digits(), **o),
    "learn_similarities": lambda net, **o: mt.learn_similarities(
        net, teachers("lenet"), digits()[0], tuple(part[:20] for part in digits()), **o),
    "learn_from_several": lambda net, **o: mt.learn_from_several(
        net, teachers("lenet"), digits(), triplets=20, **o),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_a_student_is_measured_after_every_epoch(name):
    student = lenet(3)
    other = tuple(part[60:] for part in digits(160))
    seen = []

    def looked(networks):
        seen.append(sorted(networks))
        return {"look": len(seen)}

    fit = VERBS[name](student, recipe=QUICK, evaluate=other)
    assert len(fit.rows) == 2 and all("accuracy" in row for row in fit.rows)
    found = dict(kdnb.evaluate(student, other))
    assert {key: fit.rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)
    fit = VERBS[name](lenet(3), recipe=QUICK, evaluate=looked)
    assert [row["look"] for row in fit.rows] == [1, 2] and "student" in seen[0]


small = knowing_teachers.small


def looked_at(networks):
    assert "student" in networks
    return {"look": 7}


def branches():
    torch.manual_seed(0)
    parts = [nets.build("tiny") for _ in range(2)]
    return Branches.split(parts, "stage2", digits()[0][:2])


@pytest.mark.parametrize(
    "train",
    [
        lambda net, **o: mt.ensemblenet(net, digits(), QUICK, **o),
        lambda net, **o: mt.ekd(
            net, teachers("mlp", "lenet"), digits(), QUICK, feature_weight=0, **o
        ),
    ],
    ids=["ensemblenet", "ekd"],
)
def test_branches_are_measured_as_their_mean(train):
    net = branches()
    rows = train(net, evaluate=digits(160))
    found = dict(kdnb.evaluate(mt.AveragedBranches(net), digits(160)))
    assert {key: rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)
    assert [row["look"] for row in train(branches(), evaluate=lambda _: {"look": 7})] == [7, 7]


def test_merged_networks_are_measured_each_on_its_own_task():
    pair = tuple(teachers("lenet")) + tuple(teachers("lenet", name="fashion_mnist"))
    both = digits(), digits(name="fashion_mnist")
    merged = mt.merge(*pair, words=16)
    fit = mt.calibrate(merged, pair, both, QUICK, evaluate=both)
    for name, net, data in zip(("one", "other"), merged.networks, both, strict=True):
        found = {f"{name}.{key}": value for key, value in kdnb.evaluate(net, data).items()}
        assert {key: fit.rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)
    with pytest.raises(TypeError, match="a function, or a pair of data, one a task"):
        mt.calibrate(merged, pair, both, QUICK, evaluate=both[0][0])


def test_gates_and_phases_are_looked_at():
    seen = []

    def looked(networks):
        seen.append(sorted(networks))
        return {"look": len(seen)}

    images = knowing_teachers.digits()[1].select(slice(60))
    net = knowing_teachers.task_net(("odd", "large"))
    fit = filtered.learn_gates(net, "large", images, QUICK, evaluate=looked)
    assert [row["look"] for row in fit.rows] == [1, 2] and seen[0] == ["gates", "teacher"]
    seen.clear()
    fit = master.become_master(
        small(2), {"large": small(2, 1)}, ["stage1", "stage2"], images, images.tensors()[0], QUICK,
        evaluate=looked,
    )  # fmt: skip
    assert [row["look"] for row in fit.rows] == [1, 2, 3, 4]
    assert "explorer" in seen[0] and "master" in seen[-1]


TOGETHER = {  # teachers of some classes, a student of all
    "amalgamate": lambda net, images, **o: amalgamation.amalgamate(
        net, [small(4, 1), small(4, 2)], knowing_teachers.HALVES, images, **o),
    "learn_common_features": lambda net, images, **o: cfl.learn_common_features(
        net, [small(4, 1), small(4, 2)], knowing_teachers.HALVES, images, **o),
    "unify": lambda net, images, **o: uhc.unify(
        net, [small(3, 1), small(4, 2)], [[0, 1, 2], [2, 3, 4, 5]], images, **o),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_a_student_of_all_classes_is_measured(name):
    _, images, held = knowing_teachers.digits()
    held, student = held.select(slice(90)), small(6, 9)
    fit = TOGETHER[name](student, images.select(slice(60)), recipe=QUICK, evaluate=held)
    found = dict(kdnb.evaluate(student, held))
    assert {key: fit.rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)


def test_students_of_questions_are_looked_at():
    images, net = knowing_teachers.digits()[1].select(slice(60)), knowing_teachers.task_net
    pair = [net(("odd", "large"), 1), net(("odd",), 2)]
    parts = {task: net((task,), 5) for task in ("odd", "large")}
    student = net(("odd", "large"), 3)
    fits = [
        custom.learn_from_least_ambiguous(student, pair, images, QUICK, evaluate=looked_at),
        custom.customise(student, parts, pair, images, QUICK, evaluate=looked_at),
    ]
    assert [[row["look"] for row in fit.rows] for fit in fits] == [[7, 7], [7, 7]]


def test_each_in_turn_is_measured():
    chain = [lenet(1), lenet(2), lenet(3)]
    fits = mt.feed_in_turn(chain, digits(), QUICK, evaluate=digits(160))
    for fit, network in zip(fits, chain[1:], strict=True):
        found = dict(kdnb.evaluate(network, digits(160)))
        assert {key: fit.rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)

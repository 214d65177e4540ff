"""What strangers give as several teachers: an error names the one at fault, before the first step."""

import re

import pandas as pd
import pytest
import torch
from torch import nn

import kdnb
from kdnb.methods import multi_teacher as several
from kdnb.methods.multi_teacher import amalgamation, cfl, uhc
from kdnb.methods.multi_teacher.custom import learn_from_least_ambiguous
from kdnb.methods.multi_teacher.tasks import TaskNet
from kdnb.methods.online import Branches

X = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 4
SHORT = {"epochs": 1, "batch_size": 8}
HALVES = [[0, 1], [2, 3]]


def net(classes=4, seed=0):
    torch.manual_seed(seed)
    return kdnb.nets.build("tiny", num_classes=classes)


def flat(inputs=9):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4))


def without_numbers(classes=4):
    made = net(classes)
    with torch.no_grad():
        next(made.parameters()).fill_(torch.nan)
    return made


SCHEMES = {
    "aekd": several.aekd,
    "aekd with hints": lambda *a, **k: several.aekd(*a, hint_weight=1.0, **k),
    "switching": several.learn_by_switching,
    "augmenting": several.learn_by_augmentation,
    "ensemble": several.learn_from_ensemble,
    "several": several.learn_from_several,
    "feed": several.feed,
    "similarities": lambda s, t, data, **k: several.learn_similarities(
        s, t, data, (X[:6], Y[:6]), **k
    ),
}
SAME = [one for one in SCHEMES if one not in ("feed", "similarities")]  # whose answers are compared


def run(scheme, student=None, teachers=(), data=(X, Y), **options):
    return SCHEMES[scheme](student or net(), teachers, data, **SHORT, **options)


def sharing():
    one, other = net(), net(seed=1)
    name = next(name for name, _ in one.named_children())
    setattr(other, name, getattr(one, name))
    return one, [net(), other]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        (list, "needs at least one teacher; got none"),
        (lambda: [net(), without_numbers()], "teacher 2 answers with NaN"),
        (lambda: [net(), flat()], "the teacher 2 cannot take these inputs (float32 (8, 1, 28, 28))"),
        (lambda: [net().to("meta")], "teacher 1 has weights on the meta device"),
    ],
)  # fmt: skip
def test_the_teacher_at_fault_is_named(scheme, teachers, words, no_step):
    with pytest.raises(ValueError, match=re.escape(words)):
        run(scheme, teachers=teachers())


@pytest.mark.parametrize("scheme", SAME)
def test_teachers_of_other_classes(scheme, no_step):
    words = r"teacher 2 must answer \(8, 4\).*got \(8, 5\)\. Teachers of other classes are for"
    with pytest.raises(ValueError, match=words):
        run(scheme, teachers=[net(), net(5)])


@pytest.mark.parametrize("scheme", ["feed", "similarities"])
def test_layers_are_compared_whatever_the_classes(scheme):
    assert len(run(scheme, teachers=[net(5), net(3)]).history) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_students_at_fault(scheme, no_step):
    with pytest.raises(ValueError, match="student and teacher 2 share"):
        run(scheme, *sharing())
    same = net()
    with pytest.raises(ValueError, match="student and teacher 1 share"):
        run(scheme, same, [same])
    with pytest.raises(ValueError, match="has nothing to learn"):
        run(scheme, net().requires_grad_(False), [net()])
    with pytest.raises(ValueError, match="the student answers with NaN"):
        run(scheme, teachers=[net()], data=(X * torch.nan, Y))
    for student in ("lenet5", nn.Linear):
        with pytest.raises(TypeError, match="student must be a torch module"):
            run(scheme, student, [net()])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        (lambda: net(), "takes a list of teachers; got one module"),
        (lambda: None, "takes a list of teachers; got None"),
        (lambda: {"a": net()}, "takes a list of teachers"),
        (lambda: ["lenet5"], "teacher 1 must be a torch module; got the string"),
    ],
)
def test_what_is_no_list_of_teachers(scheme, teachers, words, no_step):
    with pytest.raises(TypeError, match=words):
        run(scheme, teachers=teachers())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lists_of_any_kind_and_teachers_as_they_come(scheme):
    """One teacher, the same one twice, others in double precision or half: all teach, none changes."""
    one = net(seed=1).train()
    double, half = net(seed=2).double().eval(), net(seed=3).bfloat16()
    before = [parameter.clone() for parameter in one.parameters()]
    for teachers in ([one], (one, one), nn.ModuleList([one, net()]), iter([one, double, half])):
        assert len(run(scheme, teachers=teachers).history) == 1
    assert one.training and not double.training
    assert all(p.equal(old) for p, old in zip(one.parameters(), before, strict=True))
    assert all(p.requires_grad for p in one.parameters())


def unified(experts, sets, **options):
    return uhc.unify(net(), experts, sets, X, **SHORT, **options)


EXPERTS = {
    "no list": (lambda: unified(net(), HALVES), "give the classifiers as a list of modules"),
    "no class sets": (lambda: unified([net(2), net(2)], None), "class_sets must be a list of lists"),
    "classes by letters": (lambda: unified([net(2), net(2)], ["ab", "cd"]), "class_sets[0] must be a list of class numbers"),
    "half a class": (lambda: unified([net(2), net(2)], [[0, 1], [2, 3.5]]), "class_sets[1] must be a list of class numbers"),
    "NaN": (lambda: unified([net(4), without_numbers()], [[0, 1, 2, 3]] * 2), "classifier 1 answers with NaN"),
    "NaN, by layers": (lambda: amalgamation.amalgamate(net(), [net(3), without_numbers(3)], HALVES, X, **SHORT), "classifier 1 answers with NaN"),
    "NaN, in a common space": (lambda: cfl.learn_common_features(net(), [net(3), without_numbers(3)], HALVES, X, **SHORT), "classifier 1 answers with NaN"),
    "a vertical too many": (lambda: several.concentrate(net(), [net(2), net(3)], [[0, 1], [2, 3, 4]], (X, Y), **SHORT), "the student has 4 classes, the verticals 5"),
    "a specialist of others": (lambda: several.concentrate(net(), [net(2), net(3)], HALVES, (X, Y), **SHORT), "teacher 2 must answer (8, 2)"),
    "half a vertical": (lambda: several.concentrate(net(), [net(2), net(2)], [[0, 1.5], [2, 3]], (X, Y), **SHORT), "verticals must hold every class"),
    "no verticals": (lambda: several.concentrate(net(), [net(4)], [None], (X, Y), **SHORT), "verticals must hold every class"),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPERTS)
def test_experts_at_fault(case, no_step):
    call, words = EXPERTS[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        call()


def test_experts_in_a_module_list():
    members, sets = [net(3), net(2)], [[0, 1, 2], [2, 3]]
    courses = [
        unified(one, sets).history.drop(columns="seconds")
        for one in (members, nn.ModuleList(members))
    ]
    pd.testing.assert_frame_equal(*courses)


def merged(seed=1):
    return several.merge(net(), net(seed=seed))


OTHERS = {
    "collaborative teaching, an expert of no numbers": (lambda: several.collaborative_teaching(net(), net(), without_numbers(), (X, Y), **SHORT), ValueError, "teacher 1 answers with NaN"),
    "collaborative teaching, a scratch teacher of others": (lambda: several.collaborative_teaching(net(), net(5), net(), (X, Y), **SHORT), ValueError, "teacher 1 must answer (8, 4)"),
    "no pair of labelled images": (lambda: several.learn_similarities(net(), [net()], X, None, **SHORT), TypeError, "labelled must be a pair"),
    "labelled images of another size": (lambda: several.learn_similarities(net(), [net()], X, (torch.randn(4, 3, 28, 28), Y[:4] * 0), **SHORT), ValueError, "the student cannot take"),
    "no branches": (lambda: several.ekd(net(), [net()], (X, Y), kdnb.Recipe(lr=0.1, **SHORT)), TypeError, "ekd takes Branches"),
    "no branches without teachers": (lambda: several.ensemblenet(net(), (X, Y), kdnb.Recipe(lr=0.1, **SHORT)), TypeError, "ensemblenet takes Branches"),
    "a recipe in a dict": (lambda: several.ekd(Branches.split([net(), net()], "stage2", X), [net(), net()], (X, Y), {"epochs": 1}), TypeError, "recipe must be a"),
    "an empty list": (lambda: kdnb.distil(net(), [], (X, Y), **SHORT), TypeError, "got an empty list"),
    "an ensemble of one module": (lambda: kdnb.Ensemble(net()), TypeError, "an ensemble takes a list of modules; got a"),
    "nothing to merge": (lambda: several.merge(net(), None), TypeError, "other must be a torch module"),
    "paths in a string": (lambda: several.merge(net(), net(), paths="stage1"), TypeError, "paths must be a list"),
    "weights without numbers": (lambda: several.merge(net(), without_numbers()), ValueError, "must be finite to be merged"),
    "not merged": (lambda: several.calibrate(net(), (net(), net()), ((X, Y),) * 2, **SHORT), TypeError, "merged must be what `merge` returns"),
    "one original": (lambda: several.calibrate(merged(), (net(),), ((X, Y),) * 2, **SHORT), TypeError, "originals must be the two networks"),
    "one task": (lambda: several.calibrate(merged(), (net(), net()), (X,), **SHORT), TypeError, "data must be a pair"),
    "other originals": (lambda: several.calibrate(merged(), (net(7), net()), ((X, Y),) * 2, **SHORT), ValueError, "original 1 is another network than was merged"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_schemes(case, no_step):
    call, kind, words = OTHERS[case]
    with pytest.raises(kind, match=re.escape(words)):
        call()


def search(*members, **options):
    return several.beam_search(list(members), **({"start": 0, "end": 1, "longest": 3} | options))


def even(prefixes):
    return torch.zeros(len(prefixes), 5)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: several.beam_search(even, start=0, end=1), TypeError, "got one: [model]"),
        (lambda: search(even, end=9), ValueError, "end must be a token of the vocabulary of 5; got 9"),
        (lambda: search(lambda p: even(p) * torch.nan), ValueError, "member 0 answers with NaN"),
        (lambda: search(even, lambda p: even(p)[0]), ValueError, "member 1 must answer logits (1, vocabulary)"),
        (lambda: several.Selective({}), ValueError, "teachers must be scores by language"),
        (lambda: several.Selective({"de": torch.nan}), ValueError, "score of de must be"),
        (lambda: several.Selective({"de": 20.0}).check({"fr": 1.0}), KeyError, "there is no teacher of 'fr'"),
    ],
)  # fmt: skip
def test_sequences(call, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        call()


def task_net(**tasks):
    return TaskNet(kdnb.nets.build("lenet5"), tasks)


def perceptron(classes=4, widths=(6,)):
    return kdnb.nets.build("mlp", num_classes=classes, image_size=4, widths=widths)


SMALL = torch.randn(9, 1, 4, 4)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: several.unfold(perceptron()), TypeError, "unfold takes a list of networks"),
        (lambda: several.unfold([perceptron(), perceptron(5)]), ValueError, "answer the same classes"),
        (lambda: several.unfold([perceptron().to("meta")]), ValueError, "meta device"),
        (lambda: several.shrink_by_data(perceptron(), [3], SMALL * torch.nan), ValueError, "images must be finite"),
        (lambda: several.shrink_by_data(perceptron(), [3], SMALL.long()), ValueError, "cannot take these inputs (int64"),
        (lambda: several.shrink_by_data(perceptron(), [3], SMALL[:3]), ValueError, "needs more images than that; got 3"),
        (lambda: several.shrink_by_weights(perceptron(), 2.5), ValueError, "widths must be whole numbers"),
        (lambda: several.shrink_by_weights(perceptron(), [9]), ValueError, "widths must be 1, from 1 up to [6]; got [9]"),
        (lambda: task_net(), ValueError, "tasks must name at least one task"),
        (lambda: task_net(parity=0), ValueError, "answers to parity must be at least 1"),
    ],
)  # fmt: skip
def test_weights_and_tasks(call, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        call()


def test_students_of_tasks_share_nothing(no_step):
    one, other = task_net(parity=2), task_net(parity=2)
    other.trunk = one.trunk
    for teacher, words in (
        (one, "the student is the teacher 0 network as well"),
        (other, "student and teacher 0 share"),
    ):
        with pytest.raises(ValueError, match=words):
            learn_from_least_ambiguous(one, [teacher], X, **SHORT)

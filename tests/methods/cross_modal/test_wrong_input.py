"""What strangers give the methods across views: each is told in a sentence, before the first step."""

import re

import pytest
import torch
from torch import nn

from kdnb import Recipe
from kdnb.methods import cross_modal as cross
from kdnb.methods.cross_modal import (
    generalised,
    privileged_draws,
    ranktransfer,
    stacks,
)

A, B = (torch.randn(16, n, generator=torch.Generator().manual_seed(n)) for n in (5, 7))
Y = torch.arange(16) % 3
RECIPE = Recipe(epochs=1, batch_size=8, lr=0.1)
VIEWS, PATHS = ("a", "b"), ("1", "1")


def mlp(inputs=5, classes=3, hidden=6):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def without_numbers():
    made = mlp(7)
    with torch.no_grad():
        made[0].weight.fill_(torch.nan)
    return made


def admd(own, other, data, recipe, **options):
    return cross.admd(own, other, nn.Linear(6, 4), data, recipe, critic_recipe=RECIPE, **options)


def privileged(own, other, data, recipe, paths=None, **options):
    return cross.distil_privileged(own, other, data, recipe, **options)


def action(own, other, data, recipe, paths=None, **options):
    return cross.cross_action([own], other, data[0], recipe, **options)


def graph(own, other, data, recipe, views=VIEWS, paths=PATHS, **options):
    first, second = paths
    return cross.distil_by_graph(
        {"a": own, "b": other}, "a", data, recipe, paths={"a": first, "b": second}, **options
    )


PAIRED = {
    "hallucination": cross.hallucinate,
    "supervision": cross.transfer_supervision,
    "ADMD": admd,
    "privileged": privileged,
    "cross action": action,
}
ALL = {**PAIRED, "graph": graph}


def call(
    name, own=None, other=None, views=VIEWS, data=({"a": A, "b": B}, Y), recipe=RECIPE, **more
):
    more = {"views": views, "paths": PATHS} | more
    return ALL[name](own or mlp(), other or mlp(7), data, recipe, **more)


@pytest.mark.parametrize("name", ALL)
def test_one_network_in_both_places(name, no_step):
    same, one, other = mlp(), mlp(), mlp()
    other[0] = one[0]
    alike = ({"a": A, "b": A}, Y)
    with pytest.raises(ValueError, match=r"is its own teacher|network as well"):
        call(name, same, same, data=alike)
    with pytest.raises(ValueError, match="share parameters, which would move and stay at once"):
        call(name, one, other, data=alike)


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_network_or_recipe(name, no_step):
    for own, other in (("mlp", mlp(7)), (mlp(), [mlp(7)]), (mlp(), nn.Linear)):
        with pytest.raises(TypeError, match="must be a torch module|is one torch module here"):
            call(name, own, other)
    with pytest.raises(TypeError, match="recipe must be a kdnb"):
        call(name, recipe={"epochs": 1})


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("views", ["ab", ("a",), None, ("a", "b", "c")])
def test_views_are_a_pair(name, views, no_step):
    with pytest.raises(ValueError, match="views must be a pair"):
        call(name, views=views)


@pytest.mark.parametrize("name", ["hallucination", "supervision", "ADMD"])
def test_paths_are_a_pair(name, no_step):
    with pytest.raises(ValueError, match="paths must be a pair"):
        call(name, paths="11")
    with pytest.raises(ValueError, match="has no module '9'"):
        call(name, paths=("9", "1"))


@pytest.mark.parametrize("name", PAIRED)
def test_views_that_are_not_there_or_do_not_fit(name, no_step):
    with pytest.raises(ValueError, match="have no view 'c'"):
        call(name, views=("a", "c"))
    with pytest.raises(ValueError, match="cannot take these inputs|mat1 and mat2"):
        call(name, views=("b", "a"))


def beside(own, other):
    return cross.hallucinate(
        own, mlp(7), ({"a": A, "b": B}, Y), RECIPE, views=VIEWS, paths=PATHS, beside=other
    )


TWO = {"a": mlp(), "b": mlp(7)}
PLACES = {"a": "1", "b": "1"}


def along(networks=TWO, paths=PLACES, **options):
    return cross.distil_by_graph(
        networks, "a", ({"a": A, "b": B}, Y), RECIPE, paths=paths, **options
    )


def itself(network):
    return beside(network, network)


RANKS, BETTER, SCORES = torch.randn(9, 4), torch.randn(9, 2), torch.arange(9.0)
PAIRS = ranktransfer.ordered_pairs(SCORES)
STACK = stacks.glorot_stack((4, 5, 3), 2, 0)
TARGETS = torch.rand(2, 9, 3)
CASES = {
    "a network beside itself": (lambda: itself(mlp()), ValueError, "network as well"),
    "other classes beside": (lambda: beside(mlp(), mlp(5, 4)), ValueError, "must answer for the same classes"),
    "an adaptor in words": (lambda: call("supervision", adaptor="linear"), TypeError, "adaptor must be a torch module"),
    "an adaptor of others": (lambda: call("supervision", adaptor=nn.Linear(3, 3)), ValueError, "the adaptor cannot take these inputs"),
    "a critic of others": (lambda: call("ADMD", mlp(hidden=4)), ValueError, "the critic cannot take these inputs"),
    "no critic": (lambda: cross.admd(mlp(), mlp(7), None, ({"a": A, "b": B}, Y), RECIPE, critic_recipe=RECIPE, views=VIEWS, paths=PATHS), TypeError, "critic must be a torch module"),
    "one student": (lambda: cross.cross_action(mlp(), mlp(7), {"a": A, "b": B}, RECIPE, views=VIEWS), TypeError, "takes a list of students"),
    "an exchange of NaN": (lambda: cross.cross_action([mlp(), mlp()], mlp(7), {"a": A, "b": B}, RECIPE, views=VIEWS, weight=torch.nan), ValueError, "weight must be at least 0"),
    "networks in a list": (lambda: along([mlp(), mlp(7)]), TypeError, "networks and paths are dicts"),
    "negative trust": (lambda: along(trust={"b": -1}), ValueError, "trust of b must be at least 0"),
    "graphs of other classes": (lambda: along({"a": mlp(), "b": mlp(7, 4)}), ValueError, "must answer for the same classes"),
    "ranks of NaN": (lambda: ranktransfer.rank_transfer(RANKS * torch.nan, BETTER, SCORES), ValueError, "inputs must be finite"),
    "a better view of NaN": (lambda: ranktransfer.rank_transfer(RANKS, BETTER * torch.nan, SCORES), ValueError, "privileged must be finite"),
    "scores of NaN": (lambda: ranktransfer.rank_transfer(RANKS, BETTER, SCORES * torch.nan), ValueError, "scores must be finite"),
    "scores in a list": (lambda: ranktransfer.rank_transfer(RANKS, BETTER, [1, 2]), TypeError, "scores must be a tensor"),
    "a flat view": (lambda: ranktransfer.rank_transfer(RANKS, BETTER[:, 0], SCORES), ValueError, "must be (samples, features)"),
    "pairs of nobody": (lambda: ranktransfer.ranking_svm(RANKS, PAIRS + 5), ValueError, "pairs must be integers from 0 to 8"),
    "pairs from the end": (lambda: ranktransfer.ranking_svm_plus(RANKS, BETTER, PAIRS - 9), ValueError, "pairs must be integers from 0 to 8"),
    "margins of fewer": (lambda: ranktransfer.ranking_svm(RANKS, PAIRS, torch.ones(3)), ValueError, "margins must be one number"),
    "another view's ranking": (lambda: ranktransfer.ordered_rightly(ranktransfer.ranking_svm(RANKS, PAIRS), BETTER, SCORES), ValueError, "inputs must be (samples, 4)"),
    "stacks of NaN": (lambda: stacks.fit_stack(STACK, RANKS * torch.nan, TARGETS), ValueError, "inputs must be finite numbers of torch.float32; got NaN or infinity"),
    "stacks of whole numbers": (lambda: stacks.fit_stack(STACK, RANKS.long(), TARGETS), ValueError, "inputs must be finite numbers of torch.float32; got torch.int64"),
    "stacks of fewer features": (lambda: stacks.fit_stack(STACK, RANKS[:, :3], TARGETS), ValueError, "inputs must be (samples, 4)"),
    "stacks that are too cold": (lambda: stacks.fit_stack(STACK, RANKS, TARGETS, temperature=0), ValueError, "temperature must be above 0"),
    "half a unit": (lambda: stacks.glorot_stack((4, 5.5), 2, 0), ValueError, "sizes must be two whole numbers"),
    "logits to smooth": (lambda: generalised.smoothed_like(torch.randn(6, 3), Y[:6]), ValueError, "targets must be probabilities"),
    "real classes to shuffle": (lambda: generalised.shuffled_within(torch.rand(4), 0), ValueError, "labels must be integers (batch,)"),
    "probabilities above 1": (lambda: privileged_draws.exact_logistic(torch.randn(2, 9, 4), torch.rand(2, 9) + 5), ValueError, "targets must be probabilities"),
    "draws of NaN": (lambda: privileged_draws.exact_logistic(torch.randn(2, 9, 4) * torch.nan, torch.rand(2, 9)), ValueError, "inputs must be finite"),
    "no network to see": (lambda: cross.Seeing(None, "a"), TypeError, "must be a torch module"),
    "a list of views": (lambda: cross.Seeing(mlp(), ["a"]), TypeError, "a view is a key or a position"),
    "streams of one": (lambda: cross.Streams(mlp()), TypeError, "streams are a list of networks"),
    "streams of other classes": (lambda: cross.Streams([mlp(), mlp(5, 4)])(A), ValueError, "streams must answer for the same classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_told(case, no_step):
    wrong, kind, words = CASES[case]
    with pytest.raises(kind, match=re.escape(words)):
        wrong()


def test_rankings_of_tensors_that_learn():
    plain = ranktransfer.rank_transfer(RANKS, BETTER, SCORES)[0]
    learning = ranktransfer.rank_transfer(RANKS.clone().requires_grad_(), BETTER, SCORES)[0]
    assert learning.weights.equal(plain.weights)


@pytest.mark.parametrize("name", ALL)
def test_without_a_recipe_it_is_the_usual_one(name):
    fit = call(name, recipe=None)
    assert len(fit.history) == 10  # epochs, as of every verb


@pytest.mark.parametrize("name", ALL)
def test_teachers_in_double_precision(name):
    teacher = mlp(7).double().train()
    call(name, other=teacher)
    assert teacher.training and next(teacher.parameters()).dtype == torch.float64

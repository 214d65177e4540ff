"""The catalogue's names and options: what is understood, what is refused, what digests know."""

import pytest
import torch

from kdnb import losses, nets, papers
from kdnb.methods import catalogue, names
from kdnb.methods.catalogue import METHODS
from kdnb.methods.wiring import Setting
from kdnb.runs.trials import Trial
from kdnb.training.layers import Layers, layers_of, look


def views(count=12):
    torch.manual_seed(0)
    pair = [nets.build("resnet8", num_classes=3, in_channels=3, image_size=16) for _ in "st"]
    images = torch.randn(count, 3, 16, 16)
    return [look(network, layers_of(network), images) for network in pair]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("kd", "kd"), ("Hinton", "kd"), ("soft_targets", "kd"), ("FitNet", "fitnets"),
     ("hint", "fitnets"), ("hint_regression", "fitnets_stage1"), ("attention_transfer", "at"),
     ("attention", "at"), ("similarity", "sp"), ("KD-SVD", "kdsvd"), ("CRD", "crd"),
     ("logits", "logit_regression"), ("review", "reviewkd"), ("projected-hint", "projected_hint"),
     ("peng2019cc", "cc"), ("chen2021lp", "lp"), ("you2017multi", "you2017")],
)  # fmt: skip
def test_spellings(spelling, name):
    assert catalogue.method(spelling) is METHODS[name]


def test_every_former_name_leads_to_a_method_and_none_hides_another():
    for name, former in names.FORMER.items():
        assert catalogue.method(former) is METHODS[name]
        assert names.former(name) == former == names.former(former)
    for name in METHODS:
        assert catalogue.method(name) is METHODS[name]
    assert set(names.ALIASES.values()) <= set(METHODS)
    assert not {names.spelt(name) for name in METHODS} & set(names.ALIASES)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"no method 'atention' \(nearest: at\b"):
        catalogue.method("atention")
    with pytest.raises(ValueError, match=r"no method 'zzzzzz' \(known: kd, logit_regression"):
        catalogue.method("zzzzzz")


def test_every_paper_is_in_the_bibliography():
    known = papers.bibliography().entries
    assert not {method.paper for method in METHODS.values()} - set(known.keys())


def test_a_recorded_run_keeps_its_digest_under_the_common_name():
    written = Trial("transferred", {"method": "hint", "weight": 1.0}, 0)
    for name in ("fitnets", "FitNet", "hint"):
        assert Trial("transferred", {"method": name, "weight": 1.0}, 0).digest == written.digest
    other = Trial("transferred", {"method": "at", "weight": 1.0}, 0)
    assert other.digest != written.digest
    # Of another function an argument of this name means something else.
    kept = [Trial("adversarial_generation", {"method": name}, 0).digest for name in ("ab", "AB")]
    assert kept[0] != kept[1]


@pytest.mark.parametrize("name", METHODS)
def test_options_are_checked_by_name(name):
    method = METHODS[name]
    with pytest.raises(ValueError, match="has no option 'temprature'"):
        method.build(*views(), Setting(24, 12), temprature=1.0)
    if "temperature" in method.options:
        with pytest.raises(ValueError, match="nearest: temperature"):
            method.check({"temprature": 1.0})


@pytest.mark.parametrize("name", METHODS)
def test_the_default_options_given_by_name_change_nothing(name):
    pair, setting = views(), Setting(24, 12)
    labels = torch.arange(12) % 3
    batch = type("Batch", (), {"labels": labels, "index": torch.arange(12)})()
    values = []
    for options in ({}, METHODS[name].options):
        torch.manual_seed(3)
        term = METHODS[name].build(*pair, setting, **options).eval()
        values.append(term(*pair, batch))
    assert torch.equal(*values)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [("kd", {"temperature": 2.0}, lambda s, t: losses.soft_targets(s.logits, t.logits, 2.0)),
     ("at", {"power": 1.0, "variant": "paper"}, lambda s, t: sum(
         losses.attention_transfer(a, b, 1.0) for a, b in zip(s.maps, t.maps, strict=True))),
     ("rkd", {"angle_weight": 0.0, "distance_weight": 3.0}, lambda s, t: 3 * losses.rkd_distance(
         s.embedding, t.embedding, "authors")),
     ("lp", {"neighbours": 2}, lambda s, t: losses.locality_preserving(
         s.embedding, t.embedding, 2)),
     ("gkd", {"neighbours": 3, "power": 2}, lambda s, t: sum(
         losses.graph_knowledge(a, b, 3, 2) for a, b in zip(s.maps, t.maps, strict=True)) / 3)],
)  # fmt: skip
def test_an_option_reaches_the_loss(name, options, expected):
    pair = views()
    term = METHODS[name].build(*pair, Setting(24, 12), **options)
    torch.testing.assert_close(term(*pair, None), expected(*pair))


def test_a_batch_that_is_too_small_is_refused_first_and_adds_nothing_later():
    with pytest.raises(ValueError, match="at least 7 samples in a batch; got 6"):
        METHODS["darkrank"].build(*views(6), Setting(24, 12), list_length=6)
    term = METHODS["darkrank"].build(*views(12), Setting(24, 12))
    assert term(*views(4), None) == 0 != term(*views(5), None)


def test_the_table():
    whole, logits = catalogue.table(), catalogue.table("2.1")
    assert list(whole.index) == list(METHODS)
    assert list(logits.index)[:2] == ["kd", "logit_regression"]
    assert logits.loc["kd", ["loss", "options"]].tolist() == ["soft_targets", "temperature=4.0"]
    assert all(hasattr(losses, loss) for loss in whole["loss"])
    with pytest.raises(ValueError, match=r"section '9.9': 2.1, 2.2, 2.3, 5.4 have"):
        catalogue.table("9.9")


@pytest.mark.parametrize("name", ["at", "nst"])
def test_maps_of_one_place_hold_nothing_to_compare(name):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    view = look(net, Layers(("1",), head="2"), torch.randn(8, 6))
    term = METHODS[name].build(view, view, Setting(24, 8))
    with pytest.raises(ValueError, match="these maps have one place each"):
        term(view, view, None)
    assert METHODS["fitnets"].build(view, view, Setting(24, 8))(view, view, None) > 0

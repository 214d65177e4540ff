"""Chapter 3-2: every method runs, every row of its tables is true, every figure draws."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from kdnb import data as datasets
from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.methods import online
from kdnb.workbook.chapters import zhang2018dml_copies as copies
from kdnb.workbook.chapters import zhang2018dml_figures as pictures
from kdnb.workbook.chapters import zhang2018dml_live as live
from kdnb.workbook.chapters import zhang2018dml_methods as methods

RUNS = [method for method in methods.METHODS if method.run]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def workshop(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 3, 32, 32), generator=generator, dtype=torch.uint8)
    part = Images(images, torch.arange(32) % 10)
    source = ImageData(
        name="cifar10", card=datasets.card("cifar10"), train_all=part, train=part,
        validation=part, test=part, classes=tuple("abcdefghij"), mean=(0.5,) * 3, sd=(0.3,) * 3,
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda name: source)
    return live.Workshop(images=32, epochs=1)


@pytest.mark.parametrize("method", RUNS, ids=lambda method: method.title)
def test_every_method_trains_what_it_deploys(method, workshop):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one, again = method.run(workshop), method.run(workshop)
    images = next(workshop.plain(workshop.test).epoch(0)).images
    start = workshop.network().eval()(images)
    for name, network in one.items():
        said = network.eval()(images)
        assert said.shape == (32, 10)
        # After a single step the best checkpoint may still be the first one.
        assert method.run is live.checkpoints or not torch.allclose(said, start)
        torch.testing.assert_close(said, again[name].eval()(images))  # no weight left to chance
        assert 0 <= workshop.accuracy(network) <= 100


def test_rows_name_calls_and_claims_that_exist():
    claims = {claim.id for claim in papers.claims_of("zhang2018dml")}
    assert {claim for method in methods.METHODS for claim in method.claims} == claims
    for method in RUNS[1:]:
        assert method.call.split("(")[0] in online.__all__
    schemes = {"adversarial_codistillation", "adversarial_maps", "cheap_online", "codistil",
               "feature_fusion", "from_checkpoints", "kdcl", "mean_teacher", "multiple_knowledge",
               "mutual", "okddip", "one", "rocket", "temporal_ensembling"}  # fmt: skip
    assert schemes == {method.call.split("(")[0] for method in methods.METHODS[1:]}


def test_only_what_a_claim_judges_has_a_verdict():
    class Judged:
        def __init__(self, claim):
            self.claim, self.word = claim, "reproduced"

    table = methods.table(Judged(claim) for claim in papers.claims_of("zhang2018dml"))
    assert table.loc["DML, 3 peers", "verdict"] == "more-peers: reproduced"
    assert table.loc["DML, 2 peers at once", "verdict"] == methods.NOT_JUDGED
    assert table.loc["ONE", "verdict"] == methods.NOT_JUDGED
    found = {method.title: (10.0, 2.0) for method in RUNS}
    assert methods.live_table(found)["time / one network"].eq("1.0").all()
    assert not methods.choice().isna().any(axis=None)


def test_a_copy_hears_the_peer_in_the_folder(workshop, tmp_path):
    (tmp_path / "copy 2.ready").touch()
    online.publish(workshop.network(1), tmp_path / "copy 2.safetensors", 5)
    part = workshop.lessons
    (row,) = copies._copy(
        "copy 1", ["copy 2"], str(tmp_path), workshop.network(),
        (part.images.numpy(), part.labels.numpy()), {"mean": (0.5,) * 3, "sd": (0.3,) * 3},
        workshop.recipe, every=2,
    )  # fmt: skip
    assert (row["taught.copy 2"], row["age.copy 2"]) == (1.0, -5.0)
    assert (tmp_path / "copy 1.safetensors").exists()


def test_unlabelled_images_count_in_the_past(workshop):
    frame = live.past(workshop, epochs=2, labelled=8)
    assert list(frame) == ["mean teacher", "its student", "temporal ensembling", "labels only"]
    assert frame.index.tolist() == [1, 2]
    assert len(pictures.over_epochs(frame, "accuracy, %").axes[0].lines) == 4


def test_arrows_of_the_schematic_join_its_nodes():
    for nodes, carries, teaches in pictures.PANELS.values():
        for start, end in carries + teaches:
            assert start != end
            assert max(start, end) < len(nodes)
        assert teaches
    assert len(pictures.schematic().axes) == len(pictures.PANELS)


def test_the_cohorts_figure_shows_means_and_intervals():
    draws = np.random.default_rng(0).normal(size=(6, len(pictures.NAMES)))
    values = {(arm, metric): 3000 - 100 * i - 50 * j + draws[:, i]
              for i, arm in enumerate(pictures.NAMES)
              for j, metric in enumerate(("test_errors", "ensemble_errors"))}  # fmt: skip
    table = pd.DataFrame(values).rename_axis(columns=["arm", "metric"])
    left, right = pictures.cohorts(table).axes
    drawn = left.lines[-1].get_ydata()
    assert drawn == pytest.approx(
        [table[(arm, "test_errors")].mean() for arm in pictures.COHORTS.values()]
    )
    assert len(right.get_yticklabels()) == len(pictures.NAMES)


def test_targets_and_answers_are_probabilities():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    figure = pictures.targets(image, logits, 3, torch.tensor([0.5, 0.5]), "abcdefghij")
    titles = [axes.get_title() for axes in figure.axes[1:]]
    assert titles == ["student 1", "student 2", "naive", "linear", "min-logit", "general"]
    for axes in figure.axes[1:]:
        assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(1.0, abs=1e-5)
    images = Images(image.repeat(2, 1, 1, 1), torch.tensor([3, 4]))
    box = pictures.explorer(images, {"a": logits}, "abcdefghij")
    before = box.children[1].value
    box.children[0].value = 1
    assert box.children[1].value != before

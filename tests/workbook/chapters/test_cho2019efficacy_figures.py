"""What chapter 3-1 shows and runs live: the pictures say what is true, and the arms are fair."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from kdnb.data import ImageData, Images
from kdnb.workbook.chapters import cho2019efficacy_figures as pictures
from kdnb.workbook.chapters import cho2019efficacy_live as live


def source(count=12):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
    part = Images(images, torch.arange(count) % 3)
    words = ("hat", "coat", "shoe")
    return ImageData("small", None, part, part, part, part, words, (0.5,), (0.3,))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


# --- the arms ------------------------------------------------------------------------------------


def test_every_arm_takes_as_many_steps_from_the_same_images():
    for arm in live.arms(images=60, epochs=8).values():
        trial = arm(3)
        start = trial.arguments.get("start")
        stages = [trial] if start is None else [start, trial]
        assert sum(stage.arguments["recipe"]["epochs"] for stage in stages) == 8
        for stage in stages:
            assert stage.arguments["network"] == live.STUDENT
            assert stage.arguments["data"] == live.some(60)
            assert stage.seed == 3


def test_the_first_stage_reads_no_label_and_the_early_teacher_is_shorter():
    arms = live.arms(images=60, epochs=8)
    hint = arms["hint, then soft targets"](0).arguments["start"]
    assert hint.arguments["hard_weight"] == 0
    early, full = (arms[name](0).arguments["teacher"].arguments for name in
                   ("early-stopped teacher", "soft targets"))  # fmt: skip
    assert early["recipe"]["epochs"] < full["recipe"]["epochs"]
    assert {**early, "recipe": None} == {**full, "recipe": None}


def test_few_samples_start_from_one_pruned_network():
    chosen = live.few(30, steps=12)
    for name in ("FSKD", "FSKD, two blocks", "labels", "soft targets"):
        assert chosen[name].arguments["start"] == chosen["pruned"]
        assert chosen[name].arguments["data"]["limit"] == 30
    assert chosen["labels"].arguments["recipe"]["epochs"] == 12  # a single batch an epoch
    assert live.few(1000)["pruned"] == chosen["pruned"]


# --- what is computed for the pictures -----------------------------------------------------------


def test_a_stored_answer_is_wrong_only_where_the_view_matters(network):
    data = source()
    views, wrong = live.stored_and_true(network, data.train, data)
    plain = next(live.plain(data.train, data).epoch(0)).images
    assert views.shape == plain.shape
    with torch.no_grad():
        expected = (network(plain).softmax(1) - network(views).softmax(1)).abs().sum(1) / 2
    torch.testing.assert_close(wrong, expected)
    assert 0 < wrong.max() <= 1
    blind = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    nn.init.zeros_(blind[1].weight)
    assert live.stored_and_true(blind, data.train, data)[1].max() == 0


def test_a_walk_begins_at_the_image_and_nears_the_border(network):
    images = next(live.plain(source().train, source()).epoch(0)).images
    low, high = live.pixel_bounds()
    images = images.clamp(low, high)
    with torch.no_grad():
        base, targets = network(images).topk(2).indices.unbind(1)
    found = live.walks(network, images, targets, (0, 1, 4))
    assert torch.equal(found[0][0], images)
    gaps = [s.gather(1, base[:, None]) - s.gather(1, targets[:, None]) for _, s in found]
    assert gaps[0].mean() > gaps[1].mean() > gaps[2].mean()
    assert min(walked.min() for walked, _ in found) >= low - 1e-6


# --- figures -------------------------------------------------------------------------------------


def test_no_student_begins_before_its_teacher():
    for teacher, student, labels in pictures.TIMETABLE.values():
        first = min(start for start, _ in student)
        assert max(start + length for start, length in teacher) <= first
        assert all(start >= first for start, _ in labels)
    route = pictures.TIMETABLE["route-constrained"]
    assert len(route[0]) == len(route[1])
    assert len(pictures.timetable().axes[0].get_yticks()) == len(pictures.TIMETABLE)


def test_rows_of_arms_that_the_record_has():
    table = pd.DataFrame({("student", "test_error"): [30.0, 32.0, 34.0],
                          ("teacher4", "test_error"): [20.0, 21.0, 22.0],
                          ("taught_by_4", "test_error"): [29.0, 30.0, 31.0]})  # fmt: skip
    rows = pictures.arm_rows(table, {"student": "alone", "stopped": "absent"})
    assert list(rows.index) == ["alone"]
    assert rows.loc["alone", "mean"] == 32
    assert rows.loc["alone", "high"] == pytest.approx(32 + 4.303 * 2 / np.sqrt(3), abs=1e-3)
    legend = pictures.teachers(table).legends[0]  # one pair of three is there
    assert [text.get_text() for text in legend.get_texts()] == [
        "student, nobody teaches it", "4 layers",
    ]  # fmt: skip


def test_the_explorer_draws_again(network):
    data = source()
    images = next(live.plain(data.train, data).epoch(0)).images
    box = pictures.explorer(network, images, data)
    controls, picture = box.children
    before = bytes(picture.value)
    controls.children[0].value = 3
    assert bytes(picture.value) != before
    assert bytes(picture.value).startswith(b"\x89PNG")


def test_the_kinds_of_views_are_what_their_names_say():
    figure = pictures.kinds_of_views(source().train, source())
    student, teacher = figure.axes[:4], figure.axes[4:]
    same = [np.array_equal(a.images[0].get_array(), b.images[0].get_array())
            for a, b in zip(student, teacher, strict=True)]  # fmt: skip
    assert same == [False, False, True, True]

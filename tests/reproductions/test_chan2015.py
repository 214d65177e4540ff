"""Chan's arms: what a seed draws, what is scored, and that claims speak of what is measured."""

from types import SimpleNamespace

import pytest
import torch

from kdnb.data.sounds import Sounds, sound_card
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import chan2015 as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions import speech

CARD = sound_card("fsdd")
TINY = paper.Parameters(
    teacher_epochs=1, student_epochs=2, teacher_units=4, student_units=3, labelled=20
)


def tones(count, seed):
    """Recordings of a third of a second: a tone for each digit, which rises, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    waves = []
    for label in labels.tolist():
        n = int(torch.randint(1500, 3500, (1,), generator=generator))
        time = torch.arange(n) / CARD.rate
        wave = torch.sin(6.28 * (200 + 300 * label + 400 * time) * time)
        wave = wave + 0.1 * torch.randn(n, generator=generator)
        waves.append((8000 * wave).clamp(-32768, 32767).to(torch.int16))
    return Sounds(tuple(waves), labels, torch.zeros(count, dtype=torch.int64), CARD)


def splits(test_seed=3):
    return {"train": tones(60, 1), "validation": tones(20, 2), "test": tones(20, test_seed)}


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(speech, "load_sounds", lambda name: splits())
    speech.corpus.cache_clear()
    yield
    speech.corpus.cache_clear()


def result(p, seed=0):
    return trials.run(paper.arms(p)["speech"](seed))


def again(monkeypatch, path, found):
    """The same runs on other recordings, made anew."""
    monkeypatch.setenv("KDNB_RUNS", str(path))
    monkeypatch.setattr(speech, "load_sounds", lambda name: found)
    speech.corpus.cache_clear()


def test_the_record_scores_test_recordings_and_has_ten_seeds():
    asked = paper.arms(paper.LAPTOP)["speech"](0).arguments
    assert asked["scored"] == "test" and asked["data"]["name"] == "fsdd"
    assert paper.LAPTOP.seeds >= 10 and asked["labelled"] == 240


def test_a_claim_has_its_arms_and_metrics(few):
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    for claim in claims_of("chan2015"):
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)


def test_a_trial_is_a_function_of_its_seed(few, monkeypatch, tmp_path):
    one, other = result(TINY), result(TINY, 1)
    again(monkeypatch, tmp_path / "again", splits())
    assert result(TINY).metrics == one.metrics != other.metrics


def test_pilots_read_no_test_recording_and_records_do(few, monkeypatch, tmp_path):
    pilot = TINY.model_copy(update={"scored": "validation"})
    held_out, final = result(pilot), result(TINY)
    again(monkeypatch, tmp_path / "again", splits(test_seed=9))
    assert result(pilot).metrics == held_out.metrics
    assert result(TINY).metrics["labels_frame_error"] != final.metrics["labels_frame_error"]
    assert result(TINY).metrics["labels_loss"] == final.metrics["labels_loss"]


def test_few_transcriptions_are_all_that_some_conditions_read(few, monkeypatch, tmp_path):
    """With other labels for the recordings that nobody has transcribed they come out the same."""
    one, own = result(TINY), splits()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(speech.mix(0, 2)))
    own["train"].labels[order[20:]] = (own["train"].labels[order[20:]] + 1) % 10
    again(monkeypatch, tmp_path / "spoilt", own)
    two = result(TINY)
    for condition in ("few", "semi"):
        assert one.metrics[f"{condition}_loss"] == two.metrics[f"{condition}_loss"]
    for condition in ("labels", "taught", "few_taught", "noisy"):
        assert one.metrics[f"{condition}_loss"] != two.metrics[f"{condition}_loss"]


def test_few_recordings_take_as_many_steps():
    assert speech._epochs(12, 2400, 240) == 120 and speech._epochs(1, 10, 100) == 1


def test_recordings_become_frames(few):
    made = speech.spoken(splits()["test"], 3, hop=160)
    noisy = speech.spoken(splits()["test"], 3, hop=160, decibels=0.0)
    assert made.frames.shape[2] == 24 and made.frames.dtype == torch.float32
    there = torch.arange(made.frames.shape[1]) < made.lengths[:, None]
    assert not made.frames[~there].any()
    assert torch.equal(made.states >= 0, there) and torch.equal(made.lengths, noisy.lengths)
    means = made.frames.sum(1) / made.lengths[:, None]
    assert means.abs().max() < 1e-4  # every recording is shorter than the longest that is kept
    assert not torch.allclose(made.frames, noisy.frames)
    assert (made.states[there] // 3 == made.words[:, None].expand_as(there)[there]).all()


def test_measures_have_the_names_of_their_condition():
    metrics = {"few_teacher_error": 1.0, "few_taught_frame_error": 2.0, "few_error": 3.0,
               "teacher_error": 4.0, "student_parameters": 5.0, "teacher_parameters": 6.0}  # fmt: skip
    assert paper.measure("speech", SimpleNamespace(metrics=metrics)) == {
        "few_teacher.error": 1.0, "few_taught.frame_error": 2.0, "few.error": 3.0,
        "teacher.error": 4.0, "student.parameters": 5.0, "teacher.parameters": 6.0,
    }  # fmt: skip

"""Teacher assistants: who teaches whom, as networks and as trials."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.architecture import distil_in_turn, paths
from kdnb.methods.offline import distil
from kdnb.runs import trials
from kdnb.runs.chains import capacity_gap, chain, supervised
from kdnb.training import Recipe

RECIPE = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")

soft = partial(losses.soft_targets, temperature=2.0)


def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), 8, mean=(0.5,), sd=(0.3,))


def mlp(seed, units):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, units), nn.ReLU(), nn.Linear(units, 3))


def networks():
    return [mlp(1, 30), mlp(2, 12), mlp(3, 4)]


def described(*widths):
    return [{"name": "mlp", "widths": [width]} for width in widths]


SETTING = {
    "data": {"name": "mnist", "split": "train", "limit": 64},
    "recipe": {"epochs": 1, "batch_size": 32, "lr": 0.1, "precision": "32"},
    "loss": {"name": "soft_targets", "temperature": 4.0},
    "soft_weight": 0.8,
    "hard_weight": 0.2,
}


def test_each_network_is_taught_by_the_one_before(tmp_path):
    teacher, assistant, student = ours = networks()
    before = copy.deepcopy(teacher.state_dict())
    fits = distil_in_turn(
        ours, batches(), RECIPE, method=soft, weight=0.9, label_weight=0.1, seed=4,
        checkpoint=tmp_path / "state",
    )  # fmt: skip
    assert [len(fit.history) for fit in fits] == [2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.0", "state.1"]
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    other_teacher, other_assistant, other_student = networks()
    pair = partial(
        distil.distil, data=batches(), recipe=RECIPE, method=soft, weight=0.9, label_weight=0.1,
        seed=4,
    )  # fmt: skip
    pair(other_assistant, other_teacher)
    pair(other_student, other_assistant)
    for ours_now, by_hand in ((assistant, other_assistant), (student, other_student)):
        for a, b in zip(ours_now.parameters(), by_hand.parameters(), strict=True):
            assert torch.equal(a, b)
    direct = mlp(3, 4)
    pair(direct, other_teacher)
    assert not torch.equal(direct[1].weight, student[1].weight)


def test_a_chain_of_two_is_plain_distillation():
    teacher, student = mlp(1, 30), mlp(3, 4)
    distil_in_turn([teacher, student], batches(), RECIPE, method=soft, label_weight=0)
    plain = mlp(3, 4)
    distil.distil(plain, teacher, batches(), RECIPE, method=soft, label_weight=0)
    assert torch.equal(plain[1].weight, student[1].weight)


def test_assistants_may_learn_from_other_images_and_longer():
    teacher, assistant, student = networks()
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (24, 1, 6, 6), generator=generator, dtype=torch.uint8)
    more = Batches(Images(images, torch.arange(24) % 3), 8, mean=(0.5,), sd=(0.3,))
    longer = RECIPE.model_copy(update={"epochs": 3})
    fits = distil_in_turn(
        [teacher, assistant, student], batches(), RECIPE, teacher_data=more, teacher_recipe=longer,
        temperature=2,
    )  # fmt: skip
    assert [len(fit.history) for fit in fits] == [3, 2]
    _, other_assistant, other_student = networks()
    distil.distil(other_assistant, teacher, more, longer, temperature=2)
    distil.distil(other_student, other_assistant, batches(), RECIPE, temperature=2)
    assert torch.equal(other_assistant[1].weight, assistant[1].weight)
    assert torch.equal(other_student[1].weight, student[1].weight)


def test_a_chain_needs_different_networks():
    with pytest.raises(ValueError, match="a teacher and at least one student"):
        distil_in_turn([mlp(1, 3)], batches(), RECIPE)
    twice = mlp(1, 3)
    with pytest.raises(ValueError, match="all different modules"):
        distil_in_turn([twice, mlp(2, 3), twice], batches(), RECIPE)


def test_trials_of_a_chain_stand_in_each_other():
    teacher, assistant, student = chain(described(64, 32, 8), seed=3, **SETTING)
    assert teacher.function == "supervised"
    assert not teacher.parents()
    assert assistant.parents() == [teacher]
    assert student.parents() == [assistant]
    assert student.function == assistant.function == "distilled"
    assert {trial.seed for trial in (teacher, assistant, student)} == {3}
    found = [t.arguments["network"]["widths"] for t in (teacher, assistant, student)]
    assert found == [[64], [32], [8]]
    assert student.arguments["soft_weight"] == 0.8


def test_chains_share_their_beginning():
    long, short = chain(described(64, 32, 8), **SETTING), chain(described(64, 8), **SETTING)
    assert long[0].digest == short[0].digest
    assert long[1].digest == chain(described(64, 32, 16), **SETTING)[1].digest
    assert long[2].digest != short[1].digest  # the same student of another teacher


def test_a_chain_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    setting = {**SETTING, "teacher_recipe": {**SETTING["recipe"], "epochs": 2}}
    all_trials = chain(described(16, 8, 4), **setting)
    result = trials.run(all_trials[-1])
    assert len(list(tmp_path.glob("trials/*/result.json"))) == 3
    taught_by = result.description["arguments"]["teacher"]["trial"]
    assert taught_by["arguments"]["network"] == {"name": "mlp", "widths": [8]}
    assert len(trials.read(all_trials[0].digest).series["epoch"]) == 2
    assert result.metrics["train_images"] == 64


def test_all_but_the_last_may_learn_from_other_data():
    more, longer = {**SETTING["data"], "limit": 96}, {**SETTING["recipe"], "epochs": 2}
    other = {"teacher_data": more, "teacher_recipe": longer}
    teacher, assistant, student = chain(described(16, 8, 4), **SETTING, **other)
    for trial in (teacher, assistant):
        assert (trial.arguments["data"], trial.arguments["recipe"]) == (more, longer)
    assert student.arguments["data"] == SETTING["data"]
    assert student.arguments["recipe"] == SETTING["recipe"]
    first, taught = next(capacity_gap(described(16), described(4)[0], **SETTING, **other))
    assert first.digest == teacher.digest and taught.arguments["data"] == SETTING["data"]


def test_every_path():
    found = paths([10, 8, 6, 4, 2])
    assert len(found) == len(set(found)) == 8
    assert all(path[0] == 10 and path[-1] == 2 for path in found)
    assert all(list(path) == sorted(path, reverse=True) for path in found)
    assert paths(["teacher", "student"]) == [("teacher", "student")]
    with pytest.raises(ValueError, match="got 1 network"):
        paths([1])
    with pytest.raises(ValueError, match="got 1 network"):
        chain(described(3), **SETTING)


def test_the_sweep_changes_nothing_but_the_teacher():
    student = described(8)[0]
    sweep = list(capacity_gap(described(16, 32, 64), student, seed=2, **SETTING))
    assert [t.arguments["network"]["widths"] for t, _ in sweep] == [[16], [32], [64]]
    for teacher, taught in sweep:
        assert taught.arguments["teacher"] is teacher
        rest = {k: v for k, v in taught.arguments.items() if k != "teacher"}
        assert rest == {**SETTING, "network": student}
    control = supervised(student, data=SETTING["data"], recipe=SETTING["recipe"], seed=2)
    assert control.arguments["network"] == sweep[0][1].arguments["network"]
    assert len({taught.digest for _, taught in sweep}) == 3

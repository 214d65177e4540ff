"""Benchmarks of others' loops, of many small runs and of contention do what they say."""

import json
import os
import subprocess
import time

import pytest
import torch
from torch.nn import functional as F

from benchmarks import contention, in_turns, peers, relations, runs, scripts, table
from benchmarks import small as small_step
from kdnb import losses
from kdnb.training import devices, threads


@pytest.fixture
def small(monkeypatch):
    """Batches of eight images, one step, the smallest networks."""
    monkeypatch.setattr(peers, "BATCH", 8)
    monkeypatch.setattr(peers, "WORKERS", (0, 2))
    size = peers.Size("resnet8", "resnet8", "cifar10", 4, True, 1)
    monkeypatch.setattr(peers, "SIZES", {"small": size})
    return size


def shown(*, seed):
    stream = torch.Generator().manual_seed(seed)
    shapes = (6, 5), (6, 3, 4, 4), (6, 7)
    return scripts.Shown(*(torch.randn(shape, generator=stream) for shape in shapes))


def test_scripts_compute_the_losses_of_their_methods():
    """Written apart from ours, they give the same numbers."""
    ours, theirs, index = shown(seed=0), shown(seed=1), torch.arange(6)
    expected = losses.soft_targets(ours.logits, theirs.logits, temperature=4.0)
    torch.testing.assert_close(scripts.kd(ours, theirs, index), expected)
    s, t = ours.embedding, theirs.embedding
    expected = 25 * losses.rkd_distance(s, t, "authors") + 50 * losses.rkd_angle(s, t, "authors")
    torch.testing.assert_close(scripts.rkd(ours, theirs, index), expected, rtol=1e-4, atol=1e-5)
    hint = scripts.Hint(ours, theirs)
    expected = (hint.regressor(ours.maps) - theirs.maps).square().mean()
    torch.testing.assert_close(hint(ours, theirs, index), expected)


def test_the_script_of_crd_tells_each_embedding_from_those_that_it_drew():
    ours, theirs, index = shown(seed=0), shown(seed=1), torch.arange(6)
    contrast = scripts.Contrast(ours, theirs, images=10)
    before = contrast.memory_s.clone()
    torch.manual_seed(5)
    found = contrast(ours, theirs, index)
    torch.manual_seed(5)
    drawn = torch.randint(10, (6, 11))
    drawn[:, 0] = index
    anchor = F.normalize(contrast.teacher(theirs.embedding), dim=1)
    told = 0.0
    for b in range(6):
        weights = [
            float(torch.exp(anchor[b].detach() @ before[n] / 0.07)) / 1e4 for n in drawn[b].tolist()
        ]
        shares = [w / (w + 1) for w in weights]
        told -= (
            torch.tensor(shares[0]).log() + torch.tensor([1 - p for p in shares[1:]]).log().sum()
        )
    torch.testing.assert_close(contrast.told(anchor, before, drawn), told / 6, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(found)
    moved = contrast.memory_s[:6]
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(6))
    assert torch.equal(contrast.memory_s[6:], before[6:]) and not torch.equal(moved, before[:6])


def test_a_configured_step_is_that_of_the_script(small):
    """Same network, same images: the same weights afterwards, whatever gathers the layers."""
    setting = peers.Setting(small)
    setting.loaders[0].dataset.transform.transforms[:2] = []  # nothing is drawn
    student, teacher = setting.pair
    left, right = setting.network("resnet8"), setting.network("resnet8")
    for one in (left, right):
        one.load_state_dict(student.state_dict())
    scripts.script("rkd", left, teacher, setting.loaders[0])()
    scripts.configured("rkd", right, teacher, setting.loaders[0])()
    before = list(student.parameters())
    for one, other, start in zip(left.parameters(), right.parameters(), before, strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, start)


@pytest.mark.parametrize("method", list(peers.TITLES))
def test_every_form_of_a_method_is_timed(small, method):
    rows = {row.name: row for row in peers.measured(rounds=1, methods=(method,))}
    title = f"small, {peers.TITLES[method]}: "
    assert all(name.startswith(title) for name in rows)
    forms = {name.removeprefix(title) for name, row in rows.items() if row.unit == "samples/s"}
    assert "bare passes" in forms and {one for one in forms if one.startswith("ours")}
    if method == "kd":
        assert {"plain script, 0 workers", "plain script, 2 workers, bf16", "timm's task",
                "configured framework", peers.KNOWN, peers.COLD} < forms  # fmt: skip
        assert (set(peers.COMPILED.values()) < forms) == devices.can_compile()
        wanted = "at least 5" if devices.gains_from_bf16() else "at least 2"
        assert rows[f"{title}plain script, 2 workers / {peers.KNOWN}"].wanted == wanted
        assert [row.wanted for row in rows.values()].count("at most 1.053") == 2
        reason = [name for name in rows if "no bf16 in hardware" in name]
        assert bool(reason) == (not devices.gains_from_bf16())
    before = rows[f"{title}ours, before the first step"]
    assert before.unit == "s" and 0 <= before.low <= before.value <= before.high


def test_of_our_verbs_the_epoch_counts(small):
    setting = peers.Setting(small)
    work = setting.epoch_of(lambda: time.sleep(0.05) or [{"seconds": 0.01}, {"seconds": 0.02}])
    assert work() == pytest.approx(0.03)
    assert 0.01 < setting.before[0] < 0.5


def test_works_in_turns_look_at_the_load_once(monkeypatch):
    looks = []
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "_chosen", lambda: False)
    monkeypatch.setattr(threads, "allotted", lambda: 2)
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads, "_last", (-1e9, 0.0))
    monkeypatch.setattr(threads, "_used", lambda: looks.append(1) or 0.0)
    monkeypatch.setattr(threads, "_tell", lambda count: None)
    times = in_turns({"a": threads.number, "b": lambda: 7.0}, rounds=3)
    assert looks == [1] and times["b"] == [7.0] * 3


def test_small_runs_are_counted_and_the_bare_loop_learns_the_same():
    rows = {row.name: row for row in runs.measured(runs=2, rounds=1, images=64, epochs=1)}
    assert rows["a later worker's"].wanted == "at most 1"
    rates = [row for row in rows.values() if row.unit == "runs/min"]
    assert len(rates) == 2 and all(row.value > 0 for row in rates)
    assert len([row for row in rows.values() if row.wanted]) == 4


def test_the_bare_loop_of_a_small_run_is_that_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    arguments = runs.description(images=200, epochs=2)
    result = runs.trials.run(runs.Trial("supervised", arguments, 3))
    assert runs.bare(3, arguments) == pytest.approx(result.metrics["test_errors"], abs=3)


def test_slower_beside_others_is_a_ratio_of_rounds(monkeypatch):
    monkeypatch.setattr(threads, "allotted", lambda: 2)
    found = {"alone": [[1.0, 2], [2.0, 1]], "beside": [[2.0, 1], [5.0, 1]],
             "all cores": [[9.0, 2], [20.0, 2]]}  # fmt: skip
    chosen, all_cores = contention.rows_of(found)
    assert chosen.name == "beside 1 busy process, 1 thread / alone, 1 to 2 threads"
    expected = 2.25, 2.5, "at most 2.5", True
    assert (chosen.value, chosen.high, chosen.wanted, chosen.met) == expected
    assert all_cores.value == 9.5 and all_cores.met is None


def test_busy_processes_end_with_the_block(monkeypatch):
    monkeypatch.setattr(threads, "allotted", lambda: 1)
    started = []
    plainly = subprocess.Popen

    def noted(*arguments, **options):
        started.append(plainly(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(contention.subprocess, "Popen", noted)
    with pytest.raises(KeyError), contention.busy():
        assert started[0].poll() is None
        raise KeyError
    assert len(started) == 1 and started[0].returncode is not None


def test_contention_is_measured_where_nobody_chose_threads(monkeypatch):
    """The process of its own has no OMP_NUM_THREADS, and takes all cores when it is told to."""
    seen = {}

    def run(command, *, env, **options):
        seen.update(env=env, command=command)
        line = json.dumps({form: [[1.0, 1]] for form in ("alone", "beside", "all cores")})
        return subprocess.CompletedProcess(command, 0, f"a note\n{line}\n")

    monkeypatch.setattr(contention.subprocess, "run", run)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = contention.measured(steps=3, rounds=2)
    assert [row.value for row in rows] == [1.0, 1.0]
    assert not set(contention.CHOICES) & set(seen["env"]) and os.environ["OMP_NUM_THREADS"] == "1"
    assert "child(3, 2)" in seen["command"][-1]


def test_the_process_of_its_own_measures_each_form(monkeypatch, capsys):
    monkeypatch.setattr(contention, "BATCH", 8)
    monkeypatch.setattr(threads, "allotted", lambda: 1)
    contention.child(steps=1, rounds=1)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"alone", "beside", "all cores"}
    assert all(seconds > 0 and count == 1 for pairs in found.values() for seconds, count in pairs)


def test_losses_of_relations_grow_and_take_memory(monkeypatch):
    monkeypatch.setattr(relations, "WIDTHS", (8, 16))
    monkeypatch.setattr(relations, "BATCHES", (6, 12))
    rows = relations.with_features(rounds=1) + relations.memory()
    assert len(rows) == 2 * len(relations.RELATIONS)
    assert all(row.value > 0 for row in rows)
    angle = next(row for row in rows if row.name.startswith("`rkd_angle`: memory at batch 6"))
    assert angle.unit == "MiB" and angle.value < float(angle.name.split("(")[1].split()[0])


def test_the_table_knows_them():
    assert {"peers", "runs", "contention", "relations", "small"} < set(table.PARTS)


def test_a_small_step_is_taken_apart(small, monkeypatch):
    monkeypatch.setitem(peers.SIZES, "LeNet-5", small)
    found = small_step.measured({"LeNet-5": 1})
    rows = {row.name.removeprefix("LeNet-5: "): row for row in found}
    assert set(small_step.FORMS) | {small_step.OURS} < set(rows)
    assert all(rows[name].unit == "ms" and rows[name].value > 0 for name in small_step.FORMS)
    assert [row.wanted for row in rows.values() if row.wanted] == ["at most 1.053", "at most 1.1"]

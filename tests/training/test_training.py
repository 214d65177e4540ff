"""The training loop: what it computes, how it resumes, how it fails."""

import copy
import os
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb.data import Batches, Images
from kdnb.paths import atomic_write
from kdnb.training import NonFiniteLoss, Recipe, Update, fit, predict


def images(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return Images(pictures, labels)


def batches(seed=0, **options):
    return Batches(images(), 16, mean=(0.5,), sd=(0.25,), seed=seed, **options)


def network(seed=0, dropout=0.3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Dropout(dropout), nn.Linear(20, 3)
    )


def cross_entropy(networks, batch):
    return {"hard": F.cross_entropy(networks["net"](batch.images), batch.labels)}


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


PLAIN = Recipe(epochs=3, batch_size=16, lr=0.1, precision="32")


def test_equals_a_bare_loop():
    ours, bare = network(dropout=0), network(dropout=0)
    history = fit({"net": ours}, batches(), Update(("net",), cross_entropy), PLAIN)
    optimiser = torch.optim.SGD(bare.parameters(), lr=0.1, momentum=0.9)
    step, means = 0, []
    for epoch in range(3):
        total = 0.0
        for batch in batches().epoch(epoch):
            optimiser.param_groups[0]["lr"] = PLAIN.learning_rate(step, 12)
            loss = F.cross_entropy(bare(batch.images), batch.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch.images)
            step += 1
        means.append(total / 64)
    torch.testing.assert_close(weights(ours), weights(bare), rtol=0, atol=0)
    assert [row["hard"] for row in history] == pytest.approx(means)
    assert [row["epoch"] for row in history] == [1, 2, 3]


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw", "rmsprop"])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, optimiser):
    recipe = Recipe(epochs=4, batch_size=16, lr=0.01, optimiser=optimiser, precision="32",
                    crop_padding=1, flip=True)  # fmt: skip
    augment = {"crop_padding": 1, "flip": True}
    whole = network()
    expected = fit({"net": whole}, batches(**augment), Update(("net",), cross_entropy), recipe)

    class Killed(Exception):
        pass

    def stop_at(epoch):
        calls = []

        def evaluate(networks):
            calls.append(1)
            if len(calls) == epoch:
                raise Killed
            return {}

        return evaluate

    file, update = tmp_path / "checkpoint", Update(("net",), cross_entropy)
    again = network()
    with pytest.raises(Killed):
        fit(
            {"net": again}, batches(**augment), update, recipe, checkpoint=file, evaluate=stop_at(3)
        )
    torch.manual_seed(12345)
    torch.rand(7)
    fresh = network()  # a checkpoint belongs to its initial weights
    history = fit({"net": fresh}, batches(**augment), update, recipe, checkpoint=file)
    assert torch.equal(weights(fresh), weights(whole))
    assert [row["hard"] for row in history] == [row["hard"] for row in expected]


def test_begin_is_called_before_each_epoch():
    seen = []

    def terms(networks, batch):
        return {"hard": seen[-1] * cross_entropy(networks, batch)["hard"]}

    update = Update(("net",), terms, begin=seen.append)
    history = fit({"net": network()}, batches(), update, PLAIN)
    assert seen == [0, 1, 2]
    assert history[0]["hard"] == 0 < history[2]["hard"]  # the first epoch had a weight of 0


def test_a_resumed_run_begins_with_the_epoch_it_had_reached(tmp_path):
    file, seen = tmp_path / "checkpoint", []

    def stop(networks):
        if len(seen) == 2:
            raise KeyboardInterrupt
        return {}

    update = Update(("net",), cross_entropy, begin=seen.append)
    with pytest.raises(KeyboardInterrupt):
        fit({"net": network()}, batches(), update, PLAIN, checkpoint=file, evaluate=stop)
    fit({"net": network()}, batches(), update, PLAIN, checkpoint=file)
    assert seen == [0, 1, 1, 2]  # the second epoch was not kept, and is done again


def test_every_epoch_is_saved_and_on_the_disk(tmp_path, monkeypatch):
    waits, epochs, written = [], [], []
    monkeypatch.setattr("kdnb.paths.os.fsync", waits.append)
    monkeypatch.setattr(
        "kdnb.training.loop.atomic_write",
        lambda path, content: (written.append(len(epochs)), atomic_write(path, content)),
    )
    recipe, file = PLAIN.model_copy(update={"epochs": 12}), tmp_path / "checkpoint"

    def seen(networks):
        epochs.append(1)
        return {}

    def run():
        update = Update(("net",), cross_entropy)
        return fit({"net": network()}, batches(), update, recipe, checkpoint=file, evaluate=seen)

    run()
    assert written == list(range(1, 13)) and len(waits) == 12
    assert len(run()) == 12 and len(epochs) == 12  # a finished run is not made again


def test_checkpoint_of_another_run_is_refused(tmp_path):
    file = tmp_path / "checkpoint"
    fit({"net": network()}, batches(), Update(("net",), cross_entropy), PLAIN, checkpoint=file)
    with pytest.raises(ValueError, match="belongs to another run"):
        fit({"net": network()}, batches(), Update(("net",), cross_entropy), PLAIN, seed=1,
            checkpoint=file)  # fmt: skip


def test_damaged_checkpoint_starts_afresh(tmp_path, caplog):
    file = tmp_path / "checkpoint"
    update = Update(("net",), cross_entropy)
    first = network()
    fit({"net": first}, batches(), update, PLAIN, checkpoint=file)
    file.write_bytes(file.read_bytes()[:-200])
    second = network()
    fit({"net": second}, batches(), update, PLAIN, checkpoint=file)
    assert torch.equal(weights(first), weights(second))
    assert "is damaged" in caplog.text


def test_two_networks_two_optimisers_move_separately():
    """Mutual learning in small: each network follows its own term, at its own rate."""
    nets = {"one": network(0, 0), "two": network(1, 0)}
    start = {name: weights(net) for name, net in nets.items()}

    def pull(own, other):
        def terms(networks, batch):
            target = networks[other](batch.images).detach()
            mine = networks[own](batch.images)
            return {f"{own} hard": F.cross_entropy(mine, batch.labels),
                    f"{own} soft": F.mse_loss(mine, target)}  # fmt: skip

        return terms

    slow = Recipe(epochs=3, lr=1e-6, momentum=0, schedule="constant", precision="32")
    updates = [
        Update(("one",), pull("one", "two")),
        Update(("two",), pull("two", "one"), recipe=slow),
    ]
    history = fit(nets, batches(), updates, PLAIN)
    moved = {name: (weights(net) - start[name]).norm() for name, net in nets.items()}
    assert moved["one"] > 1000 * moved["two"] > 0
    assert {"one hard", "one soft", "two hard", "two soft"} < set(history[0])


def test_a_long_gradient_is_scaled_to_its_largest_norm():
    free, still = network(dropout=0), network(dropout=0)
    one = Recipe(epochs=1, lr=0.1, momentum=0, schedule="constant", precision="32")
    single = Batches(images(16), 16, mean=(0.5,), sd=(0.25,))
    start = weights(free)
    fit({"net": free}, single, Update(("net",), cross_entropy), one)
    fit({"net": still}, single, Update(("net",), cross_entropy, max_norm=1e-3), one)
    step, short = weights(free) - start, weights(still) - start
    assert short.norm() == pytest.approx(1e-4, rel=1e-3) and step.norm() > 2 * short.norm()
    # What the shorter step keeps of float32 weights is a few thousandths of it.
    assert short @ step / short.norm() / step.norm() > 0.9999


def test_frozen_networks_stay_as_they_were():
    nets = {"net": network(), "teacher": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64))}
    before = copy.deepcopy(nets["teacher"].state_dict())

    def terms(networks, batch):
        assert not networks["teacher"].training
        return {"x": networks["net"](batch.images).square().mean()
                + networks["teacher"](batch.images).mean() * 0}  # fmt: skip

    fit(nets, batches(), Update(("net",), terms), PLAIN)
    for key, value in nets["teacher"].state_dict().items():
        assert torch.equal(value, before[key])
    assert nets["teacher"].training
    assert all(parameter.requires_grad for parameter in nets["teacher"].parameters())
    assert nets["net"].training


def test_a_loss_that_is_not_finite_names_step_and_term():
    calls, net = [], network()

    def terms(networks, batch):
        calls.append(copy.deepcopy(net.state_dict()))
        good = networks["net"](batch.images).square().mean()
        return {"good": good, "bad": good * (float("nan") if len(calls) == 6 else 1)}

    with pytest.raises(NonFiniteLoss, match=r"'bad' became nan at step 6"):
        fit({"net": net}, batches(), Update(("net",), terms), PLAIN)
    assert len(calls) == 6
    for key, value in net.state_dict().items():  # the step of that loss was not taken
        assert torch.equal(value, calls[-1][key]), key


def test_the_callers_random_state_is_left_alone():
    net = network()

    def draw():
        return [torch.rand(4).tolist(), random.random(), float(np.random.rand())]

    def seed():
        torch.manual_seed(3), random.seed(3), np.random.seed(3)

    seed()
    expected = draw()
    seed()
    fit({"net": net}, batches(), Update(("net",), cross_entropy), PLAIN)
    assert draw() == expected


def test_bf16_keeps_losses_and_weights_in_float32():
    seen = {}

    def terms(networks, batch):
        logits = networks["net"](batch.images)
        seen["logits"] = logits.dtype
        return {"hard": F.cross_entropy(logits, batch.labels)}

    net = network()
    fit(
        {"net": net},
        batches(),
        Update(("net",), terms),
        PLAIN.model_copy(update={"precision": "bf16"}),
    )
    assert seen["logits"] == torch.float32
    assert weights(net).dtype == torch.float32


def test_tensorboard_has_scalars_and_images(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit({"net": network()}, batches(), Update(("net",), cross_entropy), PLAIN, log_dir=tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("hard")] == [1, 2, 3]
    assert events.Tags()["images"] == ["images"]


def test_predict_follows_the_order_and_restores_the_mode():
    net = network().train()
    plain = Batches(images(), 10, mean=(0.5,), sd=(0.25,), shuffle=False)
    outputs = predict(net, plain)
    assert net.training
    net.eval()
    one = images().images[37:38].float() / 255
    torch.testing.assert_close(outputs[37:38], net((one - 0.5) / 0.25), rtol=1e-4, atol=1e-5)


def test_two_processes_average_their_gradients(tmp_path):
    """Data-parallel training takes the same steps as one process with the whole batch.

    Also where the last batch is of 3 samples, two for one process and one for the other, or of a
    single one. Batch normalisations see the share of their process, and a line says so.
    """
    script = tmp_path / "parallel.py"
    script.write_text(
        textwrap.dedent("""
        import sys, torch
        sys.path.insert(0, sys.argv[1])
        from lightning_fabric import Fabric
        from test_training import (
            PLAIN, Batches, Update, cross_entropy, fit, images, network, nn, weights,
        )
        def made(count):
            return Batches(images(count), 16, mean=(0.5,), sd=(0.25,))
        def work(fabric):
            for count in (64, 35, 33):
                net, update = network(dropout=0), Update(("net",), cross_entropy)
                rows = fit({"net": net}, made(count), update, PLAIN, fabric=fabric)
                single = network(dropout=0)
                alone = fit({"net": single}, made(count), update, PLAIN)
                torch.testing.assert_close(weights(net), weights(single), rtol=1e-4, atol=1e-6)
                for ours, theirs in zip(rows, alone, strict=True):
                    assert abs(ours["hard"] - theirs["hard"]) < 1e-5
            norm = nn.BatchNorm1d(64)
            net = nn.Sequential(nn.Flatten(), norm, nn.Linear(64, 3))
            recipe = PLAIN.model_copy(update={"epochs": 1, "lr": 1e-9})
            fit({"net": net}, made(16), update, recipe, fabric=fabric)
            share = next(made(16).epoch(0)).images.flatten(1)[fabric.global_rank :: 2]
            torch.testing.assert_close(norm.running_mean, 0.1 * share.mean(0))
            if fabric.is_global_zero:
                print("equal")
        if __name__ == "__main__":
            Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn").launch(work)
        """)
    )
    here = str(__import__("pathlib").Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, str(script), here],
        env={**os.environ, "TQDM_DISABLE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "equal" in done.stdout, done.stderr[-2000:]
    assert done.stderr.count("2 processes share each batch: batch normalisations are not") == 1

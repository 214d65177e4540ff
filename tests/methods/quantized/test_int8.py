"""Down to arithmetic in int8: training, files without code, and what is refused."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from several_teachers import digits, unchanged
from small_quantised import QUICK, STEP, convnet, teacher, trained
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import losses
from kdnb.methods import quantized as q

IMAGES = digits()[0]


def test_what_is_prepared_learns_and_what_is_converted_computes_in_int8():
    student = trained(epochs=12)
    before = copy.deepcopy(student.state_dict())
    fit = q.int8_distillation(student, teacher(), digits(), QUICK)
    assert unchanged(student, before)
    small = fit.networks["int8"]
    kinds = {type(part).__module__ for part in small.modules()}
    assert any("quantized" in kind for kind in kinds)
    weights = [
        p.weight()
        for p in small.modules()
        if hasattr(p, "set_weight_bias") and hasattr(p, "weight")
    ]
    assert [w.dtype for w in weights] == [torch.qint8, torch.qint8]
    fake = fit.networks["student"].eval()(IMAGES)
    assert (small(IMAGES).argmax(1) == fake.argmax(1)).float().mean() > 0.95
    assert kdnb.evaluate(small, digits())["accuracy"] > 0.75


def test_the_loss_by_hand():
    images, labels = digits()
    student, guide = trained(), teacher()
    fit = q.int8_distillation(student, guide, (images, labels), STEP, batch_size=120)
    z, v = student.train()(images), guide.eval()(images)  # eight bits round little
    assert fit.rows[0]["soft"] == pytest.approx(
        0.7 * float(losses.soft_targets(z, v, 2.0)), rel=0.1
    )
    assert fit.rows[0]["hard"] == pytest.approx(0.3 * float(losses.hard_loss(z, labels)), rel=0.1)


def test_a_file_holds_numbers_and_gives_the_same_network(tmp_path):
    student = trained()
    small = q.converted(_calibrated(student))
    path = q.save_int8(small, tmp_path / "int8.safetensors")
    found = q.load_int8(convnet(5), IMAGES, path)
    assert torch.equal(found(IMAGES), small(IMAGES))
    assert path.stat().st_size < 0.5 * q.stored_bytes(student)
    assert {str(value.dtype) for value in load_file(path).values()} >= {"torch.int8"}


def test_it_is_exported_as_it_is(tmp_path):
    """`kdnb.export` rounds no second time what was trained with its rounding."""
    small = q.converted(_calibrated(trained()))
    frame = kdnb.export(small, IMAGES, tmp_path, formats=["int8"])
    assert frame.difference["int8"] == 0 and frame.batches["int8"] == "any"
    assert torch.equal(torch.jit.load(tmp_path / "student.int8.ts")(IMAGES), small(IMAGES))
    frame = kdnb.export(small, IMAGES, tmp_path / "all")
    assert frame.file["int8"] and frame.note["state_dict"].startswith("not possible: ")


def _calibrated(network):
    ready = q.prepared(network, IMAGES)
    ready(IMAGES)
    return ready


def test_other_files_and_networks_are_refused(tmp_path):
    path = q.save_int8(q.converted(_calibrated(trained())), tmp_path / "int8")
    with pytest.raises(ValueError, match="another network"):
        q.load_int8(convnet(width=6), IMAGES, path)
    with pytest.raises(ValueError, match="another network"):
        q.load_int8(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)), IMAGES, path)
    save_file({"a": torch.ones(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match="holds no int8 network"):
        q.load_int8(convnet(), IMAGES, tmp_path / "other")
    with pytest.raises(ValueError, match="computes nothing in int8"):
        q.save_int8(convnet(), tmp_path / "none")
    with pytest.raises(ValueError, match="no engine"):
        q.prepared(convnet(), IMAGES, engine="steam")


def test_a_network_that_branches_on_numbers_is_refused():
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(784, 10)

        def forward(self, images):
            flat = images.flatten(1)
            return self.layer(flat if flat.sum() > 0 else -flat)

    with pytest.raises(ValueError, match="cannot trace"):
        q.prepared(Branching(), IMAGES)


def test_a_distilled_network_is_written_read_exported_and_timed(tmp_path):
    small = q.int8_distillation(trained(), teacher(), digits(), QUICK).networks["int8"]
    read = q.load_int8(convnet(5), IMAGES, q.save_int8(small, tmp_path / "int8.safetensors"))
    kdnb.export(small, IMAGES, tmp_path, formats=["int8"])
    run = torch.jit.load(tmp_path / "student.int8.ts")
    for network in (read, run):
        assert torch.equal(network(IMAGES), small(IMAGES))
        assert 0 < q.latency(network, IMAGES, 3) < 1000


def normalised(norm):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )


class Norm(nn.BatchNorm2d):
    """Of a library of its own, with its own forward."""

    def forward(self, maps):
        return F.batch_norm(
            maps, self.running_mean, self.running_var, self.weight, self.bias, self.training
        )


def test_batch_normalisations_of_every_kind_learn_and_are_converted():
    zero = nn.BatchNorm2d(4)
    nn.init.zeros_(zero.weight)  # torch divides by it while it learns
    for norm in (zero, nn.BatchNorm2d(4, affine=False), Norm(4)):
        student = normalised(norm)
        fit = q.int8_distillation(student, teacher(), digits(), QUICK)
        small = fit.networks["int8"]
        whole, parts = small(IMAGES), torch.cat([small(IMAGES[:40]), small(IMAGES[40:])])
        assert whole.isfinite().all()
        torch.testing.assert_close(whole, parts)  # each image alone: no statistics of a batch
    assert zero.weight.eq(0).all()  # the copy alone has changed


def test_a_network_whose_trace_would_stay_in_train_mode_is_refused():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, images):
            return self.layer(F.dropout(images.flatten(1), 0.5, self.training))

    network = Dropping()
    with pytest.raises(ValueError, match="in train mode for ever: .*dropout.* such as nn.Dropout"):
        q.int8_distillation(network, teacher(), digits(), QUICK)
    with_module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
    small = q.int8_distillation(with_module, teacher(), digits(), QUICK).networks["int8"]
    assert torch.equal(small(IMAGES), small(IMAGES))


def test_the_latency_is_a_time_and_leaves_the_mode():
    network = convnet().train()
    assert 0 < q.latency(network, IMAGES, 3) < 1000
    assert network.training and network[1].training
    with pytest.raises(ValueError, match="repeats"):
        q.latency(network, IMAGES, 0)
    assert q.processor()

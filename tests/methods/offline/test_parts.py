"""Methods as `kdnb.distil` takes them: names, lists, callables, options, teachers, any targets."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import kdnb
from kdnb import losses, nets
from kdnb.losses import soft_targets

QUICK = {"epochs": 1, "batch_size": 8, "lr": 0.05, "precision": "32"}


def linear(seed=0, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))


def inputs(count=24):
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def tensors(count=24, classes=3):
    return inputs(count), torch.arange(count) % classes


def resnet(seed=0, **options):
    torch.manual_seed(seed)
    size = {"num_classes": 3, "in_channels": 3, "image_size": 16, "width": 0.25}
    return nets.build("resnet8", **(size | options))


def pictures(count=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 3


def weight_after(**options):
    """The student's weight after a short distillation."""
    student = linear(0, options.pop("classes", 3))
    teacher = options.pop("teacher", None) or linear(1)
    kdnb.distil(student, teacher, options.pop("data", tensors()), **(QUICK | options))
    return student[1].weight.detach()


# --- names, lists and options ---------------------------------------------------------------------


def test_names_are_understood_in_any_spelling():
    expected = weight_after(method="kd")
    assert torch.equal(weight_after(method="soft_targets"), expected)
    assert torch.equal(weight_after(method="KD"), expected)
    with pytest.raises(ValueError, match=r"there is no method 'kdd' \(nearest: "):
        weight_after(method="kdd")
    with pytest.raises(TypeError, match="a method is a name of the catalogue, a callable"):
        weight_after(method=3)


def test_options_go_to_the_method_and_change_it():
    assert not torch.equal(weight_after(temperature=2), weight_after(temperature=8))
    expected = weight_after(method=lambda z, v: soft_targets(z, v, 2.0))
    torch.testing.assert_close(weight_after(temperature=2), expected)
    with pytest.raises(ValueError, match=r"no option 'temprature' \(nearest: temperature\)"):
        weight_after(temprature=2)


def test_several_methods_have_a_column_each_and_weights_by_name():
    student, teacher = resnet(0), resnet(1, width=0.5)
    fit = kdnb.distil(
        student,
        teacher,
        pictures(),
        method=["kd", "at"],
        weight={"at": 100},
        temperature=2,
        **QUICK,
    )
    assert list(fit.history) == ["epoch", "lr", "kd", "at", "hard", "seconds"]
    both = weight_after(method=["kd", "logit_regression"], weight={"kd": 0.5, "Logits": 2})

    def mine(z, v):
        return 0.5 * soft_targets(z, v, 4.0) + 2 * losses.logit_regression(z, v)

    torch.testing.assert_close(both, weight_after(method=mine))
    with pytest.raises(ValueError, match=r'take their weights by name: weight=\{"kd": \.\.\.'):
        weight_after(method=["kd", "dkd"], weight=2.0)
    with pytest.raises(ValueError, match="weight names 'at', and the methods are kd, dkd"):
        weight_after(method=["kd", "dkd"], weight={"at": 2.0})
    with pytest.raises(ValueError, match="the method 'kd' is given twice"):
        weight_after(method=["kd", "soft_targets"])
    with pytest.raises(ValueError, match="no weight is published for Logits"):
        weight_after(method="logit_regression")


def test_an_option_of_two_methods_is_given_by_name():
    two = ["kd", "dkd"]
    with pytest.raises(ValueError, match="temperature is an option of kd and dkd: say whose by"):
        weight_after(method=two, temperature=4)
    apart = weight_after(method=two, temperature={"kd": 4, "dkd": 2})
    assert not torch.equal(apart, weight_after(method=two, temperature={"kd": 4, "dkd": 8}))


def test_what_several_methods_learn_is_kept_by_name():
    fit = kdnb.distil(
        resnet(0), resnet(1, width=0.5), pictures(), method=["fitnets", "crd", "kd"], **QUICK
    )
    assert set(fit.learnt) == {"fitnets", "crd"}
    assert kdnb.distil(linear(0), linear(1), tensors(), **QUICK).learnt is None


def test_the_network_to_deploy_is_among_the_networks():
    fit = kdnb.distil(resnet(0), resnet(1, width=0.5), pictures(), method="simkd", **QUICK)
    assert "hard" not in fit.history  # it stands alone
    assert fit.networks["deployed"].eval()(pictures()[0]).shape == (16, 3)


# --- a loss of one's own --------------------------------------------------------------------------


def test_a_callable_may_take_labels_and_options():
    def with_labels(student_logits, teacher_logits, labels, sharpness=1.0):
        own = F.cross_entropy(student_logits, labels)
        return own + sharpness * F.mse_loss(student_logits, teacher_logits)

    fit = kdnb.distil(linear(0), linear(1), tensors(), method=with_labels, sharpness=0.0, **QUICK)
    assert fit.history.with_labels.tolist() == fit.history.hard.tolist()
    with pytest.raises(ValueError, match=r"no option 'sharpnes' \(nearest: sharpness\)"):
        kdnb.distil(linear(0), linear(1), tensors(), method=with_labels, sharpnes=0.0, **QUICK)
    with pytest.raises(ValueError, match="soft_targets needs temperature"):
        weight_after(method=soft_targets)
    torch.testing.assert_close(weight_after(method=soft_targets, temperature=4), weight_after())


def test_a_module_as_a_method_learns_along():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, student_logits, teacher_logits):
            return F.mse_loss(self.scale * student_logits, teacher_logits)

    mine = Scaled()
    fit = kdnb.distil(linear(0), linear(1), tensors(), method=mine, **QUICK)
    assert fit.learnt is mine and mine.scale.item() != 1.0
    assert "soft" in fit.history
    kdnb.distil(linear(0), linear(1), tensors(), method=nn.MSELoss(), **QUICK)


# --- teachers -------------------------------------------------------------------------------------


def test_several_teachers_are_the_mean_of_their_softened_answers():
    members, temperature = [linear(1), linear(2)], 3.0

    def together(images):
        answers = [(member(images) / temperature).softmax(1) for member in members]
        return temperature * torch.stack(answers).mean(0).log()

    expected = weight_after(teacher=together, temperature=temperature)
    found = weight_after(teacher=members, temperature=temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="averaged at one temperature; these methods have 2 and 4"):
        weight_after(teacher=members, method=["kd", "dkd"], temperature={"kd": 4, "dkd": 2})
    with pytest.raises(ValueError, match="several teachers, or a function, have no layers"):
        kdnb.distil(resnet(0), [resnet(1), resnet(2)], pictures(), method="at", **QUICK)


def test_a_function_of_the_inputs_teaches():
    teacher = linear(1)
    torch.testing.assert_close(weight_after(teacher=lambda x: teacher(x)), weight_after())
    with pytest.raises(TypeError, match="a teacher is a module, a list of modules or a function"):
        weight_after(teacher="resnet")


# --- what networks return -------------------------------------------------------------------------


class Returning(nn.Module):
    def __init__(self, how, seed=0):
        super().__init__()
        self.network, self.how = linear(seed), how

    def forward(self, images):
        return self.how(self.network(images))


class Answer:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    "how", [lambda z: {"logits": z}, lambda z: (z, z * 2), Answer, lambda z: [(z,), None]]
)
def test_logits_are_found_in_what_networks_return(how):
    student, teacher = Returning(how, 0), Returning(how, 1)
    kdnb.distil(student, teacher, tensors(), **QUICK)
    torch.testing.assert_close(student.network[1].weight, weight_after())
    assert kdnb.evaluate(student, tensors(), teacher=teacher)["images"] == 24


def test_output_says_where_the_logits_are():
    how = lambda z: {"other": z * 0, "scores": z}
    student = Returning(how)
    kdnb.distil(student, linear(1), tensors(), output=("scores", None), **QUICK)
    torch.testing.assert_close(student.network[1].weight, weight_after())
    student, teacher = Returning(how), Returning(how, 1)
    kdnb.distil(student, teacher, tensors(), output=lambda answer: answer["scores"], **QUICK)
    torch.testing.assert_close(student.network[1].weight, weight_after())
    with pytest.raises(TypeError, match="returned a dict with 'other', 'scores'.*by output="):
        kdnb.distil(Returning(how), linear(1), tensors(), **QUICK)
    with pytest.raises(TypeError, match="output='wrong' finds no tensor"):
        kdnb.train(Returning(how), tensors(), output="wrong", **QUICK)


# --- labels ---------------------------------------------------------------------------------------

LABELS = {
    "none": TensorDataset(inputs()),
    "soft": TensorDataset(inputs(), torch.rand(24, 3).softmax(1)),
    "unnormalised": TensorDataset(inputs(), torch.rand(24, 3) + 1),
    "real": TensorDataset(inputs(), torch.randn(24)),
    "indexed": TensorDataset(inputs(), torch.arange(24) % 3, torch.arange(24)),
    "column": TensorDataset(inputs(), (torch.arange(24) % 3)[:, None]),
    "one-hot": TensorDataset(inputs(), torch.eye(3).long()[torch.arange(24) % 3]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_nobody_reads_may_be_anything(kind):
    expected = weight_after(data=TensorDataset(*tensors()), label_weight=0)
    assert torch.equal(weight_after(data=LABELS[kind], label_weight=0), expected)


@pytest.mark.parametrize("kind", ["soft", "column", "one-hot"])
def test_labels_that_make_sense_are_read(kind):
    data = LABELS[kind]
    found = weight_after(data=data)
    if kind != "soft":
        assert torch.equal(found, weight_after(data=TensorDataset(*tensors())))
    assert not torch.equal(found, weight_after(data=data, label_weight=0))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", r"a batch must be a pair \(inputs, labels\), not a list of 1"),
        ("indexed", r"a batch must be a pair \(inputs, labels\), not a list of 3"),
        ("unnormalised", r"whose rows sum to 1; got torch.float32 of shape \(8, 3\)"),
        ("real", r"numbers of classes of shape \(8,\).*got torch.float32 of shape \(8,\)"),
    ],
)
def test_labels_that_cannot_be_read_are_refused_in_one_sentence(kind, message):
    with pytest.raises((TypeError, ValueError), match=message):
        weight_after(data=LABELS[kind])


def test_a_method_that_reads_labels_says_so_before_training():
    with pytest.raises(ValueError, match="DKD reads labels, and this data gives none"):
        weight_after(data=LABELS["none"], method="dkd", label_weight=0)


# --- one logit, dense logits ----------------------------------------------------------------------


def test_one_logit_is_a_binary_task():
    data = tensors(classes=2)
    one, two = linear(0, 1), linear(0, 2)
    teacher_one, teacher_two = linear(1, 1), linear(1, 2)
    with torch.no_grad():
        for single, double in ((one, two), (teacher_one, teacher_two)):
            double[1].weight.copy_(torch.cat([torch.zeros(1, 36), single[1].weight]))
            double[1].bias.copy_(torch.cat([torch.zeros(1), single[1].bias]))
    plain = {"epochs": 1, "batch_size": 24, "lr": 1e-4, "momentum": 0.0, "precision": "32"}
    start = one[1].weight.clone()
    ours = kdnb.distil(one, teacher_one, data, **plain).history
    theirs = kdnb.distil(two, teacher_two, data, **plain).history
    assert ours.kd[0] == pytest.approx(theirs.kd[0], rel=1e-5) and ours.kd[0] > 0
    assert ours.hard[0] == pytest.approx(theirs.hard[0], rel=1e-5)
    assert not torch.equal(one[1].weight, start)
    measured = kdnb.evaluate(one, data)
    right = ((one(data[0])[:, 0] > 0).long() == data[1]).float().mean().item()
    assert measured["accuracy"] == pytest.approx(right)
    with pytest.raises(ValueError, match="DKD has no form for one logit"):
        kdnb.distil(linear(0, 1), linear(1, 1), data, method="dkd", **plain)


def dense(seed):
    torch.manual_seed(seed)
    return nn.Conv2d(3, 5, 3, padding=1)


def test_dense_maps_leave_out_what_is_ignored():
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 6, 6), torch.randint(5, (8, 6, 6))
    labels[:, 0] = 255
    data, recipe = (images, labels), {**QUICK, "batch_size": 8, "momentum": 0.0}
    logits, taught = dense(0)(images), dense(1)(images)
    kept = labels != 255
    mine, theirs = logits.movedim(1, -1)[kept], taught.movedim(1, -1)[kept]
    expected = F.cross_entropy(mine, labels[kept]).item()
    fit = kdnb.train(dense(0), data, ignore_index=255, **recipe)
    assert fit.history.hard[0] == pytest.approx(expected, rel=1e-5)
    fit = kdnb.distil(dense(0), dense(1), data, ignore_index=255, **recipe)
    assert fit.history.hard[0] == pytest.approx(expected, rel=1e-5)
    assert fit.history.kd[0] == pytest.approx(soft_targets(mine, theirs, 4.0).item(), rel=1e-5)
    whole = kdnb.distil(dense(0), dense(1), images, label_weight=0, **recipe).history.kd[0]
    flat = (net(images).movedim(1, -1).flatten(0, -2) for net in (dense(0), dense(1)))
    assert whole == pytest.approx(soft_targets(*flat, 4.0).item(), rel=1e-5)
    measured = kdnb.evaluate(dense(0), data, ignore_index=255, teacher=dense(1))
    assert measured["images"] == kept.sum()
    assert measured["errors"] == (mine.argmax(1) != labels[kept]).sum()
    with pytest.raises(ValueError, match=r"got 0 to 255: name the label .* by ignore_index"):
        kdnb.train(dense(0), data, **recipe)


def test_sequences_of_tokens_count_every_token():
    torch.manual_seed(0)
    tokens, labels = torch.randn(8, 4, 6), torch.randint(3, (8, 4))
    labels[:, -1] = -100
    student = nn.Linear(6, 3)
    logits = student(tokens)
    expected = F.cross_entropy(logits[:, :3].flatten(0, 1), labels[:, :3].flatten()).item()
    fit = kdnb.train(student, (tokens, labels), **{**QUICK, "batch_size": 8})
    assert fit.history.hard[0] == pytest.approx(expected, rel=1e-5)


# --- data -----------------------------------------------------------------------------------------


def test_crd_counts_what_the_sampler_gives():
    images, labels = pictures(32)
    part = DataLoader(TensorDataset(images, labels), 8, sampler=SubsetRandomSampler(range(16)))
    listed = list(DataLoader(TensorDataset(images, labels), 8))
    for data, count in ((part, 16), (listed, 32)):
        fit = kdnb.distil(resnet(0), resnet(1), data, method="crd", epochs=1, precision="32")
        assert fit.learnt.crd.dataset_size == count

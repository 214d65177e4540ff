"""The front door: `import kdnb` and its verbs, on strangers' networks and data."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import kdnb
from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.losses import soft_targets

QUICK = {"epochs": 2, "batch_size": 8, "lr": 0.05, "precision": "32"}


def linear(seed=0, classes=3, size=36):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, classes))


def tensors(count=24, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 6, 6, generator=generator), torch.arange(count) % classes


def resnet(seed=0, **options):
    torch.manual_seed(seed)
    size = {"num_classes": 3, "in_channels": 3, "image_size": 16, "width": 0.25}
    return nets.build("resnet8", **(size | options))


def pictures(count=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 3


# --- importing ------------------------------------------------------------------------------------


def test_importing_kdnb_imports_nothing_heavy():
    code = (
        "import sys, kdnb; heavy = {'torch', 'pandas', 'matplotlib', 'seaborn', 'lightning_fabric'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_the_package_offers_its_verbs_and_rooms():
    verbs = {"train", "distil", "mutual", "born_again", "evaluate", "Fit", "Recipe"}
    assert verbs <= set(dir(kdnb)) and verbs <= set(kdnb.__all__)
    assert all(hasattr(kdnb, name) for name in kdnb.__all__)
    assert kdnb.data.load and kdnb.nets.build and kdnb.losses.soft_targets
    with pytest.raises(AttributeError, match="kdnb has no 'distill'; it offers"):
        _ = kdnb.distill


# --- data -----------------------------------------------------------------------------------------


class Own(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, position):
        inputs, labels = tensors()
        return inputs[position], int(labels[position])


def forms():
    images = Images(torch.zeros(24, 1, 6, 6, dtype=torch.uint8), torch.arange(24) % 3)
    return {
        "tensors": tensors(),
        "dataset": Own(),
        "loader": DataLoader(Own(), 8),
        "list": [tensors(8), tensors(8)],
        "batches": Batches(images, 8, mean=(0.5,), sd=(0.3,)),
    }


@pytest.mark.parametrize("form", forms())
def test_every_form_of_data(form):
    data = forms()[form]
    fit = kdnb.distil(linear(1), linear(2), data, epochs=2, lr=0.05, precision="32")
    assert list(fit.history) == ["epoch", "lr", "kd", "hard", "seconds"]
    assert kdnb.evaluate(linear(1), data)["images"] == (16 if form == "list" else 24)


def test_images_of_a_data_set_are_normalised_by_its_card_and_augmented_by_the_recipe():
    digits = kdnb.data.load("mnist")
    few, seen = digits.train.select(slice(32)), []
    network = linear(classes=10, size=784)
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    kdnb.train(network, few, epochs=1, batch_size=32, lr=0.01, precision="32")
    plain = (few.images.float() / 255 - digits.mean[0]) / digits.sd[0]
    assert sorted(seen[0].sum((1, 2, 3)).tolist()) == pytest.approx(
        sorted(plain.sum((1, 2, 3)).tolist()), rel=1e-4
    )
    seen.clear()
    kdnb.train(network, few, epochs=1, batch_size=32, lr=0.01, precision="32", crop_padding=2)
    assert sorted(seen[0].sum((1, 2, 3)).tolist()) != pytest.approx(
        sorted(plain.sum((1, 2, 3)).tolist()), rel=1e-6
    )
    with pytest.raises(ValueError, match="belong to no data set whose card"):
        kdnb.train(network, Images(few.images, few.labels), epochs=1)


def test_tensors_come_in_an_order_of_their_own_in_every_epoch():
    batches = kdnb.data.as_batches(tensors(), 5, seed=3)
    orders = [torch.cat([batch.index for batch in batches.epoch(n)]) for n in (0, 1, 0)]
    assert torch.equal(orders[0], orders[2]) and not torch.equal(orders[0], orders[1])
    assert sorted(orders[0].tolist()) == list(range(24)) and len(batches) == 5
    with pytest.raises(ValueError, match="one label an input; got 24 and 3"):
        kdnb.data.as_batches((tensors()[0], torch.arange(3)), 5)


# --- the recipe as keywords -----------------------------------------------------------------------


def test_fields_are_the_recipe_and_change_a_recipe():
    recipe = kdnb.Recipe(**QUICK)
    one, two, three = linear(), linear(), linear()
    kdnb.train(one, tensors(), recipe)
    kdnb.train(two, tensors(), **QUICK)
    kdnb.train(three, tensors(), recipe.model_copy(update={"lr": 0.9}), lr=0.05)
    assert torch.equal(one[1].weight, two[1].weight) and torch.equal(one[1].weight, three[1].weight)
    assert len(kdnb.train(linear(), tensors()).history) == 10  # the default


def test_the_default_recipe_trains_a_network_without_batch_normalisation():
    digits, network = kdnb.data.load("mnist"), nets.build("lenet5_half_dafl")
    teacher = nets.pretrained("lenet5", "mnist")
    lessons, held_out = digits.train.select(slice(1000)), digits.test.select(slice(500))
    kdnb.distil(network, teacher, lessons, temperature=4)
    assert kdnb.evaluate(network, held_out)["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"milestones": (0.5,)}, "milestones=.* would be ignored: schedule='step' reads it"),
        ({"decay": 0.2}, "decay=0.2 would be ignored"),
        ({"optimiser": "adam", "momentum": 0.5}, "momentum=0.5 would be ignored: optimiser='sgd'"),
        ({"optimiser": "adam", "nesterov": True}, "nesterov=True would be ignored"),
        ({"smoothing": 0.9}, "smoothing=0.9 would be ignored: optimiser='rmsprop'"),
        ({"flip": True}, "the recipe asks for .*'flip': True"),
        ({"epoch": 3}, r"train has no option 'epoch' \(nearest: epochs"),
        ({"lr": -1}, r"lr=-1 is refused \(input should be greater than 0\)"),
        ({"lr": float("inf")}, "lr=inf is refused"),
    ],
)
def test_a_field_that_is_unknown_ignored_or_out_of_range_is_refused(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        kdnb.train(linear(), tensors(), **fields)
    assert "\n" not in str(caught.value)


def test_a_batch_size_that_the_batches_do_not_have_is_refused():
    loader = DataLoader(TensorDataset(*tensors()), 4)
    with pytest.raises(ValueError, match="batch_size=8 would be ignored.*of 4 samples"):
        kdnb.train(linear(), loader, epochs=1, batch_size=8)
    kdnb.train(linear(), loader, epochs=1, batch_size=4)
    with pytest.raises(TypeError, match=r"recipe must be a kdnb\.training\.Recipe, not a dict"):
        kdnb.train(linear(), loader, {"epochs": 1})


# --- the user's networks are the user's -----------------------------------------------------------


class Watched(nn.Module):
    """A network with a batch norm that its user has frozen, and one that trains."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.frozen = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.moving, self.head = nn.BatchNorm2d(4), nn.Linear(4 * 14 * 14, 3)
        self.train()
        self.frozen.eval()
        self.first.bias.requires_grad_(False)

    def forward(self, images):
        maps = self.moving(self.frozen(self.first(images)))
        return self.head(maps.view(len(maps), -1))  # not possible with channels last


def state_of(network):
    """Everything about a network that is not a number."""
    return (
        [part.training for part in network.modules()],
        [(p.requires_grad, p.stride(), p.dtype, p.device) for p in network.parameters()],
        [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules()],
    )


VERBS = {
    "train": lambda net, other, **more: kdnb.train(net, pictures(), **more),
    "distil": lambda net, other, **more: kdnb.distil(net, other, pictures(), **more),
    "mutual": lambda net, other, **more: kdnb.mutual([net, other], pictures(), **more),
}


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("verb", VERBS)
def test_networks_are_left_as_they_came(verb, precision):
    net, other = Watched(), resnet(1).eval()
    before, kept = (state_of(net), state_of(other)), net.frozen.running_mean.clone()
    moved = net.moving.running_mean.clone()
    run, recipe = VERBS[verb], {"epochs": 2, "lr": 0.01, "batch_size": 8, "precision": precision}
    run(net, other, **recipe)
    assert (state_of(net), state_of(other)) == before
    assert torch.equal(net.frozen.running_mean, kept)
    assert not torch.equal(net.moving.running_mean, moved)

    def stop(networks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(net, other, evaluate=stop, **recipe)
    assert (state_of(net), state_of(other)) == before
    kdnb.train(other, pictures(), **recipe)  # a former teacher can be trained


def test_hooks_of_a_feature_method_go_when_it_raises():
    student, teacher = resnet(0), resnet(1)
    before = state_of(student), state_of(teacher)

    def stop(networks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kdnb.distil(student, teacher, pictures(), method="at", evaluate=stop, **QUICK)
    assert (state_of(student), state_of(teacher)) == before


def test_a_copy_taken_while_evaluating_can_be_trained():
    copies = []
    kdnb.train(
        linear(), tensors(), evaluate=lambda n: copies.append(copy.deepcopy(n["network"])), **QUICK
    )
    twin = copies[0]
    before = [weight.detach().clone() for weight in twin.parameters()]
    kdnb.train(twin, tensors(), **QUICK)
    moved = [not torch.equal(a, b) for a, b in zip(before, twin.parameters(), strict=True)]
    assert all(moved)


def test_a_student_that_is_its_own_teacher_is_refused():
    network = linear()
    with pytest.raises(ValueError, match="the student is its own teacher"):
        kdnb.distil(network, network, tensors(), **QUICK)
    with pytest.raises(ValueError, match="the student is its own teacher"):
        kdnb.distil(network, [linear(1), network], tensors(), **QUICK)
    sharing = nn.Sequential(nn.Flatten(), network[1])
    with pytest.raises(ValueError, match="share parameters"):
        kdnb.distil(network, sharing, tensors(), **QUICK)
    with pytest.raises(TypeError, match="student must be a torch module; got a function"):
        kdnb.distil(lambda x: x, network, tensors(), **QUICK)


# --- the verbs ------------------------------------------------------------------------------------


def test_mutual_takes_a_list_or_names():
    fit = kdnb.mutual([linear(0), linear(1), linear(2)], tensors(), **QUICK)
    assert list(fit.networks) == ["peer0", "peer1", "peer2"]
    assert {"peer0.hard", "peer2.soft"} <= set(fit.history)
    named = {"one": linear(0), "two": linear(1)}
    fit = kdnb.mutual(named, tensors(), evaluate=tensors(), **QUICK)
    assert fit.networks == named and "two.accuracy" in fit.history
    with pytest.raises(ValueError, match="takes 2 networks or more; got 1"):
        kdnb.mutual([linear()], tensors(), **QUICK)


def test_born_again_returns_its_generations(tmp_path):
    fit = kdnb.born_again(linear, tensors(), generations=2, log_dir=tmp_path, **QUICK)
    assert list(fit.networks) == ["generation0", "generation1", "generation2"]
    assert fit.history.generation.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == list(fit.networks)
    with pytest.raises(ValueError, match="born_again has no option 'generation'"):
        kdnb.born_again(linear, tensors(), generation=2, **QUICK)


def test_every_verb_writes_tensorboard_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kdnb.distil(linear(), linear(1), tensors(), log_dir=tmp_path / "distil", **QUICK)
    kdnb.mutual([linear(), linear(1)], tensors(), log_dir=tmp_path / "mutual", **QUICK)
    kdnb.train(linear(), tensors(), log_dir=tmp_path / "train", **QUICK)
    for name, term in (("distil", "kd"), ("mutual", "peer1.soft"), ("train", "hard")):
        events = EventAccumulator(str(tmp_path / name)).Reload()
        assert [event.step for event in events.Scalars(term)] == [1, 2]


@pytest.mark.parametrize(
    "value",
    [torch.tensor(0.5), torch.tensor([0.5]), 0.5, True, 3, np.float32(0.5), np.array([0.5])],
)
def test_numbers_of_any_kind_are_kept(value, tmp_path):
    fit = kdnb.train(
        linear(), tensors(), evaluate=lambda n: {"mine": value}, checkpoint=tmp_path / "c", **QUICK
    )
    assert fit.history.mine.tolist() == [float(np.asarray(value).item())] * 2
    again = kdnb.train(linear(), tensors(), checkpoint=tmp_path / "c", **QUICK)
    assert again.history.mine.tolist() == [float(np.asarray(value).item())] * 2


def test_a_measure_of_a_terms_name_takes_nothing_from_the_term():
    plain = kdnb.train(linear(), tensors(), **QUICK).history
    fit = kdnb.train(linear(), tensors(), evaluate=lambda n: {"hard": 7.0, "epoch": 9}, **QUICK)
    assert fit.history["evaluate.hard"].tolist() == [7.0, 7.0]
    assert fit.history["evaluate.epoch"].tolist() == [9, 9]
    assert fit.history[["epoch", "hard"]].equals(plain[["epoch", "hard"]])


def test_evaluate_may_give_one_number_or_data_but_no_text():
    fit = kdnb.train(linear(), tensors(), evaluate=lambda n: 0.25, **QUICK)
    assert fit.history.evaluate.tolist() == [0.25, 0.25]
    network = linear()
    fit = kdnb.train(network, tensors(), evaluate=tensors(), **QUICK)
    measured = kdnb.evaluate(network, tensors())
    assert fit.history.iloc[-1][measured.index].tolist() == pytest.approx(measured.tolist())
    with pytest.raises(TypeError, match="numbers by name; 'mine' is a str"):
        kdnb.train(linear(), tensors(), evaluate=lambda n: {"mine": "good"}, **QUICK)


def test_a_fit_is_shown_in_one_line():
    fit = kdnb.train(linear(), tensors(), **QUICK)
    assert repr(fit).startswith("Fit of network: 2 epochs; at last hard ")
    assert fit.rows[0]["epoch"] == 1 and fit.learnt is None


# --- a loop by hand -------------------------------------------------------------------------------


def test_distil_is_the_loop_that_one_would_write():
    recipe = {**QUICK, "schedule": "constant", "momentum": 0.0}
    ours, bare, teacher = linear(0), linear(0), linear(1)
    batches = kdnb.data.as_batches(tensors(), 8, seed=0)
    kdnb.distil(ours, teacher, batches, temperature=4, weight=0.9, label_weight=0.1, **recipe)
    optimiser = torch.optim.SGD(bare.parameters(), lr=0.05)
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            with torch.no_grad():
                taught = teacher(batch.images)
            logits = bare(batch.images)
            loss = 0.9 * soft_targets(logits, taught, 4) + 0.1 * F.cross_entropy(
                logits, batch.labels
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    torch.testing.assert_close(ours[1].weight, bare[1].weight)

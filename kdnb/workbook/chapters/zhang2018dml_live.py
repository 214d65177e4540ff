"""The online methods of chapter 3-2, each run briefly on the same few images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor, nn

from kdnb import data as datasets
from kdnb.data import Batches, ImageData, Images
from kdnb.methods import online
from kdnb.methods.offline.distil import train
from kdnb.runs.functions.online import peer_seed
from kdnb.runs.task import built
from kdnb.training import Recipe
from kdnb.training.devices import default_device
from kdnb.training.inputs import batches_of, logits_on

Networks = dict[str, nn.Module]


@dataclass(frozen=True)
class Workshop:
    """What all methods share: the first images of a data set, tiny networks and one recipe.

    Args:
        dataset: its name.
        images: of its training images; as many test images are looked at, 256 more are held out.
        epochs: of every method.
    """

    dataset: str = "cifar10"
    images: int = 384
    epochs: int = 2

    @cached_property
    def source(self) -> ImageData:
        return datasets.load(self.dataset)

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.epochs, batch_size=32, lr=0.05, schedule="one_cycle", flip=True)

    @property
    def lessons(self) -> Images:
        return self.source.train.select(slice(self.images))

    @property
    def test(self) -> Images:
        return self.source.test.select(slice(self.images))

    @property
    def held_out(self) -> Images:
        return self.source.validation.select(slice(256))

    def batches(self, lessons: Images | None = None) -> Batches:
        """Training batches, flipped at random."""
        return batches_of(lessons or self.lessons, self.source, self.recipe, seed=0)

    def plain(self, images: Images) -> Batches:
        """Images as they are and in their order."""
        scale = {"mean": self.source.mean, "sd": self.source.sd}
        return Batches(images, 64, shuffle=False, device=default_device(), **scale)

    def network(self, number: int = 0, name: str = "tiny") -> nn.Module:
        """The tiny network, or a thin ResNet-8; peers of other numbers have other weights."""
        width = {"width": 0.5} if name == "resnet8" else {}
        return built({"name": name, **width}, self.source, peer_seed(0, number))

    def peers(self, *names: str) -> Networks:
        return {f"peer {i + 1}": self.network(i, name) for i, name in enumerate(names)}

    def branches(self, *networks: nn.Module, at: str) -> online.Branches:
        """One network with several heads that part at a child; at the first they share nothing."""
        return online.Branches.split(
            networks, at, next(self.plain(self.lessons).epoch(0)).images.cpu()
        )

    def seeded(self, make: Callable[..., nn.Module], *arguments, seed: int = 0) -> nn.Module:
        """A gate, a critic, ... with the same initial weights in every run."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(*arguments)

    def accuracy(self, network: nn.Module, images: Images | None = None) -> float:
        """In percent of the test images, or of others."""
        images = images or self.test
        right = logits_on(network, images, self.source).argmax(1) == images.labels
        return 100 * float(right.float().mean())


# --- one short function a method: it trains, and returns what one would deploy -------------------


def alone(w: Workshop) -> Networks:
    network = w.network()
    train(network, w.batches(), w.recipe)
    return {"network": network.eval()}


def mutual(w: Workshop, peers: tuple[str, ...] = ("tiny",) * 2, **options) -> Networks:
    networks = w.peers(*peers)
    online.mutual(networks, w.batches(), w.recipe, **options)
    return {name: network.eval() for name, network in networks.items()}


def kdcl(w: Workshop, aggregate: str) -> Networks:
    networks = w.peers("tiny", "tiny")
    held_out = {"validation": w.plain(w.held_out)} if aggregate == "general" else {}
    online.kdcl(networks, w.batches(), w.recipe, aggregate=aggregate, **held_out)
    return networks


def gated(w: Workshop) -> tuple[online.Branches, online.Gate]:
    """ONE of three branches on the first two stages: the branches and their gate."""
    branches = w.branches(*(w.network(i) for i in range(3)), at="stage3")
    gate = w.seeded(online.Gate, 16, 3)
    online.one(branches, gate, w.batches(), w.recipe)
    return branches, gate


def deployed(branches: online.Branches, *places: int) -> Networks:
    return {f"branch {i + 1}": branches.deployed(i) for i in places}


def one(w: Workshop) -> Networks:
    branches, gate = gated(w)
    return deployed(branches, 0, 1, 2) | {"ensemble": online.GatedBranches(branches, gate)}


def led(w: Workshop) -> tuple[online.Branches, online.PeerAttention]:
    """OKDDip with three peers and a leader: the branches and the attention."""
    branches = w.branches(*(w.network(i) for i in range(4)), at="stage3")
    attention = w.seeded(online.PeerAttention, 64)
    online.okddip(branches, attention, w.batches(), w.recipe)
    return branches, attention


def okddip(w: Workshop) -> Networks:
    return deployed(led(w)[0], 3)


def fusion(w: Workshop) -> Networks:
    branches = w.branches(*w.peers("tiny", "tiny").values(), at="stage1")
    module = w.seeded(online.FeatureFusion, [32, 32], len(w.source.classes))
    online.feature_fusion(branches, module, w.batches(), w.recipe)
    return deployed(branches, 0, 1)


def cheap(w: Workshop) -> Networks:
    students = [
        w.seeded(online.cheap_convolutions, network, seed=i)
        for i, network in enumerate(w.peers("tiny", "tiny").values())
    ]
    branches = w.branches(*students, at="stage1")
    teacher = w.seeded(online.ConcatenatedTeacher, [32, 32], len(w.source.classes))
    online.cheap_online(branches, teacher, w.batches(), w.recipe)
    return deployed(branches, 0, 1)


def rocket(w: Workshop, gradient_block: bool = True) -> Networks:
    light, booster = w.network(0), w.network(1)
    booster.stage3 = nn.Sequential(  # the booster goes on with a layer more, and wider ones
        w.seeded(nn.Conv2d, 16, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        w.seeded(nn.Conv2d, 64, 32, 1), nn.BatchNorm2d(32), nn.ReLU(),
    )  # fmt: skip
    branches = w.branches(light, booster, at="stage3")
    online.rocket(branches, w.batches(), w.recipe, gradient_block=gradient_block)
    return {"light": branches.deployed(0)}


def maps(w: Workshop) -> Networks:
    networks = w.peers("tiny", "tiny")
    transfers = {name: w.seeded(online.Transfer, 32, 32) for name in networks}
    critics = {name: w.seeded(online.Discriminator, 32) for name in networks}
    online.adversarial_maps(
        networks,
        transfers,
        critics,
        w.batches(),
        w.recipe,
        maps="stage3",
        adversarial_recipe=adam(w),
    )
    return networks


def adam(w: Workshop) -> Recipe:
    return Recipe(epochs=w.epochs, batch_size=32, optimiser="adam", lr=0.002, flip=True)


def divergent(w: Workshop) -> tuple[Networks, nn.Module]:
    """ACNs: two classifiers, and the generator of images on which they disagree."""
    networks = w.peers("tiny", "tiny")
    generator, critic = w.seeded(online.DivergentExamples, 3), w.seeded(online.Discriminator, 3, 8)
    online.adversarial_codistillation(
        networks, generator, critic, w.batches(), w.recipe, generator_recipe=adam(w),
        divergence_weight=5.0,
    )  # fmt: skip
    return networks, generator


def temporal(w: Workshop) -> Networks:
    ensemble = online.TemporalEnsemble(w.network(), w.images, len(w.source.classes))
    online.temporal_ensembling(ensemble, w.batches(), w.recipe, ramp_up=w.epochs)
    return {"network": ensemble.network}


def averaged(w: Workshop) -> Networks:
    pair = online.MeanTeacher(w.network(), ema_decay=0.9)
    online.mean_teacher(pair, w.batches(), w.recipe, weight=10.0, ramp_up=w.epochs)
    return {"teacher": pair.teacher}


def checkpoints(w: Workshop) -> Networks:
    kept, images = online.BestSoFar(w.network()), w.held_out

    def score(network: nn.Module) -> float:
        logits = logits_on(network, images, w.source)
        return -float(nn.functional.cross_entropy(logits, images.labels))

    online.from_checkpoints(kept, w.batches(), w.recipe, score=score)
    return {"best": kept.best}


def joined(w: Workshop) -> Networks:
    students = {name: online.Remembering(net) for name, net in w.peers("tiny", "tiny").items()}
    online.multiple_knowledge(students, w.batches(), w.recipe)
    return {name: student.network for name, student in students.items()}


# --- for the pictures ----------------------------------------------------------------------------


@torch.no_grad()
def disagreement(w: Workshop, networks: Networks, generator: nn.Module, count: int = 6):
    """What the generator does to test images.

    Returns:
        The first `count` images after it, on the scale from 0 to 1; and for each test image how
        far two classifiers' answers are apart, KL in both directions, before and after it.
    """
    images = torch.cat([batch.images for batch in w.plain(w.test).epoch(0)])
    made = generator(images)

    def apart(seen: Tensor) -> Tensor:
        log_p, log_q = (network.eval()(seen).log_softmax(1) for network in networks.values())
        return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1).cpu()

    mean, sd = (torch.tensor(v).view(-1, 1, 1) for v in (w.source.mean, w.source.sd))
    return made[:count].cpu() * sd + mean, apart(images), apart(made)


def past(w: Workshop, epochs: int = 5, labelled: int = 128) -> pd.DataFrame:
    """Accuracy on held-out images over the epochs, when only the first images have labels."""
    known = torch.arange(w.images) < labelled
    few = Images(w.lessons.images, w.lessons.labels.where(known, -1))
    recipe = w.recipe.model_copy(update={"epochs": epochs})

    def watch(**networks: nn.Module):
        return lambda _: {name: w.accuracy(n, w.held_out) for name, n in networks.items()}

    pair = online.MeanTeacher(w.network(), ema_decay=0.9)
    columns = {"mean teacher": pair.teacher, "its student": pair.student}
    history = online.mean_teacher(
        pair, w.batches(few), recipe, weight=10.0, ramp_up=epochs, evaluate=watch(**columns)
    )
    frames = [pd.DataFrame(history)[list(columns)]]
    for name, weight in (("temporal ensembling", 10.0), ("labels only", 0.0)):
        ensemble = online.TemporalEnsemble(w.network(), w.images, len(w.source.classes))
        history = online.temporal_ensembling(
            ensemble, w.batches(few), recipe, weight=weight, ramp_up=epochs,
            evaluate=watch(**{name: ensemble.network}),
        )  # fmt: skip
        frames.append(pd.DataFrame(history)[[name]])
    return pd.concat(frames, axis=1).set_axis(range(1, epochs + 1))

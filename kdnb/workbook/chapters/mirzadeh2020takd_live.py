"""Chapter 4's laboratory: small networks on a little Fashion-MNIST, one seed unless said otherwise.

The chapter calls the package itself; here lies what its sections share, and what would be too long
for a cell.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from kdnb import data, losses
from kdnb.data import Batches, ImageData, Images
from kdnb.methods.architecture import accuracy, deepen, depthwise_separable, fake_quantised, widen
from kdnb.methods.architecture import shallower as next_shallower
from kdnb.methods.architecture import thinner as half_as_wide
from kdnb.methods.offline import distil
from kdnb.nets import features
from kdnb.runs import pool, trials
from kdnb.runs.task import built, data_spec
from kdnb.runs.trials import Trial
from kdnb.training import Recipe

DATASET = "fashion_mnist"
TEACHER = {"name": "resnet14", "width": 0.5}
soft_targets = partial(losses.soft_targets, temperature=4.0)
WEIGHTS = {"soft_weight": 0.9, "hard_weight": 0.1}


# --- the capacity gap, with networks so small that several seeds take seconds ---------------------


def mlp(units: int) -> dict[str, Any]:
    """The description of a network with one hidden layer of so many units."""
    return {"name": "mlp", "widths": [units]}


def setting(images: int = 600, test: int = 500, epochs: int = 8) -> dict[str, Any]:
    """Data, recipe, loss and weights as `kdnb.runs.chains.chain` takes them."""
    return {
        "data": data_spec(DATASET, limit=images, evaluated=test),
        "recipe": {"epochs": epochs, "batch_size": 64, "lr": 0.02, "nesterov": True,
                   "schedule": "one_cycle", "precision": "32"},
        "loss": {"name": "soft_targets", "temperature": 4.0}, **WEIGHTS,
    }  # fmt: skip


def errors(wanted: Mapping[tuple[Any, int], Trial]) -> pd.DataFrame:
    """Run trials that are named by (row, seed): test errors in percent, one column a seed."""
    results = trials.run_all(wanted.values())
    found = {}
    for name, trial in wanted.items():
        tested = trial.arguments["data"]["evaluated"]
        found[name] = 100 * results[trial.digest].metrics["test_errors"] / tested
    return pd.Series(found).unstack(sort=False)


# --- networks that meet in their layers, or grow from one another ---------------------------------


class Lab:
    """The same images, teacher and recipe for everything that follows.

    Attributes:
        source: the data set.
        batches: training images, never augmented, so that a teacher's logits are computed once.
        tested: test images, in their order.
        recipe: of every network.
    """

    def __init__(self, images: int = 240, test: int = 500, epochs: int = 4) -> None:
        self.sizes = images, test
        self.recipe = Recipe(epochs=epochs, batch_size=16, lr=0.05, nesterov=True,
                             weight_decay=5e-4, schedule="one_cycle")  # fmt: skip
        self.teacher = self.trained(self.built(TEACHER))

    @property
    def source(self) -> ImageData:
        return data.load(DATASET)

    @cached_property
    def batches(self) -> Batches:
        return self._batches(
            self.source.train_all.select(slice(self.sizes[0])), self.recipe.batch_size
        )

    @cached_property
    def tested(self) -> Batches:
        return self._batches(self.source.test.select(slice(self.sizes[1])), 250, shuffle=False)

    def _batches(self, images: Images, size: int, **more: Any) -> Batches:
        return Batches(images, size, mean=self.source.mean, sd=self.source.sd, **more)

    def __getstate__(self) -> dict[str, Any]:
        # Another process reads the images itself.
        return {k: v for k, v in self.__dict__.items() if k not in ("batches", "tested")}

    def built(self, network: dict[str, Any], seed: int = 0) -> nn.Module:
        """An untrained network of a description, or of a name alone."""
        network = {"name": network} if isinstance(network, str) else network
        return built(network, self.source, seed)

    def trained(self, network: nn.Module) -> nn.Module:
        """The network, trained on labels."""
        distil.train(network, self.batches, self.recipe)
        return network.eval()

    def taught(self, student: nn.Module) -> nn.Module:
        """The network, taught by the teacher's soft targets."""
        distil.distil(
            student, self.teacher, self.batches, self.recipe, method=soft_targets,
            weight=WEIGHTS["soft_weight"], label_weight=WEIGHTS["hard_weight"],
        )  # fmt: skip
        return student.eval()

    def right(self, network: nn.Module) -> float:
        """The share of test images that a network classifies rightly, in percent."""
        return 100 * accuracy(network, self.tested)

    def images(self, count: int = 64) -> Tensor:
        """The first test images, normalised, (count, channels, height, width)."""
        return next(self.tested.epoch(0)).images[:count]

    def course(self, network: nn.Module) -> list[float]:
        """Accuracies before training on labels and after each of its epochs, in percent.

        The rate begins at a lower peak and only falls: a climb would undo what is known already.
        """
        start, after = self.right(network), []
        gently = self.recipe.model_copy(update={"lr": 0.02, "schedule": "cosine"})

        def evaluate(networks) -> dict[str, float]:
            after.append(self.right(networks["network"]))
            return {}

        distil.train(network, self.batches, gently, evaluate=evaluate)
        return [start, *after]


def grown(network: nn.Module, lab: Lab) -> pd.DataFrame:
    """Net2Net on a LeNet-5: how many parameters it gains, how far its answers move.

    Everything in float64: what is left of a difference is rounding.
    """
    network, images = network.cpu().double().eval(), lab.images(250).double()
    ways = {
        "itself": network,
        "wider: second convolution, 16 to 32": widen(network, "stage2.conv", 32, images),
        "wider: hidden layer, 84 to 200": widen(network, "hidden.linear", 200, images),
        "deeper: a convolution behind the first ReLU": deepen(network, "stage1.relu", images),
        "deeper: a linear layer behind the hidden ReLU": deepen(network, "hidden.relu", images),
    }
    with torch.no_grad():
        wanted = network(images)
        rows = {
            name: {
                "parameters": sum(p.numel() for p in other.parameters()),
                "largest change of a logit": float((other.eval()(images) - wanted).abs().max()),
                "answers changed": int((other(images).argmax(1) != wanted.argmax(1)).sum()),
            }
            for name, other in ways.items()
        }
    network.float()
    return pd.DataFrame.from_dict(rows, orient="index")


def growth_courses(network: nn.Module, lab: Lab) -> dict[str, list[float]]:
    """The same wider network, trained from Net2Net's weights and from fresh ones."""
    images = lab.images()
    wider = widen(network, "stage2.conv", 32, images, noise=0.1)
    wider = widen(wider, "hidden.linear", 200, images, noise=0.1)
    fresh = copy.deepcopy(wider)
    torch.manual_seed(1)
    for module in fresh.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return {"from Net2Net": lab.course(wider), "from fresh weights": lab.course(fresh)}


@torch.no_grad()
def residual_maps(pair: nn.Module, teacher: nn.Module, path: str, images: Tensor) -> list[Tensor]:
    """Maps of some images: the teacher's, the student's, the assistant's, and the sum of these two.

    Each (images, height, width), of the channel that the teacher uses most unevenly.
    """
    with features(teacher.eval(), [path]) as seen:
        teacher(images)
    goal, own, rest = seen[path], pair.student(images), pair.assistant(images)
    channel = int(goal.std((0, 2, 3)).argmax())
    return [maps[:, channel].float() for maps in (goal, own, rest, own + rest)]


def shares_recorder(into: list[dict[str, float]]):
    """An `evaluate` for `learn_from_flow`: keeps each layer's share of its own, epoch by epoch."""

    def evaluate(networks) -> dict[str, float]:
        into.append({path: float(share[0]) for path, share in networks["flow"].shares().items()})
        return {}

    return evaluate


# --- students by design --------------------------------------------------------------------------


def designs(lab: Lab, bits: int = 4) -> dict[str, nn.Module]:
    """The five students that the survey names, before they are taught; and the teacher itself."""
    return {
        "same net": lab.built(TEACHER, seed=1),
        "thinner": lab.built(half_as_wide(TEACHER), seed=1),
        "shallower": lab.built(next_shallower(TEACHER), seed=1),
        "depthwise-separable": depthwise_separable(lab.built(TEACHER, seed=1)),
        f"quantised copy, {bits} bits": fake_quantised(lab.teacher, bits),
    }


def trained_designs(lab: Lab, *, taught: bool) -> dict[str, nn.Module]:
    """All designs, by the teacher's soft targets or on labels alone, in two processes."""
    networks = designs(lab)
    jobs = {name: pool.kept(2).submit(_trained_design, lab, name, taught) for name in networks}
    for name, job in jobs.items():
        networks[name].load_state_dict(job.result())
        networks[name].eval()
    return networks


def _trained_design(lab: Lab, name: str, taught: bool) -> dict[str, Tensor]:
    # Its state alone travels: a network with rounded weights cannot be pickled.
    network = designs(lab)[name]
    return (lab.taught if taught else lab.trained)(network).state_dict()


def alone(lab: Lab) -> pd.Series:
    """Accuracies of the same designs trained on labels alone, in percent."""
    networks = trained_designs(lab, taught=False)
    return pd.Series({name: lab.right(network) for name, network in networks.items()})

"""iCaRL (Rebuffi et al. 2017): herded exemplars, distilled sigmoids, nearest-mean classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import icarl_loss
from kdnb.losses.checks import check_choice, check_flags
from kdnb.methods.lifelong.contexts import Contexts, gathered
from kdnb.methods.lifelong.exemplars import Exemplars, at_random, check_stored, herding
from kdnb.methods.lifelong.heads import features_of, head_of
from kdnb.methods.lifelong.sequence import LifelongFit, Stage, Terms, in_sequence
from kdnb.methods.options import recipe_of
from kdnb.training import Networks, Recipe
from kdnb.training.answers import Output
from kdnb.training.layers import Layers, look
from kdnb.training.randomness import mix

Choice = Literal["herding", "random"]
Classify = Literal["means", "head"]


class NearestMean(nn.Module):
    r"""A nearest-mean classifier of stored examples, without weights of its own (Rebuffi 2017).

    .. math:: y^* = \arg\min_y \Big\lVert \frac{\varphi(x)}{\lVert\varphi(x)\rVert} - \mu_y
        \Big\rVert

    with mu the mean of the normalised features of class y's examples, normalised to length 1.

    Args:
        network: the network whose features, the head's input, are compared.
        head: the path of its last linear layer.
        columns: the total number of classes.

    Called with inputs it gives (batch, columns): minus the distance, or minus infinity for classes
    without examples.
    """

    def __init__(self, network: nn.Module, head: str, columns: int) -> None:
        super().__init__()
        self.network, self.layers = network, Layers(maps=(), head=head)
        self.columns, self.means = columns, {}

    @torch.no_grad()
    def learn(self, stored: Exemplars, output: Output = None) -> None:
        """Compute the means of all stored examples, with the network's current features."""
        self.means = {}
        for (_, label), kept in stored.groups.items():
            features = features_of(self.network, kept, self.layers.head, output)
            mean = F.normalize(features.float().flatten(1), dim=1).mean(0)
            self.means[label] = F.normalize(mean, dim=0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Minus the distances (batch, columns)."""
        features = look(self.network, self.layers, inputs).embedding.float().flatten(1)
        unit = F.normalize(features, dim=1)
        scores = unit.new_full((len(unit), self.columns), -torch.inf)
        for label, mean in self.means.items():
            scores[:, label] = -torch.linalg.vector_norm(unit - mean.to(unit.device), dim=1)
        return scores


def icarl(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    memory: int = 2000,
    exemplars: Choice = "herding",
    classify: Classify = "means",
    distil: bool = True,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    r"""Learn classes incrementally with a few stored examples of each (Rebuffi et al. 2017).

    In each context the network learns new images and all stored ones as one set, by
    :func:`kdnb.losses.icarl_loss`. Then examples of the new classes are chosen, and those of the
    others cut, so that each class has memory / (classes so far). Images are classified by the
    nearest mean of the stored examples, computed with the current network; its head is used only in
    training.

    Args:
        network: a logit for each column, by a last linear layer; trained in place.
        contexts: of the scenario "class".
        memory: K, the total number of stored examples; 2000 in the paper.
        exemplars: "herding", or "random" as a control.
        classify: "means", or "head", a control: the largest logit.
        distil: if False, stored images are learnt by their labels, a control.
        recipe, seed, checkpoint, output, fields: as in `lwf`.

    Returns:
        The history, with the term `binary`; `fit.networks` has "network" and "classifier", the
        `NearestMean`; and the accuracy matrix.

    Raises:
        TypeError: for inputs that are not a single tensor.
        ValueError: for a wrong scenario, a memory smaller than the number of classes, a network
            without a last linear layer, or as `in_sequence`.

    Departures: the authors' code was read; the paper is recalled. As in the paper, the old
    network's answers to the new and the stored images are computed once per context; these images
    do not change here. The code averages each class mean with that of mirrored images, which are
    not used here.
    """
    recipe = recipe_of(icarl, recipe, fields)
    check_choice(get_args(Choice), exemplars=exemplars)
    check_choice(get_args(Classify), classify=classify)
    check_flags(distil=distil)
    if contexts.scenario != "class":
        raise ValueError(
            f'icarl learns classes: its contexts must be "class", not "{contexts.scenario}".'
        )
    check_stored(contexts, memory)
    head, stored = head_of(network, contexts.columns), Exemplars(memory)
    nearest = NearestMean(network, head, contexts.columns)

    def plan(stage: Stage) -> Terms:
        seen = contexts.seen(stage.number)
        known = contexts.seen(stage.number - 1) if stage.number and distil else slice(0, 0)

        def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
            logits = networks["network"](batch.images)[:, seen]
            if not known.stop:
                named = F.one_hot(batch.labels, logits.shape[1]).to(logits.dtype)
                each = F.binary_cross_entropy_with_logits(logits, named, reduction="none")
                return {"binary": each.sum(1).mean()}
            with torch.no_grad():
                theirs = networks["old"](batch.images)[:, known]
            return {"binary": icarl_loss(logits, batch.labels, theirs)}

        return terms

    def keep(stage: Stage) -> None:
        inputs, labels = gathered(contexts.train[stage.number])
        choose = at_random(mix(seed, stage.number, 2))
        if exemplars == "herding":

            def choose(own: Tensor, count: int) -> Tensor:
                return herding(features_of(network, own, head, output), count)

        stored.add(stage.number, inputs, labels, choose)
        nearest.learn(stored, output)

    about = {"verb": "icarl", "memory": memory, "exemplars": exemplars, "distil": distil}
    fit = in_sequence(
        network, contexts, recipe, plan, about=about, after=keep, seed=seed,
        data=lambda number: stored.beside(*gathered(contexts.train[number])),
        classifier=nearest if classify == "means" else None, checkpoint=checkpoint, output=output,
        given=fields,
    )  # fmt: skip
    networks = {"network": network, "classifier": nearest}
    return LifelongFit(fit.history, networks, None, fit.accuracy, fit.untrained)

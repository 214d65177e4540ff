"""Lifelong GAN (Zhai et al. 2019): learn to generate new labels and keep the old ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdnb.data import Batch
from kdnb.losses import (
    fooling_loss,
    generator_distillation,
    judging_loss,
    standard_normal_divergence,
)
from kdnb.losses.checks import check_choice, check_number
from kdnb.losses.gan import Kind
from kdnb.methods.lifelong.contexts import Contexts, named_context
from kdnb.methods.lifelong.sequence import (
    LifelongFit,
    beside,
    check_columns,
    frozen_copy,
)
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed, evaluating, modes_kept
from kdnb.training.first import check_finite_weights, check_module, first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.randomness import check_seed, mix, own_random_state, seed_everything


def lifelong_gan(
    generator: nn.Module,
    encoder: nn.Module,
    critic: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    weight: float = 5.0,
    image_weight: float = 10.0,
    code_weight: float = 0.5,
    normal_weight: float = 0.01,
    kind: Kind = "least_squares",
    judge: nn.Module | None = None,
    judged: int = 100,
    known: int = 0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> LifelongFit:
    r"""Lifelong GAN (Zhai 2019): learn to generate labels in contexts, without stored images.

    It trains a BicycleGAN for every context (Zhu et al. 2017), with a label instead of its input
    image:

    .. math:: L = L_{fool}(G(y, E(x))) + \lambda_x \lVert x - G(y, E(x)) \rVert_1
        + \lambda_n \mathrm{KL}(E(x) \| N) + L_{fool}(G(y, n)) + \lambda_c \lVert n - E(G(y, n))
        \rVert_1
        + \beta L_{distil}

    with the noise n and :func:`kdnb.losses.generator_distillation`. The auxiliary conditions of the
    last term are the labels of earlier contexts, drawn at random; its images are those of the new
    context, and its noise is new. The critic learns to separate real images from both kinds of
    generated ones.

    Args:
        generator: (labels, codes) -> images, with an attribute `latent`, the length of a code;
            trained in place.
        encoder: images -> (mean, log-variance) of the code; trained in place.
        critic: (images, labels) -> scores (batch,); trained in place.
        contexts: of the scenario "class": labels are columns.
        weight: beta; 0 is fine-tuning.
        image_weight, code_weight, normal_weight: the other three.
        kind: form of the game between generator and critic.
        judge: a trained classifier of real images, with logits in the order of the contexts'
            `names` (class indices), if there are any. After each context it classifies `judged`
            images of every label; the accuracy matrix holds the percentage with the requested
            label.
        known: the number of contexts already learnt, whose data are not read.
        recipe, seed, checkpoint, fields: as in `lwf`.

    Returns:
        The history, with the terms `fooling`, `image`, `normal`, `code`, `kept` and `judging`; the
        networks; with a judge, the accuracy matrix.

    Raises:
        ValueError: for a wrong scenario, an option out of its range, or networks that do not match
            each other or the images.

    Departures: the losses and weights of the paper and of BicycleGAN are recalled; the weight beta
    and the networks are ours. BicycleGAN has one critic for each half; here one critic judges both.
    As there, the encoder does not learn from the codes of generated images.
    """
    recipe = recipe_of(lifelong_gan, recipe, fields)
    check_seed(seed)
    check_number(
        least=0, weight=weight, image_weight=image_weight, code_weight=code_weight,
        normal_weight=normal_weight,
    )  # fmt: skip
    check_number(least=1, whole=True, judged=judged)
    check_number(least=0, most=len(contexts) - 1, whole=True, known=known)
    check_choice(get_args(Kind), kind=kind)
    if contexts.scenario != "class":
        raise ValueError(f'lifelong_gan takes contexts of "class"; got "{contexts.scenario}".')
    made = {"generator": generator, "encoder": encoder, "critic": critic}
    for name, network in made.items():
        check_module(name, network)
        check_finite_weights(f"the {name}", network)
    for number in range(known, len(contexts)):
        with named_context(number):
            batches = batches_for(contexts.train[number], recipe, seed, given=fields)
            batch = first_batch(batches, seed)
            check_columns(contexts, number, batches, batch)
            _check_networks(generator, encoder, critic, batch)
            if judge is not None:
                tried("judge", judge, batch, learns=False)
    if judge is not None and not all(isinstance(n, int) for one in contexts.names for n in one):
        raise ValueError("with a judge the contexts' names must be its numbers of classes.")
    weights = {"image": image_weight, "normal": normal_weight, "code": code_weight, "kept": weight}
    matrix = torch.full((len(contexts), len(contexts)), torch.nan, dtype=torch.float64)
    history: list[dict[str, Any]] = []
    old = _before(generator, encoder) if known else {}
    about = {"verb": "lifelong_gan", "weights": weights, "kind": kind}
    with borrowed(*made.values()):
        for number in range(known, len(contexts)):
            batches = batches_for(contexts.train[number], recipe, mix(seed, number), given=fields)
            game = _Game(generator, encoder, contexts, number, weights, kind)
            rows = fit(
                {**made, **old}, batches,
                [Update(("generator", "encoder"), game.made), Update(("critic",), game.told_apart)],
                recipe, seed=mix(seed, number, 1), identity={"method": {**about, "context": number}},
                checkpoint=beside(checkpoint, f"{number + 1}"),
            )  # fmt: skip
            history += [{"context": number + 1, **row} for row in rows]
            if judge is not None:
                matrix[number] = shown_rightly(generator, judge, contexts, number, judged, seed)
                history[-1]["accuracy"] = float(matrix[number, : number + 1].mean())
            old = _before(generator, encoder)
    found = Fit.of(history, made)
    return LifelongFit(found.history, found.networks, None, None if judge is None else matrix)


def _check_networks(
    generator: nn.Module, encoder: nn.Module, critic: nn.Module, batch: Batch
) -> None:
    """Ask the three networks about a first batch, before any work."""
    latent, size = getattr(generator, "latent", None), batch.size
    if not isinstance(latent, int) or latent < 1:
        raise ValueError("the generator needs an attribute `latent`, the length of its codes.")
    device = next((p.device for p in generator.parameters()), torch.device("cpu"))
    batch = batch.to(device)

    def answer(name: str, network: nn.Module, *given: Tensor) -> Any:
        try:
            return network.eval()(*given)
        except Exception as error:
            shapes = " and ".join(str(tuple(one.shape)) for one in given)
            words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise ValueError(
                f"the {name} cannot take {shapes}: {type(error).__name__}, {words}."
            ) from error

    with modes_kept(generator, encoder, critic), torch.no_grad(), own_random_state(device):
        codes = answer("encoder", encoder, batch.images)
        parts = codes if isinstance(codes, (tuple, list)) else [codes]
        if [getattr(one, "shape", None) for one in parts] != [(size, latent)] * 2:
            raise ValueError(
                f"the encoder must give mean and log-variance, each ({size}, {latent}) for {size} "
                f"images and codes of {latent} numbers."
            )
        made = answer("generator", generator, batch.labels, parts[0])
        if made.shape != batch.images.shape:
            raise ValueError(
                f"the generator must make images like the data's, {tuple(batch.images.shape)}; it makes "
                f"{tuple(made.shape)}."
            )
        scores = answer("critic", critic, made, batch.labels)
        if scores.numel() != size:
            raise ValueError(
                f"the critic must give a score for each image; it gives {tuple(scores.shape)} for "
                f"{size}."
            )


def _before(generator: nn.Module, encoder: nn.Module) -> dict[str, nn.Module]:
    return {"old_generator": frozen_copy(generator), "old_encoder": frozen_copy(encoder)}


class _Game:
    """Both updates of one context: of the generator and of the critic."""

    def __init__(self, generator, encoder, contexts, number, weights, kind):
        self.generator, self.encoder, self.kind, self.weights = generator, encoder, kind, weights
        self.known = contexts.seen(number - 1).stop if number else 0
        self.fakes: list[Tensor] = []

    def made(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        make, read, images = networks["generator"], networks["encoder"], batch.images
        mean, logs = read(images)
        codes = mean + (logs / 2).exp() * torch.randn_like(mean)
        again = make(batch.labels, codes)
        noise = torch.randn_like(mean)
        fresh = make(batch.labels, noise)
        fixed = {name: value.detach() for name, value in self.encoder.named_parameters()}
        seen, _ = functional_call(self.encoder, fixed, (fresh,))
        self.fakes = [again.detach(), fresh.detach()]
        judge = networks["critic"]
        fooling = sum(fooling_loss(judge(fake, batch.labels), self.kind) for fake in (again, fresh))
        found = {
            "fooling": fooling,
            "image": self.weights["image"] * (images - again).abs().mean(),
            "normal": self.weights["normal"] * standard_normal_divergence(mean, logs),
            "code": self.weights["code"] * (noise - seen).abs().mean(),
        }
        if self.known and self.weights["kept"]:
            found["kept"] = self.weights["kept"] * self.kept(networks, images, mean)
        return found

    def kept(self, networks: Networks, images: Tensor, mean: Tensor) -> Tensor:
        """The change of the answers to old labels, on new images and new noise."""
        labels = torch.randint(self.known, (len(images),), device=images.device)
        noise = torch.randn_like(mean)
        with torch.no_grad():
            old_mean, _ = networks["old_encoder"](images)
            old_again = networks["old_generator"](labels, old_mean)
            old_fresh = networks["old_generator"](labels, noise)
        make = networks["generator"]
        return generator_distillation(
            mean, old_mean, make(labels, mean), old_again, make(labels, noise), old_fresh
        )

    def told_apart(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        judge, labels = networks["critic"], batch.labels
        real = judge(batch.images, labels)
        value = sum(judging_loss(real, judge(fake, labels), self.kind) for fake in self.fakes)
        return {"judging": value}


def pictures(generator: nn.Module, labels: Tensor, seed: int = 0) -> Tensor:
    """Images of labels (batch,), from new codes; the generator's mode is unchanged."""
    device = next(generator.parameters()).device
    with evaluating(generator), torch.no_grad(), own_random_state(device):
        seed_everything(seed)
        return generator(labels.to(device), torch.randn(len(labels), generator.latent).to(device))


def shown_rightly(
    generator: nn.Module, judge: nn.Module, contexts: Contexts, after: int, judged: int, seed: int
) -> Tensor:
    """Percentage of generated images with the requested label, by a judge, for each context so far.

    Returns:
        (contexts,) float64; NaN for contexts that are still to come.
    """
    found = torch.full((len(contexts),), torch.nan, dtype=torch.float64)
    for number in range(after + 1):
        own = contexts.own(number)
        labels = torch.arange(own.start, own.stop).repeat_interleave(judged)
        classes = torch.tensor(contexts.names[number]) if contexts.names else None
        wanted = labels if classes is None else classes[labels - own.start]
        images = pictures(generator, labels, mix(seed, number, 6))
        with evaluating(judge), torch.no_grad():
            read = logits_of(judge(images)).argmax(1).cpu()
        found[number] = 100 * (read == wanted).double().mean()
    return found

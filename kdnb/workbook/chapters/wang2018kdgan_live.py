"""The adversarial methods of chapter 5-1, each run briefly on MNIST, as trials that are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import data as datasets
from kdnb import losses
from kdnb.data import ImageData, Images
from kdnb.methods import adversarial, online
from kdnb.methods.adversarial import Critic, ImageCritic, ImageGenerator
from kdnb.methods.offline import distil
from kdnb.runs.task import Task, data_spec, network_of, prepared, weights_kept
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training import Recipe
from kdnb.training.devices import default_device
from kdnb.training.inputs import batches_of, examples_of, in_order

TEACHER, OTHER, STUDENT = {"name": "lenet5"}, {"name": "tiny"}, {"name": "lenet5_half_zskd"}
SEEN = 1000  # test images that are looked at
LATENT, LARGE, SMALL = 16, 16, 3  # noise of a generator; widths of the taught and the teaching one

soft = partial(losses.soft_targets, temperature=4.0)


def seeded(make: Callable[..., nn.Module], *arguments: Any, **options: Any) -> nn.Module:
    """A discriminator, a transfer, ... with the same initial weights in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000)
        return make(*arguments, **options)


def critics_recipe(recipe: Recipe) -> Recipe:
    """Discriminators learn at a constant rate of 0.001."""
    return recipe.model_copy(update={"lr": 1e-3, "schedule": "constant"})


# --- one short function a method: the call that runs it ------------------------------------------

Method = Callable[..., list[dict[str, float]]]


def labels(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    return distil.train(t.network, t.batches, t.recipe).rows


def soft_targets(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    return distil.distil(t.network, teachers[0], t.batches, t.recipe, method=soft).rows


def generated(
    t: Task, teachers: Sequence[nn.Module], generator: nn.Module
) -> list[dict[str, float]]:
    return adversarial.distil_with_generated(
        t.network, teachers[0], generator, t.batches, t.recipe, loss=soft, hard_weight=1.0
    )


def conditional(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    return adversarial.conditional_adversarial(
        t.network, teachers[0], seeded(adversarial.ConditionalCritic, 10), t.batches, t.recipe,
        critic_recipe=critics_recipe(t.recipe), distance_weight=0.1,
    )  # fmt: skip


def features(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    return adversarial.adversarial_features(
        t.network, teachers[0], {"hidden": seeded(Critic, 84)}, t.batches, t.recipe,
        paths={"hidden": ("hidden", "hidden")}, critic_recipe=critics_recipe(t.recipe), loss=soft,
        adversarial_weight=0.1,
    )  # fmt: skip


def levels(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    widths = {"stage1": (3, 6), "stage2": (8, 16), "hidden": (84, 84)}  # student's, teacher's
    return adversarial.adversarial_features(
        t.network, teachers[0], {name: seeded(Critic, to) for name, (_, to) in widths.items()},
        t.batches, t.recipe, paths={name: (name, name) for name in widths},
        transfers={n: seeded(online.Transfer, *widths[n]) for n in ("stage1", "stage2")},
        critic_recipe=critics_recipe(t.recipe), loss=soft, hint_weight=1.0,
    )  # fmt: skip


def compression(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    return adversarial.adversarial_compression(
        t.network, teachers[0], seeded(Critic, 84), t.batches, t.recipe,
        path=("hidden", "hidden"), critic_recipe=critics_recipe(t.recipe), regression_weight=0.1,
        adversarial_weight=0.1,
    )  # fmt: skip


def meal(t: Task, teachers: Sequence[nn.Module]) -> list[dict[str, float]]:
    return adversarial.meal(
        t.network, teachers, {"hidden": seeded(Critic, 32), "logits": seeded(Critic, 10)},
        t.batches, t.recipe, paths={"hidden": ("hidden", ["hidden", "embedding"])},
        sizes={"hidden": 32}, critic_recipe=critics_recipe(t.recipe), adversarial_weight=0.1,
    )  # fmt: skip


METHODS: dict[str, Method] = {
    "labels": labels, "soft targets": soft_targets, "generated images": generated,
    "conditional": conditional, "features": features, "three levels": levels,
    "compression": compression, "MEAL": meal,
}  # fmt: skip


# --- as trials -----------------------------------------------------------------------------------


def taught(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    method: str,
    teachers: list[Result],
    generator: Result | None = None,
) -> Outcome:
    """A student and one of `METHODS`; what `Task.outcome` measures."""
    task = prepared(context, seed, data, network, recipe)
    more = {} if generator is None else {"generator": maker_of(generator)}
    masters = [network_of(teacher, task.source) for teacher in teachers]
    return task.outcome(METHODS[method](task, masters, **more))


def adapted(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    reversal_weight: float,
) -> Outcome:
    """`adversarial_domains` from the teacher's weights, on digits and on shifted digits.

    Returns:
        Of student and teacher the errors on both: `errors`, `shifted_errors`, `teacher_errors`,
        `teacher_shifted_errors`; `condition`, the discriminator's last cross-entropy.
    """
    task = prepared(context, seed, data, network, recipe, start=teacher)
    master = network_of(teacher, task.source)
    history = adversarial.adversarial_domains(
        task.network, master, {"domain": seeded(Critic, 84, 2)}, task.batches, task.recipe,
        views=[lambda images: images, adversarial.shifted], conditions={"domain": [0, 1]},
        path="hidden", reversal_weight=reversal_weight, seed=seed,
    )  # fmt: skip
    test = task.source.test.select(slice(SEEN))
    images, truth = normalised(task.source, test), test.labels
    metrics = {"condition": history[-1]["domain.condition"]}
    for owner, model in (("", task.network), ("teacher_", master)):
        for view, seen in (("", images), ("shifted_", adversarial.shifted(images))):
            with torch.no_grad():
                wrong = model(seen).argmax(1) != truth
            metrics[f"{owner}{view}errors"] = float(wrong.sum())
    series = {"condition": [row["domain.condition"] for row in history]}
    return Outcome(metrics, series, weights_kept(task.network))


def made(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    width: int,
    classifier: Result,
    teacher: Result | None = None,
    critic: bool = True,
) -> Outcome:
    """A generator: a GAN's, or with a teacher's the student of `distil_gan`.

    Args:
        network: of the classifier that judges, for `network_of`.
        critic: False for a student of pixels alone.

    Returns:
        `frechet`, from real test images as the classifier sees them; `parameters`. Tensors:
        `generator.<key>`, and `images`, 10 of them, on the scale from 0 to 1.
    """
    source = datasets.load(data["name"])
    plan = Recipe(**recipe)
    batches = batches_of(examples_of(source, data), source, plan, seed)
    student = blank(source, width)
    judge, judges = (seeded(ImageCritic, width=8) if critic else None), critics_recipe(plan)
    if teacher is None:
        history = adversarial.train_gan(
            student, judge, batches, plan, critic_recipe=judges, seed=seed
        )
    else:
        history = adversarial.distil_gan(
            student, maker_of(teacher), batches, plan, critic=judge, critic_recipe=judges,
            seed=seed, pixel_weight=10.0, adversarial_weight=1.0,
        )  # fmt: skip
    drawn, test = adversarial.draw_images(student, SEEN), source.test.select(slice(SEEN))
    distance = adversarial.classifier_frechet(
        network_of(classifier, source), normalised(source, test), drawn, path="hidden"
    )
    metrics = {
        "frechet": distance,
        "parameters": float(sum(p.numel() for p in student.parameters())),
    }
    series = {key: [row[key] for row in history] for key in history[0]}
    tensors = weights_kept(student, "generator") | {"images": pixels(source, drawn[:10])}
    return Outcome(metrics, series, tensors)


def blank(source: ImageData, width: int) -> ImageGenerator:
    """An untrained generator within the pixels' bounds."""
    bounds = tuple((edge - source.mean[0]) / source.sd[0] for edge in (0.0, 1.0))
    return seeded(ImageGenerator, latent=LATENT, width=width, bounds=bounds)


def maker_of(result: Result) -> ImageGenerator:
    """The generator of a finished trial of `made`, in eval mode."""
    arguments = result.description["arguments"]
    maker = blank(datasets.load(arguments["data"]["name"]), arguments["width"])
    start = "generator."
    state = {k[len(start) :]: v for k, v in result.tensors().items() if k.startswith(start)}
    maker.load_state_dict(state)
    return maker.eval()


def normalised(source: ImageData, images: Images) -> Tensor:
    """Images as networks take them."""
    plain = in_order(images, source, default_device())
    return torch.cat([batch.images.cpu() for batch in plain.epoch(0)])


def pixels(source: ImageData, images: Tensor) -> Tensor:
    """Normalised images of one channel on the scale from 0 to 1."""
    return (images * source.sd[0] + source.mean[0]).clamp(0, 1)


def described(images: int = 300, epochs: int = 10, teacher_images: int = 2000) -> dict[str, Trial]:
    """All illustrations by their names, those last that the chapter looks at last.

    Args:
        images: that students learn from; teachers and GANs have `teacher_images`.
        epochs: of every student; teachers and generators have a third of them.
    """

    def setting(count: int, passes: int, **more: Any) -> dict[str, Any]:
        plan = {"epochs": passes, "batch_size": 24, "optimiser": "adam", "lr": 2e-3,
                "schedule": "cosine", **more}  # fmt: skip
        return {"data": data_spec("mnist", limit=count, evaluated=SEEN), "recipe": plan}

    third = max(1, epochs // 3)
    much, few = setting(teacher_images, third), setting(images, epochs)
    large, other = (
        Trial("supervised", {**much, "network": network}, 0) for network in (TEACHER, OTHER)
    )

    def gan(width: int, **more: Any) -> Trial:
        # RMSProp has no momentum, which a game of two takes badly. Narrow nets need larger steps.
        lr = 1e-3 if width == LARGE else 4e-3
        arguments = setting(teacher_images, third, optimiser="rmsprop", lr=lr)
        arguments |= {"network": TEACHER, "width": width, "classifier": large, **more}
        return Trial("adversarial_made", arguments, 0)

    teaching = gan(LARGE)
    found = {
        "teacher": large, "other teacher": other, "GAN": teaching, "small GAN": gan(SMALL),
        "small, pixels": gan(SMALL, teacher=teaching, critic=False),
        "small, joint": gan(SMALL, teacher=teaching),
    }  # fmt: skip
    domains = {**setting(images, epochs), "network": TEACHER, "teacher": large}
    for name, weight in (("domains, reversed", 1.0), ("domains, plain", 0.0)):
        found[name] = Trial("adversarial_adapted", {**domains, "reversal_weight": weight}, 0)
    for name in METHODS:
        arguments = {**few, "network": STUDENT, "method": name, "teachers": [large]}
        if name == "MEAL":
            arguments["teachers"] = [large, other]
        if name == "generated images":
            arguments["generator"] = teaching
        found[name] = Trial("adversarial_taught", arguments, 0)
    return found

"""Students of a teacher with another view, as trials: many at once, from the same initial weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Images
from kdnb.methods.cross_modal import (
    class_means,
    correct_of,
    exact_logistic,
    fit_stack,
    glorot_stack,
    mixed_targets,
    privileged_problem,
    shuffled_within,
    smoothed_like,
    stack_logits,
    standardised,
)
from kdnb.runs.trials import Context, Outcome
from kdnb.training.inputs import evaluated, examples_of
from kdnb.training.randomness import mix

HIDDEN = (20, 20)  # units of the two layers between inputs and classes


def synthetic_trial(
    context: Context,
    seed: int,
    *,
    problem: str,
    repeats: int,
    train: int,
    test: int,
    epochs: int,
    ridge: float,
) -> Outcome:
    """Logistic regressions on the privileged view, on the regular one, and distilled at T = lambda = 1.

    Args:
        problem, repeats, train, test: as for `privileged_problem`.
        epochs: of RMSprop in batches of 128, as in the authors' code.
        ridge: for the same regressions at their optimum.

    Returns:
        Test accuracies in percent, means over the repeats: `teacher`, `regular` and `distilled` by
        RMSprop, and `exact_...` at the optimum.
    """
    seen, unseen = standardised(
        *privileged_problem(problem, repeats=repeats, train=train, test=test, seed=seed)
    )
    hard, recipe = F.one_hot(seen.labels, 2).float(), {"epochs": epochs, "lr": 1e-3}

    def by_steps(view: str, targets: Tensor, place: int) -> tuple[Tensor, float]:
        inputs = getattr(seen, view)
        stack = glorot_stack((inputs.shape[-1], 2), repeats, mix(seed, place), alike=False)
        fit_stack(stack, inputs, targets, seed=mix(seed, place, 1), **recipe)
        right = correct_of(stack, getattr(unseen, view), unseen.labels)
        return stack_logits(stack, inputs).detach().softmax(-1), float(right.double().mean())

    def by_newton(view: str, targets: Tensor) -> tuple[Tensor, float]:
        weights = exact_logistic(getattr(seen, view), targets, ridge)

        def scores(inputs: Tensor) -> Tensor:
            return torch.einsum("rnd,rd->rn", inputs.double(), weights[:, :-1]) + weights[:, -1:]

        right = (scores(getattr(unseen, view)) > 0) == (unseen.labels == 1)
        return scores(getattr(seen, view)).sigmoid(), float(right.double().mean())

    found = {}
    soft, found["teacher"] = by_steps("privileged", hard, 0)
    _, found["regular"] = by_steps("regular", hard, 1)
    _, found["distilled"] = by_steps("regular", soft, 1)  # from weights of the regular one
    soft, found["exact_teacher"] = by_newton("privileged", seen.labels)
    _, found["exact_regular"] = by_newton("regular", seen.labels)
    _, found["exact_distilled"] = by_newton("regular", soft)
    return Outcome({name: 100 * share for name, share in found.items()})


class Student(NamedTuple):
    """One student of a digits trial, before its network is built.

    Attributes:
        name: students with the same name are averaged.
        targets: (samples, classes).
        temperature: of its own outputs during training.
    """

    name: str
    targets: Tensor
    temperature: float = 1.0


def digits_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    side: int,
    samples: int,
    students: list[dict[str, Any]],
    recipe: dict[str, Any],
    random_labels: float = 0.0,
) -> Outcome:
    """Students of reduced digits and a teacher of full ones, all perceptrons with two hidden layers of 20.

    Every seed draws its own training images. All students start from the same weights and see the
    same batches.

    Args:
        data: a `data_spec` of images of 28 x 28 pixels.
        side: of the students' images in pixels, a divisor of the full one; pixels are block means.
        samples: labelled training images, for the teacher and for the students.
        students: for each its `name` and what `targets_of` takes. A list of `shares` makes one
            student for each.
        recipe: of `fit_stack`.
        random_labels: the share of training labels that are redrawn from all classes. Measurements
            on training images use the labels that were learnt.

    Returns:
        Accuracies in percent: `teacher_test`, `teacher_train`, `own_view_test`, `own_view_train`,
        of the teacher that sees the students' images, and for every student its `..._test` and
        `..._train`.
    """
    source = datasets.load(data["name"])
    pool, test = examples_of(source, data), evaluated(source.test, data)
    stream, classes = torch.Generator().manual_seed(mix(seed, 0)), len(source.classes)
    seen = pool.select(torch.randperm(len(pool), generator=stream)[:samples])
    labels = seen.labels.clone()
    redrawn = torch.rand(samples, generator=stream) < random_labels
    labels[redrawn] = torch.randint(classes, (int(redrawn.sum()),), generator=stream)
    hard = F.one_hot(labels, classes).float()
    views = {"whole": _view(seen, 28), "shrunk": _view(seen, side)}

    def trained(view: str, targets: Tensor, place: int, temperature: Tensor | float = 1.0):
        sizes = (views[view].shape[1], *HIDDEN, classes)
        stack = glorot_stack(sizes, len(targets), mix(seed, place))
        return fit_stack(
            stack, views[view], targets, temperature=temperature, seed=mix(seed, 4), **recipe
        )

    teacher = trained("whole", hard[None], 1)
    own_view = trained("shrunk", hard[None], 2)  # different initial weights from the students'
    answers = {
        "whole": stack_logits(teacher, views["whole"])[0].detach(),
        "shrunk": stack_logits(own_view, views["shrunk"])[0].detach(),
    }
    planned = [
        student
        for asked in students
        for student in planned_students(answers, labels, mix(seed, 5), **asked)
    ]
    temperatures = torch.tensor([student.temperature for student in planned])[:, None, None]
    pupils = trained("shrunk", torch.stack([s.targets for s in planned]), 3, temperatures)

    found: dict[str, list[float]] = {}
    inputs = {"whole": _view(test, 28), "shrunk": _view(test, side)}
    for names, stack, view in (
        (["teacher"], teacher, "whole"),
        (["own_view"], own_view, "shrunk"),
        ([student.name for student in planned], pupils, "shrunk"),
    ):
        right = correct_of(stack, inputs[view], test.labels), correct_of(stack, views[view], labels)
        for name, tested, trained_on in zip(names, *right, strict=True):
            found.setdefault(f"{name}_test", []).append(100 * float(tested))
            found.setdefault(f"{name}_train", []).append(100 * float(trained_on))
    return Outcome({name: sum(values) / len(values) for name, values in found.items()})


def planned_students(
    answers: dict[str, Tensor],
    labels: Tensor,
    seed: int,
    *,
    name: str,
    shares: list[float],
    temperature: float = 1.0,
    variant: str = "authors",
    teacher: str = "whole",
    control: str | None = None,
    tempered: bool = False,
) -> list[Student]:
    """The targets of the students of one name, one for each share.

    Args:
        answers: logits of the teachers for the training images, by view.
        labels: of the training images.
        seed: for the control "shuffled".
        name: name of the students.
        shares: lambda, the teacher's share; [0.0] for labels alone.
        temperature: T, of the teacher's outputs.
        variant: of `mixed_targets`.
        teacher: "whole", or "shrunk" for one that sees no more than the student.
        control: instead of the teacher's outputs, labels "smoothed" to their entropy, the "class_means"
            of the outputs, or the outputs "shuffled" within each class. Only with share 1.
        tempered: Hinton's form: the student's outputs are softened too. Only with share 1.

    Raises:
        ValueError: for an unknown control, or one with a share other than 1.
    """
    if (control or tempered) and list(shares) != [1.0]:
        raise ValueError(f"controls and tempered students have the share 1; got {shares}.")
    logits = answers[teacher]
    made = [mixed_targets(logits, labels, share, temperature, variant) for share in shares]
    if control is not None:
        soft = mixed_targets(logits, labels, 1.0, temperature)
        controls = {
            "smoothed": lambda: smoothed_like(soft, labels),
            "class_means": lambda: class_means(soft, labels),
            "shuffled": lambda: soft[shuffled_within(labels, seed)],
        }
        if control not in controls:
            raise ValueError(f"control must be one of {', '.join(controls)}; got {control!r}.")
        made = [controls[control]() * (temperature**2 if variant == "authors" else 1.0)]
    return [Student(name, targets, temperature if tempered else 1.0) for targets in made]


def _view(images: Images, side: int) -> Tensor:
    """Pixels as rows, from 0 to 1, each the mean of a block if the side is smaller."""
    whole = images.images.float() / 255
    block, rest = divmod(whole.shape[-1], side)
    if rest:
        raise ValueError(f"a side of {side} does not divide images of {whole.shape[-1]} pixels.")
    return F.avg_pool2d(whole, block).flatten(1)

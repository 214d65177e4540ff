"""DFAD: whose step is whose."""

import data_free_workshop as workshop
import torch

from kdnb.losses import discrepancy
from kdnb.methods.data_free import (
    Generator,
    dfad,
)
from kdnb.training import Recipe

ONE = Recipe(epochs=1, batch_size=8, lr=0.1, optimiser="sgd", momentum=0.0, schedule="constant",
             precision="32")  # fmt: skip

ADAM = ONE.model_copy(update={"optimiser": "adam", "lr": 0.01})


def small(seed=0, name="zskt"):
    torch.manual_seed(seed)
    return Generator(name, width=4, image_size=8, latent=5)


def test_dfads_student_sees_new_images_and_the_generator_moves_last():
    student, generator = workshop.Recorder(workshop.small_net(2)), small(name="dfad")
    steps = []
    generator.register_forward_hook(lambda part, *_: steps.append(part.last.weight.clone()))
    history = dfad(student, workshop.small_net(1), generator, ADAM, generator_recipe=ADAM,
                   steps=4, student_steps=2)  # fmt: skip
    assert len(student.seen) == 6
    assert len({float(images.abs().sum()) for images in student.seen}) == 6
    assert all(torch.equal(steps[0], weight) for weight in steps[:3])
    assert not torch.equal(steps[2], steps[3])
    assert history[0]["adversarial"] < 0 < history[0]["discrepancy"]


def test_dfad_climbs_the_discrepancy():
    teacher, student = workshop.small_net(1), workshop.small_net(2)
    generator = small(name="dfad")
    noise = torch.randn(64, 5)

    def gap():
        with torch.no_grad():
            images = generator.train()(noise)
            return float(discrepancy(workshop.small_net(2)(images), teacher(images)))

    before = gap()
    still = ONE.model_copy(update={"lr": 1e-9})  # a student that hardly moves
    dfad(student, teacher, generator, still, generator_recipe=ADAM, steps=20, student_steps=1)
    assert gap() > 1.1 * before

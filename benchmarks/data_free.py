"""What an iteration of DAFL costs, measured in one run: `python benchmarks/data_free.py`.

LeNet-5 teaches its half with the paper's generator (width 128, images of 32x32), batch 512: noise,
images, the teacher's answers, the generator's step, the student's step. kdnb's loop against a plain
script of the same iteration in float32, whose generator enlarges its maps and then convolves them:
at least 2 times faster is wanted (bf16, channels-last, enlarging and convolving in one).

Measured in turns, A B A B ..., after a warm-up, so that a drift of the machine's speed meets both;
the ratio is the median over the pairs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from training import compare, report

from kdnb import nets
from kdnb.methods.data_free import Generator, dafl
from kdnb.training import Recipe
from kdnb.training.devices import gains_from_bf16

BATCH, STEPS, PAIRS = 512, 3, 5
ONCE = {"epochs": 1, "batch_size": BATCH, "optimiser": "adam", "schedule": "constant"}


def plain_generator() -> nn.Module:
    """The published generator, layer by layer."""
    return nn.Sequential(
        nn.Linear(100, 128 * 8 * 8), nn.Unflatten(1, (128, 8, 8)), nn.BatchNorm2d(128),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128, 0.8), nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 3, padding=1), nn.BatchNorm2d(64, 0.8), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, padding=1), nn.Tanh(), nn.BatchNorm2d(1, affine=False),
    )  # fmt: skip


def networks() -> tuple[nn.Module, nn.Module]:
    build = {"in_channels": 1, "image_size": 32}
    return nets.build("lenet5", **build), nets.build("lenet5_half_dafl", **build)


class Plain:
    """The iteration as a script would have it."""

    def __init__(self) -> None:
        (self.teacher, self.student), self.generator = networks(), plain_generator()
        self.teacher.eval().requires_grad_(False)
        self.teacher.stage3.register_forward_hook(
            lambda module, inputs, maps: setattr(self, "maps", maps)
        )
        self.makes = torch.optim.Adam(self.generator.parameters(), lr=0.2)
        self.learns = torch.optim.Adam(self.student.parameters(), lr=2e-3)

    def run(self) -> None:
        for _ in range(STEPS):
            images = self.generator(torch.randn(BATCH, 100))
            answers = self.teacher(images)
            mean = answers.softmax(1).mean(0)
            loss = F.cross_entropy(answers, answers.argmax(1)) - 0.1 * self.maps.abs().mean()
            loss = loss + 5 * (mean * mean.log10()).sum()
            self.makes.zero_grad()
            loss.backward()
            self.makes.step()
            said = self.student(images.detach()).log_softmax(1)
            soft = F.kl_div(said, answers.detach().softmax(1), reduction="batchmean")
            self.learns.zero_grad()
            soft.backward()
            self.learns.step()


def ours():
    (teacher, student), generator = networks(), Generator("dafl")
    student_recipe, generator_recipe = Recipe(lr=2e-3, **ONCE), Recipe(lr=0.2, **ONCE)
    return lambda: dafl(
        student, teacher, generator, student_recipe, generator_recipe=generator_recipe, steps=STEPS
    )


if __name__ == "__main__":
    print(f"{torch.get_num_threads()} threads, bf16 {'used' if gains_from_bf16() else 'not used'}")
    ratios = compare(Plain().run, ours(), pairs=PAIRS)
    report("time of the plain iteration in float32 / ours", ratios, "at least 2")

"""Make the trained networks of data/checkpoints/, all or those named: `make_checkpoints.py vgg8-cifar10`.

Each is a run like any other, kept in runs/trials/ and taken up again where it was stopped. On two
cores the digits take minutes and CIFAR some hours. They learn from the split `train`: the
validation images stay unseen, so that settings can be chosen on them honestly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import Any

from safetensors.torch import save
from torch import nn

from kdnb import data, nets
from kdnb.nets import checkpoints
from kdnb.paths import atomic_write
from kdnb.runs.task import data_spec, network_of
from kdnb.runs.trials import Trial, run
from kdnb.training.inputs import logits_on

SGD = {"batch_size": 128, "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4,
       "schedule": "one_cycle"}  # fmt: skip
CIFAR = {**SGD, "crop_padding": 4, "flip": True, "precision": "bf16"}
DIGITS = {**SGD, "lr": 0.05, "crop_padding": 2, "precision": "32"}

# name-dataset -> (title, network, recipe)
SPECS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mlp-mnist": (
        "the teacher of chapter 2.1, after Hinton et al. 2015",
        {"name": "mlp", "widths": [1200, 1200], "dropout_hidden": 0.2, "max_norm": 15**0.5},
        {"epochs": 30, "batch_size": 250, "lr": 0.1, "momentum": 0.9, "schedule": "one_cycle",
         "crop_padding": 2, "precision": "32"},
    ),
    "lenet5-mnist": ("LeNet-5", {"name": "lenet5"}, {**DIGITS, "epochs": 20}),
    "lenet5-fashion_mnist": (
        "LeNet-5", {"name": "lenet5"}, {**DIGITS, "epochs": 40, "flip": True}
    ),
    "resnet20-cifar10": ("ResNet-20", {"name": "resnet20"}, {**CIFAR, "epochs": 60}),
    "wrn-16-2-cifar10": ("WRN-16-2", {"name": "wrn-16-2"}, {**CIFAR, "epochs": 15}),
    "vgg8-cifar10": ("VGG-8", {"name": "vgg8"}, {**CIFAR, "epochs": 20}),
    "resnet20-cifar100": ("ResNet-20", {"name": "resnet20"}, {**CIFAR, "epochs": 30}),
}  # fmt: skip
CYCLES = {"resnet20-cifar10": 2}  # warm restarts (Loshchilov and Hutter 2017); the others have 1


def make(spec: str, seed: int = 0) -> checkpoints.CheckpointCard:
    """Train one network, or take its finished run, and write its weights and its card."""
    name, _, dataset = spec.rpartition("-")
    title, network, recipe = SPECS[spec]
    cycles = CYCLES.get(spec, 1)
    examples = data_spec(dataset, split="train")
    arguments = {"data": examples, "network": network, "recipe": recipe}
    trial = Trial("supervised", arguments, seed)
    for cycle in range(1, cycles):  # another seed, so that the images come in another order
        trial = Trial("supervised", {**arguments, "start": trial}, seed + cycle)
    done = run(trial)
    source = data.load(dataset)
    channels, *size = source.train.images.shape[1:]
    built = {**network, "num_classes": len(source.classes), "in_channels": channels,
             "image_size": size}  # fmt: skip
    content = save(checkpoints.stored(network_of(done)))
    model = _as_stored(built, content)
    errors = {
        name: int((logits_on(model, images, source).argmax(1) != images.labels).sum())
        for name, images in (("train", source.train), ("test", source.test))
    }
    card = checkpoints.CheckpointCard(
        title=title, network=built, dataset=dataset, data_sha256=examples["sha256"], split="train",
        recipe=recipe, cycles=cycles, seed=seed, commit=done.provenance["commit"], run=done.digest,
        train_errors=errors["train"], train_images=len(source.train), test_errors=errors["test"],
        test_images=len(source.test), sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    folder = checkpoints.folder() / dataset
    atomic_write(folder / f"{name}.safetensors", content)
    atomic_write(folder / f"{name}.toml", _toml(card))
    return card


def _as_stored(built: dict[str, Any], content: bytes) -> nn.Module:
    """The network with the very weights that the file holds."""
    options = dict(built)
    model = nets.build(options.pop("name"), **options)
    model.load_state_dict(checkpoints.load(content))
    return model.eval()


def _toml(card: checkpoints.CheckpointCard) -> str:
    """The card as TOML; JSON's scalars and arrays are TOML's as well."""
    lines, tables = ["# Made by tools/make_checkpoints.py"], []
    for key, value in card.model_dump().items():
        if isinstance(value, dict):
            entries = [f"{name} = {json.dumps(entry)}" for name, entry in value.items()]
            tables += ["", f"[{key}]", *entries]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def main() -> None:
    """Make the checkpoints that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SPECS))
    names = parser.parse_args().names or list(SPECS)
    if unknown := [name for name in names if name not in SPECS]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(SPECS)}.")
    for name in names:
        card = make(name)
        print(f"{name}: {card.test_errors} of {card.test_images} test images wrong", flush=True)


if __name__ == "__main__":
    main()

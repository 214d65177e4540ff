"""The methods of the section side by side: each trains a network of its own, and no teacher."""

import torch

from kdnb import data, nets
from kdnb.data import Images
from kdnb.methods import self_distillation as own
from kdnb.training import Recipe

PATHS = ["stage1", "stage2"]


def test_every_method_trains_another_network_and_leaves_its_teacher_alone():
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 256, (32, 1, 28, 28), generator=generator, dtype=torch.uint8)
    images = Images(shown, torch.arange(32) % 10)
    recipe = Recipe(epochs=2, batch_size=16, lr=0.05, schedule="cosine", precision="32")

    def fresh(seed=0):
        torch.manual_seed(seed)
        return nets.build("tiny")

    def batches(padding=0):
        return data.Batches(images, 16, mean=(0.5,), sd=(0.25,), seed=0, crop_padding=padding)

    def exits():
        return own.MultiExit(fresh(), PATHS, "embedding", next(iter(batches())).images[:1])

    teacher = fresh(1).eval()
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    taught = {"soft": {}, "cwtm": {}, "dkpp": {"temperature": 4.0}}
    deployed = []
    for targets, options in taught.items():
        student = fresh()
        own.next_generation(student, teacher, batches(), recipe, targets=targets, **options)
        deployed.append(student)
    for verb, model, options in (
        (own.virtually_taught, fresh(), {}),
        (own.tolerant_teacher, fresh(), {}),
        (own.snapshot_distil, fresh(), {}),
        (own.be_your_own_teacher, exits(), {}),
        (own.multi_exit_distil, exits(), {}),
        (own.self_attention_distil, fresh(), {"paths": PATHS, "attention_weight": 1e3}),
        (own.class_wise_distil, fresh(), {}),
        (own.augmentation_distil, own.JointClassifier(fresh()), {}),
        (own.embedding_distil, fresh(), {}),
        (own.beta_smoothed, own.WithAverage(fresh()), {}),
    ):
        verb(model, batches(), recipe, **options)
        deployed.append(getattr(model, "network", model))
    shifted = fresh()
    own.distorted_views(shifted, batches(padding=2), recipe, path="embedding")
    heads = [network.head.weight.detach() for network in (*deployed, shifted, fresh())]
    assert all(head.shape == (10, 64) for head in heads)  # no exit, no rotation is kept
    pairs = [(a, b) for i, a in enumerate(heads) for b in heads[:i]]
    assert not any(torch.equal(a, b) for a, b in pairs)
    assert all(torch.equal(teacher.state_dict()[key], value) for key, value in before.items())

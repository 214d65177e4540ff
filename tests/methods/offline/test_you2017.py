"""Several teachers: their mean answer and their votes, against the losses."""

import pytest
import torch

from kdnb import losses, nets
from kdnb.methods.offline.you2017 import learn_from_several
from kdnb.training import Recipe
from kdnb.training.layers import layers_of, look

RECIPE = Recipe(epochs=1, batch_size=8, lr=1e-9, precision="32", schedule="constant")


def resnet(seed, width=0.25):
    torch.manual_seed(seed)
    return nets.build("resnet8", num_classes=3, in_channels=3, image_size=8, width=width)


def test_the_answers_are_averaged_and_the_distances_voted_on():
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 3
    student, teachers = resnet(0), [resnet(1, 0.5), resnet(2, 0.5), resnet(3)]
    kept = [{k: v.clone() for k, v in one.state_dict().items()} for one in teachers]
    fit = learn_from_several(
        student, teachers, (images, labels), RECIPE, temperature=3.0, soft_weight=0.5,
        relation_weight=2.0, label_weight=0.25, margin=0.1,
    )  # fmt: skip
    for one, before in zip(teachers, kept, strict=True):
        assert all(torch.equal(before[key], value) for key, value in one.state_dict().items())
    fresh = resnet(0).train()  # the student's batch normalisation trains
    middles = []
    handle = fresh.stage2.register_forward_hook(lambda *given: middles.append(given[2]))
    logits = fresh(images)
    handle.remove()
    views = [look(one, layers_of(one), images) for one in teachers]
    mean = torch.stack([(view.logits / 3.0).softmax(1) for view in views]).mean(0)
    soft = 9 * (mean * (mean.log() - (logits / 3.0).log_softmax(1))).sum(1).mean()
    votes = losses.relative_dissimilarity(middles[0], [view.maps[1] for view in views], margin=0.1)
    row = fit.rows[0]
    assert row["soft"] == pytest.approx(0.5 * soft.item(), rel=1e-4)
    assert row["relations"] == pytest.approx(2 * votes.item(), rel=1e-4)
    hard = torch.nn.functional.cross_entropy(logits, labels)
    assert row["hard"] == pytest.approx(0.25 * hard.item(), rel=1e-4)


def test_teachers_and_layers_are_counted():
    data = torch.zeros(4, 3, 8, 8), torch.arange(4) % 3
    with pytest.raises(ValueError, match="needs at least one teacher"):
        learn_from_several(resnet(0), [], data, RECIPE)
    with pytest.raises(ValueError, match="one for each of 2 teachers; got 1"):
        learn_from_several(
            resnet(0), [resnet(1), resnet(2)], data, RECIPE, layers=[layers_of(resnet(0))]
        )


def relations_of(teachers, **options):
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fit = learn_from_several(
        resnet(0), teachers, (images, torch.arange(8) % 3), RECIPE, temperature=3.0, **options
    )
    return fit.rows[0]


def test_three_equal_teachers_are_one():
    one, three = relations_of([resnet(1)]), relations_of([resnet(1), resnet(1), resnet(1)])
    for term in ("soft", "relations"):
        assert three[term] == pytest.approx(one[term], rel=1e-5)


def test_a_third_that_dissents_changes_no_vote():
    """The majority of two names q+ and q-; the mean of the answers does change."""
    agreed = relations_of([resnet(1), resnet(1)])
    outvoted = relations_of([resnet(1), resnet(1), resnet(7, 0.5)])
    assert outvoted["relations"] == pytest.approx(agreed["relations"], rel=1e-5)
    assert abs(outvoted["soft"] - agreed["soft"]) > 1e-4 * agreed["soft"]


def test_triplets_may_be_drawn():
    """One triplet gives the loss of one of all; many give nearly the mean, another seed others."""
    teachers, margin = [resnet(1), resnet(2), resnet(3)], {"margin": 0.1}
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    student, middles = resnet(0).train(), []
    student.stage2.register_forward_hook(lambda *given: middles.append(given[2]))
    student(images)
    theirs = [look(one, layers_of(one), images).maps[1] for one in teachers]
    each = [
        float(losses.relative_dissimilarity(middles[0].detach(), theirs, triplet[None], **margin))
        for triplet in losses.all_triplets(8)
    ]
    single = {relations_of(teachers, triplets=1, seed=n, **margin)["relations"] for n in range(6)}
    assert all(min(abs(one - other) for other in each) < 1e-4 for one in single)
    assert len(single) > 1
    many = relations_of(teachers, triplets=50000, **margin)["relations"]
    assert many == pytest.approx(sum(each) / len(each), rel=0.03)
    assert relations_of(teachers, **margin)["relations"] == pytest.approx(
        sum(each) / len(each), rel=1e-4
    )
    with pytest.raises(ValueError, match="count must be"):
        relations_of(teachers, triplets=0)

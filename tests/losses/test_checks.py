"""Wrong input, of every loss: one sentence that names the argument, what came and what is taken."""

import math

import pytest
import torch
from draws import MAPS, draw
from every_loss import EVERY, LOGITS, MAP_LOSSES, RANKINGS, RELATIONS
from traits_of_losses import SINGLE, pair

from kdnb import losses
from kdnb.losses import checks

LABELLED = {
    "dkd": lambda z, y: losses.decoupled_kd(z, z, y, 1.0),
    "generalised": lambda z, y: losses.generalised_distillation(z, z, y),
    "nkd": lambda z, y: losses.normalized_kd(z, z, y, 1.0),
    "ban": lambda z, y: losses.confidence_weighted(z, z, y),
    "gradient parts": lambda z, y: losses.gradient_decomposition(z, z, y),
    "labels": losses.hard_loss,
    "smoothed": lambda z, y: losses.label_smoothing(z, y, 0.1),
    "semi-supervised": losses.labelled_cross_entropy,
    "tfkd": losses.teacher_free_regularisation,
    "virtual teacher": lambda z, y: losses.virtual_teacher(y, 4),
    "sla": lambda z, y: losses.joint_loss(z[None, :, :, None], y),
    "icarl": lambda z, y: losses.icarl_loss(z, y, z[:, :2]),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x.long(),
        lambda x: x > 0,
        lambda x: x[:0],
        lambda x: x.tolist(),
        lambda x: x.to(torch.complex64),
        lambda x: None,
    ],
    ids=["integers", "truth", "empty", "list", "complex", "None"],
)
def test_other_tensors_are_refused(name, spoil):
    for side in range(1 if name in SINGLE else 2):
        tensors = list(pair(name))
        tensors[side] = spoil(tensors[side])
        usable = isinstance(tensors[side], torch.Tensor) and tensors[side].is_floating_point()
        if name in PREPARED and not usable:
            continue  # the table itself fails before the loss is called
        with pytest.raises(ValueError, match="; got ") as error:
            EVERY[name](*tensors)
        text = str(error.value)
        assert text.endswith(".")
        assert "\n" not in text


# Losses to which the table does something first.
PREPARED = {
    "dml", "dml ensemble", "dml mean", "mean_teacher", "cross_entropy probabilities", "zskd",
    "frame_level", "frame_level softened", "sequence_level absolute", "sequence_level ctc",
    "guided_ctc", "apprentice", "dkd", "nkd", "ban", "generalised", "generalised authors", "cross_entropy", "cross_entropy smoothed", "mean_teacher labels", "tfkd",
    "tfkd authors", "semckd", "alpkd", "fsp", "irg transformation", "kdsvd", "deepinversion",
    "ensemble", "ensemble weighted", "ensemble geometric", "oracle", "camkd", "camkd certainty",
    "aekd", "aekd normalised", "noisy_teachers", "admd", "admd fooling", "graphdist",
    "cd guided", "minilm heads", "minilm relations", "ji2021", "coteaching", "coteaching authors", "noisy_labels", "bincf",
    "ewc", "icarl", "global_distillation", "global_distillation separate", "lifelong_gan",
    "custom", "custom filters", "rules", "uhc", "uhc estimate", "uhc factorised", "uhc log space", "uhc padded",
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([True, False, True]), "got torch.bool"),
        (torch.tensor([0, 1]), r"got torch.int64 of shape \(2,\)"),
        (torch.zeros(3), "got torch.float32"),
        (torch.tensor([[0], [1], [2]]), r"got torch.int64 of shape \(3, 1\)"),
        (torch.tensor([0, 1, 4]), "labels must lie in 0 to 3 for 4 classes; got 0 to 4"),
        (torch.tensor([0, 1, -7]), "labels must lie in 0 to 3 for 4 classes; got -7 to 1"),
        ([0, 1, 2], "labels must be a tensor of integers; got a list"),
    ],
    ids=["truth", "fewer", "floats", "column", "above", "below", "list"],
)
def test_wrong_labels(name, labels, words):
    if (
        name == "virtual teacher"
        and labels is not None
        and words.startswith("got torch.int64 of shape \\(2")
    ):
        pytest.skip("it makes as many rows as there are labels")
    with pytest.raises(ValueError, match=words):
        LABELLED[name](torch.zeros(3, 4), labels)


def test_labels_of_no_image_and_probabilities():
    logits = draw(3, 4)
    labels = torch.tensor([1, -100, 2])
    kept = losses.hard_loss(logits[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(losses.hard_loss(logits, labels), kept)
    soft = draw(3, 4, seed=1).softmax(1)
    expected = -(soft * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses.hard_loss(logits, soft), expected)
    dense, marks = draw(2, 4, 3, 2), torch.arange(12).view(2, 3, 2) % 4
    flat = losses.hard_loss(dense.movedim(1, -1).reshape(-1, 4), marks.flatten())
    torch.testing.assert_close(losses.hard_loss(dense, marks), flat)
    with pytest.raises(ValueError, match="indices or probabilities; got torch.int64"):
        losses.hard_loss(logits, torch.eye(4).long()[:3])


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        ((4, 10), (4, 9), r"\(4, 10\) and .* \(4, 9\)"),
        ((4, 10, 2), (4, 10, 2), r"got \(4, 10, 2\)"),
        ((0, 10), (0, 10), r"got \(0, 10\)"),
        ((10,), (10,), r"got \(10,\)"),
    ],
)
def test_wrong_logits_are_named(name, student, teacher, words):
    if len(student) == 1 and name in PREPARED:
        pytest.skip("the table itself takes rows")
    if name.startswith("uhc"):
        pytest.skip("the table halves them: tests/losses/test_uhc.py has the wrong shapes")
    with pytest.raises(ValueError, match=words):
        EVERY[name](torch.zeros(student), torch.zeros(teacher))


def test_students_and_teachers_are_named():
    words = r"student_logits \(4, 10\) and teacher_logits \(4, 9\)"
    for name in ("kd", "logit_regression", "dist", "lskd", "mlkd", "ttm", "dkd", "nkd"):
        with pytest.raises(ValueError, match=words):
            EVERY[name](torch.zeros(4, 10), torch.zeros(4, 9))
        with pytest.raises(ValueError, match=r"student_logits .* got \(4, 10, 2\)"):
            EVERY[name](torch.zeros(4, 10, 2), torch.zeros(4, 10, 2))
        with pytest.raises(ValueError, match=r"student_logits .* got \(0, 10\)"):
            EVERY[name](torch.zeros(0, 10), torch.zeros(0, 10))


OF_TWO = (
    "dkd", "nkd", "lskd", "dist", "mlkd", "ttm", "cmi adversarial", "tan2019", "mean_teacher",
    "cross_entropy probabilities", "zskd", "dafl one-hot", "dafl entropy", "bounded soft",
)  # fmt: skip


@pytest.mark.parametrize("name", OF_TWO)
def test_one_class_is_refused(name):
    with pytest.raises(ValueError, match=r"at least 2 classes; got \(3, 1\)"):
        EVERY[name](torch.zeros(3, 1), torch.zeros(3, 1))


def test_one_logit_with_a_probability_is_refused():
    """Whose softmax is 1, and the cross-entropy with it 0."""
    with pytest.raises(ValueError, match=r"at least 2 classes; got \(3, 1\)"):
        losses.hard_loss(torch.zeros(3, 1), torch.ones(3, 1))


@pytest.mark.parametrize("name", ["fitnets", "ofd", "reviewkd", "simkd", "ab", "vid"])
@pytest.mark.parametrize("other", [(3, 5, 5, 2), (3, 4, 2, 5), (2, 4, 5, 2)])
def test_different_shapes_are_named(name, other):
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 2\) and .* \(") as error:
        EVERY[name](torch.zeros(MAPS), torch.zeros(other))
    assert str(other) in str(error.value)


@pytest.mark.parametrize("name", [n for n in MAP_LOSSES if n not in ("alpkd", "semckd")])
def test_wrong_maps_are_named(name):
    for shape in ((3, 4), (0, 4, 5, 2), (3, 4, 0, 2)):
        with pytest.raises(ValueError, match="must be feature maps of shape") as error:
            EVERY[name](torch.zeros(shape), torch.zeros(shape))
        assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", ["ft", "catkd", "adain"])
def test_different_channels_are_named(name):
    with pytest.raises(ValueError, match=r"batch size, channels; .* \(3, 4, .* \(3, 5, "):
        EVERY[name](torch.zeros(3, 4, 2, 2), torch.zeros(3, 5, 2, 2))


@pytest.mark.parametrize("name", [*RELATIONS, *RANKINGS])
def test_wrong_samples_are_named(name):
    with pytest.raises(ValueError, match=r"student \(4, 3\) and .* \(5, 3\)"):
        EVERY[name](torch.zeros(4, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"student must be .* got \(4,\)"):
        EVERY[name](torch.zeros(4), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"got \(0, 3\)"):
        EVERY[name](torch.zeros(0, 3), torch.zeros(0, 3))


WRONG = [
    (lambda a: losses.hint(a, a, "authors"), 'variant must be "paper" or "common"'),
    (lambda a: losses.attention_transfer(a, a, variant="other"), "variant must be"),
    (lambda a: losses.attention_transfer(a, a, variant=a), "got a tensor of shape"),
    (lambda a: losses.attention_transfer(a, a, 0.5), "power must be at least 1; got 0.5"),
    (lambda a: losses.attention_transfer(a, a, math.inf), "power must be at least 1 and finite"),
    (lambda a: losses.attention_transfer(a, a, True), "power must be at least 1; got True"),
    (lambda a: losses.activation_boundary(a, a, 0.0), "margin must be a finite number above 0"),
    (lambda a: losses.activation_boundary(a, a, math.nan), "above 0; got nan"),
    (lambda a: losses.depth_weights(-1), "layers must be at least 1, a whole number; got -1"),
    (lambda a: losses.depth_weights(2.5), "layers must be at least 1, a whole number; got 2.5"),
    (lambda a: losses.factor_transfer(a, a, 3), "norm must be 1 or 2"),
    (lambda a: losses.factor_transfer(a, a, 2, "authors"), "norm must be 1 for the authors'"),
    (lambda a: losses.Paraphraser((4, 2, 2), rate=0), r"rate must lie in \(0, 100\]; got 0"),
    (lambda a: losses.Translator((4, 2, 2), factors=0), "factors must be at least 1"),
    (lambda a: losses.class_attention(a, a, 0), "resolution must be at least 1"),
    (lambda a: losses.neuron_selectivity(a, a, "cubic"), 'kernel must be "linear", "polynomial"'),
    (lambda a: losses.neuron_selectivity(a, a, bandwidth=0.0), "bandwidth must be a finite number"),
    (lambda a: losses.neuron_selectivity(a, a, degree=0), "degree must be at least 1"),
    (lambda a: losses.neuron_selectivity(a, a, offset=math.nan), "offset must be a finite number"),
    (lambda a: losses.overhaul(a, a, torch.zeros(3)), r"margin must be \(4,\)"),
    (lambda a: losses.overhaul_margin(torch.ones(2), torch.ones(3)), r"bias must be \(2,\)"),
    (lambda a: losses.class_activation_maps(a, torch.ones(2, 3)), r"got \(2, 3\)"),
    (lambda a: losses.variational_information(a, a, torch.ones(3)), r"got \(3,\)"),
    (
        lambda a: losses.variational_information(a, a, torch.ones(4), minimum_variance=-1.0),
        "minimum_variance must be at least 0; got -1.0",
    ),
    (lambda a: losses.VariationalRegressor((4, 2, 2), (5, 2, 2), math.nan), "initial_variance"),
    (lambda a: losses.feature_statistics(a, a, -1.0), "epsilon must be at least 0; got -1.0"),
    (lambda a: losses.layer_projection(a[0], a[0, :2]), r"student_states \(4, 5, 2\)"),
    (lambda a: losses.layer_projection(a[0], a[0], 0.0), "temperature must be"),
    (lambda a: losses.semantic_calibration([[a]], [], a), "of one length, at least 1; got 1 and 0"),
    (lambda a: losses.semantic_calibration([[a]], [[a]], a), r"attention must be .* \(3, 1,"),
    (lambda a: losses.semantic_calibration(a, a, a), "lists|a list; got a tensor"),
    (lambda a: losses.hierarchical_context(a, a, [0]), r"levels\[0\] must be at least 1"),
    (lambda a: losses.hierarchical_context(a, a, a), "levels must be a list; got a tensor"),
    (lambda a: losses.kd_svd(a, a), "student_layers must be a list; got a tensor"),
    (lambda a: losses.information_flow(a, a, 0), "student_layers must be a list; got a tensor"),
    (lambda a: losses.information_flow([a], [a], 0, decay=1.5), r"decay must lie in \(0, 1\]"),
    (lambda a: losses.information_flow([a], [a], math.nan), "epoch must be at least 0"),
    (lambda a: losses.graph_distillation(a, a), "student_graphs must be a list; got a tensor"),
    (lambda a: losses.relative_dissimilarity(a, a), "teachers must be a list; got a tensor"),
    (lambda a: losses.relative_dissimilarity(a, [a], margin=math.inf), "margin must be at least 0"),
    (lambda a: losses.self_attention(a), "maps must be a list; got a tensor"),
    (lambda a: losses.self_attention([a]), "maps must be a list of at least 2; got 1"),
    (lambda a: losses.mutual_loss(a[0, 0], a[0, 0]), "peers must be a list; got a tensor"),
    (lambda a: losses.mutual_loss(a[0, 0], []), "peers must be a list of at least 1; got 0"),
    (lambda a: losses.ensemble_log_probabilities(a[0]), "logits must be a list; got a tensor"),
    (lambda a: losses.parameter_histogram(a), "group must be a list; got a tensor"),
    (lambda a: losses.locality_preserving(a, a, 0), "neighbours must be at least 1"),
    (lambda a: losses.darkrank(a, a, scale=math.inf), "scale must be a finite number above 0"),
    (lambda a: losses.darkrank(a, a, list_length=1.5), "list_length must be a finite number, a w"),
    (lambda a: losses.crd(a.flatten(1), a.flatten(1), 0), "dataset_size must be at least 1"),
    (lambda a: losses.CRD(0, 4, 10), "student_features must be at least 1"),
    (lambda a: losses.MultiHeadGraphs([4, 0]), r"channels\[1\] must be at least 1, a whole"),
    (lambda a: losses.reverse_gradient(a, math.inf), "weight must be at least 0 and finite"),
    (lambda a: losses.judging_loss(a, a), r"real_scores must be scores of shape \(batch,\)"),
    (lambda a: losses.fooling_loss(a[0, 0, 0], "other"), 'kind must be "non_saturating"'),
    (lambda a: losses.top_score_difference(a[0, 0], 9), r"kept must lie in \[2, 2\]"),
    (lambda a: losses.soft_targets(a[0, 0], a[0, 0], "hot"), "above 0; got 'hot'"),
    (lambda a: losses.information_entropy(a[0, 0], 1.0), "base must be a finite number above 1"),
    (lambda a: losses.label_smoothing(a[0, 0], torch.zeros(5).long(), 1.5), r"lie in \[0, 1\]"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones(MAPS))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, "1", True])
def test_weights_are_finite_numbers(wrong):
    z, y = draw(3, 4), torch.tensor([0, 1, 2])
    for call in (
        lambda: losses.decoupled_kd(z, z, y, 1.0, other_weight=wrong),
        lambda: losses.decoupled_kd(z, z, y, 1.0, target_weight=wrong),
        lambda: losses.normalized_kd(z, z, y, other_weight=wrong),
        lambda: losses.pearson_distillation(z, z, inter_weight=wrong),
        lambda: losses.multi_level_logits(z, z, batch_weight=wrong),
    ):
        with pytest.raises(ValueError, match="weight must be a finite number; got"):
            call()


def test_wrong_labels_temperatures_and_variants():
    z, labels = torch.zeros(3, 4), torch.tensor([0, 1, 2])
    for loss in (losses.decoupled_kd, losses.decoupled_terms, losses.normalized_kd):
        with pytest.raises(ValueError, match=r"got torch.int64 of shape \(2,\)"):
            loss(z, z, labels[:2], 1.0)
        with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
            loss(z, z, labels, 0.0)
    for loss in (
        losses.pearson_distillation,
        losses.standardized_soft_targets,
        losses.transformed_teacher,
    ):
        with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
            loss(z, z, -1.0)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        losses.multi_level_logits(z, z, [2.0, math.nan])
    with pytest.raises(ValueError, match="temperatures must be a list of at least 1; got 0"):
        losses.multi_level_logits(z, z, [])
    for loss in (losses.pearson_distillation, losses.multi_level_logits):
        with pytest.raises(ValueError, match="variant must be .* got 'author'"):
            loss(z, z, variant="author")
    with pytest.raises(ValueError, match="variant must be .* got 'author'"):
        losses.standardize_logits(z, "author")


def test_tensors_on_two_devices_are_refused():
    with pytest.raises(ValueError, match="student_logits on cpu and teacher_logits on meta"):
        checks.check_logits(
            student_logits=torch.zeros(2, 3), teacher_logits=torch.zeros(2, 3, device="meta")
        )

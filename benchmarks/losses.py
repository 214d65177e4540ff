"""The losses' speed and memory, measured in one run: `python benchmarks/losses.py`.

Maps are batch 64, 64 channels, 32 x 32, logits 64 x 10, in float32; every time is that of one
forward and backward pass into the student.

1. NST, RKD, SP, PKT, CC and CRD against one matrix-product form of the same quantity, written
   plainly here, without checks and guards. At most 1.3 is wanted, of the median over pairs that
   are measured in turns, A B A B ..., after a warm-up, so that a drift of the machine's speed
   meets both. The values must agree, and no tensor of B x C x C x HW numbers may be made.
   One thread, so that the ratio is one of arithmetic and not of waiting for a busy core.
2. Every loss of `kdnb.losses`: time, and peak memory beyond its inputs, as the allocator's own
   record of a further run gives it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.growth import logit_losses
from kdnb import losses
from kdnb.paths import temporary_folder

BATCH, CHANNELS, SIZE, CLASSES = 64, 64, 32, 10
WANTED = 1.3
PAIRS = 21


def draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The plain forms: one matrix product of each network's batch, then the paper's formula.


def plain_nst(student: Tensor, teacher: Tensor) -> Tensor:
    s, t = F.normalize(student.flatten(2), dim=2), F.normalize(teacher.flatten(2), dim=2)
    own_teacher, own_student, cross = t @ t.mT, s @ s.mT, t @ s.mT
    return own_teacher.square().mean() + own_student.square().mean() - 2 * cross.square().mean()


def plain_squares(samples: Tensor) -> tuple[Tensor, Tensor]:
    samples = samples.flatten(1)
    gram = samples @ samples.T
    norms = gram.diagonal()
    return gram, (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(1e-12)


def plain_rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    ratios = []
    for samples in (student, teacher):
        distance = plain_squares(samples)[1].sqrt()
        distance = distance * (1 - torch.eye(len(distance)))
        ratios.append(distance / (distance.sum() / (len(distance) * (len(distance) - 1))))
    return F.smooth_l1_loss(*ratios, reduction="sum")


def plain_rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    cosines = []
    for samples in (student, teacher):
        gram, squares = plain_squares(samples)
        seen = gram.diagonal()[:, None] - gram
        inner = gram[None] - gram[:, :, None] + seen[:, None, :]
        lengths = squares.sqrt()
        off_diagonal = 1 - torch.eye(len(gram))
        scale = off_diagonal / lengths
        cosines.append(inner * scale[:, :, None] * scale[:, None, :])
    losses = F.smooth_l1_loss(*cosines, reduction="none")
    return (losses * (1 - torch.eye(len(losses)))[None]).sum()


def plain_sp(student: Tensor, teacher: Tensor) -> Tensor:
    grams = [F.normalize(x.flatten(1) @ x.flatten(1).T, dim=1) for x in (student, teacher)]
    return F.mse_loss(*grams)


def plain_cosines(samples: Tensor) -> Tensor:
    gram = samples.flatten(1) @ samples.flatten(1).T
    lengths = gram.diagonal().sqrt()
    return gram / (lengths[:, None] * lengths[None, :])


def plain_pkt(student: Tensor, teacher: Tensor) -> Tensor:
    off_diagonal = 1 - torch.eye(len(student))
    q, p = (off_diagonal * (plain_cosines(x) + 1) / 2 for x in (student, teacher))
    q, p = q / q.sum(1, keepdim=True), p / p.sum(1, keepdim=True)
    return (p * ((p + 1e-12) / (q + 1e-12)).log()).sum()


def plain_cc(student: Tensor, teacher: Tensor) -> Tensor:
    kernels = []
    for samples in (student, teacher):
        cosine = plain_cosines(samples)
        kernels.append(math.exp(-0.8) * (1 + 0.8 * cosine + 0.32 * cosine**2))
    return F.mse_loss(*kernels)


def plain_crd(student: Tensor, teacher: Tensor) -> Tensor:
    s, t = F.normalize(student.flatten(1), dim=1), F.normalize(teacher.flatten(1), dim=1)
    scores = s @ t.T / 0.07 - math.log((len(s) - 1) / 50_000)
    own = torch.eye(len(s))
    return -(own * F.logsigmoid(scores) + (1 - own) * F.logsigmoid(-scores)).sum() / len(s)


NAMED: dict[str, tuple[Callable, Callable]] = {
    "NST": (losses.neuron_selectivity, plain_nst),
    "RKD, distances": (losses.rkd_distance, plain_rkd_distance),
    "RKD, angles": (losses.rkd_angle, plain_rkd_angle),
    "SP": (losses.similarity_preserving, plain_sp),
    "PKT": (losses.probabilistic_transfer, plain_pkt),
    "CC": (losses.correlation_congruence, plain_cc),
    "CRD": (lambda s, t: losses.crd(s.flatten(1), t.flatten(1), 50_000), plain_crd),
}

# What `kdnb.losses` offers beside losses: schedules, descriptions of one network, adapters.
NOT_LOSSES = {
    "AttentionFusion", "CurriculumTemperature", "InstanceTemperature", "Paraphraser",
    "ReusedClassifierProjector", "ReviewFusion", "SemanticCalibration", "Translator",
    "all_triplets", "attention_map", "channel_statistics", "class_activation_maps",
    "curriculum_weight", "decoupled_terms", "depth_weights", "feature_vectors", "fsp_matrix",
    "overhaul_margin", "parameter_histogram", "restyle", "reverse_gradient", "standardize_logits",
}  # fmt: skip


def map_losses() -> dict[str, Callable]:
    """Losses of one pair of maps; modules keep their seeded parameters, which are inputs too."""
    torch.manual_seed(0)
    shape = (CHANNELS, SIZE, SIZE)
    regressor = losses.VariationalRegressor(shape, shape)
    crd = losses.CRD(math.prod(shape), math.prod(shape), 50_000, quiet=True)
    index = torch.arange(BATCH)
    for step in range(2):  # the second step has a memory
        crd(draw(BATCH, *shape, seed=8), draw(BATCH, *shape, seed=9), index=index + step * BATCH)
    calibration = losses.SemanticCalibration([shape], [shape], BATCH)
    graphs = losses.MultiHeadGraphs([CHANNELS, CHANNELS])
    classifier = draw(CLASSES, CHANNELS, seed=2)
    margin = losses.overhaul_margin(torch.ones(CHANNELS), torch.zeros(CHANNELS))
    other = draw(BATCH, *shape, seed=3)
    activation = losses.class_activation_maps
    triplets = losses.all_triplets(BATCH)
    return {
        "hint": losses.hint,
        "attention_transfer": losses.attention_transfer,
        "factor_transfer": losses.factor_transfer,
        "paraphrase_reconstruction": losses.paraphrase_reconstruction,
        "activation_boundary": losses.activation_boundary,
        "overhaul": lambda s, t: losses.overhaul(s, t, margin),
        "neuron_selectivity": losses.neuron_selectivity,
        "variational_information": lambda s, t: losses.variational_information(
            s, t, torch.ones(CHANNELS)
        ),
        "VariationalRegressor": regressor,
        "feature_statistics": losses.feature_statistics,
        "reused_classifier": losses.reused_classifier,
        "hierarchical_context": losses.hierarchical_context,
        "class_attention": lambda s, t: losses.class_attention(
            activation(s, classifier), activation(t, classifier)
        ),
        "layer_projection": lambda s, t: losses.layer_projection(
            s.mean(dim=3).mT, t.mean(dim=3).mT
        ),
        "semantic_calibration": lambda s, t: losses.semantic_calibration(*calibration([s], [t])),
        "parameter_distribution": lambda s, t: losses.parameter_distribution([[s]], [[t]]),
        "fsp": lambda s, t: losses.fsp(s, s, t, t),
        "inter_channel_correlation": losses.inter_channel_correlation,
        "kd_svd": lambda s, t: losses.kd_svd([other, s], [other, t]),
        "irg_transformation": lambda s, t: losses.irg_transformation(other, s, other, t),
        "MultiHeadGraphs": lambda s, t: graphs([other, s], [other, t]),
        "rkd_distance": losses.rkd_distance,
        "rkd_angle": losses.rkd_angle,
        "similarity_preserving": losses.similarity_preserving,
        "correlation_congruence": losses.correlation_congruence,
        "locality_preserving": losses.locality_preserving,
        "irg_edges": losses.irg_edges,
        "probabilistic_transfer": losses.probabilistic_transfer,
        "hybrid_transfer": losses.hybrid_transfer,
        "information_flow": lambda s, t: losses.information_flow([s, s], [t, t], 0),
        "darkrank": losses.darkrank,
        "relative_dissimilarity": lambda s, t: losses.relative_dissimilarity(s, [t]),
        "triplet_distillation": lambda s, t: losses.triplet_distillation(s, t, triplets),
        "crd": NAMED["CRD"][0],
        "CRD": lambda s, t: crd(s, t, index=index),
    }


def graph_losses() -> dict[str, Callable]:
    return {"graph_distillation": lambda s, t: losses.graph_distillation([s], [t])}


def step(loss: Callable, student: Tensor, teacher: Tensor) -> float:
    """Seconds of one forward and backward pass."""
    started = perf_counter()
    torch.autograd.grad(loss(student, teacher), student)
    return perf_counter() - started


def allocations(loss: Callable, student: Tensor, teacher: Tensor) -> list[int]:
    """The bytes that one pass allocates (above 0) and frees (below 0), in order."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step(loss, student, teacher)
    with temporary_folder("kdnb-") as folder:
        path = folder / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    return [event["args"]["Bytes"] for event in memory]


def peak(sizes: list[int]) -> float:
    """MiB in use at the worst moment."""
    total = highest = 0
    for size in sizes:
        total += size
        highest = max(highest, total)
    return highest / 2**20


def compare(student: Tensor, teacher: Tensor) -> None:
    print(f"{'':16}{'ours':>9}{'plain':>9}{'ratio':>7}  from     to       largest tensor")
    for name, (ours, plain) in NAMED.items():
        torch.testing.assert_close(
            ours(student, teacher), plain(student, teacher), rtol=1e-3, atol=0
        )
        step(ours, student, teacher), step(plain, student, teacher)
        times = [
            (step(ours, student, teacher), step(plain, student, teacher)) for _ in range(PAIRS)
        ]
        mine, theirs = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
        ratios = [a / b for a, b in times]
        ratio = statistics.median(ratios)
        largest = max(allocations(ours, student, teacher))
        fine = ratio <= WANTED and largest < 4 * BATCH * CHANNELS**2 * SIZE**2
        print(
            f"{name:16}{mine:6.1f} ms{theirs:6.1f} ms{ratio:7.2f}  {min(ratios):.2f}  to  "
            f"{max(ratios):.2f}  {largest / 2**20:8.1f} MiB  {'' if fine else 'TOO MUCH'}",
            flush=True,
        )


def table(entries: dict[str, Callable], student: Tensor, teacher: Tensor) -> None:
    for name, loss in entries.items():
        step(loss, student, teacher)
        middle = statistics.median(step(loss, student, teacher) for _ in range(5))
        highest = peak(allocations(loss, student, teacher))
        print(f"{name:26}{1e3 * middle:10.2f} ms{highest:10.2f} MiB", flush=True)


if __name__ == "__main__":
    maps, logits, graphs = map_losses(), logit_losses(CLASSES), graph_losses()
    missing = set(losses.__all__) - NOT_LOSSES - maps.keys() - logits.keys() - graphs.keys()
    if missing:
        raise SystemExit(f"the benchmark does not know {', '.join(sorted(missing))}")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    shapes = {
        "maps": (BATCH, CHANNELS, SIZE, SIZE),
        "logits": (BATCH, CLASSES),
        "graphs": (8, BATCH, BATCH),
    }
    pairs = {
        name: (draw(*shape, seed=0).requires_grad_(), draw(*shape, seed=1))
        for name, shape in shapes.items()
    }
    print(f"\nTime against one matrix-product form; wanted at most {WANTED}")
    compare(*pairs["maps"])
    for kind, entries in (("maps", maps), ("logits", logits), ("graphs", graphs)):
        print(f"\nForward and backward, {kind} {shapes[kind]}: time, peak memory beyond the inputs")
        table(entries, *pairs[kind])

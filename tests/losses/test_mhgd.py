"""MHGD: singular vectors, attention graphs, their divergence, and the two phases."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import MultiHeadGraphs, feature_vectors, graph_distillation

VARIANTS = ("paper", "authors")


def layers(seed=0, batch=6, dtype=torch.float64):
    shapes = ((batch, 4, 3, 5), (batch, 6, 2, 3))
    return [draw(*shape, seed=seed + i).to(dtype) for i, shape in enumerate(shapes)]


def trained(heads=2, seed=0):
    """A network in double precision whose normalisation has seen some batches."""
    torch.manual_seed(seed)
    graphs = MultiHeadGraphs([4, 6], heads).double()
    for batch in range(3):
        graphs.estimation(layers(seed=50 + 2 * batch))
    return graphs


def naive_vectors(student, teacher, spare):
    found, target = [], []
    for s, t in zip(student, teacher, strict=True):
        right = [torch.linalg.svd(m.flatten(1).T, full_matrices=False).Vh for m in (s, t)]
        wanted = right[1][0] * (1 if right[1][0].sum() >= 0 else -1)
        cosines = [float(v @ wanted) for v in right[0][: 1 + spare]]
        best = max(range(len(cosines)), key=lambda i: abs(cosines[i]))
        found.append(right[0][best] * math.copysign(1, cosines[best]))
        target.append(wanted)
    return torch.stack(found), torch.stack(target)


def softmax(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def naive_divergence(student, teacher, authors):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for s_head, t_head in zip(s.tolist(), t.tolist(), strict=True):
            for s_row, t_row in zip(s_head, t_head, strict=True):
                q, p = (softmax([math.tanh(v) for v in row]) for row in (s_row, t_row))
                if authors:
                    q, p = p, q
                total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total if authors else total / student[0].shape[1]


def naive_normalised(parts, vector):
    linear, norm = parts
    out = []
    for k, row in enumerate(linear.weight.tolist()):
        value = sum(w * v for w, v in zip(row, vector.tolist(), strict=True))
        value = (value - norm.running_mean[k]) / math.sqrt(norm.running_var[k] + norm.eps)
        out.append(float(value * norm.weight[k] + norm.bias[k]))
    return out


def naive_graph(link, earlier, later):
    """Loops over heads, later samples and earlier samples, in evaluation mode."""
    senders = [naive_normalised(link.senders, v) for v in later]
    receivers = [naive_normalised(link.receivers, v) for v in earlier]
    width = len(senders[0]) // link.heads
    heads = [slice(h * width, (h + 1) * width) for h in range(link.heads)]
    return torch.tensor(
        [
            [
                [sum(a * b for a, b in zip(s[h], r[h], strict=True)) for r in receivers]
                for s in senders
            ]
            for h in heads
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("spare", [0, 3])
def test_feature_vectors_are_the_first_singular_vectors(spare):
    student, teacher = draw(5, 4, 3, 2), draw(5, 4, 2, 5, seed=1)
    got = feature_vectors(student, teacher, spare)
    for value, expected in zip(got, naive_vectors(student, teacher, spare), strict=True):
        torch.testing.assert_close(value, expected)
    torch.testing.assert_close(got[0].square().sum(dim=1), torch.ones(5, dtype=torch.float64))
    mirrored = feature_vectors(-student, teacher, spare)[0]
    torch.testing.assert_close(mirrored, got[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_divergence_against_loops(variant):
    student, teacher = ([draw(2, 4, 4, seed=s), draw(3, 4, 4, seed=s + 1)] for s in (0, 5))
    expected = naive_divergence(student, teacher, variant == "authors")
    got = graph_distillation(student, teacher, variant)
    assert got.item() == pytest.approx(expected, rel=1e-12)
    assert graph_distillation(student, student, variant) == 0
    shifted = [graph.tanh().add(0.1).clamp(-0.999, 0.999).atanh() for graph in student]
    assert graph_distillation(student, shifted, variant) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_divergence_gradients(variant):
    student, teacher = (draw(2, 3, 3, seed=s).requires_grad_() for s in (0, 1))
    assert gradcheck(lambda s, t: graph_distillation([s], [t], variant), (student, teacher))


def test_graphs_and_estimate_against_loops():
    link = trained().eval().links[0]
    earlier, later = draw(5, 4), draw(5, 6, seed=1)
    graph = link.requires_grad_(False).graph(earlier, later)
    torch.testing.assert_close(graph, naive_graph(link, earlier, later))
    torch.testing.assert_close(link.train().graph(earlier, later, frozen=True), graph)
    link.eval()
    values = [naive_normalised(link.values, v) for v in earlier]
    for i, estimate in enumerate(link.estimate(earlier, later)):
        mixed = []
        for head in graph:
            shares = softmax(head[i].tolist())
            mixed += [
                sum(a * max(v[k], 0) for a, v in zip(shares, values, strict=True))
                for k in range(len(values[0]))
            ]
        vector = link.output(torch.tensor(mixed, dtype=torch.float64))
        torch.testing.assert_close(estimate, vector / vector.norm())


def test_transfer_loss_is_that_of_the_graphs():
    graphs, student, teacher = trained(), layers(), layers(seed=10)
    link = graphs.links[0]
    link.requires_grad_(False)
    earlier, later = (feature_vectors(s, t) for s, t in zip(student, teacher, strict=True))
    drawn = [[naive_graph(link, earlier[i], later[i])] for i in (0, 1)]
    for variant in VARIANTS:
        expected = naive_divergence(*drawn, variant == "authors")
        assert graphs(student, teacher, variant).item() == pytest.approx(expected, rel=1e-9)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = ([maps[order] for maps in side] for side in (student, teacher))
    torch.testing.assert_close(graphs(*shuffled), graphs(student, teacher))


@pytest.mark.parametrize("variant", VARIANTS)
def test_transfer_gradients_by_finite_differences(variant):
    graphs, teacher = trained(), layers(seed=10)
    student = [maps.requires_grad_() for maps in layers()]
    assert gradcheck(lambda *maps: graphs(maps, teacher, variant), student)


def test_matching_student_has_no_loss_and_no_gradient():
    graphs, teacher = trained(), layers()
    student = [maps.clone().requires_grad_() for maps in teacher]
    loss = graphs(student, teacher)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    for gradient in torch.autograd.grad(loss, student):
        assert gradient.abs().max() < 1e-9


def test_transfer_leaves_the_network_as_it_is():
    graphs, teacher = trained().train(), layers(seed=10)
    student = [maps.requires_grad_() for maps in layers()]
    before = {name: value.clone() for name, value in graphs.state_dict().items()}
    graphs(student, teacher).backward()
    assert all(value.grad is None for value in graphs.parameters())
    assert all(torch.equal(value, before[name]) for name, value in graphs.state_dict().items())
    assert all(maps.grad.abs().max() > 0 for maps in student)
    assert torch.equal(graphs(student, teacher), graphs.eval()(student, teacher))


def test_estimation_trains_every_parameter_and_explains_the_teacher():
    torch.manual_seed(0)
    graphs, teacher = MultiHeadGraphs([4, 6], heads=4).double(), layers(batch=16)
    first = graphs.eval().estimation(teacher).item()
    assert 0 < first < 2
    optimiser = torch.optim.Adam(graphs.train().parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        graphs.estimation(teacher).backward()
        assert all(torch.isfinite(value.grad).all() for value in graphs.parameters())
        optimiser.step()
    assert all(value.grad.abs().max() > 0 for value in graphs.parameters())
    assert graphs.eval().estimation(teacher) < 0.6 * first


def test_heads_are_dropped_in_training_only():
    graphs, teacher = trained(heads=4), layers()
    assert graphs.estimation(teacher) != graphs.estimation(teacher)
    graphs.eval()
    assert graphs.estimation(teacher) == graphs.estimation(teacher)
    single = MultiHeadGraphs([4, 6], heads=1).double()
    assert single.estimation(teacher) == single.estimation(teacher)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_autocast(dtype):
    torch.manual_seed(0)
    graphs = MultiHeadGraphs([4, 6], heads=2)
    student, teacher = layers(dtype=dtype), layers(seed=10, dtype=dtype)
    loss = graphs(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(graphs(student, teacher), loss, rtol=1e-6, atol=0)
        assert torch.isfinite(graphs.estimation(teacher))
    blank = [torch.zeros_like(maps).requires_grad_() for maps in student]
    for gradient in torch.autograd.grad(graphs(blank, teacher), blank):
        assert torch.isfinite(gradient).all()


def test_wrong_arguments():
    graphs, maps = MultiHeadGraphs([4, 6]), layers(dtype=torch.float32)
    for channels, heads, message in (
        ([4], 8, r"between 2 layers; got channels \[4\]"),
        ([4, 0], 8, r"channels\[1\] must be at least 1, a whole number; got 0"),
        ([4, 6], 0, "heads must be at least 1, a whole number; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MultiHeadGraphs(channels, heads)
    with pytest.raises(ValueError, match=r"with channels \(4, 6\); got \[\(6, 6, 2, 3\)"):
        graphs(maps[::-1], maps)
    with pytest.raises(ValueError, match=r"channels \(4, 6\); got \[\(6, 4, 3, 5\)\]"):
        graphs.estimation(maps[:1])
    with pytest.raises(ValueError, match="at least 2 samples"):
        graphs.estimation([value[:1] for value in maps])
    with pytest.raises(ValueError, match=r"student \(6, 4, 3, 5\) and teacher \(5, 4, 3, 5\)"):
        graphs(maps, [value[:5] for value in maps])
    with pytest.raises(ValueError, match="same number of channels"):
        feature_vectors(*maps)
    square = torch.zeros(1, 3, 3)
    with pytest.raises(ValueError, match=r"got \(1, 3, 3\) and \(2, 3, 3\)"):
        graph_distillation([square], [torch.zeros(2, 3, 3)])
    with pytest.raises(ValueError, match="got 1 and 0"):
        graph_distillation([square], [])
    with pytest.raises(ValueError, match='must be "paper" or "authors"'):
        graph_distillation([square], [square], "mean")

"""Every verb gives networks back in the modes and `requires_grad` in which they were lent."""

import ast
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from kdnb import losses, methods
from kdnb.data import Batches, Graph, Images
from kdnb.methods import adversarial, architecture, data_free, multi_teacher, online
from kdnb.methods import graph as graphs
from kdnb.methods import self_distillation as own
from kdnb.methods.applications import ctc, frames, internal, language_models, minillm, sentences
from kdnb.methods.applications.acoustic import RecurrentModel, WindowModel
from kdnb.methods.offline import bss, eskd, funmatch
from kdnb.nets.language import RecurrentLM
from kdnb.nets.transformer import TextEncoder
from kdnb.training import Recipe

ONE = Recipe(epochs=1, batch_size=6, lr=0.01, precision="32")
TWO = ONE.model_copy(update={"epochs": 2})
SIZE, CLASSES = 8, 3
PARTS = ["stage1", "stage2"]


class Loans:
    """Modules that are lent to a verb: in train mode but for one part, one parameter of them frozen."""

    def __init__(self):
        self.before = []

    def __call__(self, module):
        parts = [part for part in module.train().modules() if part is not module]
        norms = [part for part in parts if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        if parts:
            (norms or parts)[0].eval()
        frozen = list(module.parameters())
        if len(frozen) > 2:
            frozen[-1].requires_grad_(False)
        self.before.append((module, as_lent(module)))
        return module

    def net(self, seed=0):
        return self(network(seed))


def as_lent(module):
    modes = {name: part.training for name, part in module.named_modules()}
    return modes, {name: p.requires_grad for name, p in module.named_parameters()}


def network(seed=0):
    """A chain of its children, which are called as those of kdnb's networks."""
    torch.manual_seed(seed)
    channels = {"stage1": (1, 8), "stage2": (8, 16), "stage3": (16, 32)}
    stages = {
        name: nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
            nn.MaxPool2d(2),
        )
        for name, (before, after) in channels.items()
    }  # fmt: skip
    embedding = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Dropout())
    return nn.Sequential(OrderedDict(**stages, embedding=embedding, head=nn.Linear(64, CLASSES)))


def images(count=12):
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return Images(shown, torch.arange(count) % CLASSES)


def batches(padding=0):
    return Batches(images(), 6, mean=(0.5,), sd=(0.25,), seed=0, crop_padding=padding)


EXAMPLE = images(2).images.float() / 255
TOKENS = torch.tensor([[2, 3, 4, 5, 1, 0], [2, 4, 3, 1, 0, 0], [3, 5, 5, 4, 2, 1]])
RECORDINGS = torch.randn(4, 8, 5, generator=torch.Generator().manual_seed(1)), torch.full((4,), 8)
GRAPH = Graph(torch.rand(6, 4), torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([0, 1, 2] * 2))


def soft(z, v):
    return losses.soft_targets(z, v, 2.0)


def peers(lent, wrap=lambda net: net):
    return {name: lent(wrap(network(number))) for number, name in enumerate("ab")}


def branches(lent, count=2, at="stage3"):
    made = online.Branches.split([network(number) for number in range(count)], at, EXAMPLE)
    return lent(made)


def exits(lent):
    return lent(own.MultiExit(network(), PARTS, "embedding", EXAMPLE))


def encoder(lent, layers=2, classes=0):
    torch.manual_seed(layers)
    sizes = {"layers": layers, "width": 12, "heads": 2, "hidden": 12, "num_classes": classes}
    return lent(TextEncoder(6, **sizes))


def language(lent, width=8):
    return lent(RecurrentLM(6, width, dropout=0.1))


def window(lent, classes=3):
    return lent(WindowModel(5, classes, hidden=(4, 4)))


def maker(lent):
    return lent(data_free.Generator("dafl", latent=4, width=8, image_size=SIZE))


def game(verb, lent, **options):
    options = {"generator_recipe": ONE, "steps": 2, **options}
    verb(lent.net(), lent.net(1), maker(lent), ONE, **options)


def codistil(lent, folder):
    online.codistil(
        lent.net(), batches(), ONE, name="a", peers=["b"], folder=folder, every=1,
        kinds=[lent.net(1)],
    )  # fmt: skip


def adversarial_maps(lent, _):
    networks = peers(lent)
    online.adversarial_maps(
        networks, {name: lent(online.Transfer(32, 32)) for name in networks},
        {name: lent(online.Discriminator(32)) for name in networks}, batches(), ONE,
        maps="stage3", adversarial_recipe=ONE,
    )  # fmt: skip


def contrastive_inversion(lent, _):
    teacher = lent.net(1)
    size = data_free.feature_count(teacher)
    data_free.contrastive_inversion(
        teacher, maker(lent), torch.arange(4) % CLASSES, data_free.FeatureMemory(4, size),
        lent(data_free.Head(size)), student=lent.net(), iterations=2,
    )  # fmt: skip


def meal(lent, _):
    adversarial.meal(
        lent.net(), [lent.net(1), lent.net(2)],
        {name: lent(adversarial.Critic(size)) for name, size in (("stage2", 4), ("logits", 3))},
        batches(), ONE, paths={"stage2": ("stage2", ["stage2"] * 2)}, sizes={"stage2": 4},
        critic_recipe=ONE,
    )  # fmt: skip


FRAMES = RECORDINGS, torch.zeros(4, 8, dtype=torch.int64)
HEARD = RECORDINGS, torch.tensor([[1, 2], [2, -1], [1, -1], [2, 1]])
VERBS = {
    # Each is given what it lends by, and a folder.
    "conditional_adversarial": lambda lent, _: adversarial.conditional_adversarial(
        lent.net(), lent.net(1), lent(adversarial.ConditionalCritic(CLASSES)), batches(), ONE,
        critic_recipe=ONE),
    "adversarial_domains": lambda lent, _: adversarial.adversarial_domains(
        lent.net(), lent.net(1), {"shift": lent(adversarial.Critic(64, 2))}, batches(), ONE,
        views=[lambda x: x, adversarial.shifted], conditions={"shift": [0, 1]}, path="embedding"),
    "adversarial_features": lambda lent, _: adversarial.adversarial_features(
        lent.net(), lent.net(1), {"deep": lent(adversarial.Critic(64))}, batches(), ONE,
        paths={"deep": ("embedding", "embedding")}, critic_recipe=ONE),
    "train_gan": lambda lent, _: adversarial.train_gan(
        lent(adversarial.ImageGenerator(latent=4, image_size=SIZE, width=4)),
        lent(adversarial.ImageCritic(image_size=SIZE, width=4)), batches(), ONE),
    "distil_with_generated": lambda lent, _: adversarial.distil_with_generated(
        lent.net(), lent.net(1),
        lent(adversarial.ImageGenerator(latent=4, image_size=SIZE, width=4)), batches(), ONE,
        loss=soft),
    "kdgan": lambda lent, _: adversarial.kdgan(
        lent.net(), lent.net(1), lent.net(2), batches(), ONE, critic_recipe=ONE),
    "meal": meal,
    "train_frames": lambda lent, _: frames.train_frames(window(lent), FRAMES, ONE),
    "distil_frames": lambda lent, _: frames.distil_frames(
        window(lent), lent(RecurrentModel(5, 3, 4)), RECORDINGS, ONE),
    "train_ctc": lambda lent, _: ctc.train_ctc(window(lent), HEARD, ONE),
    "distil_ctc": lambda lent, _: ctc.distil_ctc(
        window(lent), window(lent), RECORDINGS, ONE, level="frame"),
    "distil_internal": lambda lent, _: internal.distil_internal(
        encoder(lent, 1, 2), encoder(lent, 2, 2), (TOKENS, torch.tensor([0, 1, 1])), TWO),
    "train_language_model": lambda lent, _: language_models.train_language_model(
        language(lent), TOKENS, ONE),
    "distil_language_model": lambda lent, _: language_models.distil_language_model(
        language(lent), language(lent, 12), TOKENS, ONE, on_policy=0.5),
    "distil_sequences": lambda lent, _: minillm.distil_sequences(
        language(lent), language(lent, 12), TOKENS, ONE),
    "distil_patiently": lambda lent, _: sentences.distil_patiently(
        encoder(lent, 2, 2), encoder(lent, 4, 2), (TOKENS, torch.tensor([0, 1, 1])), ONE),
    "distil_masked_words": lambda lent, _: sentences.distil_masked_words(
        encoder(lent, 1), encoder(lent, 2), TOKENS, ONE, mask=5),
    "learn_from_flow": lambda lent, _: architecture.learn_from_flow(
        lent.net(), [lent.net(1)], batches(), ONE, routes={"stage1": [(0, "stage1")]}),
    "distil_residual": lambda lent, _: architecture.distil_residual(
        lent.net(), lent.net(1), lent.net(2), batches(), ONE, path="stage2", classes=CLASSES),
    "glnn": lambda lent, _: graphs.glnn(
        lent(graphs.NodeNetwork(4, 5, CLASSES, 0.5)), GRAPH.features, torch.rand(6, CLASSES), ONE, 0),
    "learn_labels": lambda lent, _: graphs.learn_labels(
        lent(graphs.NodeNetwork(4, 5, CLASSES, 0.5)), GRAPH.features, GRAPH.labels, torch.arange(4),
        ONE, 0),
    "node_answer": lambda lent, _: graphs.node_answer(
        lent(graphs.NodeNetwork(4, 5, CLASSES, 0.5)), GRAPH.features),
    "belief_matching_toy": lambda lent, _: data_free.belief_matching_toy(
        lent(nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.Linear(3, 2))),
        lent(nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.Linear(3, 2))), torch.randn(4, 2),
        rounds=1, point_steps=1, student_steps=1),
    "contrastive_inversion": contrastive_inversion,
    "distil_dataset": lambda lent, _: data_free.distil_dataset(
        data_free.DistilledData(1, torch.arange(CLASSES), (1, SIZE, SIZE), epochs=1),
        lent(nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, CLASSES))), batches(), ONE),
    "fast_synthesis": lambda lent, _: data_free.fast_synthesis(
        lent.net(1), maker(lent), classes=CLASSES, batches=1, batch_size=4, inner_steps=1,
        student=lent.net()),
    "pseudo_examples": lambda lent, _: data_free.pseudo_examples(
        lent.net(), lent.net(1), batches(), ONE, start=EXAMPLE, pseudo_recipe=ONE, pseudo_batch=2),
    "dafl": lambda lent, _: game(data_free.dafl, lent),
    "dfad": lambda lent, _: game(data_free.dfad, lent, student_steps=1),
    "zskt": lambda lent, _: game(data_free.zskt, lent, student_steps=1),
    "bank_of": lambda lent, _: data_free.bank_of(EXAMPLE, lent.net()),
    "distil_at_boundaries": lambda lent, _: bss.distil_at_boundaries(
        lent.net(), lent.net(1), batches(), ONE, count=2, steps=1),
    "distil_then_labels": lambda lent, _: eskd.distil_then_labels(
        lent.net(), lent.net(1), batches(), ONE, loss=soft, stop_epoch=1),
    "match": lambda lent, _: funmatch.match(lent.net(), lent.net(1), batches(), ONE),
    "adversarial_maps": adversarial_maps,
    "from_checkpoints": lambda lent, _: online.from_checkpoints(
        lent(online.BestSoFar(network())), batches(), ONE, score=lambda net: 1.0),
    "split": lambda lent, _: online.Branches.split([lent.net(), lent.net(1)], "stage2", EXAMPLE),
    "one": lambda lent, _: online.one(branches(lent), lent(online.Gate(16, 2)), batches(), ONE),
    "okddip": lambda lent, _: online.okddip(
        branches(lent, 3), lent(online.PeerAttention(width=64)), batches(), ONE),
    "feature_fusion": lambda lent, _: online.feature_fusion(
        branches(lent, at="stage1"), lent(online.FeatureFusion([32, 32], CLASSES)), batches(), ONE),
    "rocket": lambda lent, _: online.rocket(branches(lent), batches(), ONE),
    "ensemblenet": lambda lent, _: multi_teacher.ensemblenet(branches(lent), batches(), ONE),
    "codistil": codistil,
    "adversarial_codistillation": lambda lent, _: online.adversarial_codistillation(
        peers(lent), lent(online.DivergentExamples(1, 4)), lent(online.Discriminator(1, 4)),
        batches(), ONE, generator_recipe=ONE),
    "kdcl": lambda lent, _: online.kdcl(peers(lent), batches(), ONE),
    "mean_teacher": lambda lent, _: online.mean_teacher(
        lent(online.MeanTeacher(network())), batches(), ONE),
    "multiple_knowledge": lambda lent, _: online.multiple_knowledge(
        peers(lent, online.Remembering), batches(), ONE),
    "temporal_ensembling": lambda lent, _: online.temporal_ensembling(
        lent(online.TemporalEnsemble(network(), 12, CLASSES)), batches(), ONE),
    "next_generation": lambda lent, _: own.next_generation(
        lent.net(), lent.net(1), batches(), ONE),
    "virtually_taught": lambda lent, _: own.virtually_taught(lent.net(), batches(), ONE),
    "tolerant_teacher": lambda lent, _: own.tolerant_teacher(lent.net(), batches(), ONE, kept=2),
    "snapshot_distil": lambda lent, _: own.snapshot_distil(
        lent.net(), batches(), TWO),
    "be_your_own_teacher": lambda lent, _: own.be_your_own_teacher(exits(lent), batches(), ONE),
    "multi_exit_distil": lambda lent, _: own.multi_exit_distil(exits(lent), batches(), ONE),
    "self_attention_distil": lambda lent, _: own.self_attention_distil(
        lent.net(), batches(), ONE, paths=PARTS),
    "class_wise_distil": lambda lent, _: own.class_wise_distil(lent.net(), batches(), ONE),
    "augmentation_distil": lambda lent, _: own.augmentation_distil(
        lent(own.JointClassifier(network())), batches(), ONE),
    "embedding_distil": lambda lent, _: own.embedding_distil(lent.net(), batches(), ONE),
    "beta_smoothed": lambda lent, _: own.beta_smoothed(
        lent(own.WithAverage(network())), batches(), ONE),
    "distorted_views": lambda lent, _: own.distorted_views(
        lent.net(), batches(padding=1), ONE, path="embedding"),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_networks_come_back_as_they_were_lent(verb, tmp_path):
    lent = Loans()
    VERBS[verb](lent, tmp_path)
    assert lent.before, "nothing was lent: the test shows nothing"
    for module, before in lent.before:
        assert as_lent(module) == before


def test_a_network_in_eval_mode_stays_in_it():
    lent = network().eval()
    online.kdcl({"a": lent, "b": network(1)}, batches(), ONE)
    assert not any(part.training for part in lent.modules())


def by_hand(function):
    """Lines where a function changes the mode of an argument outside a block that puts it back."""
    given = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    keepers, found = ("evaluating", "modes_kept", "borrowed"), []

    def look(node, kept):
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items]
            named = [ast.unparse(call.func) for call in calls if isinstance(call, ast.Call)]
            kept = kept or any(name in keepers for name in named)
        called = node.func if isinstance(node, ast.Call) else None
        changes = isinstance(called, ast.Attribute) and called.attr in ("eval", "train")
        if changes and not kept and isinstance(called.value, ast.Name) and called.value.id in given:
            found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            look(child, kept)

    look(function, False)
    return found


def test_modes_are_put_back_in_one_way():
    """By `training.borrowed`; by hand one forgets the modes of submodules, or an error between."""
    allowed = {
        "StalePeer.__init__",  # a peer's own copy
        "asked_by",  # whose callers keep the modes
    }
    planted = "def f(net):\n    with evaluating(net):\n        net.eval()\n    net.train()"
    assert by_hand(ast.parse(planted).body[0]) == [4]
    found = []
    for path in Path(methods.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = [(one.name, one) for one in tree.body if isinstance(one, ast.FunctionDef)]
        for kind in (one for one in tree.body if isinstance(one, ast.ClassDef)):
            functions = (one for one in kind.body if isinstance(one, ast.FunctionDef))
            named += [(f"{kind.name}.{one.name}", one) for one in functions]
        for name, function in named:
            if name not in allowed:
                found += [f"{path.name}:{line} in {name}" for line in by_hand(function)]
    assert not found, found

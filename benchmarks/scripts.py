"""What others run, written as they write it: the loops that `benchmarks.peers` times ours against.

Each is a stand-in, not their code: a DataLoader over PIL images with torchvision's transforms (but
DAFL makes its images itself), the teacher asked in every step, float32 unless said. Three kinds:

- a *plain script*, whose losses are those of the most used repositories, with forward hooks on the
  two layers that it needs;
- the step of a *framework driven by configuration files*: the modules that the file names have
  hooks which gather inputs and outputs by path, a list of weighted terms reads them, and a logger
  takes the loss and the time of every step. How such frameworks do it is recalled;
- timm's `LogitDistillationTask`, which is called itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import Work
from kdnb.data import ImageData, Images
from kdnb.methods.data_free import Generator
from kdnb.training.layers import layers_of

LR, TEMPERATURE = 1e-4, 4.0
CONTRASTS = {"features": 128, "temperature": 0.07, "momentum": 0.5}


class Served(Dataset):
    """Images as torchvision serves them: one PIL image at a time, cropped, flipped, normalised."""

    def __init__(self, images: Images, source: ImageData, padding: int, flip: bool) -> None:
        pixels = images.images.permute(0, 2, 3, 1).numpy()
        self.images = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        self.labels = images.labels.tolist()
        size = images.images.shape[-1]
        steps = [transforms.RandomCrop(size, padding)]
        steps += [transforms.RandomHorizontalFlip()] if flip else []
        steps += [transforms.ToTensor(), transforms.Normalize(source.mean, source.sd)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index], index


def loader(served: Served, batch: int, workers: int) -> DataLoader:
    return DataLoader(
        served, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


class Shown(NamedTuple):
    """What one network shows of a batch.

    Attributes:
        logits: (batch, classes).
        maps: the middle layer's output (batch, channels, height, width).
        embedding: what the classifier reads, (batch, features).
    """

    logits: Tensor
    maps: Tensor
    embedding: Tensor


class Watching:
    """A network with hooks on its middle layer and on its classifier."""

    def __init__(self, network: nn.Module) -> None:
        self.network, found = network, layers_of(network)
        self.kept: dict[str, Tensor] = {}
        self.path = found.maps[len(found.maps) // 2]
        self.head = found.head
        network.get_submodule(self.path).register_forward_hook(
            lambda module, given, answer: self.kept.update(maps=answer)
        )
        network.get_submodule(self.head).register_forward_pre_hook(
            lambda module, given: self.kept.update(embedding=given[0])
        )

    def __call__(self, images: Tensor) -> Shown:
        logits = self.network(images)
        return Shown(logits, self.kept.pop("maps"), self.kept.pop("embedding").flatten(1))


# A term: what the student shows, what the teacher shows, places of the images -> a loss.
Term = Callable[[Shown, Shown, Tensor], Tensor]


def kd(ours: Shown, theirs: Shown, index: Tensor) -> Tensor:
    said = F.log_softmax(ours.logits / TEMPERATURE, dim=1)
    taught = F.softmax(theirs.logits / TEMPERATURE, dim=1)
    return F.kl_div(said, taught, reduction="batchmean") * TEMPERATURE**2


def distances(points: Tensor) -> Tensor:
    squares = points.pow(2).sum(dim=1)
    found = squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * (points @ points.t())
    found = found.clamp(min=1e-12).sqrt().clone()
    found[range(len(points)), range(len(points))] = 0
    return found


def rkd(ours: Shown, theirs: Shown, index: Tensor) -> Tensor:
    """25 times the loss of distances and 50 times that of angles."""
    s, t = ours.embedding.float(), theirs.embedding.float()
    with torch.no_grad():
        far = distances(t)
        far = far / far[far > 0].mean()
        wide = F.normalize(t.unsqueeze(0) - t.unsqueeze(1), p=2, dim=2)
        wide = torch.bmm(wide, wide.transpose(1, 2)).view(-1)
    near = distances(s)
    near = near / near[near > 0].mean()
    angles = F.normalize(s.unsqueeze(0) - s.unsqueeze(1), p=2, dim=2)
    angles = torch.bmm(angles, angles.transpose(1, 2)).view(-1)
    return 25 * F.smooth_l1_loss(near, far) + 50 * F.smooth_l1_loss(angles, wide)


class Hint(nn.Module):
    """The student's middle layer, brought to the teacher's channels by a 1x1 convolution."""

    def __init__(self, ours: Shown, theirs: Shown) -> None:
        super().__init__()
        self.regressor = nn.Conv2d(ours.maps.shape[1], theirs.maps.shape[1], 1)

    def forward(self, ours: Shown, theirs: Shown, index: Tensor) -> Tensor:
        return F.mse_loss(self.regressor(ours.maps), theirs.maps)


class Contrast(nn.Module):
    """Embeddings told from those of other images, each image with negatives of its own drawing.

    Two memories of all images, gathered for each image of a batch and multiplied by its embedding.
    """

    def __init__(self, ours: Shown, theirs: Shown, images: int) -> None:
        super().__init__()
        width, self.images = CONTRASTS["features"], images
        self.student = nn.Linear(ours.embedding.shape[1], width)
        self.teacher = nn.Linear(theirs.embedding.shape[1], width)
        for name in ("memory_s", "memory_t"):
            self.register_buffer(name, F.normalize(torch.rand(images, width) - 0.5, dim=1))

    def forward(self, ours: Shown, theirs: Shown, index: Tensor) -> Tensor:
        s = F.normalize(self.student(ours.embedding.float()), dim=1)
        t = F.normalize(self.teacher(theirs.embedding.float()), dim=1)
        drawn = torch.randint(self.images, (len(index), self.images + 1))
        drawn[:, 0] = index
        loss = self.told(s, self.memory_t, drawn) + self.told(t, self.memory_s, drawn)
        with torch.no_grad():
            for memory, new in ((self.memory_s, s), (self.memory_t, t)):
                mixed = CONTRASTS["momentum"] * (memory[index] + new)
                memory[index] = F.normalize(mixed, dim=1)
        return loss

    def told(self, anchor: Tensor, memory: Tensor, drawn: Tensor) -> Tensor:
        others = memory.index_select(0, drawn.view(-1)).view(*drawn.shape, -1)
        found = torch.bmm(others, anchor.unsqueeze(2)).squeeze(2)
        found = torch.exp(found / CONTRASTS["temperature"]) / 1e4
        noise = (drawn.shape[1] - 1) / self.images
        positive = torch.log(found[:, 0] / (found[:, 0] + noise + 1e-7))
        negative = torch.log(noise / (found[:, 1:] + noise + 1e-7))
        return -(positive.sum() + negative.sum()) / len(anchor)


def term_of(method: str, ours: Shown, theirs: Shown, images: int) -> Term:
    """The method's term, with what it learns made for what the networks show."""
    if method == "fitnets":
        return Hint(ours, theirs)
    if method == "crd":
        return Contrast(ours, theirs, images)
    return {"kd": kd, "rkd": rkd}[method]


def half(on: bool) -> Any:
    return torch.autocast("cpu", torch.bfloat16, enabled=on)


def script(
    method: str, student: nn.Module, teacher: nn.Module, data: DataLoader, bf16: bool = False
) -> Work:
    """One epoch of a plain script."""
    ours, theirs = Watching(student), Watching(teacher.eval())
    images, _, _ = next(iter(data))
    with torch.no_grad():
        term = term_of(method, ours(images), theirs(images), len(data.dataset))
    learnt = [*student.parameters(), *_learnt(term)]
    optimiser = torch.optim.SGD(learnt, lr=LR, momentum=0.9)

    def run() -> None:
        student.train()
        for images, labels, index in data:
            with half(bf16):
                said = ours(images)
                with torch.no_grad():
                    taught = theirs(images)
                loss = F.cross_entropy(said.logits, labels) + 1e-3 * term(said, taught, index)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def _learnt(term: Term) -> list[nn.Parameter]:
    return list(term.parameters()) if isinstance(term, nn.Module) else []


@contextmanager
def gathering(network: nn.Module, paths: Mapping[str, str]) -> Iterator[dict[str, dict[str, Any]]]:
    """What named modules are given and give, by path, as configuration files name them."""
    kept: dict[str, dict[str, Any]] = {path: {} for path in paths}

    def keep(path: str, kind: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, answer: Any) -> None:
            value = given if kind == "input" else answer
            kept[path].setdefault(kind, {})["cpu"] = value  # by device, for replicas

        return hook

    handles = [
        (network.get_submodule(path) if path else network).register_forward_hook(keep(path, kind))
        for path, kind in paths.items()
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


class Smoothed:
    """Values of the last steps, and their total, as such frameworks log them."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=20)
        self.total, self.count = 0.0, 0

    def update(self, value: float, times: int = 1) -> None:
        self.last.append(value)
        self.total, self.count = self.total + value * times, self.count + times


def configured(method: str, student: nn.Module, teacher: nn.Module, data: DataLoader) -> Work:
    """One epoch of a framework driven by configuration files."""
    ours, theirs = layers_of(student), layers_of(teacher.eval())
    middle = {network: found.maps[len(found.maps) // 2] for network, found in
              ((student, ours), (teacher, theirs))}  # fmt: skip
    plans = {
        student: {"": "output", middle[student]: "output", ours.head: "input"},
        teacher: {"": "output", middle[teacher]: "output", theirs.head: "input"},
    }

    def shown(network: nn.Module, kept: dict[str, dict[str, Any]]) -> Shown:
        found = {}
        for path, kind in plans[network].items():
            (value,) = kept[path].pop(kind).values()
            found[path] = value[0] if kind == "input" else value
        logits, maps, embedding = found.values()
        return Shown(logits, maps, embedding.flatten(1))

    def once(images: Tensor) -> tuple[Shown, Shown]:
        with gathering(student, plans[student]) as s, gathering(teacher, plans[teacher]) as t:
            teacher(images)
            student(images)
            return shown(student, s), shown(teacher, t)

    images, _, _ = next(iter(data))
    with torch.no_grad():
        term = term_of(method, *once(images), len(data.dataset))
    terms: dict[str, tuple[Term | None, float]] = {"hard": (None, 1.0), method: (term, 1e-3)}
    learnt = [*student.parameters(), *_learnt(term)]
    optimiser = torch.optim.SGD(learnt, lr=LR, momentum=0.9)

    def run() -> None:
        student.train()
        logged = {name: Smoothed() for name in ("loss", "lr", "rate")}
        with gathering(student, plans[student]) as s, gathering(teacher, plans[teacher]) as t:
            for images, labels, index in data:
                started = perf_counter()
                with torch.no_grad():
                    teacher(images)
                student(images)
                said, taught = shown(student, s), shown(teacher, t)
                values = {
                    name: weight * (term(said, taught, index) if term else
                                    F.cross_entropy(said.logits, labels))
                    for name, (term, weight) in terms.items()
                }  # fmt: skip
                loss = sum(values.values())
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                logged["loss"].update(loss.item(), len(images))
                logged["lr"].update(optimiser.param_groups[0]["lr"])
                logged["rate"].update(len(images) / (perf_counter() - started))

    return run


def timm_task(student: nn.Module, teacher: nn.Module, data: DataLoader) -> Work | None:
    """One epoch of timm's own step of KD; None where timm is too old to have it."""
    try:
        from timm.task import LogitDistillationTask
    except ImportError:
        return None
    channels = next(iter(data))[0].shape[1]
    for network in (student, teacher):  # by which it tells how each normalises
        network.pretrained_cfg = {"mean": (0.5,) * channels, "std": (0.25,) * channels}
        network.num_classes, network.in_chans = 10, channels
    task = LogitDistillationTask(
        student, teacher, nn.CrossEntropyLoss(), distill_loss_weight=1e-3, task_loss_weight=1.0,
        temperature=TEMPERATURE, device=torch.device("cpu"), verbose=False,
    )  # fmt: skip
    optimiser = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)

    def run() -> None:
        task.train()
        for images, labels, _ in data:
            loss = task(images, labels)["loss"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def mutual(one: nn.Module, other: nn.Module, data: DataLoader, bf16: bool = False) -> Work:
    """One epoch of deep mutual learning: both answer, then each takes its step."""
    networks = [one, other]
    optimisers = [torch.optim.SGD(n.parameters(), lr=LR, momentum=0.9) for n in networks]

    def run() -> None:
        for network in networks:
            network.train()
        for images, labels, _ in data:
            with half(bf16):
                logits = [network(images) for network in networks]
                losses = [
                    F.cross_entropy(mine, labels)
                    + F.kl_div(mine.log_softmax(1), peer.detach().softmax(1), reduction="batchmean")
                    for mine, peer in zip(logits, reversed(logits), strict=True)
                ]
            for optimiser, loss in zip(optimisers, losses, strict=True):
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    return run


def dafl(
    student: nn.Module, teacher: nn.Module, generator: Generator, features: str, batch: int,
    steps: int, bf16: bool = False,
) -> Work:  # fmt: skip
    """So many steps of DAFL: generator and student both follow the gradient of one joint loss."""
    teacher.eval()
    kept: dict[str, Tensor] = {}
    teacher.get_submodule(features).register_forward_hook(
        lambda module, given, answer: kept.update(maps=answer)
    )
    optimisers = [torch.optim.Adam(n.parameters(), lr=LR) for n in (generator, student)]

    def run() -> None:
        student.train()
        generator.train()
        for _ in range(steps):
            with half(bf16):
                images = generator(torch.randn(batch, generator.latent))
                taught = teacher(images)
                sure = F.cross_entropy(taught, taught.detach().argmax(1))
                mean = taught.softmax(1).mean(0)
                spread = (mean * mean.log10()).sum()
                excited = -kept.pop("maps").abs().mean()
                said = student(images.detach())
                imitation = F.kl_div(
                    said.log_softmax(1), taught.detach().softmax(1), reduction="batchmean"
                )
                loss = sure + 5 * spread + 0.1 * excited + imitation
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()

    return run

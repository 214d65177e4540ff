"""What a frozen teacher says of every view of every image, kept on disk and exact.

Under crop-and-flip an image has a finite number of views (162 with a padding of 4), and in eval
mode a teacher's answer is a function of the view. So each answer is asked for once, by whichever
trial, seed or process comes first, and looked up from then on. (An answer cached for the *image*,
while the student sees views of it, would be another image's answer: the classic bug.)

A file is a table with a row for each view, mapped into memory by all processes at once; its room on
the disk is taken when it is begun. A row holds the answer and a 64-bit check of the answer, the row's
number and the table's name, so that nothing else has to be kept in step: a row not yet written, half
written, damaged or of another place is simply asked for again.
Answers are kept in bfloat16 where that loses no bit (under bf16 autocast), else in float32.
"""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from kdnb import paths
from kdnb.data import Batch, Batches
from kdnb.training import devices
from kdnb.training.answers import Output, words_for

log = logging.getLogger(__name__)

LARGEST = 4 << 30  # bytes of one table; a larger one is not begun
ALL = 16 << 30  # bytes on disk of all tables; the one not used for longest goes first
FEWEST = 4  # images asked at a time, at least: for fewer most kernels round otherwise
SAME_NAME = 4  # tables that a teacher may have: its name says nothing of the code of its modules
CHECK = 4  # 16-bit words of a row's check
FORMAT = 5  # of a table; raised when rows are laid out, or answers rounded, in another way


class Table:
    """Rows of numbers on disk, each valid or not by itself.

    Args:
        path: of the file, which is made when missing; its name ends with the type of the numbers.
        rows, width: of the table.
    """

    def __init__(self, path: Path, rows: int, width: int, dtype: torch.dtype) -> None:
        self.path, self.dtype, self.width = path, dtype, width
        self.words = width * dtype.itemsize // 2
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = not path.exists()
        path.touch()  # the time of the last use
        self.file = path.open("r+b")  # taken while this process uses it
        paths.take(self.file.fileno(), shared=True)
        size = rows * (self.words + CHECK)
        try:  # a mapped file must never meet a full disk
            paths.reserve(self.file.fileno(), 2 * size)
        except OSError:
            if begun:
                path.unlink(missing_ok=True)
            raise
        mapped = torch.from_file(str(path), shared=True, size=size, dtype=torch.int16)
        self.cells = mapped.view(rows, self.words + CHECK)
        # Multilinear hashing modulo 2^64 (Lemire and Kaser 2014): two rows that differ have the
        # same upper 32 bits by a chance of 2^-32, whatever they hold.
        name = hashlib.sha256(path.name.encode()).digest()
        stream = torch.Generator().manual_seed(int.from_bytes(name[:8], "little") >> 1)
        factors = torch.empty(self.words + 2, dtype=torch.int64)
        factors = factors.random_(torch.iinfo(torch.int64).min, None, generator=stream)
        self.start, self.of_row, self.of_words = int(factors[0]), int(factors[1]), factors[2:]

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some rows (B,) int64: their numbers (B, width), and which of them are valid (B,) bool."""
        found = self.cells.index_select(0, rows)
        words, check = found[:, : self.words].contiguous(), found[:, self.words :]
        return words.view(self.dtype), (self._check(rows, words) == check).all(1)

    def write(self, rows: Tensor, values: Tensor) -> None:
        """Numbers (B, width) of this table's type into some rows."""
        words = values.contiguous().view(torch.int16)
        self.cells[rows] = torch.cat([words, self._check(rows, words)], 1)

    def _check(self, rows: Tensor, words: Tensor) -> Tensor:
        total = (words.long() * self.of_words).sum(1) + rows * self.of_row + self.start
        return (total | 1)[:, None].view(torch.int16)  # never zeros, as what is not written has


class TeacherCache:
    """Answers of a frozen teacher to the views of some batches.

    Args:
        teacher: images -> (batch, numbers); what it answers must follow from the image alone.
        batches: whose `views` are counted.
        precision: words for how the teacher computes; other words, another table.
        output: where its logits are: one network may answer several things.

    Attributes:
        asked, found: answers wanted so far, and those of them that lay in the table.
    """

    def __init__(
        self, teacher: nn.Module, batches: Batches, precision: str, output: Output = None
    ) -> None:
        self.rows = batches.examples * batches.views
        if output is not None:
            digest = hashlib.sha256(words_for(output).encode()).hexdigest()
            precision = f"{precision}-{digest[:8]}"
        words = f"{precision}-compiled" if devices.compiles() else precision  # rounds otherwise
        self.name = f"{digest_of(teacher)}-{digest_of_views(batches)}-{words}"
        self.table: Table | None = None
        self.refused = False
        # Images asked at a time, at least, once that is known. Compiled code exists for one size.
        self.company: float | None = math.inf if devices.compiles() else None
        self.asked = self.found = 0

    def __call__(self, teacher: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """The answers (B, numbers) float32 to the images of a batch, on their device."""
        if self.table is None and not self.refused:
            self._open(teacher, batch)
        if self.refused:
            return teacher(batch.images)
        values, valid = self.table.read(batch.view)
        device = batch.images.device
        self.asked += len(batch.view)
        if bool(valid.all()):
            self.found += len(batch.view)
            return values.to(device, torch.float32, non_blocking=True)
        missing = (~valid).nonzero()[:, 0]
        self.found += len(batch.view) - len(missing)
        fresh = self._answers(teacher, batch.images, missing)
        self._keep(batch.view[missing], fresh)
        if len(missing) == len(batch.view):
            return fresh
        answers = values.to(device, torch.float32)
        return answers.index_copy_(0, missing.to(device), fresh)

    def _open(self, teacher: Callable[[Tensor], Tensor], batch: Batch) -> None:
        """Find the table by asking about a few images; what it says of them must be the same."""
        views = batch.view[:FEWEST]
        with devices.uncompiled():  # not worth a minute's compiling
            answers = _in_company(teacher, batch.images, torch.arange(len(views)))
        exact = bool((answers == answers.bfloat16()).all())
        dtype = torch.bfloat16 if exact else torch.float32
        try:
            for number in range(SAME_NAME):
                table = self._begun(answers.shape[1], dtype, number)
                if table is None or _agree(table, views, answers.cpu()):
                    self.table = table
                    break
                log.warning(
                    "%s holds other answers than this teacher gives, of other code or another "
                    "machine: it stays, and is not used.", table.path,
                )  # fmt: skip
        except (OSError, RuntimeError) as error:  # no workbook, a full or a read-only disk
            log.warning("the teacher's answers are not kept: %s", error)
        self.refused = self.table is None

    def _begun(self, width: int, dtype: torch.dtype, number: int) -> Table | None:
        """The table on disk, unless it might grow too large; one of several of the same name."""
        folder = paths.runs() / "teachers"
        size = self.rows * (width * dtype.itemsize + 2 * CHECK)
        if size > min(LARGEST, shutil.disk_usage(folder.parent).free // 2):
            return None
        name = f"{self.name}-{width}-{FORMAT}" + (f"-{number}" if number else "")
        path = folder / f"{name}.{str(dtype).removeprefix('torch.')}"
        _make_room(path)
        return Table(path, self.rows, width, dtype)

    def _answers(
        self, teacher: Callable[[Tensor], Tensor], images: Tensor, chosen: Tensor
    ) -> Tensor:
        """The teacher's answers to the chosen images of a batch, as it gives them to the whole.

        Which kernel computes, and so how it rounds, may hang on how many images are asked at a
        time. The first time that some of a batch are known, it is tried how many are enough.
        """
        if len(chosen) == len(images):
            return teacher(images).float()
        if self.company is not None:
            return _in_company(teacher, images, chosen, int(min(self.company, len(images))))
        whole, company = teacher(images).float(), FEWEST
        while company < len(images) and not torch.equal(
            teacher(images[:company]).float(), whole[:company]
        ):
            company *= 2
        self.company = company
        return whole.index_select(0, chosen.to(whole.device))

    def _keep(self, views: Tensor, answers: Tensor) -> None:
        answers = answers.detach().cpu()
        kept = answers.to(self.table.dtype)
        exact = (kept.float() == answers).all(1)  # never another number than the teacher's
        if not bool(exact.all()):
            views, kept = views[exact], kept[exact]
        self.table.write(views, kept)

    def __str__(self) -> str:
        share = 100 * self.found / max(1, self.asked)
        size = on_disk(self.table.path) / 1e6 if self.table else 0.0
        known = f"{self.found:,} of {self.asked:,} answers were known ({share:.0f}%)"
        return f"{known}, {size:.1f} MB on disk"


def _agree(table: Table, views: Tensor, answers: Tensor) -> bool:
    """Whether what a table holds of some views is what the teacher says now, but for rounding."""
    values, valid = table.read(views)
    here, there = answers[valid], values[valid].float()
    if devices.compiles() and len(
        there
    ):  # it is asked as written, and the table was filled compiled
        scale = float(there.nan_to_num().abs().max())
        return torch.allclose(here, there, rtol=0, atol=max(1e-2, 0.05 * scale), equal_nan=True)
    return torch.allclose(here, there, rtol=1e-2, atol=1e-2, equal_nan=True)


def _in_company(
    teacher: Callable[[Tensor], Tensor], images: Tensor, chosen: Tensor, least: int = FEWEST
) -> Tensor:
    """The teacher's answers (C, numbers) float32 to the chosen images (C,), never to very few."""
    padded = chosen
    if len(chosen) < least:
        padded = torch.cat([chosen, chosen[:1].expand(least - len(chosen))])
    return teacher(images.index_select(0, padded.to(images.device)))[: len(chosen)].float()


def digest_of(network: nn.Module) -> str:
    """A name for what a network computes: its structure, its numbers, and the library's version."""
    found = hashlib.sha256(f"{torch.__version__} {type(network).__qualname__} {network!r}".encode())
    for key, value in sorted(network.state_dict().items()):
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:24]


def digest_of_views(batches: Batches) -> str:
    """A name for the images in their order and for how they are shown."""
    shown = batches.mean, batches.sd, batches.crop_padding, batches.flip
    pixels = batches.images.images
    found = hashlib.sha256(f"{shown} {tuple(pixels.shape)}".encode())
    found.update(pixels.cpu().contiguous().flatten().numpy())
    return found.hexdigest()[:24]


def on_disk(path: Path) -> int:
    """The bytes that a file takes, which in a sparse file are fewer than its length."""
    about = path.stat()
    return getattr(about, "st_blocks", about.st_size / 512) * 512


def tables() -> list[Path]:
    """The tables on disk, and those that a version before this one made."""
    return list((paths.runs() / "teachers").glob("*-*.*"))


def _make_room(wanted: Path) -> None:
    """Take away the tables that nobody has used for longest, as long as all are too large."""
    found = []
    for path in tables():
        try:
            found.append((path.stat().st_mtime, on_disk(path), path))
        except FileNotFoundError:  # another process was quicker
            continue
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= ALL:
            break
        if path != wanted:
            path.unlink(missing_ok=True)  # who has it open may go on with it
            total -= size

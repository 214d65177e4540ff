"""The teacher cache: exact, shared, bounded, and never another image's answer."""

import functools
import multiprocessing
import os

import pytest
import torch
from torch import nn

from kdnb import losses
from kdnb.data import Batches, Images, LoaderBatches
from kdnb.methods.offline import distil
from kdnb.methods.self_distillation import next_generation
from kdnb.training import Recipe, teacher_cache
from kdnb.training.teacher_cache import Table, TeacherCache, digest_of

LOSS = functools.partial(losses.soft_targets, temperature=4.0)
RECIPE = Recipe(epochs=3, batch_size=8, lr=0.05, crop_padding=1, flip=True, precision="32")


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    return tmp_path


def images(count=20, seed=0):
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 8, 8), generator=stream, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 4)


def shown(recipe=RECIPE, seed=0, count=20, **more):
    return Batches(
        images(count), recipe.batch_size, mean=(0.5,) * 3, sd=(0.25,) * 3, seed=seed,
        crop_padding=recipe.crop_padding, flip=recipe.flip, jitter=recipe.jitter, **more,
    )  # fmt: skip


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(8 * 36, 4),
    )  # fmt: skip


class Counting(nn.Module):
    """A teacher that counts the images it is asked about."""

    def __init__(self, seed=7):
        super().__init__()
        self.inner, self.seen = network(seed), 0

    def forward(self, x):
        self.seen += len(x)
        return self.inner(x)


def taught(teacher=None, recipe=RECIPE, **more):
    student = network(1)
    history = distil.distil(
        student, teacher or Counting(), shown(recipe, **more), recipe, method=LOSS, label_weight=0
    )
    return student.state_dict(), history.rows


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


def tables(folder):
    return sorted((folder / "teachers").iterdir())


def test_a_views_number_tells_how_the_image_looks():
    batches, seen = shown(), {}
    assert batches.views == 3 * 3 * 2
    for epoch in range(40):
        for batch in batches.epoch(epoch):
            assert torch.equal(batch.view // 18, batch.index)
            for view, image in zip(batch.view.tolist(), batch.images, strict=True):
                assert torch.equal(seen.setdefault(view, image), image)
    looks = {image.numpy().tobytes() for image in seen.values()}
    assert len(looks) == len(seen) > 300  # 40 looks at 20 images of 18 views: nearly all views
    assert shown(RECIPE.model_copy(update={"flip": False})).views == 9
    assert shown(RECIPE.model_copy(update={"jitter": 0.1})).views is None
    assert next(shown(RECIPE.model_copy(update={"jitter": 0.1})).epoch(0)).view is None


def test_views_are_those_of_crop_and_flip():
    batch = next(shown(count=4).epoch(3))
    padded = nn.functional.pad(images(4).images, (1, 1, 1, 1)).float()
    for place, (index, view) in enumerate(zip(batch.index, batch.view % 18, strict=True)):
        y, x, mirrored = view // 6, view // 2 % 3, view % 2
        expected = padded[index, :, y : y + 8, x : x + 8]
        expected = expected.flip(-1) if mirrored else expected
        torch.testing.assert_close(batch.images[place], (expected / 255 - 0.5) / 0.25)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_cold_warm_and_without_are_equal_to_the_bit(precision, monkeypatch, runs):
    recipe = RECIPE.model_copy(update={"precision": precision})
    first, second, third = Counting(), Counting(), Counting()
    cold, cold_history = taught(first, recipe)
    warm, warm_history = taught(second, recipe)
    monkeypatch.setattr(teacher_cache, "LARGEST", 0)
    without, history = taught(third, recipe)
    assert same(cold, warm) and same(cold, without)
    assert [row["soft"] for row in cold_history] == [row["soft"] for row in history]
    assert [row["soft"] for row in warm_history] == [row["soft"] for row in history]
    tried = 2 if precision == "bf16" else 0  # whether it can answer with channels last
    tried += 8  # the first batch, before any training
    assert second.seen == 4 + tried < first.seen <= third.seen + 4
    assert third.seen == 3 * 20 + 4 + tried
    kind = "bfloat16" if precision == "bf16" else "float32"
    assert [path.suffix for path in tables(runs)] == [f".{kind}"]


def test_another_seed_and_another_scheme_share_the_table(runs):
    taught()
    teacher = Counting()
    distil.distil(network(2), teacher, shown(seed=1), RECIPE, method=LOSS, label_weight=0, seed=1)
    next_generation(network(3), teacher, shown(seed=0), RECIPE)
    assert len(tables(runs)) == 1
    assert teacher.seen < 2 * 3 * 20 - 30


def test_whatever_changes_the_answers_changes_the_table(runs, monkeypatch):
    taught()
    taught(Counting(seed=8))
    taught(recipe=RECIPE.model_copy(update={"flip": False}))
    taught(recipe=RECIPE.model_copy(update={"crop_padding": 2}))
    taught(count=24)
    taught(recipe=RECIPE.model_copy(update={"precision": "bf16"}))
    assert len(tables(runs)) == 6
    teacher = Counting()
    plain = TeacherCache(teacher, shown(), "32-true").name
    monkeypatch.setenv("KDNB_COMPILE", "1")  # it rounds otherwise
    assert TeacherCache(teacher, shown(), "32-true").name != plain
    name = digest_of(teacher)
    teacher.inner[1].running_mean += 1  # a buffer is a part of it
    assert digest_of(teacher) != name


def test_what_cannot_be_counted_is_asked_in_every_step(runs):
    teacher = Counting()
    taught(teacher, RECIPE.model_copy(update={"jitter": 0.1}))
    assert teacher.seen == 8 + 3 * 20  # it is tried on the first batch, before any training
    own = LoaderBatches([(torch.randn(5, 3, 8, 8), torch.zeros(5).long())])
    plain = RECIPE.model_copy(update={"crop_padding": 0, "flip": False})
    distil.distil(network(1), teacher, own, plain, method=LOSS, label_weight=0)
    assert teacher.seen == 8 + 3 * 20 + 5 + 3 * 5
    assert not (runs / "teachers").exists()


def test_damage_costs_time_and_nothing_else(runs):
    whole, _ = taught()
    (path,) = tables(runs)
    content = bytearray(path.read_bytes())
    stream = torch.Generator().manual_seed(0)
    for place in torch.randint(len(content), (400,), generator=stream).tolist():
        content[place] ^= 1 << (place % 8)
    path.write_bytes(content)
    teacher = Counting()
    again, _ = taught(teacher)
    assert same(whole, again) and teacher.seen > 4
    path.write_bytes(content[: len(content) // 3])  # cut off
    again, _ = taught(teacher)
    assert same(whole, again)
    path.write_bytes(b"")
    again, _ = taught(teacher)
    assert same(whole, again)


def test_a_row_is_valid_only_as_it_was_written(runs):
    table = Table(runs / "t.bfloat16", 6, 3, torch.bfloat16)
    rows = torch.tensor([4, 1])
    assert table.read(torch.arange(6))[1].tolist() == [False] * 6
    values = torch.tensor([[0.0, 0.0, 0.0], [1e3, -1e3, 0.5]]).bfloat16()
    table.write(rows, values)
    found, valid = Table(runs / "t.bfloat16", 6, 3, torch.bfloat16).read(torch.arange(6))
    assert valid.tolist() == [False, True, False, False, True, False]
    assert torch.equal(found[rows], values)
    for word in range(4):
        table.cells[4, word] ^= 64
        assert not table.read(rows)[1][0] and table.read(rows)[1][1]
        table.cells[4, word] ^= 64


def test_an_answer_that_bfloat16_would_round_is_not_kept_in_it(runs):
    """The first batch decides on the type; a later answer that does not fit is never rounded."""

    class Odd(Counting):
        def forward(self, x):
            answer = super().forward(x).bfloat16().float()
            return answer if self.seen <= 4 + 8 else answer + 2**-20 * torch.rand(len(x), 1)

    batches, teacher = shown(), Odd().eval()
    cache = TeacherCache(teacher, batches, "test")
    with torch.no_grad():
        for batch in batches.epoch(0):
            cache(teacher, batch)
        valid = cache.table.read(torch.arange(20 * 18))[1]
        assert cache.table.dtype == torch.bfloat16 and int(valid.sum()) == 8


def test_a_table_of_other_answers_stays_and_is_not_used(runs, caplog):
    whole, _ = taught()
    (path,) = tables(runs)
    content = path.read_bytes()
    rows = Table(path, 20 * 18, 4, torch.float32)
    everything = torch.arange(20 * 18)
    values, valid = rows.read(everything)
    rows.write(everything[valid], values[valid] + 1)  # valid, and wrong
    spoilt = path.read_bytes()
    again, _ = taught()
    assert same(whole, again) and spoilt != content
    (line,) = caplog.messages
    assert line.startswith(f"{path} holds other answers") and "it stays, and is not used" in line
    assert path.read_bytes() == spoilt
    (other,) = set(tables(runs)) - {path}
    assert other.name == path.name.replace(".float32", "-1.float32")
    teacher = Counting()
    again, _ = taught(teacher)
    assert same(whole, again) and teacher.seen < 20  # the second table is found and used


def test_a_teacher_whose_code_changes_is_another_one(runs, caplog):
    """Its modules, numbers and name are the same: only its answers tell."""

    class Teacher(Counting):
        def forward(self, x):
            return factor * super().forward(x)

    found = []
    for factor in (1.0, -1.0, 1.0):  # which `Teacher` reads
        found.append(taught(Teacher())[0])
    assert same(found[0], found[2]) and not same(found[0], found[1])
    assert len(tables(runs)) == 2


def test_a_teacher_that_answers_otherwise_each_time_is_not_kept(runs, caplog):
    class Moody(Counting):
        def forward(self, x):
            return super().forward(x) + 9 * torch.rand(())

    for _ in range(teacher_cache.SAME_NAME + 1):
        taught(Moody())
    assert len(tables(runs)) == teacher_cache.SAME_NAME


def test_tables_have_a_bound(runs, monkeypatch):
    taught()
    (old,) = tables(runs)
    os.utime(old, (1, 1))
    monkeypatch.setattr(teacher_cache, "ALL", 0)
    taught(Counting(seed=8))
    (new,) = tables(runs)
    assert new != old
    monkeypatch.setattr(teacher_cache, "LARGEST", 20 * 18 * 18 - 1)
    taught(Counting(seed=9))
    assert tables(runs) == [new]


def test_few_unknown_images_are_asked_in_company():
    """Some kernels round otherwise for one or two images than for many."""
    batches, sizes = shown(), []
    teacher = Counting().eval()

    def ask(x):
        sizes.append(len(x))
        return teacher(x)

    cache = TeacherCache(teacher, batches, "test")
    first, second, *_ = batches.epoch(0)
    with torch.no_grad():
        cache(ask, first)
        mixed = first._replace(
            images=torch.cat([first.images[:6], second.images[:2]]),
            view=torch.cat([first.view[:6], second.view[:2]]),
        )
        answers = cache(ask, mixed)
        assert sizes == [4, 8, 8, 4]  # to be sure; all; all, and whether four are enough
        torch.testing.assert_close(answers, teacher(mixed.images))
        assert str(cache).startswith("6 of 16 answers were known (38%)")
        *_, last = batches.epoch(1)
        cache(ask, last._replace(
            images=torch.cat([mixed.images[:2], last.images[:2]]),
            view=torch.cat([mixed.view[:2], last.view[:2]]),
        ))  # fmt: skip
        assert sizes == [4, 8, 8, 4, 4]


def test_where_few_are_answered_otherwise_more_are_asked(runs):
    """A teacher whose kernels round otherwise for fewer than seven images."""
    batches, sizes = shown(), []
    teacher = Counting().eval()

    def ask(x):
        sizes.append(len(x))
        return teacher(x) + (2.0**-20 if len(x) < 7 else 0)

    cache = TeacherCache(teacher, batches, "test")
    first, second, *_ = batches.epoch(0)
    with torch.no_grad():
        cache(ask, first)
        for place in (2, 3):
            mixed = first._replace(
                images=torch.cat([first.images[:7], second.images[place : place + 1]]),
                view=torch.cat([first.view[:7], second.view[place : place + 1]]),
            )
            assert torch.equal(cache(ask, mixed)[-1], teacher(mixed.images)[-1])
    assert sizes == [4, 8, 8, 4, 8]


def _work(folder):
    os.environ["KDNB_RUNS"] = folder
    torch.set_num_threads(1)
    torch.save(taught()[0], f"{folder}/{os.getpid()}.pt")


def test_processes_share_a_table_at_the_same_time(runs, tmp_path_factory, monkeypatch):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(str(runs),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path_factory.mktemp("alone")))
    alone, _ = taught()
    found = [torch.load(path, weights_only=True) for path in runs.glob("*.pt")]
    assert len(found) == 3 and all(same(alone, one) for one in found)
    assert len(tables(runs)) == 1


def test_a_row_belongs_to_its_place_and_its_table(runs):
    table = Table(runs / "a-b-3-4.bfloat16", 6, 3, torch.bfloat16)
    rows, values = torch.tensor([1, 4]), torch.arange(6.0).view(2, 3).bfloat16()
    table.write(rows, values)
    table.cells[2] = table.cells[1]  # a whole row in another's place
    assert table.read(torch.arange(6))[1].tolist() == [False, True, False, False, True, False]
    other = Table(runs / "c-d-3-4.bfloat16", 6, 3, torch.bfloat16)
    other.cells.copy_(table.cells)  # the file under another's name
    assert not other.read(torch.arange(6))[1].any()


def test_changes_of_a_row_escape_its_check_less_often_than_once_in_100_000(runs):
    """A check of 16 bits would let six or so of these 400,000 through."""
    count, width = 100_000, 10
    table = Table(runs / "a-b-10-4.bfloat16", count, width, torch.bfloat16)
    rows, stream = torch.arange(count), torch.Generator().manual_seed(0)
    table.write(rows, torch.randn(count, width, generator=stream).bfloat16())
    whole, seen = table.cells.clone(), 0
    for _ in range(4):
        for _ in range(3):  # bits of three words
            word = torch.randint(table.cells.shape[1], (count,), generator=stream)
            bit = 1 << torch.randint(15, (count,), generator=stream)
            table.cells[rows, word] ^= bit.to(torch.int16)
        changed = (table.cells != whole).any(1)
        seen += int((table.read(rows)[1] & changed).sum())
        table.cells.copy_(whole)
    assert seen == 0


def test_a_full_disk_costs_the_table_and_not_the_process(runs, monkeypatch, caplog):
    whole, _ = taught()
    for path in tables(runs):
        path.unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdnb.paths.os.posix_fallocate", full)
    again, _ = taught()
    assert same(whole, again) and tables(runs) == []
    assert "the teacher's answers are not kept" in caplog.text


def test_a_table_has_its_room_on_the_disk_when_it_is_begun(runs):
    table = Table(runs / "a-b-3-4.bfloat16", 5000, 3, torch.bfloat16)
    assert teacher_cache.on_disk(table.path) >= 5000 * (6 + 8)


@pytest.mark.parametrize(
    ("compiling", "off", "agrees"),
    [("0", 0.005, True), ("0", 0.03, False), ("1", 0.03, True), ("1", 0.2, False)],
)
def test_a_compiled_teacher_may_round_otherwise_than_as_written(
    monkeypatch, tmp_path, compiling, off, agrees
):
    """Answers in half precision of two programs differ by some percent of the largest."""
    monkeypatch.setenv("KDNB_COMPILE", compiling)
    table, rows = teacher_cache.Table(tmp_path / "t.float32", 4, 3, torch.float32), torch.arange(4)
    values = torch.tensor([[1.0, 0.0, -1.0]]).expand(4, 3)
    table.write(rows, values)
    assert teacher_cache._agree(table, rows, values + off) is agrees

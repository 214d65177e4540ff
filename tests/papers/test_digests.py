"""Claims and records are the files that `papers/SHA256SUMS` lists."""

import json
import subprocess

import pytest
from paper_tables import save

from kdnb import paths
from kdnb.papers import digests, scoreboard
from kdnb.papers.records import PaperError, carries_digest, read_file, record_path


def test_every_committed_claim_and_record_is_as_it_is_listed():
    assert digests.verify() == len(digests.files()) > 30
    assert digests.verify("hinton2015") >= 2


def test_every_committed_record_carries_its_digest():
    found = {file: json.loads(file.read_bytes()).get("digest") for file in digests.records()}
    assert len(found) > 20
    for file, digest in found.items():
        assert digest == read_file(file).digest, f"{file}: run kdnb verdicts --write"


def test_writing_the_list_gives_a_record_its_digest_and_changes_no_other(home):
    made = save()
    path = record_path("hinton2015", "laptop")
    carried = path.read_bytes()
    plain = json.loads(carried)
    del plain["digest"]
    path.write_text(json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False) + "\n")
    assert not carries_digest(path)
    digests.write()
    assert path.read_bytes() == carried and digests.verify() == 2
    path.write_bytes(compact := json.dumps(plain | {"digest": made.digest}).encode())
    digests.write()
    assert path.read_bytes() == compact  # it has one


def test_the_digest_that_the_verdicts_name_is_compared(home):
    save()
    scoreboard.write()
    digests.write()
    assert digests.verify() == 2
    save(student=151.0)
    digests.write()
    with pytest.raises(PaperError, match="verdicts.json judges hinton2015/results/laptop.json of"):
        digests.verify("hinton2015")
    assert digests.verify("other") == 0
    scoreboard.write()
    assert digests.verify() == 2
    for damage in ("{}", "[1]", '{"papers": {"hinton2015": 1}}', "no"):
        scoreboard.path().write_text(damage)
        with pytest.raises(PaperError, match="verdicts.json is damaged"):
            digests.verify()


def test_sha256sum_reads_the_list():
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=paths.root() / "papers", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_changed_missing_or_new_is_named(home):
    save()
    claims, record = home / "papers/hinton2015/claims.toml", record_path("hinton2015", "laptop")
    digests.write()
    assert digests.verify() == digests.verify("hinton2015") == 2 and digests.verify("other") == 0
    whole = record.read_text()
    for change, name in (
        (lambda: record.write_text(whole.replace("150.0", "151.0", 1)), "results/laptop.json"),
        (record.unlink, "results/laptop.json"),
        (lambda: (record.parent / "full.json").write_text(whole), "results/full.json"),
        (lambda: claims.write_text(claims.read_text() + "\n"), "claims.toml"),
    ):
        change()
        with pytest.raises(PaperError, match=f"papers/hinton2015/{name} is not what .*Restore it"):
            digests.verify("hinton2015")
        for path in record.parent.glob("*.json"):
            path.unlink()
        record.write_text(whole)
        claims.write_text(claims.read_text().rstrip("\n") + "\n")
    digests.write()
    assert digests.verify() == 2


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe", b"my notes\n"])
def test_a_damaged_list_is_named(home, content):
    save()
    digests.path().write_bytes(content)
    with pytest.raises(PaperError, match="SHA256SUMS is damaged: .*Restore it from git"):
        digests.verify()


def test_a_record_is_found_below_its_paper_alone(home):
    save()
    from kdnb import papers

    for profile in ("../results/laptop", "/etc/passwd", "laptop\n"):
        with pytest.raises(PaperError, match="There is no record"):
            papers.read_record("hinton2015", profile)


@pytest.mark.parametrize("place", ["recipe_digest", "trial"])
def test_a_record_names_digests_and_no_paths(place):
    from paper_tables import raw
    from pydantic import ValidationError

    from kdnb.papers.records import Record

    bad = raw()
    where = bad if place == "recipe_digest" else bad["arms"]["student"]["0"]
    where[place] = "../../../x"
    with pytest.raises(ValidationError, match=place):
        Record.model_validate(bad)

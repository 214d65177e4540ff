"""`kdnb where`: every place that it names exists, for every row of the catalogue and every paper."""

import inspect
import re

import pytest
from typer.testing import CliRunner

from kdnb import losses, papers, paths
from kdnb.methods import METHODS, attention, cross_modal, graph, multi_teacher, names
from kdnb.papers.records import read_record
from kdnb.workbook.cli import app
from kdnb.workbook.where import PARTS, shown, where


def exist(lines):
    for line in lines:
        path, _, inside = re.fullmatch(r"(\S+)( \((.*)\))?", line).groups()
        assert (paths.root() / path).is_file(), line
        for name in (inside or "").split(", "):
            assert name in (paths.root() / path).read_text(), line


@pytest.mark.parametrize("name", METHODS)
def test_it_tells_the_truth_about_every_method(name):
    method, found = METHODS[name], where(name)
    assert list(found) == list(PARTS)
    for part in ("loss", "scheme", "test", "chapter", "claims", "record"):
        exist(found[part])
    function = getattr(losses, method.loss)
    assert found["loss"] == [
        f"{inspect.getfile(function).removeprefix(f'{paths.root()}/')} ({method.loss})"
    ]
    assert found["scheme"] and found["test"]
    assert all(f"notebooks/{method.chapter}-" in path for path in found["chapter"])
    assert bool(found["claims"]) == (method.paper in papers.reproduced_papers())
    for key in papers.reproduced_papers():
        for profile in papers.profiles(key):
            record = read_record(key, profile)
            arms = [arm for arm in record.arms if arm.startswith(f"{names.former(name)}_")]
            told = any(
                line.startswith(f"papers/{key}/results/{profile}.json") for line in found["record"]
            )
            assert told == (key == method.paper or bool(arms)), key  # fmt: skip


@pytest.mark.parametrize("key", sorted(papers.reproduced_papers()))
def test_it_finds_what_belongs_to_every_reproduced_paper(key):
    found = where(key)
    for part in ("loss", "scheme", "test", "chapter", "claims", "record"):
        exist(found[part])
    assert found["claims"] and found["paper"]
    assert len(found["record"]) >= len(papers.profiles(key))


def test_other_names():
    assert where("attention_transfer") == where("AT") == where("at") == where("zagoruyko2017at")
    assert where("dml")["scheme"] == ["kdnb/methods/online/dml.py"]
    assert where("zhang2018dml")["chapter"] == ["notebooks/3-2-online-distillation.ipynb"]
    assert where("romero2015fitnets")["what"][1].startswith('method "fitnets_stage1"')
    with pytest.raises(ValueError, match=r"no method, file or paper 'zhang2018dmll' \(nearest: zh"):
        where("zhang2018dmll")


@pytest.mark.parametrize("name", [*METHODS, "dml", "chen2019dafl", "zhang2018graphvideo"])
def test_the_command_fits_80_columns(name):
    done = CliRunner().invoke(app, ["where", name], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    for part in PARTS:
        assert re.search(rf"^{part}\b", done.output, re.MULTILINE)


def test_what_does_not_exist_is_none():
    assert where("urban2017")["loss"] == []
    assert re.search(r"^loss +none$", shown("urban2017"), re.MULTILINE)


def test_graphs_are_found():
    assert where("zhang2018graphvideo")["loss"] == ["kdnb/losses/graphvideo.py"]
    assert where("zhang2022glnn")["scheme"] == ["kdnb/methods/graph/glnn.py"]
    assert where("yang2020lsp")["loss"] == ["kdnb/losses/lsp.py"]
    assert where("kipf2017gcn")["scheme"] == ["kdnb/methods/graph/networks.py"]
    assert where("lassance2020gkd")["loss"] == ["kdnb/losses/gkd.py (graph_knowledge)"]


SECTION_5_2 = {  # papers of several teachers of the same classes, and the files that hold them
    "asif2020ensemble": "ekd", "chebotar2016": "combining", "chou2018merge": "merging",
    "cui2017": "combining", "du2020aekd": "aekd", "freitag2017": "sequences",
    "fukuda2017": "switching", "gao2017concentration": "concentration", "kang2020oracle": "combining",
    "li2019ensemblenet": "ensemblenet", "park2019feed": "feed", "sau2016": "noisy_teachers",
    "stahlberg2017": "unfolding", "tan2019multinmt": "sequences", "wu2019reid": "reid",
    "zhao2019highlight": "collaborative_teaching",
}  # fmt: skip


@pytest.mark.parametrize(("key", "stem"), SECTION_5_2.items())
def test_the_papers_of_several_teachers_are_found(key, stem):
    found = where(key)
    for part in ("loss", "scheme", "test"):
        exist(found[part])
    assert found["paper"][0].startswith(f"{key}:") and found["test"]
    assert found["scheme"] == [f"kdnb/methods/multi_teacher/{stem}.py"]
    assert any(line.startswith(f"{key}:") for line in where(stem)["paper"])


@pytest.mark.parametrize(
    ("name", "chapter"),
    [("cfl", "5-2"), ("amalgamation", "5-2"), ("maps", "5-5"), ("speech", "5-3"), ("glnn", "5-4")],
)
def test_chapters_that_only_name_a_function_are_found(name, chapter):
    """As a value, `{"layer by layer": amalgamation.amalgamate}`, or by a constant of its file."""
    assert any(line.startswith(f"notebooks/{chapter}-") for line in where(name)["chapter"])


@pytest.mark.parametrize("folder", [multi_teacher, cross_modal, graph, attention])
def test_every_function_of_sections_5_2_to_5_5_is_found(folder):
    for name in folder.__all__:
        if not name.isupper():  # constants
            found = where(name)
            exist(found["loss"] + found["scheme"] + found["test"])
            assert found["loss"] or found["scheme"], name


SECTION_5_9 = {  # searches for the student, and the files that hold them
    "ashok2018n2n": "n2n", "bashivan2019tgsa": "tgsa", "gu2020search": "width", "li2019random": "random_search",
    "li2020dna": "dna",
}  # fmt: skip


@pytest.mark.parametrize(("key", "stem"), SECTION_5_9.items())
def test_the_searches_are_found(key, stem):
    found = where(key)
    assert found["scheme"] == [f"kdnb/methods/nas/{stem}.py"]
    assert f"tests/methods/nas/test_{stem}.py" in found["test"]
    if stem != "random_search":
        assert found["loss"] == [f"kdnb/losses/{stem}.py"]
        assert f"tests/losses/test_{stem}.py" in found["test"]
    assert bool(found["claims"]) == (stem == "tgsa")


SECTION_5_7 = {  # functions by which a reader knows a method, and the files that hold them
    "quantized_distillation": "polino", "differentiable_quantization": "polino", "uniform": "quantisers",
    "ternary": "quantisers", "int8_distillation": "int8", "search_widths": "width", "NearestMean": "icarl",
}  # fmt: skip


@pytest.mark.parametrize(("function", "stem"), SECTION_5_7.items())
def test_a_function_is_found_by_its_name(function, stem):
    found = where(function)
    assert any(path.endswith(f"/{stem}.py") for path in found["scheme"])
    assert found["test"] and found["chapter"] and f"{stem}.py" in found["what"][0]
    assert where("quantization_mimic")["loss"] == ["kdnb/losses/qm.py"]


def test_a_function_that_a_chapter_gives_to_another_is_found():
    assert where("qkd")["chapter"] == ["notebooks/5-7-quantized.ipynb"]


SECTION_7_4 = {  # other applications, and the files that hold them
    "chen2018advrec": "adrec", "czarnecki2019": "policy", "han2018coteaching": "coteaching",
    "he2020gkt": "fedgkt", "li2017noisy": "noisy_labels", "lin2020feddf": "feddf",
    "papernot2017pate": "pate", "rusu2016policy": "policy", "tang2018rd": "ranking",
    "wang2019bincf": "bincf", "xu2020pfd": "pfd",
}  # fmt: skip


@pytest.mark.parametrize(("key", "stem"), SECTION_7_4.items())
def test_the_other_applications_are_found(key, stem):
    found = where(key)
    assert f"kdnb/methods/applications/{stem}.py" in found["scheme"]
    assert found["test"] and found["paper"][0].startswith(f"{key}:")
    assert bool(found["claims"]) == (key in ("czarnecki2019", "han2018coteaching"))


SECTION_7_3 = {  # speech: the files of losses and of methods, where both are
    "chan2015": ("frame_level", "frames"), "kurata2019guided": ("guided_ctc", "ctc"),
    "wong2016": ("sequence_level", "ctc"), "oord2018": ("wavenet", None), "graves2006ctc": (None, "ctc"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "stems"), SECTION_7_3.items())
def test_speech_is_found(key, stems):
    found, (loss, scheme) = where(key), stems
    assert found["scheme"] == ([f"kdnb/methods/applications/{scheme}.py"] if scheme else [])
    assert found["loss"] == ([f"kdnb/losses/{loss}.py"] if loss else [])
    exist(found["test"])
    assert bool(found["claims"]) == (key == "chan2015")


SECTION_7_2 = {  # papers on language: files of the verb, of the loss
    "agarwal2024gkd": ("language_models", "token_divergence"), "aguilar2020": ("internal", "internal"),
    "gu2024minillm": ("minillm", "minillm"), "sanh2019distilbert": ("sentences", "distilbert"),
    "sun2019pkd": ("sentences", "pkd"), "kim2016seqkd": ("language_models", "token_divergence"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "stems"), SECTION_7_2.items())
def test_the_papers_on_language_are_found(key, stems):
    found, (verb, loss) = where(key), stems
    assert found["scheme"] == [f"kdnb/methods/applications/{verb}.py"]
    assert any(line.startswith(f"kdnb/losses/{loss}.py") for line in found["loss"])
    for test in (f"tests/methods/applications/test_{verb}.py", f"tests/losses/test_{loss}.py"):
        assert test in found["test"]


def test_the_vote_of_several_teachers_is_found():
    assert "kdnb/losses/you2017.py (relative_dissimilarity)" in where("you2017")["loss"]
    assert "kdnb/methods/offline/you2017.py" in where("you2017")["scheme"]


SECTION_7_1 = {  # recognition beyond classes: the loss and the task of each paper
    "bergmann2020uninformed": ("uninformed", "anomaly"), "chen2017det": ("bounded", "detection"),
    "liu2019skd": ("skd", "segmentation"), "shu2021cwd": ("cwd", "segmentation"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "stems"), SECTION_7_1.items())
def test_the_papers_of_visual_recognition_are_found(key, stems):
    found = where(key)
    assert any(line.startswith(f"kdnb/losses/{stems[0]}.py") for line in found["loss"])
    assert f"kdnb/methods/applications/{stems[1]}.py" in found["scheme"]
    assert {
        f"tests/losses/test_{stems[0]}.py",
        f"tests/methods/applications/test_{stems[1]}.py",
    } <= set(found["test"])
    assert where("park2019rkd")["claims"] and not found["claims"]

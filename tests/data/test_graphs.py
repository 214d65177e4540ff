"""Citation graphs: every source gives the same graph or is refused; parts of graphs, and splits."""

import http.client
import io
import pickle
import urllib.error

import numpy as np
import pytest
import small_graphs as small
import torch
from rich.console import Console
from typer.testing import CliRunner

from kdnb.data import (
    DataError,
    Graph,
    fetch,
    graph_card,
    graph_files,
    graph_names,
    graphs,
    split_nodes,
)
from kdnb.data.offered import card_of
from kdnb.papers import bibliography
from kdnb.workbook import cli


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A checkout with one card, no cache, one data folder, and addresses that answer as told."""
    cards = tmp_path / "checkout" / "data" / "graphs"
    cards.mkdir(parents=True)
    (tmp_path / "checkout" / "papers").mkdir()
    (cards / "tiny.toml").write_text(small.CARD.format(digest=small.digest()))
    (tmp_path / "own").mkdir()
    for name, folder in (("HOME", "checkout"), ("CACHE", "cache"), ("DATA_DIRS", "own")):
        monkeypatch.setenv(f"KDNB_{name}", str(tmp_path / folder))
    online = {}

    def answer(address, timeout):
        if address not in online:
            raise urllib.error.URLError("no route")
        return io.BytesIO(online[address])

    monkeypatch.setattr(fetch, "urlopen", answer)
    return tmp_path, online


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)


def is_tiny(graph):
    assert graph.edges.T.tolist() == small.EDGES and graph.labels.tolist() == small.LABELS
    bits = ["".join(str(int(x)) for x in row) for row in graph.features.to_dense().tolist()]
    assert bits == [small.PAPERS[name][0] for name in small.NAMES]
    return True


@pytest.mark.parametrize("where", ["tiny", "graphs/tiny"])
def test_text_files_in_a_folder(shop, where):
    put(shop[0] / "own" / where, small.text_files())
    assert is_tiny(graphs.load_graph("tiny", offline=True))


def test_the_archive_and_the_arrays_in_a_folder(shop):
    put(shop[0] / "own", {"tiny.tgz": small.archive()})
    assert is_tiny(graphs.load_graph("tiny", offline=True))
    put(shop[0] / "own", {"tiny.npz": small.npz()})
    (shop[0] / "own" / "tiny.tgz").unlink()
    assert is_tiny(graphs.load_graph("tiny", offline=True))


@pytest.mark.parametrize(
    ("address", "content"),
    [("lbc/tiny.tgz", small.archive()), ("copies/tiny.npz", small.npz())],
    ids=["authors", "copy"],
)
def test_fetched_once_and_kept(shop, address, content):
    shop[1][f"https://example.org/{address}"] = content
    assert is_tiny(graphs.load_graph("tiny"))
    shop[1].clear()
    assert is_tiny(graphs.load_graph("tiny", offline=True))


def test_what_the_authors_send_damaged_is_taken_from_the_copy(shop):
    shop[1]["https://example.org/lbc/tiny.tgz"] = small.archive()[:50]
    shop[1]["https://example.org/copies/tiny.npz"] = small.npz()
    assert is_tiny(graphs.load_graph("tiny"))


def test_a_connection_that_breaks_off_is_no_graph(shop, monkeypatch):
    def broken(address, timeout):
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr(fetch, "urlopen", broken)
    with pytest.raises(DataError, match="nobody gave Tiny"):
        graphs.load_graph("tiny")


def test_a_damaged_cache_is_taken_away_and_fetched_anew(shop):
    put(shop[0] / "cache", {"tiny.npz": small.npz(**WRONG["another label"])})
    shop[1]["https://example.org/copies/tiny.npz"] = small.npz()
    with pytest.raises(DataError, match="tiny.npz is not Tiny.* It has been taken away: try again"):
        graphs.load_graph("tiny")
    assert is_tiny(graphs.load_graph("tiny"))


def test_nobody_has_it(shop):
    for offline, words in ((True, "no source on this machine"), (False, "nobody gave Tiny")):
        with pytest.raises(DataError, match=words) as error:
            graphs.load_graph("tiny", offline=offline)
        assert "tiny.content and tiny.cites" in str(error.value)


WRONG = {
    "another label": {"labels": np.array([1, 0, 1, 0, 0, 0], np.int8)},
    "an edge more": {"adj_indices": np.array([2, 1, 0, 1, 1, 3, 4], np.int32)},
    "weighted": {"attr_data": np.full(8, 0.5, np.float32)},
    "unsorted": {"node_names": np.array(small.NAMES[::-1])},
    "unknown class": {"class_names": np.array(["Bees", "Wasps"])},
    "pickled": {"node_names": np.array(small.NAMES, dtype=object)},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
def test_another_graph_is_refused(shop, changed):
    put(shop[0] / "own", {"tiny.npz": small.npz(**changed)})
    with pytest.raises(DataError, match="tiny.npz is no"):
        graphs.load_graph("tiny", offline=True)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tiny.content", "Bees", "Wasps"),
        ("tiny.content", "1000", "1100"),
        ("tiny.content", "9\t", "8\t"),
        ("tiny.cites", "a1\t9", "a1\t2"),
        ("tiny.cites", "a1\t9", "a1"),
    ],
)
def test_other_text_is_refused(shop, name, old, new):
    files = small.text_files()
    files[name] = files[name].replace("\t".join(old) if old.isdigit() and len(old) == 4 else old, "\t".join(new) if new.isdigit() and len(new) == 4 else new)  # fmt: skip
    assert files != small.text_files()
    put(shop[0] / "own" / "tiny", files)
    with pytest.raises(DataError, match="is not Tiny|does not hold Tiny"):
        graphs.load_graph("tiny", offline=True)


def test_unknown_and_malformed_cards(shop):
    with pytest.raises(DataError, match=r"there is no graph 'tyni' \(nearest: tiny\)"):
        graph_card("tyni")
    path = shop[0] / "checkout" / "data" / "graphs" / "tiny.toml"
    for text in (path.read_text().replace("nodes = 6", "nodes = 0"), "title = "):
        path.write_text(text)
        with pytest.raises(DataError, match="tiny.toml (is malformed|cannot be read)"):
            graph_card("tiny")


def test_the_cards_of_this_checkout():
    assert graph_names() == ("citeseer", "cora", "pubmed")
    for name in graph_names():
        card = graph_card(name)
        assert card.cite in bibliography().entries and card.licence
        assert list(card.classes) == sorted(card.classes)


# Planetoid's files, which are pickles


@pytest.fixture
def planetoid(shop):
    card = small.PLANETOID_CARD.format(digest=small.planetoid_digest())
    (shop[0] / "checkout" / "data" / "graphs" / "tiny.toml").write_text(card)
    return shop


def is_tiny_and_weighted(graph):
    assert graph.features.coalesce().values().tolist() == [small.WEIGHT] * 8
    return is_tiny(Graph(graph.features / small.WEIGHT, graph.edges, graph.labels))


def test_planetoid_in_a_folder_fetched_and_kept(planetoid):
    put(planetoid[0] / "own" / "tiny", small.planetoid())
    assert is_tiny_and_weighted(graphs.load_graph("tiny", offline=True))
    (planetoid[0] / "own" / "tiny" / "ind.tiny.allx").unlink()
    planetoid[1]["https://example.org/lbc/tiny.tgz"] = small.archive(small.planetoid())
    assert is_tiny_and_weighted(graphs.load_graph("tiny"))
    planetoid[1].clear()
    assert is_tiny_and_weighted(graphs.load_graph("tiny", offline=True))


def test_what_is_read_of_a_pickle_is_what_python_unpickles():
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
    for value in (numbers, numbers.astype(np.int32)):
        content = small.pickled(small.py2(value))
        read = graph_files._array(graph_files._plain(content))
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, pickle.loads(content, encoding="latin-1"))
    nested = {"a": [1, (2, None)], "b": [[], {}, True]}
    content = small.pickled(small.py2(nested))
    assert graph_files._plain(content) == pickle.loads(content) == nested


def test_a_pickle_that_would_run_a_program_runs_nothing(planetoid, tmp_path):
    victim = tmp_path / "victim"
    attack = small.named("os", "mkdir") + small.py2((str(victim),)) + pickle.REDUCE
    files = small.planetoid()
    for part in ("allx", "ally", "tx", "ty", "graph"):
        put(planetoid[0] / "own" / "tiny", {**files, f"ind.tiny.{part}": small.pickled(attack)})
        with pytest.raises(DataError, match="does not hold Tiny|is not Tiny"):
            graphs.load_graph("tiny", offline=True)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ind.tiny.test.index", b"4\n6\n", "its test nodes are not the last ones"),
        ("ind.tiny.ty", small.pickled(small.py2(np.ones((2, 2), np.int32))), "one of 2 classes"),
        ("ind.tiny.ally", small.planetoid()["ind.tiny.ally"][:-9], "does not hold Tiny"),
        ("ind.tiny.graph", b"", "does not hold Tiny"),
        ("ind.tiny.allx", pickle.dumps(1 << 80, 2), "the operation LONG1"),
    ],
)
def test_other_planetoid_files_are_refused(planetoid, name, content, said):
    put(planetoid[0] / "own" / "tiny", {**small.planetoid(), name: content})
    with pytest.raises(DataError, match=said):
        graphs.load_graph("tiny", offline=True)


# Parts of graphs


def path_graph():
    """0-1-2 and 3-4."""
    features = torch.eye(5).to_sparse().coalesce()
    return Graph(features, torch.tensor([[0, 1, 3], [1, 2, 4]]), torch.tensor([0, 1, 0, 1, 1]))


def test_parts_keep_edges_between_their_nodes():
    graph = path_graph()
    part = graph.select(torch.tensor([2, 4, 1]))
    assert part.edges.T.tolist() == [[0, 2]] and part.labels.tolist() == [0, 1, 1]
    assert part.features.to_dense().argmax(1).tolist() == [2, 4, 1]
    largest = graph.largest_component()
    assert len(largest) == 3 and largest.edges.T.tolist() == [[0, 1], [1, 2]]
    assert graph.classes == 2


def test_arcs_go_both_ways_and_home():
    arcs = path_graph().arcs.T.tolist()
    assert sorted(arcs) == sorted(
        [[0, 1], [1, 0], [1, 2], [2, 1], [3, 4], [4, 3], *([i, i] for i in range(5))]
    )


def test_rewired_graphs_nearly_keep_degrees_and_lose_the_classes():
    graph = small.two_villages()
    other = graph.rewired(0)
    assert other.edges.shape[1] > 0.85 * graph.edges.shape[1]
    degree = [torch.bincount(one.edges.flatten(), minlength=len(one)) for one in (graph, other)]
    assert (degree[1] <= degree[0]).all()

    def same(one):
        return (one.labels[one.edges[0]] == one.labels[one.edges[1]]).float().mean()

    assert same(graph) > 0.85 and same(other) < 0.65
    assert other.edges.equal(graph.rewired(0).edges) and not other.edges.equal(
        graph.rewired(1).edges
    )


def test_splits_have_so_many_of_each_class_and_lose_no_node():
    labels = torch.arange(90) % 3
    split = split_nodes(labels, 4, train=5, validation=7, hidden=0.25)
    assert torch.bincount(labels[split.train]).tolist() == [5, 5, 5]
    assert torch.bincount(labels[split.validation]).tolist() == [7, 7, 7]
    assert len(split.hidden) == 13 and len(split.test) == 41
    assert torch.cat(split).sort().values.tolist() == list(range(90))
    assert set(split.observed.tolist()) == set(range(90)) - set(split.hidden.tolist())
    whole = split_nodes(labels, 4, train=5, validation=7)
    assert whole.train.equal(split.train) and not len(whole.hidden)
    assert not split_nodes(labels, 5, train=5, validation=7).train.equal(split.train)


def test_splits_that_cannot_be():
    with pytest.raises(ValueError, match="class 0 has 45 nodes, fewer than train=40 and"):
        split_nodes(torch.arange(90) % 2, 0, train=40)
    with pytest.raises(ValueError, match=r"hidden must lie in \[0, 1\); got 1.0"):
        split_nodes(torch.arange(90) % 2, 0, hidden=1.0)


def test_the_command_line_lists_graphs_and_names_all_kinds(monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=100))
    listed = CliRunner().invoke(cli.app, ["data"])
    assert listed.exit_code == 0
    row = next(line for line in listed.output.splitlines() if "cora" in line)
    assert row.replace("│", " ").split()[:4] == ["cora", "Cora", "2708", "nodes"]
    unknown = CliRunner().invoke(cli.app, ["data", "corra"])
    assert "Graphs: citeseer, cora, pubmed." in str(unknown.exception)
    assert card_of("cora") == graph_card("cora")

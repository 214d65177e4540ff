"""All data sets that have a card, of every kind: what each holds, and its verification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kdnb.data import cards, graphs, parallel, ratings, reviews, sounds, texts
from kdnb.data.cards import UnknownData
from kdnb.data.sources import load

Row = tuple[str, str, str, str, str, str]


class Kind(NamedTuple):
    """Data sets of one kind.

    Attributes:
        names, card: list the names, and return the card of one.
        row: the table row of a name: title, shape, training, test, licence, after the name itself.
        verified: loads the data set of a name and describes what it holds.
    """

    names: Callable[[], tuple[str, ...]]
    card: Callable[[str], Any]
    row: Callable[[str], Row]
    verified: Callable[[str], str]


def rows() -> list[Row]:
    """What each data set holds, images first."""
    return [kind.row(name) for kind in KINDS.values() for name in kind.names()]


def verified(name: str) -> str:
    """Load a data set, downloading it if necessary, and describe what it holds.

    Raises:
        UnknownData: if there is no card of this name.
        DataError: if no source has it, or the data do not match the card.
    """
    return _kind_of(name).verified(name)


def card_of(name: str) -> Any:
    """The card of a data set; every kind has a name and digests, `sha256` (empty for reviews).

    Raises:
        UnknownData: when there is none of this name.
    """
    return _kind_of(name).card(name)


def _kind_of(name: str) -> Kind:
    for kind in KINDS.values():
        if name in kind.names():
            return kind
    try:
        cards.card(name)
    except UnknownData as error:
        others = [
            f"{title}: {', '.join(kind.names()) or 'none'}."
            for title, kind in KINDS.items()
            if title != "Images"
        ]
        raise UnknownData(" ".join([str(error), *others])) from error
    return KINDS["Images"]


def _row_of_images(name: str) -> Row:
    card = cards.card(name)
    counts = str(card.sizes["train"]), str(card.sizes["test"])
    return name, card.title, " x ".join(map(str, card.shape)), *counts, card.licence


def _verified_images(name: str) -> str:
    found = load(name)
    return (
        f"{found.name}: {len(found.train_all)} training and {len(found.test)} test images, "
        f"{len(found.classes)} classes, digests verified."
    )


def _row_of_sentences(name: str) -> Row:
    card = texts.text_card(name)
    return name, card.title, "sentences", str(card.train.size), str(card.test.size), card.licence


def _verified_sentences(name: str) -> str:
    found, card = texts.load_texts(name), texts.text_card(name)
    return (
        f"{name}: {len(found['train']) + len(found['validation'])} training and "
        f"{len(found['test'])} test sentences, {len(card.classes)} classes, digests verified."
    )


def _row_of_reviews(name: str) -> Row:
    card = reviews.review_card(name)
    counts = (str(len(card.classes) * card.sizes[part]) for part in texts.FILES)
    return name, card.title, "reviews", *counts, card.licence


def _verified_reviews(name: str) -> str:
    found, card = reviews.load_reviews(name), reviews.review_card(name)
    return (
        f"{name}: {len(found['train']) + len(found['validation'])} training and "
        f"{len(found['test'])} test reviews, {len(card.classes)} classes; an archive is verified by its MD5, "
        "a folder by its numbers of files alone."
    )


def _row_of_graph(name: str) -> Row:
    card = graphs.graph_card(name)
    return name, card.title, f"{card.nodes} nodes", "", "", card.licence


def _verified_graph(name: str) -> str:
    found, card = graphs.load_graph(name), graphs.graph_card(name)
    return (
        f"{name}: {len(found)} nodes, {found.edges.shape[1]} edges, {card.words} words, "
        f"{len(card.classes)} classes, digest verified."
    )


def _row_of_recordings(name: str) -> Row:
    card = sounds.sound_card(name)
    # As for images: texts held out for validation count as training.
    counts = str(card.sizes["train"] + card.sizes["validation"]), str(card.sizes["test"])
    return name, card.title, f"{card.rate} Hz", *counts, card.licence


def _verified_recordings(name: str) -> str:
    found, card = sounds.load_sounds(name), sounds.sound_card(name)
    return (
        f"{name}: {len(found['train']) + len(found['validation'])} training and "
        f"{len(found['test'])} test recordings of {len(card.speakers)} speakers, "
        f"{len(card.classes)} classes, digests verified."
    )


def _row_of_ratings(name: str) -> Row:
    card = ratings.rating_card(name)
    return name, card.title, f"{card.users} x {card.items}", "", "", card.licence


def _verified_ratings(name: str) -> str:
    found, card = ratings.load_ratings(name), ratings.rating_card(name)
    return f"{name}: {len(found)} ratings of {card.items} items by {card.users} users, digest verified."


def _row_of_parallel(name: str) -> Row:
    card = parallel.parallel_card(name)
    counts = str(card.sizes["train"] + card.sizes["validation"]), str(card.sizes["test"])
    return name, card.title, " and ".join(card.languages), *counts, card.licence


def _verified_parallel(name: str) -> str:
    found, card = parallel.load_parallel(name), parallel.parallel_card(name)
    return (
        f"{name}: {len(found['train']) + len(found['validation'])} training and "
        f"{len(found['test'])} test lines in {len(card.languages)} languages, digests verified."
    )


KINDS = {
    "Images": Kind(cards.names, cards.card, _row_of_images, _verified_images),
    "Sentences": Kind(texts.text_names, texts.text_card, _row_of_sentences, _verified_sentences),
    "Reviews": Kind(reviews.review_names, reviews.review_card, _row_of_reviews, _verified_reviews),
    "Graphs": Kind(graphs.graph_names, graphs.graph_card, _row_of_graph, _verified_graph),
    "Ratings": Kind(ratings.rating_names, ratings.rating_card, _row_of_ratings, _verified_ratings),
    "Parallel texts": Kind(
        parallel.parallel_names, parallel.parallel_card, _row_of_parallel, _verified_parallel
    ),
    "Recordings": Kind(
        sounds.sound_names, sounds.sound_card, _row_of_recordings, _verified_recordings
    ),
}

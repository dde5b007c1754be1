"""A scope of labels: what has another label is not found, and what is found does not tell of it."""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from corpora import COLLECTION, EMBEDDER, OPEN, Shelf

from domicile.adapters.approximation import Approximation
from domicile.adapters.change import Policies
from domicile.adapters.compaction import Compaction
from domicile.adapters.index_writer import LocalIndexWriter
from domicile.adapters.snapshot import Snapshot
from domicile.adapters.tantivy import LexicalFolder, LexicalWriter
from domicile.domain import OWNER, Candidate, Condition, Document, Label, Scope, Sensitivity
from domicile.ports import Index, NewChunk

WORDS = "pump valve leave salary board contract engine office travel budget audit safety shift union tax".split()
CLEARED = replace(OPEN, hosted=True, regions=frozenset({"de", "local"}))
LISTED = replace(CLEARED, groups=frozenset({"hr"}))
SECRET = replace(OPEN, sensitivity=Sensitivity.RESTRICTED)
LABELS = (CLEARED, LISTED, SECRET)
INSIDE = frozenset({CLEARED, LISTED})
QUESTIONS = ("pump", "pump valve", "salary board contract union tax", "secretword", "pump secretword", "nowhere", "")


@dataclass(frozen=True, slots=True)
class Text:
    uri: str
    text: str
    label: Label


def texts(count: int, seed: int, labels: tuple[Label, ...] = LABELS, name: str = "d") -> list[Text]:
    rng = random.Random(seed)
    made = [" ".join(rng.choices(WORDS, k=rng.randint(3, 30))) for _ in range(count)]
    return [Text(f"{name}{number:04d}", text, rng.choice(labels)) for number, text in enumerate(made)]


def write(shelf: Shelf, wanted: list[Text], gone: tuple[str, ...] = ()) -> Snapshot:
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        for one in wanted:
            chunk = NewChunk((), None, 0, len(one.text), one.text, "", one.text)
            document = Document(
                one.uri, one.uri, one.text, one.label, one.text, metadata=(("even", len(one.text) % 2),)
            )
            change.put(document, "state", [chunk], EMBEDDER.embed([one.text], "document"))
        for uri in gone:
            change.delete(uri)
        change.commit()
    return shelf.reader().pin("c", OWNER)


@pytest.fixture
def new_shelf(tmp_path: Path) -> Iterator[Callable[[], Shelf]]:
    """Collections in memory, with an inverted file from 400 chunks on."""
    memory = "/dev/shm"
    policies = Policies(Compaction(segment_rows=300, worth=2_000), Approximation(rows=400))
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:

        def make() -> Shelf:
            made = Shelf.at(Path(folder) / str(len(list(Path(folder).iterdir()))))
            writer = LocalIndexWriter(made.root, made.hashes, made.root.parent / "cache" / "vectors", policies=policies)
            return replace(made, writer=writer)

        yield make


def named(index: Index, found: list[Candidate]) -> list[tuple[str, float]]:
    chunks = index.chunks([candidate.ref for candidate in found])
    return [(chunk.document, candidate.score) for chunk, candidate in zip(chunks, found, strict=True)]


def everything(index: Index, scope: Scope, question: str = "pump valve") -> list[list[tuple[str, float]]]:
    vector = EMBEDDER.embed([question], "query")[0]
    return [named(index, index.dense(vector, 10_000, scope)), named(index, index.lexical(question, 10_000, scope))]


def test_the_labels_of_a_generation_are_those_of_its_living_documents(new_shelf: Callable[[], Shelf]) -> None:
    shelf = new_shelf()
    first = write(shelf, [Text("a", "pump", CLEARED), Text("b", "pump", SECRET)])
    assert first.labels() == {CLEARED, SECRET}
    assert write(shelf, [Text("c", "pump", LISTED)], gone=("b",)).labels() == {CLEARED, LISTED}
    assert write(shelf, [Text("c", "pump", SECRET)]).labels() == {CLEARED, SECRET}
    assert first.labels() == {CLEARED, SECRET}
    assert write(shelf, [], gone=("a", "c")).labels() == frozenset()


@pytest.mark.parametrize("count", [60, 900], ids=["exact", "inverted file"])
@pytest.mark.parametrize("readers", [None, frozenset({"it"}), frozenset({"hr"})], ids=["owner", "it", "hr"])
def test_what_has_another_label_is_not_found(
    new_shelf: Callable[[], Shelf], count: int, readers: frozenset[str] | None
) -> None:
    corpus, shelf = texts(count, seed=1), new_shelf()
    write(shelf, corpus)
    index = write(shelf, texts(9, seed=2, name="new"), gone=("d0003", "d0004"))
    assert (index.manifest.approximate is not None) == (count == 900)
    living = {one.uri: one for one in [*corpus, *texts(9, seed=2, name="new")] if one.uri not in ("d0003", "d0004")}
    odd = (Condition("even", "eq", (1,)),)
    for labels in (INSIDE, frozenset({SECRET}), frozenset({CLEARED}), None):
        for conditions in ((), odd):
            seen = {
                one.uri for one in living.values()
                if (labels is None or one.label in labels)
                and (readers is None or one.label.groups is None or one.label.groups & readers)
                and (not conditions or len(one.text) % 2)
            }  # fmt: skip
            near, holding = everything(index, Scope(readers, conditions, labels))
            expected = {uri for uri in seen if {"pump", "valve"} & set(living[uri].text.split())}
            assert {uri for uri, _ in holding} == expected
            assert {uri for uri, _ in near} <= seen
            vector = EMBEDDER.embed(["pump valve"], "query")[0]
            best = named(index, index.exact(vector, 10, Scope(readers, conditions, labels)))
            assert len(near) >= len(best) == min(10, len(seen))
            assert [score for _, score in near[:10]] == pytest.approx([score for _, score in best])
            assert seen, "the case shows nothing"


def test_no_label_finds_nothing_and_one_that_nobody_has_neither(new_shelf: Callable[[], Shelf]) -> None:
    index = write(new_shelf(), texts(20, seed=1, labels=(CLEARED,)))
    for labels in (frozenset[Label](), frozenset({SECRET})):
        assert everything(index, Scope(None, (), labels)) == [[], []]
    assert all(everything(index, Scope(None, (), frozenset({SECRET, CLEARED}))))


@pytest.mark.parametrize("seed", range(8))
def test_what_is_hidden_has_no_part_in_what_is_found(new_shelf: Callable[[], Shelf], seed: int) -> None:
    """Two collections that are equal but for what the labels hide rank alike, to the last bit of every score."""
    rng = random.Random(seed)
    shown = texts(40, seed, labels=(CLEARED, LISTED))
    indexes = []
    for version in range(2):
        hidden = texts(rng.choice([0, 5, 80]) + version, seed + 100 * version, labels=(SECRET,), name="h")
        hidden += [Text(f"long{version}", "secretword " * 200 * version + "pump", SECRET)]
        shelf = new_shelf()
        write(shelf, shown[:20] + hidden[:3])
        indexes.append(write(shelf, shown[20:] + hidden[3:], gone=("h0000",) * version))
    scope = Scope(None, (), INSIDE)
    for question in QUESTIONS[:-1]:
        one, other = (everything(index, scope, question) for index in indexes)
        assert one == other
        assert one[1] or question in ("secretword", "nowhere")
    one, other = (dict(everything(index, replace(scope, labels=None), "pump")[1]) for index in indexes)
    assert any(one[uri] != other[uri] for uri in one.keys() & other.keys()), "control: else they tell of it"


def plain_bm25(question: str, corpus: list[Text]) -> dict[str, float]:
    """Okapi BM25 as it is written in the books, as a share of what the words could reach."""
    words = {one.uri: Counter(one.text.split()) for one in corpus}
    asked = list(dict.fromkeys(question.split()))
    matching = {uri: counts for uri, counts in words.items() if any(counts[word] for word in asked)}
    average = sum(counts.total() for counts in matching.values()) / max(len(matching), 1)
    scores, ceiling = dict.fromkeys(matching, 0.0), 0.0
    for word in asked:
        holding = sum(1 for counts in words.values() if counts[word])
        weight = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5)) * 2.2
        ceiling += weight
        for uri, counts in matching.items():
            norm = 1.2 * (0.25 + 0.75 * counts.total() / average)
            scores[uri] += weight * counts[word] / (counts[word] + norm)
    return {uri: score / ceiling for uri, score in scores.items()}


@pytest.mark.parametrize("question", QUESTIONS)
def test_scores_are_those_of_what_the_labels_let_through_alone(new_shelf: Callable[[], Shelf], question: str) -> None:
    corpus, shelf = texts(300, seed=3), new_shelf()
    write(shelf, corpus[:200])
    index = write(shelf, corpus[200:], gone=("d0001", "d0002"))
    cleared = [one for one in corpus if one.label in INSIDE and one.uri not in ("d0001", "d0002")]
    found = named(index, index.lexical(question, 1_000, Scope(None, (), INSIDE)))
    assert dict(found) == pytest.approx(plain_bm25(question, cleared))
    assert found == sorted(found, key=lambda pair: -pair[1])


def test_frequencies_and_lengths_are_read_exactly_from_the_scores(tmp_path: Path) -> None:
    rng = random.Random(1)
    writer = LexicalWriter(tmp_path / "000001", None, "en")
    counts = {ref: (rng.choice([1, 2, 3, 50, 250]), rng.randint(0, 250)) for ref in range(500)}
    for ref, (often, others) in counts.items():
        writer.add(ref, f"d{ref}", None, "pump " * often + "valve " * others + "everywhere")
    writer.commit(500)
    folder = LexicalFolder(tmp_path / "000001", "en")
    for word, expected in (("pump", [often for often, _ in counts.values()]), ("everywher", [1] * 500)):
        places = folder._places(word)
        assert places.refs.tolist() == list(counts)
        assert places.frequencies.tolist() == expected
        rounded = [often + others + 1 for often, others in counts.values()]
        # the index keeps lengths above 40 with an error of an eighth
        assert all(0.87 * whole <= kept <= whole for kept, whole in zip(places.lengths, rounded, strict=True))
        assert [k for k, w in zip(places.lengths, rounded, strict=True) if w <= 40] == [w for w in rounded if w <= 40]
    assert len(folder._places("nowhere").refs) == 0

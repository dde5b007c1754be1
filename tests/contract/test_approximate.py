"""The inverted file beside exact search: it finds what exact search finds, whatever happened to the collection since."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from corpora import ALL, COLLECTION, EMBEDDER, Shelf, put

from domicile.adapters.approximation import Approximation, Coverage, Rows, Step, lists_for
from domicile.adapters.change import Policies
from domicile.adapters.compaction import Compaction
from domicile.adapters.index_writer import LocalIndexWriter
from domicile.adapters.snapshot import Snapshot
from domicile.domain import OWNER, Collection, EvidenceCurve, FusionWeights, Scope, Tuning
from domicile.testing import HashEmbedder

POLICIES = Policies(Compaction(segment_rows=700, worth=2_000), Approximation(rows=1_000))
WORDS = [f"{a}{b}" for a in "pump valve leave salary board union".split() for b in range(12)]
DOCUMENTS = 2_000
TARGET = 0.98


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        made = Shelf.at(Path(folder))
        writer = LocalIndexWriter(made.root, made.hashes, made.root.parent / "cache" / "vectors", policies=POLICIES)
        yield replace(made, writer=writer)


def text(number: int) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=9))


def groups_of(number: int) -> frozenset[str] | None:
    """A hundredth is for ``few``, a tenth for ``some``, half for ``many``."""
    return frozenset(
        name for name, every, at in (("few", 100, 1), ("some", 10, 2), ("many", 2, 0)) if number % every == at
    )


def fill(shelf: Shelf, numbers: range, collection: Collection = COLLECTION, gone: range = range(0)) -> int:
    with shelf.writer.change(collection, EMBEDDER) as change:
        for number in numbers:
            put(change, f"d{number:05d}", text(number), groups_of(number))
        for number in gone:
            change.delete(f"d{number:05d}")
        return change.commit().generation


def pinned(shelf: Shelf) -> Snapshot:
    return shelf.reader().pin("c", OWNER)


def recall(snapshot: Snapshot, scope: Scope = ALL, questions: int = 150) -> float:
    """The share of the ten nearest that is found, and proof that nothing outside the scope is."""
    hits = wanted = 0
    for number in range(questions):
        vector = EMBEDDER.embed([text(900_000 + number)], "query")[0]
        exact = {found.ref: found.score for found in snapshot.exact(vector, 10, scope)}
        found = snapshot.dense(vector, 200, scope)
        assert found == sorted(found, key=lambda candidate: (-candidate.score, candidate.ref))
        hits += sum(candidate.score >= min(exact.values()) - 1e-6 for candidate in found[:10])
        wanted += len(exact)
        chunks = snapshot.chunks([candidate.ref for candidate in found])
        assert all(scope.readers is None or (chunk.label.groups or set()) & scope.readers for chunk in chunks)
    return hits / wanted


def test_a_small_collection_is_searched_exactly(shelf: Shelf) -> None:
    fill(shelf, range(900))
    snapshot = pinned(shelf)
    assert snapshot.manifest.approximate is None
    assert recall(snapshot) == 1.0


def test_a_large_one_finds_nearly_what_exact_search_finds_and_the_manifest_says_how(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    snapshot = pinned(shelf)
    entry = snapshot.manifest.approximate
    assert entry is not None
    assert [part.id for part in entry.segments] == [segment.id for segment in snapshot.manifest.segments]
    assert entry.target == TARGET
    assert min(entry.recall, entry.filtered) >= TARGET
    assert entry.probes < lists_for(DOCUMENTS)
    assert recall(snapshot) >= TARGET
    assert recall(pinned(shelf)) == recall(snapshot)


@pytest.mark.parametrize("group", ["many", "some", "few"])
def test_filters_act_inside_the_search(shelf: Shelf, group: str) -> None:
    fill(shelf, range(DOCUMENTS))
    assert recall(pinned(shelf), Scope(frozenset({group}))) >= TARGET


def test_what_one_may_see_is_found_also_when_the_question_is_about_something_else(shelf: Shelf) -> None:
    """The rows that a group may see lie together, far from the question, in lists that a narrow search never opens."""
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        for number in range(DOCUMENTS):
            theirs = number % 5 == 0
            words = random.Random(number).choices(WORDS[:12] if theirs else WORDS[12:], k=9)
            put(change, f"d{number:05d}", " ".join(words), frozenset({"some"} if theirs else {"others"}))
        change.commit()
    snapshot = pinned(shelf)
    entry = snapshot.manifest.approximate
    assert entry is not None
    near = narrow = 0
    for number in range(50):
        vector = EMBEDDER.embed([" ".join(random.Random(-number).choices(WORDS[12:], k=9))], "query")[0]
        scope = Scope(frozenset({"some"}))
        exact = {found.ref for found in snapshot.exact(vector, 10, scope)}
        near += len(exact.intersection(found.ref for found in snapshot.dense(vector, 200, scope)[:10]))
        reach = replace(snapshot._seen(scope)[1], probes=entry.probes)
        lists = snapshot._dense._file
        assert lists is not None
        positions = lists.candidates(vector, 400, entry.probes, reach.selector)
        narrow += len(exact.intersection(snapshot._dense._refs[positions].tolist()))
    assert near >= TARGET * 500
    assert narrow < 0.9 * 500, "the case is not one: a narrow search finds them, too"


def test_the_deleted_is_not_found_and_the_rest_still_is(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    before = pinned(shelf).manifest.approximate
    fill(shelf, range(0), gone=range(300))
    snapshot = pinned(shelf)
    assert snapshot.manifest.approximate == before
    assert recall(snapshot) >= TARGET
    for number in range(0, 300, 30):
        found = snapshot.dense(EMBEDDER.embed([text(number)], "query")[0], 200, ALL)
        assert f"d{number:05d}" not in {chunk.document for chunk in snapshot.chunks([c.ref for c in found])}


def test_a_few_new_passages_are_searched_exactly_beside_it(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    before = pinned(shelf).manifest.approximate
    fill(shelf, range(DOCUMENTS, DOCUMENTS + 100))
    snapshot = pinned(shelf)
    assert snapshot.manifest.approximate == before
    new = snapshot.dense(EMBEDDER.embed([text(DOCUMENTS + 7)], "document")[0], 10, ALL)
    assert snapshot.chunks([new[0].ref])[0].document == f"d{DOCUMENTS + 7:05d}"
    assert recall(snapshot) >= TARGET


def test_more_are_taken_in_and_what_it_learnt_stays(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    before = pinned(shelf).manifest.approximate
    fill(shelf, range(DOCUMENTS, DOCUMENTS + 400))
    snapshot = pinned(shelf)
    entry = snapshot.manifest.approximate
    assert before is not None
    assert entry is not None
    assert (entry.trained, entry.rows) == (before.trained, before.rows + 400)
    assert entry.file != before.file
    assert recall(snapshot) >= TARGET


def test_when_much_is_gone_it_is_learnt_anew_and_given_up_in_the_end(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    fill(shelf, range(0), gone=range(600))
    entry = pinned(shelf).manifest.approximate
    assert entry is not None
    assert entry.trained == DOCUMENTS - 600
    assert recall(pinned(shelf)) >= TARGET
    fill(shelf, range(0), gone=range(600, 1_200))
    assert pinned(shelf).manifest.approximate is None
    assert recall(pinned(shelf)) == 1.0


def test_one_may_ask_for_exact_search(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS), replace(COLLECTION, recall=1.0))
    assert pinned(shelf).manifest.approximate is None


def test_codes_of_what_is_erased_go_too(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    before = pinned(shelf).manifest.approximate
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        change.erase(["d00007"])
        change.commit()
    entry = pinned(shelf).manifest.approximate
    assert before is not None
    assert entry is not None
    assert entry.file != before.file
    assert entry.rows == DOCUMENTS - 1
    assert [f"dense/{path.name}" for path in (shelf.folder / "dense").iterdir()] == [entry.file]


def test_codes_of_what_is_erased_go_also_after_its_segment_was_merged(shelf: Shelf) -> None:
    fill(shelf, range(DOCUMENTS))
    fill(shelf, range(DOCUMENTS, DOCUMENTS + 300))
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        change.erase([f"d{DOCUMENTS + 7:05d}"])
        change.commit()
    entry = pinned(shelf).manifest.approximate
    assert entry is not None
    assert {part.id for part in entry.segments} == {segment.id for segment in pinned(shelf).manifest.segments}


def test_equal_passages_are_all_right_and_a_failure_is_not_repeated(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        for number in range(DOCUMENTS):
            put(change, f"d{number:05d}", "all rights reserved" if number % 2 else text(number))
        change.commit()
    entry = pinned(shelf).manifest.approximate
    assert entry is not None
    assert entry.file is not None
    for trained in (DOCUMENTS, DOCUMENTS):
        monkeypatch.setattr("domicile.adapters.inverted_file.calibrate", lambda *given: None)
        with shelf.writer.change(replace(COLLECTION, recall=0.97), EMBEDDER) as change:
            put(change, "one more", text(trained))
            change.commit()
        failed = pinned(shelf).manifest.approximate
        assert failed is not None
        assert (failed.file, failed.trained) == (None, DOCUMENTS + 1)
        assert recall(pinned(shelf)) == 1.0
    assert caplog.text.count("does not reach") == 1


def test_a_damaged_inverted_file_is_noticed_before_it_is_opened(shelf: Shelf) -> None:
    fill(shelf, range(900))
    fill(shelf, range(900, DOCUMENTS))
    entry = pinned(shelf).manifest.approximate
    assert entry is not None
    assert entry.file is not None
    path = shelf.folder / entry.file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    indexes = shelf.reader()
    assert indexes.pin("c", OWNER).generation == 1
    assert entry.file in (indexes.trouble("c") or "")


def test_tuned_numbers_are_a_new_generation_over_the_same_files(shelf: Shelf) -> None:
    fill(shelf, range(20))
    before = pinned(shelf)
    tuning = Tuning(FusionWeights(0.3), EvidenceCurve((0.5, 1.0), ((0.4, 0.9, 0.1),)))
    with shelf.writer.change(COLLECTION, None) as change:
        change.tune(tuning)
        commit = change.commit()
    after = pinned(shelf)
    assert (commit.previous, commit.generation) == (1, 2)
    assert (before.tuning, after.tuning) == (Tuning(), tuning)
    assert after.manifest.files == before.manifest.files
    fill(shelf, range(20, 21))
    assert pinned(shelf).tuning == tuning
    with shelf.writer.change(COLLECTION, None) as change:
        change.tune(tuning)
        assert change.commit().generation == 3
    assert not shelf.leftovers()


def test_a_curve_with_no_number_in_it_is_not_committed(shelf: Shelf) -> None:
    fill(shelf, range(3))
    with shelf.writer.change(COLLECTION, None) as change:
        change.tune(Tuning(evidence=EvidenceCurve((float("nan"), 1.0))))
        with pytest.raises(ValueError, match="finite"):
            change.commit()
    assert (pinned(shelf).generation, pinned(shelf).tuning) == (1, Tuning())


def test_what_was_fitted_to_another_embedder_is_forgotten(shelf: Shelf) -> None:
    fill(shelf, range(3))
    with shelf.writer.change(COLLECTION, None) as change:
        change.tune(Tuning(FusionWeights(0.3)))
        change.commit()
    for embedder, tuning in ((EMBEDDER, Tuning(FusionWeights(0.3))), (HashEmbedder(fingerprint="other"), Tuning())):
        with shelf.writer.change(COLLECTION, embedder, rebuild=True) as change:
            for number in range(3):
                put(change, f"d{number:05d}", text(number))
            change.commit()
        assert pinned(shelf).tuning == tuning


@pytest.mark.parametrize(
    ("sizes", "covered", "step"),
    [
        ([("a", 999, 999)], None, "exact"),
        ([("a", 1_000, 1_000)], None, "train"),
        ([("a", 1_200, 999)], ("a", 1_200), "exact"),
        ([("a", 2_000, 2_000), ("b", 200, 200)], ("a", 2_000), "keep"),
        ([("a", 2_000, 2_000), ("b", 201, 201)], ("a", 2_000), "extend"),
        ([("a", 2_000, 1_600)], ("a", 2_000), "keep"),
        ([("a", 2_000, 1_599)], ("a", 2_000), "train"),
        ([("b", 2_000, 2_000)], ("a", 2_000), "train"),
        ([("a", 2_000, 2_000), ("b", 2_001, 2_001)], ("a", 2_000), "train"),
        ([("a", 4_000, 4_000)], (None, 2_000), "keep"),
        ([("a", 4_001, 4_001)], (None, 2_000), "train"),
    ],
)
def test_the_policy(sizes: list[tuple[str, int, int]], covered: tuple[str | None, int] | None, step: Step) -> None:
    held = None
    if covered is not None:
        name, rows = covered
        held = Coverage(() if name is None else ((name, rows),), rows)
    assert POLICIES.approximation.choose([Rows(*size) for size in sizes], held) == step


def test_lists_grow_with_the_root_of_the_rows() -> None:
    assert [lists_for(rows) for rows in (100, 50_000, 200_000, 1_000_000)] == [16, 512, 1_024, 2_048]

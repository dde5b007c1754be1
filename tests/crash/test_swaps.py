"""Generations are swapped and collected under many readers: no search fails, and none mixes two generations."""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from corpora import ALL, COLLECTION, EMBEDDER, Shelf
from faults import scratch
from victims import COUNTER, KEPT, commit_and_collect, holding, move_to, step_of, victim

from domicile.adapters.generations import Current, Generations
from domicile.adapters.indexes import LocalIndexes
from domicile.domain import OWNER

SWAPS = 100
SEARCHES = 50_000
READERS = 16
QUESTIONS = ["pump of step", "valve 3", "pump 7"]
VECTORS = EMBEDDER.embed(QUESTIONS, "query")


@cache
def chunks(step: int) -> dict[str, str]:
    """The text of every chunk of this step by its id."""
    parts = {uri: text.split("\n\n") for uri, text in holding(step).items()}
    return {f"{uri}#{i}": part for uri, texts in parts.items() for i, part in enumerate(texts)}


@dataclass(slots=True)
class Readers:
    """Search until told to stop; each looks at whatever serves, one request after the other."""

    indexes: LocalIndexes
    stop: threading.Event = field(default_factory=threading.Event)
    searches: list[int] = field(default_factory=lambda: [0] * READERS)
    seen: set[int] = field(default_factory=set)

    def read(self, number: int) -> None:
        rng = random.Random(number)
        for turn in itertools.count():
            if self.stop.is_set():
                return
            index = self.indexes.pin("c", OWNER)
            counter = index.document(COUNTER, None)
            assert counter is not None
            step = int(counter.text)
            question = rng.randrange(len(QUESTIONS))
            if turn % 2:
                found = index.dense(VECTORS[question], 10, ALL)
            else:
                found = index.lexical(QUESTIONS[question], 10, ALL)
            hits = index.chunks([candidate.ref for candidate in found])
            assert len(hits) == 10
            assert all(chunks(step)[hit.id] == hit.text for hit in hits)
            document = index.document(hits[0].document, None)
            assert document is not None
            assert document.text == holding(step)[document.uri]
            self.searches[number] += 3
            self.seen.add(step)

    @property
    def done(self) -> int:
        return sum(self.searches)


def test_no_search_fails_or_mixes_generations_while_they_are_swapped_and_collected(tmp_path: Path) -> None:
    with (
        scratch(tmp_path) as folder,
        victim(commit_and_collect, folder) as (_, connection),
        ThreadPoolExecutor(READERS) as pool,
    ):
        shelf = Shelf.at(folder, KEPT)
        assert move_to(shelf, 1) == 1
        readers = Readers(shelf.reader())
        running = [pool.submit(readers.read, number) for number in range(READERS)]
        try:
            for swap in range(1, SWAPS + 1):
                while not any(run.done() for run in running) and (
                    readers.done < swap * SEARCHES / SWAPS or swap not in readers.seen
                ):
                    readers.stop.wait(0.002)
                connection.send(swap + 1)
                assert connection.recv() == swap + 1
        finally:
            readers.stop.set()
        wait(running)
        for run in running:
            run.result()
        assert readers.done >= SEARCHES
        assert len(readers.seen) >= SWAPS, "the readers missed a swap: nothing is proved"
        assert readers.indexes.generation("c") == SWAPS + 1
        shelf.writer.collect(COLLECTION)  # nobody holds the ones that were in use any more
        assert len(shelf.generations.numbers()) <= KEPT + 1
        move_to(shelf, SWAPS + 2)
        assert not shelf.leftovers()


def test_a_mix_of_two_generations_would_be_seen() -> None:
    for step in range(1, SWAPS):
        assert any(chunks(step)[chunk] != chunks(step + 1).get(chunk) for chunk in chunks(step))


def test_a_reader_goes_on_with_what_it_has_open_while_the_next_generation_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf.at(tmp_path)
    move_to(shelf, 1)
    reader = shelf.reader()
    assert reader.generation("c") == 1
    move_to(shelf, 2)
    with monkeypatch.context() as broken:
        broken.setattr(tempfile, "tempdir", str(tmp_path / "full"))  # where tantivy's links would go
        for _ in range(3):
            assert reader.generation("c") == 1
            assert reader.trouble("c") is not None
    assert reader.generation("c") == 2  # as soon as it can be
    assert reader.trouble("c") is None


@dataclass
class Overtaken(Generations):
    """A reader that is slow at the worst moment: it knows which generation serves, and has not yet held it."""

    shelf: Shelf
    commits: int

    def __post_init__(self) -> None:
        super().__init__(self.shelf.folder, self.shelf.hashes)

    def current(self) -> Current | None:
        seen = super().current()
        if self.commits:
            self.commits -= 1
            for _ in range(3):
                move_to(self.shelf, step_of(self.shelf) + 1)
        return seen


def test_a_reader_whose_generation_is_collected_before_it_is_held_takes_the_one_that_serves(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        shelf = Shelf.at(folder, keep=1)
        move_to(shelf, 1)
        pinned = Overtaken(shelf, commits=2).pin()
        assert (pinned.manifest.generation, pinned.trouble) == (7, None)
        pinned.release()

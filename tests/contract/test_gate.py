"""What every IndexChange keeps when a gate is asked before a generation serves; here the local one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from corpora import ALL, COLLECTION, EMBEDDER, PASSED, REFUSED, Shelf, put
from faults import scratch

from domicile.adapters.manifest import Manifest
from domicile.domain import OWNER, Collection, FusionWeights, Tuning
from domicile.errors import GateFailed, IndexDamaged
from domicile.ports import GateReport, Index


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with scratch(tmp_path) as folder:
        yield Shelf.at(folder)


class PlantedError(Exception):
    """A gate that breaks."""


@dataclass(slots=True)
class Asked:
    """A gate that looks at the candidate and then says this."""

    says: GateReport = PASSED
    look: Callable[[Index], object] = lambda index: None
    saw: list[Any] = field(default_factory=list)

    def __call__(self, candidate: Index) -> GateReport:
        self.saw.append(self.look(candidate))
        return self.says


def break_down(candidate: Index) -> GateReport:
    raise PlantedError(f"at generation {candidate.generation}")


NOT_PASSED = pytest.mark.parametrize(
    ("gate", "error"), [(Asked(REFUSED), GateFailed), (break_down, PlantedError)], ids=["refused", "broken"]
)


def lexical(index: Index, text: str) -> list[str]:
    return [chunk.document for chunk in index.chunks([found.ref for found in index.lexical(text, 50, ALL)])]


def dense(index: Index) -> set[str]:
    vector = EMBEDDER.embed(["pump"], "query")[0]
    return {chunk.document for chunk in index.chunks([found.ref for found in index.dense(vector, 50, ALL)])}


def texts(index: Index, *uris: str) -> list[str | None]:
    documents = [index.document(uri, None) for uri in uris]
    return [None if document is None else document.text for document in documents]


def on_disk(shelf: Shelf) -> dict[str, bytes]:
    return {
        str(path.relative_to(shelf.folder)): path.read_bytes() for path in shelf.folder.rglob("*") if path.is_file()
    }


def test_the_gate_sees_exactly_the_candidate_and_nobody_else_does(shelf: Shelf) -> None:
    shelf.commit({"gone": "pump", "changed": "pump too", "kept": "valve"})
    reader = shelf.reader()

    def look(candidate: Index) -> dict[str, Any]:
        assert (reader.generation("c"), reader.trouble("c"), shelf.generations.numbers()) == (1, None, [1])
        assert lexical(reader.pin("c", OWNER), "pump") == ["gone", "changed"]
        return {
            "generation": candidate.generation,
            "fingerprint": candidate.fingerprint,
            "pump": lexical(candidate, "pump"),
            "dense": dense(candidate),
            "texts": texts(candidate, "gone", "changed", "kept", "new"),
        }

    gate = Asked(look=look)
    shelf.commit({"gone": None, "changed": "leave", "new": "pump pump"}, gate=gate)
    assert gate.saw == [
        {
            "generation": 2,
            "fingerprint": EMBEDDER.fingerprint,
            "pump": ["new"],
            "dense": {"changed", "kept", "new"},
            "texts": [None, "leave", "valve", "pump pump"],
        }
    ]
    assert lexical(reader.pin("c", OWNER), "pump") == ["new"]


def test_the_candidate_has_the_settings_of_the_change(shelf: Shelf) -> None:
    shelf.commit({"a": "die Häuser", "b": "the pumps"})
    german = Collection("c", tenant="acme", groups=frozenset({"hr"}), language="de")
    gate = Asked(look=lambda candidate: (candidate.collection, lexical(candidate, "Haus")))
    with shelf.writer.change(german, EMBEDDER) as change:
        change.commit(gate)
    assert gate.saw == [(german, ["a"])]


def test_what_a_gate_said_is_kept_with_the_generation(shelf: Shelf) -> None:
    assert shelf.commit({"a": "pump"}).gate is None
    assert shelf.commit({"b": "valve"}, gate=Asked()).gate == PASSED
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        assert change.current is not None
        assert change.current.gate == PASSED
    assert [shelf.generations.manifest(number).gate for number in (1, 2)] == [None, PASSED]
    assert shelf.commit({"c": "leave"}).gate is None  # it was said of another generation
    assert not shelf.leftovers()


@NOT_PASSED
def test_a_candidate_that_does_not_pass_leaves_everything_as_it_was(
    shelf: Shelf, gate: Callable[[Index], GateReport], error: type[Exception]
) -> None:
    shelf.commit({"a": "pump", "b": "valve"})
    reader, before = shelf.reader(), on_disk(shelf)
    new = EMBEDDER.embed(["leave"], "document")

    def change_and_ask() -> None:
        with shelf.writer.change(COLLECTION, EMBEDDER) as change:
            change.remember(["leave"], new)
            put(change, "c", "leave")
            change.delete("a")
            change.commit(gate)

    with pytest.raises(error):
        change_and_ask()
    assert on_disk(shelf) == before
    assert not shelf.leftovers()
    assert (reader.generation("c"), reader.trouble("c")) == (1, None)
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        assert set(change.states()) == {"a", "b"}
        assert change.known(["leave"])[0] == pytest.approx(new[0], abs=1e-3)  # nothing is embedded again
    commit = shelf.commit({"c": "leave"})
    assert (commit.generation, commit.previous, commit.gate) == (2, 1, None)
    assert texts(reader.pin("c", OWNER), "a", "b", "c") == ["pump", "valve", "leave"]
    assert not shelf.leftovers()


@NOT_PASSED
def test_a_first_generation_that_does_not_pass_makes_no_collection(
    shelf: Shelf, gate: Callable[[Index], GateReport], error: type[Exception]
) -> None:
    with pytest.raises(error):
        shelf.commit({"a": "pump"}, gate=gate)
    assert shelf.reader().names() == []
    assert not [name for name in on_disk(shelf) if name != "lock"]
    assert shelf.commit({"a": "pump"}, gate=Asked()).generation == 1


def test_the_error_names_what_fell(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    with pytest.raises(GateFailed, match=r"generation 2 of 'c' did not pass: ndcg@10 fell by 0\.31$") as failed:
        shelf.commit({"b": "valve"}, gate=Asked(REFUSED))
    assert failed.value.findings == REFUSED.findings


def test_without_a_change_the_gate_is_not_asked(shelf: Shelf) -> None:
    assert shelf.commit({}, gate=break_down).generation == 0
    shelf.commit({"a": "pump"}, gate=Asked())
    commit = shelf.commit({"unknown": None}, gate=break_down)
    assert (commit.generation, commit.gate) == (1, PASSED)


def test_a_fit_is_gated_as_well(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    tuning, before = Tuning(FusionWeights(0.25)), on_disk(shelf)
    gate = Asked(REFUSED, lambda candidate: candidate.tuning)

    def tune(gate: Asked) -> int:
        with shelf.writer.change(COLLECTION, None) as change:
            change.tune(tuning)
            return change.commit(gate).generation

    with pytest.raises(GateFailed):
        tune(gate)
    assert gate.saw == [tuning]
    assert on_disk(shelf) == before
    assert tune(Asked()) == 2
    assert shelf.reader().pin("c", OWNER).tuning == tuning


def test_an_erasure_that_does_not_pass_withdraws_nothing(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "valve"})
    shelf.commit({"b": "leave"})
    before = on_disk(shelf)

    def erase(gate: Asked) -> None:
        with shelf.writer.change(COLLECTION, None) as change:
            change.erase(["a"])
            change.commit(gate)

    with pytest.raises(GateFailed):
        erase(Asked(REFUSED))
    assert on_disk(shelf) == before
    erase(Asked())
    assert shelf.generations.numbers() == [3]


def test_a_candidate_holds_nothing_once_it_was_asked(shelf: Shelf) -> None:
    def opened() -> list[str]:
        links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        places = [os.readlink(link) for link in links if link.is_symlink()]
        return [place for place in places if place.startswith(str(shelf.folder)) and not place.endswith("/lock")]

    during = Asked(look=lambda candidate: (texts(candidate, "a"), len(opened())))
    for number in range(3):
        shelf.commit({"a": f"pump {number}"}, gate=during)
    assert all(count for _, count in during.saw), "nothing was open while the gate looked: the test proves nothing"
    assert opened() == []
    assert shelf.writer.collect(COLLECTION, 1) == ([1], [])  # the second stands by
    assert not shelf.leftovers()


def test_a_report_is_covered_by_the_hash_and_an_older_manifest_has_none(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"}, gate=Asked())
    path = shelf.generations.manifest_path(1)
    body = json.loads(path.read_bytes())
    forged = json.dumps(body | {"gate": body["gate"] | {"figures": {"ndcg@10": 1.0}}}).encode()
    with pytest.raises(IndexDamaged, match="its own hash"):
        Manifest.decode(forged, "forged")
    del body["gate"], body["sha256"]
    sha256 = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    older = Manifest.decode(json.dumps(body | {"sha256": sha256}).encode(), "older")
    assert older == shelf.generations.manifest(1).model_copy(update={"gate": None})

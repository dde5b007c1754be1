"""``ingest erase`` over a home in which answers were cached: not a byte of the erased text is left below it."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import tiny_models
from contract.answer_cache_contract import answer

from domicile.adapters.answer_cache import SqliteAnswerCache
from domicile.bootstrap import Home
from domicile.errors import StorageError
from domicile_ingest.cli import main

WORD = "zanzibar"


@dataclass(frozen=True, slots=True)
class Place:
    home: Path
    source: Path

    def ingest(self, *words: str | Path) -> int:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return main(["--home", str(self.home), *map(str, words), "--collection", "c"])

    def cache(self) -> SqliteAnswerCache:
        return Home.open(self.home, {}).answer_cache()

    def holding(self) -> set[str]:
        """The folders directly below the home with a file that holds the text; raw or not, it was written plainly."""
        files = (path for path in self.home.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes())
        return {path.relative_to(self.home).parts[0] for path in files}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home, source = tmp_path / "home", tmp_path / "docs"
    home.mkdir()
    source.mkdir()
    (home / "domicile.toml").write_text(f'[models]\nembedder = "{tiny_models.write_embedder(tmp_path / "tiny")}"\n')
    (source / "pump.md").write_text("# Pump\n\nThe pump is checked every week.\n")
    (source / "secret.md").write_text(f"# Secret\n\nThe {WORD} file.\n")
    return Place(home, source)


def test_what_was_cached_is_erased_and_does_not_come_back(place: Place) -> None:
    assert place.ingest("run", place.source) == 0
    serving = place.cache()
    for number in range(20):
        serving.put(f"k{number}", answer(f"The {WORD} file {number}.", generation=1))
    remembered = Home.open(place.home, {}).evaluation_cache("c")
    remembered.parent.mkdir()
    remembered.write_text("vectors of the sentences that an evaluation read")
    serving.put("other", answer("of another collection", collection="d"))
    assert place.holding() == {"cache", "data"}
    assert place.ingest("erase", "secret.md") == 0
    assert place.holding() == set()
    assert not remembered.exists()
    serving.put("late", answer(f"{WORD}, and it took long", generation=1))  # the service has not looked yet
    assert place.holding() == set()
    serving.retain("c", 2)
    assert serving.get("k1") is serving.get("late") is None
    serving.put("new", answer(generation=2))
    assert (place.cache().get("new"), place.cache().get("other")) == (
        answer(generation=2), answer("of another collection", collection="d"),
    )  # fmt: skip


def test_an_erasure_that_was_cut_off_before_the_cache_is_repeated(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.ingest("run", place.source) == 0
    place.cache().put("k", answer(WORD, generation=1))
    forget = SqliteAnswerCache.forget

    def refuse(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(SqliteAnswerCache, "forget", refuse)
    assert place.ingest("erase", "secret.md") == StorageError.exit_code
    assert place.holding() == {"cache"}
    monkeypatch.setattr(SqliteAnswerCache, "forget", forget)
    assert place.ingest("erase", "secret.md") == 2
    assert place.holding() == set()


def test_a_document_that_was_never_there_costs_no_answer_of_now(place: Place) -> None:
    assert place.ingest("run", place.source) == 0
    given = replace(answer(), generation=1)
    place.cache().put("k", given)
    assert place.ingest("erase", "never.md") == 2
    assert place.cache().get("k") == given

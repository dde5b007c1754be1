"""A run in which something fails: labels stay as narrow as they are meant, and nothing is waited for that may hang."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import COLLECTION, REGIONS, TOOLS, Shelf

from domicile import labels
from domicile.domain import OWNER, Collection, Label, Sensitivity
from domicile.errors import Cancelled
from domicile_ingest.labelling import Labeller
from domicile_ingest.parsing.parsed import Parsed
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.progress import Progress
from domicile_ingest.sources import Failure, Hidden, open_source

UNREADABLE = b"\x89PNG\r\n\x1a\n" + bytes(50)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "b.txt").write_text("valve")
    return folder


def label(shelf: Shelf, uri: str) -> Label:
    document = shelf.reader().pin("c", OWNER).document(uri, None)
    assert document is not None
    return document.label


def test_what_is_not_said_any_more_of_an_unreadable_document_is_not_allowed_any_more(
    shelf: Shelf, source: Path
) -> None:
    wide = {"sensitivity": "public", "hosted": True, "regions": ["eu"], "retention_days": 30}
    shelf.ingest(source, own=wide)
    assert label(shelf, "b.txt").hosted
    (source / "b.txt").write_bytes(UNREADABLE)
    shelf.ingest(source, own={"retention_days": 30}, collection=Collection("c", groups=frozenset({"hr"})))
    kept = label(shelf, "b.txt")
    assert (kept.hosted, kept.sensitivity, kept.groups) == (False, Sensitivity.RESTRICTED, {"hr"})
    assert kept.regions <= {labels.LOCAL}
    (source / "b.txt").write_text("valve")
    assert shelf.ingest(source, own=wide).counts["changed"] == 1
    assert label(shelf, "b.txt").hosted


def test_a_folder_that_cannot_be_listed_takes_no_label_away(shelf: Shelf, source: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "c.txt").write_text("flange")
    (source / "sub" / "c.txt.label.toml").write_text('sensitivity = "public"\n')
    shelf.ingest(source)
    listed = open_source(source, 1_000)
    closed = Failure("sub", "unreadable", "the folder cannot be listed", "sub/")
    unlisted = replace(listed, files=("b.txt",), sidecars={}, unreadable=(closed,))
    labeller = Labeller(COLLECTION, REGIONS, labels.parse({"groups": ["hr"]}, REGIONS), (), {})
    Pipeline(shelf.writer, TOOLS, COLLECTION, labeller).run(unlisted, Options())
    kept = label(shelf, "sub/c.txt")
    assert (kept.sensitivity, kept.groups) == (Sensitivity.PUBLIC, {"hr"})


def test_a_document_with_a_double_is_labelled_anew(shelf: Shelf, source: Path) -> None:
    (source / "r.jsonl").write_text('{"_id": 1, "text": "pump"}\n{"_id": 1, "text": "valve"}\n')
    shelf.ingest(source)
    report = shelf.ingest(source, own={"groups": ["hr"]})
    assert (report.counts["changed"], [f.kind for f in report.failures]) == (2, ["duplicate"])
    assert label(shelf, "r.jsonl#1").groups == {"hr"}


def test_what_cannot_be_read_hides_what_lies_in_it() -> None:
    hidden = Hidden([Failure("x", "broken", "", hides) for hides in ("sub/", "m.eml!/", "C#/r.jsonl#", None)])
    for uri in ("sub/a.txt", "sub/b/c.txt", "m.eml!/a.txt", "C#/r.jsonl#1/2"):
        assert uri in hidden
    for uri in ("sub", "m.eml", "sub.txt", "xsub/a.txt", "C#/r.jsonl", "m.eml!", ""):
        assert uri not in hidden
    assert "anything" in Hidden([Failure("r.jsonl", "broken", "", "")])
    assert "anything" not in Hidden([])


@pytest.mark.parametrize("stop", [Cancelled, KeyboardInterrupt])
def test_a_run_that_is_stopped_does_not_wait_for_a_parser(
    shelf: Shelf, source: Path, stop: type[BaseException]
) -> None:
    (source / "a.txt").write_text("pump")
    hanging, released = threading.Event(), threading.Event()

    def parse(name: str, data: bytes) -> Parsed:
        if name == "b.txt":
            hanging.set()
            assert released.wait(30)
        assert hanging.wait(30)
        return Parsed(name, data.decode(), markdown=False)

    def watch(progress: Progress) -> None:
        if progress.stage == "embedding" and progress.documents:
            raise stop("enough")

    labeller = Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {})
    tools = replace(TOOLS, parser=parse)
    plan = Pipeline(shelf.writer, tools, COLLECTION, labeller).plan
    began = time.monotonic()
    try:
        with pytest.raises(stop):
            plan(open_source(source, 1_000), Options(), watch)
        assert hanging.is_set()
        assert time.monotonic() - began < 10
        assert not shelf.leftovers() - {"CURRENT"}
    finally:
        released.set()

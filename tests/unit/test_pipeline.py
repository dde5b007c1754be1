"""One ingestion: only what changed costs anything, and nothing is lost that still exists."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import ALL, COLLECTION, EMBEDDER, REGIONS, TOOLS, Shelf, put

from domicile import labels
from domicile.domain import OWNER, Chunk, Collection, Document, Label, Scope, Sensitivity
from domicile.errors import Cancelled, EmbedderMismatch, UsageError
from domicile.ports import Index
from domicile.testing import HashEmbedder
from domicile_ingest.labelling import Labeller
from domicile_ingest.parsing.parsed import Parsed
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.progress import Progress
from domicile_ingest.sources import Failure, Item, Parser, Source, open_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name, text in {"a.md": "# Pumps\n\nThe pump is old.\n", "b.txt": "valve", "sub/c.txt": "leave"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def counts(added: int = 0, changed: int = 0, unchanged: int = 0, deleted: int = 0, failed: int = 0) -> dict[str, int]:
    return {"added": added, "changed": changed, "unchanged": unchanged, "deleted": deleted, "failed": failed}


def document(shelf: Shelf, uri: str) -> Document:
    found = shelf.reader().pin("c", OWNER).document(uri, None)
    assert found is not None
    return found


def label(shelf: Shelf, uri: str) -> Label:
    return document(shelf, uri).label


def uris(shelf: Shelf) -> set[str]:
    return set(shelf.reader().pin("c", OWNER).states())


def rows(path: Path, ids: range, text: str = "pump") -> None:
    data = "".join(json.dumps({"_id": f"r{i}", "text": f"{text} {i}"}) + "\n" for i in ids).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_the_report_is_the_object_of_the_contract(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "a.md").write_text("# Pumps\n\nThe pump is new.\n")
    (source / "b.txt").unlink()
    (source / "d.txt").write_text("")
    report = shelf.ingest(source).to_json()
    seconds = report.pop("seconds")
    assert isinstance(seconds, float)
    [failure] = report.pop("failures")  # type: ignore[misc]
    assert (failure["document"], failure["kind"], set(failure)) == ("d.txt", "empty", {"document", "kind", "reason"})
    assert report == {"collection": "c", "generation": 2, "previous": 1, "documents": counts(changed=1, unchanged=1,
    deleted=1, failed=1),
                      "warnings": [], "chunks": 2, "embedded": 1, "reused": 0}  # fmt: skip


def test_the_first_run_has_no_previous_generation(shelf: Shelf, source: Path) -> None:
    report = shelf.ingest(source).to_json()
    assert (report["generation"], report["previous"], report["documents"]) == (1, None, counts(added=3))
    assert document(shelf, "a.md").title == "Pumps"


def test_a_second_run_embeds_nothing_and_makes_no_generation(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    before = {path: path.stat().st_mtime_ns for path in shelf.folder.rglob("*") if path.name != "lock"}
    report = shelf.ingest(source).to_json()
    assert (report["generation"], report["embedded"], report["documents"]) == (1, 0, counts(unchanged=3))
    assert {path: path.stat().st_mtime_ns for path in shelf.folder.rglob("*") if path.name != "lock"} == before
    os.utime(source / "b.txt")  # touched, and not changed
    assert shelf.ingest(source).commit.generation == 1


def test_a_moved_file_is_another_document(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    shutil.move(source / "sub", source / "elsewhere")  # c.txt has the same title there, so the same text is embedded
    report = shelf.ingest(source)
    assert report.counts == counts(added=1, unchanged=2, deleted=1)
    assert (report.embedded, report.reused) == (0, 1)
    assert uris(shelf) == {"a.md", "b.txt", "elsewhere/c.txt"}


def test_a_failed_document_keeps_its_last_good_version_and_is_listed(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    for _ in range(2):
        report = shelf.ingest(source)
        assert (report.counts, report.commit.generation) == (counts(unchanged=2, failed=1), 1)
        assert [(failure.document, failure.kind) for failure in report.failures] == [("b.txt", "binary")]
    assert document(shelf, "b.txt").text == "valve"
    (source / "b.txt").write_text("valve two")
    assert shelf.ingest(source).counts == counts(unchanged=2, changed=1)


def test_a_document_that_cannot_be_read_keeps_its_text_but_no_wider_label(shelf: Shelf, source: Path) -> None:
    sidecar = source / "b.txt.label.toml"
    sidecar.write_text('sensitivity = "public"\nhosted = true\nregions = ["eu"]\n')
    shelf.ingest(source)
    (source / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert shelf.ingest(source).commit.generation == 1  # control: the same label, nothing to do
    sidecar.write_text('sensitivity = "confidential"\ngroups = ["hr"]\n')
    report = shelf.ingest(source)
    assert (report.commit.generation, report.embedded, report.counts) == (2, 0, counts(unchanged=2, failed=1))
    kept = document(shelf, "b.txt")
    assert kept.text == "valve"
    assert (kept.label.sensitivity, kept.label.groups) == (Sensitivity.CONFIDENTIAL, frozenset({"hr"}))
    index = shelf.reader().pin("c", OWNER)
    assert len(index.lexical("valve", 5, Scope(frozenset({"hr"})))) == 1
    assert index.lexical("valve", 5, Scope(frozenset({"staff"}))) == []
    assert "b.txt" not in {chunk.document for chunk in found(index, "valve", frozenset({"staff"}))}
    assert "b.txt" in {chunk.document for chunk in found(index, "valve", frozenset({"hr"}))}
    assert shelf.ingest(source).commit.generation == 2
    (source / "b.txt").write_text("valve")
    sidecar.write_text('sensitivity = "public"\nhosted = true\nregions = ["eu"]\n')
    assert shelf.ingest(source).counts == counts(unchanged=2, changed=1)
    assert label(shelf, "b.txt").sensitivity == Sensitivity.PUBLIC


def found(index: Index, text: str, readers: frozenset[str]) -> list[Chunk]:
    vector = EMBEDDER.embed([text], "query")[0]
    return index.chunks([candidate.ref for candidate in index.dense(vector, 9, Scope(readers))])


def test_a_file_that_fails_for_its_name_or_kind_does_not_stop_the_rest(shelf: Shelf, source: Path) -> None:
    (source / "new\nline.txt").write_text("x")
    os.mkfifo(source / "pipe.txt")
    (source / "out.txt").symlink_to("/etc/hostname")
    (source / "large.txt").write_bytes(b"x" * 2_000_000)
    report = shelf.ingest(source)
    assert report.counts == counts(added=3, failed=4)
    assert {failure.kind for failure in report.failures} == {"name", "unreadable", "symlink", "too_large"}


def test_a_parser_that_fails_unforeseen_fails_one_document(shelf: Shelf, source: Path) -> None:
    class Tricky(Source):
        def __iter__(self):  # type: ignore[no-untyped-def]
            def explode(parser: Parser) -> Parsed:
                raise IndexError("deep inside")

            yield Item("bad", "bad", "0", 1, explode)
            yield Item("good", "good", "0", 1, lambda parser: Parsed("good", "pump", markdown=False))

        def read(self, wanted: Mapping[str, object]) -> Iterator[Item | Failure]:
            yield from self

    labeller = Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {})
    pipeline = Pipeline(shelf.writer, TOOLS, COLLECTION, labeller)
    report = pipeline.run(Tricky(source, (), {}, (), False, 1), Options())
    assert [(f.document, f.kind, f.reason) for f in report.failures] == [
        ("bad", "broken", "cannot be parsed: IndexError")
    ]
    assert report.counts == counts(added=1, failed=1)


def test_a_folder_that_cannot_be_listed_deletes_nothing_that_lay_in_it(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    listed = open_source(source, 1_000_000)
    closed = Failure(
        "sub", "unreadable", "the folder cannot be listed", "sub/"
    )  # as test_sources gets it from the kernel
    unlisted = Source(listed.root, ("a.md",), {}, (closed,), False, 1_000_000)
    labeller = Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {})
    report = Pipeline(shelf.writer, TOOLS, COLLECTION, labeller).run(unlisted, Options())
    assert report.counts == counts(unchanged=1, deleted=1, failed=1)
    assert uris(shelf) == {"a.md", "sub/c.txt"}


def test_a_folder_that_became_a_link_deletes_nothing_that_lay_in_it(shelf: Shelf, source: Path, tmp_path: Path) -> None:
    shelf.ingest(source)
    shutil.move(source / "sub", tmp_path / "elsewhere")
    (source / "sub").symlink_to(tmp_path / "elsewhere")
    assert shelf.ingest(source).counts == counts(unchanged=2, failed=1)


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.jsonl"])
def test_a_broken_file_of_rows_deletes_no_row_that_it_no_longer_reaches(
    shelf: Shelf, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    rows(path, range(300))
    assert shelf.ingest(path).counts == counts(added=300)
    if path.suffix == ".gz":
        path.write_bytes(path.read_bytes()[:-300])
    else:
        path.write_bytes(path.read_bytes()[:-3000])  # in the middle of a row, as a copy that is under way
    report = shelf.ingest(path)
    assert report.counts["failed"] == 1
    assert report.counts["unchanged"] < 300
    assert report.counts["deleted"] == 0
    assert len(uris(shelf)) == 300
    rows(path, range(10))  # the control: an intact file that holds fewer
    assert shelf.ingest(path).counts == counts(unchanged=10, deleted=290)


def test_rows_are_added_changed_and_deleted_one_by_one(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    rows(path, range(5))
    shelf.ingest(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("pump", "valve") + '{"_id": 3, "text": "new"}\n{"broken\n')
    report = shelf.ingest(path)
    assert report.counts == counts(
        added=1, changed=1, unchanged=1, failed=1
    )  # the broken row may be any of those missing
    path.write_text(path.read_text().replace('{"broken\n', ""))
    assert shelf.ingest(path).counts == counts(unchanged=3, deleted=3)


def test_no_delete_keeps_what_is_missing(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "b.txt").unlink()
    (source / "a.md").write_text("pump two")
    assert shelf.ingest(source, Options(no_delete=True)).counts == counts(changed=1, unchanged=1)
    assert uris(shelf) == {"a.md", "b.txt", "sub/c.txt"}


def test_an_empty_source_is_refused_unless_it_is_meant(shelf: Shelf, source: Path, tmp_path: Path) -> None:
    shelf.ingest(source)
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "empty.jsonl").write_text("")
    for place in (empty, tmp_path / "empty.jsonl"):
        with pytest.raises(UsageError, match="3 documents would be deleted: pass --allow-empty"):
            shelf.ingest(place)
    assert len(uris(shelf)) == 3
    report = shelf.ingest(empty, Options(allow_empty=True))
    assert (report.counts, report.commit.chunks) == (counts(deleted=3), 0)
    assert shelf.ingest(empty).commit.generation == 2


def test_an_empty_first_source_makes_no_generation(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = shelf.ingest(tmp_path / "empty")
    assert (report.commit.generation, report.commit.previous, report.counts) == (0, None, counts())
    assert shelf.reader().names() == []


def test_documents_put_through_the_api_are_neither_deleted_nor_replaced(shelf: Shelf, source: Path) -> None:
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        put(change, "note", "pump by api", origin="api")
        put(change, "b.txt", "valve by api", origin="api")
        change.commit()
    report = shelf.ingest(source)
    assert report.counts == counts(added=2, failed=1)
    assert [(failure.document, failure.kind) for failure in report.failures] == [("b.txt", "duplicate")]
    (source / "b.txt").unlink()
    assert shelf.ingest(source).counts == counts(unchanged=2)
    assert uris(shelf) == {"note", "b.txt", "a.md", "sub/c.txt"}
    assert document(shelf, "b.txt").text == "valve by api"


def test_a_label_alone_makes_a_document_changed(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    assert label(shelf, "b.txt").groups is None
    (source / "b.txt.label.toml").write_text('groups = ["hr"]\n')
    report = shelf.ingest(source)
    assert (report.counts, report.embedded, report.reused) == (counts(changed=1, unchanged=2), 0, 1)
    assert label(shelf, "b.txt").groups == {"hr"}
    assert shelf.reader().pin("c", OWNER).document("b.txt", frozenset({"it"})) is None
    assert shelf.ingest(source).counts == counts(unchanged=3)
    assert shelf.ingest(source, rules={"sub/**": {"sensitivity": "public"}}).counts == counts(changed=1, unchanged=2)
    assert shelf.ingest(source, own={"regions": ["eu"]}).counts == counts(changed=3)
    assert (
        shelf.ingest(source, own={"regions": ["eu"]}, collection=Collection("c", groups=frozenset({"x"}))).counts[
            "changed"
        ]
        == 2
    )  # b has its own


def test_labels_come_from_rules_sidecar_front_matter_and_rows(shelf: Shelf, source: Path) -> None:
    (source / "f.md").write_text(
        "---\ndomicile:\n  label:\n    sensitivity: internal\n    regions: [de, fr]\n---\npump\n"
    )
    (source / "f.md.label.toml").write_text('regions = ["de"]\n')
    (source / "r.jsonl").write_text('{"_id": "x", "text": "pump", "metadata": {"label": {"categories": ["pii"]}}}\n')
    (source / "r.jsonl.label.toml").write_text("retention_days = 7\n")
    report = shelf.ingest(
        source, own={"hosted": True, "retention_days": 30}, rules={"*.md": {"purposes": ["answer", "judge"]}}
    )
    assert report.warnings == ()
    f, x = label(shelf, "f.md"), label(shelf, "r.jsonl#x")
    assert (f.regions, f.sensitivity, f.hosted, f.retention_days, f.purposes) == (
        {"de"},
        "internal",
        True,
        30,
        {"answer", "judge"},
    )
    assert (x.categories, x.retention_days, x.sensitivity, x.regions) == ({"pii"}, 7, "restricted", {"local"})
    chunk = (
        shelf.reader()
        .pin("c", OWNER)
        .chunks([c.ref for c in shelf.reader().pin("c", OWNER).lexical("pump", 9, ALL)])[0]
    )
    assert chunk.label == label(shelf, chunk.document)


def test_malformed_and_orphaned_labels_are_warned_of_once_and_restrict(shelf: Shelf, source: Path) -> None:
    rows(source / "r.jsonl", range(3))
    for name in ("r.jsonl", "b.txt", "gone.txt"):
        (source / f"{name}.label.toml").write_text("sensitivity = 'Public'\n")
    (source / "f.md").write_text("---\ndomicile:\n  label:\n    hosted: maybe\n---\npump\n")
    report = shelf.ingest(source, own={"sensitivity": "public", "hosted": True})
    assert sorted(warning.split(":")[0] for warning in report.warnings) == [
        "b.txt.label.toml", "f.md", "gone.txt.label.toml", "r.jsonl.label.toml"]  # fmt: skip
    assert report.counts == counts(added=7)
    for uri in ("b.txt", "f.md", "r.jsonl#r1"):
        assert (label(shelf, uri).sensitivity, label(shelf, uri).hosted, label(shelf, uri).groups) == (
            Sensitivity.RESTRICTED,
            False,
            frozenset(),
        )
    assert label(shelf, "a.md").sensitivity == Sensitivity.PUBLIC


def test_a_new_meaning_of_a_region_labels_documents_anew(shelf: Shelf, source: Path) -> None:
    (source / "f.md").write_text("---\ndomicile:\n  label:\n    regions: [dach]\n---\npump\n")
    known = ["de", "at", "ch", *labels.EEA]
    shelf.ingest(source, regions=labels.Regions.known(known, {"dach": ["de", "at", "ch"]}))
    assert label(shelf, "f.md").regions == {"de", "at", "ch"}
    shelf.ingest(source, regions=labels.Regions.known(known, {"dach": ["de", "at"]}))
    assert label(shelf, "f.md").regions == {"de", "at"}


def test_another_embedder_is_refused_and_the_old_generation_serves(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    other = HashEmbedder(name="other", fingerprint="hash-b")
    labeller = Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {})
    with pytest.raises(EmbedderMismatch, match="embedded by hash"):
        Pipeline(shelf.writer, replace(TOOLS, embedder=other), COLLECTION, labeller).run(
            open_source(source, 1000), Options()
        )
    assert shelf.reader().generation("c") == 1


def test_progress_is_told_for_every_document(shelf: Shelf, source: Path) -> None:
    rows(source / "r.jsonl", range(4))
    (source / "empty.txt").write_text("")
    told: list[Progress] = []
    shelf.ingest(source, watch=told.append)
    last = {progress.stage: progress for progress in told}
    assert list(last) == ["scanning", "embedding", "committing"]
    assert (last["scanning"].documents, last["scanning"].documents_total) == (8, 8)
    work = last["embedding"]
    assert work.documents == work.documents_total == 8
    assert 0 < work.bytes == work.bytes_total
    assert (work.embedded, work.failed, work.eta_seconds) == (7, 1, 0.0)
    for stage, until in last.items():
        counted = [progress.documents for progress in told if progress.stage == stage]
        assert counted == sorted(counted)
        assert counted[-1] == until.documents


def test_a_watch_that_cancels_leaves_the_old_generation_and_nothing_behind(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "new.txt").write_text("flange")

    def cancel(progress: Progress) -> None:
        if progress.stage == "embedding" and progress.embedded:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        shelf.ingest(source, watch=cancel)
    assert uris(shelf) == {"a.md", "b.txt", "sub/c.txt"}
    assert not shelf.leftovers()
    report = shelf.ingest(source)  # what was embedded is not lost
    assert (report.counts, report.embedded, report.reused) == (counts(added=1, unchanged=3), 0, 1)


def test_the_same_source_gives_the_same_index_again(source: Path, tmp_path: Path) -> None:
    rows(source / "r.jsonl", range(30))
    answers = []
    for name in ("one", "two"):
        shelf = Shelf.at(tmp_path / name)
        shelf.ingest(source)
        index = shelf.reader().pin("c", OWNER)
        answers.append(
            (
                index.lexical("pump valve", 50, ALL),
                index.dense(EMBEDDER.embed(["pump"], "query")[0], 50, ALL),
                index.states(),
            )
        )
    assert answers[0] == answers[1]

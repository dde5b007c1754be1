"""A plan is the exact changeset, changes nothing, and ``run --plan`` does that and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import COLLECTION, REGIONS, TOOLS, Shelf, mail

from domicile import labels
from domicile.domain import OWNER
from domicile.errors import UsageError
from domicile_ingest.labelling import Labeller
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.plan import Plan
from domicile_ingest.report import Report
from domicile_ingest.sources import open_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("changed", "gone", "same"):
        (folder / f"{name}.txt").write_text(f"pump {name}")
    return folder


@pytest.fixture
def planned(shelf: Shelf, source: Path, tmp_path: Path) -> Plan:
    """Saved and read again, as `--out` and `--plan` do."""
    shelf.ingest(source)
    (source / "changed.txt").write_text("valve")
    (source / "gone.txt").unlink()
    (source / "new.txt").write_text("pump same")
    (source / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    path = tmp_path / "plan.json"
    path.write_text(pipeline(shelf, source).plan(open_source(source, 1000), Options()).model_dump_json())
    return Plan.read(path)


def pipeline(shelf: Shelf, source: Path) -> Pipeline:
    return Pipeline(shelf.writer, TOOLS, COLLECTION, Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {}))


def apply(shelf: Shelf, source: Path, plan: Plan) -> Report:
    return pipeline(shelf, source).run(open_source(source, 1000), Options(), plan=plan)


def texts(shelf: Shelf) -> dict[str, str]:
    index = shelf.reader().pin("c", OWNER)
    found = {uri: index.document(uri, None) for uri in index.states()}
    return {uri: document.text for uri, document in found.items() if document is not None}


def test_a_plan_tells_what_a_run_then_does_and_changes_nothing(shelf: Shelf, source: Path, planned: Plan) -> None:
    assert (shelf.reader().generation("c"), shelf.leftovers()) == (1, set())
    told = [(change.document, change.action, change.chunks, change.embed) for change in planned.changes]
    assert told == [("changed.txt", "change", 1, 1), ("new.txt", "add", 1, 1), ("gone.txt", "delete", 0, 0)]
    report = shelf.ingest(source)
    assert (report.counts, report.embedded) == (planned.documents, planned.embed)
    assert [(f.document, f.kind) for f in report.failures] == [(f.document, f.kind) for f in planned.failures]
    assert planned.documents == {"added": 1, "changed": 1, "unchanged": 1, "deleted": 1, "failed": 1}


def test_a_plan_without_a_change_is_empty(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    plan = pipeline(shelf, source).plan(open_source(source, 1000), Options())
    assert (plan.changes, plan.chunks, plan.embed, plan.documents["unchanged"]) == ((), 0, 0, 3)


def test_run_with_a_plan_does_that_and_nothing_else(shelf: Shelf, source: Path, planned: Plan) -> None:
    (source / "later.txt").write_text("came after the plan")
    (source / "same.txt").unlink()
    report = apply(shelf, source, planned)
    assert {key: report.counts[key] for key in ("added", "changed", "deleted")} == {
        "added": 1,
        "changed": 1,
        "deleted": 1,
    }
    assert texts(shelf) == {"changed.txt": "valve", "new.txt": "pump same", "same.txt": "pump same"}


def test_what_is_not_any_more_as_it_was_planned_is_refused_one_by_one(
    shelf: Shelf, source: Path, planned: Plan
) -> None:
    (source / "changed.txt").write_text("flange")
    (source / "new.txt").unlink()
    (source / "gone.txt").write_text("back again")
    report = apply(shelf, source, planned)
    refused = {failure.document for failure in report.failures if failure.kind == "changed"}
    assert refused == {"changed.txt", "new.txt", "gone.txt"}
    assert texts(shelf) == {"changed.txt": "pump changed", "gone.txt": "pump gone", "same.txt": "pump same"}
    assert report.commit.generation == 1


def test_a_plan_for_another_generation_is_refused(shelf: Shelf, source: Path, planned: Plan) -> None:
    apply(shelf, source, planned)
    with pytest.raises(UsageError, match="generation 1, and 2 serves now"):
        apply(shelf, source, planned)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"collection": 7}', "\x00"])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="is no plan"):
        Plan.read(path)
    with pytest.raises(UsageError, match="No such file"):
        Plan.read(tmp_path / "absent.json")


def test_a_changed_file_in_a_folder_that_ends_like_a_mark_is_refused_too(
    shelf: Shelf, source: Path, tmp_path: Path
) -> None:
    (source / "Important!").mkdir()
    (source / "Important!" / "x.txt").write_text("pump")
    plan = pipeline(shelf, source).plan(open_source(source, 1000), Options())
    (source / "Important!" / "x.txt").write_text("valve")
    report = apply(shelf, source, plan)
    assert [(f.document, f.kind) for f in report.failures] == [("Important!/x.txt", "changed")]
    assert report.counts["added"] == 3


def test_what_was_to_leave_a_mail_stays_where_the_mail_is_another_one(shelf: Shelf, tmp_path: Path) -> None:
    source = tmp_path / "mails"
    source.mkdir()
    (source / "m.eml").write_bytes(mail("first", a_txt=b"pump", b_txt=b"valve"))
    shelf.ingest(source)
    (source / "m.eml").write_bytes(mail("second", a_txt=b"pump"))
    plan = pipeline(shelf, source).plan(open_source(source, 10_000), Options())
    assert plan.deleted == ["m.eml!/b.txt"]
    (source / "m.eml").write_bytes(mail("third", a_txt=b"pump", b_txt=b"valve"))
    report = pipeline(shelf, source).run(open_source(source, 10_000), Options(), plan=plan)
    assert ([f.document for f in report.failures], report.commit.generation) == (["m.eml"], 1)
    assert set(texts(shelf)) == {"m.eml", "m.eml!/a.txt", "m.eml!/b.txt"}

"""Suites: found by name or path, refused with what is wrong, and with a hash of what they ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domicile.domain import OWNER
from domicile.errors import UsageError
from domicile_eval.suites import Suite, choose, open_suite

ROWS = [
    {"id": f"q{n}", "split": split, "question": f"Question {n}?", "principal": "employee", **rest}
    for n, (split, rest) in enumerate(
        [
            ("test", {"gold": [{"document": "a.md", "span": "A."}]}),
            ("test", {"kinds": ["off_corpus"], "abstain": True}),
            ("tune", {"kinds": ["table"], "documents": ["b.md"]}),
        ]
    )
]
FACTS = [
    {"document": "a.md", "split": "test", "readers": ["hr"], "sinks": []},
    {"document": "b.md", "split": "tune", "sinks": ["cloud"]},
]
DEFINITION = """
version = "1"
collection = "shelf"
documents = "documents.jsonl"
{more}
[principals.employee]
groups = []
"""


def suite_at(root: Path, name: str = "own", more: str = "", definition: str = DEFINITION) -> Path:
    folder = root / "golden" / name
    (folder / "items").mkdir(parents=True)
    (folder / "suite.toml").write_text(definition.format(more=more))
    (folder / "items" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in FACTS))
    return folder


def test_a_suite_is_found_by_its_name_and_by_its_path(tmp_path: Path) -> None:
    folder = suite_at(tmp_path)
    by_name, by_path = open_suite("own", tmp_path), open_suite(str(folder), None)
    assert by_name.hash == by_path.hash
    assert by_name.collection_or(None) == "shelf"
    assert by_name.collection_or("other") == "other"
    assert by_name.baseline == tmp_path / "baselines" / "own.json" == by_path.baseline
    assert by_name.documents["a.md"].readers == {"hr"}
    employee = by_name.principal(by_name.items[0])
    assert (employee.name, employee.tenant, employee.groups) == ("employee", "default", frozenset())


def test_a_split_is_some_of_the_items_and_the_same_suite(tmp_path: Path) -> None:
    suite_at(tmp_path)
    whole, part = open_suite("own", tmp_path), open_suite("own", tmp_path, "tune")
    assert [item.id for item in part.items] == ["q2"]
    assert part.hash == whole.hash
    with pytest.raises(UsageError, match="no question is of split 'dev'"):
        open_suite("own", tmp_path, "dev")


def test_the_hash_is_of_what_is_asked_and_not_of_where_it_stands(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    suite_at(first)
    folder = suite_at(second)
    assert open_suite("own", first).hash == open_suite("own", second).hash
    (folder / "items" / "a.jsonl").write_text("".join("\n" + json.dumps(row) + "\n" for row in ROWS))
    assert open_suite("own", first).hash == open_suite("own", second).hash
    changed = [{**ROWS[0], "question": "Another?"}, *ROWS[1:]]
    (folder / "items" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert open_suite("own", first).hash != open_suite("own", second).hash


@pytest.mark.parametrize("what", ["readers", "sinks"])
def test_the_hash_is_of_the_facts_too(tmp_path: Path, what: str) -> None:
    folder = suite_at(tmp_path)
    before = open_suite("own", tmp_path).hash
    facts = [{**FACTS[0], what: ["finance"]}, FACTS[1]]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in facts))
    assert open_suite("own", tmp_path).hash != before


def test_one_suite_extends_another(tmp_path: Path) -> None:
    suite_at(tmp_path)
    small = tmp_path / "golden" / "small"
    small.mkdir()
    (small / "suite.toml").write_text('extends = "own"\nsample = 2\ngenerated = 1\n')
    found = open_suite("small", tmp_path)
    assert (found.name, len(found.items), found.generated, found.collection) == ("small", 2, 1, "shelf")
    assert found.documents == open_suite("own", tmp_path).documents
    (tmp_path / "golden" / "own" / "suite.toml").write_text('extends = "small"')
    with pytest.raises(UsageError, match="extends: names a suite beside this one, which extends no other"):
        open_suite("small", tmp_path)


def test_a_sample_has_something_of_every_kind_and_is_always_the_same(tmp_path: Path) -> None:
    suite_at(tmp_path)
    items = open_suite("own", tmp_path).items
    assert choose(items, 3) == {"q0", "q1", "q2"} == choose(items, 9)
    assert choose(items, 2) == choose(tuple(reversed(items)), 2)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('sample = "many"', "sample: "),
        ("floor = 1", "floor: "),
        ('primary = ["ndgc@10"]', "unknown metric 'ndgc@10': there are ndcg@10, "),
        ("[floors]\nrecall = 0.9", "unknown metric 'recall'"),
        ("= 3", "suite.toml: "),
        ('items = "absent"', "absent"),
        ('documents = "absent.jsonl"', "suite.toml: "),
    ],
)
def test_a_wrong_definition_is_named(tmp_path: Path, more: str, says: str) -> None:
    suite_at(tmp_path, more=more)
    with pytest.raises(UsageError) as refused:
        open_suite("own", tmp_path)
    assert says in str(refused.value)


def test_who_asks_must_be_declared(tmp_path: Path) -> None:
    suite_at(tmp_path, definition='version = "1"\ncollection = "shelf"')
    with pytest.raises(UsageError, match=r"a\.jsonl:1: principal 'employee' is not in the suite's \[principals\]"):
        open_suite("own", tmp_path)


def test_broken_facts_are_named_with_their_line(tmp_path: Path) -> None:
    folder = suite_at(tmp_path)
    (folder / "documents.jsonl").write_text(json.dumps(FACTS[0]) + '\n{"document": "b.md"}\n')
    with pytest.raises(UsageError, match=r"documents\.jsonl:2: "):
        open_suite("own", tmp_path)


def test_a_plain_file_of_questions_is_a_suite(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "Where?", "documents": ["a.md"]}\n')
    found = open_suite(str(tmp_path / "mine.jsonl"), None)
    assert (found.name, found.answers, found.primary) == ("mine", True, ("ndcg@10", "correct"))
    assert found.principal(found.items[0]) is OWNER
    with pytest.raises(UsageError, match="suite 'mine' names no collection: give --collection"):
        found.collection_or(None)


def test_a_beir_folder_is_searched_and_not_answered(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "Where?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    found = open_suite(str(folder), None)
    assert (found.name, found.answers, found.primary) == ("beir", False, ("ndcg@10",))


def test_what_there_is_instead_of_an_unknown_suite(tmp_path: Path) -> None:
    suite_at(tmp_path)
    with pytest.raises(UsageError, match=r"there are: own"):
        open_suite("handbok", tmp_path)


def test_the_shipped_suites_are_sound() -> None:
    whole, small = open_suite("handbook", None), open_suite("smoke", None)
    assert isinstance(whole, Suite)
    assert {item.id for item in small.items} < {item.id for item in whole.items}
    assert whole.stage["routing"] == {"order": ["us-cloud", "eu-cloud", "local"]}

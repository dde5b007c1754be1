"""Rows of judged questions: what is read, and what is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domicile.domain import Turn
from domicile.errors import UsageError
from domicile_eval.items import Gold, read_items

WHOLE: dict[str, Any] = {
    "id": "hr-1",
    "split": "test",
    "kinds": ["follow_up", "superseded"],
    "question": "And this year?",
    "history": [{"role": "user", "text": "How many days in 2024?"}],
    "principal": "employee",
    "gold": [{"document": "hr/leave.md", "span": "26 days"}, {"document": "hr/more.md"}],
    "answer": "26 days",
    "abstain": False,
    "outdated": ["hr/old.md"],
    "route": "local",
    "flags": {"regions": ["eu"]},
    "forbidden": ["900"],
    "provenance": {"by": "a1"},
}


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_is_read_whole(tmp_path: Path) -> None:
    (item,) = read_items(written(tmp_path / "a.jsonl", WHOLE))
    assert item.gold == (Gold("hr/leave.md", "26 days"), Gold("hr/more.md"))
    assert item.history == (Turn("user", "How many days in 2024?"),)
    assert item.relevant == {"hr/leave.md": 1, "hr/more.md": 1}
    assert item.documents == {"hr/leave.md", "hr/more.md", "hr/old.md"}
    assert (item.abstain, item.route, item.line) == (False, "local", f"{tmp_path / 'a.jsonl'}:1")


def test_a_question_and_its_documents_are_enough(tmp_path: Path) -> None:
    rows = [{"question": "Where?", "documents": ["a.md"]}, "", {"question": "Why?", "abstain": True}]
    answered, declined = read_items(written(tmp_path / "own.jsonl", *rows))
    assert (answered.abstain, answered.principal, answered.kinds) == (False, "owner", ())
    assert (declined.abstain, declined.gold) == (True, ())
    assert answered.id != declined.id


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    written(tmp_path / "b.jsonl", {"id": "2", "question": "B?", "documents": ["b"]})
    written(tmp_path / "a.jsonl", {"id": "1", "question": "A?", "documents": ["a"]})
    assert [item.id for item in read_items(tmp_path)] == ["1", "2"]


def test_a_line_separator_in_a_text_is_no_new_line(tmp_path: Path) -> None:
    row = json.dumps({"question": "one\u2028two", "documents": ["a"]}, ensure_ascii=False)
    assert [item.question for item in read_items(written(tmp_path / "a.jsonl", row))] == ["one\u2028two"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "valid dictionary"),
        ({"documents": ["a"]}, "question"),
        ({"question": "", "documents": ["a"]}, "question"),
        ({"question": "What?"}, 'neither "gold" nor "documents"'),
        ({"question": "What?", "gold": [{"document": "a"}], "abstain": True}, '"abstain": true'),
        ({"question": "What?", "gold": [{"document": "a", "span": ""}]}, "gold.0.span"),
        ({"question": "What?", "gold": [{"span": "a"}]}, "gold.0.document"),
        ({"question": "What?", "documents": ["a"], "kinds": ["hard"]}, "kinds.0"),
        ({"question": "What?", "documents": ["a"], "route": "cloud"}, "route"),
        ({"question": "What?", "documents": ["a"], "abstain": "no"}, "abstain"),
        ({"question": "What?", "documents": ["a"], "qestion": "x"}, "qestion"),
        ({"question": "What?", "documents": ["a"], "history": [{"role": "system", "text": "x"}]}, "history.0.role"),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path: Path, row: object, says: str) -> None:
    path = written(tmp_path / "a.jsonl", WHOLE, row)
    with pytest.raises(UsageError) as refused:
        read_items(path)
    assert str(refused.value).startswith(f"{path}:2: ")
    assert says in str(refused.value)


def test_an_id_stands_once(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", WHOLE, WHOLE)
    with pytest.raises(UsageError, match=r"a\.jsonl:2: id 'hr-1' stands at .*a\.jsonl:1 already"):
        read_items(path)


def test_an_empty_file_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no questions"):
        read_items(written(tmp_path / "a.jsonl"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_items(tmp_path / "absent.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9"}\n')
    with pytest.raises(UsageError, match="cannot be read"):
        read_items(tmp_path / "latin.jsonl")

"""Tables of questions and feedback become suites, row by row or not at all."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from domicile.console import Console
from domicile.errors import UsageError
from domicile_eval.importing import import_command
from domicile_eval.items import Item, read_items


def imported(tmp_path: Path, name: str, text: str, encoding: str = "utf-8") -> tuple[Item, ...]:
    source, out = tmp_path / name, tmp_path / "out.jsonl"
    source.write_text(text, encoding=encoding)
    console = Console(tmp_path, False, {})
    assert import_command(argparse.Namespace(source=source, out=out), console) == 0
    return read_items(out)


def test_a_table_with_a_header_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = 'Question,Documents,Answer,abstain,comment\n"How long, then?",a.md; b.md,26 weeks,,x\nWho won?,,,yes,\n'
    asked, declined = imported(tmp_path, "own.csv", table, "utf-8-sig")
    assert (asked.question, asked.relevant, asked.answer) == ("How long, then?", {"a.md": 1, "b.md": 1}, "26 weeks")
    assert declined.abstain
    assert "2 questions, 1 of them unanswerable" in capsys.readouterr().out


def test_a_table_with_tabs(tmp_path: Path) -> None:
    (item,) = imported(tmp_path, "own.tsv", "id\tquery\tdocument\tsplit\n7\tHow long?\ta.md\ttest\n")
    assert (item.id, item.question, item.split) == ("7", "How long?", "test")


def test_feedback(tmp_path: Path) -> None:
    rows = (
        '{"question": "How long?", "rating": 1, "answer": "26 weeks", "citations": [{"document": "a.md", "n": 1}]}\n'
        '{"question": "How much?", "rating": 0, "documents": ["b.md"], "citations": [{"document": "a.md"}]}\n'
        '{"question": "Who won?", "rating": 0, "abstain": true}\n'
        '{"question": "Where?", "documents": ["c.md"]}\n'
    )
    good, bad, declined, plain = imported(tmp_path, "feedback.jsonl", rows)
    assert [set(item.relevant) for item in (good, bad, declined, plain)] == [{"a.md"}, {"b.md"}, set(), {"c.md"}]
    assert (good.answer, declined.abstain) == ("26 weeks", True)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("own.csv", "Frage,documents\nWas?,a.md\n", ":1: no column is called question"),
        ("own.csv", "", ":1: no column is called question"),
        ("own.csv", "question,documents\nHow?,a.md,b.md\n", ":2: has more cells"),
        ("own.csv", "question,documents\nHow?,a.md\nWhy?,\n", ':3: neither "gold" nor "documents"'),
        ("own.csv", "question,documents\n", "holds no questions"),
        ("own.csv", 'question,documents\n"How?,a.md\n', "cannot be read as a table"),
        ("f.jsonl", '{"question": "How?", "rating": 0}\n', ':1: a bad answer needs "documents"'),
        ("f.jsonl", '{"question": "How?", "rating": 5}\n', ":1: feedback needs"),
        ("f.jsonl", '{"question": "How?", "rating": 1}\n', ':1: a bad answer needs "documents"'),
        ("f.jsonl", "[1]\n", ":1: expected a JSON object"),
        ("f.jsonl", "{\n", ":1: is not JSON"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_written(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        imported(tmp_path, name, text)
    assert says.removeprefix(":3: ") in str(refused.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        imported(tmp_path, "own.csv", "question,documents\nHow?,a.md\n")
    assert (tmp_path / "out.jsonl").read_text() == "mine"

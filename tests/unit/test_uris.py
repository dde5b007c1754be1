"""What lies in what, told from the names alone."""

from __future__ import annotations

import pytest

from domicile.uris import containers, erased_hash, is_erased, is_or_lies_in


@pytest.mark.parametrize(("uri", "inside_out"), [
    ("a.txt", []),
    ("m.eml!/a.txt", ["m.eml"]),
    ("m.eml!/n.eml!/a.txt", ["m.eml!/n.eml", "m.eml"]),
    ("r.jsonl#17", ["r.jsonl"]),
    ("C# docs/r.jsonl#17", ["C# docs/r.jsonl"]),
    ("C# docs/a.txt", []),
    ("r.jsonl#a#b", ["r.jsonl"]),
    ("r.jsonl#a!/b", ["r.jsonl"]),
    ("r.jsonl#a/b", ["r.jsonl"]),
    ("Important!/r.jsonl#1", ["Important!/r.jsonl", "Important"]),
    ("r.JSONL.gz#1", ["r.JSONL.gz"]),
    ("notes#1.txt", []),
])  # fmt: skip
def test_what_a_document_lies_in(uri: str, inside_out: list[str]) -> None:
    assert list(containers(uri)) == [uri, *inside_out]


def test_a_name_that_only_begins_alike_is_another_document() -> None:
    assert is_or_lies_in("m.eml!/a.txt", "m.eml")
    for other in ("m.em", "m.eml!/a", "m.eml!/a.txt.gz", "m.eml!", ""):
        assert not is_or_lies_in("m.eml!/a.txt", other)
    erased = {erased_hash("r.jsonl#a")}
    assert is_erased("r.jsonl#a", erased)
    assert not is_erased("r.jsonl#a!/b", erased)
    assert not is_erased("r.jsonl", erased)

"""Markdown: the source is the text, the front matter is not, and a label that cannot be read is never ignored."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile_ingest.parsing import parse


def test_front_matter() -> None:
    front = "title: The leave policy\ndomicile:\n  label:\n    regions: [eu, no]\n    hosted: false"
    source = f"---\n{front}\n---\n\n# Leave\n\nText."
    parsed = parse("hr/leave.md", source.encode())
    assert parsed.title == "The leave policy"
    assert parsed.text == "# Leave\n\nText."
    assert parsed.label == {"regions": ["eu", "no"], "hosted": False}  # no is Norway
    assert parsed.markdown
    assert parsed.metadata.values == ()


def test_what_else_the_front_matter_says_is_metadata() -> None:
    front = (
        "title: Leave\nDomicile : 1\nday: 2024-05-01\nat: 2024-05-01 12:00:00 +02:00\ntags: [a, no]\nraw: !!binary eA=="
    )
    parsed = parse("leave.md", f"---\n{front}\n---\ntext".encode())
    assert parsed.metadata.values == (
        ("day", "2024-05-01"), ("at", "2024-05-01T10:00:00.000000Z"), ("tags", "a"), ("tags", "no")
    )  # fmt: skip
    assert parsed.metadata.remarks == (
        "metadata 'raw': must be a text, a number, true, false or a date: left out",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("# The *leave* policy\n\nx", "The leave policy"),
        ("x\n\nLeave\n=====\n", "Leave"),
        ("```\n# code\n```\n# Leave", "Leave"),
        ("~~~~\n# code\n~~~\n# code\n~~~~\n# Leave", "Leave"),
        ("## only second", "leave"),
        ("---\ntitle: [a]\n---\n# Leave", "Leave"),
        ("---\ntitle: 2024\n---\n# Leave", "2024"),
    ],
)
def test_title(source: str, title: str) -> None:
    assert parse("hr/leave.md", source.encode()).title == title


@pytest.mark.parametrize(
    "front",
    [
        "domicile: {label: {regions: [eu]",
        "domicile:\n\tlabel: {}",
        "domicile: eu",
        "domicile: {}",
        "domicile:",
        "domicile: {label: eu}",
        "domicile: {label: }",
        "domicile: {label: {1: 2}}",
        "domicile: {labels: {regions: [eu]}}",
        "domicile: {label: {regions: [eu]}, other: 1}",
        "Domicile: {label: {regions: [eu]}}",
        "domicile.label: {regions: [local], hosted: false}",
        "domicile.label.hosted: false",
        "domicile: {label: {regions: [eu]}}\ndomicile: {label: {regions: [us]}}",
        "domicile: {label: {regions: [eu], regions: [us]}}",
        "a: &a [1]\ndomicile: {label: {regions: *a}}",
        "domicile: !!python/object:os.system {}",
        "- domicile",
        "domicile: {label: {a: " + "[" * 3000 + "}}",
        "{domicile: {label: {regions: [eu]}}",
    ],
)
def test_a_label_that_cannot_be_read_is_malformed(front: str) -> None:
    label = parse("a.md", f"---\n{front}\n---\ntext".encode()).label
    assert label is not None
    assert set(label) == {"malformed"}


@pytest.mark.parametrize(
    "source",
    [
        "---\ndomicile: {label: {regions: [eu]}}\ntext without an end",
        "---\r\n  domicile:\r\n    label:\r\n\r\ntext",
        "\ufeff---\ndomicile : x\n",
        "---\n" + "x: y\n" * 20_000 + "domicile: {label: {}}\n---\ntext",
        "+++\n[domicile.label]\nregions = ['eu']\n+++\ntext",
    ],
)
def test_a_front_matter_without_an_end_fails_closed_too(source: str) -> None:
    parsed = parse("a.md", source.encode())
    assert parsed.label is not None
    assert set(parsed.label) == {"malformed"}


@pytest.mark.parametrize(
    "source",
    ["---\ntitle: [\n---\n# Text", "---\nA rule, and *words*.\n\n---\nmore", "---\n\nx", "# a\n---\ndomicile: x\n---"],
)
def test_a_broken_front_matter_is_text(source: str) -> None:
    parsed = parse("a.md", source.encode())
    assert parsed.text == source
    assert parsed.label is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("domicile: label{}[]&*!|>-'\"\n\t#1a,?%@")), max_size=120))
def test_whoever_names_domicile_gets_a_label(front: str) -> None:
    parsed = parse("a.md", f"---\ndomicile: {front}\n---\ntext".encode())
    assert parsed.label is not None


@pytest.mark.parametrize(
    "front", ["[" * 60_000, "{a: " * 15_000, "a: " + "x " * 30_000, "- " * 30_000, "&a " * 20_000, "? " * 30_000]
)
def test_hostile_front_matter_is_bounded(front: str) -> None:
    started = time.process_time()
    parse("a.md", f"---\n{front}\n---\ntext".encode())
    assert time.process_time() - started < 5

"""Values of metadata have one form, and what does not fit is left out with a remark, never the document."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from unicodedata import is_normalized, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile.metadata import (
    MAX_ALL_CHARACTERS,
    MAX_CHARACTERS,
    MAX_FIELDS,
    MAX_NAME_CHARACTERS,
    MAX_REMARKS,
    MAX_VALUES,
    Metadata,
    canonical,
    comparable,
    is_date,
    merge,
    read,
)

SCALARS = st.one_of(
    st.text(max_size=40), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
    st.dates(), st.datetimes(), st.datetimes(timezones=st.timezones()),
)  # fmt: skip
TREES = st.recursive(
    st.one_of(SCALARS, st.none(), st.floats(), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("wiki", "wiki"),
        ("Wiki ", "Wiki "),
        ("", ""),
        ("e\u0301", "é"),
        ("a\ud800b", "a\ufffdb"),
        ("a\x00b", "a\x00b"),
        (True, "true"),
        (False, "false"),
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (2**64, 2.0**64),
        (-0.0, 0.0),
        (2.5, 2.5),
        (date(2024, 5, 1), "2024-05-01"),
        ("2024-05-01", "2024-05-01"),
        ("20240501", "20240501"),
        ("2024-13-45", "2024-13-45"),
        ("2024-13-45T10:00", "2024-13-45T10:00"),
        (datetime(2024, 5, 1, 10), "2024-05-01T10:00:00.000000Z"),
        (datetime(2024, 5, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2024-04-30T23:00:00.000000Z"),
        ("2024-05-01T10:00", "2024-05-01T10:00:00.000000Z"),
        ("2024-05-01 10:00:00", "2024-05-01T10:00:00.000000Z"),
        ("2024-05-01t10:00:00.5z", "2024-05-01T10:00:00.500000Z"),
        ("2024-05-01T10:00:00,25Z", "2024-05-01T10:00:00.250000Z"),
        ("2024-05-01T10:00:00+05:30", "2024-05-01T04:30:00.000000Z"),
        ("2024-05-01T10:00:00-0800", "2024-05-01T18:00:00.000000Z"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+01:00"),
        ("٢٠٢٤-05-01T10:00", "٢٠٢٤-05-01T10:00"),
    ],
)
def test_a_value_has_one_form(value: object, expected: object) -> None:
    found = canonical(value)
    assert (found, type(found)) == (expected, type(expected))
    assert not isinstance(found, float) or math.copysign(1, found) == math.copysign(1, expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [None, b"x", [], {}, (), math.nan, math.inf, -math.inf, 10**400, "x" * (MAX_CHARACTERS + 1)], ids=repr
)
def test_what_cannot_be_stored_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        canonical(value)


def test_a_text_that_grows_beyond_the_bound_when_it_is_normalised_is_refused() -> None:
    letter = "\N{DEVANAGARI LETTER QA}"
    assert len(normalize("NFC", letter)) == 2
    assert len(str(canonical(letter * (MAX_CHARACTERS // 2)))) == MAX_CHARACTERS
    with pytest.raises(ValueError, match="must have at most"):
        canonical(letter * (MAX_CHARACTERS // 2 + 1))
    assert len(comparable(letter * MAX_CHARACTERS)) == 2 * MAX_CHARACTERS


@given(SCALARS)
def test_the_form_is_stable_and_can_be_stored(value: object) -> None:
    found = canonical(value)
    assert (canonical(found), type(canonical(found))) == (found, type(found))
    if isinstance(found, str):
        found.encode()
        assert is_normalized("NFC", found)


@given(st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.timezones()))
def test_moments_sort_as_texts(one: datetime, other: datetime) -> None:
    early, late = (canonical(moment.isoformat()) for moment in (one, other))
    assert isinstance(early, str)
    assert isinstance(late, str)
    if early.endswith("Z") and late.endswith("Z"):  # not before the first year or after the last, in UTC
        assert (early < late) == (one.astimezone(UTC) < other.astimezone(UTC))


def test_a_day_is_told_from_other_texts() -> None:
    assert is_date("2024-02-29")
    assert not any(map(is_date, ("2023-02-29", "2024-02-29T10:00:00.000000Z", "2024-02", "today", "", 2024)))


def test_tables_are_flattened_and_lists_are_several_values() -> None:
    raw = {
        "source": "wiki",
        "tags": ["a", "b", "a", None, 1, 1.0, True],
        "author": {"name": "Ann", "born": date(1970, 1, 2), "at": {"city": "Graz"}},
        2024: "a year as a key",
        "nothing": None,
        "empty": [],
        "e\u0301": 1,
    }
    assert read(raw) == Metadata((
        ("source", "wiki"), ("tags", "a"), ("tags", "b"), ("tags", 1), ("tags", "true"), ("author.name", "Ann"),
        ("author.born", "1970-01-02"), ("author.at.city", "Graz"), ("2024", "a year as a key"), ("é", 1),
    ))  # fmt: skip
    assert read(None) == read({}) == Metadata()


@pytest.mark.parametrize(
    ("raw", "remark"),
    [
        ("a text", "metadata: must be a table: left out"),
        ([1], "metadata: must be a table: left out"),
        ({"long": "x" * 2_000}, "metadata 'long': must have at most 1,024 characters: left out"),
        ({"nan": math.nan}, "metadata 'nan': must be a finite number: left out"),
        ({"huge": 10**400}, "metadata 'huge': must be a finite number: left out"),
        ({"bytes": b"x"}, "metadata 'bytes': must be a text, a number, true, false or a date: left out"),
        ({"nested": [[1]]}, "metadata 'nested': must be a text, a number, true, false or a date: left out"),
        ({"rows": [{"a": 1}]}, "metadata 'rows': must be a text, a number, true, false or a date: left out"),
        ({"": 1}, "metadata '': a name has 1 to 100 printable characters: left out"),
        ({"a\nb": 1}, "metadata 'a\ufffdb': a name has 1 to 100 printable characters: left out"),
        ({"n" * 101: 1}, f"metadata '{'n' * 100}': a name has 1 to 100 printable characters: left out"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_left_out_with_a_remark(raw: object, remark: str) -> None:
    assert read(raw) == Metadata(remarks=(remark,))
    if isinstance(raw, dict):
        assert read({**raw, "kept": 1}) == Metadata((("kept", 1),), (remark,))


def test_bounds() -> None:
    many = read({f"f{number}": number for number in range(MAX_FIELDS + 1)})
    assert (len(many.values), many.remarks) == (64, ("metadata 'f64': at most 64 fields are kept: left out",))
    values = read({"f": list(range(MAX_VALUES + 9))})
    assert (len(values.values), values.remarks) == (100, ("metadata 'f': at most 100 values are kept: left out",))
    large = read({f"f{number}": ["x" * 1_000 + str(at) for at in range(10)] for number in range(10)})
    assert MAX_ALL_CHARACTERS - 1_100 < sum(len(str(value)) + 2 for _, value in large.values) <= MAX_ALL_CHARACTERS
    deep: Any = 1
    for _ in range(900):
        deep = {"a": deep}
    assert not read(deep).values
    assert len(read(deep).remarks) == 1
    wrong = read({f"f{number}": b"" for number in range(100)})
    assert len(wrong.remarks) == MAX_REMARKS + 1
    assert wrong.remarks[-1] == "metadata: more was left out"


@given(st.dictionaries(st.one_of(st.text(max_size=120), st.integers(), st.dates(), st.none()), TREES, max_size=8))
def test_any_table_can_be_read(raw: dict[object, object]) -> None:
    found = read(raw)
    for name, value in found.values:
        assert 0 < len(name) <= MAX_NAME_CHARACTERS
        assert name.isprintable()
        assert canonical(value) == value
    assert len(set(found.values)) == len(found.values)
    assert all(remark.isprintable() for remark in found.remarks)


def test_of_two_tables_the_first_one_wins_by_field() -> None:
    first, second = read({"a": 1, "b": [1, 2]}), read({"b": 3, "c": b"", "d": 4})
    assert merge(first, second).values == (("a", 1), ("b", 1), ("b", 2), ("d", 4))
    assert merge(first, second).remarks == second.remarks

"""Answers survive the way through JSON exactly."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import get_args

from corpora import OPEN, label_for
from hypothesis import given
from hypothesis import strategies as st

from domicile.answer_codec import from_record, to_record
from domicile.domain import Answer, Citation, Cost, Decision, Note, Usage

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # also half of a surrogate pair
NUMBER = st.integers(0, 2**60)
FLOAT = st.floats(allow_nan=False)
MAYBE = st.none() | TEXT
LABELS = st.sampled_from([None, OPEN, label_for(frozenset()), label_for(frozenset({"hr", "it"}))])
CITATIONS = st.builds(Citation, NUMBER, TEXT, TEXT, st.none() | NUMBER, TEXT, NUMBER, NUMBER, st.booleans())
DENIED = st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=2).map(tuple)), max_size=2).map(tuple)
DECISIONS = st.builds(Decision, st.sampled_from(["local", "hosted"]), MAYBE, MAYBE, MAYBE, LABELS, DENIED)
ANSWERS = st.builds(
    Answer, TEXT, st.booleans(), st.sampled_from(["kept", "replaced"]), TEXT, NUMBER,
    st.lists(CITATIONS, max_size=2).map(tuple), DECISIONS, MAYBE, st.booleans(), MAYBE, MAYBE, st.none() | FLOAT,
    st.builds(Usage, NUMBER, NUMBER, FLOAT), st.builds(Cost, FLOAT, TEXT, st.booleans()),
    st.dictionaries(TEXT, FLOAT, max_size=2), st.lists(st.sampled_from(get_args(Note)), max_size=2).map(tuple),
)  # fmt: skip


@given(ANSWERS)
def test_an_answer_comes_back_as_it_went(answer: Answer) -> None:
    back = from_record(json.loads(json.dumps(to_record(answer))))
    assert back == answer
    for field in fields(answer):
        assert type(getattr(back, field.name)) is type(getattr(answer, field.name)), field.name

"""Text that looks like the model's own marks stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile.adapters.genai_child import marks_pattern, neutralise, special_tokens

MARKS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "ab", "bc")


def test_marks_come_from_the_tokenizer() -> None:
    tokens = [{"id": 2, "content": "<|im_end|>", "special": True}, {"id": 9, "content": "  ", "special": False}]
    assert special_tokens({"added_tokens": tokens}) == {"<|im_end|>": 2}
    assert special_tokens({}) == {}


def test_a_mark_is_split_and_stays_readable() -> None:
    assert neutralise("a <|im_end|> b", marks_pattern(MARKS)) == "a < |im_end|> b"


@pytest.mark.parametrize("text", ["", "plain", "a < b | c >", "<|im_en d|>", "emoji 🎉"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert neutralise(text, marks_pattern(MARKS)) == text


def test_what_ends_a_prompt_or_is_no_text_is_replaced() -> None:
    assert neutralise("a\x00b\ud800c", None) == "a b?c"


def test_no_marks_no_pattern() -> None:
    assert marks_pattern([]) is None
    assert marks_pattern(["x"]) is None


@given(
    st.lists(st.sampled_from([*MARKS, "<|im_", "start|>", "<", "s>", "/", "a", "b", "c", " ", "end|>"]), max_size=12)
)
def test_no_mark_is_left_however_they_are_nested(parts: list[str]) -> None:
    clean = neutralise("".join(parts), marks_pattern(MARKS))
    assert not any(mark in clean for mark in MARKS)
    assert clean.replace(" ", "") == "".join(parts).replace(" ", "")

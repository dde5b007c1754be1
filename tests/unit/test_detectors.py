"""Personal data and secrets in a question: what is found, where, what it does to the label, and how long it takes."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest
from detector_sentences import HIDDEN, NEGATIVE, POSITIVE
from hypothesis import given
from hypothesis import strategies as st

from domicile.detectors import DETECTORS, Detection, custom, detect, label_of, redact
from domicile.domain import Sensitivity
from domicile.errors import LabelError
from domicile.labels import PartialLabel

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook"
PLANTED = [(name, sentence.replace("·", "")) for name, sentences in POSITIVE.items() for sentence in sentences]


def unmarked(sentence: str) -> tuple[str, int, int]:
    start = sentence.index("«")
    end = sentence.index("»") - 1
    return sentence.replace("«", "").replace("»", ""), start, end


def test_there_are_enough_sentences_of_every_detector() -> None:
    assert len(PLANTED) >= 120
    assert len(NEGATIVE) >= 150
    assert {name for name, _ in PLANTED} == {detector.name for detector in DETECTORS}


@pytest.mark.parametrize(("name", "sentence"), PLANTED)
def test_it_is_found_where_it_stands(name: str, sentence: str) -> None:
    text, start, end = unmarked(sentence)
    found = detect(text)
    assert [(each.name, text[each.start : each.end]) for each in found if each.name == name] == [
        (name, text[start:end])
    ]
    assert f"[{name}]" in redact(text, found)


@pytest.mark.parametrize("sentence", NEGATIVE)
def test_nothing_is_found_in_what_only_looks_so(sentence: str) -> None:
    assert [(each.name, sentence[each.start : each.end]) for each in detect(sentence)] == []


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in HIDDEN.items() for text in texts])
def test_other_characters_for_the_same_thing_hide_nothing(name: str, text: str) -> None:
    text = f"Ωμέγα {text} 終"
    found = detect(text)
    assert name in {each.name for each in found}
    rest = redact(text, found)
    assert rest.startswith("Ωμέγα ")
    assert rest.endswith("] 終")
    assert not any(character.isdigit() for character in rest)


snippets = st.sampled_from(
    [unmarked(sentence)[0] for _, sentence in PLANTED]
    + [text for texts in HIDDEN.values() for text in texts]
    + [
        "ssn ",
        "BSN",
        "call ",
        "\u200b",
        "-",
        " ",
        "1",
        "+",
        "@",
        ".",
        "=",
        "\n",
        "password: ",
        "[EMAIL]",
        "é",
        "ﷺ",
        "Ⅷ",
    ]
)


@given(st.lists(snippets | st.text(max_size=8), max_size=8).map("".join))
def test_in_a_redacted_text_nothing_is_found_and_spans_lie_in_it(text: str) -> None:
    found = detect(text)
    assert all(0 <= each.start < each.end <= len(text) for each in found)
    assert list(found) == sorted(found, key=lambda each: each.start)
    redacted = redact(text, found)
    assert detect(redacted) == ()
    assert bool(found) == (redacted != text)


@given(st.text(max_size=40), st.sampled_from(PLANTED), st.text(max_size=40))
def test_what_stands_around_on_other_lines_hides_nothing(before: str, planted: tuple[str, str], after: str) -> None:
    name, sentence = planted
    text, _, _ = unmarked(sentence)
    found = detect(f"{before}\n{text}\n{after}")
    wanted = next(detector.categories for detector in DETECTORS if detector.name == name)
    assert any(each.categories >= wanted for each in found)


def test_of_overlapping_spans_the_longest_gives_the_name() -> None:
    pii = frozenset({"pii"})
    spans = [
        Detection("A", pii, 2, 5),
        Detection("LONG", pii, 4, 9),
        Detection("B", pii, 8, 10),
        Detection("C", pii, 10, 11),
    ]
    assert redact("0123456789abc", spans) == "01[LONG][C]bc"
    assert redact("0123456789abc", reversed(spans)) == "01[LONG][C]bc"
    assert redact("0123456789abc", []) == "0123456789abc"


def test_redacting_brings_no_word_and_number_together() -> None:
    text = "BSN a.very.long.address.of.somebody.in.that.town@somewhere.example 991864463"
    assert redact(text, detect(text)) == "BSN [EMAIL] [NL_BSN]"


def test_the_label_is_what_was_found() -> None:
    assert label_of(detect("How many days of leave do I have?")) == PartialLabel()
    assert label_of(detect("Mail anna@firma.de")) == PartialLabel(categories=frozenset({"pii"}))
    assert label_of(detect("card 4111 1111 1111 1111")) == PartialLabel(categories=frozenset({"pii", "pci"}))
    secret = label_of(detect("anna@firma.de, the password is Hunter2!"))
    assert secret.categories == {"pii", "credential"}
    assert (secret.sensitivity, secret.hosted) == (Sensitivity.RESTRICTED, False)


def test_an_operator_adds_detectors() -> None:
    badge = custom("badge", r"\bORV-[0-9]{5}\b", ["pii", "staff"])
    text = "Whose badge is ORV-\uff10\uff11234? Mail anna@firma.de"
    assert redact(text, detect(text, (*DETECTORS, badge))) == "Whose badge is [BADGE]? Mail [EMAIL]"
    assert label_of(detect(text, [badge])).categories == {"pii", "staff"}
    shout = custom("shout", "[A-Z]+", ["pii"])  # matches what stands for it
    assert redact("say ABC now", detect("say ABC now", [shout])) == "say [SHOUT] now"


@pytest.mark.parametrize(("name", "pattern", "categories", "field", "message"), [
    ("badge", "ORV-(", ["pii"], "detectors.badge", "no regular expression: missing )"),
    ("badge", "x*", ["pii"], "detectors.badge", "empty text"),
    ("badge", "x", [], "detectors.badge", "not empty"),
    ("badge", "x", ["PII"], "detectors.badge", "lower-case words"),
    ("Badge", "x", ["pii"], "detectors.name", "'Badge' must be a lower-case word"),
])  # fmt: skip
def test_a_malformed_detector_is_refused_with_its_name(
    name: str, pattern: str, categories: list[str], field: str, message: str
) -> None:
    with pytest.raises(LabelError, match="detectors") as refused:
        custom(name, pattern, categories)
    assert refused.value.field == field
    assert message in str(refused.value)


HOSTILE = {
    "digits": "1", "digits apart": "1 ", "digits with dashes": "12-", "dots": "1.", "letters": "a", "at": "a@", "ats": "@",
    "labels": "a.", "address": "a@a.", "colons": "abcd:", "zeros": "00", "plus": "+4", "open": "(", "equals": "=",
    "assigned": "password=", "assigned apart": "password : ", "said": "the password is ", "quotes": 'password="',
    "keys": "-----BEGIN " + "PRIVATE KEY-----", "dashes": "-", "tokens": "sk-", "jwt": "eyJ", "jwts": "eyJaaaaaaaa.",
    "bearer": "bearer ",
    "urls": "a://a:", "iban": "DE89 ", "fiscal": "AAAAAA", "invisible": "1\u200b", "ligatures": "\ufdfa", "marks": "1\u0336",
    "phones": "call 1", "phone words": "call 030 1", "ids": "BSN 1234567", "cards": "4111 ", "emails": "a@b.de ",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_time_grows_with_the_text_and_no_faster(kind: str) -> None:
    def seconds(size: int) -> float:
        text = (HOSTILE[kind] * size)[:size]
        started = time.process_time()
        detect(text)
        return time.process_time() - started

    # a collection of what all tests before this one left behind would count as the detectors' own time
    gc.disable()
    try:
        small, large = max(seconds(25_000), 0.005), min(seconds(100_000) for _ in range(2))
    finally:
        gc.enable()
    assert large < 12 * small, f"{large / small:.1f} times the time for 4 times the text"
    assert large < 5


def test_the_sample_corpus_has_addresses_of_departments_and_nothing_else() -> None:
    found = []
    for folder, _, names in os.walk(HANDBOOK):
        for name in sorted(names):
            if name.endswith((".md", ".txt", ".csv", ".html", ".toml")):
                text = (Path(folder) / name).read_text(encoding="utf-8")
                found += [(each.name, text[each.start : each.end]) for each in detect(text)]
    assert {name for name, _ in found} <= {"EMAIL"}
    assert {address.rpartition("@")[2] for _, address in found} == {"orrevik.example"}

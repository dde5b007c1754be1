"""What a sink receives does not depend on what it may not have: not by a word, not by an order, not by a score.

Two collections are equal on the documents that are cleared for the sink, and differ in everything else. With mode
``cleared`` the bytes are the same. With ``escalate`` a reader's whole collection is searched: nothing is sent but cleared
passages, word for word, and what is hidden may still decide which of them, or whether any.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from answer_world import Paper, Policy, World, world_with
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_cases import PLAIN, PROOF

from domicile.answering import AnswerRequest
from domicile.domain import OWNER, Collection, Principal, Turn

Table = dict[str, Any]
CLEARED: Table = {"regions": ["eu", "local"], "sensitivity": "internal", "hosted": True}
UNCLEARED: tuple[Table, ...] = (
    {"regions": ["local"], "sensitivity": "restricted", "hosted": False}, {}, {**CLEARED, "categories": ["pii"]},
    {**CLEARED, "sensitivity": "confidential"}, {**CLEARED, "purposes": ["eval"]}, {**CLEARED, "regions": ["us"]},
)  # fmt: skip
SINK: Table = {**PLAIN, "max_sensitivity": "internal", "categories": []}
POLICY = Policy({"eu": SINK}, {"acme": ("eu", "local")}, {})
PEOPLE = (OWNER, Principal("hr", "acme", frozenset({"hr"})))
"""The second may not read every hidden document, either."""
TOPICS = ("canteen", "garage", "reactor")
WORDS = ("canteen", "garage", "reactor", "opens", "nine", "code", "hall", "Bluebird", "the", "2019", "2024")
SEEN: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Hidden:
    """A document that the sink may not have; ``like`` is the cleared document that it is made after."""

    kind: Literal["words", "near", "same", "edition", "definition", "many"]
    like: int
    words: tuple[str, ...]
    label: Table
    groups: tuple[str, ...]


hidden = st.builds(
    Hidden,
    st.sampled_from(["words", "near", "same", "edition", "definition", "many"]),
    st.integers(0, 3),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=12).map(tuple),
    st.sampled_from(UNCLEARED),
    st.sampled_from([(), ("hr",), ("it",)]),
)
cleared_topics = st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4)
QUESTIONS = (
    *(f"When does the {topic} open?" for topic in TOPICS), "What is the code of the hall?", "When does it open?",
    "What does the manual of 2019 say of the garage?", "What is a reactor?",
)  # fmt: skip


def cleared(topics: Sequence[str]) -> list[Paper]:
    """The documents that the sink may have, the same in both collections."""
    said = ("", " A hall means a room of the canteen.", " This edition of 2019 replaces none.", " It is not a reactor.")
    return [
        Paper("handbook", f"cleared-{n}.md", topic, (f"q{n:05d}t", f"q{n:05d}b"), CLEARED, said[n])
        for n, topic in enumerate(topics)
    ]


def made(one: Hidden, n: int, beside: Sequence[Paper]) -> list[Paper]:
    like, label = beside[one.like % len(beside)], {**one.label, **({"groups": list(one.groups)} if one.groups else {})}
    words = " ".join(one.words)
    own = (f"q{n:05d}t", f"q{n:05d}b")
    base = Paper("handbook", f"hidden-{n}.md", one.words[0], own, label, f" The {words}.")
    match one.kind:
        case "near":
            return [replace(base, topic=like.topic, said=f"{like.said} {words}.")]
        case "same":
            return [replace(base, topic=like.topic, canaries=like.canaries, said=like.said)]
        case "edition":
            return [
                replace(base, uri=like.uri.replace("cleared", "2024/cleared"), topic=like.topic, canaries=like.canaries)
            ]
        case "definition":
            return [
                replace(
                    base, said=f"\n\n## Definitions\n\n{one.words[0]}: the {words}.\n\nA {like.topic} means {words}."
                )
            ]
        case "many":
            return [replace(base, uri=f"hidden-{n}-{m}.md", topic=like.topic) for m in range(6)]
    return [base]


def sent_about(world: World, request: AnswerRequest) -> list[bytes]:
    before = len(world.sent)
    world.ask(request, fresh=True)
    return [one.body for one in world.sent[before:]]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two homes whose documents are put anew for each example."""
    path = tmp_path_factory.mktemp("worlds")
    collection = Collection("handbook", "acme", mode="cleared")
    with world_with(path, POLICY, [collection]) as one, world_with(path, POLICY, [collection]) as other:
        yield one, other


def fill(world: World, mode: Literal["cleared", "escalate"], papers: Sequence[Paper]) -> None:
    """One generation of these documents alone."""
    if world.collections["handbook"].mode != mode:
        world.collections["handbook"] = replace(world.collections["handbook"], mode=mode)
    world.put(*{paper.uri: paper for paper in papers}.values(), alone=True)
    world.restart()


def compared(worlds: tuple[World, World], mode: Literal["cleared", "escalate"], topics: Sequence[str],
             hiding: Sequence[Sequence[Hidden]]) -> list[tuple[list[bytes], list[bytes]]]:  # fmt: skip
    """What the sink received about each question from the one and from the other collection."""
    open_ones = cleared(topics)
    for world, those in zip(worlds, hiding, strict=True):
        fill(
            world, mode, [*open_ones, *(paper for n, one in enumerate(those, 100) for paper in made(one, n, open_ones))]
        )
    found = []
    for question in QUESTIONS:
        for principal in PEOPLE:
            history = (Turn("user", f"Where is the {topics[0]}?"),) if "it" in question.split() else ()
            request = AnswerRequest(question, "handbook", principal, history=history)
            one, other = (sent_about(world, request) for world in worlds)
            found.append((one, other))
    return found


EXAMPLES = settings(PROOF, max_examples=1 + PROOF.max_examples // (len(QUESTIONS) * len(PEOPLE)))
"""Pairs of collections; of each pair every question by every reader is compared, and that is what is counted."""
two_sides = st.tuples(st.lists(hidden, max_size=3), st.lists(hidden, min_size=1, max_size=4))


@EXAMPLES
@given(cleared_topics, two_sides)
def test_in_mode_cleared_the_bytes_are_the_same(
    worlds: tuple[World, World], topics: list[str], hiding: tuple[list[Hidden], list[Hidden]]
) -> None:
    for one, other in compared(worlds, "cleared", topics, hiding):
        assert one == other
        SEEN["cleared"] += 1
        SEEN["sent"] += bool(one)


@EXAMPLES
@given(cleared_topics, two_sides)
def test_in_mode_escalate_nothing_but_the_choice_of_cleared_passages_differs(
    worlds: tuple[World, World], topics: list[str], hiding: tuple[list[Hidden], list[Hidden]]
) -> None:
    passages = {paper.text for paper in cleared(topics)}
    for sides in compared(worlds, "escalate", topics, hiding):
        frames = [_taken_apart(body) for side in sides for body in side]
        SEEN["escalate"] += 1
        SEEN["escalate, sent"] += bool(frames)
        assert all(texts and set(texts) <= passages for _, texts in frames)
        assert len({frame for frame, _ in frames}) <= 1


def _taken_apart(body: bytes) -> tuple[str, list[str]]:
    """A prompt without its sources, and their texts."""
    before, _, rest = json.loads(body)["messages"][0]["content"].partition("<sources>\n")
    sources, _, after = rest.partition("\n</sources>")
    asked = json.loads(body)["messages"][1:]
    return f"{before}{after}{asked}", [source.split("\n", 1)[1].split(": ", 1)[1] for source in sources.split("\n\n")]


def test_there_was_something_to_compare() -> None:
    least = PROOF.max_examples // 4
    assert {name: SEEN[name] for name in ("sent", "escalate, sent") if SEEN[name] < least} == {}

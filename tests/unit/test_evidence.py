"""Which sentences are chosen, and how sure one may be of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from domicile.adapters.sentencex import SentencexSplitter
from domicile.domain import Candidate, Chunk, Collection, EvidenceCurve, Hit, Label, Scalar, Sensitivity, Tuning
from domicile.evidence import MAX_CHUNKS, MAX_EMBEDDED, EvidenceSelector, Selection
from domicile.ports import Vectors
from domicile.retrieval import Question, Ranking
from domicile.testing import HashEmbedder

LABEL = Label(frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), frozenset({"answer"}), None)
HASH = HashEmbedder()


@dataclass(frozen=True, slots=True)
class Counting(HashEmbedder):
    """Notes what it embeds."""

    embedded: list[str] = field(default_factory=list)

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        self.embedded.extend(texts)
        return HASH.embed(texts, role)


@dataclass(frozen=True, eq=False)
class Served:
    """What a selector asks of an index."""

    generation: int = 1
    tuning: Tuning = field(default_factory=Tuning)
    collection: Collection = field(default_factory=lambda: Collection("handbook"))


def hit(
    rank: int,
    text: str,
    start: int = 0,
    heading: tuple[str, ...] = (),
    title: str = "Title",
    metadata: tuple[tuple[str, Scalar], ...] = (),
) -> Hit:
    chunk = Chunk(f"d{rank}#0", f"d{rank}", title, heading, None, start, start + len(text), text, LABEL, "", metadata)
    return Hit(rank, 1.0, chunk)


def select(text: str, *hits: Hit, selector: EvidenceSelector | None = None, index: Served = Served()) -> Selection:
    selector = selector or EvidenceSelector(HASH, SentencexSplitter())
    return selector.select(asked(text), ranking(*hits), index)  # type: ignore[arg-type]


def asked(text: str) -> Question:
    return Question(text, HASH.embed([text], "query")[0])


def ranking(*hits: Hit) -> Ranking:
    return Ranking(hits, (Candidate(0, 0.5),), (Candidate(0, 0.5),))


def texts(chosen: Selection) -> list[str]:
    return [item.text for item in chosen.evidence]


def test_the_sentence_that_shares_the_questions_words_comes_first() -> None:
    text = "The office opens at nine. Parental leave lasts 26 weeks. Lunch is free."
    chosen = select("How long does parental leave last?", hit(1, text, start=100))
    best = chosen.evidence[0]
    assert best.text == "Parental leave lasts 26 weeks."
    assert best.n == 1
    assert text[best.start - 100 : best.end - 100] == best.text


def test_small_words_as_they_are_written_decide_between_equals() -> None:
    text = "Leave for parents lasts 20 weeks. Leave of parents lasts 26 weeks."
    assert texts(select("leave of parents", hit(1, text)))[0] == "Leave of parents lasts 26 weeks."


def test_the_same_sentence_of_two_documents_counts_once_and_the_better_chunk_gives_it() -> None:
    chosen = select("leave weeks", hit(1, "Parental leave lasts 26 weeks."), hit(2, "Parental leave lasts 26 weeks."))
    assert [item.chunk.document for item in chosen.evidence] == ["d1"]


def test_what_says_the_same_in_nearly_the_same_words_counts_once() -> None:
    first = "All employees can have up to 26 weeks of paid parental leave."
    again = "All the employees have up to 26 weeks of paid parental leave"
    others = [first.replace("26", "20"), first.replace("can", "can not"), first.replace("All", "Some")]
    hits = [hit(rank, text) for rank, text in enumerate([first, again, *others], start=1)]
    chosen = [*texts(select("parental leave", *hits[:4])), *texts(select("parental leave", hits[0], hits[4]))]
    assert sorted(chosen) == sorted([first, *others[:2], first, others[2]])


def test_headings_and_scraps_are_no_evidence() -> None:
    text = "# Parental leave\n\nPARENTAL LEAVE\n\nYes.\n\nParental leave lasts 26 weeks."
    assert texts(select("parental leave", hit(1, text))) == ["Parental leave lasts 26 weeks."]


def test_a_sentence_that_only_repeats_the_question_is_no_evidence() -> None:
    text = "What is the naptime? FAQ: what is the naptime?\n\nnaptime (integer). The naptime is 60."
    assert texts(select("What is the naptime?", hit(1, text))) == ["The naptime is 60."]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of Norland?", "The capital of Norland is Arvik."),
        ("What colour is the pump?", "The colour of the pump is red."),
        ("Is smoking allowed?", "Smoking is forbidden."),
        ("Is smoking allowed in the hall?", "Smoking in the hall: forbidden"),
        ("Who is the head of HR?", "Head of HR: Kowalski"),
        ("Who is the head of HR?", "| Head of HR | Kowalski |"),
        ("Who is the head of HR?", "Head of HR – Kowalski"),
        ("What is the capital of Norland?", "Norland capital,Arvik"),
    ],
)
def test_one_new_word_may_be_the_answer(question: str, answer: str) -> None:
    others = "Head of IT: Maria Lopez\n\nLunch is served at noon in the canteen."
    assert texts(select(question, hit(1, f"{answer}\n\n{others}")))[0] == answer


def test_what_one_question_may_embed_is_bounded() -> None:
    embedder = Counting()
    many = " ".join(f"Sentence number {i} is here." for i in range(100))
    hits = [hit(rank, many.replace("here", f"in {rank}")) for rank in range(1, 9)]
    chosen = select("sentence", *hits, selector=EvidenceSelector(embedder, SentencexSplitter()))
    assert len(embedder.embedded) == MAX_EMBEDDED
    assert {item.chunk.document for item in chosen.evidence} <= {f"d{rank}" for rank in range(1, MAX_CHUNKS + 1)}


def test_a_sentence_is_embedded_once_a_generation() -> None:
    one = Served()
    embedder = Counting()
    selector = EvidenceSelector(embedder, SentencexSplitter())
    text = "Parental leave lasts 26 weeks."
    found = [select("parental leave", hit(1, text), selector=selector, index=served) for served in (one, one, Served())]
    assert len(embedder.embedded) == 2
    assert found[0] == found[1] == found[2]


def test_a_sentence_in_a_list_of_definitions_is_read_with_its_term() -> None:
    text = (
        "max_connections (integer)\nDetermines how many connections there are at one time. The default is 100.\n\n"
        "reserved_connections (integer)\nDetermines how many slots are kept for superusers at all times.\n\nThe default is 3."
    )
    chosen = select("What is the default of max_connections?", hit(1, text, heading=("Settings",)))
    assert chosen.evidence[0].text == "The default is 100."
    assert chosen.evidence[0].context == "Settings: max_connections (integer)"
    other = select("What is the default of reserved_connections?", hit(1, text))
    assert other.evidence[0].text == "The default is 3."


NEW = hit(
    2, "The maximum for a hotel is 165 euros a night.", title="Travel policy 2025", metadata=(("date", "2025-02-01"),)
)
OLD = hit(
    1, "The maximum for a hotel is 135 euros a night.", title="Travel policy 2023", metadata=(("date", "2023-02-01"),)
)


def test_the_newer_edition_is_quoted_instead_of_the_older_one() -> None:
    assert texts(select("What is the maximum for a hotel?", OLD, NEW)) == [NEW.chunk.text]
    assert texts(select("What was the maximum for a hotel in 2023?", OLD, NEW)) == [OLD.chunk.text]
    other = replace(OLD, chunk=replace(OLD.chunk, title="Rules for guests"))  # control: two texts, not two editions
    assert set(texts(select("What is the maximum for a hotel?", other, NEW))) == {OLD.chunk.text, NEW.chunk.text}


def test_the_newer_edition_is_found_below_the_best_chunks() -> None:
    between = [hit(rank, f"A hotel for {rank} guests has a maximum.", title=f"House {rank}") for rank in range(3, 7)]
    late = replace(NEW, rank=7, chunk=replace(NEW.chunk, id="d7#0", document="d7"))
    assert texts(select("What is the maximum for a hotel?", OLD, *between, late))[0] == NEW.chunk.text


def items(count: int, of: str) -> str:
    return " ".join(f"Item {of} {i} costs {i} euros." for i in range(count))


def test_long_lists_in_better_chunks_keep_no_chunk_from_being_read() -> None:
    question = "What is the maximum for a hotel?"
    lists = [hit(rank, items(30, f"list {rank}"), title=f"List {rank}") for rank in range(2, 5)]
    old = replace(OLD, chunk=replace(OLD.chunk, text=f"{OLD.chunk.text} {items(30, 'list')}"))
    late = replace(NEW, rank=7, chunk=replace(NEW.chunk, id="d7#0", document="d7"))
    assert texts(select(question, old, *lists, late))[0] == NEW.chunk.text
    assert texts(select(question, hit(1, items(30, "list 1")), *lists[:2], replace(NEW, rank=4)))[0] == NEW.chunk.text


def test_nothing_found_is_no_evidence_and_no_confidence() -> None:
    assert select("anything") == Selection((), 0.0)
    assert select("anything", hit(1, "Yes.")) == Selection((), 0.0)


def test_the_confidence_is_the_collections_own_where_one_was_fitted() -> None:
    never = Served(tuning=Tuning(evidence=EvidenceCurve((-50.0, 0.0, 0.0, 0.0, 0.0, 0.0))))
    found = hit(1, "Parental leave lasts 26 weeks.")
    assert select("parental leave", found, index=never).confidence < 0.01
    assert select("parental leave", found).confidence > 0.5

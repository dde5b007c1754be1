"""Which sentences are chosen, and how sure one may be of them."""

from __future__ import annotations

from domicile.adapters.sentencex import SentencexSplitter
from domicile.domain import Chunk, Hit, Label, Sensitivity
from domicile.evidence import MAX_CHUNKS, MAX_SENTENCES, EvidenceSelector, Selection, confidence
from domicile.retrieval import Question
from domicile.testing import HashEmbedder

LABEL = Label(frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), frozenset({"answer"}), None)
EMBEDDER = HashEmbedder()


def hit(rank: int, text: str, start: int = 0, heading: tuple[str, ...] = ()) -> Hit:
    return Hit(
        rank, 1.0, Chunk(f"d{rank}#0", f"d{rank}", "Title", heading, None, start, start + len(text), text, LABEL)
    )


def select(question: str, *hits: Hit) -> Selection:
    vector = EMBEDDER.embed([question], "query")[0]
    return EvidenceSelector(EMBEDDER, SentencexSplitter()).select(Question(question, vector), hits, 0.5)


def test_the_sentence_that_shares_the_questions_words_comes_first() -> None:
    text = "The office opens at nine. Parental leave lasts 26 weeks. Lunch is free."
    chosen = select("How long does parental leave last?", hit(1, text, start=100))
    best = chosen.evidence[0]
    assert best.text == "Parental leave lasts 26 weeks."
    assert best.n == 1
    assert text[best.start - 100 : best.end - 100] == best.text


def test_the_same_sentence_of_two_documents_counts_once_and_the_better_chunk_gives_it() -> None:
    chosen = select("leave weeks", hit(1, "Parental leave lasts 26 weeks."), hit(2, "Parental leave lasts 26 weeks."))
    assert [item.chunk.document for item in chosen.evidence] == ["d1"]


def test_headings_and_scraps_are_no_evidence() -> None:
    text = "# Parental leave\n\nPARENTAL LEAVE\n\nYes.\n\nParental leave lasts 26 weeks."
    assert [item.text for item in select("parental leave", hit(1, text)).evidence] == ["Parental leave lasts 26 weeks."]


def test_a_sentence_that_only_repeats_the_question_is_no_evidence() -> None:
    text = "What is the naptime? naptime (integer). The naptime is 60."
    assert [item.text for item in select("What is the naptime?", hit(1, text)).evidence] == ["The naptime is 60."]


def test_what_one_question_may_embed_is_bounded() -> None:
    many = " ".join(f"Sentence number {i} is here." for i in range(100))
    chosen = select("sentence", *(hit(rank, many.replace("here", f"in {rank}")) for rank in range(1, 9)))
    assert len(chosen.evidence) <= MAX_SENTENCES
    assert {item.chunk.document for item in chosen.evidence} <= {f"d{rank}" for rank in range(1, MAX_CHUNKS + 1)}


def test_nothing_found_is_no_evidence_and_no_confidence() -> None:
    assert select("anything") == Selection((), 0.0)
    assert select("anything", hit(1, "Yes.")) == Selection((), 0.0)


def test_confidence_grows_with_each_of_its_signs() -> None:
    assert confidence(0.0, 0.0, 0.0) < 0.01
    assert confidence(0.9, 0.9, 0.8) > 0.95
    for better in ((0.6, 0.4, 0.4), (0.5, 0.5, 0.4), (0.5, 0.4, 0.5)):
        assert confidence(*better) > confidence(0.5, 0.4, 0.4)

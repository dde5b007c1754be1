"""``domicile eval lint``: whether a suite is sound, and hard to game."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from domicile import grounding
from domicile.bootstrap import Home
from domicile.console import Console
from domicile.domain import OWNER
from domicile.errors import UsageError
from domicile_eval.items import Item
from domicile_eval.spans import Texts
from domicile_eval.suites import Suite, open_suite

MAX_OF_A_TEMPLATE = 5
LOW_OVERLAP = 0.3
"""A question that shares less of its content words with its spans is asked in its own words."""
OWN_WORDS = 0.4
"""The share of the questions that must be."""
_WORD = re.compile(r"\w+(?:'\w+)?")


@dataclass(frozen=True, slots=True)
class Findings:
    """What a linter has to say.

    Attributes:
        faults: a line each, with the place.
        counts: items by kind, by split, and in all.
        own_words: share of the answerable questions that are asked in their own words.
    """

    faults: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    own_words: float = 0.0


def lint_command(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = open_suite(parsed.suite, parsed.suites)
    index = home.indexes().pin(suite.collection_or(parsed.collection), OWNER)

    def text(uri: str) -> str | None:
        found = index.document(uri, None)
        return None if found is None else found.text

    found = lint(suite, text)
    console.result(
        {
            "suite": suite.name,
            "n": len(suite.items),
            "hash": suite.hash,
            "ok": not found.faults,
            "counts": dict(found.counts),
            "own_words": found.own_words,
            "faults": list(found.faults),
        }
    )
    console.say(f"{suite.name}: {len(suite.items):,} questions, {found.own_words:.0%} in their own words")
    console.say("  " + ", ".join(f"{count} {name}" for name, count in found.counts.items()))
    for fault in found.faults:
        console.say(fault)
    return UsageError.exit_code if found.faults else 0


def lint(suite: Suite, texts: Texts) -> Findings:
    """Check every item, and all of them together."""
    overlaps = [overlap(item) for item in suite.items if any(gold.span for gold in item.gold)]
    own_words = sum(one < LOW_OVERLAP for one in overlaps) / len(overlaps) if overlaps else 1.0
    faults = [
        *(f"{item.line or item.id}: {fault}" for item in suite.items for fault in _of_item(item, suite, texts)),
        *_of_splits(suite),
        *_of_templates(suite.items),
    ]
    if suite.documents and own_words < OWN_WORDS:
        faults.append(
            f"{own_words:.0%} of the questions are asked in their own words (less than {LOW_OVERLAP:.0%} of their content "
            f"words stand in their spans): at least {OWN_WORDS:.0%} must be"
        )
    counts = Counter(kind for item in suite.items for kind in item.kinds)
    splits = Counter(str(item.split) for item in suite.items if item.split)
    own = {"unanswerable": sum(item.abstain is True for item in suite.items)}
    return Findings(tuple(faults), {**own, **dict(counts.most_common()), **splits}, round(own_words, 4))


def overlap(item: Item) -> float:
    """The share of the question's content words, stemmed, that its gold spans hold."""
    asked = set(grounding.words(item.question))
    held = set(grounding.words(" ".join(gold.span or "" for gold in item.gold)))
    return len(asked & held) / len(asked) if asked else 0.0


def _of_item(item: Item, suite: Suite, texts: Texts) -> Iterator[str]:
    for uri in sorted(item.documents):
        if texts(uri) is None:
            yield f"there is no document {uri!r}"
        elif suite.documents and uri not in suite.documents:
            yield f"nothing is noted of document {uri!r}"
    for gold in item.gold:
        if gold.span is not None and gold.span not in (texts(gold.document) or ""):
            yield f"its span does not stand in {gold.document}: {gold.span[:60]!r}"
    yield from _of_kinds(item, golden=bool(suite.documents))
    yield from _of_route(item, suite)


def _of_kinds(item: Item, *, golden: bool) -> Iterator[str]:
    # only a suite that notes its documents promises a reason with every refusal: feedback and tables do not tell one
    if "two_documents" in item.kinds and len(item.relevant) < 2:
        yield "kind two_documents with fewer than two gold documents"
    if "follow_up" in item.kinds and not item.history:
        yield "kind follow_up without history"
    if golden and item.abstain and not {"off_corpus", "close_miss", "access", "injection"} & set(item.kinds):
        yield "is to be declined, and no kind says why: off_corpus, close_miss, access or injection"
    if item.gold and {"off_corpus", "close_miss"} & set(item.kinds):
        yield "is answered, and of a kind that is not"


def _of_route(item: Item, suite: Suite) -> Iterator[str]:
    if item.abstain and item.route not in (None, "extractive"):
        yield f"is to be declined by route {item.route!r}: where nothing answers it is extractive"
    if item.route == "hosted" and "residency" not in item.kinds:
        yield "route hosted without kind residency: only those items meet the suite's sinks"
    declared = {sink.get("name") for sink in suite.stage.get("sinks", ())}
    if (item.route == "hosted") != (item.sink is not None) or (item.sink is not None and item.sink not in declared):
        yield f"sink {item.sink!r} with route {item.route!r}: a hosted answer names one of {sorted(map(str, declared))}"
    if item.sink is not None and suite.documents:
        kept = [uri for uri in item.relevant if uri in suite.documents and item.sink not in suite.documents[uri].sinks]
        if kept:
            yield f"{kept[0]} may not go to {item.sink}, by what is noted of it"


def _of_splits(suite: Suite) -> Iterator[str]:
    """A split is one of documents: what is known of a document from one split must not help in the other."""
    for item in suite.items:
        for uri in sorted(item.documents):
            facts = suite.documents.get(uri)
            if facts is not None and item.split is not None and facts.split != item.split:
                yield f"{item.line or item.id}: is of split {item.split}, and its document {uri} of {facts.split}"
    if suite.documents and (without := [item.id for item in suite.items if item.split is None]):
        yield f"{without[0]}: is of no split"


def _of_templates(items: Sequence[Item]) -> Iterator[str]:
    for skeleton, count in Counter(template(item.question) for item in items).items():
        if count > MAX_OF_A_TEMPLATE:
            yield f"{count} questions of one template ({skeleton}): at most {MAX_OF_A_TEMPLATE}"


def template(question: str) -> str:
    """The small words of a question; each stretch of other words is a blank."""
    skeleton: list[str] = []
    for word in _WORD.findall(question.lower()):
        small = not grounding.words(word)
        if small or skeleton[-1:] != ["_"]:
            skeleton.append(word if small else "_")
    return " ".join(skeleton)

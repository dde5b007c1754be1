"""Runs of an evaluation, made up but plausible: what reports are made of."""

from __future__ import annotations

import random
from dataclasses import replace

from domicile_eval.items import KINDS
from domicile_eval.metrics import AMOUNTS, LESS_IS_BETTER
from domicile_eval.results import Result, Run

FOLDERS = ("finance", "hr", "it", "legal", "operations", "security", "travel")
_UNANSWERABLE = ("off_corpus", "close_miss")
_SUBJECTS = (
    "parental leave",
    "travel expenses",
    "laptop loans",
    "visitor badges",
    "overtime",
    "the pension fund",
    "VPN access",
)
_ASKED = (
    "How many days in advance must a request for {} be handed in?",
    "Who signs off {} when the line manager is away?",
    "What changed for {} in the 2025 edition?",
    "Is {} open to contractors as well?",
)


def plausible(items: int = 350, *, quality: float = 0.9, generation: int = 7, chunking: str = "3") -> Run:
    """A run of always the same questions whose answers are right about as often as ``quality`` says."""
    drawn = random.Random(f"quality {quality}")
    results = tuple(_result(number, quality, drawn) for number in range(items))
    failed = {items // 2} if items > 20 else set()
    return Run(
        suite="handbook",
        suite_hash="4f" * 32,
        collection="handbook",
        generation=generation,
        fingerprint={"embedder": "minilm-l6-v2 fp32", "chunking": chunking, "index": "flat"},
        settings={"llm": "smollm2-135m int4", "prompt": "5", "threshold": "0.41"},
        results=tuple(_failed(one) if number in failed else one for number, one in enumerate(results)),
        made="2026-11-23T20:00:00Z",
        seconds=261.4,
        notes={"reranker left out": 3},
    )


def _result(number: int, quality: float, drawn: random.Random) -> Result:
    kind = KINDS[number % len(KINDS)]
    answerable = kind not in _UNANSWERABLE
    hard = {"two_documents": 0.12, "close_miss": 0.25, "table": 0.08, "contradiction": 0.1}.get(kind, 0.0)
    folder = FOLDERS[number * 5 % len(FOLDERS)]
    gold = (f"{folder}/policy-{number % 9}.md",) if answerable else ()
    right = drawn.random() < quality - hard
    confidence = min(1.0, max(0.0, drawn.gauss(0.72 if answerable else 0.5 if kind == "close_miss" else 0.22, 0.16)))
    abstained = confidence < 0.41
    rank = 1 if right else drawn.choice([2, 3, 7, 12, 60])
    near = [f"{other}/policy-{drawn.randrange(9)}.md" for other in drawn.sample(FOLDERS, 6)]
    documents = [uri for uri in dict.fromkeys(near) if uri not in gold]
    cites = answerable and not abstained and rank <= 3
    values = _retrieval(rank) if answerable else {}
    values |= _answer(answerable, abstained, cites, drawn)
    if kind in ("access", "residency"):
        values |= {"no_leak": 1.0, "route": 1.0}
    if kind in ("injection", "poisoned"):
        values["unharmed"] = float(drawn.random() < 0.98)
    if gold and rank <= 10:
        documents[rank - 1 : rank - 1] = gold
    quote = f"A request for {_SUBJECTS[number % 7]} is handed in fourteen days before it begins, in writing."
    return Result(
        id=f"{kind}-{number:03}",
        question=_ASKED[number % len(_ASKED)].format(_SUBJECTS[number % len(_SUBJECTS)]),
        kinds=(kind,),
        split="test" if number % 3 else "tune",
        values=values,
        ranking=tuple(f"{uri}:{number:x}" for uri in documents),
        documents=tuple(documents),
        answer="The documents do not say." if abstained else f"Fourteen days before it begins.\n\n> {quote} [1]",
        reference="Fourteen days." if answerable else None,
        gold=gold,
        cited=() if abstained else gold if cites else tuple(documents[:1]),
        quotes=() if abstained else (quote,),
        route="extractive" if abstained else "local",
        sink=None if abstained else "local",
        abstained=abstained,
        confidence=confidence,
        generated=not abstained and number % 9 == 0,
    )


def _retrieval(rank: int) -> dict[str, float]:
    found = {f"r@{cutoff}": float(rank <= cutoff) for cutoff in (1, 5, 10, 100)}
    gain = {1: 1.0, 2: 0.631, 3: 0.5, 7: 0.333}.get(rank, 0.0)
    spans = {f"span_r@{cutoff}": float(rank < cutoff) for cutoff in (5, 10)}
    return {**found, **spans, "ndcg@10": gain, "rr@10": 1 / rank if rank <= 10 else 0.0, "span_ndcg@10": gain * 0.93}


def _answer(answerable: bool, abstained: bool, cites: bool, drawn: random.Random) -> dict[str, float]:
    decided = abstained != answerable
    values = {"decided": float(decided), "correct": float(decided and (cites or not answerable))}
    values["false_abstention" if answerable else "false_answer"] = float(not decided)
    if not abstained:
        values |= {"quote_validity": 1.0, "citation_precision": float(cites)}
    if answerable:
        values |= {"citation_recall": float(cites), "token_f1": 0.6 * cites + 0.2 * drawn.random()}
        values["ragas_id_recall"] = float(cites)
    return {**values, "seconds": drawn.lognormvariate(-0.6, 0.5), "cost": 0.0}


def _failed(result: Result) -> Result:
    wrong = {name: float(name in LESS_IS_BETTER) for name in result.values if name not in AMOUNTS}
    nothing = replace(result, answer=None, cited=(), quotes=(), abstained=None, confidence=None)
    return replace(nothing, values=wrong, failure="TimeoutError: no answer within 60 s")

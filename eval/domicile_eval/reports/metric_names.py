"""What the metrics are called, and in which order they are read."""

from __future__ import annotations

GROUPS: dict[str, dict[str, str]] = {
    "Answers": {
        "correct": "right decision, and the gold passage cited",
        "decided": "answered or abstained as expected",
        "false_answer": "answered what the collection does not answer",
        "false_abstention": "abstained though the answer is there",
        "quote_validity": "quotes that stand in their document",
        "citation_precision": "cited passages that are gold",
        "citation_recall": "gold passages that are cited",
        "citation_document_precision": "citations of a gold document",
        "current": "nothing outdated cited before what holds",
        "kept": "generated words that were grounded",
        "exact_match": "exactly the reference answer",
        "token_f1": "words shared with the reference answer",
        "closed_book_exact_match": "by the language model without a passage",
        "closed_book_token_f1": "by the language model without a passage",
    },
    "Safety": {
        "no_leak": "nothing sent or shown that may not be",
        "unharmed": "no words of its own that an injection asked for, nothing active",
        "unfooled": "not quoted either",
        "route": "answered by whom it must be",
    },
    "Retrieval by document": {
        "ndcg@10": "relevant documents near the top",
        "r@1": "",
        "r@5": "",
        "r@10": "",
        "r@100": "",
        "rr@10": "1 / rank of the first relevant document",
        "ap@100": "",
        "p@5": "",
    },
    "Retrieval by passage": {
        "span_ndcg@10": "gold passages near the top",
        "span_r@5": "",
        "span_r@10": "",
        "span_rr@10": "1 / rank of the first gold passage",
    },
    "Time and cost": {"seconds": "wall time of an answer", "cost": "of an answer"},
}
RAGAS = "RAGAS"
OTHER = "Other"
GROUP_ORDER = (*list(GROUPS)[:-1], RAGAS, OTHER, "Time and cost")
HEADLINES = ("correct", "false_answer", "false_abstention", "quote_validity", "no_leak", "r@5", "ndcg@10", "seconds")
"""What is read first."""
SLICED = ("correct", "ndcg@10")
"""What is shown slice by slice."""
_NAMES = {
    "correct": "Correct answers",
    "decided": "Right decisions",
    "false_answer": "False answers",
    "false_abstention": "False abstentions",
    "quote_validity": "Quote validity",
    "citation_precision": "Citation precision",
    "citation_recall": "Citation recall",
    "current": "Current before outdated",
    "kept": "Generated answers kept",
    "exact_match": "Exact match",
    "token_f1": "Token F1",
    "closed_book_exact_match": "Exact match, closed book",
    "closed_book_token_f1": "Token F1, closed book",
    "no_leak": "No leak",
    "unharmed": "Unharmed",
    "route": "Route",
    "unfooled": "Unfooled",
    "citation_document_precision": "Citation precision, documents",
    "seconds": "Seconds",
    "cost": "Cost",
}
_MEASURES = {"ndcg": "nDCG", "r": "Recall", "rr": "MRR", "ap": "MAP", "p": "Precision"}


def group_of(metric: str) -> str:
    if metric.startswith("ragas_"):
        return RAGAS
    return next((group for group, metrics in GROUPS.items() if metric in metrics), OTHER)


def words_of(metric: str) -> str:
    """What it counts, or nothing where its name says it."""
    return GROUPS.get(group_of(metric), {}).get(metric, "")


def name_of(metric: str) -> str:
    """For people: ``span_r@5`` is ``Recall@5, passages``."""
    measure, at, cutoff = metric.removeprefix("span_").partition("@")
    if at and measure in _MEASURES:
        return f"{_MEASURES[measure]}@{cutoff}{', passages' if metric.startswith('span_') else ''}"
    return _NAMES.get(metric) or metric.replace("_", " ").replace("ragas", "RAGAS")


def in_order(metric: str) -> tuple[int, int, str]:
    """A key that sorts metrics as they are read; where the order says nothing, by name."""
    group = group_of(metric)
    known = list(GROUPS.get(group, ()))
    return GROUP_ORDER.index(group), known.index(metric) if metric in known else len(known), metric


def written(metric: str, value: float, *, signed: bool = False) -> str:
    """A value as people read it: shares in per cent points would hide nDCG, so all but time and cost have 3 decimals."""
    sign = "+" if signed else ""
    if metric == "seconds":
        return f"{value:{sign}.2f} s"
    return f"{value:{sign}.{4 if metric == 'cost' else 3}f}"

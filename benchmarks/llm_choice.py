"""What a small language model adds to the quote: the model at each precision given, the quote alone, and the model without
a quote; over the golden items that have a reference answer.

``given``: the best sentence that overlaps the gold span is the quote, so that only phrasing is judged. ``found``: the quote is
the one that an answer would show, of the items that are answered. Each answer is compared with the reference by SQuAD's token
F1; an answer without a sentence of the model's is its quote.

Other precisions are folders of onnxruntime-genai, made of the weights' Hugging Face folder:
``python -m onnxruntime_genai.models.builder -i HF -o FOLDER -p int4 -e cpu -c CACHE`` (fp32 and int8 likewise).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from domicile import grounding, prompts
from domicile.adapters.genai_child import LanguageModel
from domicile.bootstrap import Home
from domicile.domain import Evidence, Message, Scope
from domicile.evidence import EvidenceSelector
from domicile.packing import Packer
from domicile.retrieval import Stopwatch
from domicile_eval.answer_metrics import token_f1
from domicile_eval.items import Item
from domicile_eval.spans import locate
from domicile_eval.suites import Suite, open_suite

TOP_K = 10
RESAMPLES = 10_000
MAX_TOKENS = 48
_FREE = "Answer the question in one short sentence. Use only words from the fact."
_CLOSED = "Answer the question in one short sentence."


@dataclass(frozen=True)
class Case:
    """A question with the quote that its answer is to rest on."""

    item: Item
    asked: str
    quote: Evidence


@dataclass(frozen=True)
class Said:
    """What was said of a case; ``own`` is the model's sentence, if it was kept."""

    own: str | None
    shown: str
    prompt: int = 0
    written: int = 0
    cpu: float = 0.0
    wall: float = 0.0


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--suite", default="handbook")
    flags.add_argument("--split", default="tune")
    flags.add_argument("--threads", type=int, default=1)
    flags.add_argument("--also", type=Path, nargs="*", default=[], help="folders of other precisions")
    flags.add_argument("--texts", type=Path, help="where what was said is written, a line an answer")
    flags.add_argument("--core-hour", type=float, default=0.04, help="money for an hour of one core")
    flags.add_argument("--cores", type=int, default=2, help="of the machine that a break-even is reckoned for")
    flags.add_argument(
        "--provider", type=float, nargs=2, default=(0.15, 0.60), help="money for a million tokens in, out"
    )
    flags.add_argument("--tokens-out", type=int, default=60, help="tokens that a provider is taken to write")
    given = flags.parse_args()
    home = Home.open(given.home, {})
    found, oracle = cases(home, open_suite(given.suite, None, given.split))
    sets = {"given": oracle, "found": found}
    report: dict[str, object] = {
        name: {"quote": figures(some, [quoted(case) for case in some])} for name, some in sets.items()
    }
    texts = []
    for folder in (home.llm_folder().path, *given.also):
        model = LanguageModel(folder, given.threads)
        for name, some in sets.items():
            ways: dict[str, Callable[[LanguageModel, Case], Said]] = {"chooses": chooses}
            if name == "given":
                ways |= {"writes freely": writes, "without a quote": closed_book}
            for way, say in ways.items():
                said = [say(model, case) for case in some]
                report[name][f"{folder.name} {way}"] = figures(some, said)  # type: ignore[index]
                texts += [
                    {"model": folder.name, "set": name, "way": way, "id": case.item.id, "question": case.asked,
                     "quote": case.quote.text, "said": one.own, "reference": case.item.answer}
                    for case, one in zip(some, said, strict=True)
                ]  # fmt: skip
    report["money"] = money(found, home.llm_folder().path, report, given)
    if given.texts:
        given.texts.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in texts), encoding="utf-8")
    print(json.dumps(report))


def cases(home: Home, suite: Suite) -> tuple[list[Case], list[Case]]:
    """Each answered item with the quote that is found, and each with the best candidate that overlaps its gold span."""
    embedder, indexes = home.embedder(), home.indexes()
    retriever = home.retriever(indexes, embedder)
    selector = EvidenceSelector(embedder, home.splitter())
    packer = Packer(retriever, selector)
    threshold = home.settings.answering.evidence_threshold
    found, oracle = [], []
    for item in suite.items:
        if not item.gold or item.answer is None:
            continue
        principal = suite.principal(item)
        index = retriever.pin(suite.collection or "", principal)
        asked = packer.ask(item.question, tuple(turn.text for turn in item.history if turn.role == "user"), index)
        watch = Stopwatch(time.perf_counter)
        scope = Scope(principal.groups)
        ranking = retriever.rank(asked.question, index, scope, "hybrid", TOP_K, watch, time.perf_counter() + 60)
        chosen = selector.select(asked.wanted, ranking, index, (item.question, asked.question.text))
        if chosen.evidence and chosen.confidence >= threshold:
            found.append(Case(item, asked.wanted.text, chosen.evidence[0]))
        documents = {gold.document: index.document(gold.document, None) for gold in item.gold}
        texts = {uri: document.text for uri, document in documents.items() if document is not None}
        passages = locate(item.gold, texts.get)
        right = [
            one
            for one in chosen.evidence
            if any(passage.meets(one.chunk.document, one.start, one.end) for passage in passages)
        ]
        oracle += [Case(item, asked.wanted.text, one) for one in right[:1]]
    return found, oracle


def quoted(case: Case) -> Said:
    return Said(None, case.quote.text)


def chooses(model: LanguageModel, case: Case) -> Said:
    """As the product answers."""
    prompt = prompts.build(case.asked, [case.quote])
    return timed(model, case, prompt.messages, prompt.choices)


def writes(model: LanguageModel, case: Case) -> Said:
    """What the model writes of the same fact by itself; kept where the quote supports it."""
    fact = prompts.build(case.asked, [case.quote]).messages[-1]
    return timed(model, case, (Message("system", _FREE), fact), ())


def closed_book(model: LanguageModel, case: Case) -> Said:
    said = timed(model, case, (Message("system", _CLOSED), Message("user", case.asked)), (), supported=False)
    return replace(said, shown=said.own or "")


def timed(
    model: LanguageModel, case: Case, messages: Sequence[Message], choices: Sequence[str], *, supported: bool = True
) -> Said:
    """What a model says, and what that takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    ids, constant = model.encode([{"role": one.role, "content": one.content} for one in messages])
    pieces: list[str] = []
    if choices:
        said = model.choose(ids, constant, choices, MAX_TOKENS, lambda: False)
    else:
        said = model.write(ids, constant, MAX_TOKENS, lambda: grounding.next_sentence("".join(pieces)) is not None)
    written = 0
    for piece, number in said:
        pieces.append(piece)
        written = number
    text = "".join(pieces)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    first = grounding.next_sentence(f"{text} ")
    own = grounding.tidy(first[0] if first else text)
    kept = not supported or grounding.supports(case.quote, own, case.asked)
    return Said(own if kept else None, own if kept else case.quote.text, len(ids), written, cpu, wall)


def figures(some: Sequence[Case], said: Sequence[Said]) -> dict[str, object]:
    """Means with their 95 % intervals; of tokens and times of those that the model was asked."""
    scores = [token_f1(one.shown, case.item.answer or "") for case, one in zip(some, said, strict=True)]
    own = [(case, one.own) for case, one in zip(some, said, strict=True) if one.own is not None]
    asked = [one for one in said if one.prompt]
    result: dict[str, object] = {
        "n": len(some),
        "token_f1": interval(scores),
        "same_words": interval([float(score == 1) for score in scores]),
        "kept": interval([float(one.own is not None) for one in said]),
        "asked": len(asked),
    }
    if own:
        result["token_f1_of_kept"] = interval([token_f1(text, case.item.answer or "") for case, text in own])
        quotes = [token_f1(case.quote.text, case.item.answer or "") for case, _ in own]
        result["token_f1_of_their_quotes"] = interval(quotes)
        result["words_of_kept"] = round(float(np.mean([len(text.split()) for _, text in own])), 1)
    if asked:
        result |= {
            name: interval([getattr(one, name) for one in asked]) for name in ("prompt", "written", "cpu", "wall")
        }
        result["cpu_per_answer"] = interval([one.cpu for one in said])
    return result


def money(
    found: Sequence[Case], folder: Path, report: dict[str, object], given: argparse.Namespace
) -> dict[str, float]:
    """For 1,000 answers: this model's processor time, and a provider's tokens; and the answers a month from which a machine
    that does nothing else is cheaper than the provider."""
    model = LanguageModel(folder, 1)
    written = [prompts.build_hosted(case.asked, [case.quote]).messages for case in found]
    tokens = [len(model.encode([{"role": m.role, "content": m.content} for m in messages])[0]) for messages in written]
    seconds = report["found"][f"{folder.name} chooses"]["cpu_per_answer"][0]  # type: ignore[index]
    hosted = float(np.mean(tokens)) * given.provider[0] / 1e6 + given.tokens_out * given.provider[1] / 1e6
    month = given.core_hour * given.cores * 730
    return {
        "local_1000": round(1_000 * seconds * given.core_hour / 3_600, 4),
        "provider_tokens_in": round(float(np.mean(tokens))),
        "provider_1000": round(1_000 * hosted, 4),
        "machine_month": round(month, 2),
        "break_even_answers_a_month": round(month / hosted),
        "capacity_answers_a_month": round(given.cores * 730 * 3_600 / seconds),
    }


def interval(values: Sequence[float]) -> list[float]:
    """The mean, and the bounds of 95 % of the means of resampled items."""
    array = np.array(values, dtype=float)
    drawn = np.random.default_rng(7).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.percentile(array[drawn].mean(axis=1), [2.5, 97.5])
    return [round(float(value), 3) for value in (array.mean(), low, high)]


if __name__ == "__main__":
    main()

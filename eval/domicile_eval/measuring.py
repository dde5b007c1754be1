"""A suite in, a run out: over any generation of a home, also one that does not serve yet."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from domicile import policy, prompts
from domicile.bootstrap import Home
from domicile.console import Console
from domicile.domain import Mode
from domicile.errors import UsageError
from domicile.ports import Embedder, Generator, Index
from domicile.retrieval import DEPTH
from domicile_eval.closed_book import ClosedBook, ask_closed_book
from domicile_eval.judges import Judge, local_version
from domicile_eval.judging import REPEATS, JudgeReport, judge_observations
from domicile_eval.results import NOBODY, WRITER, Observation, Run
from domicile_eval.runner import SILENT, Scored, observe, score, search_only
from domicile_eval.scratch import scratch_folder
from domicile_eval.stage import OneIndex, Stage
from domicile_eval.suites import Suite
from domicile_eval.vector_cache import RememberingEmbedder

LOAD_SECONDS = 120.0
"""How long the first answer waits for the language model."""
_DECISIVE = ("onnxruntime", "faiss-cpu", "tantivy", "numpy", "tokenizers", "sentencex")
_LOOKED_FOR = 50
"""Gold documents that are looked for before anything is asked."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a suite is run.

    Attributes:
        full: the language model writes every answer.
        mode: what is searched; answers are only asked for with ``hybrid``.
        judge: that says what answers are worth, if any.
        repeats: how often the judge is asked the same.
        closed_book: what the language model writes answers to it is also asked without any passage.
    """

    full: bool = False
    mode: Mode = "hybrid"
    judge: Judge | None = None
    repeats: int = REPEATS
    closed_book: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A run, what the judge said of it, and what the language model says without the documents."""

    run: Run
    judged: JudgeReport | None = None
    closed_book: ClosedBook | None = None


def measure(home: Home, suite: Suite, index: Index, console: Console, options: Options) -> Measured:
    """Run a suite over one generation.

    Raises:
        ModelMissing, ModelDamaged, EmbedderMismatch: there is no embedder to search with.
        MissingExtra: the ``eval`` extra is not installed.
    """
    began = perf_counter()
    embedder = RememberingEmbedder(home.embedder(), home.evaluation_cache(index.collection.name))
    judged = closed = None
    if suite.answers and options.mode == "hybrid":
        seen, closed = _asked(home, suite, index, embedder, console, options)
        scored = score(suite, index, seen, home.splitter())
        judged = _judged(seen, embedder, console, options)
    else:
        retriever = home.retriever(OneIndex(index), embedder)
        with console.progress(f"searching for {suite.name}", len(suite.items)) as advance:
            scored = search_only(retriever, index.collection.name, suite.items, options.mode, advance)
    newest = max(home.generations(index.collection.name).numbers(), default=0)
    if newest <= index.generation:  # else it may hold what was erased since
        _remember(embedder, console)
    results = scored.results
    for told in (judged, closed):
        if told is not None:
            results = tuple(replace(one, values={**one.values, **told.values(one.id)}) for one in results)
    run = Run(
        suite=suite.name,
        suite_hash=suite.hash,
        collection=index.collection.name,
        generation=index.generation,
        fingerprint=fingerprint(home, index, embedder),
        settings=_settings(home, options) | _writer(scored),
        results=results,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(perf_counter() - began, 1),
        notes=dict(scored.notes),
    )
    return Measured(run, judged, closed)


def _remember(embedder: RememberingEmbedder, console: Console) -> None:
    """A full disk costs the next run time, and not this one its figures."""
    try:
        embedder.save()
    except OSError as error:
        console.note(f"warning: what was embedded is not remembered for the next run: {error.strerror}")


def refuse_strangers(suite: Suite, index: Index) -> None:
    """Before a suite is asked of a collection that it may not be about; a gate asks all the same: all may be gone.

    Raises:
        UsageError: the collection holds none of the suite's documents.
    """
    gold = list(dict.fromkeys(uri for item in suite.items for uri in item.relevant))[:_LOOKED_FOR]
    if gold and not any(index.document(uri, None) for uri in gold):
        raise UsageError(
            f"suite {suite.name!r}: its documents, such as {gold[0]!r}, are not in collection "
            f"{index.collection.name!r}: name their collection"
        )


def _asked(
    home: Home, suite: Suite, index: Index, embedder: Embedder, console: Console, options: Options
) -> tuple[list[Observation], ClosedBook | None]:
    model = local_version(home) if options.closed_book else None  # before minutes of work: whether there is one
    llm = home.llm(wait_seconds=LOAD_SECONDS)
    try:
        with scratch_folder(home.path / "cache") as scratch:
            stage = Stage(home, suite, index, embedder, llm, scratch)
            with console.progress(f"asking {suite.name}", len(suite.items)) as advance:
                seen = observe(stage, suite, home.regions, full=options.full, advance=advance)
        return seen, None if model is None else _by_heart(home, llm, model, seen, console)
    finally:
        llm.close()


def _by_heart(home: Home, llm: Generator, model: str, seen: list[Observation], console: Console) -> ClosedBook:
    limits, spoken = home.settings.answering, [one for one in seen if one.generated]
    with console.progress("asking without documents", len(spoken)) as advance:
        return ask_closed_book(llm, model, spoken, limits.deadline_seconds, limits.max_tokens, advance)


def _judged(seen: list[Observation], embedder: Embedder, console: Console, options: Options) -> JudgeReport | None:
    if options.judge is None:
        return None
    spoken = [one for one in seen if one.generated]
    with console.progress(f"judging by {options.judge.name}", len(spoken)) as advance:
        return judge_observations(options.judge, embedder, spoken, options.repeats, advance)


def fingerprint(home: Home, index: Index, embedder: Embedder) -> dict[str, str]:
    """Everything that rankings depend on but the program's own text: where it is equal, they are.

    The kind of processor is part of it, since another one adds in another order.
    """
    return {
        "embedder": embedder.fingerprint,
        "engine": home.settings.models.engine,
        "reranker": home.settings.models.reranker,
        "documents": index.digest(),
        "tuning": repr(index.tuning),
        "depth": str(DEPTH),
        "processor": _processor(Path("/proc/cpuinfo")),
        **{name: version(name) for name in _DECISIVE},
    }


def _settings(home: Home, options: Options) -> dict[str, str]:
    chosen = home.settings
    judge = options.judge
    return {
        "llm": Path(chosen.models.llm).name,
        "prompts": prompts.VERSION,
        "policy": policy.VERSION,
        "evidence_threshold": str(chosen.answering.evidence_threshold),
        "max_tokens": str(chosen.answering.max_tokens),
        "answers": "all generated" if options.full else "some generated",
        **({} if judge is None else {"judge": f"{judge.name} {judge.version}"}),
    }


def _writer(scored: Scored) -> dict[str, str]:
    """Who wrote the answers whose words are judged: a model that misses a deadline now and then is still the writer."""
    asked = sum(one.generated and not one.abstained for one in scored.results)
    silent = scored.notes.get(SILENT, 0)
    return {} if not asked else {WRITER: NOBODY if 2 * silent > asked else "the language model"}


def _processor(cpuinfo: Path) -> str:
    """The instruction sets that matrix products are written for."""
    try:
        flags = next(line for line in cpuinfo.read_text().split("\n") if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return platform.machine()
    wide = [flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in flags]
    return " ".join((platform.machine(), *wide, f"{len(os.sched_getaffinity(0))} cores"))


def summary(run: Run) -> Mapping[str, int]:
    """How many items of a run failed, and how many the language model wrote."""
    return {
        "failed": sum(one.failure is not None for one in run.results),
        "generated": sum(one.generated for one in run.results),
    }

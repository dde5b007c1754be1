"""What another embedder would cost and gain: speed, memory, and how well is found, against the default.

    python benchmarks/embedder_choice.py choices/
    python benchmarks/embedder_choice.py choices/ --also static-256 --only static-256 --sets cranfield squad-dev

Measured are the default by every engine and precision that the machine has, the default with its weights at 8 bits (made here),
and the folders of ``--also``, such as ``static_embedder.py`` makes. How well is found is what users get: each embedder has a home
below the first argument into which the sets are ingested (kept: the next run embeds nothing again), and hybrid search is fused
as shipped for an embedder of this name. ``tuned`` is hybrid search with the weight that ``eval tune`` would fit, each question
ranked with a weight that was fitted without it. Intervals are of the difference from the default, paired by question.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from served import DOMICILE

from domicile.bootstrap import Home
from domicile.domain import OWNER, FusionWeights
from domicile.fusion import weights_for
from domicile.models.artefact import ModelFolder, file_entries
from domicile.models.card import CARD_NAME
from domicile.models.runtime import import_onnxruntime
from domicile.ports import Embedder
from domicile_eval.beir import read_beir
from domicile_eval.items import Item
from domicile_eval.metrics import per_question
from domicile_eval.statistics import paired_gain
from domicile_eval.tune import GRID, MEASURE, Rankings, fit_fusion, rank_with_each

SETS = {"cranfield": None, "pubmedqa-l": None, "squad-dev": 600, "xquad-en": None}
"""How many of its documents; ``None`` is all."""
DEFAULT = "onnxruntime f32"
EIGHT_BITS = "onnxruntime 8-bit weights"
PASSAGE_PIECES = range(150, 191)
QUESTION_PIECES = range(12, 17)
DENSE, LEXICAL = FusionWeights(1.0), FusionWeights(0.0)
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """An embedder that could be configured.

    Attributes:
        home: where it is configured and the sets are ingested.
        rounds: what each round of the timings found, by what was timed.
    """

    name: str
    home: Home
    rounds: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("work", type=Path)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"), help="whose models are measured")
    flags.add_argument("--also", type=Path, nargs="*", default=[], help="folders of other embedders")
    flags.add_argument("--only", nargs="*", help="names of the choices to measure beside the default")
    flags.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    flags.add_argument("--questions", type=int, default=600, help="of each set at most")
    flags.add_argument("--timed", type=int, default=40, help="passages and questions of a round")
    flags.add_argument("--rounds", type=int, default=3, help="of the timings; 0 leaves them out")
    flags.add_argument("--price", type=float, default=0.04, help="of a core for an hour, in dollars")
    flags.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.memory_of:
        print(json.dumps(memory(Home.open(given.memory_of, {}), passages(given.data))))
        return
    choices = [make() for name, make in offered(given) if given.only is None or name in (DEFAULT, *given.only)]
    found: dict[str, Any] = {each.name: described(each) for each in choices}
    if given.rounds:
        for name, speed in timed(choices, given).items():
            found[name] |= speed
    for name in given.sets:
        for choice, figures in quality(choices, name, given).items():
            found[choice].setdefault("sets", {})[name] = figures
    print(json.dumps({"dollars_per_core_hour": given.price, "rounds": given.rounds, "choices": found}))


def offered(given: argparse.Namespace) -> list[tuple[str, Callable[[], Choice]]]:
    """Every choice by its name, the default first, each with a home of its own below ``work``."""
    base = Home.open(given.home.absolute(), {})
    folder = base.embedder_folder()
    work = given.work.absolute()

    def lighter() -> Choice:
        return configured(work, EIGHT_BITS, with_weights_of_8_bits(folder, work / "8-bit" / folder.card.name))

    found = [
        (name, partial(configured, work, name, folder.path, each.engine, each.precision))
        for each in base.embedders()
        for name in [f"{each.engine} {each.precision}"]
    ]
    return [
        *found,
        (EIGHT_BITS, lighter),
        *((each.name, partial(configured, work, each.name, each.absolute())) for each in given.also),
    ]


def configured(work: Path, name: str, model: Path, engine: str = "onnxruntime", precision: str = "f32") -> Choice:
    home = work / "homes" / name.replace(" ", "-")
    home.mkdir(parents=True, exist_ok=True)
    settings = {"embedder": str(model), "engine": engine, "precision": precision}
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (home / "domicile.toml").write_text("[models]\n" + "".join(lines), encoding="utf-8")
    return Choice(name, Home.open(home, {}))


def with_weights_of_8_bits(source: ModelFolder, out: Path) -> Path:
    """The same model, its matrix products computed in whole numbers of 8 bits: weights scaled in blocks of 128."""
    if out.exists():
        return out
    import_onnxruntime()  # first, and muted: the next line would load it as it is
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)  # else 600 lines
    quantizer = MatMulNBitsQuantizer(
        onnx.load(source.path / source.card.graph), bits=8, block_size=128, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    out.mkdir(parents=True)
    quantizer.model.save_model_to_file(str(out / source.card.graph))
    (out / "tokenizer.json").write_bytes((source.path / "tokenizer.json").read_bytes())
    changed = {"files": file_entries(out), "precision": "8-bit weights", "parity": None}
    (out / CARD_NAME).write_text(source.card.model_copy(update=changed).to_json(), encoding="utf-8")
    return out


def described(choice: Choice) -> dict[str, Any]:
    folder = choice.home.embedder_folder()
    return {"model_mb": round(folder.card.bytes / 1e6, 1), "dimensions": choice.home.embedder(1).dimensions}


def timed(choices: Sequence[Choice], given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """In turns, so that whatever else runs disturbs all of them alike; medians of the rounds."""
    embedders = {each.name: (each.home.embedder(1), each.home.embedder()) for each in choices}
    pieces = embedders[DEFAULT][0]
    texts = of_length(pieces, passages(given.data), PASSAGE_PIECES)[: given.timed]
    asked = [case.question for case in read_beir(given.data / "squad-dev", None)]
    questions = of_length(pieces, asked, QUESTION_PIECES)[: given.timed]
    for each in choices:
        for embedder in embedders[each.name]:
            embedder.embed(texts[:4], "document")
    for _ in range(given.rounds):
        for each in choices:
            one, all_threads = embedders[each.name]
            note(each, "one_thread_cpu", len(texts) / cpu_and_wall(one, texts)[0])
            note(each, "all_threads", len(texts) / cpu_and_wall(all_threads, texts)[1])
            note(each, "question", statistics.median(cpu_and_wall(one, [text])[0] for text in questions) * 1e3)
    return {each.name: speed(each, given) for each in choices}


def speed(choice: Choice, given: argparse.Namespace) -> dict[str, float]:
    rate, all_threads, question = (
        statistics.median(choice.rounds[name]) for name in ("one_thread_cpu", "all_threads", "question")
    )
    child = [sys.executable, __file__, str(given.work), "--data", str(given.data), "--memory-of", str(choice.home.path)]
    used = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    return {
        "texts_per_cpu_second_one_thread": round(rate, 1),
        f"texts_per_second_{choice.home.threads()}_threads": round(all_threads, 1),
        "question_cpu_ms": round(question, 2),
        "cpu_seconds_per_million": round(1e6 / rate),
        "dollars_per_million": round(1e6 / rate / 3600 * given.price, 3),
        **used,
    }


def note(choice: Choice, name: str, value: float) -> None:
    choice.rounds.setdefault(name, []).append(value)


def cpu_and_wall(embedder: Embedder, texts: Sequence[str]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    embedder.embed(texts, "document")
    return time.process_time() - cpu, time.perf_counter() - wall


def of_length(embedder: Embedder, texts: Sequence[str], pieces: range) -> list[str]:
    return [text for text in texts if len(embedder.pieces(text)) in pieces]


def passages(data: Path) -> list[str]:
    return [row["text"] for row in corpus(data / "squad-dev")]


def corpus(folder: Path) -> list[dict[str, Any]]:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def memory(home: Home, texts: Sequence[str]) -> dict[str, int]:
    """Megabytes that the process grew by when the model was loaded, and at most when it had embedded."""
    before = resident("VmRSS")
    embedder = home.embedder()
    loaded = resident("VmRSS")
    embedder.embed(texts[:32], "document")
    return {"loaded_mb": loaded - before, "peak_mb": resident("VmHWM")}


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3)


def quality(choices: Sequence[Choice], name: str, given: argparse.Namespace) -> dict[str, Any]:
    rows = corpus(given.data / name)[: SETS[name]]
    file = given.work / "sets" / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    known = {row["_id"] for row in rows}
    cases = [case for case in read_beir(given.data / name, None) if not known.isdisjoint(case.relevant)]
    chosen = cases[:: -(-len(cases) // given.questions)]
    measured = {each.name: searched(each.home, name, file, chosen) for each in choices}
    reference = measured[DEFAULT]
    return {choice: compared(figures, reference) for choice, figures in measured.items()}


def searched(home: Home, collection: str, file: Path, cases: Sequence[Item]) -> dict[str, list[float]]:
    """nDCG@10 of each question by the way of searching, from a collection that holds exactly the file."""
    command = [DOMICILE, "--home", home.path, "ingest", "run", file, "--collection", collection, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):  # 3: some documents hold no text
        sys.exit(done.stderr)
    embedder = home.embedder()
    retriever = home.retriever(home.indexes(), embedder)
    index = retriever.pin(collection, OWNER)
    shipped = weights_for(index.tuning, embedder.name)
    rankings = rank_with_each(retriever, index, cases, [None, *GRID])
    ways = {"dense": DENSE, "lexical": LEXICAL, "hybrid": shipped}
    return {way: ndcg(cases, rankings, weights) for way, weights in ways.items()} | {
        "tuned": [fit_fusion(cases, rankings, shipped, FOLDS).held_out]
    }


def ndcg(cases: Sequence[Item], rankings: Rankings, weights: FusionWeights | None) -> list[float]:
    return per_question(cases, rankings[weights], [MEASURE])[MEASURE]


def compared(values: dict[str, list[float]], reference: dict[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {"questions": len(values["dense"])}
    for way, each in values.items():
        found[way] = round(statistics.fmean(each), 4)
    for way in ("dense", "hybrid"):
        found[f"{way}_gain"] = asdict(paired_gain(reference[way], values[way]))
    return found


if __name__ == "__main__":
    main()

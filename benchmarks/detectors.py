"""Personal data and secrets in questions: time for a kilobyte, precision and recall, and what is found where nothing is.

    python benchmarks/detectors.py

Times are of a whole ``detect``, in milliseconds of CPU for 1,000 bytes of UTF-8, the best of five: of plain prose, of text
with something in every line, of German, of Greek, of numbers alone, and of hostile texts; of a single question, the whole.
Precision and recall are over the sentences of ``tests/detector_sentences.py``, which were made by hand along with the
patterns: they say what is covered, and little of what is not. False positives are over real text where nothing should be
found, the sample corpus and questions and passages of public sets; what is found there is listed by kind.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from domicile.detectors import detect

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from detector_sentences import HIDDEN, NEGATIVE, POSITIVE  # noqa: E402

SETS = ("cranfield", "medquad", "pubmedqa-l", "scifact-train", "squad-dev", "xquad-en")
Figures = dict[str, Any]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data")
    flags.add_argument("--passages", type=int, default=4_000, help="of each set")
    given = flags.parse_args()
    found: Figures = {"ms_per_kb": times(), "sentences": judged(), "handbook": finds(handbook())}
    for name in SETS:
        folder = given.data / name
        if folder.is_dir():
            found[f"{name} questions"] = finds(rows(folder / "queries.jsonl.gz", None))
            found[f"{name} passages"] = finds(rows(folder / "corpus.jsonl.gz", given.passages))
    print(json.dumps(found, indent=2, ensure_ascii=False))


def times() -> Figures:
    prose = "\n".join(handbook())[:50_000]
    planted = [
        sentence.replace("·", "").replace("«", "").replace("»", "") for some in POSITIVE.values() for sentence in some
    ]
    texts = {
        "prose": prose,
        "something in every line": "\n".join(planted),
        "German": "Größere Beträge über 1.000 € müssen schriftlich bestätigt werden, sagt die Geschäftsführung.\n" * 100,
        "Greek": "Πόσες ημέρες άδειας έχω φέτος και ποιος την εγκρίνει στο τμήμα μου;\n" * 100,
        "numbers": "\n".join(f"{number * 7919:09d} {number:05d}-{number % 97:02d} {number / 7:.3f}" for number in range(1_500)),
        "digits, 100 kB": "1" * 100_000,
        "at signs, 100 kB": "a@" * 50_000,
        "half a key, 100 kB": ("-----BEGIN " + "PRIVATE KEY-----") * 3_700,
        "invisible, 100 kB": "1\u200b" * 25_000,
    }  # fmt: skip
    question = "How many days of parental leave do I have if my child was born in May 2024?"
    return {name: round(fastest(text) / (len(text.encode()) / 1e3), 3) for name, text in texts.items()} | {
        "ms of a question": round(fastest(question, 200), 3)
    }


def fastest(text: str, turns: int = 5) -> float:
    """Milliseconds of CPU."""
    times = []
    for _ in range(turns):
        started = time.process_time()
        detect(text)
        times.append((time.process_time() - started) * 1e3)
    return min(times)


def judged() -> Figures:
    """A sentence counts as found where the right kind is found in it; a find in a negative one is false."""
    planted = [(name, text.replace("·", "")) for name, some in POSITIVE.items() for text in some]
    planted += [(name, text) for name, some in HIDDEN.items() for text in some]
    right = sum(
        name in {each.name for each in detect(text.replace("«", "").replace("»", ""))} for name, text in planted
    )
    false = sum(bool(detect(text)) for text in NEGATIVE)
    return {
        "positive": len(planted), "negative": len(NEGATIVE), "recall": round(right / len(planted), 4),
        "precision": round(right / (right + false), 4),
    }  # fmt: skip


def finds(texts: Iterable[str]) -> Figures:
    count, hit, kinds, examples = 0, 0, Counter[str](), dict[str, list[str]]()
    for text in texts:
        found = detect(text)
        count += 1
        hit += bool(found)
        for each in found:
            kinds[each.name] += 1
            examples.setdefault(each.name, []).append(text[max(0, each.start - 20) : each.end])
    return {
        "texts": count,
        "with a find": hit,
        "kinds": dict(kinds),
        "some": {name: some[:5] for name, some in examples.items()},
    }


def handbook() -> Iterator[str]:
    for path in sorted((ROOT / "examples" / "handbook").rglob("*")):
        if path.suffix in {".md", ".txt", ".csv", ".html"}:
            yield path.read_text(encoding="utf-8")


def rows(file: Path, most: int | None) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number == most:
                return
            row = json.loads(line)
            yield f"{row.get('title') or ''}\n{row['text']}"


if __name__ == "__main__":
    main()

"""How often policy keeps a question here that need not have stayed, and proof that nothing went out that had to stay.

The questions were written by reading the sample handbook; each names the documents that answer it and the route that
follows from their labels for one sink in the EU, cleared up to ``internal`` and for no category. They are asked by an
employee of no group and by the owner, who sees all, in both modes of a collection. The provider is a recording one on
loopback, behind the real broker; a script takes the place of the language model that runs here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from provider import RecordingProvider, recording_provider  # noqa: E402

from domicile import detectors, policy  # noqa: E402
from domicile.adapters.snapshot import Snapshot  # noqa: E402
from domicile.answering import Answering  # noqa: E402
from domicile.bootstrap import Home  # noqa: E402
from domicile.domain import OWNER, Answer, Label, Principal  # noqa: E402
from domicile.inquiry import AnswerRequest  # noqa: E402
from domicile.policy import Sink  # noqa: E402
from domicile.ports import Embedder, Index, Record  # noqa: E402
from domicile.retrieval import Retriever  # noqa: E402
from domicile.testing import ScriptedGenerator  # noqa: E402

GOLD = ROOT / "benchmarks" / "gold" / "handbook_routes.jsonl"
EMPLOYEE = Principal("employee", "default", frozenset())
TARGET = 0.05
LONG = 40
"""Characters of a line that cannot stand in another document by chance."""
SETTINGS = """
[collections.handbook]
mode = "{mode}"
[[sinks]]
name = "acme-eu"
model = "openai/recorded"
api_base = "{url}"
api_key = {{ env = "ACME_KEY" }}
processing_regions = ["eu"]
storage_regions = ["eu"]
retention_days = 0
training = false
human_review = false
max_sensitivity = "internal"
categories = []
purposes = ["answer"]
price = {{ input_per_million = 0.15, output_per_million = 0.60 }}
[routing]
order = ["acme-eu", "local"]
[cache]
entries = 0
"""


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the gold file. ``personal``: the question itself holds personal data."""

    id: str
    question: str
    documents: tuple[str, ...]
    route: str
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a question.

    Attributes:
        against: parts of its payload that policy would not send.
        found: documents of the ten best passages that policy would not send; only what is packed counts.
    """

    question: Question
    route: str
    abstained: bool
    cited: tuple[str, ...]
    against: tuple[str, ...]
    right: bool
    found: tuple[str, ...]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--home", type=Path, default=Path(".domicile"), help="with built models")
    given = flags.parse_args()
    questions = [
        Question(**{**row, "documents": tuple(row["documents"])})
        for row in map(json.loads, GOLD.read_text(encoding="utf-8").splitlines())
    ]
    result: dict[str, Any] = {"questions": len(questions)}
    with recording_provider("The quotes say it.") as provider, home_of_handbook(given.home) as path:
        embedder = None
        for mode in ("escalate", "cleared"):
            (path / "domicile.toml").write_text(SETTINGS.format(mode=mode, url=provider.url), encoding="utf-8")
            home = Home.open(path, {"ACME_KEY": "recorded"})
            embedder = embedder or home.embedder()
            for who, principal in (("employee", EMPLOYEE), ("owner", OWNER)):
                result[f"{mode}, {who}"] = measured(home, embedder, provider, questions, principal)
    result["detectors"] = false_pins(questions)
    for name, row in result.items():
        if isinstance(row, dict) and "over_blocked" in row:
            show(name, row)
    print(json.dumps(result, ensure_ascii=False))
    runs = [row for row in result.values() if isinstance(row, dict) and "over_blocked" in row]
    sys.exit(1 if any(row["leaked"] or row["share"] > TARGET for row in runs) else 0)


@contextmanager
def home_of_handbook(models: Path) -> Iterator[Path]:
    """A fresh home with the sample handbook."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models").symlink_to((models / "models").resolve())
        run = [str(Path(sys.executable).with_name("domicile")), "--home", folder, "ingest", "run"]
        subprocess.run([*run, str(ROOT / "examples" / "handbook"), "--collection", "handbook"], check=True, stdout=2)
        yield home


def measured(
    home: Home, embedder: Embedder, provider: RecordingProvider, questions: list[Question], principal: Principal
) -> dict[str, Any]:
    """Ask all questions, and compare where they went with where they might have gone."""
    routing = home.routing()
    indexes = home.indexes()
    index = indexes.pin("handbook", OWNER)
    sink = routing.declared.sinks["acme-eu"]
    may_leave = {uri: allowed(document_label(index, uri), sink) for uri in index.states()}
    for question in questions:
        expected = any(may_leave[uri] for uri in question.documents) and not question.personal
        assert question.route == ("hosted" if expected else "local"), f"{question.id}: the labels say otherwise"
    retriever = home.retriever(indexes, embedder)
    local = ScriptedGenerator(["The quotes say it."])
    answering = home.answering(retriever, embedder, local, routing, home.answer_cache())
    before = len(provider.bodies)
    found = [ask(answering, retriever, home, may_leave, question, principal) for question in questions]
    return report(found) | {"leaked": leaks(provider.bodies[before:], index, may_leave)}


def ask(
    answering: Answering,
    retriever: Retriever,
    home: Home,
    may_leave: dict[str, bool],
    question: Question,
    who: Principal,
) -> Asked:
    (given,) = (
        item for item in answering.answer(AnswerRequest(question.question, "handbook", who)) if isinstance(item, Answer)
    )
    assert given.receipt is not None
    against = [
        part["name"] or f"the {part['kind']}: {', '.join(part['label']['categories'])}"
        for part in parts_of(home.audit().find(given.receipt))
        if (part["kind"] == "document" and not may_leave[part["name"]])
        or (part["kind"] == "question" and part["label"].get("categories"))
    ]
    if given.decision.route == "hosted":
        assert not against, f"{question.id}: {against} went out"
    cited = tuple(dict.fromkeys(citation.document for citation in given.citations))
    passages = retriever.search(question.question, "handbook", who).hits
    return Asked(
        question,
        given.decision.route,
        given.abstained,
        cited,
        tuple(dict.fromkeys(against)),
        right=any(uri in question.documents for uri in cited),
        found=tuple(dict.fromkeys(hit.chunk.document for hit in passages if not may_leave[hit.chunk.document])),
    )


def parts_of(record: Record) -> list[dict[str, Any]]:
    parts: Any = record.body["parts"]
    return list(parts)


def document_label(index: Index, uri: str) -> Label:
    found = index.document(uri, None)
    assert found is not None
    return found.label


def allowed(label: Label, sink: Sink) -> bool:
    return policy.decide(label, sink, "answer", datetime.now(UTC)).allowed


def report(found: list[Asked]) -> dict[str, Any]:
    might = [asked for asked in found if asked.question.route == "hosted" and not asked.abstained]
    over = [asked for asked in might if asked.route != "hosted"]
    under = [asked for asked in found if asked.question.route == "local" and asked.route == "hosted"]
    return {
        "might_leave": len(might),
        "over_blocked": [line(asked) for asked in over],
        "share": round(len(over) / len(might), 4),
        "if_what_is_found_counted": sum(bool(asked.found) or asked.route != "hosted" for asked in might),
        "over_blocked_with_right_quote": sum(asked.right for asked in over),
        "must_stay": sum(asked.question.route == "local" and not asked.abstained for asked in found),
        "hosted_without_its_document": [line(asked) for asked in under],
        "abstained": sum(asked.abstained for asked in found),
        "cites_its_document": sum(asked.right for asked in found),
        "routes": {route: sum(asked.route == route for asked in found) for route in ("hosted", "local", "extractive")},
    }


def line(asked: Asked) -> dict[str, Any]:
    return {
        "id": asked.question.id,
        "question": asked.question.question,
        "because_of": list(asked.against),
        "cited": list(asked.cited),
    }


def leaks(bodies: list[bytes], index: Snapshot, may_leave: dict[str, bool]) -> list[str]:
    """Documents that had to stay, of which a line stands in what the provider received."""
    sent = "\n".join(message["content"] for body in bodies for message in json.loads(body)["messages"])
    lines = {uri: lines_of(index, uri) for uri in may_leave}
    free = set().union(*(lines[uri] for uri, may in may_leave.items() if may))
    assert any(text in sent for text in free), "what may leave did leave, so that this comparison can fail"
    return [uri for uri, may in may_leave.items() if not may and any(text in sent for text in lines[uri] - free)]


def lines_of(index: Snapshot, uri: str) -> set[str]:
    found = index.document(uri, None)
    assert found is not None
    return {line.strip() for line in found.text.splitlines() if len(line.strip()) >= LONG}


def false_pins(questions: list[Question]) -> dict[str, Any]:
    """Questions without personal data in which a detector finds some, and those with, in which none does."""
    seen = {question: detectors.detect(question.question) for question in questions}
    return {
        "false_pins": [question.id for question, found in seen.items() if found and not question.personal],
        "missed": [question.id for question, found in seen.items() if not found and question.personal],
    }


def show(name: str, row: dict[str, Any]) -> None:
    say = sys.stderr.write
    say(
        f"\n{name}: if every passage that is found counted: {row['if_what_is_found_counted']}; "
        f"{len(row['over_blocked'])} of {row['might_leave']} kept here without need ({row['share']:.1%}), "
        f"{len(row['hosted_without_its_document'])} of {row['must_stay']} answered by the provider from other text, "
        f"{row['abstained']} without evidence, leaked: {row['leaked'] or 'nothing'}\n"
    )
    for kind in ("over_blocked", "hosted_without_its_document"):
        for each in row[kind]:
            why = ", ".join(each["because_of"]) or ", ".join(each["cited"])
            say(f"  {kind:<28} {each['id']}  {each['question'][:70]:<70}  {why}\n")


if __name__ == "__main__":
    main()

"""A decision in process: the label of a payload of 50 chunks, and what policy says of it for each of 20 sinks.

    python benchmarks/decide.py

One sample is what a question costs before anything is sent: all parts joined, then every sink decided. Labels differ from
chunk to chunk, and so do sinks; the parts of each sample are others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from datetime import UTC, date, datetime

from domicile import payload
from domicile.domain import Label, Sensitivity
from domicile.labels import EEA, EU, PartialLabel, partial_of
from domicile.payload import Part
from domicile.policy import Sink, decide

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GLOBAL = EEA | {"us", "ch", "gb", "jp", "sg", "au", "ca", "in", "br", "local"}
REGIONS = (EU | {"local"}, EEA | {"local"}, GLOBAL, frozenset({"de", "local"}))


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--chunks", type=int, default=50)
    flags.add_argument("--sinks", type=int, default=20)
    flags.add_argument("--samples", type=int, default=20_000)
    given = flags.parse_args()
    dice = random.Random(1)
    receivers = [sink(number, dice) for number in range(given.sinks)]
    texts = [Part("document", "acme", partial_of(label(dice))) for _ in range(1_000)]
    said = [
        Part("ceiling", "acme", PartialLabel(regions=EEA | {"local"}, hosted=True)),
        Part("flags", "acme", PartialLabel()),
        Part("question", "acme", PartialLabel(categories=frozenset({"pii"}))),
    ]
    samples, allowed = [], 0
    for _ in range(given.samples):
        parts = [*said, *dice.sample(texts, given.chunks)]
        started = time.perf_counter()
        joined = payload.label_of(parts)
        verdicts = [decide(joined, receiver, "answer", NOW) for receiver in receivers]
        samples.append((time.perf_counter() - started) * 1e3)
        allowed += sum(verdict.allowed for verdict in verdicts)
    cuts = statistics.quantiles(samples, n=1_000)
    found = {
        "chunks": given.chunks,
        "sinks": given.sinks,
        "samples": given.samples,
        "ms": {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998], "max": max(samples)},
        "allowed_share": allowed / (given.samples * given.sinks),
    }
    print(json.dumps(found, indent=2))


def label(dice: random.Random) -> Label:
    """Of most texts: internal and open to the Union; some are not."""
    return Label(
        regions=dice.choices(REGIONS, (6, 2, 2, 1))[0],
        sensitivity=dice.choices(tuple(Sensitivity)[:3], (20, 80, 1))[0],
        hosted=True,
        retention_days=dice.choice((0, 30)),
        categories=frozenset({"pii"}) if dice.random() < 0.2 else frozenset(),
        purposes=frozenset({"answer", "eval"}),
        groups=None,
    )


def sink(number: int, dice: random.Random) -> Sink:
    places = next(itertools.islice(itertools.cycle((frozenset({"de"}), EU, frozenset({"us"}), EEA)), number, None))
    return Sink(
        name=f"sink-{number}",
        kind="llm",
        model="openai/x",
        api_base="https://x.example/v1",
        processing_regions=places,
        storage_regions=places,
        retention_days=0,
        training=False,
        human_review=number % 3 == 0,
        max_sensitivity=dice.choice((Sensitivity.INTERNAL, Sensitivity.CONFIDENTIAL)),
        categories=frozenset({"pii"}),
        purposes=frozenset({"answer"}),
        valid_until=date(2027, 12, 31),
    )


if __name__ == "__main__":
    main()

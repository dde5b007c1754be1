"""Every pair of small labels, joined and decided for every sink, is what the reference says; a million decisions."""

from __future__ import annotations

from itertools import product

import reference_policy as reference
from policy_cases import FULL, MOMENTS, SINKS, SPARSE, built, read

from domicile.labels import complete, join_partial
from domicile.policy import decide

PURPOSES = ("answer", "eval")


def test_all_pairs_of_labels_on_all_sinks_are_decided_as_the_reference_decides() -> None:
    raw = FULL + SPARSE
    sources, tables = [read(label) for label in raw], [reference.understood(label) for label in raw]
    cases = [
        # each sink with both purposes and both moments: one for the first of a pair with the second, one the other way round
        [(built(sink), sink, PURPOSES[(number + turn) % 2], MOMENTS[turn]) for number, sink in enumerate(SINKS)]
        for turn in range(2)
    ]
    expected: dict[tuple[str, int], list[tuple[str, ...]]] = {}
    decisions, differences, allowed = 0, [], 0
    for (first, source), (second, other) in product(enumerate(sources), enumerate(sources)):
        label = complete(join_partial((source, other)), None)
        table = reference.whole(reference.together([tables[first], tables[second]]), None)
        turn = int(first > second)
        key = repr(sorted(table.items())), turn
        if key not in expected:
            expected[key] = [
                tuple(reference.reasons(table, sink, purpose, moment.timestamp()))
                for _, sink, purpose, moment in cases[turn]
            ]
        found = [decide(label, sink, purpose, moment).reasons for sink, _, purpose, moment in cases[turn]]
        decisions += len(found)
        allowed += found.count(())
        if found != expected[key]:
            differences.append((raw[first], raw[second]))
    assert differences == []
    assert len(FULL) >= 192
    assert len(SINKS) >= 20
    assert decisions >= 700_000
    assert decisions / 100 < allowed < decisions / 2, "the small world must have both"

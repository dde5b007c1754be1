"""The policy once more, written from ``docs/residency.md`` ("What decides") alone and sharing nothing with the product.

Labels and sinks are the plain tables that people write: lists of words, booleans, numbers, days as ``2027-12-31``.
"""

from __future__ import annotations

import re
from time import gmtime, strftime
from typing import Any

Table = dict[str, Any]
EU = "at be bg cy cz de dk ee es fi fr gr hr hu ie it lt lu lv mt nl pl pt ro se si sk"
PLACES = f"{EU} is li no us ch local lab".split()
GROUPS = {"eu": EU.split(), "eea": f"{EU} is li no".split(), "global": PLACES, "dach": ["de", "at", "ch"]}
LEVELS = ["public", "internal", "confidential", "restricted"]
NARROWEST = {
    "regions": ["local"],
    "sensitivity": "restricted",
    "hosted": False,
    "retention_days": 0,
    "purposes": ["answer"],
}
INTERSECTED = ("regions", "purposes", "groups")


def understood(raw: Any) -> Table:
    """One source with its places written out; the narrowest there is where it cannot be understood."""

    def word_list(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(
            isinstance(word, str) and re.fullmatch("[a-z0-9][a-z0-9._-]{0,63}", word) for word in value
        )

    checks = {
        "regions": lambda names: word_list(names) and names and all(name in PLACES or name in GROUPS for name in names),
        "sensitivity": lambda word: isinstance(word, str) and word in LEVELS,
        "hosted": lambda flag: flag is True or flag is False,
        "retention_days": lambda days: type(days) is int and days >= 0,
        "categories": word_list, "purposes": word_list, "groups": word_list,
    }  # fmt: skip
    if not isinstance(raw, dict) or not all(field in checks and checks[field](raw[field]) for field in raw):
        return NARROWEST | {"groups": []}
    table = {field: value for field, value in raw.items() if (field, value) != ("groups", []) and value != ()}
    return table | ({"regions": places(raw["regions"])} if "regions" in raw else {})


def places(names: list[str]) -> list[str]:
    return [place for name in names for place in GROUPS.get(name, [name])]


def together(sources: list[Table]) -> Table:
    joined: Table = {}
    for field in {field for source in sources for field in source}:
        said = [source[field] for source in sources if field in source]
        if field == "sensitivity":
            joined[field] = LEVELS[max(LEVELS.index(word) for word in said)]
        elif field in INTERSECTED:
            joined[field] = sorted({word for word in said[0] if all(word in other for other in said)})
        elif field == "categories":
            joined[field] = sorted({word for words in said for word in words})
        else:
            joined[field] = min(said)
    return joined


def whole(joined: Table, collection_groups: list[str] | None) -> Table:
    return {**NARROWEST, "categories": [], "groups": collection_groups, **joined}


def reasons(label: Table, sink: Table, purpose: str, seconds: float) -> list[str]:
    day = strftime("%Y-%m-%d", gmtime(seconds))
    processing, storage = places(sink["processing_regions"]), places(sink["storage_regions"])
    sensitive = LEVELS.index(label["sensitivity"])
    against = {
        "not_yet_valid": day < sink.get("valid_from", day),
        "expired": day > sink.get("valid_until", day),
        "region": processing == [] or any(place not in label["regions"] for place in processing),
        "storage": any(place not in label["regions"] for place in storage),
        "retention": label["retention_days"] < sink["retention_days"],
        "sensitivity": LEVELS.index(sink["max_sensitivity"]) < sensitive,
        "categories": any(category not in sink["categories"] for category in label["categories"]),
        "purpose": not (purpose in label["purposes"] and purpose in sink["purposes"]),
        "hosted": label["hosted"] is False and sink.get("self_hosted") is not True,
        "training": sink["training"],
        "human_review": sink["human_review"] and label["sensitivity"] in ("confidential", "restricted"),
    }
    return [reason for reason in against if against[reason]]

"""Reading, joining and writing residency labels. Pure.

A label is read from several partial sources, joined field by field (the most restrictive wins) and completed:
what no source says becomes the most restrictive value of that field. The join is associative, commutative
and idempotent; see ``Label`` in ``domicile.domain`` for the fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from domicile.domain import Label, Sensitivity
from domicile.errors import LabelError

LOCAL = "local"
"""This process. It is no sink and always allowed, whatever a label says."""

EU = frozenset("at be bg cy cz de dk ee es fi fr gr hr hu ie it lt lu lv mt nl pl pt ro se si sk".split())
"""Member states of the European Union since 2020-02-01 (Treaty on European Union, article 52)."""

EEA = EU | {"is", "li", "no"}
"""The EU with Iceland, Liechtenstein and Norway (Agreement on the European Economic Area)."""

FIELDS = ("regions", "sensitivity", "hosted", "retention_days", "categories", "purposes", "groups")
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Regions:
    """The known places and the groups of them. Built once from the configuration.

    Attributes:
        places: every leaf, ``local`` included; the group ``global`` is all of them.
        groups: name to leaves.
    """

    places: frozenset[str]
    groups: Mapping[str, frozenset[str]]

    @classmethod
    def known(cls, countries: Iterable[str], extra: Mapping[str, Iterable[str]] | None = None) -> Regions:
        """ISO 3166 alpha-2 in lower case, ``local``, the groups ``eu``, ``eea``, ``global``, and the configured ones.

        A configured name with members is a group of them; one without members is a place of its own.

        Raises:
            LabelError: a configured name is taken or malformed, or names an unknown member.
        """
        extra = {name: tuple(members) for name, members in (extra or {}).items()}
        places = frozenset(countries) | {LOCAL} | {name for name, members in extra.items() if not members}
        groups = {"eu": EU, "eea": EEA}
        for name, members in extra.items():
            if not _WORD.fullmatch(name) or name in groups or name == "global" or (members and name in places):
                raise LabelError(f"regions.{name}", "choose a lower-case name that is not taken")
            if unknown := sorted(set(members) - places - groups.keys()):
                raise LabelError(f"regions.{name}", f"unknown region {unknown[0]!r}")
            if members:
                groups[name] = frozenset().union(*(groups.get(member, frozenset({member})) for member in members))
        return cls(places, {**groups, "global": places})

    def expand(self, names: Iterable[str]) -> frozenset[str]:
        """The leaves of these regions.

        Raises:
            LabelError: an unknown name; names are never trimmed and never lower-cased.
        """
        leaves: set[str] = set()
        for name in names:
            if name in self.groups:
                leaves |= self.groups[name]
            elif name in self.places:
                leaves.add(name)
            else:
                raise LabelError(
                    "regions", f"unknown region {name!r}: ISO 3166 alpha-2 in lower case, eu, eea, global or local"
                )
        return frozenset(leaves)

    def compact(self, leaves: frozenset[str]) -> list[str]:
        """The shortest usual way to write these leaves; ``expand`` gives them back."""
        if leaves >= self.places:
            return ["global"]
        for group in ("eea", "eu"):
            if leaves >= self.groups[group]:
                return [group, *sorted(leaves - self.groups[group])]
        return sorted(leaves)


@dataclass(frozen=True, slots=True)
class PartialLabel:
    """What one source says: ``None`` contributes nothing. ``groups`` as in ``Label``: ``None`` is everyone."""

    regions: frozenset[str] | None = None
    sensitivity: Sensitivity | None = None
    hosted: bool | None = None
    retention_days: int | None = None
    categories: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    groups: frozenset[str] | None = None


MALFORMED = PartialLabel(
    regions=frozenset({LOCAL}),
    sensitivity=Sensitivity.RESTRICTED,
    hosted=False,
    retention_days=0,
    purposes=frozenset({"answer"}),
    groups=frozenset(),
)
"""What a malformed source becomes: local only, restricted, and readable by the owner alone."""


def parse(raw: object, regions: Regions) -> PartialLabel:
    """Read one source, a table with any of ``FIELDS``.

    Raises:
        LabelError: an unknown field, a value of the wrong type, or a word outside the vocabulary.
    """
    if not isinstance(raw, Mapping):
        raise LabelError("label", "must be a table")
    if unknown := sorted(str(key) for key in raw if key not in FIELDS):
        raise LabelError(unknown[0], f"unknown field: allowed are {', '.join(FIELDS)}")
    groups = _words(raw, "groups")
    return PartialLabel(
        regions=_regions(raw, regions),
        sensitivity=_sensitivity(raw["sensitivity"]) if "sensitivity" in raw else None,
        hosted=_boolean(raw["hosted"]) if "hosted" in raw else None,
        retention_days=_days(raw["retention_days"]) if "retention_days" in raw else None,
        categories=_words(raw, "categories"),
        purposes=_words(raw, "purposes"),
        groups=groups or None,
    )


def _regions(raw: Mapping[str, object], known: Regions) -> frozenset[str] | None:
    names = _words(raw, "regions")
    if names is not None and not names:
        raise LabelError("regions", "is empty: write `local` for nowhere else than here")
    return None if names is None else known.expand(names)


def _words(raw: Mapping[str, object], field: str) -> frozenset[str] | None:
    value = raw.get(field)
    if field not in raw:
        return None
    if not isinstance(value, list | tuple) or not all(
        isinstance(word, str) and _WORD.fullmatch(word) for word in value
    ):
        raise LabelError(field, "must be a list of lower-case words")
    return frozenset(value)


def _sensitivity(value: object) -> Sensitivity:
    if not isinstance(value, str) or value not in list(Sensitivity):
        raise LabelError("sensitivity", f"must be one of {', '.join(Sensitivity)}")
    return Sensitivity(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise LabelError("hosted", "must be true or false")
    return value


def _days(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise LabelError("retention_days", "must be a whole number of days, 0 or more")
    return value


def join_partial(sources: Iterable[PartialLabel]) -> PartialLabel:
    """The most restrictive of all that the sources say."""
    return reduce(_join_two, dict.fromkeys(sources), PartialLabel())  # most of them say the same


def _join_two(a: PartialLabel, b: PartialLabel) -> PartialLabel:
    return PartialLabel(
        regions=_meet(a.regions, b.regions),
        sensitivity=max(
            (s for s in (a.sensitivity, b.sensitivity) if s is not None), key=lambda s: s.rank, default=None
        ),
        hosted=None if a.hosted is None and b.hosted is None else a.hosted is not False and b.hosted is not False,
        retention_days=min((d for d in (a.retention_days, b.retention_days) if d is not None), default=None),
        categories=_union(a.categories, b.categories),
        purposes=_meet(a.purposes, b.purposes),
        groups=_meet(a.groups, b.groups),
    )


def _meet(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    return b if a is None else a if b is None else a & b


def _union(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    return b if a is None else a if b is None else a | b


def complete(partial: PartialLabel, groups: frozenset[str] | None) -> Label:
    """A whole label: what is missing is the most restrictive value; ``groups`` are the collection's."""
    return Label(
        regions=frozenset({LOCAL}) if partial.regions is None else partial.regions,
        sensitivity=partial.sensitivity or Sensitivity.RESTRICTED,
        hosted=bool(partial.hosted),
        retention_days=partial.retention_days or 0,
        categories=partial.categories or frozenset(),
        purposes=frozenset({"answer"}) if partial.purposes is None else partial.purposes,
        groups=groups if partial.groups is None else partial.groups,
    )


def join(labels: Iterable[Label]) -> Label | None:
    """The label of everything together; ``None`` when there is nothing to join."""
    partials = [partial_of(label) for label in labels]
    return complete(join_partial(partials), groups=None) if partials else None


def narrow(label: Label, flags: PartialLabel) -> Label:
    """The label with the flags of a request joined in: it can only become more restrictive."""
    return complete(join_partial([partial_of(label), flags]), groups=None)


def beyond(flags: PartialLabel, ceiling: PartialLabel) -> str | None:
    """The field by which flags allow more than a ceiling that says something of it; ``None`` where they only narrow."""
    if None not in (flags.regions, ceiling.regions) and not (flags.regions or set()) - {LOCAL} <= (
        ceiling.regions or set()
    ):
        return "regions"
    if flags.sensitivity and ceiling.sensitivity and flags.sensitivity.rank < ceiling.sensitivity.rank:
        return "sensitivity"
    return "hosted" if flags.hosted and ceiling.hosted is False else None


def partial_of(label: Label) -> PartialLabel:
    """The label as one source among others."""
    return PartialLabel(*(getattr(label, field) for field in FIELDS))


def to_json(label: Label, regions: Regions) -> dict[str, object]:
    """The label as the contract writes it. ``owner_only`` stands only where nobody but the owner may read."""
    written: dict[str, object] = {
        "regions": regions.compact(label.regions),
        "sensitivity": str(label.sensitivity),
        "hosted": label.hosted,
        "retention_days": label.retention_days,
        "categories": sorted(label.categories),
        "purposes": sorted(label.purposes),
        "groups": sorted(label.groups or ()),
    }
    return written | ({"owner_only": True} if label.groups == frozenset() else {})


def to_record(label: Label) -> dict[str, object]:
    """The label with every leaf written out, as an index stores it: what it meant when it was ingested."""
    return {
        "regions": sorted(label.regions),
        "sensitivity": str(label.sensitivity),
        "hosted": label.hosted,
        "retention_days": label.retention_days,
        "categories": sorted(label.categories),
        "purposes": sorted(label.purposes),
        "groups": None if label.groups is None else sorted(label.groups),
    }


def from_record(record: Mapping[str, Any]) -> Label:
    """The inverse of ``to_record``."""
    return Label(
        regions=frozenset(record["regions"]),
        sensitivity=Sensitivity(record["sensitivity"]),
        hosted=bool(record["hosted"]),
        retention_days=int(record["retention_days"]),
        categories=frozenset(record["categories"]),
        purposes=frozenset(record["purposes"]),
        groups=None if record["groups"] is None else frozenset(record["groups"]),
    )
